# SPDX-License-Identifier: Apache-2.0
"""The order in which training sees samples: sources mixed by weight, batches of like lengths, exactly resumable.

Everything is a function of the seed and of a few counters, which ``state`` returns: a stream that is given the
state of another goes on where that one stood. Every process of a run walks the same stream and takes its own rows
of each batch, so the number of processes does not change what a step sees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypedDict

import numpy as np
import numpy.typing as npt

from .samples import Sample
from .shards import SampleSource
from .variation import varied

SHUFFLED_SHARDS: Final = 16
"""Samples are shuffled within groups of this many shards: the memory that a stream needs."""


LENGTH_CLASS: Final = 16
"""Lengths are alike when they are in the same class of this many tokens. Finer sorting would fill a batch with
sentences of one kind, which slows learning more than the padding costs (docs/log.md)."""


class StreamState(TypedDict):
    """Where a stream stands: samples drawn of each source before the window, the window, batches of it given."""

    drawn: dict[str, int]
    window: int
    given: int


@dataclass(frozen=True)
class WeightedSource:
    """A source, the name it keeps across resumes, its share of the samples, and whether its pictures vary."""

    name: str
    source: SampleSource
    weight: float
    varied: bool = False


class ShuffledSource:
    """Sample number ``n`` of an endless, shuffled reading of a source; every epoch has another order.

    With ``varied``, pictures are mirrored, moved, scaled and tinted anew in every epoch.
    """

    def __init__(self, source: SampleSource, seed: int, *, is_varied: bool = False) -> None:
        self._source = source
        self._seed = seed
        self._is_varied = is_varied
        self._epoch = -1
        self._group_ends: npt.NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._shard_order: npt.NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._group = -1
        self._rows: npt.NDArray[np.int64] = np.zeros((0, 2), dtype=np.int64)

    def sample(self, number: int) -> Sample:
        """Sample ``number`` (from 0, across epochs)."""
        epoch, position = divmod(number, len(self._source))
        if epoch != self._epoch:
            self._start_epoch(epoch)
        group = int(np.searchsorted(self._group_ends, position, side="right"))
        if group != self._group:
            self._start_group(group)
        start = int(self._group_ends[group - 1]) if group else 0
        shard, row = self._rows[position - start]
        sample = self._source.read(int(shard), int(row))
        if not self._is_varied:
            return sample
        return varied(sample, np.random.default_rng((self._seed, epoch, int(shard), int(row))))

    def _start_epoch(self, epoch: int) -> None:
        sizes = np.array(self._source.sizes)
        self._shard_order = np.random.default_rng((self._seed, epoch)).permutation(len(sizes))
        ends = np.cumsum(sizes[self._shard_order])
        last = (
            np.minimum(np.arange(SHUFFLED_SHARDS, len(sizes) + SHUFFLED_SHARDS, SHUFFLED_SHARDS), len(sizes))
            - 1
        )
        self._group_ends = ends[last]
        self._epoch, self._group = epoch, -1

    def _start_group(self, group: int) -> None:
        shards = self._shard_order[group * SHUFFLED_SHARDS : (group + 1) * SHUFFLED_SHARDS]
        rows = np.concatenate(
            [
                np.stack([np.full(self._source.sizes[s], s), np.arange(self._source.sizes[s])], axis=1)
                for s in shards
            ]
        )
        rng = np.random.default_rng((self._seed, self._epoch, group))
        self._rows = rows[rng.permutation(len(rows))]
        self._group = group


class BatchStream:
    """Endless batches of samples of like lengths.

    Args:
        sources: what to mix.
        batch_size: samples in a batch, over all processes.
        seed: of every order.
        length: a sample's length in tokens.
        window: batches that are drawn together, sorted by length class, and given in random order; 1 sorts nothing.

    Raises:
        ValueError: two sources of one name, or no weight above zero.
    """

    def __init__(
        self,
        sources: Sequence[WeightedSource],
        *,
        batch_size: int,
        seed: int,
        length: Callable[[Sample], int],
        window: int = 32,
    ) -> None:
        self._names = [source.name for source in sources]
        if len(set(self._names)) != len(self._names):
            raise ValueError("two data sources have the same name")
        weights = np.array([source.weight for source in sources], dtype=np.float64)
        if not (weights >= 0).all() or weights.sum() <= 0:
            raise ValueError("data sources need weights of at least 0, and one above 0")
        self._shares = weights / weights.sum()
        self._shuffled = [
            ShuffledSource(source.source, seed + number, is_varied=source.varied)
            for number, source in enumerate(sources)
        ]
        self._batch_size = batch_size
        self._seed = seed
        self._length = length
        self._window = window
        self._state: StreamState = {"drawn": dict.fromkeys(self._names, 0), "window": 0, "given": 0}

    def state(self) -> StreamState:
        """Where the stream stands: give it to ``restore`` to go on with the next batch."""
        return {**self._state, "drawn": dict(self._state["drawn"])}

    def restore(self, state: Mapping[str, object]) -> None:
        """Go on where another stream stood, with these sources and weights, which may be others than it had."""
        drawn = state["drawn"]
        assert isinstance(drawn, dict)
        counts = {name: int(drawn.get(name, 0)) for name in self._names}
        self._state = {
            "drawn": counts,
            "window": int(str(state["window"])),
            "given": int(str(state["given"])),
        }

    def __iter__(self) -> Iterator[list[Sample]]:
        while True:
            drawn = dict(self._state["drawn"])
            batches = self._draw_window(drawn)
            while self._state["given"] < len(batches):
                batch = batches[self._state["given"]]
                self._state["given"] += 1
                yield batch
            self._state = {"drawn": drawn, "window": self._state["window"] + 1, "given": 0}

    def _draw_window(self, drawn: dict[str, int]) -> list[list[Sample]]:
        """The window's batches; counts what it takes into ``drawn``."""
        rng = np.random.default_rng((self._seed, 1 + self._state["window"]))
        samples = []
        for chosen in rng.choice(len(self._names), self._window * self._batch_size, p=self._shares):
            name = self._names[chosen]
            samples.append(self._shuffled[chosen].sample(drawn[name]))
            drawn[name] += 1
        if self._window > 1:
            samples.sort(key=lambda sample: self._length(sample) // LENGTH_CLASS)
        batches = [
            samples[start : start + self._batch_size] for start in range(0, len(samples), self._batch_size)
        ]
        return [batches[index] for index in rng.permutation(len(batches))]
