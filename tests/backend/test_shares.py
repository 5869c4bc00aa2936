# SPDX-License-Identifier: Apache-2.0
"""Whose turn it is, on a clock of its own: long requests cost those who edit little, and nobody is left out."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

from backend.query import Answer
from backend.server.jobs import Client, Job, Kind
from backend.server.shares import Batch, Shares
from blender_addon.contract.messages import Request

PICTURE = Image.new("RGB", (4, 4))


@pytest.fixture(autouse=True)
def _loop() -> Iterator[None]:
    """Jobs belong to an event loop, though nothing here waits for one."""
    with asyncio.Runner() as runner:
        asyncio.set_event_loop(runner.get_loop())
        runner.run(_nothing())
        yield


async def _nothing() -> None:
    pass


@dataclass
class Person:
    """Asks, and asks again a moment after the answer."""

    poses: int = 1
    image: Image.Image | None = None
    at_a_time: int = 1
    pause: float = 0.001


class Simulation:
    """An engine whose batches take ``query_ms`` for each query and 4 ms besides, and people who ask it."""

    def __init__(self, people: list[Person], query_ms: Callable[[Kind], float]) -> None:
        self.shares, self.now, self.query_ms = Shares(32), 0.0, query_ms
        self.people = [(person, Client()) for person in people]
        self.waits: list[list[float]] = [[] for _ in people]
        self.batches: list[Batch] = []
        self.kinds: list[set[Kind]] = []
        self._due = [
            (0.0, who) for who, (person, _) in enumerate(self.people) for _ in range(person.at_a_time)
        ]
        self._of: dict[Job, tuple[int, float]] = {}
        for _, client in self.people:
            self.shares.add(client)

    def run(self, seconds: float) -> None:
        async def inside() -> None:
            while self.now < seconds:
                self._ask()
                batch = self.shares.next_batch(self.now)
                patience = 0.0 if batch is None else self.shares.patience(batch, self.now)
                if batch is None or patience:
                    following = min((when for when, _ in self._due), default=seconds)
                    self.now = max(self.now + 1e-6, min(following, self.now + (patience or seconds)))
                    continue
                self._answer(batch)

        asyncio.run(inside())

    def _ask(self) -> None:
        for when, who in [due for due in self._due if due[0] <= self.now]:
            self._due.remove((when, who))
            person, client = self.people[who]
            poses = np.zeros((person.poses, 24, 3), np.float32)
            job = Job(Request("r", "adjust", "x", poses), person.image, client, 0)
            client.unfinished += 1
            self._of[job] = who, when
            self.shares.queue(job, self.now)

    def _answer(self, batch: Batch) -> None:
        parts = [(job, *job.take(count)) for job, count in batch.parts]
        self.shares.begin(batch, self.now)
        self.kinds.append({job.kind for job, _ in batch.parts})
        milliseconds = 4 + batch.size * self.query_ms(batch.kind)
        self.now += milliseconds / 1000
        for job, start, queries in parts:
            job.put(start, [Answer(None, "")] * len(queries))
            if job.finished:
                who, asked = self._of.pop(job)
                job.client.unfinished -= 1
                self.waits[who].append(self.now - asked)
                self._due.append((self.now + self.people[who][0].pause, who))
        self.shares.end(batch, milliseconds, self.now)
        self.batches.append(batch)


def p95(waits: list[float]) -> float:
    assert len(waits) > 20
    return statistics.quantiles(waits, n=20)[-1]


def idle() -> float:
    alone = Simulation([Person()], lambda kind: 5)
    alone.run(3)
    return p95(alone.waits[0])


@pytest.mark.parametrize(
    "other",
    [
        Person(poses=1000, at_a_time=1),
        Person(poses=1000, at_a_time=8),
        Person(image=PICTURE, at_a_time=31),
        Person(at_a_time=64),
    ],
    ids=["a thousand poses", "eight times a thousand", "31 pictures", "64 edits"],
)
def test_who_edits_waits_at_most_five_times_as_long_beside_others(other: Person) -> None:
    both = Simulation([Person(), other], lambda kind: 70 if kind is Kind.PICTURES else 5)
    both.run(10)
    assert p95(both.waits[0]) <= 5 * idle()
    assert both.waits[1] or other.poses > 1  # and the other is answered as well
    assert any(job.client is both.people[1][1] for batch in both.batches[-200:] for job, _ in batch.parts)


@pytest.mark.slow
def test_a_long_request_gets_most_of_the_time_beside_somebody_who_pauses() -> None:
    both = Simulation([Person(pause=1.0), Person(poses=1000)], lambda kind: 5)
    both.run(20)
    theirs = sum(
        count for batch in both.batches for job, count in batch.parts if job.client is both.people[1][1]
    )
    assert theirs > 0.6 * 20 / 0.005


@pytest.mark.slow
def test_nobody_is_left_out_however_many_edit() -> None:
    many = Simulation([Person(poses=1000), *(Person() for _ in range(60))], lambda kind: 5)
    many.run(20)
    theirs = sum(
        count for batch in many.batches for job, count in batch.parts if job.client is many.people[0][1]
    )
    assert theirs >= 6 * 18


def test_alone_the_batches_are_large() -> None:
    alone = Simulation([Person(poses=1000)], lambda kind: 5)
    alone.run(2)
    assert [batch.size for batch in alone.batches[:5]] == [32] * 5


def test_who_comes_after_a_rest_meets_no_heap_of_pictures() -> None:
    both = Simulation(
        [Person(pause=4.0), Person(image=PICTURE, at_a_time=31)],
        lambda kind: 25 if kind is Kind.PICTURES else 5,
    )
    both.run(30)
    assert len(both.waits[0]) > 5
    assert max(both.waits[0]) < 0.2


def test_pictures_of_many_are_not_looked_at_in_one_go() -> None:
    many = Simulation([Person(image=PICTURE) for _ in range(31)], lambda kind: 25)
    many.run(10)
    assert max(batch.size for batch in many.batches) <= 4
    assert min(map(len, many.waits)) > 8


def test_many_who_edit_share_batches_and_all_get_the_same() -> None:
    many = Simulation([Person() for _ in range(32)], lambda kind: 2)
    many.run(5)
    answered = [len(waits) for waits in many.waits]
    assert sum(answered) / 5 > 300
    assert min(answered) > 0.8 * max(answered)
    assert statistics.mean(batch.size for batch in many.batches) > 8


def test_pictures_and_words_are_never_in_one_batch() -> None:
    both = Simulation([Person(at_a_time=3), Person(image=PICTURE, at_a_time=3)], lambda kind: 20)
    both.run(2)
    assert {batch.kind for batch in both.batches} == {Kind.POSES, Kind.PICTURES}
    assert both.kinds == [{batch.kind} for batch in both.batches]


def test_who_comes_back_after_a_rest_has_saved_nothing_up() -> None:
    late = Person(poses=1000)
    both = Simulation([Person(poses=1000), late], lambda kind: 5)
    both._due = [(0.0, 0), (5.0, 1)]
    both.run(15)
    after = both.batches[-100:]
    shares = [
        sum(c for b in after for job, c in b.parts if job.client is client) for _, client in both.people
    ]
    assert min(shares) > 0.8 * max(shares)
