# SPDX-License-Identifier: Apache-2.0
"""A change carried from one frame to others, and how it comes and goes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from blender_addon.rig.offset import Blend, blend_weights, carry, towards


def rotations(*degrees: float, axis: str = "x") -> np.ndarray:
    """(N, 1, 3, 3)."""
    return Rotation.from_euler(axis, np.array(degrees)[:, None], degrees=True).as_matrix()[:, None]


def degrees_of(local: np.ndarray, axis: int = 0) -> np.ndarray:
    return np.degrees(Rotation.from_matrix(local[:, 0]).as_rotvec()[:, axis])


def test_weights_rise_from_nothing_before_the_range_and_fall_to_nothing_after_it() -> None:
    weights = blend_weights(range(1, 11), Blend(3, 1, smooth=False))
    assert weights == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1, 0.5])
    eased = blend_weights(range(1, 11), Blend(3, 1))
    assert eased[:4] == pytest.approx([0.15625, 0.5, 0.84375, 1])
    assert (blend_weights(range(1, 11), Blend()) == 1).all()


def test_in_a_short_range_the_change_still_arrives() -> None:
    assert blend_weights(range(3, 10), Blend(8, 8)).max() == 1
    assert blend_weights([5], Blend(8, 8)) == pytest.approx([1])
    assert blend_weights([5, 6], Blend(8, 0)) == pytest.approx([0.5, 1])


def test_weights_follow_the_time_of_sparse_keys() -> None:
    assert blend_weights([10, 12, 20, 30], Blend(4, 0, smooth=False)) == pytest.approx([0.2, 0.6, 1, 1])


def test_the_change_of_one_frame_is_added_to_all() -> None:
    before = rotations(10, 20, 30)
    after = carry(before, [1, 2, 3], rotations(20), rotations(65), [2])
    assert degrees_of(after) == pytest.approx([55, 65, 75])


def test_an_arm_raised_sideways_is_raised_sideways_wherever_it_swings() -> None:
    """The arm hangs and swings forward about x; it is raised by a turn about z, seen from the body."""
    swing = Rotation.from_euler("x", [[-20], [0], [20]], degrees=True)
    hang, out = Rotation.from_euler("z", -90, degrees=True), Rotation.from_euler("z", 0, degrees=True)
    before = (swing * hang).as_matrix()[:, None]
    after = carry(before, [1, 2, 3], before[1:2], out.as_matrix()[None, None], [2])
    arms = after[:, 0] @ np.array([1.0, 0, 0])
    assert arms[:, 1] == pytest.approx([0, 0, 0], abs=1e-9)  # level
    assert arms[:, 2] == pytest.approx(np.sin(np.radians([20, 0, -20])), abs=1e-9)  # and still swinging


def test_between_two_references_the_change_goes_over() -> None:
    before = rotations(*([0.0] * 5))
    after = carry(before, [0, 10, 15, 20, 30], rotations(0, 0), rotations(40, 80), [10, 20])
    assert degrees_of(after) == pytest.approx([40, 40, 60, 80, 80])


def test_all_the_way_is_the_answer_itself() -> None:
    start, end = rotations(10, 10), rotations(55.123, 55.123)
    there = towards(start, end, np.array([1.0, 0.5]))
    assert (there[0] == end[0]).all()
    assert degrees_of(there)[1] == pytest.approx(32.5615)
