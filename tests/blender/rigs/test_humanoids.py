# SPDX-License-Identifier: Apache-2.0
"""Every armature of the list is known, posed as SMPL's figure is, and left alone where nothing was asked."""

from __future__ import annotations

from typing import Any

import bpy
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from blender_addon.contract.skeleton import JOINT_INDEX, STANDING_POSE
from blender_addon.rig.armature import Rig
from blender_addon.rig.bone_map import RigError
from blender_addon.rig.figure import add_figure
from tests.blender.rigs.humanoids import HUMANOIDS, NO_HUMANOIDS, Humanoid

ALL = frozenset(range(24))
LEFT_ARM = frozenset(JOINT_INDEX[f"left_{name}"] for name in ("collar", "shoulder", "elbow", "wrist", "hand"))
STANDING = np.asarray(STANDING_POSE, dtype=np.float64)


def raised() -> np.ndarray:
    """The left arm at shoulder height, forward and to the side, a little bent."""
    pose = STANDING.copy()
    turn = Rotation.from_euler("zy", [0, -50], degrees=True)
    pose[JOINT_INDEX["left_shoulder"]] = turn.as_rotvec()
    pose[JOINT_INDEX["left_elbow"]] = np.radians([0, -25, 0])
    return pose


def squat() -> np.ndarray:
    """Both knees bent, the feet flat."""
    pose = STANDING.copy()
    for side in ("left", "right"):
        for name, degrees in (("hip", -70), ("knee", 110), ("ankle", -40)):
            pose[JOINT_INDEX[f"{side}_{name}"]] = np.radians([degrees, 0, 0])
    return pose


def made(humanoid: Humanoid) -> Any:
    try:
        armature = humanoid.make()
    except FileNotFoundError as error:
        pytest.skip(f"{error} is not there")
    # Its own animation would only change where it begins, and a stretched object shears the best of poses.
    armature.scale = [np.cbrt(abs(np.prod(armature.scale)))] * 3
    data = armature.animation_data
    if data is not None:
        data.action = None
        for track in list(data.nla_tracks):
            data.nla_tracks.remove(track)
    for pbone in armature.pose.bones:
        pbone.matrix_basis.identity()
    bpy.context.view_layer.update()
    return armature


def bones_now(armature: Any) -> dict[str, np.ndarray]:
    """World matrices (4, 4) of all bones as Blender evaluates them."""
    bpy.context.view_layer.update()
    shown = armature.evaluated_get(bpy.context.evaluated_depsgraph_get())
    return {bone.name: np.array(shown.matrix_world @ bone.matrix) for bone in shown.pose.bones}


class Seen:
    """Where an armature's joints are in the world, by the bones that show them."""

    def __init__(self, rig: Rig) -> None:
        self._bones = bones_now(rig.armature)
        shown = rig.bone_map.shown
        self.at = {
            name: self._bones[shown.get(joint, rig.bones[joint])][:3, 3]
            for name, joint in JOINT_INDEX.items()
            if joint in rig.bones
        }
        across = self.at["left_hip"] - self.at["right_hip"]
        across[2] = 0
        left = across / np.linalg.norm(across)
        self.axes = np.stack([left, [0, 0, 1], np.cross(left, [0, 0, 1])])

    def direction(self, start: str, end: str) -> np.ndarray:
        """Of a segment, to the body's left, up and ahead."""
        along = self.axes @ (self.at[end] - self.at[start])
        return along / np.linalg.norm(along)


def degrees(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b)), a @ b)))


def turned(before: np.ndarray, after: np.ndarray) -> float:
    """Degrees by which a bone's axes turned; scale and mirroring taken out."""
    axes = [matrix[:3, :3] / np.linalg.norm(matrix[:3, :3], axis=0) for matrix in (before, after)]
    return max(degrees(axes[0][:, column], axes[1][:, column]) for column in range(3))


def write(rig: Rig, pose: np.ndarray, joints: frozenset[int] = ALL) -> Any:
    return rig.write([bpy.context.scene.frame_current], pose[None], joints=joints)


def fk_rig(humanoid: Humanoid) -> Rig:
    """The armature with nothing between the keyed bones and what shows."""
    armature = made(humanoid)
    rig = Rig.of(armature)
    for switch in rig.bone_map.switches:
        if switch.bone in armature.pose.bones and switch.name in armature.pose.bones[switch.bone]:
            armature.pose.bones[switch.bone][switch.name] = switch.fk
    torso = armature.pose.bones.get("torso")
    if torso is not None:
        torso["neck_follow"] = torso["head_follow"] = 1.0  # else they stay as they are while the chest turns
    armature.update_tag()
    bpy.context.view_layer.update()
    return rig


