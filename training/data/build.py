# SPDX-License-Identifier: Apache-2.0
"""Draws samples into shards, in parallel processes; going on where an interrupted build stopped.

Shard number k of a build is a function of its seed and k alone, so neither the number of workers nor an interruption
changes a sample. The index is written anew after each shard, so that training can start on what is there.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence, Sized
from dataclasses import asdict, dataclass, replace
from multiprocessing import resource_tracker
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from training.claim import claimed

from .samples import Sample
from .shards import INDEX, Shard, shard_name, write_shard

if TYPE_CHECKING:
    from .images import StartGiven
    from .pool import PosePool
    from .sources.listed import ListedSamples
    from .sources.pose_set import PoseSet
    from .starts import StartPoses

DrawSample = Callable[[np.random.Generator], Sample]
DrawSamples = Callable[[np.random.Generator, int], list[Sample]]
Split = Literal["train", "val", "test"]
PARTIAL_SHARE = 0.3
"""How many PoseFix-style pairs go only some of the way, so that training sees small changes too."""


@dataclass(frozen=True)
class Build:
    """What to build.

    Attributes:
        source: a name in ``SOURCES``.
        folder: where the shards go.
        count: samples, rounded up to whole shards; of what is listed, None for all that there are.
        seed: of everything that is drawn.
        poses: a file or folder of poses, in any format that is known; None for constructed poses only.
        split: which part of the poses, or of what is listed; only the latter may have one for tests.
        shard_size: samples a shard.
        annotations: for sources that are listed: the released file or folder.
        images: for those that have pictures: the folder of them.
        noise_degrees: deviation of the noise on the parts that a pair of poses leaves alone.
        body: a licensed SMPL, SMPL-H or SMPL-X file to draw pictures with; None for the neutral body.
        start: what an edit starts from: the pose, a picture of it, or both.
        held_out: releases of PoseScript or PoseFix; their validation and test poses are left out of ``poses``.
        gathered: the folder in which the poses were gathered already; None to read them from ``poses``.
    """

    source: str
    folder: Path
    count: int | None
    seed: int = 0
    poses: Path | None = None
    split: Split = "train"
    shard_size: int = 4096
    annotations: Path | None = None
    images: Path | None = None
    noise_degrees: float = 0.0
    body: Path | None = None
    start: StartGiven = "pose"
    held_out: tuple[Path, ...] = ()
    gathered: Path | None = None


def directives(build: Build) -> DrawSamples:
    """Instructions as animators type them, with constructed targets."""
    from .directives.sampler import DirectiveSampler

    return _one_by_one(DirectiveSampler(_start_poses(build)).draw)


def basics(build: Build) -> DrawSamples:
    """Directives again, but mostly what is asked most, in plain sentences: an earlier lesson."""
    from .directives.sampler import BASICS, DirectiveSampler

    return _one_by_one(DirectiveSampler(_start_poses(build), BASICS).draw)


def patterns(build: Build) -> DrawSamples:
    """Sentences written by hand, with targets that a solver finds for their constraints; with turns before."""
    from .patterns.sampler import PatternSampler

    return PatternSampler(_start_poses(build)).draw_many


def view(build: Build) -> DrawSamples:
    """Sentences about the camera, with and without knowing where it is, and others seen from it."""
    from .patterns.viewing import ViewSampler

    return ViewSampler(_start_poses(build)).draw_many


def pictures(build: Build) -> DrawSamples:
    """Pictures of posed bodies, for stage 1 and pose estimation."""
    from .images import PictureSampler

    return _one_by_one(PictureSampler(_start_poses(build), build.body).draw)


def descriptions(build: Build) -> DrawSamples:
    """Descriptions of whole poses, for stage 2 and pose generation; no pose file is used."""
    from .directives.descriptions import DescriptionSampler

    return _one_by_one(DescriptionSampler().draw)


def captions(build: Build) -> DrawSamples:
    """Poses described by rule, for stage 2 and pose generation."""
    from .captions.sampler import CaptionSampler

    return CaptionSampler(_pool(build)).draw_many


def actions(build: Build) -> DrawSamples:
    """Recorded poses asked for by what their clips show; needs poses with labels."""
    from .actions.actions import ActionSampler

    recorded = _recorded(build)
    if recorded is None:
        raise ValueError(
            "actions are worded from the labels of recorded clips; name their poses with --poses"
        )
    return ActionSampler(recorded).draw_many


def situations(build: Build) -> DrawSamples:
    """Everyday situations, and postures that fit them; no pose file is used."""
    from .actions.situations import SituationSampler

    return _one_by_one(SituationSampler().draw)


def posepart(build: Build) -> DrawSamples:
    """Pairs of poses that differ in one body part, and the words that lead from one to the other: PosePart."""
    from .posepart import PairSampler, PairSettings

    return _shown(build, PairSampler(_pool(build), PairSettings(noise_degrees=build.noise_degrees)).draw_many)


def nudges(build: Build) -> DrawSamples:
    """PosePart's pairs, but the part goes only some of the way: the small changes that the paper lacks."""
    from .posepart import PairSampler, PairSettings

    settings = PairSettings(noise_degrees=build.noise_degrees, partial_share=1.0)
    return _shown(build, PairSampler(_pool(build), settings).draw_many)


