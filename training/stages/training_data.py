# SPDX-License-Identifier: Apache-2.0
"""What a run learns from: its sources, its validation samples, and the batches of this process."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final

from training.data.samples import Sample
from training.data.shards import SampleSource
from training.data.stream import BatchStream, StreamState, WeightedSource

from .batches import Batch, Collator
from .launch import rank, world
from .settings import DataSettings, TrainSettings
from .workers import GrowingBatches, in_order

LOOKED_AT: Final = 64
"""Samples of a source by which it is told whether their words are read."""

Collate = Callable[[list[Sample], list[Sample]], Batch]
"""Lays out this process's samples, given all processes' too."""


def open_stream(settings: TrainSettings, collator: Collator) -> tuple[BatchStream, int]:
    """The run's stream of samples, and how many samples its sources have."""
    sources = [
        WeightedSource(
            name, SampleSource(source.path, frame=source.frame), source.weight, varied=source.varied
        )
        for name, source in settings.data.sources.items()
    ]
    if rank() == 0:
        for source in sources:
            _tell_unread(source, collator)
    stream = BatchStream(
        sources,
        batch_size=settings.run.micro_batch * world(),
        seed=settings.seed,
        length=collator.length,
        window=settings.data.bucket_batches,
    )
    return stream, sum(len(source.source) for source in sources)


def _tell_unread(source: WeightedSource, collator: Collator) -> None:
    samples = [sample for sample in first_samples(source.source, LOOKED_AT) if sample.reply is None]
    unread = collator.processor.prompter.unread(samples)
    if unread:
        print(
            f"{source.name}: {unread} of its first {len(samples)} samples have words that this model does not read: it "
            "tells the pose by the picture alone",
            flush=True,
        )


def first_samples(source: SampleSource, count: int) -> list[Sample]:
    """The first ``count`` samples of a source, or all where it has fewer."""
    places = ((shard, row) for shard, size in enumerate(source.sizes) for row in range(size))
    return [source.read(shard, row) for shard, row in itertools.islice(places, count)]


def open_validation(settings: DataSettings, collator: Collator) -> list[Sample]:
    """The validation samples, of like lengths side by side; as many as the processes can share evenly."""
    if settings.validation is None:
        return []
    samples = first_samples(SampleSource(settings.validation), settings.validation_samples)
    samples.sort(key=collator.length)
    return samples[: len(samples) // world() * world()]


def own_batches(
    settings: TrainSettings, stream: BatchStream, collator: Collator, collate: Collate
) -> Iterator[tuple[Batch, StreamState]]:
    """This process's part of each batch, with the stream's state after it."""
    data = settings.data
    if data.growing:
        return _growing(settings, stream.state(), collator, collate)

    def own(samples: list[Sample]) -> Batch:
        return collate(samples[rank() :: world()], samples)

    if data.workers:
        return in_order(stream, own, workers=data.workers)
    laid_out = ((own(samples), stream.state()) for samples in stream)
    return prefetched(laid_out, data.prefetch) if data.prefetch else laid_out


def _growing(
    settings: TrainSettings, state: StreamState, collator: Collator, collate: Collate
) -> Iterator[tuple[Batch, StreamState]]:
    batches = GrowingBatches(
        settings.data.sources,
        lambda samples: collate(samples, samples),
        collator.length,
        batch_size=settings.run.micro_batch,
        window=settings.data.bucket_batches,
        seed=settings.seed + rank(),
    )
    return ((batch, state) for batch in batches.laid_out(workers=settings.data.workers))


def prefetched(items: Iterator[Any], ahead: int) -> Iterator[Any]:
    """The items, made ``ahead`` of their use in a thread; an error in it is raised here."""
    ready: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(ahead)

    def work() -> None:
        try:
            for item in items:
                ready.put((item, None))
        except BaseException as error:
            ready.put((None, error))

    threading.Thread(target=work, daemon=True).start()
    while True:
        item, error = ready.get()
        if error is not None:
            raise error
        yield item
