# SPDX-License-Identifier: Apache-2.0
"""Benchmarks from poses: suites of ``posellava eval``. The same poses, count and seed give the same cases.

``posepart`` and ``posefix`` are pairs of poses with the project's own description of the difference, ``generation``
is poses with the project's own description, ``estimation`` renders of poses. ``spg`` is situations that training does
not know, with poses that fit (ChatPose's speculative pose generation). Without a pose file the poses are constructed.
The papers' benchmarks have other poses and, where people wrote them, other words: figures are comparable within a run,
not between benchmarks.

Legend: N cases; poses (N, 24, 3) axis-angle, radians.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from blender_addon.contract.skeleton import BODY_PARTS
from training.data.actions.situations import SituationSampler
from training.data.captions.caption import Captioner
from training.data.captions.sampler import COUNTED_POSES, CaptionSampler
from training.data.frames import Frame
from training.data.images import PictureSampler, StartGiven, show_start
from training.data.pool import PosePool
from training.data.posepart import PairSampler, PairSettings
from training.data.samples import Sample
from training.data.shards import SampleSource
from training.data.sources.project_npz import MissingSplitError, Split
from training.data.sources.reading import read_poses

Poses = npt.NDArray[np.float32]
DEFAULT_COUNT: Final = 1000
HELD_OUT_SITUATIONS: Final = Path(__file__).with_name("cases") / "situations.yaml"
"""Situations for measuring alone: none of them, nor a rewording, is in training's table."""


@dataclass(frozen=True)
class Benchmark:
    """Cases to answer.

    Attributes:
        suite: a name in ``SUITES``.
        samples: N; their ``kind`` is what results are grouped by.
        descriptions: N; a description of each target pose, for retrieval by words.
    """

    suite: str
    samples: list[Sample]
    descriptions: list[str]

    @property
    def targets_aa(self) -> Poses:
        """(N, 24, 3)."""
        return np.stack([sample.target_aa for sample in self.samples if sample.target_aa is not None])

    @property
    def fingerprint(self) -> str:
        """Tells whether two people have the same cases: a hash of the words."""
        words = "\n".join([*(sample.instruction for sample in self.samples), *self.descriptions])
        return hashlib.sha256(words.encode()).hexdigest()[:12]


def pose_pool(poses: Path | None, split: Literal["train", "val"] = "val") -> PosePool:
    """The poses of one split of a pose file or folder, or constructed ones where there is no file.

    A file that lacks the split is taken as it is: someone may want to measure on poses that are all of one split.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: it holds no poses.
    """
    if poses is None:
        return PosePool(None)
    order: tuple[Split, ...] = ("val", "train", "test") if split == "val" else ("train", "val", "test")
    for chosen in order:
        try:
            return PosePool(read_poses(poses, chosen), constructed_share=0.0)
        except MissingSplitError as error:
            lacking = error
    raise lacking


def build_benchmark(
    suite: str,
    pool: PosePool,
    *,
    count: int = DEFAULT_COUNT,
    seed: int = 0,
    start: StartGiven = "pose",
    body: Path | None = None,
) -> Benchmark:
    """``count`` cases of a suite.

    Args:
        suite: its name.
        pool: where poses come from.
        count: cases.
        seed: of what is drawn.
        start: what edits start from. Of a picture the samples have the pose too, for the baselines.
        body: a licensed body to draw pictures with; None for the neutral one.

    Raises:
        ValueError: pictures of starts are asked for where nothing is edited.
        DrawingUnavailableError: pictures on a machine without OpenGL.
    """
    if start != "pose" and TASKS[suite] != "adjust":
        raise ValueError(f"the suite {suite} edits nothing: leave --start out")
    rng = np.random.default_rng(seed)
    samples = [
        replace(sample, id=f"{suite}-{seed}-{n}") for n, sample in enumerate(SUITES[suite](pool, rng, count))
    ]
    if start != "pose":
        views = np.random.default_rng((seed, 1))
        samples = [show_start(views, sample, "both", body_file=body) for sample in samples]
    return _described(suite, samples, pool, rng, seed)


