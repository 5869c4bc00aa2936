# SPDX-License-Identifier: Apache-2.0
"""A backend that does as a test's script says, to see what clients make of it.

    with FakeBackend(welcome(), answer(), Cut()) as backend:
        …  # a client at backend.url

Every connection plays the script from its beginning: what it says and does, and where it waits for the next request.
What clients sent is in ``heard``. It speaks both versions of the protocol, or those that it is given.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from blender_addon.contract.messages import ErrorMessage, Limits, Message, Progress, Request, Result, Welcome
from blender_addon.contract.wire import SUBPROTOCOLS, Wire


@dataclass(frozen=True)
class Say:
    """Send a message; one that is made of the last request when it is a function."""

    what: Message | Callable[[Request], Message]


@dataclass(frozen=True)
class SayRaw:
    """Send this, whatever it is."""

    data: str | bytes


@dataclass(frozen=True)
class Hear:
    """Wait for the next message of the client."""


@dataclass(frozen=True)
class Pause:
    """Wait, or for ever when None."""

    seconds: float | None = None


@dataclass(frozen=True)
class Cut:
    """End the connection without a goodbye."""


@dataclass(frozen=True)
class Close:
    """Say goodbye."""

    code: int = 1000
    reason: str = ""


Step = Say | SayRaw | Hear | Pause | Cut | Close


def welcome(
    limits: Limits | None = None, tasks: tuple[str, ...] = ("adjust", "estimate"), **changes: Any
) -> list[Step]:
    """Hear a hello and answer it."""
    return [Hear(), Say(Welcome("fake", tasks, limits or Limits(), **changes))]


def answer(*before: Callable[[Request], Message]) -> list[Step]:
    """Hear a request and answer it, with these messages before the answer."""
    return [Hear(), *map(Say, before), Say(result)]


def result(request: Request) -> Result:
    """The start poses as they came."""
    poses = tuple(request.poses) or (np.zeros((24, 3), np.float32),)
    return Result(request.id, poses, ("done",) * len(poses))


def progress(done: int) -> Callable[[Request], Progress]:
    """So far it is."""
    return lambda request: Progress(request.id, done, len(request.poses))


def error(code: str, sentence: str) -> Callable[[Request], ErrorMessage]:
    """The request failed."""
    return lambda request: ErrorMessage(code, sentence, request.id)


class FakeBackend:
    """See the module; a context manager that listens while it is open.

    Attributes:
        url: where it listens.
        heard: every message of every client, in order.
        connections: how many there have been.
    """

    def __init__(
        self, *script: Step | Sequence[Step], subprotocols: Sequence[str] | None = SUBPROTOCOLS
    ) -> None:
        self._script = [step for part in script for step in (part if isinstance(part, Sequence) else [part])]
        self._subprotocols = None if subprotocols is None else [Subprotocol(name) for name in subprotocols]
        self.url = ""
        self.heard: list[Message] = []
        self.connections = 0
        self._listening = threading.Event()

    def __enter__(self) -> FakeBackend:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()
        assert self._listening.wait(20)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(20)

    async def _run(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        async with serve(
            self._play, "127.0.0.1", 0, subprotocols=self._subprotocols, max_size=None, close_timeout=0.2
        ) as server:
            self.url = f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
            self._listening.set()
            await self._over.wait()

    async def _play(self, websocket: ServerConnection) -> None:
        self.connections += 1
        wire = Wire(websocket.subprotocol or SUBPROTOCOLS[-1])
        request: Any = None
        with contextlib.suppress(ConnectionClosed):
            for step in self._script:
                match step:
                    case Say(what):
                        message = what(request) if callable(what) else what
                        if isinstance(message, Welcome) and message.version == 2:
                            message = Welcome(message.model, message.tasks, message.limits, wire.version)
                        for frame in wire.write(message):
                            await websocket.send(frame)
                    case SayRaw(data):
                        await websocket.send(data)
                    case Hear():
                        heard = None
                        while heard is None:
                            heard = wire.read(await websocket.recv())
                        self.heard.append(heard)
                        request = heard if isinstance(heard, Request) else request
                    case Pause(None):
                        await websocket.wait_closed()
                    case Pause(seconds):
                        await asyncio.sleep(seconds)
                    case Cut():
                        websocket.transport.abort()
                        return
                    case Close(code, reason):
                        await websocket.close(code, reason)
                        return
            while True:
                heard = wire.read(await websocket.recv())
                if heard is not None:
                    self.heard.append(heard)
