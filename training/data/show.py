# SPDX-License-Identifier: Apache-2.0
"""What is in samples: lines of JSON, and statistics of words and poses."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from blender_addon.contract.kinematics import forward_kinematics
from blender_addon.contract.rotations import Array, axis_angle_to_matrix
from blender_addon.contract.skeleton import STANDING_POSE

from .registry import SOURCES, Build, check_options
from .samples import Sample
from .shards import SampleSource

Poses = npt.NDArray[np.float32]
MOST_TRIED: Final = 8000
TRIED_AT_ONCE: Final = 250
_WORD: Final = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")


def take(what: str, count: int, build: Build, kind: str = "*") -> list[Sample]:
    """``count`` samples: drawn, where ``what`` is the name of a data source, or else of a folder or file of them.

    Args:
        what: the source, folder or file.
        count: samples.
        build: seed, poses and the like that a source is drawn with.
        kind: only samples of this kind, which may hold the wildcards of file names, such as ``arm*``. There may be
            fewer then: ``MOST_TRIED`` samples are looked through.

    Raises:
        FileNotFoundError: neither a source's name nor a file.
        ValueError: there is no sample of this kind.
    """
    every = kind == "*"
    seen = _samples(
        what, count if every else max(count, MOST_TRIED), build, count if every else TRIED_AT_ONCE
    )
    found = list(islice((sample for sample in seen if fnmatchcase(sample.kind, kind)), count))
    if not found:
        raise ValueError(f"{what} has no samples of the kind {kind!r} among {MOST_TRIED}")
    return found


def _samples(what: str, count: int, build: Build, block: int) -> Iterator[Sample]:
    """``count`` samples, drawn as many at a time as ``block``, or chosen at random of a folder or file."""
    rng = np.random.default_rng(build.seed)
    if what in SOURCES:
        build = replace(build, source=what, count=count)
        check_options(build)
        draw = SOURCES[what].open(build)
        for first in range(0, count, block):
            for number, sample in enumerate(draw(rng, min(block, count - first)), start=first):
                yield replace(sample, id=f"{what}-{build.seed}-{number}")
        return
    path = Path(what)
    if not path.exists():
        raise FileNotFoundError(
            f"{what} is no file, no folder, and no data source ({', '.join(sorted(SOURCES))})"
        )
    source = SampleSource(path)
    ends = np.cumsum(source.sizes)
    chosen = np.sort(rng.permutation(len(source))[:count])
    shards = np.searchsorted(ends, chosen, side="right")
    for shard, number in zip(shards, chosen, strict=True):
        yield source.read(int(shard), int(number - (ends[shard - 1] if shard else 0)))


def to_line(sample: Sample) -> dict[str, Any]:
    """A sample as ``{"id", "kind", "pose", "target", "instruction"}``; the poses are 24 × 3, or None."""
    return {
        "id": sample.id,
        "kind": sample.kind,
        "pose": _rounded(sample.pose_aa),
        "target": _rounded(sample.target_aa),
        "instruction": sample.instruction,
    }


def _rounded(pose_aa: Poses | None) -> list[list[float]] | None:
    """A pose for JSON; as float64, whose rounded numbers are written short."""
    if pose_aa is None:
        return None
    rounded: list[list[float]] = np.round(pose_aa.astype(np.float64), 5).tolist()
    return rounded


@dataclass(frozen=True)
class Kind:
    """Figures of the samples of one kind.

    Attributes:
        samples: how many.
        distinct: different sentences.
        words: mean number of words.
        copy_mpjpe: mean distance of the joints in mm when the start pose (or, where there is none, the standing
            figure) is left as it is; pelvis-aligned, heading included. None where there is no target.
    """

    samples: int
    distinct: int
    words: float
    copy_mpjpe: float | None


def kinds(samples: Iterable[Sample]) -> dict[str, Kind]:
    """Figures by kind, the most frequent first."""
    grouped: dict[str, list[Sample]] = {}
    for sample in samples:
        grouped.setdefault(sample.kind, []).append(sample)
    return {name: _figures(group) for name, group in sorted(grouped.items(), key=lambda pair: -len(pair[1]))}


def _figures(samples: Sequence[Sample]) -> Kind:
    texts = [sample.instruction for sample in samples]
    aimed = [sample for sample in samples if sample.target_aa is not None]
    error = None
    if aimed:
        starts = np.stack([STANDING_POSE if sample.pose_aa is None else sample.pose_aa for sample in aimed])
        targets = np.stack([sample.target_aa for sample in aimed if sample.target_aa is not None])
        error = 1000.0 * float(np.linalg.norm(_joints(starts) - _joints(targets), axis=-1).mean())
    words = float(np.mean([len(words_of(text)) for text in texts]))
    return Kind(len(samples), len({text.lower() for text in texts}), words, error)


def _joints(poses: Poses) -> Array:
    return forward_kinematics(axis_angle_to_matrix(poses))[1]


def words_of(text: str) -> list[str]:
    """The words of a text, in lower case."""
    return _WORD.findall(text.lower())


def vocabulary(samples: Iterable[Sample]) -> Counter[str]:
    """How often each word occurs."""
    return Counter(word for sample in samples for word in words_of(sample.instruction))


def only_in(first: Counter[str], second: Mapping[str, int], *, least: int = 2) -> list[str]:
    """Words of the first that the second lacks, the most frequent first; those rarer than ``least`` are slips."""
    return [word for word, count in first.most_common() if count >= least and word not in second]
