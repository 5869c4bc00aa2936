# SPDX-License-Identifier: Apache-2.0
"""How fast pairs of words and poses are made: one process, every step from the pose to the text.

- ``posepart_triplets_per_s``: two poses drawn, the part that changed most found and put from one on the other, the
  difference measured and worded.
- ``captions_per_s``: a pose drawn, measured, and described.

The poses are constructed, so that no pose file is needed. Sentences are written out at their first use; the first
batches, in which that happens, are not counted.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from typing import Final

import numpy as np

from training.data.captions.sampler import CaptionSampler
from training.data.pool import PosePool
from training.data.posepart import PairSampler

BATCH: Final = 4096
ROUNDS: Final = 7
WARM_UP: Final = 2


def rate(draw_many: Callable[[np.random.Generator, int], object]) -> float:
    """Samples a second: the median of some batches."""
    rng = np.random.default_rng(0)
    seconds = []
    for number in range(WARM_UP + ROUNDS):
        start = time.perf_counter()
        draw_many(rng, BATCH)
        if number >= WARM_UP:
            seconds.append(time.perf_counter() - start)
    return BATCH / statistics.median(seconds)


def main() -> None:
    """Print both figures."""
    pool = PosePool(None)
    for name, draw_many in (
        ("posepart_triplets_per_s", PairSampler(pool).draw_many),
        ("captions_per_s", CaptionSampler(pool).draw_many),
    ):
        print(
            json.dumps({"name": name, "value": round(rate(draw_many)), "unit": "1/s", "batch": BATCH}),
            flush=True,
        )


if __name__ == "__main__":
    main()
