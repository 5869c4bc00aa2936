# SPDX-License-Identifier: Apache-2.0
"""A pose written onto an armature is the pose that Blender shows and the pose that is read back."""

from __future__ import annotations

from typing import Any

import bpy
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from blender_addon.contract.kinematics import forward_kinematics
from blender_addon.contract.rotations import axis_angle_to_matrix
from blender_addon.contract.skeleton import JOINT_INDEX, REST_OFFSETS
from blender_addon.rig.armature import Rig, WriteOptions, find_armature
from blender_addon.rig.bone_map import RigError
from blender_addon.rig.sample import is_plain

ALL = frozenset(range(24))
MODES = ["QUATERNION", "AXIS_ANGLE", "XYZ", "XZY", "YXZ", "YZX", "ZXY", "ZYX"]
Y_UP = Rotation.identity()
EXACT = 0.01  # degrees


def world_matrices(rig: Rig, frame: int) -> np.ndarray:
    """World matrices (24, 4, 4) of the joints' bones as Blender evaluates them."""
    bpy.context.scene.frame_set(frame)
    shown = rig.armature.evaluated_get(bpy.context.evaluated_depsgraph_get())
    bones = [shown.pose.bones[rig.bones[joint]] for joint in range(24)]
    return np.array([shown.matrix_world @ bone.matrix for bone in bones])


@pytest.mark.parametrize("mode", MODES)
def test_poses_come_back_in_every_rotation_mode(mode: str, make_armature, random_poses, apart) -> None:
    armature = make_armature()
    for pbone in armature.pose.bones:
        pbone.rotation_mode = mode
    rig, poses = Rig.of(armature), random_poses(4)
    rig.write([1, 2, 5, 9], poses, joints=ALL)
    assert apart(rig.read([1, 2, 5, 9]), poses).max() < EXACT
    assert {pbone.rotation_mode for pbone in armature.pose.bones} == {mode}


@pytest.mark.parametrize("axes", [Y_UP, Rotation.from_euler("xyz", [90, 0, 180], degrees=True), Rotation.random(
    random_state=5)], ids=["y up", "facing back", "askew"])  # fmt: skip
@pytest.mark.parametrize("bone_axes", ["random", "smpl"])
@pytest.mark.parametrize("extra", [False, True], ids=["24 bones", "extra bones"])
def test_poses_come_back_from_every_rest_orientation(
    axes: Rotation, bone_axes: str, extra: bool, make_armature, random_poses, apart
) -> None:
    armature = make_armature(axes=axes, bone_axes=bone_axes, extra=extra)
    for pbone in armature.pose.bones:
        if pbone.name.startswith(("twist", "root")):
            pbone.rotation_quaternion = Rotation.random(random_state=len(pbone.name)).as_quat()
    armature.rotation_euler, armature.location = (0.4, -0.7, 2.0), (3, -2, 1)
    armature.scale = (2.0, 0.5, 1.3)
    rig, poses = Rig.of(armature), random_poses(3, seed=1)
    rig.write([1, 2, 3], poses, joints=ALL)
    assert apart(rig.read([1, 2, 3]), poses).max() < EXACT


def test_on_a_rig_with_smpls_own_bone_axes_an_axis_angle_is_the_bones_rotation(
    make_armature, random_poses
) -> None:
    """As in MPI's rig: bones' axes are SMPL's, Y up, the object stood up by 90 degrees about X."""
    armature = make_armature(axes=Y_UP, bone_axes="smpl")
    armature.rotation_euler.x = np.pi / 2
    poses = random_poses(1, seed=2)
    rig = Rig.of(armature)
    rig.write([1], poses, joints=ALL)
    for joint in range(24):
        w, x, y, z = armature.pose.bones[rig.bones[joint]].rotation_quaternion
        turned = Rotation.from_quat([x, y, z, w])
        assert np.degrees((turned.inv() * Rotation.from_rotvec(poses[0, joint])).magnitude()) < EXACT


@pytest.mark.parametrize("yaw", [0.0, 2.1])
def test_bones_stand_in_the_world_as_forward_kinematics_says(yaw: float, make_armature, random_poses) -> None:
    armature = make_armature()
    armature.rotation_euler.z, armature.scale = yaw, (1.7, 1.7, 1.7)
    rig, poses = Rig.of(armature), random_poses(2, seed=3)
    rest = world_matrices(rig, 1)
    rig.write([1, 4], poses, joints=ALL)
    posed = world_matrices(rig, 4)
    rotations, positions = forward_kinematics(axis_angle_to_matrix(poses[1]))
    to_world = (Rotation.from_euler("z", yaw) * Rotation.from_euler("x", np.pi / 2)).as_matrix()
    np.testing.assert_allclose(posed[:, :3, 3] - posed[0, :3, 3], 1.7 * positions @ to_world.T, atol=1e-4)
    expected = to_world @ rotations @ to_world.T @ rest[:, :3, :3]
    np.testing.assert_allclose(posed[:, :3, :3], expected, atol=1e-4)


