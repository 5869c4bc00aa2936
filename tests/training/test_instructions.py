# SPDX-License-Identifier: Apache-2.0
"""The scorer of instructions and the handwritten cases: known poses with known answers."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blender_addon.contract.kinematics import yaw_matrix
from blender_addon.contract.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from blender_addon.contract.skeleton import JOINT_INDEX
from training.evaluate.cases import build as build_cases
from training.evaluate.cases.build import HANDWRITTEN, build, expand, read_val_poses
from training.evaluate.cases.starts import STARTS, start_pose
from training.evaluate.instructions import (
    KEEP_DEGREES,
    PosedBody,
    excess,
    holds,
    judge,
    outcome_of,
    stayed,
    summarise,
)

T_POSE = np.zeros((24, 3))
WRITTEN = [json.loads(line) for line in HANDWRITTEN.read_text(encoding="utf-8").splitlines()]


def turned(joint: str, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> np.ndarray:
    """The T-pose with one joint turned by degrees."""
    pose = T_POSE.copy()
    pose[JOINT_INDEX[joint]] = np.radians((x, y, z))
    return pose


def check(form: list[Any], after: np.ndarray, before: np.ndarray = T_POSE) -> bool:
    return holds(form, PosedBody(before), PosedBody(after))


@pytest.mark.parametrize(
    ("form", "after"),
    [
        (["flex", "L_elbow", 80, 100], turned("left_elbow", y=-90)),
        (["dflex", "R_knee", 40, 50], turned("right_knee", x=45)),
        (["dir", "L_elbow", "L_wrist", "front", 1], turned("left_elbow", y=-90)),
        (["dir", "R_shoulder", "R_wrist", "up", 1], turned("right_shoulder", z=-90)),
        (["angle", "head_yaw", 29, 31], turned("head", y=30)),
        (["angle", "head_pitch", 19, 21], turned("neck", x=20)),
        (["dangle", "head_roll", 14, 16], turned("head", z=-15)),
        (["dangle", "bend", 24, 26], turned("spine2", x=25)),
        (["dangle", "lean", 9, 11], turned("spine1", z=-10)),
        (["dangle", "twist", -41, -39], turned("spine3", y=-40)),
        (["turned", 89, 91], turned("pelvis", y=90)),
        (["rel", "L_knee", "L_hip", "z", 0.4, 0.42], turned("left_hip", x=-90)),
        (["move", "L_ankle", "x", 0.4, None], turned("left_hip", z=30)),
        (["dist", "L_ankle", "R_ankle", 0.9, None], turned("left_hip", z=65)),
        (["ddist", "L_hand", "R_hand", None, -0.4], turned("left_shoulder", y=-90)),
        (["rel", "mid_hands", "pelvis", "y", 0.6, None], turned("left_shoulder", z=90)),
        (["any", ["flex", "L_knee", 50, None], ["flex", "R_knee", 50, None]], turned("right_knee", x=60)),
    ],
)
def test_a_check_holds_for_the_pose_that_it_describes_and_not_for_another(
    form: list[Any], after: np.ndarray
) -> None:
    assert check(form, after)
    assert not check(form, T_POSE)


def test_squatting_lowers_the_pelvis() -> None:
    pose = start_pose("squat")
    assert check(["pelvis", None, -0.3], pose, start_pose("stand"))
    assert not check(["pelvis", -0.3, None], pose, start_pose("stand"))


def test_an_open_end_bounds_nothing_and_a_bound_is_inclusive() -> None:
    after = PosedBody(turned("left_elbow", y=-90))
    value = after.flex("L_elbow")
    assert holds(["flex", "L_elbow", None, None], None, after)
    assert holds(["flex", "L_elbow", value, value], None, after)
    assert excess(["flex", "L_elbow", value + 5, None], None, after) == pytest.approx(5.0)


def test_directions_are_the_bodys_own_whatever_its_heading() -> None:
    stand = turned("left_shoulder", y=-80)
    around = stand.copy()
    around[0] = matrix_to_axis_angle(yaw_matrix(np.radians(130)) @ axis_angle_to_matrix(stand[0]))
    for joint in ("L_wrist", "R_ankle", "head"):
        np.testing.assert_allclose(PosedBody(around).at(joint), PosedBody(stand).at(joint), atol=1e-9)
    assert check(["dir", "L_shoulder", "L_wrist", "front", 12], around, stand)


def test_a_change_of_heading_wraps_at_half_a_turn() -> None:
    assert check(["turned", 19, 21], turned("pelvis", y=-170), turned("pelvis", y=170))


def test_a_kept_part_may_turn_by_the_tolerance_and_no_more() -> None:
    before = PosedBody(T_POSE)
    almost = PosedBody(turned("left_elbow", x=KEEP_DEGREES - 0.1))
    too_much = PosedBody(turned("left_elbow", x=KEEP_DEGREES + 0.1))
    assert stayed(["left_arm"], before, almost)
    assert not stayed(["left_arm"], before, too_much)
    assert stayed(["right_arm", "trunk", "head"], before, too_much)
    assert stayed([], before, too_much)


def case(**fields: Any) -> dict[str, Any]:
    base = {"id": "c", "task": "adjust", "kind": "elbow", "instruction": "bend it", "pose": T_POSE.tolist()}
    return {**base, "checks": [["dflex", "L_elbow", 20, None]], "keep": ["right_arm"], **fields}


def test_a_case_succeeds_only_when_done_and_kept() -> None:
    good = judge(case(), turned("left_elbow", y=-60))
    both = turned("left_elbow", y=-60) + turned("right_elbow", y=60)
    shaken = judge(case(), both)
    idle = judge(case(), T_POSE)
    assert (good.done, good.kept, good.success) == (True, True, True)
    assert (shaken.done, shaken.kept, shaken.success) == (True, False, False)
    assert (idle.done, idle.kept, idle.success) == (False, True, False)


@pytest.mark.parametrize("answer", [None, np.full((24, 3), np.nan), np.zeros((23, 3))])
def test_a_missing_or_broken_answer_fails(answer: np.ndarray | None) -> None:
    outcome = judge(case(), answer)
    assert not outcome.done
    assert not outcome.kept


def test_words_alone_leave_the_start_pose_and_an_error_fails() -> None:
    start = np.zeros((24, 3)).tolist()
    still = {"id": "1", "task": "adjust", "kind": "noop", "instruction": "stay", "pose": start}
    case = {**still, "checks": [["dflex", "L_elbow", -1, 1]], "keep": ["left_arm"]}
    moves = {**case, "checks": [["dflex", "L_elbow", 20, None]]}
    assert outcome_of(case, {"id": "1", "text": "It is like that already."}).success
    assert not outcome_of(moves, {"id": "1", "text": "It is like that already."}).done
    for line in (
        None,
        {"id": "1", "error": {"code": "model"}},
        {"id": "1", "error": "bad", "text": "x"},
        {"id": "1"},
    ):
        assert not outcome_of(case, line).success
    del case["pose"]
    assert not outcome_of(case, {"id": "1", "text": "Sorry."}).success


def test_a_check_of_change_without_a_start_pose_says_so() -> None:
    with pytest.raises(ValueError, match="needs a start pose"):
        holds(["dflex", "L_elbow", 20, None], None, PosedBody(T_POSE))
    with pytest.raises(ValueError, match="unknown check"):
        holds(["wobble", 1, 2], PosedBody(T_POSE), PosedBody(T_POSE))


def test_rates_are_given_for_all_per_task_and_per_kind() -> None:
    outcomes = [
        judge(case(), turned("left_elbow", y=-60)),
        judge(case(kind="arm"), T_POSE),
    ]
    rates = summarise(outcomes)
    assert list(rates) == ["all", "adjust", "elbow", "arm"]
    assert rates["all"].success == 0.5
    assert rates["arm"].success == 0.0
    assert rates["arm"].kept == 1.0


@pytest.mark.slow
def test_no_instruction_is_fulfilled_before_the_edit_unless_it_asks_for_nothing() -> None:
    for written in WRITTEN:
        if "start" not in written:
            continue
        line = expand(written, None)
        assert line is not None
        outcome = judge(line, line["pose"])
        assert outcome.kept
        assert outcome.done == (written["kind"] == "noop"), written["instruction"]


def test_without_recorded_poses_their_cases_are_left_out() -> None:
    lines = build()
    assert len(lines) == sum("val" not in written for written in WRITTEN)
    assert all("pose" in line or line["task"] == "generate" for line in lines)
    assert len({written["id"] for written in WRITTEN}) == len(WRITTEN)


def test_recorded_poses_are_taken_from_the_val_split_of_the_cases_own_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quat = np.zeros((5, 24, 4), dtype=np.float16)
    quat[..., 0] = 1.0
    quat[4, 18] = (np.cos(np.pi / 6), 0.0, -np.sin(np.pi / 6), 0.0)
    path = tmp_path / "poses.npz"
    np.savez(path, quat_wxyz=quat, split=np.array(["train", "train", "train", "val", "val"]))
    with pytest.raises(
        ValueError, match=r"poses\.npz is not the pose file that the handwritten cases were written on"
    ):
        read_val_poses(path)
    monkeypatch.setattr(build_cases, "VAL_SHA256", hashlib.sha256(quat[3:].tobytes()).hexdigest())
    poses = read_val_poses(path)
    assert poses.shape == (2, 24, 3)
    assert PosedBody(poses[1]).flex("L_elbow") == pytest.approx(60.0, abs=0.2)


@pytest.mark.parametrize("name", sorted(STARTS.keys() - {"lying"}))
def test_start_poses_face_their_heading(name: str) -> None:
    assert PosedBody(start_pose(name, heading_degrees=70)).facing == pytest.approx(70)


@pytest.mark.parametrize("name", sorted(STARTS.keys() - {"t_pose"}))
def test_a_seed_varies_a_start_pose_repeatably(name: str) -> None:
    same, again, other = (start_pose(name, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(same, again)
    assert np.abs(same - other).max() > 1e-3
