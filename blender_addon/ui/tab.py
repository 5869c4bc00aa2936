# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the panels are in the sidebar."""

import bpy

from ..rig.blender_types import PanelMixIn


class Tab(PanelMixIn):
    """What all panels of the tab share."""

    bl_category = "PoseLLaVA"
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"


class Subpanel(Tab):
    """A panel below the main one, closed at first."""

    bl_parent_id = "POSELLAVA_PT_main"
    bl_options = {"DEFAULT_CLOSED"}


def property_column(layout: bpy.types.UILayout) -> bpy.types.UILayout:
    """A column whose names stand left of their fields, without dots for animating them."""
    layout.use_property_split = True
    layout.use_property_decorate = False
    return layout.column()
