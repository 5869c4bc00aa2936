# SPDX-License-Identifier: Apache-2.0
"""Under NLA strips an edit changes its frames and no others."""

from typing import Any

import bpy
from stage import (
    WALK,
    ask,
    bent,
    curves,
    figure,
    go,
    key,
    keyed_frames,
    near,
    part,
    refused,
    same,
    says,
    scene,
    turns,
    walk,
)

BONES = ("L_Hip", "R_Hip", "R_Knee", "L_Elbow")
AROUND = (1, 5, 10, 15, 18, 19, 21, 22, 25, 30, 35, 40, 50, 70)


def strip_of_walk(start: int = 1) -> tuple[Any, Any]:
    """A figure whose walk is in a strip, without an active action."""
    anna = figure()
    walk(anna)
    key(anna, "R_Knee", "x", (1, 5), (20, 30), (40, 5))
    data = anna.animation_data
    action = data.action
    data.action = None
    strip = data.nla_tracks.new().strips.new("Walk", start, action)
    return anna, strip


def edit_at(anna: Any, frame: float, instruction: str = "right_knee x 90", bone: str = "R_Knee") -> Any:
    """Edit one frame; the pose is there and nowhere else."""
    around = [one for one in AROUND if one != frame]
    before = turns(anna, BONES, around)
    go(frame)
    outcome = ask(instruction)
    near(bent(anna, bone, frame), 90)
    same(turns(anna, BONES, around), before)
    return outcome


@scene
def one_pose_over_a_strip() -> None:
    anna, _ = strip_of_walk()
    outcome = edit_at(anna, 20)
    says(outcome, "strip of their own")
    assert keyed_frames(anna, "R_Knee") == []


@scene
def what_is_posed_by_hand_and_in_no_strip_stays_at_every_other_frame() -> None:
    anna, _ = strip_of_walk()
    for name in ("L_Elbow", "Head"):
        anna.pose.bones[name].rotation_quaternion = (0.9, 0.3, 0.3, 0.1)
    edit_at(anna, 20, "left_elbow y -90", "L_Elbow")
    edit_at(anna, 30, "left_elbow y -90; right_knee x 90", "L_Elbow")
    near(bent(anna, "R_Knee", 30), 90)
    near(bent(anna, "L_Elbow", 20), 90)


@scene
def one_pose_over_a_moved_and_scaled_strip() -> None:
    anna, strip = strip_of_walk(11)
    strip.scale = 1.5
    edit_at(anna, 20)


@scene
def one_pose_over_a_reversed_strip() -> None:
    anna, strip = strip_of_walk()
    strip.use_reverse = True
    edit_at(anna, 20)


@scene
def one_pose_under_half_influence() -> None:
    anna, strip = strip_of_walk()
    strip.use_animated_influence = True
    strip.influence = 0.5
    edit_at(anna, 20)


@scene
def one_pose_over_combined_tracks() -> None:
    anna, strip = strip_of_walk()
    track = anna.animation_data.nla_tracks.new()
    over = track.strips.new("Over", 1, strip.action)
    over.blend_type = "COMBINE"
    edit_at(anna, 20)


@scene
def one_pose_over_added_tracks() -> None:
    anna, strip = strip_of_walk()
    over = anna.animation_data.nla_tracks.new().strips.new("Over", 5, strip.action)
    over.blend_type = "ADD"
    edit_at(anna, 20)


@scene
def one_pose_over_muted_tracks() -> None:
    anna, _ = strip_of_walk()
    anna.animation_data.nla_tracks[0].mute = True
    go(20)
    ask("right_knee x 90")
    assert keyed_frames(anna, "R_Knee") == [20]
    assert len(anna.animation_data.nla_tracks) == 1


@scene
def a_second_pose_at_another_frame() -> None:
    anna, _ = strip_of_walk()
    edit_at(anna, 20)
    edit_at(anna, 30, "left_elbow y -90", "L_Elbow")
    edit_at(anna, 25)


@scene
def a_second_edit_of_the_same_pose_goes_into_the_same_strip() -> None:
    anna, _ = strip_of_walk()
    edit_at(anna, 20)
    count = sum(len(track.strips) for track in anna.animation_data.nla_tracks)
    edit_at(anna, 20, "left_elbow y -90", "L_Elbow")
    assert sum(len(track.strips) for track in anna.animation_data.nla_tracks) == count
    near(bent(anna, "R_Knee", 20), 90)


