# SPDX-License-Identifier: Apache-2.0
"""Robustness: changes of wording, heading and side, nonsense, and angles, against engines with known answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from backend.query import Answer, OnWords, Query
from blender_addon.contract.kinematics import heading
from blender_addon.contract.rotations import axis_angle_to_matrix
from blender_addon.contract.skeleton import JOINT_INDEX, REST_OFFSETS, STANDING_POSE
from training.evaluate.angles import AMOUNTS, TURNS, AngleCase, draw_angle_cases
from training.evaluate.cases.nothing import read_nothing
from training.evaluate.lengths import AMOUNTS as LENGTHS
from training.evaluate.lengths import LengthCase, draw_length_cases
from training.evaluate.robustness import (
    Answering,
    Finding,
    largest_difference,
    measure_robustness,
    mirror,
    turned,
)
from training.evaluate.wording import mirror_words, misspell, rewordings

CASES = [
    {"id": str(number), "instruction": words, "pose": turned(STANDING_POSE, number).tolist()}
    for number, words in enumerate(
        ["Raise the left arm, please.", "Bend your right knee.", "Turn left.", "Lean forward slightly."]
    )
]


class FakeEngine:
    """Answers by a function of a query."""

    name = "fake"
    tasks = ("adjust",)

    def __init__(self, edit: Callable[[Query], np.ndarray | None]) -> None:
        self.edit = edit

    def answer(self, queries: Sequence[Query], on_words: OnWords | None = None) -> list[Answer]:
        return [Answer(self.edit(query), "") for query in queries]


def findings(edit: Callable[[Query], np.ndarray | None]) -> dict[str, Finding]:
    found = measure_robustness(CASES, Answering(FakeEngine(edit), 3, lambda done: None), seed=0)
    return {one.name: one for one in found}


@pytest.mark.slow
def test_leaving_the_pose_alone_is_robust_to_everything_and_follows_no_angle():
    found = findings(lambda query: query.pose_aa)
    for name, one in found.items():
        if name.startswith("angle"):
            assert one.errors.min() >= min(AMOUNTS) - 1e-3
        elif name.startswith("cm"):
            assert one.errors.min() >= min(LENGTHS) - 1e-3
        elif name.startswith("asks for nothing"):
            assert (one.errors > one.limit).all()  # it answers with a pose
        else:
            assert one.errors.max() < 0.1


@pytest.mark.slow
def test_an_engine_that_reads_the_case_of_letters_is_found_out():
    def edit(query: Query) -> np.ndarray:
        pose = query.pose_aa.copy()
        pose[JOINT_INDEX["neck"]] += (0, np.radians(20) * query.instruction.isupper(), 0)
        return pose

    found = findings(edit)
    assert found["upper case"].errors == pytest.approx(20, abs=0.01)
    assert found["lower case"].errors.max() < 0.01


@pytest.mark.slow
def test_an_engine_that_adds_an_absolute_turn_fails_the_heading_and_the_mirror():
    def edit(query: Query) -> np.ndarray:
        pose = query.pose_aa.copy()
        pose[0] = (Rotation.from_rotvec(pose[0]) * Rotation.from_euler("y", pose[0, 1] / 4)).as_rotvec()
        pose[JOINT_INDEX["neck"]] = np.radians((0, 10, 0))
        return pose

    found = findings(edit)
    assert found["another heading"].errors.max() > 5
    # 10 degrees to the left both times: 20 apart in the mirror, and the neck is what differs most.
    assert found["mirrored words and pose"].errors.max() == pytest.approx(20, abs=0.5)


@pytest.mark.slow
def test_an_answer_in_words_leaves_the_pose_as_it_is():
    in_words, left = findings(lambda query: None), findings(lambda query: query.pose_aa)
    for name, one in in_words.items():
        if name.startswith("asks for nothing"):
            continue
        np.testing.assert_allclose(one.errors, left[name].errors, atol=1e-3)


def test_turning_and_mirroring_are_undone_by_turning_and_mirroring_back():
    pose = np.random.default_rng(0).normal(0, 0.3, (24, 3)).astype(np.float32)
    assert largest_difference(turned(turned(pose, 2.0), -2.0), pose) < 0.01
    assert largest_difference(mirror(mirror(pose)), pose) < 0.01
    yaw = heading(axis_angle_to_matrix(turned(pose, 0.7)[0])) - heading(axis_angle_to_matrix(pose[0]))
    assert yaw == pytest.approx(0.7, abs=1e-5)


@pytest.mark.parametrize(
    ("words", "mirrored"),
    [
        ("Raise the LEFT arm, not the right one", "Raise the RIGHT arm, not the left one"),
        ("Left hand to your right hip", "Right hand to your left hip"),
        ("bend the left elbow to a right angle", "bend the right elbow to a right angle"),
        ("stand upright, turn clockwise", "stand upright, turn anticlockwise"),
    ],
)
def test_words_are_mirrored_and_right_angles_are_not(words, mirrored):
    assert mirror_words(words) == mirrored


def test_a_misspelt_word_differs_by_one_slip_within_a_long_word():
    sentence = "Raise the left elbow slightly to the right."
    for seed in range(60):
        found = misspell(sentence, np.random.default_rng(seed))
        pairs = [(a, b) for a, b in zip(sentence.split(), found.split(), strict=True) if a != b]
        assert len(pairs) == 1
        before, after = pairs[0]
        assert len(before) >= 5
        assert (before[0], before[-1]) == (after[0], after[-1])
        assert len(before) - len(after) in (0, 1)
    assert misspell("sit up", np.random.default_rng(0)) is None


def test_rewordings_keep_the_words():
    changed = rewordings("Bend it by 12.5 degrees, now.", np.random.default_rng(0))
    assert changed["no punctuation"] == "Bend it by 12.5 degrees now"
    assert changed["pls"] == "Bend it by 12.5 degrees, now pls"
    assert changed["please"] == "please bend it by 12.5 degrees, now."


def test_angle_cases_ask_for_changes_that_there_is_room_for():
    cases = draw_angle_cases(np.random.default_rng(0), [STANDING_POSE], each=6)
    assert len({case.kind for case in cases}) >= 8
    for case in cases:
        assert abs(case.change) in AMOUNTS
        assert f"{abs(case.change):.0f} degrees" in case.instruction
        assert case.error(case.pose_aa) == pytest.approx(abs(case.change), abs=1e-6)


@pytest.mark.parametrize(
    ("kind", "side", "change", "joint", "axis", "degrees"),
    [
        ("bend elbow", "left", 30.0, "left_elbow", 1, -30.0),
        ("bend knee", "right", 45.0, "right_knee", 0, 45.0),
        ("turn head", "left", 20.0, "neck", 1, 20.0),
        ("turn head", "right", -20.0, "neck", 1, -20.0),
        ("look down", "left", 20.0, "neck", 0, 20.0),
        ("bend forward", "left", 20.0, "spine1", 0, 20.0),
        ("lean", "right", -15.0, "spine1", 2, 15.0),
        ("twist", "left", 15.0, "spine2", 1, 15.0),
        ("raise arm", "right", 45.0, "right_shoulder", 2, -45.0),
        ("turn around", "right", -60.0, "pelvis", 1, -60.0),
    ],
)
def test_turning_the_joint_by_the_angle_is_right(kind, side, change, joint, axis, degrees):
    start = STANDING_POSE.copy()
    answer = start.copy()
    turn = np.zeros(3)
    turn[axis] = np.radians(degrees)
    joint = JOINT_INDEX[joint]
    answer[joint] = (Rotation.from_rotvec(start[joint]) * Rotation.from_rotvec(turn)).as_rotvec()
    assert kind in TURNS
    assert AngleCase(kind, "", start, side, change).error(answer) < 0.5


def test_length_cases_ask_for_changes_that_there_is_room_for():
    cases = draw_length_cases(np.random.default_rng(0), [STANDING_POSE], each=6)
    assert len({case.kind for case in cases}) >= 4
    for case in cases:
        centimetres = round(100 * abs(case.change))
        assert f"{centimetres} c" in case.instruction
        assert case.error(case.pose_aa) == pytest.approx(centimetres, abs=1e-6)


def test_feet_that_come_apart_by_the_length_are_right():
    """The legs straight and level: each foot goes out by half of it."""
    answer = STANDING_POSE.copy()
    leg = np.linalg.norm(REST_OFFSETS[4]) + np.linalg.norm(REST_OFFSETS[7])
    for joint, sign in ((1, 1), (2, -1)):
        turn = Rotation.from_rotvec((0, 0, sign * np.arcsin(0.05 / leg)))
        answer[joint] = (turn * Rotation.from_rotvec(STANDING_POSE[joint])).as_rotvec()
    assert LengthCase("feet apart", "", STANDING_POSE, "left", 0.10).error(answer) < 0.5
    assert LengthCase("feet apart", "", STANDING_POSE, "left", 0.20).error(answer) == pytest.approx(
        10, abs=0.5
    )


@pytest.mark.slow
def test_what_asks_for_nothing_is_good_only_with_words():
    sentences = [one for some in read_nothing().values() for one in some]
    assert len(sentences) == len({one.lower() for one in sentences}) == 150
    in_words, still = findings(lambda query: None), findings(lambda query: query.pose_aa)
    assert in_words["asks for nothing: all"].errors.max() == 0.0
    assert still["asks for nothing: all"].errors.min() > in_words["asks for nothing: all"].limit
