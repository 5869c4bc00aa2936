# SPDX-License-Identifier: Apache-2.0
"""Where IK drives a limb, its targets can be keyed so that the limb arrives."""

from typing import Any

import bpy
from mathutils import Vector
from stage import ask, bent, figure, go, key, keyed_frames, leg_on_ik, lowest, near, part, says, scene, shown

LEG = "left_hip x -50; left_knee x 92"


def arrived(anna: Any, outcome: Any, frame: float = 1) -> None:
    """The knee is bent as asked, and that is said."""
    near(bent(anna, "L_Knee", frame), 92, 1.0)
    near(bent(anna, "L_Hip", frame), 50, 1.5)
    assert not outcome.report.short, outcome.report.short
    says(outcome, "moved along: Target L")


@scene
def the_target_is_keyed_and_the_leg_arrives() -> None:
    anna = figure()
    target, _ = leg_on_ik(anna)
    held = ask(LEG, parts={"left_leg"})
    assert held.report.held_by_ik
    assert target.animation_data is None
    outcome = ask(LEG, parts={"left_leg"}, ik_targets=True)
    arrived(anna, outcome)
    assert target.animation_data is not None


@scene
def the_pole_is_keyed_with_it() -> None:
    anna = figure()
    leg_on_ik(anna, pole=True)
    near(bent(anna, "L_Hip", 1), 0, 1.0)
    outcome = ask(f"{LEG}; +left_hip y 25", parts={"left_leg"}, ik_targets=True)
    near(bent(anna, "L_Knee", 1), 92, 1.0)
    says(outcome, "Target L", "Pole L")
    assert all(short.degrees < 3 for short in outcome.report.short.values()), outcome.report.short


@scene
def what_the_foot_copies_turns_with_it() -> None:
    anna = figure()
    target, _ = leg_on_ik(anna)
    copy = anna.pose.bones["L_Ankle"].constraints.new("COPY_TRANSFORMS")
    copy.target = target
    target.matrix_world = anna.matrix_world @ anna.pose.bones["L_Ankle"].matrix
    bpy.context.view_layer.update()
    outcome = ask(f"{LEG}; left_ankle x 30", parts={"left_leg"}, ik_targets=True)
    arrived(anna, outcome)
    near(bent(anna, "L_Ankle", 1), 30, 1.5)


@scene
def a_bone_that_ik_follows_is_keyed() -> None:
    anna = figure()
    bpy.ops.object.mode_set(mode="EDIT")
    control = anna.data.edit_bones.new("Foot Control")
    ankle = anna.data.edit_bones["L_Ankle"]
    control.head, control.tail = ankle.head, ankle.head + Vector((0, -0.2, 0))
    bpy.ops.object.mode_set(mode="OBJECT")
    ik = anna.pose.bones["L_Knee"].constraints.new("IK")
    ik.target, ik.subtarget, ik.chain_count = anna, "Foot Control", 2
    bpy.context.view_layer.update()
    outcome = ask(LEG, parts={"left_leg"}, ik_targets=True)
    near(bent(anna, "L_Knee", 1), 92, 1.0)
    says(outcome, "moved along: Foot Control")
    assert keyed_frames(anna, "Foot Control", "location") == [1]


@scene
def other_frames_of_a_target_stay_as_they_are() -> None:
    anna = figure()
    target, _ = leg_on_ik(anna)
    key(anna, "L_Elbow", "x", (1, 0), (40, 30))
    start = target.location.copy()
    go(20)
    outcome = ask(LEG, parts={"left_leg"}, ik_targets=True)
    arrived(anna, outcome, 20)
    for frame in (1, 10, 19, 21, 30, 40):
        go(frame)
        near((target.location - start).length, 0, 1e-4)
        near(bent(anna, "L_Knee", frame), 0, 1.0)


@scene
def a_squat_of_legs_on_ik_stands_on_the_floor() -> None:
    anna = figure()
    for side in ("L", "R"):
        leg_on_ik(anna, side)
    floor = lowest(anna, 1)
    legs = "; ".join(
        f"{side}_{joint} x {degrees}"
        for side in ("left", "right")
        for joint, degrees in (("hip", -60), ("knee", 120), ("ankle", -60))
    )
    outcome = ask(legs, ik_targets=True)
    assert not outcome.report.short, outcome.report.short
    near(lowest(anna, 1), floor, 0.01)


@scene
def one_undo_takes_the_targets_back_too() -> None:
    anna = figure()
    target, _ = leg_on_ik(anna)
    start = target.location.copy()
    bpy.ops.ed.undo_push(message="before")
    ask(LEG, parts={"left_leg"}, ik_targets=True)
    bpy.ops.ed.undo_push(message="edit")
    bpy.ops.ed.undo()
    target, anna = bpy.data.objects["Target L"], bpy.data.objects["Anna"]
    near((target.location - start).length, 0, 1e-6)
    near(bent(anna, "L_Knee", 1), 0, 0.5)
    assert not shown(anna).pose.bones["L_Knee"].constraints["IK"].mute


@scene
def the_last_answer_is_keyed_on_the_targets_by_a_button() -> None:
    anna = figure()
    leg_on_ik(anna)
    held = ask(LEG, parts={"left_leg"})
    assert held.report.held_by_ik
    assert bpy.ops.posellava.key_ik_targets.poll()
    bpy.ops.posellava.key_ik_targets()
    outcome = part("operators.activity").activity.outcome
    arrived(anna, outcome)
    assert not bpy.ops.posellava.key_ik_targets.poll()
