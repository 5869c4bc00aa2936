# SPDX-License-Identifier: Apache-2.0
"""What every source of poses yields."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class PoseSet:
    """Poses with what is known of them.

    Attributes:
        pose_aa: (N, 24, 3) float32 axis-angle, radians.
        labels: (N,) what was being done, such as "salsa dance"; empty where unknown.
    """

    pose_aa: npt.NDArray[np.float32]
    labels: npt.NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.pose_aa)

    def label_weights(self, power: float = 0.5) -> npt.NDArray[np.float64]:
        """(N,) weights that even the labels out: a label of n poses gets n ** power altogether."""
        _, inverse, counts = np.unique(self.labels, return_inverse=True, return_counts=True)
        weights: npt.NDArray[np.float64] = counts[inverse].astype(np.float64) ** (power - 1.0)
        weights /= weights.sum()
        return weights
