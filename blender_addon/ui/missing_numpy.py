# SPDX-License-Identifier: GPL-3.0-or-later
"""The panel shown instead of the add-on in a Blender whose Python has no numpy, such as Debian's package."""

import sys
from typing import Final

import bpy

SENTENCES: Final = (
    "PoseLLaVA needs numpy, which this Blender's Python lacks.",
    "On Debian and Ubuntu: sudo apt install python3-numpy",
    "Then restart Blender.",
)


class POSELLAVA_PT_missing_numpy(bpy.types.Panel):
    """Says how to get numpy."""

    bl_label = "PoseLLaVA"
    bl_category = "PoseLLaVA"
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"

    def draw(self, context: bpy.types.Context) -> None:
        """Called by Blender to draw the panel."""
        column = self.layout.column(align=True)
        column.alert = True
        for number, sentence in enumerate(SENTENCES):
            column.label(text=sentence, icon="ERROR" if number == 0 else "BLANK1")


def register() -> None:
    """Called when the add-on is enabled."""
    print(" ".join(SENTENCES), file=sys.stderr)
    bpy.utils.register_class(POSELLAVA_PT_missing_numpy)


def unregister() -> None:
    """Called when the add-on is disabled."""
    bpy.utils.unregister_class(POSELLAVA_PT_missing_numpy)