def unsaid(build: Build) -> DrawSamples:
    """Poses of which nothing is asked, so that what is read from a picture comes through as it was read."""
    pool = _pool(build)

    def draw(rng: np.random.Generator, count: int) -> list[Sample]:
        return [Sample("", "adjust", "unsaid", "", pose, pose) for pose in pool.draw(rng, count)]

    return draw


def posefix(build: Build) -> DrawSamples:
    """The same of pairs that differ in several parts."""
    from .posepart import PairSampler, PairSettings

    settings = PairSettings(several=True, noise_degrees=build.noise_degrees, partial_share=PARTIAL_SHARE)
    return _shown(build, PairSampler(_pool(build), settings).draw_many)


def posescript_release(build: Build) -> ListedSamples[Any]:
    """PoseScript's released texts, on poses of the user's AMASS folder."""
    from .sources.annotations import posescript

    return posescript(_given(build, "annotations"), _given(build, "poses"), build.split)


def posefix_release(build: Build) -> ListedSamples[Any]:
    """PoseFix's released texts, on poses of the user's AMASS folder."""
    from .sources.annotations import posefix

    return posefix(_given(build, "annotations"), _given(build, "poses"), build.split)


def posefix_texts(build: Build) -> ListedSamples[Any]:
    """PoseFix's released texts without the poses that they start from, for stage 2."""
    from .sources.annotations import posefix_alone

    return posefix_alone(_given(build, "annotations"), _given(build, "poses"), build.split)


def conversations(build: Build) -> ListedSamples[Any]:
    """LLaVA's instruction data, without poses, for stage 3."""
    from .sources.conversations import conversations as read_conversations

    return read_conversations(_given(build, "annotations"), build.images)


def threedpw(build: Build) -> ListedSamples[Any]:
    """Photographs of 3DPW, for stage 1 and pose estimation."""
    from .sources.photographs import photographs

    return photographs(_given(build, "annotations"), _given(build, "images"), "3dpw", build.split)


def human36m(build: Build) -> ListedSamples[Any]:
    """Photographs of Human3.6M, or of another data set with SMPL fits of that form."""
    from .sources.photographs import photographs

    return photographs(_given(build, "annotations"), _given(build, "images"), "human36m", build.split)


def _given(build: Build, name: Literal["annotations", "poses", "images"]) -> Path:
    path: Path | None = getattr(build, name)
    if path is None:
        where = {
            "annotations": "its texts or annotations are",
            "poses": "the folder of AMASS is",
            "images": "its pictures are",
        }
        raise ValueError(f"{build.source} is read from files of yours: say where {where[name]} with --{name}")
    return path


def _shown(build: Build, draw: DrawSamples) -> DrawSamples:
    """The samples with pictures of their starts, where the build wants them."""
    if build.start == "pose":
        return draw
    from .images import show_start

    return lambda rng, count: [
        show_start(rng, sample, build.start, body_file=build.body) for sample in draw(rng, count)
    ]


def _one_by_one(draw: DrawSample) -> DrawSamples:
    return lambda rng, count: [draw(rng) for _ in range(count)]


def _pool(build: Build) -> PosePool:
    """Poses in bulk: the build's, mixed with constructed ones."""
    from .pool import PosePool

    return PosePool(_recorded(build))


def _start_poses(build: Build) -> StartPoses:
    """Poses from the build's file or folder of poses, or constructed ones."""
    from .starts import StartPoses

    recorded = _recorded(build)
    if recorded is None:
        return StartPoses(None)
    return StartPoses(recorded.pose_aa, recorded.label_weights())


