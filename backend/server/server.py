# SPDX-License-Identifier: Apache-2.0
"""The listening server: options, start, graceful stop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import logging
import signal
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final, cast

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from backend.memory import give_back
from backend.query import Answerer
from blender_addon.contract.messages import DEFAULT_PORT, Limits
from blender_addon.contract.wire import SUBPROTOCOLS, Wire

from .access import address_of, check_options, foreign_host
from .client_session import ClientSession, ServerContext
from .door import Door, GuardedConnection
from .metrics import Metrics, new_metrics
from .pages import page, refusal
from .painter import Painter, PaintOptions
from .sandbox import Sandbox
from .scheduler import Scheduler, SchedulerOptions

log = logging.getLogger(__name__)

DRAIN_SECONDS: Final = 20.0
"""How long a stop waits for the requests that run."""
CLOSE_SECONDS: Final = 2.0
"""How long a stop waits for clients to say goodbye; those that do not read are cut off."""
PING_INTERVAL: Final = 20.0
PING_TIMEOUT: Final = 180.0
"""Long: Blender may hold its Python for minutes while it loads or renders."""
LOOK_SECONDS: Final = 1.0
_SPOKEN: Final = tuple(map(Subprotocol, SUBPROTOCOLS))


@dataclass(frozen=True)
class ServerOptions:
    """How to offer an engine.

    Attributes:
        host: the address to listen on; 127.0.0.1 and localhost listen on both loopback addresses.
        port: 0 takes a free one.
        token: what clients must present; None lets everyone in, on loopback only.
        batch_size: queries the engine answers at a time.
        max_waiting: requests that may be unfinished at a time, of all clients together; one of a client that has no
            other is always taken.
        max_waiting_per_client: and of one client.
        limits: what one request may hold.
        max_connections: connections at a time.
        max_connections_per_address: and from one address.
        deadline_seconds: how long a request may take.
        engine_seconds: how long the engine may take for a batch before it is given up and loaded anew.
        lanes: batches that the engine answers at a time.
        outer_hosts: names that a proxy on this machine, in front of a backend on loopback, is addressed by.
        tls: with it the backend speaks TLS.
        warm_up: whether the engine answers something of its own before the first request.
        log_requests: whether instructions may be logged.
        images: what paints pictures; None for a backend that paints none.
    """

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    token: str | None = None
    batch_size: int = 32
    max_waiting: int = 1024
    max_waiting_per_client: int = 64
    limits: Limits = field(default_factory=Limits)
    max_connections: int = 512
    max_connections_per_address: int = 128
    deadline_seconds: float = 600.0
    engine_seconds: float = 120.0
    lanes: int = 1
    outer_hosts: tuple[str, ...] = ()
    tls: ssl.SSLContext | None = None
    warm_up: bool = False
    log_requests: bool = False
    images: PaintOptions | None = None


def listen(options: ServerOptions) -> list[socket.socket]:
    """Take the address, before anything that takes long.

    Raises:
        OSError: it cannot be listened on.
    """
    if options.host not in ("127.0.0.1", "localhost"):
        return _listen(options.host, options.port)
    (first,) = _listen("127.0.0.1", options.port)
    sockets = [first]
    if socket.has_ipv6:
        try:
            sockets += _listen("::1", first.getsockname()[1])
        except OSError as error:
            if error.errno == errno.EADDRINUSE and options.port:
                # Somebody else would answer to ws://localhost.
                first.close()
                raise
            log.info("not listening on ::1: %s", error)
    return sockets


def _listen(host: str, port: int) -> list[socket.socket]:
    infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, address = infos[0]
    dual = family == socket.AF_INET6 and host == "::" and socket.has_dualstack_ipv6()
    return [socket.create_server(address[:2], family=family, dualstack_ipv6=dual, backlog=256)]


class PoseServer:
    """A server on an engine; an async context manager that listens while it is open.

    Raises:
        AccessError: when created without a token for other machines to reach, or with a bad one.
        OSError: on entering, when the address cannot be listened on.
    """

    def __init__(
        self,
        engine: Answerer,
        options: ServerOptions,
        *,
        sockets: list[socket.socket] | None = None,
        reload: Callable[[], Answerer] | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        """Offer ``engine``.

        Args:
            engine: what answers.
            options: how to offer it.
            sockets: what listen() took; None takes it on entering.
            reload: makes another engine when this one is lost; None goes on with this one.
            metrics: what counts; None counts where Prometheus's library is installed.
        """
        check_options(options.host, options.token)
        self._options = options
        self._sockets = sockets
        self._metrics = metrics or new_metrics()
        self._scheduler = Scheduler(
            engine,
            SchedulerOptions(
                options.batch_size,
                options.max_waiting,
                options.max_waiting_per_client,
                options.deadline_seconds,
                options.engine_seconds,
                options.lanes,
                options.limits.max_text_chars,
            ),
            self._metrics,
            reload,
        )
        self._door = Door(options.max_connections, options.max_connections_per_address)
        tasks = tuple(engine.tasks)
        self._painter = None if options.images is None else Painter(options.images, self._scheduler, tasks)
        self._context = ServerContext(
            engine.name,
            tasks if self._painter is None else (*tasks, *self._painter.tasks),
            options.limits,
            options.token,
            self._scheduler,
            self._painter,
            Sandbox(),
            self._door,
            self._metrics,
            options.log_requests,
        )
        self._sessions: set[ClientSession] = set()
        self._servers: list[Server] = []
        self._looking: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """ws://host:port as clients address it, this machine by name if all its addresses are listened on; only while
        listening."""
        host, port = self._servers[0].sockets[0].getsockname()[:2]
        if ipaddress.ip_address(host).is_unspecified:
            host = socket.gethostname()
        scheme = "ws" if self._options.tls is None else "wss"
        return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

    async def __aenter__(self) -> PoseServer:
        options = self._options
        longest = max(Wire(name, options.limits).max_bytes for name in SUBPROTOCOLS)
        sockets, self._sockets = self._sockets or listen(options), None
        for listening in sockets:
            server = await serve(
                self._handle,
                sock=listening,
                ssl=options.tls,
                origins=[None],
                process_request=self._let_in,
                subprotocols=_SPOKEN,
                # A client that offers no subprotocol is told so in words, by ClientSession.
                select_subprotocol=lambda _, offered: next((s for s in _SPOKEN if s in offered), None),
                compression=None,
                max_size=longest,
                max_queue=2,
                ping_interval=PING_INTERVAL,
                ping_timeout=PING_TIMEOUT,
                close_timeout=CLOSE_SECONDS,
                create_connection=cast(Any, partial(GuardedConnection, door=self._door)),
            )
            self._servers.append(server)
        self._scheduler.start(warm_up=options.warm_up)
        if self._painter is not None:
            self._painter.start()
        self._looking = asyncio.create_task(self._look_after())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._looking is not None
        self._looking.cancel()
        self._scheduler.stop()
        if self._painter is not None:
            await self._painter.stop()
        await self._context.sandbox.stop()
        for server in self._servers:
            server.close(reason="the backend is shutting down")
        closed = asyncio.gather(*(server.wait_closed() for server in self._servers))
        await asyncio.wait({closed}, timeout=CLOSE_SECONDS)
        for connection in self._door.connections:  # those that do not read would be waited for without end
            connection.transport.abort()
        await closed
        await asyncio.to_thread(self._scheduler.join, 1.0)

    async def drain(self) -> None:
        """Refuse new and waiting requests and let the running ones finish, for at most DRAIN_SECONDS."""
        self._scheduler.drain()
        if self._painter is not None:
            self._painter.drain()
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                await asyncio.gather(*(session.finish() for session in self._sessions))
        except TimeoutError:
            log.warning("a request still ran after %g s and was given up", DRAIN_SECONDS)

    def _let_in(self, connection: ServerConnection, request: Request) -> Response | None:
        """None for who may open a websocket; everyone else gets a page."""
        assert isinstance(connection, GuardedConnection)
        options = self._options
        if foreign_host(request, options.host, options.outer_hosts):
            return refusal(
                HTTPStatus.FORBIDDEN,
                "This backend answers on loopback only; address it as 127.0.0.1, or name the host that a proxy in "
                "front of it has with --outer-host.",
            )
        sentence = self._door.refusal(connection, address_of(connection, request, options.outer_hosts))
        if sentence is not None:
            self._metrics.refused("busy")
            return refusal(HTTPStatus.SERVICE_UNAVAILABLE, sentence)
        return page(request, self._scheduler.readiness(), self._metrics, options.token)

    async def _handle(self, websocket: ServerConnection) -> None:
        assert isinstance(websocket, GuardedConnection)
        session = ClientSession(websocket, self._context)
        self._sessions.add(session)
        try:
            await session.run()
        finally:
            self._sessions.discard(session)

    async def _look_after(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self._scheduler.look_after()
            if self._scheduler.has_come_to_rest():
                await asyncio.to_thread(give_back)


async def run_until_signal(
    engine: Answerer,
    options: ServerOptions,
    on_listening: Callable[[str], None],
    *,
    sockets: list[socket.socket] | None = None,
    reload: Callable[[], Answerer] | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM, then drain and stop; a second signal stops without draining.

    Args:
        engine: what answers.
        options: how to offer it.
        on_listening: called with the URL once clients can connect.
        sockets: as PoseServer takes them.
        reload: as PoseServer takes it.
    """
    loop = asyncio.get_running_loop()
    first, second = asyncio.Event(), asyncio.Event()

    def on_signal(*_: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has closed: it is over anyway
            loop.call_soon_threadsafe((second if first.is_set() else first).set)

    # signal.signal rather than loop.add_signal_handler, which Windows lacks.
    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        async with PoseServer(engine, options, sockets=sockets, reload=reload) as server:
            on_listening(server.url)
            await first.wait()
            drained, hurried = asyncio.create_task(server.drain()), asyncio.create_task(second.wait())
            await asyncio.wait({drained, hurried}, return_when=asyncio.FIRST_COMPLETED)
            drained.cancel()
            hurried.cancel()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
