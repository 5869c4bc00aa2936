# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the panels are in the sidebar."""

from ..rig.blender_types import PanelMixIn


class Tab(PanelMixIn):
    """What all panels of the tab share."""

    bl_category = "PoseLLaVA"
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
