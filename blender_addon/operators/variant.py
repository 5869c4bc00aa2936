# SPDX-License-Identifier: GPL-3.0-or-later
"""Look at the model's other answers, one after the other."""

from dataclasses import replace

import bpy
from bpy.props import IntProperty

from ..rig.blender_types import OperatorResult
from ..rig.bone_map import RigError
from . import backend
from .activity import activity
from .situation import situation
from .work import show


class POSELLAVA_OT_show_variant(bpy.types.Operator):
    """Key another of the model's answers in the place of this one"""

    bl_idname = "posellava.show_variant"
    bl_label = "Show Variant"
    bl_options = {"REGISTER", "UNDO", "INTERNAL"}

    step: IntProperty(name="Step", default=1, options={"SKIP_SAVE"})

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Whether there are several."""
        return (
            not activity.running and activity.outcome is not None and activity.outcome.number_of_variants > 1
        )

    def execute(self, context: bpy.types.Context) -> OperatorResult:
        """Key it."""
        outcome = activity.outcome
        assert outcome is not None
        assert outcome.variants is not None
        number = (outcome.variants.chosen + self.step) % outcome.number_of_variants
        variants = replace(outcome.variants, chosen=number)
        try:
            report = show(variants)
        except RigError as error:
            activity.fail(error, situation(context))
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        activity.outcome = replace(outcome, variants=variants, report=report)
        backend.redraw()
        return {"FINISHED"}

    def draw(self, context: bpy.types.Context) -> None:
        """Called by Blender for its Adjust Last Operation panel, where there is nothing to adjust."""