def _recorded(build: Build) -> PoseSet | None:
    from .sources.gathered import read_gathered
    from .sources.held_out import HeldOut
    from .sources.reading import read_poses

    if build.gathered is not None:
        return read_gathered(build.gathered)
    if build.poses is None:
        return None
    return read_poses(build.poses, build.split, HeldOut(build.held_out) if build.held_out else None)


SOURCES: dict[str, Callable[[Build], DrawSamples]] = {
    "directives": directives,
    "basics": basics,
    "patterns": patterns,
    "view": view,
    "posepart": posepart,
    "nudges": nudges,
    "unsaid": unsaid,
    "posefix": posefix,
    "captions": captions,
    "descriptions": descriptions,
    "actions": actions,
    "situations": situations,
    "pictures": pictures,
    "posescript_release": posescript_release,
    "posefix_release": posefix_release,
    "posefix_texts": posefix_texts,
    "conversations": conversations,
    "3dpw": threedpw,
    "human36m": human36m,
}
"""What ``posellava data build`` can draw, or read."""

LISTED_SOURCES = (
    "posescript_release",
    "posefix_release",
    "posefix_texts",
    "conversations",
    "3dpw",
    "human36m",
)
"""Those that are read from a data set's files: a build holds each sample at most once."""

POSELESS_SOURCES = ("descriptions", "situations")
"""Those that make their poses up, whatever poses are given."""

TEXT_SOURCES = (
    "directives",
    "patterns",
    "view",
    "posepart",
    "posefix",
    "captions",
    "descriptions",
    "situations",
)
"""Those without pictures that need no pose file."""


_USED: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(POSELESS_SOURCES, ()),
    **dict.fromkeys(
        ("posepart", "nudges", "posefix"), ("poses", "held_out", "noise_degrees", "start", "body")
    ),
    "pictures": ("poses", "held_out", "body"),
    **dict.fromkeys(("posescript_release", "posefix_release", "posefix_texts"), ("annotations", "poses")),
    **dict.fromkeys(("conversations", "3dpw", "human36m"), ("annotations", "images")),
}
"""Options that a source uses; those of one that is not here are ``_OF_POSES``."""

_OF_POSES = ("poses", "held_out")

_OPTIONS = {
    "poses": "--poses", "annotations": "--annotations", "images": "--images", "noise_degrees": "--noise",
    "body": "--body", "held_out": "--held-out",
}  # fmt: skip


def check_options(build: Build) -> None:
    """Raises ValueError for an option that the source would take without using it."""
    used = _USED.get(build.source, _OF_POSES)
    idle = [option for name, option in _OPTIONS.items() if name not in used and getattr(build, name)]
    if build.start != "pose" and "start" not in used:
        idle.append("--start")
    if build.body is not None and "start" in used and build.start == "pose":
        idle.append("--body without --start image or both")
    if idle:
        raise ValueError(f"{build.source} uses no {' and no '.join(idle)}: leave that out")
    if build.held_out and (build.poses is None or not build.poses.is_dir()):
        raise ValueError("--held-out names poses of AMASS: give its folder with --poses")
    if build.split == "test" and build.source not in LISTED_SOURCES:
        raise ValueError(
            f"{build.source} has the splits train and val; test is for released texts and pictures"
        )


def run(build: Build, *, workers: int = 1) -> Iterator[int]:
    """Makes the missing shards; yields the number of samples that are there after each.

    Raises:
        ValueError: an unknown source, or the folder holds another build, or another process builds there, or an
            option is given that the source does not use.
    """
    if build.source not in SOURCES:
        raise ValueError(f"unknown data source {build.source!r}; there are {', '.join(sorted(SOURCES))}")
    check_options(build)
    with claimed(build.folder):
        yield from _run(build, workers)


