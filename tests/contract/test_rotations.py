# SPDX-License-Identifier: Apache-2.0
"""The shortest turn from one direction to another; scipy says how far a rotation turns."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from blender_addon.contract.rotations import shortest_turn

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
