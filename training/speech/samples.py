# SPDX-License-Identifier: Apache-2.0
"""Poses and pairs of poses, each with what is to be said of it."""

from __future__ import annotations

from typing import Final

import numpy as np

from blender_addon.contract.kinematics import heading
from blender_addon.contract.messages import Turn
from blender_addon.contract.rotations import axis_angle_to_matrix
from training.data.captions.spoken import Teller
from training.data.pool import PosePool, Poses, with_heading
from training.data.posepart import PairSampler, PairSettings
from training.data.samples import Sample

COUNTED_POSES: Final = 4000
"""What is rare is counted in this many poses of the pool."""
PART_PAIRS: Final = 0.5
"""How many pairs differ in some body parts only, as an edit's before and after do."""


class SpeechSampler:
    """Draws samples of the task ``describe`` with their reply; poses come from ``pool``."""

    def __init__(self, pool: PosePool) -> None:
        self.pool = pool
        self.teller = Teller(pool.draw(np.random.default_rng(0), COUNTED_POSES))
        self._edits = PairSampler(pool, PairSettings(partial_share=0.3))

    def descriptions(self, rng: np.random.Generator, count: int) -> list[Sample]:
        """``count`` poses and what is said of them; words say nothing of the heading."""
        poses = with_heading(self.pool.draw(rng, count), np.zeros(count))
        words = self.teller.describe(poses, rng)
        return [
            Sample(f"pose-{n}", "describe", "pose", "", pose, reply=text)
            for n, (pose, text) in enumerate(zip(poses, words, strict=True))
        ]

    def differences(self, rng: np.random.Generator, count: int) -> list[Sample]:
        """``count`` pairs of poses that face the same way and what changed from the first, which is the history's, to
        the second."""
        if not count:
            return []
        before, after = self.pairs(rng, count)
        words = self.teller.compare(before, after, rng)
        return [
            Sample(f"pair-{n}", "describe", "pair", "", now, reply=text, history=(Turn("", then),))
            for n, (then, now, text) in enumerate(zip(before, after, words, strict=True))
        ]

    def pairs(self, rng: np.random.Generator, count: int) -> tuple[Poses, Poses]:
        """``count`` poses before and after a change, both (N, 24, 3), which face the same way."""
        before, after = self.pool.draw_pairs(rng, count, related_share=0.5)
        edits = round(count * PART_PAIRS)
        before[:edits], after[:edits], _ = self._edits.pairs(rng, edits)
        return before, with_heading(after, heading(axis_angle_to_matrix(before[:, 0])))
