# SPDX-License-Identifier: Apache-2.0
"""The user's own bone map is kept with the armature, and limbs of a control rig can be handed over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from blender_addon.contract.skeleton import JOINT_INDEX, STANDING_POSE
from blender_addon.rig.armature import Rig, WriteOptions
from blender_addon.rig.bone_map import RigError
from blender_addon.rig.correct import export_map, forget_map, import_map, map_so_far, set_bone
from blender_addon.rig.fk import switch_to_fk
from blender_addon.rig.holders import switches_off
from tests.blender.rigs.humanoids import HUMANOIDS

KNEE = JOINT_INDEX["left_knee"]


def made(name: str) -> Any:
    return next(one for one in HUMANOIDS if one.name == name).make()


def test_a_correction_is_kept_with_the_armature_through_saving_and_can_be_forgotten(tmp_path: Path) -> None:
    armature = made("daz_8")
    assert Rig.of(armature).bones[JOINT_INDEX["left_hip"]] == "lThighBend"
    set_bone(armature, JOINT_INDEX["left_hip"], "lThighTwist")
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "rig.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "rig.blend"))
    armature = bpy.data.objects["Rig"]
    rig = Rig.of(armature)
    assert rig.bones[JOINT_INDEX["left_hip"]] == "lThighTwist"
    assert rig.bone_map.known_by == "user"
    forget_map(armature)
    assert Rig.of(armature).bones[JOINT_INDEX["left_hip"]] == "lThighBend"


def test_a_bone_plays_one_joint_at_a_time_and_what_is_lacking_is_named() -> None:
    armature = made("mixamo_bare")
    set_bone(armature, KNEE, "LeftUpLeg")
    with pytest.raises(RigError, match="no bone for left hip; choose one under Bone Map"):
        Rig.of(armature)
    assert map_so_far(armature).bones[KNEE] == "LeftUpLeg"


def test_an_armature_that_is_not_known_is_mapped_bone_by_bone() -> None:
    armature = made("mixamo_bare")
    names = dict(Rig.of(armature).bones)
    # Renamed and with a leg of another length it is known neither by names nor by structure.
    for number, bone in enumerate(armature.data.bones):
        for joint, name in names.items():
            if name == bone.name:
                names[joint] = f"q{number}"
                break
        bone.name = f"q{number}"
    bpy.ops.object.mode_set(mode="EDIT")
    shin = armature.data.edit_bones[names[KNEE]]
    shin.head.z -= 0.35
    bpy.ops.object.mode_set(mode="OBJECT")
    with pytest.raises(RigError, match="say under Bone Map"):
        Rig.of(armature)
    for joint, name in names.items():
        set_bone(armature, joint, name)
    assert Rig.of(armature).bones == names


def test_a_map_goes_to_a_file_and_from_there_to_another_armature() -> None:
    first, second = made("unreal_5"), made("unreal_5")
    set_bone(first, JOINT_INDEX["neck"], "neck_02")
    import_map(second, export_map(first))
    assert Rig.of(second).bones == Rig.of(first).bones
    with pytest.raises(RigError, match="does not have"):
        import_map(made("mixamo_bare"), export_map(first))


def test_limbs_that_ik_drives_are_handed_over_as_they_show_and_then_move() -> None:
    armature = made("rigify_rig")
    armature.pose.bones["hand_ik.L"].location = (0.1, -0.2, 0.15)
    rig = Rig.of(armature)
    bpy.context.view_layer.update()
    assert len(switches_off(rig)) == 4
    pose = np.asarray(STANDING_POSE, dtype=np.float64)[None].copy()
    arm = frozenset({JOINT_INDEX["left_shoulder"]})
    pose[0, JOINT_INDEX["left_shoulder"]] = Rotation.from_euler("y", -50, degrees=True).as_rotvec()
    report = rig.write([1], pose, joints=arm)
    assert "Switch to FK under Bone Map" in report.short["left_shoulder"].holder

    armature.animation_data.action = None
    before = rig.read([1])
    assert switch_to_fk(rig) == 4
    assert switches_off(rig) == []
    assert np.abs(rig.read([1]) - before).max() < np.radians(0.5)
    report = rig.write([1], pose, joints=arm)
    assert report.short == {}
    with pytest.raises(RigError, match="drives no limb"):
        switch_to_fk(rig)


def test_the_controls_that_ik_follows_are_keyed_so_that_the_limbs_arrive() -> None:
    armature = made("rigify_rig")
    rig = Rig.of(armature)
    bpy.context.view_layer.update()
    pose = np.asarray(STANDING_POSE, dtype=np.float64).copy()
    for name, degrees in (("shoulder", (0, -50, 0)), ("elbow", (0, -60, 0)), ("wrist", (10, 0, 20))):
        pose[JOINT_INDEX[f"left_{name}"]] = Rotation.from_euler("xyz", degrees, degrees=True).as_rotvec()
    arm = frozenset(JOINT_INDEX[f"left_{name}"] for name in ("shoulder", "elbow", "wrist"))
    right = armature.pose.bones["hand_ik.R"].matrix.copy()

    said = rig.write([1, 5], np.stack([pose, pose]), joints=arm)
    assert said.held_by_ik
    assert "left_shoulder" in said.short
    report = rig.write([1, 5], np.stack([pose, pose]), joints=arm, options=WriteOptions(ik_targets=True))
    assert set(report.followed) == {"hand_ik.L", "upper_arm_ik.L"}
    assert not report.held_by_ik
    # A hinge: the elbow of this rig bends about one axis.
    assert all(short.degrees < 6 for short in report.short.values()), report.short
    assert armature.pose.bones["hand_ik.R"].matrix == right


LIMBS = {
    "arm": {"shoulder": (0, -50, 0), "elbow": (0, -60, 0), "wrist": (10, 0, 20)},
    "leg": {"hip": (-55, 0, 10), "knee": (80, 0, 0), "ankle": (-15, 0, 0)},
}
"""Degrees to which the joints of a limb are turned."""


@pytest.mark.parametrize("limb", LIMBS)
@pytest.mark.parametrize(
    ("rig_name", "controls"),
    [
        ("rigify_rig", {"arm": {"hand_ik.L", "upper_arm_ik.L"}, "leg": {"foot_ik.L", "thigh_ik.L"}}),
        (
            "auto_rig_pro_ik",
            {"arm": {"c_hand_ik.l", "c_arms_pole.l"}, "leg": {"c_foot_ik.l", "c_leg_pole.l"}},
        ),
    ],
)
def test_a_limb_on_ik_arrives_by_its_controls(
    rig_name: str, controls: dict[str, set[str]], limb: str
) -> None:
    armature = made(rig_name)
    rig = Rig.of(armature)
    bpy.context.view_layer.update()
    assert len(switches_off(rig)) == 4
    turns = LIMBS[limb]
    pose = rig.read([1])[0]
    for name, degrees in turns.items():
        pose[JOINT_INDEX[f"left_{name}"]] = Rotation.from_euler("xyz", degrees, degrees=True).as_rotvec()
    joints = frozenset(JOINT_INDEX[f"left_{name}"] for name in turns)
    before = rig.read([1])[0]
    said = rig.write([1], pose[None], joints=joints)
    assert said.held_by_ik
    report = rig.write([1], pose[None], joints=joints, options=WriteOptions(ik_targets=True))
    assert set(report.followed) == controls[limb]
    # A hinge: elbows and knees of these rigs bend about one axis.
    assert all(short.degrees < 6 for short in report.short.values()), report.short
    assert not report.held_by_ik, "what it follows was moved"
    after = rig.read([1])[0]
    others = [joint for joint in rig.bones if joint not in joints]
    assert np.abs(after[others] - before[others]).max() < np.radians(0.5)


@pytest.mark.parametrize("rig_name", ["loose_bones", "legs_apart", "all_apart"])
def test_a_leg_arrives_by_the_target_of_its_ik_whatever_root_it_hangs_on(rig_name: str) -> None:
    armature = made(rig_name)
    bones = Rig.of(armature).bones
    for side in ("left", "right"):
        target = bpy.data.objects.new(f"{side} foot", None)
        bpy.context.collection.objects.link(target)
        target.location = (
            armature.matrix_world @ armature.pose.bones[bones[JOINT_INDEX[f"{side}_ankle"]]].head
        )
        ik = armature.pose.bones[bones[JOINT_INDEX[f"{side}_knee"]]].constraints.new("IK")
        ik.target, ik.chain_count = target, 2
    bpy.context.view_layer.update()
    rig = Rig.of(armature)
    pose = rig.read([1])
    pose[0, 0] = np.radians([-50, 30, 0])
    pose[0, JOINT_INDEX["left_hip"]], pose[0, KNEE] = np.radians([-60, 0, 0]), np.radians([80, 0, 0])
    joints = frozenset({0, JOINT_INDEX["left_hip"], KNEE})
    report = rig.write([1], pose, joints=joints, options=WriteOptions(ik_targets=True))
    assert report.followed == ("left foot", "right foot")
    assert report.short == {}


@pytest.mark.parametrize("rig_name", ["rigify_rig", "auto_rig_pro_ik"])
def test_a_squat_of_a_control_rig_on_ik_stands_on_its_floor(rig_name: str) -> None:
    armature = made(rig_name)
    rig = Rig.of(armature)
    bpy.context.view_layer.update()
    feet = [rig.bone_map.shown[JOINT_INDEX[f"{side}_ankle"]] for side in ("left", "right")]

    def heights() -> list[float]:
        bpy.context.view_layer.update()
        shown = armature.evaluated_get(bpy.context.evaluated_depsgraph_get())
        return [(shown.matrix_world @ shown.pose.bones[name].head).z for name in (*feet, rig.bones[0])]

    there = heights()
    pose = rig.read([1])[0]
    for side in ("left", "right"):
        for name, degrees in (("hip", -60), ("knee", 100), ("ankle", -40)):
            pose[JOINT_INDEX[f"{side}_{name}"]] = np.radians([degrees, 0, 0])
    legs = frozenset(
        JOINT_INDEX[f"{side}_{name}"] for side in ("left", "right") for name in ("hip", "knee", "ankle")
    )
    report = rig.write([1], pose[None], joints=legs | {0}, options=WriteOptions(ik_targets=True))
    assert all(short.degrees < 6 for short in report.short.values()), report.short
    now = heights()
    assert now[2] < there[2] - 0.15
    assert np.abs(np.subtract(now[:2], there[:2])).max() < 0.03
