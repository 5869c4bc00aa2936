# SPDX-License-Identifier: Apache-2.0
"""Armatures are recognised by the names of their bones, whatever stands before or after them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from blender_addon.contract.kinematics import forward_kinematics
from blender_addon.contract.skeleton import JOINT_INDEX, JOINT_NAMES, PARENTS
from blender_addon.rig.bone_map import BoneMap, RigError, Skeleton, map_from_text, map_to_text
from blender_addon.rig.families import FOLDER, families, family_from
from blender_addon.rig.recognise import recognise

SMPL = [
    "Pelvis", "L_Hip", "R_Hip", "Spine1", "L_Knee", "R_Knee", "Spine2", "L_Ankle", "R_Ankle", "Spine3", "L_Foot",
    "R_Foot", "Neck", "L_Collar", "R_Collar", "Head", "L_Shoulder", "R_Shoulder", "L_Elbow", "R_Elbow", "L_Wrist",
    "R_Wrist", "L_Hand", "R_Hand",
]  # fmt: skip
MIXAMO = [
    "Hips", "LeftUpLeg", "RightUpLeg", "Spine", "LeftLeg", "RightLeg", "Spine1", "LeftFoot", "RightFoot", "Spine2",
    "LeftToeBase", "RightToeBase", "Neck", "LeftShoulder", "RightShoulder", "Head", "LeftArm", "RightArm",
    "LeftForeArm", "RightForeArm", "LeftHand", "RightHand",
]  # fmt: skip
FINGERS = ["left_index1", "right_index1", "left_thumb1", "right_thumb1"]
SHORT_FINGERS = ["L_Index1", "R_Index1", "L_Thumb1", "R_Thumb1"]
HANDS = {JOINT_INDEX["left_hand"], JOINT_INDEX["right_hand"]}


def skeleton(joints: Sequence[str], others: Sequence[str] = ()) -> Skeleton:
    """SMPL's neutral skeleton with these names; ``others`` hang on the first bone."""
    positions = forward_kinematics(np.tile(np.eye(3), (24, 1, 1)))[1][: len(joints)]
    places = [*map(tuple, positions.tolist()), *[(0.0, 0.0, 0.0)] * len(others)]
    count = len(joints) + len(others)
    return Skeleton(
        names=(*joints, *others),
        parents=(*PARENTS[: len(joints)], *[0 if joints else -1] * len(others)),
        heads=tuple(places),
        tails=tuple((x, y + 0.1, z) for x, y, z in places),
        free=(True,) * count,
    )


@pytest.mark.parametrize("prefix", ["", "m_avg_", "f_avg_"])
def test_smpl_is_recognised_with_and_without_the_prefix_of_its_files(prefix: str) -> None:
    found = recognise(skeleton([prefix + name for name in SMPL], ["root"]))
    assert found.family == "SMPL"
    assert [found.bones[joint] for joint in range(24)] == [prefix + name for name in SMPL]
    assert found.zero_at_rest


@pytest.mark.parametrize("prefix", ["", "m_avg_", "f_avg_"])
@pytest.mark.parametrize(
    ("names", "others", "family"),
    [
        (JOINT_NAMES[:22], FINGERS, "SMPL-H"),
        (JOINT_NAMES[:22], [*FINGERS, "jaw", "left_eye_smplhf"], "SMPL-X"),
        (SMPL[:22], SHORT_FINGERS, "SMPL-H"),
        (SMPL[:22], [*SHORT_FINGERS, "Jaw", "L_Eye_Smplhf"], "SMPL-X"),
    ],
)
def test_smplh_and_smplx_lack_only_the_hands(
    names: list[str], others: list[str], family: str, prefix: str
) -> None:
    found = recognise(skeleton([prefix + name for name in names], [prefix + name for name in others]))
    assert found.family == family
    assert set(range(24)) - found.bones.keys() == HANDS
    assert found.bones[JOINT_INDEX["left_wrist"]] == prefix + names[20]


def test_palms_are_hands() -> None:
    names = ["Pelvis", *(name.capitalize() for name in JOINT_NAMES[1:22]), "Left_palm", "Right_palm"]
    found = recognise(skeleton(names))
    assert found.bones[JOINT_INDEX["right_hand"]] == "Right_palm"
    assert found.bones[JOINT_INDEX["left_hip"]] == "Left_hip"


@pytest.mark.parametrize("change", [str.upper, str.lower, str.title])
def test_case_does_not_matter_and_names_are_returned_as_spelt(change: Callable[[str], str]) -> None:
    found = recognise(skeleton([change(name) for name in SMPL]))
    assert found.bones[4] == change("L_Knee")


