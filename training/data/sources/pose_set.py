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
        label_of: (N,) int32, the number of each pose's label.
        label_names: (K,) what was being done, such as "salsa dance"; empty where unknown.
    """

    pose_aa: npt.NDArray[np.float32]
    label_of: npt.NDArray[np.int32]
    label_names: npt.NDArray[np.str_]

    @classmethod
    def labelled(cls, pose_aa: npt.NDArray[np.float32], labels: npt.ArrayLike) -> PoseSet:
        """Poses with a label for each, (N,)."""
        names, label_of = np.unique(np.asarray(labels, dtype=np.str_), return_inverse=True)
        return cls(pose_aa, label_of.astype(np.int32), names)

    def __len__(self) -> int:
        return len(self.pose_aa)

    @property
    def labels(self) -> npt.NDArray[np.str_]:
        """(N,) each pose's label."""
        labels: npt.NDArray[np.str_] = self.label_names[self.label_of]
        return labels

    def label_weights(self, power: float = 0.5) -> npt.NDArray[np.float64]:
        """(N,) weights that even the labels out: a label of n poses gets n ** power altogether."""
        counts = np.bincount(self.label_of, minlength=len(self.label_names))
        weights: npt.NDArray[np.float64] = counts[self.label_of].astype(np.float64) ** (power - 1.0)
        weights /= weights.sum()
        return weights


def joined(sets: list[PoseSet]) -> PoseSet:
    """All of them, one after the other."""
    names, number = np.unique(np.concatenate([one.label_names for one in sets]), return_inverse=True)
    starts = np.cumsum([0, *(len(one.label_names) for one in sets)])
    label_of = [number[start + one.label_of] for start, one in zip(starts[:-1], sets, strict=True)]
    return PoseSet(
        np.concatenate([one.pose_aa for one in sets]), np.concatenate(label_of).astype(np.int32), names
    )