every = pytest.mark.parametrize("humanoid", HUMANOIDS, ids=lambda one: one.name)


@every
def test_the_armature_is_known(humanoid: Humanoid) -> None:
    rig = Rig.of(made(humanoid))
    assert rig.family == humanoid.family
    assert rig.bone_map.known_by == humanoid.known_by


@every
def test_the_zero_pose_stands_in_the_world_as_a_t(humanoid: Humanoid) -> None:
    rig = fk_rig(humanoid)
    write(rig, np.zeros((24, 3)))
    seen = Seen(rig)
    for side, out in (("left", 1.0), ("right", -1.0)):
        for start, end in (("shoulder", "elbow"), ("elbow", "wrist")):
            assert degrees(seen.direction(f"{side}_{start}", f"{side}_{end}"), np.array([out, 0, 0])) < 5
        for start, end in (("hip", "knee"), ("knee", "ankle")):
            if f"{side}_{end}" in seen.at:
                assert degrees(seen.direction(f"{side}_{start}", f"{side}_{end}"), np.array([0, -1, 0])) < 5
        if f"{side}_foot" in seen.at:
            assert seen.direction(f"{side}_ankle", f"{side}_foot")[2] > 0.5
    assert degrees(seen.direction("left_hip", "left_shoulder") + seen.direction("right_hip", "right_shoulder"),
                   np.array([0, 1, 0])) < 15  # fmt: skip


@every
def test_a_pose_sent_and_returned_moves_no_bone(humanoid: Humanoid) -> None:
    rig = fk_rig(humanoid)
    rng = np.random.default_rng(1)
    for joint in sorted(rig.bones):
        if joint:
            pbone = rig.pose_bone(joint)
            pbone.rotation_mode = "XYZ"
            pbone.rotation_euler = rng.normal(0, 0.25, 3)
    before = bones_now(rig.armature)
    frame = [bpy.context.scene.frame_current]
    sent = rig.read(frame).astype(np.float32)
    assert write(rig, sent[0].astype(np.float64)).keys == 0
    write(rig, STANDING)
    write(rig, sent[0].astype(np.float64), joints=ALL)
    after = bones_now(rig.armature)
    played = {rig.names[bone] for link in rig.tree.links for bone in (link.bones[-1], link.shown)}
    assert max(turned(before[name], after[name]) for name in played) < 0.1


@pytest.fixture(scope="module")
def arm_of_the_figure() -> dict[tuple[str, str], np.ndarray]:
    """Where the segments of the figure's raised arm point."""
    figure = Rig.of(add_figure(bpy.context))
    write(figure, raised())
    wanted = Seen(figure)
    arm = [("left_shoulder", "left_elbow"), ("left_elbow", "left_wrist")]
    return {segment: wanted.direction(*segment) for segment in arm}


@every
def test_the_left_arm_is_raised_as_the_figures_is_and_nothing_else_moves(
    humanoid: Humanoid, arm_of_the_figure: dict[tuple[str, str], np.ndarray]
) -> None:
    rig = fk_rig(humanoid)
    write(rig, STANDING)
    before, there = bones_now(rig.armature), Seen(rig)
    report = write(rig, raised(), joints=LEFT_ARM)
    after, seen = bones_now(rig.armature), Seen(rig)
    for segment, direction in arm_of_the_figure.items():
        assert degrees(seen.direction(*segment), direction) < 5
    assert set(report.degrees) <= {"left_shoulder", "left_elbow", "left_wrist"}
    still = [
        rig.names[bone]
        for link in rig.tree.links
        if not LEFT_ARM & set(link.joints)
        for bone in (*link.bones, link.shown)
    ]
    assert max(turned(before[name], after[name]) for name in still) < 0.01
    tall = np.linalg.norm(there.at["head"] - there.at["left_knee"])
    for name in ("left_knee", "right_knee", "left_ankle", "right_ankle"):
        if name in seen.at:
            assert np.linalg.norm(seen.at[name] - there.at[name]) < 1e-4 * tall