@pytest.mark.parametrize(
    "spell",
    [
        "mixamorig:{}", "mixamorig1:{}", "mixamorig_{}", "{}", "Character1:rig:{}", "{}.001", "mixamorig:{}.002",
        "Armature|{}", "{}_jnt",
    ],
)  # fmt: skip
def test_mixamo_is_recognised_with_whatever_stands_around_its_names(spell: str) -> None:
    names = [spell.format(name) for name in MIXAMO]
    found = recognise(skeleton(names))
    assert found.family == "Mixamo"
    assert [found.bones[joint] for joint in range(22)] == names


def test_running_numbers_that_differ_from_bone_to_bone_are_passed_over() -> None:
    names = [f"{name}_{number:02}" for number, name in enumerate(MIXAMO)]
    assert [recognise(skeleton(names)).bones[joint] for joint in range(22)] == names


def test_a_bone_of_the_spine_may_be_missing() -> None:
    names = [name for name in SMPL if name != "Spine2"]
    whole = skeleton(SMPL)
    parents = {name: SMPL[PARENTS[joint]] for joint, name in enumerate(SMPL) if joint}
    parents["Spine3"] = "Spine1"
    shorter = Skeleton(
        tuple(names),
        tuple(names.index(parents[name]) if name in parents else -1 for name in names),
        *(
            tuple(column[SMPL.index(name)] for name in names)
            for column in (whole.heads, whole.tails, whole.free)
        ),
    )
    found = recognise(shorter)
    assert found.bones[JOINT_INDEX["spine3"]] == "Spine3"
    assert JOINT_INDEX["spine2"] not in found.bones


def test_a_bone_that_cannot_be_done_without_is_named() -> None:
    names = [{"L_Knee": "a", "R_Elbow": "b"}.get(name, name) for name in SMPL]
    with pytest.raises(RigError, match=r"SMPL armature lacks 2 of its bones \(left_knee, right_elbow\)"):
        recognise(skeleton([f"m_avg_{name}" for name in names]))


@pytest.mark.parametrize(
    "names", [[], ["Bone"], ["Hips", "Spine", "Chest"], ["pelvis", "head", "tail.001", "wing.L"]]
)
def test_what_is_no_humanoid_is_refused_with_what_to_do(names: list[str]) -> None:
    with pytest.raises(RigError, match="not recognised as a humanoid; say under Bone Map"):
        recognise(skeleton([], names))


def test_names_in_the_wrong_order_are_not_taken_for_a_body() -> None:
    """All the names of a family on bones that do not descend from each other as limbs do."""
    flat = skeleton([], MIXAMO)
    with pytest.raises(RigError, match="not recognised"):
        recognise(flat)


def test_a_map_that_the_user_made_is_taken_as_it_is() -> None:
    names = [f"b{number}" for number in range(22)]
    kept = map_to_text(BoneMap("My Rig", dict(enumerate(names))))
    found = recognise(skeleton(names), kept)
    assert (found.family, found.known_by) == ("My Rig", "user")
    assert found.bones == dict(enumerate(names))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({4: "nowhere"}, r"does not have \(nowhere\)"),
        ({4: "b5"}, "b5 plays both left knee and right knee"),
        ({4: None}, "no bone for left knee"),
        ({3: None, 6: None, 9: None}, "no bone for spine1"),
    ],
)
def test_a_map_that_does_not_fit_is_refused_with_the_reason(
    change: dict[int, str | None], sentence: str
) -> None:
    names = [f"b{number}" for number in range(22)]
    bones = {joint: name for joint, name in {**dict(enumerate(names)), **change}.items() if name}
    with pytest.raises(RigError, match=sentence):
        recognise(skeleton(names), map_to_text(BoneMap("My Rig", bones)))


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"family": "x"}', '{"family": "x", "bones": {"tail": "t"}}']
)
def test_a_text_that_is_no_map_is_refused(text: str) -> None:
    with pytest.raises(RigError, match="no bone map"):
        map_from_text(text)


def test_a_map_is_written_down_whole() -> None:
    found = recognise(skeleton([f"mixamorig:{name}" for name in MIXAMO], ["mixamorig:LeftHandIndex1"]))
    back = map_from_text(map_to_text(found))
    assert (back.family, back.bones, back.fingers) == (found.family, found.bones, found.fingers)


def test_a_map_that_was_exported_serves_as_the_file_of_a_family() -> None:
    found = recognise(skeleton([f"Joe:{name}" for name in MIXAMO]))
    family = family_from(json.loads(map_to_text(found)))
    assert family.names[0]["left_knee"] == ("joe:leftleg",)


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.json")), ids=lambda file: file.stem)
def test_the_file_of_a_family_is_well_formed(file) -> None:  # type: ignore[no-untyped-def]
    family = family_from(json.loads(file.read_text("utf-8")))
    for names in family.names:
        options = [option for several in names.values() for option in several]
        assert len(options) == len(set(options)), "a name stands for two joints"
    assert family in families()
