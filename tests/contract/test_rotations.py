# SPDX-License-Identifier: Apache-2.0
"""Quaternions, mirroring, and the shortest turn from one direction to another; scipy says what a rotation does."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from blender_addon.contract.kinematics import forward_kinematics, mirror_pose
from blender_addon.contract.rotations import axis_angle_to_matrix, quaternion_to_matrix, shortest_turn
from blender_addon.contract.skeleton import MIRROR, NUM_JOINTS

AXES = [*np.eye(3), *-np.eye(3)]


def test_the_shortest_turn_reaches_its_end_and_turns_no_further_than_needed() -> None:
    rng = np.random.default_rng(5)
    for start, end in rng.normal(size=(50, 2, 3)):
        rotation = shortest_turn(start, end)
        np.testing.assert_allclose(
            rotation @ start / np.linalg.norm(start), end / np.linalg.norm(end), atol=1e-12
        )
        between = np.arccos(start @ end / np.linalg.norm(start) / np.linalg.norm(end))
        assert Rotation.from_matrix(rotation).magnitude() == pytest.approx(between)


@pytest.mark.parametrize("start", AXES)
def test_opposite_directions_are_half_a_turn_apart(start: np.ndarray) -> None:
    rotation = shortest_turn(start, -2 * start)
    np.testing.assert_allclose(rotation @ start, -start, atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1)


def test_half_a_turn_is_about_the_axis_that_is_asked_for() -> None:
    rotation = shortest_turn([1, 0, 0], [-1, 0, 0], across=[0, 0, 3])
    np.testing.assert_allclose(rotation, np.diag([-1, -1, 1]), atol=1e-12)


@pytest.mark.parametrize(
    ("start", "end"), [([0, 2, 0], [0, 5, 0]), ([0, 0, 0], [0, 1, 0]), ([1, 0, 0], [0, 0, 0])]
)
def test_nothing_turns_without_a_difference_of_direction(start: list[float], end: list[float]) -> None:
    np.testing.assert_array_equal(shortest_turn(start, end), np.eye(3))


def test_quaternions_of_any_length_are_the_rotations_that_scipy_says() -> None:
    quat = np.random.default_rng(6).normal(size=(2, 30, 4))
    expected = Rotation.from_quat(quat.reshape(-1, 4), scalar_first=True).as_matrix()
    np.testing.assert_allclose(quaternion_to_matrix(quat).reshape(-1, 3, 3), expected, atol=1e-12)


def test_in_a_mirror_every_joint_is_where_that_of_the_other_side_was() -> None:
    poses = np.random.default_rng(7).normal(0, 0.6, (20, NUM_JOINTS, 3))
    joints = forward_kinematics(axis_angle_to_matrix(poses))[1]
    mirrored = forward_kinematics(axis_angle_to_matrix(mirror_pose(poses)))[1]
    np.testing.assert_allclose(mirrored, joints[:, MIRROR] * [-1, 1, 1], atol=0.02)
    np.testing.assert_array_equal(mirror_pose(mirror_pose(poses)), poses)
