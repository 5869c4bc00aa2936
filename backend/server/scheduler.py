# SPDX-License-Identifier: Apache-2.0
"""Runs the engine for many clients: takes requests in, hands batches to the engine, gives its answers to the jobs.

Whose turn it is, shares.py decides. The engine has threads of its own, ``lanes`` of them (one, unless the engine is
many machines). Whatever happens on one of them is answered: an engine that fails on a batch fails only the request
whose fault it is; one that ends its thread, or gives no sign for ``engine_seconds``, is loaded anew, and the requests
of that batch fail. A request that is not answered ``deadline_seconds`` after it came fails as well.

An answer that is said word by word is told as it grows, and between two of its words the engine does what somebody else
waits for in front of the window: nobody's edit waits until a long answer ends.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from backend.query import Answer, Answerer, OnWords, Query
from blender_addon.contract.messages import ProtocolError, Request
from blender_addon.contract.records import check_encodable
from blender_addon.contract.skeleton import NUM_JOINTS, STANDING_POSE

from .jobs import Client, Job, Kind
from .metrics import Metrics
from .shares import Batch, Shares

if TYPE_CHECKING:
    from PIL.Image import Image

log = logging.getLogger(__name__)

_ADDRESS: Final = re.compile("0x[0-9a-fA-F]{6,}")
STOPPING: Final = "The backend is shutting down; start it again and repeat the request."
SMALL_COST: Final = 64
"""Poses of a request that is not refused for what its client's other requests hold."""
CLIENT_COST: Final = 2**15
"""Poses of all requests of one client whose answers have not been taken away, unless it is one request."""
MAX_COST: Final = 2**20
"""Poses of all requests together whose answers have not been taken away: 300 MB."""
RELOAD_SECONDS: Final = 5.0
"""Between two attempts to load an engine."""
WARM_UP: Final = "raise the left arm"


@dataclass(frozen=True)
class SchedulerOptions:
    """See ServerOptions, which has the same names."""

    batch_size: int
    max_waiting: int
    max_waiting_per_client: int
    deadline_seconds: float
    engine_seconds: float
    lanes: int
    max_text_chars: int


class _Lane:
    """One thread of the engine; it ends when it is no longer the scheduler's.

    Attributes:
        engine: None while it is loaded anew.
        batch: the jobs whose answers are being computed.
        last_sign: when the engine was last given something, or said something; None while it does nothing.
        interrupted: seconds that came between the words of others.
    """

    def __init__(self, engine: Answerer | None) -> None:
        self.engine = engine
        self.batch: list[Job] = []
        self.last_sign: float | None = None
        self.interrupted = 0.0


class _Part(NamedTuple):
    """Queries of one job in a batch, from ``start`` on."""

    job: Job
    start: int
    queries: list[Query]