def test_a_constrained_bone_is_read_as_it_shows(make_armature, apart) -> None:
    armature = make_armature(bone_axes="smpl")
    rig = Rig.of(armature)
    pose = np.zeros((1, 24, 3))
    pose[0, JOINT_INDEX["left_elbow"]] = [0.3, -1.2, 0.1]
    rig.write([1], pose, joints=ALL)
    copy = armature.pose.bones["R_Elbow"].constraints.new("COPY_ROTATION")
    copy.target, copy.subtarget = armature, "L_Elbow"
    copy.owner_space = copy.target_space = "LOCAL"
    assert not is_plain(armature)
    pose[0, JOINT_INDEX["right_elbow"]] = pose[0, JOINT_INDEX["left_elbow"]]
    assert apart(rig.read([1]), pose).max() < EXACT


def test_curves_and_blenders_own_evaluation_agree(make_armature, random_poses, apart) -> None:
    armature = make_armature(extra=True)
    for pbone, mode in zip(armature.pose.bones, MODES * 8, strict=False):
        pbone.rotation_mode = mode
    rig = Rig.of(armature)
    rig.write([1, 20], random_poses(2, seed=4), joints=ALL)
    assert is_plain(armature)
    quick = rig.read([1, 7, 13.5, 20])
    constraint = armature.pose.bones["Head"].constraints.new("LIMIT_LOCATION")
    assert not is_plain(armature)
    assert apart(rig.read([1, 7, 13.5, 20]), quick).max() < EXACT
    constraint.mute = True
    assert is_plain(armature)


@pytest.mark.parametrize("plain", [True, False])
def test_reading_other_frames_keeps_the_frame_and_what_is_not_keyed(
    plain: bool, make_armature, random_poses, apart
) -> None:
    armature = make_armature()
    rig, poses = Rig.of(armature), random_poses(3, seed=5)
    bpy.context.scene.frame_set(10)
    rig.write([1, 10, 20], poses, joints=ALL)
    knee = armature.pose.bones["L_Knee"]
    knee.rotation_quaternion = (0.8, 0.6, 0, 0)
    if not plain:
        armature.pose.bones["Head"].constraints.new("LIMIT_LOCATION")
    read = rig.read([1, 10, 20])
    assert apart(read[[0, 2]], poses[[0, 2]]).max() < EXACT
    assert apart(read[1], poses[1])[JOINT_INDEX["left_knee"]] > 1
    assert bpy.context.scene.frame_current == 10
    assert tuple(knee.rotation_quaternion) == pytest.approx((0.8, 0.6, 0, 0))


def test_an_object_turned_by_animation_is_read_frame_by_frame(make_armature, apart) -> None:
    armature = make_armature()
    for frame, tip in ((1, 0.0), (10, -np.pi / 2)):
        armature.rotation_euler.x = tip
        armature.keyframe_insert("rotation_euler", frame=frame)
    bpy.context.scene.frame_set(5)
    read = Rig.of(armature).read([1, 10])
    assert apart(read[0], np.zeros((24, 3))).max() < EXACT
    np.testing.assert_allclose(read[1, 0], [-np.pi / 2, 0, 0], atol=1e-4)


def test_bones_without_inherited_rotation_are_posed_all_the_same(make_armature, random_poses, apart) -> None:
    armature = make_armature()
    for name in ("Head", "L_Elbow"):
        armature.data.bones[name].use_inherit_rotation = False
    rig, poses = Rig.of(armature), random_poses(1, seed=6)
    rig.write([1], poses, joints=ALL)
    assert apart(rig.read([1]), poses).max() < EXACT
    armature.pose.bones["Neck"].constraints.new("LIMIT_LOCATION")  # the same, evaluated by Blender
    assert apart(rig.read([1]), poses).max() < EXACT


def test_smplx_hands_are_left_out(make_armature, random_poses, apart, long_names) -> None:
    names = [*long_names[:22], "left_index1", "right_index1"]
    rig = Rig.of(make_armature(names=names))
    assert (rig.family, rig.missing) == ("SMPL-H", {22, 23})
    poses = random_poses(1)
    report = rig.write([1], poses, joints=ALL)
    assert "left_hand" not in report.degrees
    read = rig.read([1])
    assert apart(read, poses)[0, :22].max() < EXACT
    assert not read[0, 22:].any()


