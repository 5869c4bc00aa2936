# SPDX-License-Identifier: Apache-2.0
"""The conversation with one client: its greeting, its requests, their answers.

A message that cannot be accepted is answered by one error message, and the connection lives on; only a refused
greeting ends it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode

from backend.images import check_png
from blender_addon.contract.messages import (
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
from .scheduler import Job, Scheduler

log = logging.getLogger(__name__)

HELLO_SECONDS: Final = 10.0
GREETING_BYTES: Final = 4096


class Talk:
    """One client. ``run`` returns when the connection has ended, for whatever reason."""

    def __init__(
        self,
        websocket: ServerConnection,
        scheduler: Scheduler,
        *,
        model: str,
        tasks: Sequence[str],
        limits: Limits,
        token: str | None,
    ) -> None:
        self._websocket = websocket
        self._scheduler = scheduler
        self._wire = Wire(websocket.subprotocol or SUBPROTOCOLS[-1], Limits(max_message_bytes=GREETING_BYTES))
        self._welcome = Welcome(model, tuple(tasks), limits, self._wire.version)
        self._sending = asyncio.Lock()
        self._token = token
        self._jobs: dict[str, Job] = {}
        self._answers: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Talk until the client or the backend ends it; cancels what the client no longer waits for."""
        try:
            if await self._greet():
                async for data in self._websocket:
                    await self._receive(data)
        except ConnectionClosed as closed:
            log.info("connection lost: %s", closed)
        finally:
            for job in list(self._jobs.values()):
                self._scheduler.cancel(job)
            await asyncio.gather(*self._answers)

    async def finish(self) -> None:
        """Wait until every request of this client has been answered."""
        while self._answers:
            await asyncio.wait(self._answers)

    async def _greet(self) -> bool:
        try:
            if self._websocket.subprotocol is None:
                raise ProtocolError(
                    "wrong_version", f"This backend speaks {' and '.join(SUBPROTOCOLS)} only."
                )
            try:
                hello = await asyncio.wait_for(self._websocket.recv(), HELLO_SECONDS)
            except TimeoutError:
                raise ProtocolError("unauthorized", "No hello came; the first message must be one.") from None
            self._check_hello(hello)
        except ProtocolError as error:
            await self._send_error(error)
            await self._websocket.close(CloseCode.POLICY_VIOLATION, error.code)
            return False
        await self._send(self._welcome)
        self._wire.limits = self._welcome.limits
        return True

    def _check_hello(self, data: str | bytes) -> None:
        if len(data) > GREETING_BYTES:
            raise ProtocolError(
                "too_large", f"The first message must be a hello of at most {GREETING_BYTES} bytes."
            )
        hello = self._wire.read(data)
        if not isinstance(hello, Hello):
            raise ProtocolError("unauthorized", "The first message must be a hello with the token.")
        if hello.version != self._wire.version:
            raise ProtocolError(
                "wrong_version",
                f"The client's hello is of version {hello.version}, on {self._wire.subprotocol}; update the client.",
            )
        if not token_matches(hello.token, self._token):
            raise ProtocolError(
                "unauthorized", "The token is wrong; copy the one that posellava serve printed at its start."
            )

    async def _receive(self, data: str | bytes) -> None:
        try:
            message = self._wire.read(data)
            if message is None:
                return
            if isinstance(message, Request):
                self._accept(message)
            elif isinstance(message, Cancel):
                if message.id in self._jobs:
                    self._scheduler.cancel(self._jobs[message.id])
            else:
                raise ProtocolError(
                    "unknown_type",
                    f"A {type(message).__name__.lower()} is not expected here; send a request or cancel.",
                )
        except ProtocolError as error:
            await self._send_error(error)

    def _accept(self, request: Request) -> None:
        check_request(request, self._welcome.limits, self._welcome.tasks)
        if request.image_png is not None:
            check_png(request.image_png, self._welcome.limits, request.id)
        if request.id in self._jobs:
            # Without the id: an error that carries it would end the request that runs.
            raise ProtocolError(
                "bad_message", f"Request {request.id} is still running; give each its own id."
            )
        job = self._scheduler.submit(request)
        self._jobs[request.id] = job
        task = asyncio.create_task(self._answer(job))
        self._answers.add(task)
        task.add_done_callback(self._answers.discard)

    async def _answer(self, job: Job) -> None:
        """Send progress whenever it changed, in the end the result or the error."""
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
        except ConnectionClosed:
            pass  # run() notices too and cancels the rest
        finally:
            del self._jobs[job.request.id]

    async def _send_error(self, error: ProtocolError) -> None:
        await self._send(ErrorMessage(error.code, error.sentence, error.request_id))

    async def _send(self, message: Message) -> None:
        async with self._sending:
            for frame in self._wire.write(message):
                pieces = fragments(frame)
                await self._websocket.send(pieces[0] if len(pieces) == 1 else pieces)
