# SPDX-License-Identifier: Apache-2.0
"""The listening server: options, start, graceful stop."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.typing import Subprotocol

from backend.query import Answerer
from blender_addon.contract.loopback import is_loopback
from blender_addon.contract.messages import DEFAULT_PORT, Limits
from blender_addon.contract.wire import SUBPROTOCOLS

from .access import check_options, refuse_foreign_host
from .scheduler import Scheduler
from .talk import Talk

log = logging.getLogger(__name__)

_SPOKEN: Final = tuple(map(Subprotocol, SUBPROTOCOLS))
DRAIN_SECONDS: Final = 20.0
"""How long a stop waits for the requests that run."""
PING_INTERVAL: Final = 20.0
PING_TIMEOUT: Final = 60.0
"""Longer than usual: Blender may hold its Python for half a minute while it loads or renders."""


@dataclass(frozen=True)
class ServerOptions:
    """How to offer an engine.

    Attributes:
        host: the address to listen on.
        port: 0 takes a free one.
        token: what clients must present; None lets everyone in, on loopback only.
        batch_size: queries the engine answers at a time.
        max_waiting: requests that may be unfinished at a time, of all clients together.
        limits: what one request may hold.
    """

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    token: str | None = None
    batch_size: int = 32
    max_waiting: int = 32
    limits: Limits = field(default_factory=Limits)


class PoseServer:
    """A server on an engine; an async context manager that listens while it is open.

    Raises:
        AccessError: when created without a token for other machines to reach.
        OSError: on entering, when the address cannot be listened on.
    """

    def __init__(self, engine: Answerer, options: ServerOptions) -> None:
        check_options(options.host, options.token)
        self._engine = engine
        self._options = options
        self._scheduler = Scheduler(engine, batch_size=options.batch_size, max_waiting=options.max_waiting)
        self._talks: set[Talk] = set()
        self._server: Server | None = None

    @property
    def url(self) -> str:
        """ws://host:port as clients address it, this machine by name if all its addresses are listened on; only while
        listening."""
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()[:2]
        if ipaddress.ip_address(host).is_unspecified:
            host = socket.gethostname()
        return f"ws://[{host}]:{port}" if ":" in host else f"ws://{host}:{port}"

    async def __aenter__(self) -> PoseServer:
        options = self._options
        self._server = await serve(
            self._handle,
            options.host,
            options.port,
            origins=[None],
            process_request=refuse_foreign_host if is_loopback(options.host) else None,
            subprotocols=_SPOKEN,
            # A client that offers no subprotocol is told so in words, by Talk.
            select_subprotocol=lambda _, offered: next((s for s in _SPOKEN if s in offered), None),
            compression=None,
            max_size=options.limits.max_message_bytes,
            ping_interval=PING_INTERVAL,
            ping_timeout=PING_TIMEOUT,
            close_timeout=2.0,
        )
        self._scheduler.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._scheduler.stop()
        self._server.close(reason="the backend is shutting down")
        await self._server.wait_closed()
        await asyncio.to_thread(self._scheduler.join, 5.0)

    async def drain(self) -> None:
        """Refuse new and waiting requests and let the running ones finish, for at most DRAIN_SECONDS."""
        self._scheduler.drain()
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                await asyncio.gather(*(talk.finish() for talk in self._talks))
        except TimeoutError:
            log.warning("a request still ran after %g s and was given up", DRAIN_SECONDS)

    async def _handle(self, websocket: ServerConnection) -> None:
        talk = Talk(
            websocket,
            self._scheduler,
            model=self._engine.name,
            tasks=self._engine.tasks,
            limits=self._options.limits,
            token=self._options.token,
        )
        self._talks.add(talk)
        try:
            await talk.run()
        finally:
            self._talks.discard(talk)


async def run_until_signal(
    engine: Answerer, options: ServerOptions, on_listening: Callable[[str], None]
) -> None:
    """Serve until SIGINT or SIGTERM, then drain and stop; a second signal stops without draining.

    Args:
        engine: what answers.
        options: how to offer it.
        on_listening: called with the URL once clients can connect.
    """
    loop = asyncio.get_running_loop()
    first, second = asyncio.Event(), asyncio.Event()

    def on_signal(*_: object) -> None:
        loop.call_soon_threadsafe((second if first.is_set() else first).set)

    # signal.signal rather than loop.add_signal_handler, which Windows lacks.
    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        async with PoseServer(engine, options) as server:
            on_listening(server.url)
            await first.wait()
            drained, hurried = asyncio.create_task(server.drain()), asyncio.create_task(second.wait())
            await asyncio.wait({drained, hurried}, return_when=asyncio.FIRST_COMPLETED)
            drained.cancel()
            hurried.cancel()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