def squat() -> np.ndarray:
    pose = np.zeros((24, 3))
    for side in ("left", "right"):
        pose[JOINT_INDEX[f"{side}_hip"], 0] = -np.radians(60)
        pose[JOINT_INDEX[f"{side}_knee"], 0] = np.radians(120)
        pose[JOINT_INDEX[f"{side}_ankle"], 0] = -np.radians(60)
    return pose


@pytest.mark.parametrize("extra", [False, True], ids=["24 bones", "extra bones"])
@pytest.mark.parametrize("local_location", [True, False])
def test_feet_stay_on_the_floor_in_a_squat(extra: bool, local_location: bool, make_armature) -> None:
    armature = make_armature(extra=extra)
    armature.data.bones["Pelvis"].use_local_location = local_location
    armature.rotation_euler, armature.scale = (0.3, 0.2, 1.0), (0.02, 0.02, 0.02)
    if extra:
        armature.pose.bones["root"].rotation_quaternion = (0.9, 0.1, 0.3, 0.2)
    rig = Rig.of(armature)
    before = world_matrices(rig, 1)[:, 2, 3]
    report = rig.write([1, 2], np.stack([squat() / 2, squat()]) + rig.read_current(), joints=ALL)
    after = world_matrices(rig, 2)[:, 2, 3]
    assert after.min() == pytest.approx(before.min(), abs=1e-6)
    assert after[0] - before[0] == pytest.approx(report.pelvis_shift[1][2], abs=1e-6)
    assert report.pelvis_shift[1][2] < -0.001


def test_a_squat_over_a_walk_in_an_nla_strip_goes_on_walking(make_armature) -> None:
    armature = make_armature(bone_axes="random")  # so that sinking needs every channel
    pelvis = armature.pose.bones["Pelvis"]
    for frame, place in ((1, 0.0), (11, 1.0)):
        pelvis.location = (0, 0, place)
        pelvis.keyframe_insert("location", frame=frame)
    data = armature.animation_data
    data.nla_tracks.new().strips.new("Walk", 1, data.action)
    data.action = None
    rig = Rig.of(armature)
    before = world_matrices(rig, 11)[0, :, 3]
    bpy.context.scene.frame_set(1)
    rig.write([1, 11], np.stack([squat(), squat()]), joints=ALL)
    after = world_matrices(rig, 11)[0, :, 3]
    moved = np.abs(after - before)[:3]
    assert np.sort(moved)[:2] == pytest.approx(0, abs=1e-5)  # it sinks, and that is all
    assert moved.max() > 0.1


def test_a_squat_sinks_by_what_the_legs_are_shorter(make_armature) -> None:
    rig = Rig.of(make_armature())
    report = rig.write([1], squat()[None], joints=ALL)
    legs = abs(REST_OFFSETS[4, 1] + REST_OFFSETS[7, 1])
    assert report.pelvis_shift[0] == pytest.approx((0, 0, -legs / 2), abs=1e-5)


def test_legs_that_bend_under_a_pelvis_that_does_not_turn_take_it_along_at_every_frame(make_armature) -> None:
    rig = Rig.of(make_armature())
    floor = world_matrices(rig, 1)[:, 2, 3].min()
    depths = np.array([0.2, 1.0, 0.5])
    report = rig.write([1, 5, 9], depths[:, None, None] * squat(), joints=ALL, kept=frozenset({0, 12}))
    assert [world_matrices(rig, frame)[:, 2, 3].min() for frame in (1, 5, 9)] == pytest.approx(
        3 * [floor], abs=1e-6
    )
    assert "pelvis" not in report.degrees
    assert np.diff([report.pelvis_shift[row][2] for row in (1, 2, 0)]).min() > 0 > report.pelvis_shift[0][2]


def sitting() -> np.ndarray:
    pose = np.zeros((24, 3))
    for side in ("left", "right"):
        pose[JOINT_INDEX[f"{side}_hip"], 0], pose[JOINT_INDEX[f"{side}_knee"], 0] = np.radians([-90, 90])
    return pose


ANKLES = (7, 8)


