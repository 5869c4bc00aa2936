# SPDX-License-Identifier: Apache-2.0
"""From answers to figures: every metric of a contestant, with intervals, and its errors by kind of case.

Legend: N cases, J = 24 joints.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from blender_addon.contract.rotations import Array

from . import metrics
from .benchmarks import Benchmark
from .bootstrap import Bootstrap, Estimate
from .contestants import Answers, starts_of

POOL: Final = 100
RECALL_AT: Final = (1, 5, 10, 20)
"""20 is ChatPose's."""

Embed = Callable[[npt.NDArray[np.float32]], Array]


@dataclass(frozen=True)
class PoseVectors:
    """A way to compare poses, for recall.

    Attributes:
        prefix: of its figures' names.
        embed: poses (N, 24, 3) to vectors (N, D).
        texts: (N, D) vectors of the benchmark's descriptions in the same space, where it knows words.
    """

    prefix: str
    embed: Embed
    texts: Array | None = None


@dataclass(frozen=True)
class Errors:
    """One contestant, case by case.

    Attributes:
        values: for each mean figure its values (N,); shares as 0 or 100.
        drift: (N, J) degrees, NaN where a joint was to move; None where there is no start pose.
    """

    values: dict[str, Array]
    drift: Array | None = field(default=None)


def measure(
    benchmark: Benchmark,
    answers: Answers,
    spaces: list[PoseVectors],
    *,
    seed: int,
    offsets: Array | None = None,
) -> Errors:
    """All errors of a contestant. ``spaces`` are the ways to compare poses; ``offsets`` (J, 3) those of the joints of
    another body than the neutral one."""
    targets = benchmark.targets_aa
    values = {
        "mpjpe": metrics.mpjpe(answers.poses_aa, targets, offsets),
        "pa_mpjpe": metrics.pa_mpjpe(answers.poses_aa, targets, offsets),
        "mpjre": metrics.mpjre(answers.poses_aa, targets),
    }
    if answers.declines:
        values["no_pose"] = 100.0 * answers.failed
    pools = metrics.draw_pools(np.random.default_rng(seed), len(targets), POOL)
    for space in spaces:
        given = space.embed(answers.poses_aa)
        places = {f"{space.prefix}r": metrics.ranks(given, space.embed(targets), pools)}
        if space.texts is not None:
            places |= words_and_poses(space.texts, given, pools)
        for name, place in places.items():
            place[answers.failed] = POOL + 1
            values |= _recalls(name, place)
    if any(sample.pose_aa is not None for sample in benchmark.samples):
        return Errors(values, metrics.drift(answers.poses_aa, starts_of(benchmark.samples), targets))
    return Errors(values)


def words_and_poses(
    texts: Array, poses: Array, pools: npt.NDArray[np.int64]
) -> dict[str, npt.NDArray[np.int64]]:
    """Ranks (N,) of poses found by words and of words found by poses; their own are at equal rows (N, D)."""
    return {"t2p_r": metrics.ranks(texts, poses, pools), "p2t_r": metrics.ranks(poses, texts, pools)}


def measure_targets(benchmark: Benchmark, space: PoseVectors, *, seed: int) -> Errors:
    """Recall of the true poses by their own words and back: what the retrieval model itself can do."""
    assert space.texts is not None
    pools = metrics.draw_pools(np.random.default_rng(seed), len(benchmark.samples), POOL)
    places = words_and_poses(space.texts, space.embed(benchmark.targets_aa), pools)
    values: dict[str, Array] = {}
    for name, place in places.items():
        values |= _recalls(name, place)
    return Errors(values)


def _recalls(name: str, place: npt.NDArray[np.int64]) -> dict[str, Array]:
    return {f"{name}_at_{k}": 100.0 * (place <= k) for k in RECALL_AT}


def figures(errors: Errors, bootstrap: Bootstrap, copy: Errors) -> dict[str, Estimate]:
    """The means, the ratio to the copy baseline, and the drift's median and 95th percentile."""
    found = {name: bootstrap.mean(values) for name, values in errors.values.items()}
    if "mpjpe" in errors.values:
        found["mpjpe_to_copy"] = bootstrap.ratio(errors.values["mpjpe"], copy.values["mpjpe"])
    if errors.drift is not None and not np.isnan(errors.drift).all():
        found["drift_median"] = bootstrap.percentile(errors.drift, 50)
        found["drift_p95"] = bootstrap.percentile(errors.drift, 95)
    return found


def by_kind(benchmark: Benchmark, errors: Mapping[str, Errors]) -> dict[str, dict[str, float]]:
    """For each kind of case how many there are and each contestant's MPJPE."""
    kinds = np.array([sample.kind for sample in benchmark.samples])
    return {
        str(kind): {
            "cases": float((kinds == kind).sum()),
            **{name: float(one.values["mpjpe"][kinds == kind].mean()) for name, one in errors.items()},
        }
        for kind in sorted(set(kinds))
    }
