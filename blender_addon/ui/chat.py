# SPDX-License-Identifier: GPL-3.0-or-later
"""The subpanel in which the model speaks: descriptions, what changed, and a conversation."""

from typing import Final

import bpy

from ..contract.messages import SPOKEN_TASKS
from ..operators import speak
from ..operators.activity import activity
from ..operators.ask import PANEL_POINTER
from ..settings import settings
from .tab import Subpanel
from .text import wrapped

SHOWN_TURNS: Final = 4


class POSELLAVA_PT_chat(Subpanel, bpy.types.Panel):
    """What the model says in words."""

    bl_label = "In Words"

    def draw(self, context: bpy.types.Context) -> None:
        """Called by Blender to draw the panel."""
        layout, chosen = self.layout, settings(context)
        layout.context_pointer_set(PANEL_POINTER, chosen)
        mute = speak.lack("describe")
        if mute:
            wrapped(context, layout, mute, "INFO")
        column = layout.column()
        column.operator("posellava.describe_pose", icon="TEXT")
        row = column.row(align=True)
        row.operator("posellava.what_changed", icon="ARROW_LEFTRIGHT")
        row.prop(chosen, "since", text="")
        layout.separator()
        silent = speak.lack("chat")
        if silent and silent != mute:
            wrapped(context, layout, silent, "INFO")
        for turn in activity.chat.turns[-SHOWN_TURNS:]:
            _draw_turn(context, layout, turn.instruction, turn.words)
        _draw_words_so_far(context, layout)
        row = layout.row(align=True)
        row.prop(chosen, "question", text="", placeholder="Ask something …")
        row.operator("posellava.chat", text="", icon="PLAY")
        row = layout.row(align=True)
        row.prop(chosen, "shows_pose")
        if activity.chat.turns:
            row.operator("posellava.clear_chat", text="", icon="TRASH")


def _draw_turn(context: bpy.types.Context, layout: bpy.types.UILayout, asked: str, words: str) -> None:
    box = layout.box()
    wrapped(context, box, asked, "USER")
    wrapped(context, box, words.replace("<POSE>", "(pose)"), "SPEAKER")


def _draw_words_so_far(context: bpy.types.Context, layout: bpy.types.UILayout) -> None:
    """What is being said, as far as it has come."""
    handle = activity.handle
    if handle is None or handle.request.task not in SPOKEN_TASKS:
        return
    words = handle.progress.words if handle.progress is not None else ""
    _draw_turn(context, layout, handle.request.instruction, words or "…")
