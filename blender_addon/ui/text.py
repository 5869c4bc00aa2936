# SPDX-License-Identifier: GPL-3.0-or-later
"""Texts in the sidebar, in as many lines as its width asks for."""

import textwrap
from typing import Final

import bpy

from ..rig.blender_types import Icon

CHARACTER_WIDTH: Final = 6.4
"""Average width of a character of the interface font, in pixels at scale 1."""
MARGIN: Final = 62
"""Pixels at scale 1 beside a wrapped text: borders, icon, scroll bar."""


def characters(context: bpy.types.Context) -> int:
    """How many characters of average width a line of the sidebar holds."""
    scale = context.preferences.system.ui_scale
    return max(int((context.region.width / scale - MARGIN) / CHARACTER_WIDTH), 16)


def wrapped(context: bpy.types.Context, layout: bpy.types.UILayout, text: str, icon: Icon) -> None:
    """A text in as many lines as the sidebar's width asks for; Blender's own labels are cut off."""
    column = layout.column(align=True)
    column.scale_y = 0.85
    for number, line in enumerate(textwrap.wrap(text, characters(context))):
        column.label(text=line, icon=icon if number == 0 else "BLANK1")
