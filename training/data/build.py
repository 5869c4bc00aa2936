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
from collections.abc import Iterator, Sequence, Sized
from dataclasses import asdict, dataclass, replace
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import numpy as np

from training.run_lock import run_lock

from .registry import SOURCES, Build, DrawSamples, check_options, recorded_poses
from .shards import INDEX, Shard, shard_name, write_shard


def run(build: Build, *, workers: int = 1) -> Iterator[int]:
    """Makes the missing shards; yields the number of samples that are there after each.

    Raises:
        ValueError: an unknown source, or the folder holds another build, or another process builds there, or an
            option is given that the source does not use.
    """
    if build.source not in SOURCES:
        raise ValueError(f"unknown data source {build.source!r}; there are {', '.join(sorted(SOURCES))}")
    check_options(build)
    with run_lock(build.folder):
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
    if SOURCES[build.source].is_dataset:
        dataset = SOURCES[build.source].open(build)
        assert isinstance(dataset, Sized)
        return replace(build, count=len(dataset) if build.count is None else min(build.count, len(dataset)))
    if build.count is None:
        raise ValueError(f"say how many samples of {build.source} with --count")
    if build.poses is None or "poses" not in SOURCES[build.source].uses:
        return build
    from .sources.gathered import is_gathered, write_gathered

    if not is_gathered(build.folder) or not _counts(build.folder):
        recorded = recorded_poses(build)
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
        SOURCES[build.source].open(build)
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
    from .sources.dataset import DatasetSamples

    draw = SOURCES[build.source].open(build)
    if isinstance(draw, DatasetSamples):
        assert build.count is not None
        draw = draw.some(build.count, build.seed)
    _worker = _Worker(build, draw)


def _make_shard(number: int) -> tuple[int, int]:
    from .sources.dataset import DatasetSamples

    build, draw = _worker.build, _worker.draw
    if isinstance(draw, DatasetSamples):
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
    if SOURCES[build.source].is_dataset:
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
