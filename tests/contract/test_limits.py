# SPDX-License-Identifier: Apache-2.0
"""Joints stop at their limits, and only those that an answer turns."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from blender_addon.contract.limits import ELBOW_DEGREES, HINGES, RANGES, TURNS, hold_to_limits, keeps_limits
from blender_addon.contract.skeleton import JOINT_INDEX, MIRROR, NUM_JOINTS

ALL = frozenset(range(NUM_JOINTS))
LEFT_ELBOW, KNEE, NECK = JOINT_INDEX["left_elbow"], JOINT_INDEX["left_knee"], JOINT_INDEX["neck"]


def posed(joint: int, axis: str, *degrees: float) -> np.ndarray:
    """Local rotations (N, 24, 3, 3) with one joint turned."""
    local = np.tile(np.eye(3), (len(degrees), NUM_JOINTS, 1, 1))
    local[:, joint] = Rotation.from_euler(axis, np.array(degrees)[:, None], degrees=True).as_matrix()
    return local


def bends(local: np.ndarray, joint: int) -> np.ndarray:
    return np.degrees(Rotation.from_matrix(local[:, joint]).magnitude())


@pytest.mark.parametrize("asked", [150.0, 165.0, 178.0, 190.0, 230.0])
def test_an_elbow_goes_as_far_as_it_can_however_far_it_is_asked_to(asked: float) -> None:
    start, answer = posed(LEFT_ELBOW, "y", -140.0), posed(LEFT_ELBOW, "y", -asked)
    held, stopped = hold_to_limits(start, answer, ALL)
    assert bends(held, LEFT_ELBOW) == pytest.approx(min(asked, ELBOW_DEGREES), abs=1e-6)
    assert stopped == ({LEFT_ELBOW: ELBOW_DEGREES} if asked > ELBOW_DEGREES else {})


def test_what_begins_beyond_its_limit_may_stay_or_come_back() -> None:
    start = posed(LEFT_ELBOW, "y", -170.0, -170.0, -170.0)
    answer = posed(LEFT_ELBOW, "y", -170.0, -165.0, -176.0)
    held, stopped = hold_to_limits(start, answer, ALL)
    assert bends(held, LEFT_ELBOW) == pytest.approx([170.0, 165.0, 170.0], abs=1e-6)
    assert stopped == {LEFT_ELBOW: ELBOW_DEGREES}


def test_a_knee_does_not_fold_forwards() -> None:
    held, stopped = hold_to_limits(posed(KNEE, "x", 0.0), posed(KNEE, "x", -60.0), ALL)
    assert bends(held, KNEE) == pytest.approx(-HINGES[KNEE].least, abs=1e-6)
    assert stopped == {KNEE: HINGES[KNEE].least}


def test_other_joints_stop_in_the_direction_they_turned() -> None:
    answer = posed(NECK, "x", 0.0)
    answer[0, NECK] = Rotation.from_rotvec([1.2, 1.6, 0.0]).as_matrix()
    held, stopped = hold_to_limits(posed(NECK, "x", 0.0), answer, ALL)
    turn = Rotation.from_matrix(held[0, NECK]).as_rotvec()
    assert np.degrees(np.linalg.norm(turn)) == pytest.approx(TURNS[NECK], abs=1e-6)
    assert turn / np.linalg.norm(turn) == pytest.approx([0.6, 0.8, 0.0])
    assert stopped == {NECK: TURNS[NECK]}


def test_joints_that_do_not_turn_keep_their_numbers() -> None:
    start = np.tile(Rotation.random(NUM_JOINTS, random_state=1).as_matrix(), (2, 1, 1, 1))
    held, stopped = hold_to_limits(start, start.copy(), frozenset())
    assert (held == start).all()
    assert stopped == {}


def test_a_twist_of_the_forearm_does_not_count_as_bending() -> None:
    start = posed(LEFT_ELBOW, "y", -20.0)
    answer = start.copy()
    answer[0, LEFT_ELBOW] = Rotation.from_euler("yx", [-100, 80], degrees=True).as_matrix()
    held, stopped = hold_to_limits(start, answer, ALL)
    np.testing.assert_allclose(held, answer)
    assert stopped == {}


def test_what_people_reach_at_ease_lies_within_the_limits() -> None:
    corners = np.stack(np.meshgrid([0, 1], [0, 1], [0, 1]), axis=-1).reshape(-1, 3)
    for joint, ranges in RANGES.items():
        local = posed(joint, "x", *np.zeros(len(corners)))
        vectors = np.radians([[ranges[axis][end] for axis, end in enumerate(corner)] for corner in corners])
        if joint in HINGES:
            vectors[:] = 0  # twist about the bone does not count; the bending does
            axis = int(np.argmax(np.abs(HINGES[joint].axis)))
            vectors[:, axis] = np.radians([ranges[axis][corner[axis]] for corner in corners])
        local[:, joint] = Rotation.from_rotvec(vectors).as_matrix()
        assert keeps_limits(np.tile(np.eye(3), (*local.shape[:2], 1, 1)), local), joint


def test_a_pose_that_breaks_a_joint_does_not_keep_the_limits() -> None:
    straight = posed(LEFT_ELBOW, "y", 0.0)
    assert keeps_limits(straight, posed(LEFT_ELBOW, "y", -155.0))
    assert not keeps_limits(straight, posed(LEFT_ELBOW, "y", -170.0))
    assert not keeps_limits(straight, posed(KNEE, "x", -40.0))
    assert keeps_limits(posed(LEFT_ELBOW, "y", -170.0), posed(LEFT_ELBOW, "y", -168.0))


def test_both_sides_have_the_same_limits() -> None:
    for joint, most in TURNS.items():
        assert TURNS[MIRROR[joint]] == most
    for joint, hinge in HINGES.items():
        other = HINGES[MIRROR[joint]]
        assert (other.least, other.most) == (hinge.least, hinge.most)
        # Mirrored in x = 0, an axis of rotation turns round in y and z.
        x, y, z = hinge.axis
        assert other.axis == (x, -y, -z)
