# SPDX-License-Identifier: Apache-2.0
"""Keys land on the bones, frames and channels that were asked for, and on no others."""

from __future__ import annotations

from typing import Any

import bpy
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from blender_addon.contract.skeleton import JOINT_INDEX
from blender_addon.rig.armature import Rig
from blender_addon.rig.bone_map import RigError
from blender_addon.rig.curves import action_curves, curves_of, key_times
from blender_addon.rig.frames import list_frames

ALL = frozenset(range(24))
ELBOW = JOINT_INDEX["left_elbow"]


def keyed(armature: Any) -> dict[str, list[float]]:
    """Frames of the keys by data path of the curve; all channels of a path are expected to agree."""
    found: dict[str, list[float]] = {}
    for curve in action_curves(armature):
        times = key_times(curve).tolist()
        assert found.setdefault(curve.data_path, times) == times
    return found


def bent(*degrees: float, joint: int = ELBOW, axis: int = 1) -> np.ndarray:
    poses = np.zeros((len(degrees), 24, 3))
    poses[:, joint, axis] = np.radians(degrees)
    return poses


def test_only_joints_that_change_and_may_move_are_keyed(make_armature, random_poses) -> None:
    armature = make_armature()
    report = Rig.of(armature).write([3, 5], random_poses(2), joints=frozenset({16, 18}))
    path = 'pose.bones["{}"].rotation_quaternion'
    assert keyed(armature) == {path.format(name): [3, 5] for name in ("L_Shoulder", "L_Elbow")}
    assert report.degrees.keys() == {"left_shoulder", "left_elbow"}
    assert report.keys == 2 * 2 * 4


def test_writing_the_pose_that_is_there_keys_nothing(make_armature, random_poses) -> None:
    armature = make_armature()
    rig = Rig.of(armature)
    rig.write([1, 9], random_poses(2), joints=ALL)
    before = keyed(armature)
    report = rig.write([1, 4, 9], rig.read([1, 4, 9]).astype(np.float32), joints=ALL)
    assert (report.degrees, report.keys) == ({}, 0)
    assert keyed(armature) == before


def test_a_joint_that_changes_at_one_frame_is_keyed_at_all_of_them(make_armature) -> None:
    armature = make_armature()
    report = Rig.of(armature).write([1, 2, 3], bent(0, 0, 40), joints=ALL)
    assert list(keyed(armature).values()) == [[1, 2, 3]]
    assert report.degrees == {"left_elbow": pytest.approx(40, abs=0.01)}


def test_frames_need_not_be_in_order(make_armature, apart) -> None:
    rig = Rig.of(make_armature())
    rig.write([9, 2], bent(90, 20), joints=ALL)
    assert apart(rig.read([2, 9]), bent(20, 90)).max() < 0.01


def test_bones_show_the_new_pose_only_at_the_current_frame(make_armature) -> None:
    armature = make_armature()
    rig = Rig.of(armature)
    bpy.context.scene.frame_set(4)
    rig.write([1, 9], bent(50, 60), joints=ALL)
    assert tuple(armature.pose.bones["L_Elbow"].rotation_quaternion) == (1, 0, 0, 0)
    rig.write([4, 6], bent(70, 80), joints=ALL)
    angle = 2 * np.degrees(np.arccos(armature.pose.bones["L_Elbow"].rotation_quaternion[0]))
    assert angle == pytest.approx(70, abs=0.01)


def test_what_is_not_keyed_outlives_an_edit_of_other_frames(make_armature) -> None:
    armature = make_armature()
    rig = Rig.of(armature)
    rig.write([1, 2, 3], bent(10, 20, 30, joint=JOINT_INDEX["left_knee"]), joints=ALL)
    knee = armature.pose.bones["L_Knee"]
    knee.rotation_quaternion = (0.8, 0.6, 0, 0)
    rig.write([2, 3], bent(50, 60), joints=frozenset({ELBOW}))
    bpy.context.view_layer.update()
    assert tuple(knee.rotation_quaternion) == pytest.approx((0.8, 0.6, 0, 0))
    assert np.allclose(knee.matrix_basis.to_quaternion(), (0.8, 0.6, 0, 0), atol=1e-6)


def test_new_keys_take_the_interpolation_of_the_keys_before(make_armature) -> None:
    armature = make_armature()
    rig = Rig.of(armature)
    rig.write([1, 20], bent(10, 80), joints=ALL)
    for curve in action_curves(armature):
        for point in curve.keyframe_points:
            point.interpolation = "CONSTANT"
    rig.write([10], bent(45), joints=ALL)
    kinds = {point.interpolation for curve in action_curves(armature) for point in curve.keyframe_points}
    assert kinds == {"CONSTANT"}


