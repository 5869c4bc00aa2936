# SPDX-License-Identifier: Apache-2.0
"""Fixtures of more than one folder: a small engine whose answers can be predicted, and a server on it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from backend.query import Answer, OnWords, Query
from backend.server import PoseServer, ServerOptions


class TurningEngine:
    """Adds 0.1 to every number of the start pose, or of zeros, and 0.1 more for each further variant; a question it
    answers in words. ``gate`` holds it back while it is cleared, which it does itself at batch ``hold_at``."""

    name = "turning"
    tasks: tuple[str, ...] = ("adjust", "generate", "estimate", "describe")

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.batches: list[list[Query]] = []
        self.hold_at: int | None = None

    def answer(self, queries: Sequence[Query], on_words: OnWords | None = None) -> list[Answer]:
        self.batches.append(list(queries))
        if len(self.batches) == self.hold_at:
            self.gate.clear()
        self.entered.set()
        assert self.gate.wait(20), "the test forgot to open the gate"
        if any(query.instruction == "fail" for query in queries):
            raise RuntimeError("no such luck")
        return [self._one(query) for query in queries]

    def _one(self, query: Query) -> Answer:
        if query.task == "describe":
            return Answer(None, "a person")
        if query.instruction.endswith("?"):
            return Answer(None, "I did not understand that")
        start = np.zeros((24, 3), np.float32) if query.pose_aa is None else query.pose_aa
        turns = np.float32(0.1) * np.arange(1, query.variants + 1, dtype=np.float32)
        variants = start + turns[:, None, None]
        turned = np.full((24, 3), np.nan, np.float32) if query.instruction == "nan" else variants[0]
        return Answer(turned, f"did {query.instruction}", variants if query.variants > 1 else None)


class Backend:
    """A PoseServer on its own thread and event loop."""

    def __init__(self, engine: Any, options: ServerOptions, reload: Callable[[], Any] | None = None) -> None:
        self.url = ""
        self._engine, self._options, self._reload = engine, options, reload
        self._listening = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()
        assert self._listening.wait(20)

    async def _run(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        async with PoseServer(self._engine, self._options, reload=self._reload) as server:
            self.server, self.url = server, server.url
            self._listening.set()
            await self._over.wait()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    def drain(self) -> None:
        """Start draining; returns at once."""
        asyncio.run_coroutine_threadsafe(self.server.drain(), self._loop)

    def stop(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._over.set)
            self._thread.join(20)


@pytest.fixture
def engine() -> TurningEngine:
    return TurningEngine()


@pytest.fixture
def start_backend(engine: TurningEngine) -> Iterator[Callable[..., Backend]]:
    """Start a backend with these options, on a free port and on ``engine`` unless told; stopped after the test."""
    backends: list[Backend] = []

    def start(engine: Any = engine, reload: Callable[[], Any] | None = None, **options: Any) -> Backend:
        backends.append(Backend(engine, ServerOptions(**{"port": 0, **options}), reload))
        return backends[-1]

    yield start
    engine.gate.set()
    for backend in backends:
        backend.stop()
