# SPDX-License-Identifier: Apache-2.0
"""What is reported is what Blender shows, and what holds a joint is named."""

import math
from typing import Any

import bpy
from stage import ask, bent, curves, figure, go, key, leg_on_ik, near, refused, says, scene

KNEE = "left_knee x 92"


def held(anna: Any, outcome: Any, *words: str, joint: str = "left_knee", bone: str = "L_Knee") -> None:
    """The joint did not arrive, and that is said; how far off it is, is what shows."""
    says(outcome, "did not arrive", *words)
    assert joint in outcome.report.short
    assert not outcome.arrived
    near(92 - outcome.report.short[joint].degrees, bent(anna, bone, 1), 1.0)


def pinned_ankle() -> Any:
    """A figure whose left leg an IK constraint on the knee's bone holds where the ankle is."""
    anna = figure()
    leg_on_ik(anna)
    return anna


def bend_where_curves_are(state: str) -> tuple[Any, Any]:
    """A figure whose left knee has keys and is asked to bend while their curves are so; what came of it."""
    anna = figure()
    key(anna, "L_Knee", "x", (1, 0), (20, 5))
    for curve in curves(anna):
        setattr(curve, state, True)
    go(1)
    outcome = ask(KNEE)
    assert outcome.report.held == ("left_knee",)
    return anna, outcome


@scene
def a_joint_that_arrives_is_told_without_more() -> None:
    anna = figure()
    outcome = ask(KNEE)
    near(bent(anna, "L_Knee", 1), 92)
    assert outcome.arrived
    assert "did not" not in outcome.summary()


@scene
def an_ik_chain_holds_the_knee() -> None:
    anna = pinned_ankle()
    outcome = ask(KNEE, parts={"left_leg"})
    held(anna, outcome, "Nothing moved", "held by the IK constraint on L_Knee")


@scene
def an_ik_chain_holds_the_hip_above_it() -> None:
    pinned_ankle()
    outcome = ask("left_hip x -60", parts={"left_leg"})
    says(outcome, "Left hip did not arrive", "held by the IK constraint on L_Knee")
    assert "left_hip" in outcome.report.short


@scene
def a_copied_rotation_holds() -> None:
    anna = figure()
    copy = anna.pose.bones["L_Knee"].constraints.new("COPY_ROTATION")
    copy.target, copy.subtarget = anna, "R_Knee"
    copy.owner_space = copy.target_space = "LOCAL"
    held(anna, ask(KNEE), "held by the Copy Rotation constraint on L_Knee")


@scene
def a_limited_rotation_stops() -> None:
    anna = figure()
    limit = anna.pose.bones["L_Knee"].constraints.new("LIMIT_ROTATION")
    limit.use_limit_x = limit.use_limit_y = limit.use_limit_z = True
    limit.min_x, limit.max_x = math.radians(-76), math.radians(76)
    limit.owner_space = "LOCAL"
    outcome = ask(KNEE)
    held(anna, outcome, "16° off", "held by the Limit Rotation constraint on L_Knee")
    near(outcome.report.degrees["left_knee"], 76, 1.0)


@scene
def a_muted_constraint_holds_nothing() -> None:
    anna = figure()
    limit = anna.pose.bones["L_Knee"].constraints.new("LIMIT_ROTATION")
    limit.use_limit_x, limit.owner_space, limit.mute = True, "LOCAL", True
    assert ask(KNEE).arrived
    near(bent(anna, "L_Knee", 1), 92)


@scene
def a_driver_holds() -> None:
    anna = figure()
    knee = anna.pose.bones["L_Knee"]
    knee.rotation_mode = "XYZ"
    curve = knee.driver_add("rotation_euler", 0)
    curve.driver.expression = "-0.1"  # bent the same way
    bpy.context.view_layer.update()
    held(anna, ask(KNEE), "held by the driver on L_Knee")


@scene
def rest_position_is_said_before_anything_is_asked_and_can_be_left() -> None:
    anna = figure()
    anna.data.pose_position = "REST"
    assert "Rest Position" in refused(KNEE)
    assert not curves(anna)
    bpy.ops.posellava.leave_rest_position()
    assert ask(KNEE).arrived


@scene
def of_several_armatures_in_pose_mode_the_active_one_is_posed_and_that_is_said() -> None:
    anna = figure()
    ben = figure("Ben")
    anna.select_set(True)
    bpy.ops.object.mode_set(mode="POSE")
    assert (anna.mode, ben.mode) == ("POSE", "POSE")
    outcome = ask(KNEE)
    near(bent(ben, "L_Knee", 1), 92)
    near(bent(anna, "L_Knee", 1), 0)
    says(outcome, "Only Ben was posed", "1 other armature is in Pose Mode")


@scene
def muted_curves_show_nothing() -> None:
    _, outcome = bend_where_curves_are("mute")
    assert not outcome.report.degrees
    says(outcome, "Nothing was keyed", "curves of L_Knee are muted")


@scene
def locked_curves_show_nothing() -> None:
    anna, outcome = bend_where_curves_are("lock")
    says(outcome, "locked (left knee)")
    near(bent(anna, "L_Knee", 1), 0)


@scene
def noise_on_the_curves_holds() -> None:
    anna = figure()
    key(anna, "L_Knee", "x", (1, 0), (20, 5))
    for curve in curves(anna):
        noise = curve.modifiers.new("NOISE")
        noise.strength, noise.phase = 2.0, 3.7
    go(1)
    outcome = ask(KNEE)
    says(outcome, "did not arrive", "held by the Noise modifier")


@scene
def half_locked_channels_are_told_by_what_shows() -> None:
    anna = figure()
    knee = anna.pose.bones["L_Knee"]
    knee.rotation_mode = "XYZ"
    knee.lock_rotation = (True, False, False)
    outcome = ask("left_knee x 92")
    says(outcome, "did not arrive", "locked")
    near(outcome.report.degrees.get("left_knee", 0.0), bent(anna, "L_Knee", 1), 1.0)


@scene
def a_bone_that_takes_no_rotation_from_above_arrives() -> None:
    anna = figure()
    anna.data.bones["L_Knee"].use_inherit_rotation = False
    assert ask("left_hip x -40; left_knee x 50").arrived


@scene
def an_elbow_stops_at_its_limit_and_that_is_said_once() -> None:
    anna = figure()
    angles = []
    for _ in range(6):
        outcome = ask("+left_elbow y -40")
        angles.append(bent(anna, "L_Elbow", 1))
    for angle, wanted in zip(angles, (40, 80, 120, 160, 160, 160), strict=True):
        near(angle, wanted)
    outcome = ask("+left_elbow y -40; +right_elbow y 200", frame_list="1:3")
    assert outcome.summary().count("stops at its limit (160°)") == 1 or "Right elbow" in outcome.summary()


@scene
def an_elbow_that_begins_beyond_its_limit_is_not_pulled_in() -> None:
    anna = figure()
    ask("left_elbow y -172", limits=False)
    near(bent(anna, "L_Elbow", 1), 172)
    ask("right_elbow y 30")
    near(bent(anna, "L_Elbow", 1), 172)
    ask("+left_elbow y 4")
    near(bent(anna, "L_Elbow", 1), 168)


@scene
def without_limits_an_elbow_goes_on() -> None:
    anna = figure()
    ask("left_elbow y -175", limits=False)
    near(bent(anna, "L_Elbow", 1), 175)


@scene
def at_its_limit_a_joint_is_said_to_stop_there() -> None:
    figure()
    ask("left_elbow y -160")
    outcome = ask("+left_elbow y -30")
    says(outcome, "Nothing moved", "Left elbow stops at its limit (160°)")
