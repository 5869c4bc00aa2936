# SPDX-License-Identifier: Apache-2.0
"""Armatures are recognised by the names of their bones."""

import pytest

from blender_addon.contract.skeleton import JOINT_INDEX, JOINT_NAMES
from blender_addon.rig.bone_map import RigError, map_bones

SMPL = [
    "Pelvis", "L_Hip", "R_Hip", "Spine1", "L_Knee", "R_Knee", "Spine2", "L_Ankle", "R_Ankle", "Spine3", "L_Foot",
    "R_Foot", "Neck", "L_Collar", "R_Collar", "Head", "L_Shoulder", "R_Shoulder", "L_Elbow", "R_Elbow", "L_Wrist",
    "R_Wrist", "L_Hand", "R_Hand",
]  # fmt: skip
FINGERS = [
    f"{side}_{finger}{n}" for side in ("left", "right") for finger in ("index", "thumb") for n in (1, 2, 3)
]
SMPLH = ["root", *JOINT_NAMES[:22], *FINGERS]
SMPLX = [*SMPLH, "jaw", "left_eye_smplhf", "right_eye_smplhf"]
SMPLH_SHORT = [
    *SMPL[:22],
    *(f"{side}_{finger}{n}" for side in "LR" for finger in ("Index", "Thumb") for n in (1, 2, 3)),
]
SMPLX_SHORT = [*SMPLH_SHORT, "Jaw", "L_Eye_Smplhf", "R_Eye_Smplhf"]
PALMS = ["Pelvis", *(name.capitalize() for name in JOINT_NAMES[1:22]), "Left_palm", "Right_palm"]


@pytest.mark.parametrize("prefix", ["", "m_avg_", "f_avg_"])
def test_smpl_is_recognised_with_and_without_the_prefix_of_its_files(prefix: str) -> None:
    found = map_bones([prefix + name for name in ["root", *SMPL]])
    assert found.family == "SMPL"
    assert [found.bones[joint] for joint in range(24)] == [prefix + name for name in SMPL]
    assert not found.missing


@pytest.mark.parametrize("prefix", ["", "m_avg_", "f_avg_"])
@pytest.mark.parametrize(("names", "family"), [(SMPLH, "SMPL-H"), (SMPLX, "SMPL-X")])
def test_smplh_and_smplx_lack_only_the_hands(names: list[str], family: str, prefix: str) -> None:
    found = map_bones([prefix + name for name in names])
    assert found.family == family
    assert found.missing == {JOINT_INDEX["left_hand"], JOINT_INDEX["right_hand"]}
    assert found.bones[JOINT_INDEX["left_wrist"]] == prefix + "left_wrist"


@pytest.mark.parametrize(("names", "family"), [(SMPLH_SHORT, "SMPL-H"), (SMPLX_SHORT, "SMPL-X")])
def test_smplh_and_smplx_are_known_by_their_short_names_too(names: list[str], family: str) -> None:
    found = map_bones(["m_avg_" + name for name in names])
    assert found.family == family
    assert found.missing == {JOINT_INDEX["left_hand"], JOINT_INDEX["right_hand"]}
    assert found.bones[JOINT_INDEX["left_wrist"]] == "m_avg_L_Wrist"


def test_palms_are_hands() -> None:
    found = map_bones(PALMS)
    assert found.bones[JOINT_INDEX["right_hand"]] == "Right_palm"
    assert found.bones[JOINT_INDEX["left_hip"]] == "Left_hip"


@pytest.mark.parametrize("change", [str.upper, str.lower, str.title])
def test_case_does_not_matter_and_names_are_returned_as_spelt(change) -> None:  # type: ignore[no-untyped-def]
    found = map_bones([change(name) for name in SMPL])
    assert found.bones[4] == change("L_Knee")


def test_a_missing_bone_is_named() -> None:
    with pytest.raises(RigError, match=r"lacks 2 of its bones \(m_avg_L_Knee, m_avg_Spine2\)"):
        map_bones(["m_avg_" + name for name in SMPL if name not in ("L_Knee", "Spine2")])


@pytest.mark.parametrize(
    "names", [[], ["Bone"], ["Hips", "Spine", "Chest"], ["pelvis", "head", "tail.001", "wing.L"]]
)
def test_what_is_no_humanoid_is_refused(names: list[str]) -> None:
    with pytest.raises(RigError, match="not an SMPL, SMPL-H or SMPL-X body"):
        map_bones(names)
