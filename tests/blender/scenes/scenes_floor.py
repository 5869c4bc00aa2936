# SPDX-License-Identifier: Apache-2.0
"""Feet that stood on the floor stand on it after an edit."""

import math
from typing import Any

import bpy
import numpy as np
from stage import (
    ask,
    bent,
    figure,
    go,
    key,
    keyed_frames,
    leg_on_ik,
    lowest,
    near,
    says,
    scene,
    shown,
    skin,
    soles,
    walk,
)

SQUAT = "; ".join(
    f"{side}_{joint} x {degrees}"
    for side in ("left", "right")
    for joint, degrees in (("hip", -60), ("knee", 120), ("ankle", -60))
)
SIT = "; ".join(
    f"{side}_{joint} x {degrees}"
    for side in ("left", "right")
    for joint, degrees in (("hip", -80), ("knee", 90), ("ankle", -10))
)
CENTIMETRE = 0.01


def figure_on_ik() -> Any:
    """A figure whose legs targets drive, the knees a little bent so that they know which way."""
    anna = figure()
    for side in ("L", "R"):
        leg_on_ik(anna, side)
    anna.pose.bones["L_Knee"].rotation_quaternion = anna.pose.bones["R_Knee"].rotation_quaternion = (
        math.cos(0.05), math.sin(0.05), 0, 0,
    )  # fmt: skip
    bpy.context.view_layer.update()
    return anna


def leaves_the_pelvis_alone(words: str) -> None:
    anna = figure()
    outcome = ask(words)
    assert not any(map(any, outcome.report.pelvis_shift))
    assert keyed_frames(anna, "Pelvis", "location") == []


@scene
def a_squat_stands_on_the_floor() -> None:
    anna = figure()
    floor = lowest(anna, 1)
    outcome = ask(SQUAT)
    near(lowest(anna, 1), floor, CENTIMETRE)
    assert outcome.report.pelvis_shift[0][2] < -0.3
    assert "pelvis" not in outcome.report.degrees


@scene
def a_squat_stands_on_the_floor_at_every_frame_of_a_range() -> None:
    anna = figure()
    floor = lowest(anna, 1)
    ask(SQUAT, frame_list="3:9")
    for frame in (3, 5, 9):
        near(lowest(anna, frame), floor, CENTIMETRE)


@scene
def a_squat_in_a_walk_keeps_each_frames_own_height() -> None:
    anna = figure()
    walk(anna)
    heights = {frame: lowest(anna, frame) for frame in (1, 6, 10, 15)}
    ask("left_knee x 80; right_knee x 80", frame_list="1:15")
    for frame, height in heights.items():
        near(lowest(anna, frame), height, CENTIMETRE)


@scene
def a_squat_of_a_small_figure_on_a_slope_stands_on_its_floor() -> None:
    anna = figure()
    anna.scale, anna.rotation_euler, anna.location = (0.02,) * 3, (0.3, 0.2, 1.0), (4, 5, 6)
    floor = lowest(anna, 1)
    ask(SQUAT)
    near(lowest(anna, 1), floor, 0.02 * CENTIMETRE)


@scene
def one_lifted_leg_moves_nothing_else() -> None:
    leaves_the_pelvis_alone("left_hip x -80; left_knee x 80")


@scene
def feet_stay_where_they_stand_when_the_figure_sits_down() -> None:
    anna = figure()
    anna.rotation_euler.z, anna.location = 0.7, (3, -2, 0.5)
    stood = soles(anna, 1)
    outcome = ask(SIT)
    assert np.linalg.norm(outcome.report.pelvis_shift[0][:2]) > 0.3
    near(np.abs(soles(anna, 1) - stood).max(), 0, CENTIMETRE)


@scene
def feet_stay_where_they_stand_while_the_change_comes_and_goes() -> None:
    anna = figure()
    key(anna, "L_Elbow", "x", (1, 0), (40, 30))
    stood = soles(anna, 1)
    ask(SIT, frame_list="10:30", range_mode="OFFSET", blend_in=6, blend_out=6, every_frame=True)
    places = np.array([soles(anna, frame) for frame in (1, 5, 9, 10, 12, 14, 20, 26, 28, 30, 31, 40)])
    near(np.abs(places - stood).max(), 0, CENTIMETRE)
    assert np.linalg.norm(shown(anna, 20).pose.bones["Pelvis"].location) > 0.3


@scene
def the_foot_that_carries_a_walk_stays_where_it_is() -> None:
    anna = figure()
    walk(anna)
    key(anna, "L_Knee", "x", (1, 5), (10, 5), (15, 60), (20, 5), (30, 5), (40, 5))
    key(anna, "R_Knee", "x", (1, 5), (5, 60), (10, 5), (20, 5), (25, 60), (30, 5), (40, 5))
    frames = range(1, 31)
    before = np.array([soles(anna, frame) for frame in frames])
    ask("+left_hip x -30; +right_hip x -30; +left_knee x 60; +right_knee x 60; +left_ankle x -30; +right_ankle x -30",
        frame_list="1:30", every_frame=True)  # fmt: skip
    after = np.array([soles(anna, frame) for frame in frames])
    places = np.array([shown(anna, frame).pose.bones["Pelvis"].location[:] for frame in frames])
    carries = before[:, :, 2].argmin(axis=1)
    higher = [np.diff(one[:, :, 2], axis=1)[:, 0] * (1 - 2 * carries) for one in (before, after)]
    clear = np.min(higher, axis=0) > 0.1  # the other foot is in the air before and after
    assert clear.sum() > 10, higher
    slid = (after - before)[np.arange(30), carries][clear]
    near(np.abs(slid).max(), 0, 2 * CENTIMETRE)
    assert np.abs(np.diff(places, axis=0)).max() < 0.1


