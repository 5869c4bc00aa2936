# SPDX-License-Identifier: Apache-2.0
"""Poses that are made up, and what directives make of them, keep to the table of joint limits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from blender_addon.contract.limits import RANGES, keeps_limits
from blender_addon.contract.rotations import axis_angle_to_matrix
from blender_addon.contract.skeleton import NUM_JOINTS
from training.data.constraints.prior import FIRST, LAST, load_prior
from training.data.directives.sampler import DirectiveSampler
from training.data.sources.constructed import constructed_poses
from training.evaluate.instructions import judge

STRAIGHT = np.tile(np.eye(3), (1, NUM_JOINTS, 1, 1))


def test_constructed_poses_keep_to_the_limits() -> None:
    local = axis_angle_to_matrix(constructed_poses(np.random.default_rng(3), 2000).astype(np.float64))
    assert keeps_limits(np.tile(STRAIGHT, (len(local), 1, 1, 1)), local)


@pytest.mark.slow
def test_what_directives_ask_for_keeps_to_the_limits() -> None:
    rng = np.random.default_rng(4)
    sampler = DirectiveSampler(lambda rng: constructed_poses(rng, 1)[0])
    for _ in range(300):
        sample = sampler.draw(rng)
        if sample.target_aa is not None and sample.pose_aa is not None:
            start, target = (
                axis_angle_to_matrix(pose.astype(np.float64))[None]
                for pose in (sample.pose_aa, sample.target_aa)
            )
            assert keeps_limits(start, target), sample


def test_the_solvers_ranges_are_those_of_the_table() -> None:
    prior = load_prior()
    for joint, ranges in RANGES.items():
        if FIRST <= joint < LAST:
            low, high = np.radians(ranges).T
            torch.testing.assert_close(prior.low[joint - FIRST], torch.tensor(low, dtype=torch.float32))
            torch.testing.assert_close(prior.high[joint - FIRST], torch.tensor(high, dtype=torch.float32))


def test_an_answer_that_breaks_a_joint_is_told_in_the_rates() -> None:
    case = {
        "id": "1", "task": "adjust", "kind": "elbow", "instruction": "bend the left elbow more",
        "pose": np.zeros((NUM_JOINTS, 3)).tolist(), "checks": [["dflex", "L_elbow", 20, None]], "keep": [],
    }  # fmt: skip
    bent, broken = np.zeros((2, NUM_JOINTS, 3))
    bent[18, 1], broken[18, 1] = np.radians([-120, -175])
    assert (judge(case, bent).done, judge(case, bent).possible) == (True, True)
    assert (judge(case, broken).done, judge(case, broken).possible) == (True, False)