def test_keys_of_a_range_are_like_keys_set_by_hand(make_armature) -> None:
    by_hand, armature = make_armature(), make_armature()
    rig = Rig.of(armature)
    for frame in (1, 2, 3):
        Rig.of(by_hand).write([frame], bent(30 * frame), joints=ALL)
    for _ in range(2):  # over keys that are there already, too
        rig.write([1, 2, 3], bent(30, 60, 90), joints=ALL)
        rig.write([2, 3], bent(10, 10), joints=ALL)
    rig.write([1, 2, 3], bent(30, 60, 90), joints=ALL)
    for path, curve in curves_of(armature).items():
        for point, other in zip(curve.keyframe_points, curves_of(by_hand)[path].keyframe_points, strict=True):
            for name in ("interpolation", "handle_left_type", "handle_right_type", "type"):
                assert getattr(point, name) == getattr(other, name)
            for name in ("co", "handle_left", "handle_right"):
                assert tuple(getattr(point, name)) == pytest.approx(tuple(getattr(other, name)), abs=1e-5)


def test_under_nla_strips_the_keys_still_show_the_pose(make_armature, apart) -> None:
    armature = make_armature()
    rig = Rig.of(armature)
    rig.write([1], bent(70), joints=ALL)
    data = armature.animation_data
    strip = data.nla_tracks.new().strips.new("Below", 1, data.action)
    strip.frame_end = 40
    data.action = None
    bpy.context.scene.frame_set(5)
    assert apart(rig.read([5]), bent(70)).max() < 0.01
    rig.write([5, 9], bent(20, 40), joints=ALL)
    assert apart(rig.read([5, 9]), bent(20, 40)).max() < 0.01


def channel(armature: Any, name: str, index: int) -> list[float]:
    path = armature.pose.bones["L_Elbow"].path_from_id(name)
    return [point.co.y for point in curves_of(armature)[path, index].keyframe_points]


def test_euler_angles_do_not_flip(make_armature) -> None:
    armature = make_armature(bone_axes="smpl")
    armature.pose.bones["L_Elbow"].rotation_mode = "XYZ"
    angles = np.arange(100, 300, 20)
    Rig.of(armature).write(list(range(10)), bent(*angles, axis=2), joints=ALL)
    np.testing.assert_allclose(channel(armature, "rotation_euler", 2), np.radians(angles), atol=1e-4)


def test_whole_turns_between_the_keys_around_an_edit_are_kept(make_armature) -> None:
    """A spin of two turns, edited in its middle, still turns the same way round."""
    armature = make_armature(bone_axes="smpl")
    elbow = armature.pose.bones["L_Elbow"]
    elbow.rotation_mode = "XYZ"
    for frame, turns in ((0, 0.0), (40, 2.0)):
        elbow.rotation_euler.z = turns * 2 * np.pi
        elbow.keyframe_insert("rotation_euler", frame=frame)
    rig = Rig.of(armature)
    bpy.context.scene.frame_set(0)
    rig.write([20], bent(10, axis=2), joints=ALL)
    assert channel(armature, "rotation_euler", 2)[1] == pytest.approx(np.radians(370), abs=1e-4)


def test_an_edit_stays_compatible_with_the_key_before_it(make_armature) -> None:
    armature = make_armature(bone_axes="smpl")
    elbow = armature.pose.bones["L_Elbow"]
    elbow.rotation_mode = "ZXY"
    elbow.rotation_euler.z = np.radians(-170)
    elbow.keyframe_insert("rotation_euler", frame=1)
    elbow.rotation_euler.z = np.radians(10)
    elbow.keyframe_insert("rotation_euler", frame=10)
    Rig.of(armature).write([10], bent(175, axis=2), joints=ALL)
    assert channel(armature, "rotation_euler", 2)[1] == pytest.approx(np.radians(-185), abs=1e-4)


@pytest.mark.parametrize(("mode", "name"), [("QUATERNION", "rotation_quaternion"), ("AXIS_ANGLE",
                         "rotation_axis_angle")])  # fmt: skip
def test_four_channel_rotations_go_past_half_a_turn_without_a_jump(
    mode: str, name: str, make_armature
) -> None:
    armature = make_armature(bone_axes="smpl")
    armature.pose.bones["L_Elbow"].rotation_mode = mode
    Rig.of(armature).write(list(range(12)), bent(*range(100, 340, 20), axis=2), joints=ALL)
    values = np.array([channel(armature, name, index) for index in range(4)]).T
    assert np.abs(np.diff(values, axis=0)).max() < np.radians(20) + 1e-4