def read_benchmark(
    suite: str,
    source: Path,
    pool: PosePool,
    *,
    count: int = DEFAULT_COUNT,
    seed: int = 0,
    frame: Frame | None = None,
) -> Benchmark:
    """Cases of a data set instead: those of the suite's task in a folder of shards or a file in the paper's JSON form.

    Where there are more than ``count``, the seed draws which. ``frame`` is the world of a file's poses; None to
    recognise it.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: fewer than two samples are of the suite's task and have a target pose.
    """
    data = SampleSource(source, frame=frame)
    rows = (data.read(shard, row) for shard, size in enumerate(data.sizes) for row in range(size))
    samples = [row for row in rows if row.task == TASKS[suite] and row.target_aa is not None]
    if len(samples) < 2:
        raise ValueError(f"{source} has fewer than two samples of the task {TASKS[suite]} with a target pose")
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.permutation(len(samples))[:count])
    return _described(suite, [samples[row] for row in chosen], pool, rng, seed)


def _described(
    suite: str, samples: list[Sample], pool: PosePool, rng: np.random.Generator, seed: int
) -> Benchmark:
    """The benchmark of these cases, each with a description of its target."""
    benchmark = Benchmark(suite, samples, [])
    if suite in ("generation", "spg"):
        return replace(benchmark, descriptions=[sample.instruction for sample in samples])
    captioner = Captioner(pool.draw(np.random.default_rng(seed), COUNTED_POSES))
    return replace(benchmark, descriptions=captioner.describe(benchmark.targets_aa, rng))


def _pairs(pool: PosePool, rng: np.random.Generator, count: int, *, several: bool) -> list[Sample]:
    """As the papers have them: whole changes, and no noise on the joints that stay."""
    made = PairSampler(pool, PairSettings(several=several)).triplets(rng, count)
    return [
        Sample("", "adjust", _parts_changed(parts), text, pose_aa=before, target_aa=after)
        for text, before, after, parts in zip(
            made.texts, made.before_aa, made.after_aa, made.parts, strict=True
        )
    ]


def _parts_changed(parts: npt.NDArray[np.bool_]) -> str:
    number = int(parts.sum())
    if number > 1:
        return f"{number} parts"
    return list(BODY_PARTS)[int(parts.argmax())].replace("_", " ")


def _posepart(pool: PosePool, rng: np.random.Generator, count: int) -> list[Sample]:
    return _pairs(pool, rng, count, several=False)


def _posefix(pool: PosePool, rng: np.random.Generator, count: int) -> list[Sample]:
    return _pairs(pool, rng, count, several=True)


def _generation(pool: PosePool, rng: np.random.Generator, count: int) -> list[Sample]:
    return CaptionSampler(pool).draw_many(rng, count)


def _speculative(pool: PosePool, rng: np.random.Generator, count: int) -> list[Sample]:
    sampler = SituationSampler(HELD_OUT_SITUATIONS)
    return [sampler.draw(rng) for _ in range(count)]


def _estimation(pool: PosePool, rng: np.random.Generator, count: int) -> list[Sample]:
    sampler = PictureSampler(lambda draws: pool.draw(draws, 1)[0])
    return [sampler.draw(rng) for _ in range(count)]


SUITES: Final[dict[str, Callable[[PosePool, np.random.Generator, int], list[Sample]]]] = {
    "posepart": _posepart,
    "posefix": _posefix,
    "generation": _generation,
    "spg": _speculative,
    "estimation": _estimation,
}

TASKS: Final = {
    "posepart": "adjust",
    "posefix": "adjust",
    "generation": "generate",
    "spg": "generate",
    "estimation": "estimate",
}
"""The task of each suite's cases."""
