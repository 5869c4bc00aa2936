# SPDX-License-Identifier: GPL-3.0-or-later
"""PoseLLaVA in Blender's own menus, so that its operators are found by search (F3) and can be put on keys."""

from typing import Final

import bpy

from ..operators.ask import PANEL_POINTER
from ..settings import settings


class POSELLAVA_MT_main(bpy.types.Menu):
    """Everything that can be asked of the model, with the options of the sidebar."""

    bl_label = "PoseLLaVA"

    def draw(self, context: bpy.types.Context) -> None:
        """Called by Blender to draw the menu."""
        layout = self.layout
        layout.context_pointer_set(PANEL_POINTER, settings(context))
        layout.operator("posellava.edit_pose", icon="POSE_HLT")
        layout.operator("posellava.generate_pose", icon="ARMATURE_DATA")
        layout.operator("posellava.estimate_pose", icon="IMAGE_DATA")
        layout.operator("posellava.describe_pose", icon="TEXT")
        layout.operator("posellava.what_changed", icon="ARROW_LEFTRIGHT")
        layout.operator("posellava.cancel", icon="CANCEL")
        layout.separator()
        layout.operator("posellava.connect", icon="LINKED")
        layout.operator("posellava.disconnect", icon="UNLINKED")
        layout.separator()
        layout.operator("posellava.paint_pose", icon="RENDER_STILL")
        layout.operator("posellava.repaint_picture", icon="BRUSH_DATA")
        layout.operator("posellava.control_maps", icon="IMAGE_RGB")


def _draw_submenu(menu: bpy.types.Menu, context: bpy.types.Context) -> None:
    menu.layout.separator()
    menu.layout.menu("POSELLAVA_MT_main")


def _draw_add_entry(menu: bpy.types.Menu, context: bpy.types.Context) -> None:
    menu.layout.operator("posellava.add_figure", text="SMPL Figure", icon="OUTLINER_OB_ARMATURE")


_ENTRIES: Final = (
    ("VIEW3D_MT_armature_add", _draw_add_entry),
    ("VIEW3D_MT_pose", _draw_submenu),
    ("VIEW3D_MT_object", _draw_submenu),
)


def register() -> None:
    """Called when the add-on is enabled."""
    bpy.utils.register_class(POSELLAVA_MT_main)
    for menu, draw in _ENTRIES:
        getattr(bpy.types, menu).append(draw)


def unregister() -> None:
    """Called when the add-on is disabled."""
    for menu, draw in _ENTRIES:
        getattr(bpy.types, menu).remove(draw)
    bpy.utils.unregister_class(POSELLAVA_MT_main)
