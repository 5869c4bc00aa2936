# SPDX-License-Identifier: Apache-2.0
"""How far a run has come, and the learning rate there."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .settings import OptimiserSettings


@dataclass(frozen=True)
class Schedule:
    """Linear warm-up, then a cosine down to ``final_ratio`` of the rate.

    A run ends when its steps are done or its time is used up, whichever comes first, and the rate follows the one
    that is further. Going on with more steps or more time raises the rate again to where the longer run would be.
    Without a time budget the rate depends on the step alone, so that a resumed run repeats an unbroken one exactly.

    Attributes:
        steps: of the whole run.
        seconds: time budget; 0 for none.
        settings: rate, warm-up and final ratio.
    """

    steps: int
    seconds: float
    settings: OptimiserSettings

    def progress(self, step: int, elapsed: float) -> float:
        """Share of the run, 0 to 1, after ``step`` steps and ``elapsed`` seconds of training."""
        by_time = elapsed / self.seconds if self.seconds > 0 else 0.0
        return min(1.0, max(step / max(1, self.steps), by_time))

    def rate(self, step: int, elapsed: float) -> float:
        """Learning rate of the next step."""
        share, warmup = self.progress(step, elapsed), self.settings.warmup
        if share < warmup:
            # The very first step is not wasted on a rate of zero.
            factor = max(share, 1.0 / max(1, self.steps)) / warmup
        else:
            cosine = 0.5 * (1 + math.cos(math.pi * (share - warmup) / max(1e-9, 1 - warmup)))
            factor = self.settings.final_ratio + (1 - self.settings.final_ratio) * cosine
        return self.settings.learning_rate * min(1.0, factor)