@scene
def a_range_over_a_strip() -> None:
    anna, _ = strip_of_walk()
    outside = [*range(1, 10), *range(26, 45)]
    before = turns(anna, BONES, outside)
    ask("right_knee x 90", frame_list="10:25")
    for frame in (10, 17, 25):
        near(bent(anna, "R_Knee", frame), 90)
    same(turns(anna, BONES, outside), before)


@scene
def the_height_of_a_squat_over_a_strip() -> None:
    anna, _ = strip_of_walk()
    around = (1, 18, 22, 40)
    heights = [[*_pelvis(anna, frame)] for frame in around]
    go(20)
    ask("left_hip x -60; left_knee x 120; right_hip x -60; right_knee x 120")
    assert _pelvis(anna, 20).z < heights[0][2] - 0.2
    for frame, height in zip(around, heights, strict=True):
        near(_pelvis(anna, frame).z, height[2], 1e-4)


def _pelvis(anna: Any, frame: float) -> Any:
    go(frame)
    shown = anna.evaluated_get(bpy.context.evaluated_depsgraph_get())
    return (shown.matrix_world @ shown.pose.bones["Pelvis"].head).copy()


@scene
def an_action_over_a_strip_is_keyed_where_it_has_the_bone() -> None:
    anna, _ = strip_of_walk()
    anna.animation_data.action = bpy.data.actions.new("Over")
    key(anna, "R_Knee", "x", (1, 10), (40, 20))
    go(20)
    ask("right_knee x 90")
    assert keyed_frames(anna, "R_Knee") == [1, 20, 40]
    near(bent(anna, "R_Knee", 20), 90)


@scene
def an_action_over_a_strip_is_left_alone_where_it_lacks_the_bone() -> None:
    anna, _ = strip_of_walk()
    anna.animation_data.action = bpy.data.actions.new("Over")
    key(anna, "Head", "x", (1, 10), (40, 20))
    edit_at(anna, 20)
    assert keyed_frames(anna, "R_Knee") == []


def tweaked(start: int, scale: float) -> tuple[Any, Any]:
    """The strip of the walk in tweak mode."""
    anna, strip = strip_of_walk(start)
    strip.scale = scale
    data = anna.animation_data
    data.nla_tracks.active = data.nla_tracks[0]
    strip.select = True
    data.use_tweak_mode = True
    assert data.use_tweak_mode
    assert data.action is not None
    return anna, strip


@scene
def in_tweak_mode_the_edit_shows_at_the_scenes_frame() -> None:
    anna, _ = tweaked(50, 2.0)
    around = (1, 50, 60, 88, 90, 128, 140)
    before = turns(anna, ("L_Hip", "R_Hip"), around)
    go(70)
    ask("right_knee x 90")
    near(bent(anna, "R_Knee", 70), 90)
    same(turns(anna, ("L_Hip", "R_Hip"), around), before)
    assert 11 in keyed_frames(anna, "R_Knee")


@scene
def in_tweak_mode_a_bone_without_keys_is_anchored() -> None:
    anna, _ = tweaked(50, 2.0)
    around = (50, 60, 68, 72, 90, 128)
    before = turns(anna, ("L_Elbow",), around)
    go(70)
    ask("left_elbow y -90")
    near(bent(anna, "L_Elbow", 70), 90)
    same(turns(anna, ("L_Elbow",), around), before)


@scene
def selected_keys_in_tweak_mode_are_where_they_show() -> None:
    anna, _ = tweaked(50, 2.0)
    for curve in curves(anna):
        for point in curve.keyframe_points:
            point.select_control_point = point.co.x == 20
    frames = part("rig.frames").list_frames(part("rig.armature").Rig.of(anna), "SELECTED")
    assert frames == [88], frames
    ask("left_hip x -90", frames="SELECTED")
    assert keyed_frames(anna, "L_Hip") == [frame for frame, _ in WALK]
    near(bent(anna, "L_Hip", 88), 90)


@scene
def an_action_without_its_slot_is_refused() -> None:
    if bpy.app.version < (4, 4, 0):
        return
    anna = figure()
    walk(anna)
    anna.animation_data.action_slot = None
    assert "slot" in refused("right_knee x 90")
    assert len(anna.animation_data.action.slots) == 1
