# SPDX-License-Identifier: Apache-2.0
"""Whose turn it is: which queries make the engine's next batch.

Every client gets the same share of the engine's time (start-time fair queueing: who has been charged least comes
first, and who returns starts level with the others). The time is measured, apart for each kind of query, so that a
share is one of milliseconds and not of requests. What somebody waits for in front of the window, a light request, is
charged a tenth, and goes to the engine without the long ones, so that these cost that person little. It may also come
between two words of an answer that is said word by word. Nobody who waits is left out for longer than STARVING_SECONDS.

A batch is as large as the engine likes when one client works alone. When others have been there lately it holds no more
than ``FAIR_BATCH_MS`` beyond one query of each, so that nobody who comes now waits longer than that for it to end.
Pictures take long, and several at once are no quicker than one after the other: a batch of them holds no more than
``PICTURES_MS`` even then, whoever's they are, for somebody may come who was not there lately. And before something long
begins, who was answered a moment ago may ask again first: anticipatory scheduling (Iyer and Druschel 2001), without
which every edit of a person who edits would meet a batch that began just before it.

Nothing here knows threads; the scheduler calls it under its lock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from .jobs import Client, Job, Kind

FAIR_BATCH_MS: Final = 30.0
PICTURES_MS: Final = 100.0
LATELY_SECONDS: Final = 3.0
"""How long a client that has asked counts as there."""
LIGHT_MS: Final = 200.0
"""The longest that a request may take to count as one that somebody waits for."""
LIGHT_REQUESTS: Final = 2
"""And the most that its client may have running."""
LIGHT_SHARE: Final = 0.1
STARVING_SECONDS: Final = 1.0
GRACE_SECONDS: Final = 0.008
_FIRST_GUESS_MS: Final = {Kind.POSES: 10.0, Kind.PICTURES: 50.0, Kind.WORDS: 10.0}
_MEMORY: Final = 0.8


@dataclass(frozen=True)
class Batch:
    """What goes to the engine at a time.

    Attributes:
        parts: jobs, and how many queries of each.
        kind: of all its queries.
        estimate_ms: of a query, as it was known before.
    """

    parts: tuple[tuple[Job, int], ...]
    kind: Kind
    estimate_ms: float

    @property
    def size(self) -> int:
        """How many queries it has."""
        return sum(count for _, count in self.parts)


class Shares:
    """The clients, what waits of each, and what they have been charged."""

    def __init__(self, batch_size: int) -> None:
        self._batch_size = batch_size
        self._clients: set[Client] = set()
        self._clock = 0.0
        self._ms = dict(_FIRST_GUESS_MS)  # of a query

    def add(self, client: Client) -> None:
        """Begin to count a client."""
        self._clients.add(client)

    def remove(self, client: Client) -> None:
        """Forget a client."""
        self._clients.discard(client)

    def queue(self, job: Job, now: float) -> None:
        """Put a job in line."""
        client = job.client
        if not client.jobs:
            client.used = max(client.used, self._clock)
            client.last_served = now
        client.jobs.append(job)
        client.last_asked = now

    def forget(self, job: Job) -> None:
        """Take a job out of line."""
        if job in job.client.jobs:
            job.client.jobs.remove(job)

    def next_batch(self, now: float, *, between_words: bool = False) -> Batch | None:
        """What the engine should do next; None when nothing waits. A batch is of one kind: one picture in it would
        hold up all the others.

        Args:
            now: time.monotonic().
            between_words: the engine is in the middle of what it says, and only light requests may come between, none
                of them answered word by word itself.
        """
        allowed = {
            client: [job for job in client.jobs if not between_words or self._may_come_between(job)]
            for client in self._clients
        }
        waiting = sorted(
            (client for client in self._clients if allowed[client]),
            key=lambda client: (now - client.last_served < STARVING_SECONDS, client.used),
        )
        if not waiting:
            return None
        first = allowed[waiting[0]][0]
        kind, light = first.kind, self._is_light(first)
        lines = [
            [job for job in allowed[client] if job.kind is kind and (self._is_light(job) or not light)]
            for client in waiting
        ]
        alone = not any(now - client.last_asked < LATELY_SECONDS for client in self._clients - {waiting[0]})
        most = together = self._batch_size
        if kind is Kind.PICTURES:
            most = together = min(most, max(1, round(PICTURES_MS / self._ms[kind])))
        if not alone:
            most = min(most, max(1, round(FAIR_BATCH_MS / self._ms[kind])))
        counts: dict[Job, int] = {}
        taken = 0

        def take(line: list[Job], most: int) -> None:
            """One query of a line, unless the batch has ``most``."""
            nonlocal taken
            if taken >= most:
                return
            line[:] = [job for job in line if job.taken + counts.get(job, 0) < job.total]
            if line:
                job = line.pop(0)
                counts[job] = counts.get(job, 0) + 1
                taken += 1
                line.append(job)  # the client's other jobs come before its next query

        for _ in range(1 if light else most):
            take(lines[0], most)
        for line in lines[1:]:
            take(line, together)
        before = 0
        while before < taken < most:
            before = taken
            for line in lines:
                take(line, most)
        return Batch(tuple(counts.items()), kind, self._ms[kind])

    def patience(self, batch: Batch, now: float) -> float:
        """Seconds for which the batch had better wait for somebody who was just answered."""
        if all(self._is_light(job) for job, _ in batch.parts):
            return 0.0
        lead = min(job.client.used for job, _ in batch.parts)
        asking = {job.client for job, _ in batch.parts}
        answered = [
            client.last_light for client in self._clients - asking if not client.jobs and client.used <= lead
        ]
        return max(0.0, max(answered, default=-1e9) + GRACE_SECONDS - now)

    def begin(self, batch: Batch, now: float) -> None:
        """The batch goes to the engine, after take() of its jobs: charge everyone what it will probably cost."""
        self._clock = max(self._clock, min(job.client.used for job, _ in batch.parts))
        for job, count in batch.parts:
            job.client.last_served = now
            job.client.jobs.remove(job)
            if job.taken < job.total:
                job.client.jobs.append(job)
            self._charge(job, count * batch.estimate_ms)

    def end(self, batch: Batch, milliseconds: float, now: float) -> None:
        """The batch took so long: remember it, and put the charges right."""
        each = milliseconds / batch.size
        self._ms[batch.kind] = _MEMORY * self._ms[batch.kind] + (1 - _MEMORY) * each
        for job, count in batch.parts:
            self._charge(job, count * (each - batch.estimate_ms))
            if job.finished and self._is_light(job):
                job.client.last_light = now

    def _charge(self, job: Job, milliseconds: float) -> None:
        job.client.used += milliseconds * (LIGHT_SHARE if self._is_light(job) else 1.0)

    def _is_light(self, job: Job) -> bool:
        return job.total * self._ms[job.kind] <= LIGHT_MS and job.client.unfinished <= LIGHT_REQUESTS

    def _may_come_between(self, job: Job) -> bool:
        return job.kind is not Kind.WORDS and self._is_light(job)