@scene
def a_step_leaves_the_pelvis_where_it_is() -> None:
    figure()
    outcome = ask("left_hip x -30; right_hip x 30")
    near(np.abs(np.array(outcome.report.pelvis_shift)[:, :2]).max(), 0, 1e-3)


@scene
def a_figure_that_lies_down_does_so_where_it_stood() -> None:
    anna = figure()
    outcome = ask("pelvis x -90")
    near(np.abs(np.array(outcome.report.pelvis_shift)[:, :2]).max(), 0, 1e-6)
    assert outcome.report.pelvis_shift[0][2] < -0.5
    assert anna.pose.bones["Pelvis"].location.length > 0.5


@scene
def feet_of_a_pelvis_locked_in_place_are_said_to_slide() -> None:
    anna = figure()
    anna.pose.bones["Pelvis"].lock_location = (True, True, True)
    stood = soles(anna, 1)
    outcome = ask(SIT)
    slid = np.linalg.norm((soles(anna, 1) - stood)[:, :2], axis=1).mean()
    says(outcome, "hangs above its floor", f"planted feet slide by up to {100 * slid:.0f} cm")
    assert not outcome.arrived


@scene
def on_tiptoe_the_toes_do_not_sink_in() -> None:
    anna = figure()
    floor = skin(anna, 1)
    ask("left_ankle x 50; right_ankle x 50")
    near(skin(anna, 1), floor, CENTIMETRE)


@scene
def the_skin_itself_stands_on_the_floor() -> None:
    anna = figure()
    floor = skin(anna, 1)
    for words in (
        SQUAT,
        "left_hip x -70; left_knee x 90; right_hip x 20; right_knee x 40; right_ankle x -20",
        "left_hip x -90; right_hip x -90; left_knee x 10; right_knee x 10; left_shoulder z -80; right_shoulder z 80",
        "pelvis x 80; left_hip x -80; right_hip x -80; left_knee x 90; right_knee x 90; left_shoulder y -90",
        "pelvis z 90",
    ):
        ask(words)
        near(skin(anna, 1), floor, 1.5 * CENTIMETRE)


@scene
def a_body_in_the_air_stays_as_high_above_the_floor() -> None:
    anna = figure()
    anna.pose.bones["Pelvis"].location = (0, 1, 0)
    height = lowest(anna, bpy.context.scene.frame_current)
    ask(SQUAT)
    near(lowest(anna, 1), height, CENTIMETRE)


@scene
def edits_of_arms_leave_the_pelvis_alone() -> None:
    leaves_the_pelvis_alone("left_shoulder z -70; +spine1 x 40")


@scene
def a_pelvis_that_may_not_move_is_said_to_hang() -> None:
    anna = figure()
    outcome = ask(SQUAT, parts={"left_leg", "right_leg"})
    assert keyed_frames(anna, "Pelvis", "location") == []
    near(outcome.report.adrift, lowest(anna, 1), 0.06)
    says(outcome, "hangs above its floor")


@scene
def a_pelvis_locked_in_place_is_said_to_hang() -> None:
    anna = figure()
    anna.pose.bones["Pelvis"].lock_location = (True, True, True)
    outcome = ask(SQUAT)
    assert tuple(anna.pose.bones["Pelvis"].location) == (0, 0, 0)
    says(outcome, "hangs above its floor", "cm")


@scene
def the_height_is_anchored_with_the_legs() -> None:
    anna = figure()
    key(anna, "L_Elbow", "x", (1, 0), (40, 30))
    floor = lowest(anna, 1)
    go(20)
    ask(SQUAT)
    for frame in (1, 10, 20, 30, 40):
        near(lowest(anna, frame), floor, CENTIMETRE)
    near(shown(anna, 40).pose.bones["Pelvis"].location.length, 0, 1e-5)
    near(bent(anna, "R_Knee", 40), 0, 0.01)


@scene
def legs_that_follow_ik_targets_bend_when_the_pelvis_sinks() -> None:
    anna = figure_on_ik()
    floor = lowest(anna, 1)
    ask(SQUAT)
    near(lowest(anna, 1), floor, 0.1)


@scene
def targets_of_planted_feet_stay_where_they_are() -> None:
    anna = figure_on_ik()
    stood = soles(anna, 1)
    outcome = ask(SIT, ik_targets=True)
    assert not outcome.report.short, outcome.summary(24)
    near(np.abs(soles(anna, 1) - stood).max(), 0, 1.5 * CENTIMETRE)