@pytest.mark.parametrize("extra", [False, True], ids=["24 bones", "extra bones"])
def test_feet_stay_where_they_stand_at_every_frame(extra: bool, make_armature) -> None:
    armature = make_armature(extra=extra)
    armature.rotation_euler, armature.scale = (0, 0, 1.0), (0.02, 0.02, 0.02)
    rig = Rig.of(armature)
    shares = np.array([0.1, 0.4, 0.7, 1.0, 0.3])
    before = world_matrices(rig, 1)[ANKLES, :3, 3]
    report = rig.write([1, 2, 3, 4, 5], shares[:, None, None] * sitting(), joints=ALL)
    for frame, shift in enumerate(report.pelvis_shift, start=1):
        assert world_matrices(rig, frame)[ANKLES, :3, 3] == pytest.approx(before, abs=1e-4)
        assert np.linalg.norm(shift[:2]) > 0.02 * 0.03
    assert report.slid == 0


def test_a_row_of_whole_poses_leaves_the_pelvis_at_its_place_along_the_floor(make_armature) -> None:
    rig = Rig.of(make_armature())
    before = world_matrices(rig, 1)[0, :3, 3]
    for pose in (sitting(), squat(), 0.5 * sitting()):
        report = rig.write([1], pose[None], joints=ALL, options=WriteOptions(planted=False))
        assert report.slid == 0
        assert world_matrices(rig, 1)[0, :2, 3] == pytest.approx(before[:2], abs=1e-6)
    assert world_matrices(rig, 1)[0, 2, 3] < before[2] - 0.01


def test_where_one_channel_is_locked_the_others_follow_and_what_is_left_is_told(make_armature) -> None:
    armature = make_armature(bone_axes="smpl")
    rig = Rig.of(armature)
    armature.pose.bones["Pelvis"].lock_location = (False, False, True)  # to the front and to the back
    before = world_matrices(rig, 1)[ANKLES, :3, 3]
    report = rig.write([1], sitting()[None], joints=ALL)
    slide = world_matrices(rig, 1)[ANKLES, :3, 3] - before
    assert slide[:, 2] == pytest.approx(0, abs=1e-5)
    assert report.adrift == 0
    assert report.slid == pytest.approx(np.linalg.norm(slide[:, :2], axis=1).mean(), abs=1e-3)
    armature.pose.bones["Pelvis"].lock_location = (False, True, False)
    report = rig.write([2], sitting()[None] * 0.5, joints=ALL)
    assert report.adrift != 0
    assert report.slid == 0


@pytest.mark.parametrize("reason", ["pelvis may not move", "location locked", "arms only"])
def test_the_pelvis_stays_where_it_may_not_or_need_not_follow(reason: str, make_armature) -> None:
    armature = make_armature(bone_axes="smpl")
    pelvis = armature.pose.bones["Pelvis"]
    pose, joints = squat(), ALL
    if reason == "pelvis may not move":
        joints = ALL - {0}
    elif reason == "location locked":
        pelvis.lock_location = (True, True, True)
    else:
        pose = np.zeros((24, 3))
        pose[JOINT_INDEX["left_shoulder"], 2] = 1.0
    report = Rig.of(armature).write([1], pose[None], joints=joints)
    assert not np.any(report.pelvis_shift)
    assert tuple(pelvis.location) == (0, 0, 0)


def test_the_armature_is_the_active_one_or_that_of_the_active_mesh(make_armature) -> None:
    first, second = make_armature(), make_armature()
    mesh = bpy.data.objects.new("Body", bpy.data.meshes.new("Body"))
    bpy.context.collection.objects.link(mesh)
    mesh.modifiers.new("Armature", "ARMATURE").object = first
    assert find_armature(bpy.context) == second
    bpy.context.view_layer.objects.active = mesh
    assert find_armature(bpy.context) == first


def test_without_an_armature_the_user_is_told_what_to_do(make_armature) -> None:
    with pytest.raises(RigError, match="Add SMPL Figure"):
        find_armature(bpy.context)
    cube = bpy.data.objects.new("Cube", bpy.data.meshes.new("Cube"))
    bpy.context.collection.objects.link(cube)
    with pytest.raises(RigError, match="No armature"):
        Rig.of(cube)
    make_armature(), make_armature()
    bpy.context.view_layer.objects.active = cube
    with pytest.raises(RigError, match="Several armatures"):
        find_armature(bpy.context)


@pytest.mark.parametrize(
    ("frames", "poses"),
    [([1, 2], np.zeros((1, 24, 3))), ([1], np.zeros((1, 22, 3))), ([1], np.full((1, 24, 3), np.nan)), ([1, 1],
     np.zeros((2, 24, 3)))],
    ids=["frames", "joints", "nan", "twice"],
)  # fmt: skip
def test_bad_poses_are_refused_and_change_nothing(frames: list[int], poses: Any, make_armature) -> None:
    armature = make_armature()
    with pytest.raises(ValueError, match=r"\."):
        Rig.of(armature).write(frames, poses, joints=ALL)
    assert armature.animation_data is None
