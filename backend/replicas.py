# SPDX-License-Identifier: Apache-2.0
"""The same engine many times, on one machine or many: replicas of Ray Serve behind one Answerer.

The server stays as it is and stays one: it greets, bounds, shares out and answers. Only its engine is elsewhere. Each
of its lanes sends a batch to whichever replica has least to do; Ray Serve starts more replicas when every lane waits,
stops them when few do, looks after their health and replaces those that die. A batch whose replica died is sent to
another. An answer in words is told as it is said, and between two words the replica answers what else it was sent, so
that nobody's edit waits for the end of a talk here either.

Needs the extra ``[ray]``. May import backend.query and blender_addon.contract.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final

from backend.query import Answer, Answerer, OnWords, Query
from blender_addon.contract.messages import SPOKEN_TASKS

log = logging.getLogger(__name__)

APPLICATION: Final = "posellava"
ATTEMPTS: Final = 4
"""Replicas that a batch is sent to before it fails, when one after the other dies of it or without it."""
START_SECONDS: Final = 600.0
"""For the first replica: a large model may have to be read from a shared disk."""


@dataclass(frozen=True)
class ReplicaOptions:
    """How many replicas, and what each needs.

    Attributes:
        least: replicas that are always there.
        most: replicas that there may be; as many batches are on their way at a time.
        cpus: processors of each.
        gpus: graphics cards of each; a share such as 0.5 puts two on a card.
        address: of the Ray cluster; None starts one on this machine.
        batch_seconds: how long a batch may take.
    """

    least: int = 1
    most: int = 4
    cpus: float = 1.0
    gpus: float = 0.0
    address: str | None = None
    batch_seconds: float = 120.0


class Replicas:
    """An Answerer whose answers come from replicas; a context manager, which starts and ends them.

    Raises:
        ModuleNotFoundError: on creating, Ray is not installed.
        OSError: on entering, Ray or its first replica could not be started.
    """

    name: str
    tasks: tuple[str, ...]

    def __init__(self, load: Callable[[], Answerer], options: ReplicaOptions) -> None:
        """``load`` makes an engine; it is called in every replica."""
        import ray.serve

        self._ray: Any = ray
        self._load = load
        self._options = options
        self._handle: Any = None

    def __enter__(self) -> Replicas:
        try:
            self._start()
        except Exception as error:  # Ray raises plain Exception where a part of it does not start in time
            self._stop()
            where = "on this machine" if self._options.address is None else f"at {self._options.address}"
            raise OSError(
                f"Ray {where}, or its first replica, could not be started ({' '.join(str(error).split())[:300]}); "
                "its own logs, in /tmp/ray, have the details."
            ) from error
        return self

    def _start(self) -> None:
        options, serve = self._options, self._ray.serve
        if not self._ray.is_initialized():
            self._ray.init(
                address=options.address, namespace=APPLICATION, log_to_driver=False, include_dashboard=False,
                logging_level=logging.WARNING,
            )  # fmt: skip
        # Ray's own web server is not needed: the websocket server is the way in.
        serve.start(proxy_location="Disabled")
        deployment = serve.deployment(
            _Replica,
            ray_actor_options={"num_cpus": options.cpus, "num_gpus": options.gpus},
            max_ongoing_requests=2,  # the next batch is there when one ends
            health_check_period_s=5,
            health_check_timeout_s=60,
            autoscaling_config={
                "min_replicas": options.least,
                "initial_replicas": options.least,
                "max_replicas": options.most,
                "target_ongoing_requests": 1,
                "upscale_delay_s": 5,
                "downscale_delay_s": 120,
            },
        )
        self._handle = serve.run(deployment.bind(self._load), name=APPLICATION, route_prefix=None)
        self.name, self.tasks = self._handle.describe.remote().result(timeout_s=START_SECONDS)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._ray.is_initialized():
            self._ray.serve.shutdown()
        if self._options.address is None:
            self._ray.shutdown()

    def answer(self, queries: Sequence[Query], on_words: OnWords | None = None) -> list[Answer]:
        """The answers of some replica. May be called from several threads, and again by ``on_words``. Of an answer
        whose replica died in the middle the words are told from the beginning again."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                if on_words is not None and any(query.task in SPOKEN_TASKS for query in queries):
                    return self._listen(list(queries), on_words)
                answers: list[Answer] = self._handle.answer.remote(list(queries)).result(
                    timeout_s=self._options.batch_seconds
                )
                return answers
            except self._ray.exceptions.RayActorError as error:
                if attempt == ATTEMPTS:
                    raise
                log.warning("a replica died (%s); its batch goes to another", type(error).__name__)
            except self._ray.exceptions.RayTaskError as error:
                raise (error.cause if isinstance(error.cause, Exception) else error) from None
        raise AssertionError("the last attempt raises")

    def _listen(self, queries: list[Query], on_words: OnWords) -> list[Answer]:
        """Answers whose words ``on_words`` is told; a replica that falls silent is the scheduler's to give up."""
        stream = self._handle.options(stream=True).speak.remote(queries)
        unwanted: set[int] = set()
        for said in stream:
            if isinstance(said, list):
                return said
            place, words = said
            if not on_words(place, words):
                unwanted.add(place)
            if len(unwanted) == len(queries):
                stream.cancel()
                break
        return [Answer(None, "")] * len(queries)  # nobody waits for them


