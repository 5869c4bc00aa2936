# SPDX-License-Identifier: Apache-2.0
"""Keys change only the frames that were chosen."""

import math
from typing import Any

import bpy
import numpy as np
from stage import (
    ask,
    bent,
    curves,
    figure,
    go,
    key,
    keyed_frames,
    near,
    part,
    same,
    says,
    scene,
    turns,
    walk,
)

KNEE = "right_knee x 90"
AROUND = (1, 10, 18, 19, 21, 22, 30, 40)


def keyed_figure() -> object:
    """A figure keyed at 1 and 40, the right knee not."""
    anna = figure()
    key(anna, "L_Elbow", "x", (1, 0), (40, 30))
    key(anna, "Head", "x", (1, 0), (40, 20))
    return anna


def bend_the_knee_at(*frames: int) -> None:
    """The right one, in one frame after the other."""
    for frame in frames:
        go(frame)
        ask(KNEE)


def bends_at_20_alone(anna: Any) -> None:
    """The right knee is asked to bend at frame 20, and bends at no frame around it."""
    bend_the_knee_at(20)
    near(bent(anna, "R_Knee", 20), 90)
    for frame in AROUND:
        near(bent(anna, "R_Knee", frame), 0, 0.01)


@scene
def one_key_on_a_bone_without_keys_holds_at_its_frame_only() -> None:
    anna = keyed_figure()
    bends_at_20_alone(anna)


@scene
def a_second_pose_of_such_a_bone_changes_no_frame_between() -> None:
    anna = keyed_figure()
    bend_the_knee_at(20, 30, 26)
    for frame in (20, 26, 30):
        near(bent(anna, "R_Knee", frame), 90)
    for frame in (1, 10, 19, 21, 22.5, 25, 27, 28, 29, 31, 35, 40):
        near(bent(anna, "R_Knee", frame), 0, 0.01)


@scene
def anchors_on_the_characters_keys_let_the_pose_come_and_go() -> None:
    anna = keyed_figure()
    go(20)
    ask(KNEE, anchors="KEYS")
    assert keyed_frames(anna, "R_Knee") == [1, 20, 40]
    near(bent(anna, "R_Knee", 20), 90)
    near(bent(anna, "R_Knee", 40), 0, 0.01)
    assert 10 < bent(anna, "R_Knee", 10) < 80


@scene
def a_key_alone_is_there_for_who_wants_it() -> None:
    anna = keyed_figure()
    go(20)
    ask(KNEE, anchors="NONE")
    assert keyed_frames(anna, "R_Knee") == [20]


@scene
def the_first_pose_of_a_figure_without_keys_is_one_key() -> None:
    anna = figure()
    bend_the_knee_at(7)
    assert keyed_frames(anna, "R_Knee") == [7]
    near(bent(anna, "R_Knee", 100), 90)


@scene
def a_pose_after_the_last_key_stays_and_changes_nothing_before() -> None:
    anna = keyed_figure()
    bend_the_knee_at(60)
    for frame in (1, 20, 40, 59):
        near(bent(anna, "R_Knee", frame), 0, 0.01)
    near(bent(anna, "R_Knee", 80), 90)


@scene
def a_bone_with_keys_on_both_sides_goes_over_from_and_to_them() -> None:
    anna = figure()
    key(anna, "R_Knee", "x", (1, 0), (40, 10))
    bend_the_knee_at(20)
    assert keyed_frames(anna, "R_Knee") == [1, 20, 40]


def range_in_a_motion(kind: str) -> None:
    anna = figure()
    key(anna, "R_Knee", "x", (1, 0), (14, 35), (25, 5), (40, 60), kind=kind)
    outside = [*range(1, 10), *range(31, 45), 4.5, 8.7, 31.4]
    before = turns(anna, ("R_Knee",), outside)
    ask("+right_knee x 25", frame_list="10:30")
    same(turns(anna, ("R_Knee",), outside), before)
    near(bent(anna, "R_Knee", 14), 10)  # the bone's x is the body's x the other way round


@scene
def a_range_in_a_smooth_motion_leaves_the_rest_as_it_was() -> None:
    range_in_a_motion("BEZIER")


