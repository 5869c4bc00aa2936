# SPDX-License-Identifier: Apache-2.0
"""Shares one engine among many requests.

One thread runs the engine. Each step it takes a batch of at most ``batch_size`` queries from the requests there are,
in fair shares: an edit of one pose does not wait behind a thousand frames, and edits that arrive together are
answered together. Requests beyond ``max_waiting`` are refused as busy.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Final

import numpy as np

from backend.images import decode_png
from backend.query import Answer, Answerer, Query, queries_of
from blender_addon.contract.messages import PoseArray, Progress, ProtocolError, Request, Result

if TYPE_CHECKING:
    from PIL.Image import Image

log = logging.getLogger(__name__)

STOPPING: Final = "The backend is shutting down; start it again and repeat the request."


class Job:
    """One request on its way through the engine.

    The worker thread writes, the event loop reads; ``changed`` is set in the loop after each change.
    """

    def __init__(self, request: Request, ahead: int) -> None:
        self.request = request
        self.total = max(1, len(request.poses))
        self.ahead = ahead
        self.answers: list[Answer] = []
        self.error: ProtocolError | None = None
        self.changed = asyncio.Event()
        self.loop = asyncio.get_running_loop()
        self.image: Image | None = None
        self._submitted = time.monotonic()
        self._started: float | None = None
        self._finished: float | None = None

    @property
    def started(self) -> bool:
        """Whether the engine has begun with it."""
        return self._started is not None

    @property
    def finished(self) -> bool:
        """Whether there is a result or an error."""
        return self._finished is not None

    def start(self) -> None:
        """Note the time and decode the image: only now, so that waiting requests hold no decoded pictures."""
        self._started = time.monotonic()
        self.ahead = 0
        if self.request.image_png is not None:
            self.image = decode_png(self.request.image_png, self.request.id)

    def fail(self, error: ProtocolError) -> None:
        """End the job with an error."""
        self.error = error
        self._end()

    def extend(self, answers: list[Answer]) -> None:
        """Add the next answers; the last one ends the job."""
        self.answers += answers
        if len(self.answers) == self.total:
            self._end()
        else:
            self._notify()

    def progress(self) -> Progress:
        """How far the job is."""
        return Progress(self.request.id, len(self.answers), self.total, self.ahead)

    def result(self) -> Result:
        """The answers of a job that finished without error."""
        assert self._started is not None
        assert self._finished is not None
        return Result(
            self.request.id,
            tuple(answer.pose_aa for answer in self.answers),
            tuple(answer.text for answer in self.answers),
            queued_ms=1000 * (self._started - self._submitted),
            engine_ms=1000 * (self._finished - self._started),
            variants=_variants(self.answers),
        )

    def _end(self) -> None:
        self._finished = time.monotonic()
        self.image = None
        self._notify()

    def _notify(self) -> None:
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.changed.set)


class Scheduler:
    """See the module. The event loop calls every method; the engine runs on the scheduler's own thread."""

    def __init__(self, engine: Answerer, *, batch_size: int, max_waiting: int) -> None:
        self._engine = engine
        self._batch_size = batch_size
        self._max_waiting = max_waiting
        self._jobs: deque[Job] = deque()  # unfinished ones, in the order of their turn; guarded by _lock
        self._lock = threading.Condition()
        self._draining = False
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name="posellava-engine", daemon=True)

    def start(self) -> None:
        """Start the engine's thread."""
        self._thread.start()

    def submit(self, request: Request) -> Job:
        """Queue a valid request.

        Raises:
            ProtocolError: ``busy`` when the queue is full, ``shutting_down`` after drain().
        """
        with self._lock:
            if self._draining:
                raise ProtocolError("shutting_down", STOPPING, request.id)
            if len(self._jobs) >= self._max_waiting:
                raise ProtocolError(
                    "busy",
                    f"The backend is busy with {len(self._jobs)} requests; try again in a moment.",
                    request.id,
                )
            job = Job(request, ahead=len(self._jobs))
            self._jobs.append(job)
            self._lock.notify()
        return job

    def cancel(self, job: Job) -> None:
        """Stop working on a job after the batch that runs, and end it as cancelled."""
        with self._lock:
            if job.finished:
                return
            self._jobs.remove(job)
            job.fail(ProtocolError("cancelled", "Cancelled.", job.request.id))

    def drain(self) -> None:
        """Take no more requests and refuse those that have not begun; the others go on to their end."""
        with self._lock:
            self._draining = True
            for job in [job for job in self._jobs if not job.started]:
                self._jobs.remove(job)
                job.fail(ProtocolError("shutting_down", STOPPING, job.request.id))

    def stop(self) -> None:
        """End the engine's thread after the batch that runs; what is unfinished fails."""
        with self._lock:
            self._draining = self._stopping = True
            while self._jobs:
                job = self._jobs.popleft()
                job.fail(ProtocolError("shutting_down", STOPPING, job.request.id))
            self._lock.notify()

    def join(self, timeout: float) -> None:
        """Wait for the engine's thread to end."""
        self._thread.join(timeout)

    # On the engine's thread.

    def _work(self) -> None:
        while True:
            with self._lock:
                while not self._jobs and not self._stopping:
                    self._lock.wait()
                if self._stopping:
                    return
                shares = self._share()
            batch: list[tuple[Job, list[Query]]] = []
            for job, count in shares:
                try:
                    if not job.started:
                        job.start()
                    done = len(job.answers)
                    queries = queries_of(job.request, job.image, done, done + count)
                except ProtocolError as error:
                    self._fail(job, error)
                except Exception as error:  # without this thread every later request would wait for ever
                    log.exception("request %s could not be begun", job.request.id)
                    self._fail(job, _failure(job, "backend", error))
                else:
                    batch.append((job, queries))
            if batch:
                self._answer(batch)

    def _share(self) -> list[tuple[Job, int]]:
        """Which job gets how many places in the next batch: equal shares, and what is left over in turn."""
        waiting = list(self._jobs)[: self._batch_size]
        counts = dict.fromkeys(waiting, 0)
        room = self._batch_size
        fair = self._batch_size // len(waiting)
        for share in (fair, self._batch_size):
            for job in waiting:
                count = min(share, job.total - len(job.answers) - counts[job], room)
                counts[job] += count
                room -= count
        self._jobs.rotate(-len(waiting))
        return [(job, count) for job, count in counts.items() if count]

    def _answer(self, batch: list[tuple[Job, list[Query]]]) -> None:
        queries = [query for _, part in batch for query in part]
        try:
            answers = self._engine.answer(queries)
            _check_answers(answers, len(queries))
        except Exception as error:
            log.exception("the model failed on a batch of %d queries", len(queries))
            if len(batch) > 1:  # find out whose request it was; the others are answered
                for single in batch:
                    self._answer([single])
                return
            job = batch[0][0]
            self._fail(job, _failure(job, "model", error))
            return
        remaining = iter(answers)
        for job, part in batch:
            answers_of_job = [next(remaining) for _ in part]
            with self._lock:
                if job.finished:  # cancelled while the batch ran
                    continue
                job.extend(answers_of_job)
                if job.finished:
                    self._jobs.remove(job)

    def _fail(self, job: Job, error: ProtocolError) -> None:
        with self._lock:
            if not job.finished:
                self._jobs.remove(job)
                job.fail(error)


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


def _failure(job: Job, what: str, error: Exception) -> ProtocolError:
    """What the client is told when ``what``, the model or the backend, failed on its request."""
    reason = f"{type(error).__name__}: {str(error)[:200]}"
    return ProtocolError(
        "engine_failed",
        f"The {what} failed on this request ({reason}); the backend's log has the details.",
        job.request.id,
    )


def _check_answers(answers: list[Answer], count: int) -> None:
    if len(answers) != count:
        raise RuntimeError(f"{len(answers)} answers to {count} queries")
    for answer in answers:
        for poses in (answer.pose_aa, answer.variants_aa):
            if poses is not None and not np.isfinite(poses).all():
                raise FloatingPointError("the pose is not finite")