@pytest.mark.parametrize("mode", ["XYZ", "YZX", "ZXY"])
def test_locked_euler_channels_keep_their_value_and_the_others_do_what_they_can(
    mode: str, make_armature
) -> None:
    armature = make_armature(bone_axes="smpl")
    elbow = armature.pose.bones["L_Elbow"]
    elbow.rotation_mode = mode
    elbow.rotation_euler = (0.2, 0.0, -0.1)
    elbow.lock_rotation = (True, False, True)
    before = Rig.of(armature).read_current()
    wanted = before.copy()
    wanted[ELBOW] = [0.3, -1.1, 0.2]
    report = Rig.of(armature).write([1], wanted[None], joints=ALL)
    assert [curve.array_index for curve in action_curves(armature)] == [1]
    assert tuple(elbow.rotation_euler)[::2] == pytest.approx((0.2, -0.1))

    def miss(angle: float) -> float:
        elbow.rotation_euler.y = angle
        now = Rig.of(armature).read_current()[ELBOW]
        return (Rotation.from_rotvec(wanted[ELBOW]).inv() * Rotation.from_rotvec(now)).magnitude()

    reached = miss(channel(armature, "rotation_euler", 1)[0])
    assert reached <= min(map(miss, np.linspace(-np.pi, np.pi, 90))) + 1e-5
    assert "left_elbow" in report.degrees


@pytest.mark.parametrize("mode", ["QUATERNION", "AXIS_ANGLE"])
def test_locked_channels_of_four_stay_as_they_are(mode: str, make_armature, random_poses) -> None:
    armature = make_armature()
    elbow = armature.pose.bones["L_Elbow"]
    elbow.rotation_mode = mode
    elbow.lock_rotation, elbow.lock_rotations_4d, elbow.lock_rotation_w = (False, True, False), True, True
    name = "rotation_quaternion" if mode == "QUATERNION" else "rotation_axis_angle"
    setattr(elbow, name, (0.8, 0.36, 0.48, 0.0))
    Rig.of(armature).write([1], random_poses(1), joints=frozenset({ELBOW}))
    assert [curve.array_index for curve in action_curves(armature)] == [1, 3]
    values = getattr(elbow, name)
    assert (values[0], values[2]) == pytest.approx((0.8, 0.48))
    if mode == "QUATERNION":
        assert np.linalg.norm(values) == pytest.approx(1, abs=1e-6)


def test_an_entirely_locked_bone_is_reported_and_gets_no_key(make_armature) -> None:
    armature = make_armature()
    elbow = armature.pose.bones["L_Elbow"]
    elbow.rotation_mode = "XYZ"
    elbow.lock_rotation = (True, True, True)
    report = Rig.of(armature).write([1], bent(50), joints=ALL)
    assert report.held == ("left_elbow",)
    assert (report.degrees, report.keys) == ({}, 0)
    assert not any(elbow.rotation_euler)
    assert armature.animation_data is None


def test_curves_locked_in_the_editors_are_left_alone(make_armature) -> None:
    armature = make_armature()
    rig = Rig.of(armature)
    rig.write([1], bent(50), joints=ALL)
    for curve in action_curves(armature):
        curve.lock = True
    assert rig.write([1], bent(90), joints=ALL).held == ("left_elbow",)


def test_frames_are_the_current_one_the_selected_keys_or_the_range(make_armature) -> None:
    armature = make_armature()
    rig, scene = Rig.of(armature), bpy.context.scene
    rig.write([3, 8, 12], bent(10, 20, 30), joints=ALL)
    for curve in action_curves(armature):
        for point in curve.keyframe_points:
            point.select_control_point = point.co.x in (3, 12) and curve.array_index == 2
    scene.frame_set(7)
    scene.frame_start, scene.frame_end = 2, 5
    assert list_frames(rig, "CURRENT") == [7]
    assert list_frames(rig, "SELECTED") == [3, 12]
    assert list_frames(rig, "RANGE") == [2, 3, 4, 5]
    scene.use_preview_range, scene.frame_preview_start, scene.frame_preview_end = True, 4, 6
    assert list_frames(rig, "RANGE") == [4, 5, 6]


def test_in_pose_mode_only_keys_of_selected_bones_count(make_armature) -> None:
    armature = make_armature()
    rig = Rig.of(armature)
    rig.write([3], bent(10), joints=ALL)
    rig.write([8], bent(10, joint=JOINT_INDEX["right_knee"]), joints=frozenset({5}))
    bpy.ops.object.mode_set(mode="POSE")
    for pbone in armature.pose.bones:
        owner = pbone if hasattr(pbone, "select") else pbone.bone
        owner.select = pbone.name == "R_Knee"
    assert list_frames(rig, "SELECTED") == [8]


def test_no_selected_key_is_an_error_that_says_so(make_armature) -> None:
    with pytest.raises(RigError, match="No keyframe of this armature is selected"):
        list_frames(Rig.of(make_armature()), "SELECTED")