@scene
def a_range_in_a_straight_motion_leaves_the_rest_as_it_was() -> None:
    range_in_a_motion("LINEAR")


@scene
def a_range_in_a_stepped_motion_leaves_the_rest_as_it_was() -> None:
    range_in_a_motion("CONSTANT")


@scene
def every_rotation_mode_is_anchored() -> None:
    for mode in ("XYZ", "ZXY", "AXIS_ANGLE"):
        bpy.ops.posellava.add_figure()
        anna = bpy.context.object
        key(anna, "Head", "x", (1, 0), (40, 20))
        anna.pose.bones["R_Knee"].rotation_mode = mode
        bends_at_20_alone(anna)


@scene
def poses_at_the_selected_keys_get_no_keys_between() -> None:
    anna = figure()
    walk(anna)
    for curve in curves(anna):
        for point in curve.keyframe_points:
            point.select_control_point = point.co.x in (10, 20, 30)
    ask("+left_hip x 10; right_elbow y 40", frames="SELECTED")
    assert keyed_frames(anna, "L_Hip") == [frame for frame, _ in WALK_FRAMES]
    assert keyed_frames(anna, "R_Elbow") == [9, 10, 20, 30, 31]


WALK_FRAMES = ((1, 0), (10, 0), (20, 0), (30, 0), (40, 0))


@scene
def a_range_of_sparse_keys_stays_sparse() -> None:
    anna = figure()
    walk(anna)
    scene_ = bpy.context.scene
    scene_.frame_start, scene_.frame_end = 1, 40
    ask("+left_hip x 10", frames="RANGE")
    assert keyed_frames(anna, "L_Hip") == [1, 10, 20, 30, 40]
    ask("+left_hip x 10", frames="RANGE", every_frame=True)
    assert keyed_frames(anna, "L_Hip") == list(range(1, 41))


@scene
def part_of_a_sparse_range_leaves_the_rest_as_it_was() -> None:
    anna = figure()
    walk(anna)
    scene_ = bpy.context.scene
    scene_.frame_start, scene_.frame_end = 15, 34
    outside = [*range(1, 15), *range(35, 45)]
    before = turns(anna, ("L_Hip",), outside)
    ask("+left_hip x 40", frames="RANGE")
    frames = keyed_frames(anna, "L_Hip")
    assert frames == [1, 10, 14, 15, 20, 30, 34, 35, 40], frames
    same(turns(anna, ("L_Hip",), outside), before)


@scene
def a_new_curve_follows_the_users_preferences() -> None:
    anna = figure()
    edit = bpy.context.preferences.edit
    was = edit.keyframe_new_interpolation_type, edit.keyframe_new_handle_type
    edit.keyframe_new_interpolation_type, edit.keyframe_new_handle_type = "LINEAR", "VECTOR"
    bpy.context.scene.tool_settings.keyframe_type = "BREAKDOWN"
    try:
        ask(KNEE, frame_list="1:4")
    finally:
        edit.keyframe_new_interpolation_type, edit.keyframe_new_handle_type = was
    points = [point for curve in curves(anna) for point in curve.keyframe_points]
    assert {point.interpolation for point in points} == {"LINEAR"}
    assert {point.type for point in points} == {"BREAKDOWN"}
    assert {point.handle_left_type for point in points} == {"VECTOR"}


@scene
def new_keys_on_a_curve_take_its_interpolation() -> None:
    anna = figure()
    key(anna, "R_Knee", "x", (1, 0), (40, 10), kind="CONSTANT")
    bend_the_knee_at(20)
    assert {point.interpolation for curve in curves(anna) for point in curve.keyframe_points} == {"CONSTANT"}


@scene
def without_keys_only_the_current_pose_changes() -> None:
    anna = keyed_figure()
    go(20)
    carry_out(part("rig.plan").WriteOptions(keyed=False), (20.0,))
    near(np.degrees(anna.pose.bones["R_Knee"].rotation_quaternion.angle), 90)
    assert keyed_frames(anna, "R_Knee") == []
    says(part("operators.activity").activity.outcome, "no key was set")


