# SPDX-License-Identifier: Apache-2.0
"""Who answers a benchmark: the model, and beside it the copy baseline and the mean pose.

Legend: N cases; poses (N, 24, 3) axis-angle, radians.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from backend.query import Answer, Answerer, Query
from blender_addon.contract.kinematics import heading
from blender_addon.contract.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from blender_addon.contract.skeleton import NUM_JOINTS, STANDING_POSE
from training.data.images import StartGiven
from training.data.pool import PosePool, with_heading
from training.data.samples import Sample, open_image

from .metrics import mpjpe

Poses = npt.NDArray[np.float32]
AVERAGED_POSES: Final = 4000


@dataclass(frozen=True)
class Answers:
    """What one contestant answered.

    Attributes:
        poses_aa: (N, 24, 3); where there was no pose, the one that is scored in its place.
        failed: (N,) true where there was no pose.
        offered: (N, V, 24, 3) all that was offered, the answer first, and again where there were fewer than V; None
            where one answer was asked for.
        declines: whether the contestant may answer without a pose; otherwise the share of such answers says nothing.
    """

    poses_aa: Poses
    failed: npt.NDArray[np.bool_]
    declines: bool = False
    offered: npt.NDArray[np.float32] | None = None


def query_of(sample: Sample, given: StartGiven | None = None, variants: int = 1) -> Query:
    """What the model is asked for a sample: of an edit, with the pose, the picture of it or both; None for all that
    there is. ``variants``: how many answers are wished for."""
    image = None if sample.image is None or given == "pose" else open_image(sample.image)
    pose_aa = None if given == "image" else sample.pose_aa
    return Query(sample.task, sample.instruction, pose_aa=pose_aa, image=image, variants=variants)


def ask(
    engine: Answerer,
    samples: Sequence[Sample],
    *,
    batch_size: int,
    given: StartGiven | None = None,
    variants: int = 1,
) -> Iterator[list[Answer]]:
    """The model's answers, a batch at a time."""
    for start in range(0, len(samples), batch_size):
        some = samples[start : start + batch_size]
        yield engine.answer([query_of(sample, given, variants) for sample in some])


def starts_of(samples: Sequence[Sample]) -> Poses:
    """The poses (N, 24, 3) that are edited; the standing figure where there is none."""
    return np.stack([STANDING_POSE if sample.pose_aa is None else sample.pose_aa for sample in samples])


def copy_answers(samples: Sequence[Sample]) -> Answers:
    """Leaves the start pose as it is; where there is none, the standing figure."""
    return Answers(starts_of(samples), np.zeros(len(samples), dtype=bool))


def mean_pose(pool: PosePool) -> Poses:
    """(24, 3) the mean of the pool's poses, heading removed: for each joint the rotation nearest to the mean matrix
    (Hartley et al. 2013, "Rotation Averaging", section 5.3)."""
    drawn = pool.draw(np.random.default_rng(0), AVERAGED_POSES)
    local = axis_angle_to_matrix(with_heading(drawn, np.zeros(len(drawn))))
    u, _, vt = np.linalg.svd(local.mean(axis=0))
    u[:, :, 2] *= np.linalg.det(u @ vt)[:, None]
    return matrix_to_axis_angle(u @ vt).astype(np.float32)


def mean_answers(samples: Sequence[Sample], mean_aa: Poses) -> Answers:
    """Always the mean pose, turned to the start's heading; where there is no start, it faces the camera."""
    yaw = heading(axis_angle_to_matrix(starts_of(samples)[:, 0]))
    poses = with_heading(np.repeat(mean_aa[None], len(samples), axis=0), yaw)
    return Answers(poses, np.zeros(len(samples), dtype=bool))


@dataclass(frozen=True)
class Baselines:
    """What every contestant of a benchmark stands beside: leaving each pose as it is, and always the mean pose."""

    copy: Answers
    mean: Answers

    @classmethod
    def of(cls, samples: Sequence[Sample], mean_aa: Poses) -> Baselines:
        """Those of the samples; ``mean_aa`` (24, 3) is the mean pose."""
        return cls(copy_answers(samples), mean_answers(samples, mean_aa))

    def scored(
        self, replies: Sequence[Answer], targets_aa: Poses, *, declines: bool = False, variants: int = 1
    ) -> Answers:
        """A model's answers; one without a usable pose is scored as the worse of the two baselines, with ``variants``
        as many as were asked for.

        So a model that does not answer is never better than one that does nothing.
        """
        copy, mean = self.copy.poses_aa, self.mean.poses_aa
        failed = np.array([not _usable(reply) for reply in replies])
        copy_is_worse = mpjpe(copy, targets_aa) > mpjpe(mean, targets_aa)
        poses = np.where(copy_is_worse[:, None, None], copy, mean)
        for case in np.flatnonzero(~failed):
            poses[case] = replies[case].pose_aa
        offered = None
        if variants > 1:
            offered = np.repeat(poses[:, None], variants, axis=1)
            for case, reply in enumerate(replies):
                if not failed[case] and reply.variants_aa is not None:
                    offered[case, : len(reply.variants_aa)] = reply.variants_aa
        return Answers(poses, failed, declines or bool(failed.any()), offered)


def _usable(reply: Answer) -> bool:
    pose = reply.pose_aa
    return pose is not None and pose.shape == (NUM_JOINTS, 3) and bool(np.isfinite(pose).all())
