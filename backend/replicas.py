# SPDX-License-Identifier: Apache-2.0
"""The same engine many times, on one machine or many: replicas of Ray Serve behind one Answerer.

The server stays as it is and stays one: it greets, bounds, shares out and answers. Only its engine is elsewhere. Each
of its lanes sends a batch to whichever replica has least to do; Ray Serve starts more replicas when every lane waits,
stops them when few do, looks after their health and replaces those that die. A batch whose replica died is sent to
another. An answer in words comes as a whole: of its words nothing is told on the way, and a replica does nothing else
between two of them.

Needs the extra ``[ray]``. May import backend.query.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final

from backend.query import Answer, Answerer, OnWords, Query

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
        RuntimeError: on entering, no replica could be started.
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
        options, serve = self._options, self._ray.serve
        if not self._ray.is_initialized():
            self._ray.init(
                address=options.address, namespace=APPLICATION, log_to_driver=False, include_dashboard=False,
                logging_level=logging.WARNING,
            )  # fmt: skip
        serve.start(
            proxy_location="Disabled"
        )  # its own web server is not needed: the websocket server is the way in
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
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ray.serve.shutdown()
        if self._options.address is None:
            self._ray.shutdown()

    def answer(self, queries: Sequence[Query], on_words: OnWords | None = None) -> list[Answer]:
        """The answers of some replica; ``on_words`` is told nothing. May be called from several threads."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
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


class _Replica:
    """What runs in each replica: one engine, one batch at a time."""

    def __init__(self, load: Callable[[], Answerer]) -> None:
        self._engine = load()
        self._turn = asyncio.Lock()

    def describe(self) -> tuple[str, tuple[str, ...]]:
        return self._engine.name, tuple(self._engine.tasks)

    async def answer(self, queries: list[Query]) -> list[Answer]:
        async with self._turn:  # on a thread, so that its health can be asked for meanwhile
            return await asyncio.to_thread(self._engine.answer, queries)

    def check_health(self) -> None:
        if not self._engine.tasks:
            raise RuntimeError("the engine has no tasks")
