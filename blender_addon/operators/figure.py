# SPDX-License-Identifier: GPL-3.0-or-later
"""Add SMPL Figure."""

import bpy

from ..rig.blender_types import OperatorResult
from ..rig.figure import add_figure


class POSELLAVA_OT_add_figure(bpy.types.Operator):
    """Add a person to pose: an armature with SMPL's 24 bones and a neutral body, at the 3D cursor"""

    bl_idname = "posellava.add_figure"
    bl_label = "Add SMPL Figure"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> OperatorResult:
        """Add the figure; it is then active and selected."""
        add_figure(context)
        return {"FINISHED"}