class Scheduler:
    """See the module. The event loop calls every public method; the engine runs on the scheduler's own threads."""

    def __init__(
        self,
        engine: Answerer,
        options: SchedulerOptions,
        metrics: Metrics,
        reload: Callable[[], Answerer] | None = None,
    ) -> None:
        self._options = options
        self._metrics = metrics
        self._reload = reload or (lambda: engine)
        self._shares = Shares(options.batch_size)
        self._jobs: dict[Job, None] = {}  # unfinished ones, in the order in which they came; guarded by _lock
        self._cost = 0
        self._lock = threading.Condition()
        self._draining = False
        self._stopping = False
        self._lanes = [_Lane(engine) for _ in range(options.lanes)]
        self._threads: list[threading.Thread] = []
        self._answered = False
        self._had_much = False
        self._was_idle = False

    def start(self, *, warm_up: bool = False) -> None:
        """Start the engine's threads; with ``warm_up`` each first answers something of its own."""
        for lane in self._lanes:
            self._start(lane, warm_up)

    def _start(self, lane: _Lane, warm_up: bool) -> None:
        thread = threading.Thread(
            target=self._run, args=(lane, warm_up), name="posellava-engine", daemon=True
        )
        self._threads = [old for old in self._threads if old.is_alive()] + [thread]
        thread.start()

    def join_client(self) -> Client:
        """A client that may submit."""
        client = Client()
        with self._lock:
            self._shares.add(client)
        return client

    def leave(self, client: Client) -> None:
        """A client that has no more jobs is gone."""
        with self._lock:
            self._shares.remove(client)

    def submit(self, client: Client, request: Request, image: Image | None = None) -> Job:
        """Queue a valid request; ``image`` is its picture, decoded. release() has to follow its end.

        Raises:
            ProtocolError: ``busy`` when there is no room for it, ``shutting_down`` after drain().
        """
        with self._lock:
            if self._draining:
                raise ProtocolError("shutting_down", STOPPING, request.id)
            job = Job(request, image, client, ahead=len(self._jobs))
            self._check_room(job)
            self._jobs[job] = None
            self._cost += job.cost
            client.cost += job.cost
            client.unfinished += 1
            self._shares.queue(job, time.monotonic())
            self._metrics.waiting(len(self._jobs))
            self._lock.notify_all()
        return job

    def _check_room(self, job: Job) -> None:
        client, options = job.client, self._options
        if client.unfinished and (
            len(self._jobs) >= options.max_waiting or client.unfinished >= options.max_waiting_per_client
        ):
            raise self._busy(job, f"with {len(self._jobs)} requests, {client.unfinished} of them yours")
        if client.cost and job.cost > SMALL_COST and client.cost + job.cost > CLIENT_COST:
            raise self._busy(job, f"with {client.cost} poses of yours, whose answers are to be taken first")
        if self._cost + job.cost > MAX_COST and (client.cost or job.cost > SMALL_COST):
            raise self._busy(job, f"with {self._cost} poses")

    def _busy(self, job: Job, why: str) -> ProtocolError:
        return ProtocolError("busy", f"The backend is busy {why}; try again in a moment.", job.request.id)

    def cancel(self, job: Job) -> None:
        """Stop working on a job after the batch that runs, and end it as cancelled."""
        with self._lock:
            self._fail(job, ProtocolError("cancelled", "Cancelled.", job.request.id))

    def release(self, job: Job) -> None:
        """The answer of a finished job has been taken away, or nobody will: its room is free."""
        with self._lock:
            self._cost -= job.cost
            job.client.cost -= job.cost

    def drain(self) -> None:
        """Take no more requests and refuse those that have not begun; the others go on to their end."""
        with self._lock:
            self._draining = True
            for job in [job for job in self._jobs if not job.started]:
                self._fail(job, ProtocolError("shutting_down", STOPPING, job.request.id))

    def stop(self) -> None:
        """End the engine's threads after the batch that runs; what is unfinished fails."""
        with self._lock:
            self._draining = self._stopping = True
            for job in list(self._jobs):
                self._fail(job, ProtocolError("shutting_down", STOPPING, job.request.id))
            self._lock.notify_all()

    def join(self, timeout: float) -> None:
        """Wait for the engine's threads to end."""
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def look_after(self) -> None:
        """To be called now and then: fails what is late, and replaces an engine that does not come back."""
        now, options = time.monotonic(), self._options
        with self._lock:
            for job in list(self._jobs):
                if now - job.submitted > options.deadline_seconds:
                    self._fail(
                        job,
                        ProtocolError(
                            "timeout",
                            f"The backend gave no answer within {options.deadline_seconds:g} seconds.",
                            job.request.id,
                        ),
                    )
            for place, lane in enumerate(self._lanes):
                if lane.last_sign is not None and now - lane.last_sign > options.engine_seconds:
                    log.error(
                        "the engine did not come back within %g s; it is loaded anew", options.engine_seconds
                    )
                    for job in lane.batch:
                        self._fail(job, _failure(job, "model", TimeoutError("it did not come back in time")))
                    self._replace(place)

    def has_come_to_rest(self) -> bool:
        """Whether it has done more than single edits since this was last true, and has had nothing to do from one call
        to the next: a moment after the last batch its answers are still being sent."""
        with self._lock:
            rests = self._had_much and self._was_idle and not self._jobs
            self._had_much = self._had_much and not rests
            self._was_idle = not self._jobs
            return rests

    def readiness(self) -> str | None:
        """None when an answer has been computed and the engine is well; otherwise what there is to wait for."""
        with self._lock:
            if self._draining:
                return "The backend is shutting down."
            if any(lane.engine is None for lane in self._lanes):
                return "The engine is being loaded anew."
            if not self._answered:
                return "The engine has not answered yet."
            return None

    def _fail(self, job: Job, error: ProtocolError) -> None:
        """Under the lock: end an unfinished job."""
        if job.finished:
            return
        del self._jobs[job]
        self._shares.forget(job)
        job.client.unfinished -= 1
        job.fail(error)
        self._metrics.waiting(len(self._jobs))

    def _replace(self, place: int) -> None:
        """Under the lock: a new engine in the place of one that is lost; the old thread ends when it comes back."""
        lane = self._lanes[place] = _Lane(None)
        self._metrics.engine_restarted()
        if not self._stopping:
            self._start(lane, warm_up=False)

    # On the engine's threads.

    def _run(self, lane: _Lane, warm_up: bool) -> None:
        """A lane's thread: what ends it is told to those who wait, and another takes its place."""
        try:
            if lane.engine is None:
                engine = self._reload()
                with self._lock:
                    lane.engine = engine
            if warm_up:
                self._warm_up(lane)
            self._work(lane)
        except BaseException as error:
            log.exception("the engine's thread ended; the engine is loaded anew")
            with self._lock:
                for job in lane.batch:
                    self._fail(job, _failure(job, "model", error))
                if lane in self._lanes:
                    if lane.engine is None:  # it could not be loaded: not again at once
                        self._lock.wait(RELOAD_SECONDS)
                    self._replace(self._lanes.index(lane))

    def _warm_up(self, lane: _Lane) -> None:
        assert lane.engine is not None
        task = next((task for task in ("adjust", "generate") if task in lane.engine.tasks), None)
        if task is None:
            return
        try:
            queries = [Query(task, WARM_UP, STANDING_POSE if task == "adjust" else None)]
            self._check(lane.engine.answer(queries), 1)
            self._answered = True
        except Exception:
            log.exception("the engine failed on its first answer, to %r", WARM_UP)

    def _work(self, lane: _Lane) -> None:
        while True:
            with self._lock:
                batch = self._next_batch(lane)
                if batch is None:
                    return
                parts = self._take(lane, batch)
            self._compute(lane, batch, parts)

    def _take(self, lane: _Lane, batch: Batch) -> list[_Part]:
        """Under the lock: the queries of a batch, which from here on the lane works at."""
        parts = [_Part(job, *job.take(count)) for job, count in batch.parts]
        lane.last_sign = time.monotonic()
        lane.batch = [*lane.batch, *(part.job for part in parts)]
        self._shares.begin(batch, lane.last_sign)
        return parts

    def _compute(self, lane: _Lane, batch: Batch, parts: list[_Part]) -> None:
        began, interrupted = time.monotonic(), lane.interrupted
        self._answer(lane, parts)
        now = time.monotonic()
        with self._lock:
            lane.batch = lane.batch[: -len(parts)]
            lane.last_sign = now if lane.batch else None
            seconds = now - began - (lane.interrupted - interrupted)
            self._shares.end(batch, 1000 * seconds, now)
            if batch.size > 1 or batch.kind is not Kind.POSES:
                self._had_much, self._was_idle = True, False
        self._metrics.batch(batch.size, seconds)

    def _next_batch(self, lane: _Lane) -> Batch | None:
        """Under the lock: the next batch, waited for; None when the thread is to end."""
        while not self._stopping and lane in self._lanes:
            now = time.monotonic()
            batch = self._shares.next_batch(now)
            patience = None if batch is None else self._shares.patience(batch, now)
            if batch is not None and not patience:
                return batch
            self._lock.wait(patience)
        return None

    def _answer(self, lane: _Lane, parts: list[_Part]) -> None:
        assert lane.engine is not None
        queries = [query for part in parts for query in part.queries]
        try:
            answers = lane.engine.answer(queries, self._on_words_of(lane, parts))
            self._check(answers, len(queries))
        except Exception as error:
            log.exception("the model failed on a batch of %d queries", len(queries))
            if len(parts) > 1:  # find out whose request it was; the others are answered
                for single in parts:
                    self._answer(lane, [single])
                return
            job = parts[0].job
            with self._lock:
                self._fail(job, _failure(job, "model", error))
            return
        self._answered = True
        remaining = iter(answers)
        with self._lock:
            for part in parts:
                job = part.job
                answers_of_job = [next(remaining) for _ in part.queries]
                if job.finished or lane not in self._lanes:  # cancelled, or given up, while the batch ran
                    continue
                job.put(part.start, answers_of_job)
                if job.finished:
                    del self._jobs[job]
                    job.client.unfinished -= 1
                    self._metrics.waiting(len(self._jobs))

    def _on_words_of(self, lane: _Lane, parts: list[_Part]) -> OnWords:
        """Told what the engine says: passes it on, and lets it do between two words what cannot wait for the last."""
        jobs = [part.job for part in parts for _ in part.queries]

        def on_words(place: int, words: str) -> bool:
            job = jobs[place]
            with self._lock:
                if lane not in self._lanes:
                    return False
                began = lane.last_sign = time.monotonic()
                if not job.finished and self._may_be_sent(words):
                    job.say(words)
                batch = self._shares.next_batch(began, between_words=True)
                if batch is not None:
                    between = self._take(lane, batch)
            if batch is not None:
                self._compute(lane, batch, between)
                lane.interrupted += time.monotonic() - began
            return not job.finished

        return on_words

    def _may_be_sent(self, words: str) -> bool:
        """Half a character may become a whole one with the next word; the answer itself has to be whole."""
        try:
            check_encodable(words, "the answer")
        except ProtocolError:
            return False
        return len(words) <= self._options.max_text_chars

    def _check(self, answers: list[Answer], count: int) -> None:
        """Raise for answers that could not be sent."""
        if len(answers) != count:
            raise RuntimeError(f"{len(answers)} answers to {count} queries")
        for answer in answers:
            if not isinstance(answer.text, str) or len(answer.text) > self._options.max_text_chars:
                raise ValueError("the words are no text, or too long")
            check_encodable(answer.text, "the answer")
            for poses, shape in ((answer.pose_aa, ()), (answer.variants_aa, (-1,))):
                if poses is None:
                    continue
                if np.shape(poses)[-2:] != (NUM_JOINTS, 3) or np.ndim(poses) != 2 + len(shape):
                    raise ValueError(f"the pose has the shape {np.shape(poses)}")
                if not np.isfinite(poses).all():
                    raise FloatingPointError("the pose is not finite")


def _failure(job: Job, what: str, error: BaseException) -> ProtocolError:
    """What the client is told when ``what``, the model or the backend, failed on its request."""
    return ProtocolError(
        "engine_failed",
        f"The {what} failed on this request ({reason_of(error)}); the backend's log has the details.",
        job.request.id,
    )


def reason_of(error: BaseException) -> str:
    """The error for a client, see in_short."""
    return f"{type(error).__name__}: {in_short(str(error))}"


def in_short(text: str) -> str:
    """The text of an error for a client: one short line, without the addresses in memory that some libraries have."""
    words = " ".join(text.split())
    printable = "".join(letter for letter in words if letter.isprintable())
    return _ADDRESS.sub("…", printable)[:200]
