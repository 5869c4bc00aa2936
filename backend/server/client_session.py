# SPDX-License-Identifier: Apache-2.0
"""A client's session: its greeting, its requests, their answers.

A message that cannot be accepted is answered by one error message, and the connection lives on; only a refused
greeting ends it. Messages are dealt with one after the other, pictures decoded before the next is read, so that what a
client sends ahead stays in its own machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode

from blender_addon.contract.messages import (
    PAINTED_TASKS,
    Cancel,
    ErrorMessage,
    Hello,
    Limits,
    Message,
    ProtocolError,
    Request,
    Welcome,
    check_request,
)
from blender_addon.contract.wire import SUBPROTOCOLS, Wire, fragments

from .access import token_matches
from .door import GUESS_SECONDS, Door, GuardedConnection
from .jobs import Job
from .metrics import Metrics
from .painter import Painter, PaintJob
from .sandbox import Sandbox
from .scheduler import Scheduler, reason_of

if TYPE_CHECKING:
    from PIL.Image import Image

log = logging.getLogger(__name__)
access_log = logging.getLogger("posellava.access")

HELLO_SECONDS: Final = 10.0
HELLO_BYTES: Final = 4096
SEND_SECONDS: Final = 180.0
"""How long a client may take to read an answer: Blender may hold its Python for minutes while it loads or renders."""
UNREAD_SECONDS: Final = 2.0
"""How long a stop waits for a client that takes nothing of an answer that is there."""
INLINE_CHARS: Final = 256 * 1024
"""The longest text of v1 that is read on the event loop: some milliseconds."""


@dataclass(frozen=True)
class ServerContext:
    """What the sessions of all clients share.

    Attributes:
        model: the engine's name.
        tasks: what it does, and what is painted.
        limits: what a request may hold.
        token: what clients must present; None lets everyone in.
        scheduler: what answers.
        painter: what paints pictures; None where there is no pipeline for them.
        sandbox: what reads large things.
        door: where clients come in.
        metrics: what counts.
        log_requests: whether instructions may be logged.
    """

    model: str
    tasks: tuple[str, ...]
    limits: Limits
    token: str | None
    scheduler: Scheduler
    painter: Painter | None
    sandbox: Sandbox
    door: Door
    metrics: Metrics
    log_requests: bool


class ClientSession:
    """One client's. ``run`` returns when the connection has ended, for whatever reason."""

    def __init__(self, websocket: GuardedConnection, context: ServerContext) -> None:
        self._websocket = websocket
        self._context = context
        self._wire = Wire(websocket.subprotocol or SUBPROTOCOLS[-1])
        self._client = context.scheduler.join_client()
        self._jobs: dict[str, Job | PaintJob] = {}
        self._answers: set[asyncio.Task[None]] = set()
        self._sending = asyncio.Lock()
        self._cut_off = False
        self._pieces_sent = 0
        self._began = time.monotonic()
        self._counts = {"requests": 0, "answered": 0, "refused": 0}

    async def run(self) -> None:
        """Converse until the client or the backend ends it; cancels what the client no longer waits for."""
        context, greeted = self._context, False
        context.metrics.connected(1)
        try:
            greeted = await self._greet()
            if greeted:
                async for data in self._websocket:
                    await self._receive(data)
                    self._websocket.settled()
                    await asyncio.sleep(0)  # a client that never pauses must not hold up the others
        except ConnectionClosed as closed:
            log.debug("connection lost: %s", closed)
        finally:
            for job in list(self._jobs.values()):
                self._cancel(job)
            await asyncio.gather(*self._answers)
            context.scheduler.leave(self._client)
            context.metrics.connected(-1)
            access_log.info(
                "connection closed",
                extra={
                    "peer": self._websocket.address,
                    "subprotocol": self._wire.subprotocol,
                    "greeted": greeted,
                    "seconds": round(time.monotonic() - self._began, 3),
                    "received_bytes": self._websocket.received,
                    **self._counts,
                    "code": self._websocket.close_code,
                },
            )

    async def finish(self) -> None:
        """Wait until every request of this client has been answered, or its answers lie there and it takes nothing."""
        while self._answers:
            sent = self._pieces_sent
            await asyncio.wait(self._answers, timeout=UNREAD_SECONDS)
            if sent == self._pieces_sent and all(job.finished for job in self._jobs.values()):
                return

    async def _greet(self) -> bool:
        try:
            if self._websocket.subprotocol is None:
                raise ProtocolError(
                    "wrong_version", f"This backend speaks {' and '.join(SUBPROTOCOLS)} only."
                )
            await self._check_hello(await self._first_message())
        except ProtocolError as error:
            await self._send_error(error)
            await self._websocket.close(CloseCode.POLICY_VIOLATION, error.code)
            return False
        context = self._context
        self._wire.limits = context.limits
        maps = () if context.painter is None else context.painter.kinds
        await self._send(Welcome(context.model, context.tasks, context.limits, self._wire.version, maps))
        context.door.welcome(self._websocket)
        return True

    async def _first_message(self) -> str | bytes:
        """The first message, which may be waited for so long and be so large."""
        first = asyncio.ensure_future(self._websocket.recv())
        waiting: set[asyncio.Future[Any]] = {first, self._websocket.overfull}
        try:
            await asyncio.wait(
                waiting,
                timeout=HELLO_SECONDS,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if not first.done() and not self._websocket.overfull.done():
                raise ProtocolError("unauthorized", "No hello came; the first message must be one.")
            if not first.done() or len(first.result()) > HELLO_BYTES:
                raise ProtocolError(
                    "too_large", f"The first message must be a hello of at most {HELLO_BYTES} bytes."
                )
            return first.result()
        finally:
            if not first.done():
                first.cancel()

    async def _check_hello(self, data: str | bytes) -> None:
        hello = self._wire.read(data)
        if not isinstance(hello, Hello):
            raise ProtocolError("unauthorized", "The first message must be a hello with the token.")
        if hello.version != self._wire.version:
            raise ProtocolError(
                "wrong_version",
                f"The client's hello is of version {hello.version}, on {self._wire.subprotocol}; "
                "update the client.",
            )
        if not token_matches(hello.token, self._context.token):
            self._context.door.log_guess(self._websocket)
            await asyncio.sleep(GUESS_SECONDS)
            raise ProtocolError(
                "unauthorized", "The token is wrong; copy the one that posellava serve printed at its start."
            )

    async def _receive(self, data: str | bytes) -> None:
        try:
            if len(data) > INLINE_CHARS and isinstance(data, str) and self._wire.version == 1:
                message: Message | None = await self._context.sandbox.message(
                    self, data, self._context.limits
                )
            else:
                message = self._wire.read(data)
            if isinstance(message, Request):
                await self._accept(message)
            elif isinstance(message, Cancel):
                if message.id in self._jobs:
                    self._cancel(self._jobs[message.id])
            elif message is not None:
                raise ProtocolError(
                    "unknown_type",
                    f"A {type(message).__name__.lower()} is not expected here; send a request or cancel.",
                )
        except ProtocolError as error:
            await self._send_error(error)

    async def _accept(self, request: Request) -> None:
        context = self._context
        check_request(request, context.limits, context.tasks)
        if request.id in self._jobs:
            # Without the id: an error that carries it would end the request that runs.
            raise ProtocolError(
                "bad_message", f"Request {request.id} is still running; give each its own id."
            )
        image = None
        if request.image_png is not None:
            image = await context.sandbox.picture(self, request.image_png, context.limits, request.id)
        # It may wait long: pictures as they came, 16 MB that nobody looks at again, do not wait with it.
        if request.task in PAINTED_TASKS:
            job: Job | PaintJob = await self._submit_painting(request, image)
        else:
            job = context.scheduler.submit(
                self._client, replace(request, image_png=None, painting=None), image
            )
        self._counts["requests"] += 1
        if context.log_requests:
            log.info(
                "request",
                extra={
                    "peer": self._websocket.address,
                    "task": request.task,
                    "poses": len(request.poses),
                    "instruction": request.instruction,
                },
            )
        self._jobs[request.id] = job
        task = asyncio.create_task(self._answer(job))
        self._answers.add(task)
        task.add_done_callback(self._answers.discard)

    async def _submit_painting(self, request: Request, image: Image | None) -> PaintJob:
        context = self._context
        assert context.painter is not None
        assert request.painting is not None
        maps = {
            kind: await context.sandbox.picture(self, data, context.limits, request.id)
            for kind, data in request.painting.maps.items()
        }
        bare = replace(request, image_png=None, painting=replace(request.painting, maps={}))
        return context.painter.submit(self._client, bare, image, maps)

    def _cancel(self, job: Job | PaintJob) -> None:
        if isinstance(job, Job):
            self._context.scheduler.cancel(job)
        else:
            assert self._context.painter is not None
            self._context.painter.cancel(job)

    async def _answer(self, job: Job | PaintJob) -> None:
        """Send progress whenever it changed, in the end the result or the error."""
        context, identity = self._context, job.request.id
        try:
            if job.ahead:
                await self._send(job.progress())
            while not job.finished:
                await job.changed.wait()
                job.changed.clear()
                if not job.finished:
                    await self._send(job.progress())
            if job.error is not None:
                await self._send_error(job.error)
            else:
                await self._send(job.result())
                self._counts["answered"] += 1
                context.metrics.answered(job.request.task, time.monotonic() - job.submitted)
        except ConnectionClosed:
            pass  # run() notices too and cancels the rest
        except Exception as error:
            log.exception("the answer to request %s could not be sent", identity)
            with contextlib.suppress(ConnectionClosed):
                await self._send_error(
                    ProtocolError(
                        "engine_failed", f"The answer could not be sent ({reason_of(error)}).", identity
                    )
                )
        finally:
            if isinstance(job, Job):
                context.scheduler.release(job)
            del self._jobs[identity]

    async def _send_error(self, error: ProtocolError) -> None:
        self._counts["refused"] += 1
        self._context.metrics.refused(error.code)
        await self._send(ErrorMessage(error.code, error.sentence, error.request_id))

    async def _send(self, message: Message) -> None:
        frames = self._wire.write(message)
        try:
            async with asyncio.timeout(SEND_SECONDS), self._sending:
                if self._cut_off:  # perhaps in the middle of a message: nothing can follow it
                    return
                for frame in frames:
                    pieces = fragments(frame)
                    await self._websocket.send(pieces[0] if len(pieces) == 1 else self._counted(pieces))
                    self._pieces_sent += 1
        except TimeoutError:
            self._cut_off = True
            log.warning("%s read nothing for %g s; cut off", self._websocket.address, SEND_SECONDS)
            self._websocket.transport.abort()

    async def _counted(self, pieces: Sequence[str] | Sequence[bytes]) -> AsyncIterator[str | bytes]:
        """Each is asked for when the one before is on its way. The last one _send counts."""
        for piece in pieces:
            yield piece
            self._pieces_sent += 1