def carry_out(options: object, frames: tuple[float, ...]) -> None:
    """The course of an order as a button begins it."""
    work, backend = part("operators.work"), part("operators.backend")
    activity = part("operators.activity").activity
    activity.begin()
    backend.connect(bpy.context)
    parts = frozenset(part("contract.skeleton").BODY_PARTS)
    order = work.Order("adjust", KNEE, bpy.context.object.session_uid, frames, parts, 1.0, options=options)
    course = work.course(order, backend.connection(bpy.context))
    try:
        while True:
            wait = next(course)
            if wait is not None:
                assert wait(20.0)
    except StopIteration as end:
        activity.succeed(end.value)


@scene
def keys_are_set_when_the_preference_says() -> None:
    figure()
    ask_ = part("operators.ask")
    preferences = bpy.context.preferences.addons[part("settings").ADDON].preferences
    tools = bpy.context.scene.tool_settings
    found = []
    for when, auto in (("ALWAYS", False), ("AUTO", False), ("AUTO", True), ("NEVER", True)):
        preferences.keying, tools.use_keyframe_insert_auto = when, auto
        found.append(ask_.sets_keys(bpy.context))
    assert found == [True, False, True, False], found
    preferences.keying = "NEVER"
    outcome = ask(KNEE)
    assert outcome.report.keys, "a script always sets keys"
    preferences.keying = "ALWAYS"


@scene
def flipped_quaternions_stay_flipped() -> None:
    anna = figure()
    knee = anna.pose.bones["R_Knee"]
    for frame in (1, 40):
        knee.rotation_quaternion = (-math.cos(0.1), -math.sin(0.1), 0, 0)
        knee.keyframe_insert("rotation_quaternion", frame=frame)
    bend_the_knee_at(20)
    near(bent(anna, "R_Knee", 20), 90)
    path = knee.path_from_id("rotation_quaternion")
    w = next(curve for curve in curves(anna) if curve.data_path == path and curve.array_index == 0)
    assert all(point.co.y < 0 for point in w.keyframe_points)


@scene
def a_pose_between_frames_is_anchored_too() -> None:
    anna = keyed_figure()
    bpy.context.scene.frame_set(20, subframe=0.5)
    ask(KNEE)
    assert keyed_frames(anna, "R_Knee") == [19.5, 20.5, 21.5]
    near(bent(anna, "R_Knee", 20.5), 90)
    near(bent(anna, "R_Knee", 19), 0, 0.01)


@scene
def a_cycle_is_not_broken_by_a_key_in_one_of_its_repeats() -> None:
    anna = figure()
    key(anna, "R_Knee", "x", (1, 0), (10, 50), (20, 0))
    for curve in curves(anna):
        curve.modifiers.new("CYCLES")
    every = range(1, 100)
    before = turns(anna, ("R_Knee",), every)
    go(50)
    outcome = ask("right_knee x 90; left_knee x 30")
    same(turns(anna, ("R_Knee",), every), before)
    says(outcome, "Cycles modifier", "Moved left knee")
    bend_the_knee_at(10)
    near(bent(anna, "R_Knee", 10), 90)


@scene
def an_object_that_moves_is_an_animated_character_too() -> None:
    anna = figure()
    for frame in (1, 40):
        anna.location.x = frame
        anna.keyframe_insert("location", frame=frame)
    bend_the_knee_at(20)
    near(bent(anna, "R_Knee", 20), 90)
    near(bent(anna, "R_Knee", 10), 0, 0.01)
    near(bent(anna, "R_Knee", 30), 0, 0.01)


@scene
def an_active_keying_set_adds_no_channels_and_leaves_none_out() -> None:
    anna = figure()
    keying = bpy.context.scene.keying_sets.new(idname="elbow", name="Elbow")
    path = anna.pose.bones["L_Elbow"].path_from_id("location")
    keying.paths.add(anna, path)
    bpy.context.scene.keying_sets.active = keying
    ask(KNEE)
    assert keyed_frames(anna, "R_Knee") == [1]
    assert {curve.data_path for curve in curves(anna)} == {
        anna.pose.bones["R_Knee"].path_from_id("rotation_quaternion")
    }
