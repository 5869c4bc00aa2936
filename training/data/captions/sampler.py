# SPDX-License-Identifier: Apache-2.0
"""Captions as samples: words, and the pose that they describe."""

from __future__ import annotations

from typing import Final

import numpy as np

from training.data.pool import PosePool, with_heading
from training.data.samples import Sample

from .caption import Captioner

COUNTED_POSES: Final = 4000
"""What is common is counted in this many poses of the pool."""


class CaptionSampler:
    """Draws poses and describes them."""

    def __init__(self, pool: PosePool) -> None:
        self.pool = pool
        self.captioner = Captioner(pool.draw(np.random.default_rng(0), COUNTED_POSES))

    def draw_many(self, rng: np.random.Generator, count: int) -> list[Sample]:
        """``count`` samples of the task ``generate``. Words say nothing of the heading, so the poses have none."""
        poses = with_heading(self.pool.draw(rng, count), np.zeros(count))
        return [
            Sample("", "generate", "caption", text, target_aa=pose)
            for text, pose in zip(self.captioner.describe(poses, rng), poses, strict=True)
        ]

    def draw(self, rng: np.random.Generator) -> Sample:
        """One sample; many at a time are far faster."""
        return self.draw_many(rng, 1)[0]