@every
def test_a_squat_stands_on_the_floor_and_moves_the_whole_body(humanoid: Humanoid) -> None:
    rig = fk_rig(humanoid)
    write(rig, STANDING)
    before, there = bones_now(rig.armature), Seen(rig)
    legs = frozenset(
        JOINT_INDEX[f"{side}_{name}"] for side in ("left", "right") for name in ("hip", "knee", "ankle")
    )
    report = write(rig, squat(), joints=legs | {0})
    after, seen = bones_now(rig.armature), Seen(rig)
    tall = np.linalg.norm(there.at["head"] - there.at["left_knee"])
    assert report.pelvis_shift[0][2] < -0.1 * tall
    for name in ("left_ankle", "right_ankle"):
        if name in seen.at:
            assert abs(seen.at[name][2] - there.at[name][2]) < 0.03 * tall
    # Nothing comes apart: what does not turn goes down together.
    trunk = [name for name in ("spine1", "spine3", "head", "left_shoulder", "right_elbow") if name in seen.at]
    for name in (*trunk, "left_hip", "right_hip"):
        gone = seen.at[name] - there.at[name]
        assert np.linalg.norm(gone - report.pelvis_shift[0]) < 1e-3 * tall, name
    still = [rig.names[bone] for link in rig.tree.links if not legs & set(link.joints) for bone in link.bones]
    assert max(turned(before[name], after[name]) for name in still if "toe" not in name.lower()) < 0.05


@every
def test_feet_stay_where_they_stand_when_the_body_sits_down(humanoid: Humanoid) -> None:
    rig = fk_rig(humanoid)
    write(rig, STANDING)
    there = Seen(rig)
    pose = STANDING.copy()
    for side in ("left", "right"):
        pose[JOINT_INDEX[f"{side}_hip"]], pose[JOINT_INDEX[f"{side}_knee"]] = np.radians(
            [[-80, 0, 0], [80, 0, 0]]
        )
    report = write(rig, pose)
    seen = Seen(rig)
    tall = np.linalg.norm(there.at["head"] - there.at["left_knee"])
    assert np.linalg.norm(report.pelvis_shift[0][:2]) > 0.1 * tall
    assert report.slid == 0
    ankles = [name for name in ("left_ankle", "right_ankle") if name in seen.at]
    slides = np.array([seen.at[name] - there.at[name] for name in ankles])
    # What the two have in common is taken back.
    assert np.abs(slides).max(initial=0.0) < 0.03 * tall


@every
def test_a_body_that_lies_and_bends_holds_together(humanoid: Humanoid) -> None:
    rig = fk_rig(humanoid)
    pairs = [("left_hip", "right_hip"), ("pelvis", "spine1"), ("spine3", "left_shoulder"), ("spine3", "head"),
             ("left_hip", "left_knee"), ("right_shoulder", "right_elbow"), ("pelvis", "left_hip")]  # fmt: skip
    there = Seen(rig)
    pose = squat()
    pose[0] = np.radians([-80, 20, 0])
    pose[JOINT_INDEX["spine1"]] = pose[JOINT_INDEX["spine2"]] = np.radians([20, 10, 0])
    write(rig, pose)
    seen = Seen(rig)
    tall = np.linalg.norm(there.at["head"] - there.at["left_knee"])
    for a, b in pairs:
        if {a, b} <= seen.at.keys():
            lengths = [np.linalg.norm(one.at[a] - one.at[b]) for one in (there, seen)]
            assert abs(lengths[1] - lengths[0]) < 0.02 * tall, (a, b, lengths)


@every
def test_one_undo_takes_an_edit_back(humanoid: Humanoid) -> None:
    rig = fk_rig(humanoid)
    name = rig.armature.name
    bpy.ops.ed.undo_push(message="before")
    before = bones_now(rig.armature)
    assert write(rig, raised(), joints=LEFT_ARM).keys
    bpy.ops.ed.undo_push(message="edit")
    bpy.ops.ed.undo()
    armature = bpy.data.objects[name]
    assert armature.animation_data is None or armature.animation_data.action is None
    after = bones_now(armature)
    assert max(np.abs(after[bone] - before[bone]).max() for bone in before) < 1e-4


@pytest.mark.parametrize("animal", NO_HUMANOIDS, ids=lambda one: one.name)
def test_what_is_no_humanoid_is_refused_with_what_to_do(animal: Humanoid) -> None:
    with pytest.raises(RigError, match=r"humanoid.*Add SMPL Figure"):
        Rig.of(made(animal))
