# SPDX-License-Identifier: GPL-3.0-or-later
"""Recall an earlier instruction."""

from typing import Any

import bpy
from bpy.props import StringProperty

from ..settings import settings


class POSELLAVA_OT_recall(bpy.types.Operator):
    """Put this instruction into the instruction field again"""

    bl_idname = "posellava.recall"
    bl_label = "Recall Instruction"
    bl_options = {"INTERNAL"}

    instruction: StringProperty()

    def execute(self, context: Any) -> set[str]:
        """Fill the field."""
        settings(context).instruction = self.instruction
        return {"FINISHED"}
