# SPDX-License-Identifier: GPL-3.0-or-later
"""The subpanel for pictures: of the figure, or a picture whose person is posed anew."""

import bpy

from ..operators import paint
from ..operators.ask import PANEL_POINTER
from ..settings import settings
from .tab import Subpanel, property_column
from .text import wrapped


class POSELLAVA_PT_image(Subpanel, bpy.types.Panel):
    """Pictures that a backend with diffusion weights paints, and the maps that any other picture maker follows."""

    bl_label = "Image"

    def draw(self, context: bpy.types.Context) -> None:
        """Called by Blender to draw the panel."""
        layout, chosen = self.layout, settings(context)
        layout.context_pointer_set(PANEL_POINTER, chosen)
        lacking = paint.lack(context, "paint")
        if lacking:
            wrapped(context, layout, lacking, "INFO")
        layout.prop(chosen, "prompt", text="", placeholder="What the picture shows …")
        _property(layout, chosen, "seed")
        box = layout.box()
        _property(box, chosen, "size")
        box.operator("posellava.paint_pose", icon="RENDER_STILL")
        box = layout.box()
        box.row().prop(chosen, "repaint_from", expand=True)
        if chosen.repaint_from == "IMAGE":
            box.template_ID(chosen, "repaint_image", open="image.open")
        _property(box, chosen, "paint_strength")
        told = chosen.instruction.strip()
        wrapped(context, box, f"“{told}”" if told else "Without an instruction the pose stays.", "INFO")
        box.operator("posellava.repaint_picture", icon="BRUSH_DATA")
        layout.operator("posellava.control_maps", icon="IMAGE_RGB")


def _property(layout: bpy.types.UILayout, chosen: bpy.types.PropertyGroup, name: str) -> None:
    property_column(layout.column()).prop(chosen, name)
