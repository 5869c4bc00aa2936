# SPDX-License-Identifier: GPL-3.0-or-later
"""Key the last answer in another way: another of its variants, or on the targets of inverse kinematics."""

from dataclasses import replace

import bpy
from bpy.props import IntProperty

from ..rig.blender_types import OperatorResult
from ..rig.bone_map import RigError
from . import backend
from .activity import Variants, activity
from .grey import is_ready
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
        several = (
            not activity.running and activity.outcome is not None and activity.outcome.number_of_variants > 1
        )
        return is_ready(cls, several, "There is no last answer with several variants.")

    def execute(self, context: bpy.types.Context) -> OperatorResult:
        """Key it."""
        outcome = activity.outcome
        assert outcome is not None
        assert outcome.variants is not None
        number = (outcome.variants.chosen + self.step) % outcome.number_of_variants
        return _key(self, context, replace(outcome.variants, chosen=number))

    def draw(self, context: bpy.types.Context) -> None:
        """Called by Blender for its Adjust Last Operation panel, where there is nothing to adjust."""


class POSELLAVA_OT_key_ik_targets(bpy.types.Operator):
    """Move and key what IK follows, so that the limbs that it drives arrive where the last answer has them"""

    bl_idname = "posellava.key_ik_targets"
    bl_label = "Key IK Targets"
    bl_options = {"REGISTER", "UNDO", "INTERNAL"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Whether IK kept the last answer from arriving."""
        held = not activity.running and activity.outcome is not None and activity.outcome.held_by_ik
        return is_ready(cls, held, "IK kept no limb of the last answer from arriving.")

    def execute(self, context: bpy.types.Context) -> OperatorResult:
        """Key them."""
        outcome = activity.outcome
        assert outcome is not None
        assert outcome.variants is not None
        options = replace(outcome.variants.options, ik_targets=True)
        return _key(self, context, replace(outcome.variants, options=options))

    def draw(self, context: bpy.types.Context) -> None:
        """Called by Blender for its Adjust Last Operation panel, where there is nothing to adjust."""


def _key(operator: bpy.types.Operator, context: bpy.types.Context, variants: Variants) -> OperatorResult:
    """Key the variant that is chosen, and tell what came of it."""
    outcome = activity.outcome
    assert outcome is not None
    try:
        report = show(variants)
    except RigError as error:
        activity.fail(error, situation(context))
        operator.report({"ERROR"}, str(error))
        return {"CANCELLED"}
    activity.outcome = replace(outcome, variants=variants, report=report)
    backend.redraw()
    return {"FINISHED"}
