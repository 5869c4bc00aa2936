# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from training.data.build import write_index
from training.data.samples import Sample, open_image
from training.data.shards import SampleSource, shard_name, write_shard
from training.data.stream import BatchStream, ShuffledSource, WeightedSource

from .conftest import eight_pictures


def source(folder: Path, name: str, sizes: list[int]) -> SampleSource:
    folder = folder / name
    folder.mkdir()
    number = itertools.count()
    for shard, size in enumerate(sizes):
        rows = [
            Sample(f"{name}-{n}", "chat", name, "w " * (8 * (n % 7)), reply="")
            for n in itertools.islice(number, size)
        ]
        write_shard(folder / shard_name(shard), rows)
    write_index(folder, {}, sizes)
    return SampleSource(folder)


def stream(folder: Path, **changes: object) -> BatchStream:
    sources = [
        WeightedSource("a", SampleSource(folder / "a"), 3.0),
        WeightedSource("b", SampleSource(folder / "b"), 1.0),
    ]
    options: dict = {
        "batch_size": 4,
        "seed": 3,
        "length": lambda sample: len(sample.instruction),
        "window": 5,
    }
    return BatchStream(sources, **(options | changes))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    source(tmp_path, "a", [10] * 20)
    source(tmp_path, "b", [7, 9])
    return tmp_path


def names(batches: list[list[Sample]]) -> list[list[str]]:
    return [[sample.id for sample in batch] for batch in batches]


def test_a_varied_source_gives_each_picture_otherwise_in_each_epoch_and_the_same_again(
    tmp_path: Path,
) -> None:
    rows = [replace(picture, id=f"p-{number}") for number, picture in enumerate(eight_pictures())]
    write_shard(tmp_path / shard_name(0), rows)
    write_index(tmp_path, {}, [8])
    once, again = (ShuffledSource(SampleSource(tmp_path), 1, is_varied=True) for _ in range(2))
    images = [np.asarray(open_image(once.sample(number).image)) for number in range(16)]  # type: ignore[arg-type]
    assert len({image.tobytes() for image in images}) == 16
    np.testing.assert_array_equal(images[12], open_image(again.sample(12).image))  # type: ignore[arg-type]


def test_every_epoch_gives_each_sample_once_in_another_order(tmp_path: Path) -> None:
    shuffled = ShuffledSource(source(tmp_path, "a", [10] * 20), seed=1)
    epochs = [[shuffled.sample(epoch * 200 + n).id for n in range(200)] for epoch in range(2)]
    assert set(epochs[0]) == set(epochs[1]) == {f"a-{n}" for n in range(200)}
    assert epochs[0] != epochs[1]
    assert epochs[0] != sorted(epochs[0])


@pytest.mark.parametrize("taken", [0, 1, 5, 7, 23])
def test_a_restored_stream_goes_on_exactly(folder: Path, taken: int) -> None:
    unbroken = names(list(itertools.islice(stream(folder), 40)))
    first = stream(folder)
    head = names(list(itertools.islice(first, taken)))
    state = json.loads(json.dumps(first.state()))
    second = stream(folder)
    second.restore(state)
    assert head + names(list(itertools.islice(second, 40 - taken))) == unbroken


def test_sources_are_mixed_by_weight(folder: Path) -> None:
    kinds = Counter(sample.kind for batch in itertools.islice(stream(folder), 500) for sample in batch)
    assert kinds["a"] / 2000 == pytest.approx(0.75, abs=0.03)  # three deviations of a binomial


def test_a_restored_stream_may_have_other_sources(folder: Path, tmp_path: Path) -> None:
    first = stream(folder)
    list(itertools.islice(first, 50))
    source(tmp_path, "c", [10])
    added = BatchStream(
        [
            WeightedSource("a", SampleSource(folder / "a"), 1.0),
            WeightedSource("c", SampleSource(tmp_path / "c"), 1.0),
        ],
        batch_size=4,
        seed=3,
        length=lambda sample: len(sample.instruction),
        window=5,
    )
    added.restore(first.state())
    kinds = Counter(sample.kind for batch in itertools.islice(added, 50) for sample in batch)
    # Neither makes up for what it had less of before.
    assert kinds["c"] / 200 == pytest.approx(0.5, abs=0.12)


def test_batches_hold_like_lengths_and_the_window_every_sample_it_drew(folder: Path) -> None:
    def spread(window: int) -> float:
        batches = itertools.islice(stream(folder, window=window), 40)
        return float(np.mean([np.ptp([len(sample.instruction) for sample in batch]) for batch in batches]))

    assert spread(20) < 0.35 * spread(1)
    drawn = [name for batch in names(list(itertools.islice(stream(folder, window=20), 40))) for name in batch]
    of_a = [name for name in drawn if name.startswith("a-")]
    assert len(drawn) == 160
    assert len(set(of_a)) == len(of_a)  # less than an epoch: none twice


def test_weights_that_make_no_sense_are_refused(folder: Path) -> None:
    one = WeightedSource("a", SampleSource(folder / "a"), 0.0)
    with pytest.raises(ValueError, match="weights"):
        BatchStream([one], batch_size=1, seed=0, length=lambda sample: 0)
