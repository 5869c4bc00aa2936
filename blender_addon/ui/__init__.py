# SPDX-License-Identifier: GPL-3.0-or-later
"""What the user sees: the sidebar tab, the status light, the entries in Blender's menus.

May import bpy and all of the add-on but its command line. ``missing_numpy`` stands alone, for a Blender without numpy;
so this file imports the rest only when it registers it.
"""


def register() -> None:
    """Called when the add-on is enabled."""
    from . import light, menus, panel

    light.register()
    panel.register()
    menus.register()


def unregister() -> None:
    """Called when the add-on is disabled."""
    from . import light, menus, panel

    menus.unregister()
    panel.unregister()
    light.unregister()