@dataclass(eq=False)
class _Batch:
    """What a replica has been sent.

    Attributes:
        queries: what is asked.
        on_words: who listens; None for what is answered in one go.
        answers: done when there are some.
    """

    queries: list[Query]
    on_words: OnWords | None = None
    answers: Future[list[Answer]] = field(default_factory=Future)


class _Replica:
    """What runs in each replica: one engine on a thread of its own, so that its health can be asked for meanwhile; one
    batch at a time, but between two words of an answer whatever is answered in one go."""

    def __init__(self, load: Callable[[], Answerer]) -> None:
        self._engine = load()
        self._thread = ThreadPoolExecutor(1)
        self._waiting: deque[_Batch] = deque()

    def describe(self) -> tuple[str, tuple[str, ...]]:
        return self._engine.name, tuple(self._engine.tasks)

    async def answer(self, queries: list[Query]) -> list[Answer]:
        return await asyncio.wrap_future(self._begin(_Batch(queries)))

    async def speak(self, queries: list[Query]) -> AsyncIterator[tuple[int, str] | list[Answer]]:
        """The place of a query and what has been said to it so far, word by word, and in the end the answers."""
        loop = asyncio.get_running_loop()
        told: asyncio.Queue[tuple[int, str] | None] = asyncio.Queue()
        is_wanted = True

        def on_words(place: int, words: str) -> bool:
            loop.call_soon_threadsafe(told.put_nowait, (place, words))
            self._answer_between()
            return is_wanted

        answers = self._begin(_Batch(queries, on_words))
        answers.add_done_callback(lambda _: loop.call_soon_threadsafe(told.put_nowait, None))
        try:
            while (said := await told.get()) is not None:
                yield said
            yield answers.result()
        finally:
            is_wanted = False

    def check_health(self) -> None:
        if not self._engine.tasks:
            raise RuntimeError("the engine has no tasks")

    def _begin(self, batch: _Batch) -> Future[list[Answer]]:
        self._waiting.append(batch)
        self._thread.submit(self._answer_next)
        return batch.answers

    # On the engine's thread.

    def _answer_next(self) -> None:
        if self._waiting:  # or it was answered between two words
            self._answer(self._waiting.popleft())

    def _answer_between(self) -> None:
        for batch in [batch for batch in self._waiting.copy() if batch.on_words is None]:
            self._waiting.remove(batch)
            self._answer(batch)

    def _answer(self, batch: _Batch) -> None:
        if not batch.answers.set_running_or_notify_cancel():
            return
        try:
            batch.answers.set_result(self._engine.answer(batch.queries, batch.on_words))
        except Exception as error:
            batch.answers.set_exception(error)
        except BaseException as error:  # which would end an event loop that it is raised in
            batch.answers.set_exception(
                RuntimeError(f"the engine ended with {type(error).__name__}: {error}")
            )
