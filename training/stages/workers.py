# SPDX-License-Identifier: Apache-2.0
"""Batches laid out by processes of their own, for a GPU that learns faster than one process can feed it."""

from __future__ import annotations

import pickle
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from training.data.samples import Sample
from training.data.shards import SampleSource
from training.data.stream import BatchStream, StreamState

from .batches import Batch
from .settings import SourceSettings

READ_AT_ONCE: Final = 2048
"""Samples that are drawn of a shard before another is taken: the smaller, the better mixed, and the more is read."""
AHEAD: Final = 4
"""Batches that each process prepares ahead."""


def in_order(
    stream: BatchStream, collate: Callable[[list[Sample]], Batch], *, workers: int
) -> Iterator[tuple[Batch, StreamState]]:
    """The stream's batches from where it stands, laid out by ``workers`` processes, each with the stream's state after
    it: the same, in the same order, as one process would give."""
    return _from_processes(_EveryNth(stream, collate), workers)


class _EveryNth(IterableDataset[bytes]):
    """Of n processes each walks the whole stream, which is cheap, and lays out every nth of its batches."""

    def __init__(self, stream: BatchStream, collate: Callable[[list[Sample]], Batch]) -> None:
        self._stream, self._collate = stream, collate

    def __iter__(self) -> Iterator[bytes]:
        torch.set_num_threads(1)
        info = get_worker_info()
        number, count = (0, 1) if info is None else (info.id, info.num_workers)
        for place, samples in enumerate(self._stream):
            if place % count == number:
                yield pickle.dumps((self._collate(samples), self._stream.state()))


def _from_processes(batches: IterableDataset[bytes], workers: int) -> Iterator[Any]:
    """What processes make, each in turn. As bytes: they go through a pipe, however little shared memory there is."""
    loader: Any = DataLoader(
        batches, batch_size=None, num_workers=workers, prefetch_factor=AHEAD, multiprocessing_context="fork"
    )
    for batch in loader:
        yield pickle.loads(batch)


@dataclass(frozen=True, eq=False)
class GrowingBatches(IterableDataset[bytes]):
    """Endless batches of folders that are still being built; every process draws by itself.

    Attributes:
        sources: what to mix, by weight.
        collate: lays a batch out.
        length: of a sample, in tokens; like lengths come together.
        batch_size: samples in a batch.
        window: batches that are drawn and sorted together.
        seed: of all that is drawn; how far the processes come beside each other is not its business.
    """

    sources: Mapping[str, SourceSettings]
    collate: Callable[[list[Sample]], Batch]
    length: Callable[[Sample], int]
    batch_size: int
    window: int
    seed: int

    def laid_out(self, *, workers: int) -> Iterator[Batch]:
        """The batches, from ``workers`` processes."""
        return _from_processes(self, workers)

    def __iter__(self) -> Iterator[bytes]:
        torch.set_num_threads(1)
        info = get_worker_info()
        rng = np.random.default_rng((self.seed, 0 if info is None else info.id))
        streams = [iter(GrowingSource(one, rng)) for one in self.sources.values()]
        weights = np.array([one.weight for one in self.sources.values()])
        while True:
            chosen = rng.choice(len(streams), self.window * self.batch_size, p=weights / weights.sum())
            samples = sorted((next(streams[one]) for one in chosen), key=self.length)
            for start in rng.permutation(self.window) * self.batch_size:
                yield pickle.dumps(self.collate(samples[start : start + self.batch_size]))


@dataclass
class GrowingSource:
    """Samples of a folder that is still being built: a shard at random of those that are there, shuffled.

    A shard may come again before another has come once; what is built meanwhile is taken up with the next shard.
    """

    settings: SourceSettings
    rng: np.random.Generator

    def __iter__(self) -> Iterator[Sample]:
        while True:
            yield from self._some()

    def _some(self) -> list[Sample]:
        """Samples of one shard; another is taken where one cannot be read."""
        while True:
            try:
                source = SampleSource(self.settings.path)
                shares = np.array(source.sizes) / len(source)
                shard = int(self.rng.choice(len(shares), p=shares))
                rows = self.rng.permutation(source.sizes[shard])[:READ_AT_ONCE]
                return [source.read(shard, int(row)) for row in rows]
            except (ValueError, OSError) as error:
                print(f"{self.settings.path}: {error}", file=sys.stderr, flush=True)
                time.sleep(0.5)
