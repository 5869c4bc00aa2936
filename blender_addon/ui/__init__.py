# SPDX-License-Identifier: GPL-3.0-or-later
"""What the user sees: the sidebar tab, the status light, the entry in the Add menu.

May import bpy, the operators and the settings. ``missing_numpy`` stands alone, for a Blender without numpy; so this
file imports the rest only when it registers it.
"""


def register() -> None:
    """Called when the add-on is enabled."""
    from . import light, panel

    light.register()
    panel.register()


def unregister() -> None:
    """Called when the add-on is disabled."""
    from . import light, panel

    panel.unregister()
    light.unregister()
