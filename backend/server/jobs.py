# SPDX-License-Identifier: Apache-2.0
"""One request on its way through the engine, and the client that asked it."""

from __future__ import annotations

import asyncio
import enum
import time
from collections import deque
from typing import TYPE_CHECKING

from backend.query import Answer, Query, queries_of
from blender_addon.contract.messages import (
    SPOKEN_TASKS,
    PoseArray,
    Progress,
    ProtocolError,
    Request,
    Result,
)

if TYPE_CHECKING:
    from PIL.Image import Image


class Kind(enum.Enum):
    """What a request costs the engine: a pass over words and poses, one that looks at a picture, or a pass for each
    word of the answer."""

    POSES = enum.auto()
    PICTURES = enum.auto()
    WORDS = enum.auto()


class Job:
    """A request and the answers that there are so far.

    The engine's threads write, the event loop reads; ``changed`` is set in the loop after each change.

    Attributes:
        request: what was asked; its picture is ``image``, decoded, and is kept in no other form.
        client: who asked.
        total: how many answers are due.
        taken: how many of them have been handed to the engine.
        done: how many it has given.
        ahead: how many requests waited in front when it came; 0 once it has begun.
        error: why there is no result.
        kind: what it costs the engine.
    """

    def __init__(self, request: Request, image: Image | None, client: Client, ahead: int) -> None:
        self.request = request
        self.image = image
        self.client = client
        self.total = max(1, len(request.poses))
        self.taken = self.done = 0
        self.ahead = ahead
        self.error: ProtocolError | None = None
        self.kind = (
            Kind.WORDS if request.task in SPOKEN_TASKS else Kind.POSES if image is None else Kind.PICTURES
        )
        self._words = ""
        self.submitted = time.monotonic()
        self.changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._answers: list[Answer | None] = [None] * self.total
        self._started: float | None = None
        self._finished: float | None = None

    @property
    def cost(self) -> int:
        """Poses that its answer may hold."""
        return self.total * self.request.variants

    @property
    def started(self) -> bool:
        """Whether the engine has begun with it."""
        return self._started is not None

    @property
    def finished(self) -> bool:
        """Whether there is a result or an error."""
        return self._finished is not None

    def take(self, count: int) -> tuple[int, list[Query]]:
        """The next queries for the engine, and the place of the first one."""
        if self._started is None:
            self._started = time.monotonic()
        self.ahead = 0
        start, self.taken = self.taken, self.taken + count
        return start, queries_of(self.request, self.image, start, self.taken)

    def put(self, start: int, answers: list[Answer]) -> None:
        """Answers to what take() gave; the last ones end the job."""
        self._answers[start : start + len(answers)] = answers
        self.done += len(answers)
        if self.done == self.total:
            self._end()
        else:
            self._notify()

    def say(self, words: str) -> None:
        """What the engine has said so far; told where there is one answer, so that it is plain whose words they are."""
        if self.total == 1 and words != self._words:
            self._words = words
            self._notify()

    def fail(self, error: ProtocolError) -> None:
        """End the job with an error."""
        self.error = error
        self._end()

    def progress(self) -> Progress:
        """How far the job is."""
        return Progress(self.request.id, self.done, self.total, self.ahead, self._words)

    def result(self) -> Result:
        """The answers of a job that finished without error."""
        assert self._started is not None
        assert self._finished is not None
        answers = [answer for answer in self._answers if answer is not None]
        return Result(
            self.request.id,
            tuple(answer.pose_aa for answer in answers),
            tuple(answer.text for answer in answers),
            queued_ms=1000 * (self._started - self.submitted),
            engine_ms=1000 * (self._finished - self._started),
            variants=_variants(answers),
            confidence=_confidence(answers),
        )

    def _end(self) -> None:
        self._finished = time.monotonic()
        self.image = None
        self._notify()

    def _notify(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.changed.set)


class Client:
    """Someone who asks, as the scheduler sees them.

    Attributes:
        used: milliseconds of the engine charged to them, on the scheduler's clock.
        jobs: those that still have queries for the engine, in the order of their turn.
        unfinished: requests that have no answer yet.
        cost: of all requests whose answer has not been taken away yet.
        last_asked: when they last asked, by time.monotonic().
        last_served: when the engine last began with something of theirs, or, if that is later, when they began to wait.
        last_light: when a light request of theirs was last answered.
    """

    def __init__(self) -> None:
        self.used = 0.0
        self.jobs: deque[Job] = deque()
        self.unfinished = 0
        self.cost = 0
        self.last_asked = self.last_served = self.last_light = -1e9


def _confidence(answers: list[Answer]) -> tuple[tuple[float, ...] | None, ...]:
    """Of each answer, to three places; nothing where no pose is of a picture."""
    told = tuple(
        None if answer.confidence is None else tuple(round(float(one), 3) for one in answer.confidence)
        for answer in answers
    )
    return told if any(told) else ()


def _variants(answers: list[Answer]) -> tuple[tuple[PoseArray | None, ...], ...]:
    """What every answer offers beside its pose, as many as the one with the fewest has."""
    offers = [
        answer.pose_aa[None] if answer.variants_aa is None else answer.variants_aa
        for answer in answers
        if answer.pose_aa is not None
    ]
    count = min(map(len, offers), default=1)
    remaining = [iter(offers) for _ in range(count)]
    return tuple(
        tuple(None if answer.pose_aa is None else next(remaining[place])[place] for answer in answers)
        for place in range(count)
    )
