# SPDX-License-Identifier: Apache-2.0
"""Poses drawn in bulk: recorded ones, weighted and mirrored, mixed with constructed ones.

``starts`` draws single poses for directives, with edits before; this one feeds what is made thousands at a time.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from blender_addon.contract.kinematics import heading, mirror_pose, yaw_matrix
from blender_addon.contract.rotations import axis_angle_to_matrix, matrix_to_axis_angle

from .sources.constructed import constructed_poses
from .sources.pose_set import PoseSet

Poses = npt.NDArray[np.float32]

CONSTRUCTED_SHARE: Final = 0.35
"""How many poses are constructed even where there are recorded ones: those are narrow."""


class PosePool:
    """Draws poses.

    Args:
        recorded: poses to draw from; None for constructed ones only.
        constructed_share: how many are constructed where there are recorded ones.
    """

    def __init__(self, recorded: PoseSet | None, *, constructed_share: float = CONSTRUCTED_SHARE) -> None:
        self._recorded = recorded
        self._share = constructed_share
        if recorded is not None:
            self._cumulative = np.cumsum(recorded.label_weights())
            labels = recorded.label_of
            self._by_label = np.argsort(labels, kind="stable")
            self._labels = labels
            self._starts = np.searchsorted(labels[self._by_label], np.arange(labels.max() + 2))

    def draw(self, rng: np.random.Generator, count: int) -> Poses:
        """(count, 24, 3) axis-angle, radians, with the headings they have."""
        return self._draw(rng, count)[0]

    def draw_pairs(
        self, rng: np.random.Generator, count: int, *, related_share: float = 0.0
    ) -> tuple[Poses, Poses]:
        """Two poses for each of ``count``; ``related_share`` of recorded ones are of one kind of motion."""
        first, rows = self._draw(rng, count)
        second, _ = self._draw(rng, count)
        if self._recorded is not None:
            related = np.flatnonzero((rows >= 0) & (rng.random(count) < related_share))
            labels = self._labels[rows[related]]
            low, high = self._starts[labels], self._starts[labels + 1]
            chosen = self._by_label[rng.integers(low, high)]
            second[related] = _mirrored(rng, self._recorded.pose_aa[chosen])
        return first, second

    def _draw(self, rng: np.random.Generator, count: int) -> tuple[Poses, npt.NDArray[np.int64]]:
        """Poses, and the row of each in the recorded ones or -1."""
        if self._recorded is None:
            return constructed_poses(rng, count), np.full(count, -1)
        rows = np.searchsorted(self._cumulative, rng.random(count)).clip(0, len(self._recorded) - 1)
        poses = _mirrored(rng, self._recorded.pose_aa[rows])
        made = np.flatnonzero(rng.random(count) < self._share)
        poses[made] = constructed_poses(rng, len(made))
        rows[made] = -1
        return poses, rows


def _mirrored(rng: np.random.Generator, poses: Poses) -> Poses:
    flip = rng.random(len(poses)) < 0.5
    return np.where(flip[:, None, None], mirror_pose(poses), poses).astype(np.float32)


def with_heading(poses: Poses, yaw: npt.ArrayLike) -> Poses:
    """The poses (N, 24, 3) turned to the headings ``yaw`` (N,), radians."""
    root = axis_angle_to_matrix(poses[:, 0])
    turned = poses.copy()
    turned[:, 0] = matrix_to_axis_angle(yaw_matrix(np.asarray(yaw) - heading(root)) @ root)
    return turned