def _run(build: Build, workers: int) -> Iterator[int]:
    _check_same_build(build)
    identity = _identity(build)
    build = _prepared(build)
    assert build.count is not None
    counts = [0] * -(-build.count // build.shard_size)
    known = _counts(build.folder)
    for number in range(len(counts)):
        if (build.folder / shard_name(number)).is_file():
            # A build that was killed between the two has written a shard that its index does not know.
            counts[number] = known.get(shard_name(number)) or len(Shard(build.folder / shard_name(number)))
    missing = [number for number, count in enumerate(counts) if count == 0]
    write_index(build.folder, identity, counts)
    yield sum(counts)
    for number, count in _made(build, missing, workers):
        counts[number] = count
        write_index(build.folder, identity, counts)
        yield sum(counts)
    if not any(counts):
        raise ValueError(f"no sample of {build.source} could be read")


def _prepared(build: Build) -> Build:
    """The build with its count, and with its poses read once for all workers and later runs."""
    if build.source in LISTED_SOURCES:
        listed = SOURCES[build.source](build)
        assert isinstance(listed, Sized)
        return replace(build, count=len(listed) if build.count is None else min(build.count, len(listed)))
    if build.count is None:
        raise ValueError(f"say how many samples of {build.source} with --count")
    if build.source in POSELESS_SOURCES or build.poses is None:
        return build
    from .sources.gathered import is_gathered, write_gathered

    if not is_gathered(build.folder) or not _counts(build.folder):
        recorded = _recorded(build)
        assert recorded is not None
        write_gathered(build.folder, recorded)
    return replace(build, gathered=build.folder)


def _counts(folder: Path) -> dict[str, int]:
    """Samples of each shard in a folder's index."""
    path = folder / INDEX
    if not path.is_file():
        return {}
    return {shard["file"]: shard["count"] for shard in json.loads(path.read_text(encoding="utf-8"))["shards"]}


def _made(build: Build, missing: Sequence[int], workers: int) -> Iterator[tuple[int, int]]:
    """Makes shards, and yields the number and the count of samples of each when it is done."""
    if workers <= 1:
        _start_worker(build)
        yield from map(_make_shard, missing)
        return
    if missing:
        # A worker that fails here would be started again for ever: let the first failure be this process's.
        SOURCES[build.source](build)
    # Spawned, not forked: a fork would copy torch's threads half-alive.
    context = multiprocessing.get_context("spawn")
    # A Ctrl-C reaches the whole group; the starting process ends its workers then. They inherit that it is blocked, so
    # that it cannot hit them before they ignore it. The tracker is started before: it would unblock it.
    resource_tracker.ensure_running()
    unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        pool = context.Pool(workers, initializer=_start_worker_process, initargs=(build,))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
    with pool:
        yield from pool.imap_unordered(_make_shard, missing)


@dataclass(frozen=True)
class _Worker:
    build: Build
    draw: DrawSamples


_worker: _Worker


def _start_worker_process(build: Build) -> None:
    """A worker in a process of its own, which ends with the process that started it, however that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _start_worker(build)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _start_worker(build: Build) -> None:
    global _worker
    from .sources.listed import ListedSamples

    draw = SOURCES[build.source](build)
    if isinstance(draw, ListedSamples):
        assert build.count is not None
        draw = draw.some(build.count, build.seed)
    _worker = _Worker(build, draw)


def _make_shard(number: int) -> tuple[int, int]:
    from .sources.listed import ListedSamples

    build, draw = _worker.build, _worker.draw
    if isinstance(draw, ListedSamples):
        start = number * build.shard_size
        samples = draw.rows(start, start + build.shard_size)
    else:
        samples = [
            replace(sample, id=f"{build.source}-{build.seed}-{number * build.shard_size + row}")
            for row, sample in enumerate(draw(np.random.default_rng((build.seed, number)), build.shard_size))
        ]
    if samples:
        write_shard(build.folder / shard_name(number), samples)
    return number, len(samples)


def _identity(build: Build) -> dict[str, Any]:
    """What two builds must share for their shards to belong together."""
    values = asdict(build)
    keys = ["source", "seed", "poses", "split", "shard_size"]
    keys += [key for key in ("annotations", "images", "noise_degrees", "body", "held_out") if values[key]]
    if build.start != "pose":
        keys.append("start")
    if build.source in LISTED_SOURCES:
        keys.append("count")  # which of the samples are chosen depends on it
    return {key: str(values[key]) for key in keys}


def _check_same_build(build: Build) -> None:
    path = build.folder / INDEX
    if _counts(build.folder):
        before = json.loads(path.read_text(encoding="utf-8"))["build"]
        if before != _identity(build):
            raise ValueError(
                f"{build.folder} holds another build ({before}); choose another folder or delete it"
            )


def write_index(folder: Path, identity: dict[str, Any], counts: Sequence[int]) -> None:
    """Writes the index of a folder whose shards 0, 1, … hold ``counts`` samples; 0 means that a shard is not there."""
    shards = [{"file": shard_name(number), "count": count} for number, count in enumerate(counts) if count]
    partial = folder / (INDEX + ".partial")
    partial.write_text(json.dumps({"build": identity, "shards": shards}, indent=1), encoding="utf-8")
    partial.replace(folder / INDEX)
