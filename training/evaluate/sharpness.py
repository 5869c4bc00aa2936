# SPDX-License-Identifier: Apache-2.0
"""Whether answers to words that many poses fit are poses of their own, or the mean of what the words leave open; and
what several answers are worth. One number a case; distances are mean distances of joints in mm, headings removed.

Legend: N cases, V answers to each, R real poses, J = 24 joints.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from blender_addon.contract.rotations import Array
from training.data.pool import with_heading

from .contestants import Answers, Poses
from .metrics import joint_positions, mpjpe

VARIANTS: Final = 4
"""Answers that are asked for."""
REAL_POSES: Final = 20000
"""Recorded poses among which the nearest is looked for."""
NEAR_MM: Final = 100.0
"""What is nearer to the mean pose is near it."""
_AT_ONCE: Final = 512


class Sharpness:
    """How far poses are from real ones and from their mean.

    Args:
        real: (R, J, 3) axis-angle, radians.
        mean: (J, 3) their mean.
    """

    def __init__(self, real: Poses, mean: Poses) -> None:
        self._real = _places(real)
        self._mean = _places(mean[None])

    def measure(self, poses_aa: Poses) -> dict[str, Array]:
        """``nearest_real``, mm, and ``near_mean``, 0 or 100, of poses (N, J, 3)."""
        at = _places(poses_aa)
        nearest = np.array([self._nearest(one) for one in at])
        middle = 1000.0 * np.linalg.norm(at - self._mean, axis=-1).mean(-1)
        return {"nearest_real": nearest, "near_mean": 100.0 * (middle < NEAR_MM)}

    def _nearest(self, at: Array) -> float:
        gaps = [
            np.linalg.norm(self._real[start : start + _AT_ONCE] - at, axis=-1).mean(-1).min()
            for start in range(0, len(self._real), _AT_ONCE)
        ]
        return 1000.0 * float(min(gaps))


def of_all_offered(answers: Answers, targets_aa: Poses) -> dict[str, Array]:
    """``best_mpjpe`` of all answers to a case, ``second_mpjpe``, and how far they are ``apart``, mean of all pairs."""
    assert answers.offered is not None
    errors = np.stack([mpjpe(one, targets_aa) for one in np.moveaxis(answers.offered, 1, 0)], axis=1)
    at = joint_positions(answers.offered)  # (N, V, J, 3)
    pairs = 1000.0 * np.linalg.norm(at[:, :, None] - at[:, None], axis=-1).mean(-1)
    count = errors.shape[1]
    return {
        "best_mpjpe": errors.min(axis=1),
        "second_mpjpe": errors[:, 1],
        "apart": pairs.sum(axis=(1, 2)) / (count * (count - 1)),
    }


def _places(poses_aa: Poses) -> Array:
    """(N, J, 3) metres, of poses without their headings."""
    return joint_positions(with_heading(poses_aa, np.zeros(len(poses_aa)))).astype(np.float32)
