# SPDX-License-Identifier: GPL-3.0-or-later
"""Recall an earlier instruction."""

import bpy
from bpy.props import StringProperty

from ..rig.blender_types import OperatorResult
from ..settings import settings


class POSELLAVA_OT_recall(bpy.types.Operator):
    """Put this instruction into the instruction field again"""

    bl_idname = "posellava.recall"
    bl_label = "Recall Instruction"
    bl_options = {"INTERNAL"}

    instruction: StringProperty()

    def execute(self, context: bpy.types.Context) -> OperatorResult:
        """Fill the field."""
        settings(context).instruction = self.instruction
        return {"FINISHED"}
