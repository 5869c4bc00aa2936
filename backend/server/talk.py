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
from blender_addon.contract import codec
from blender_addon.contract.messages import (
    PROTOCOL_VERSION,
    SUBPROTOCOL,
    Cancel,
    ErrorMessage,
    Hello,
    Limits,
    ProtocolError,
    Request,
    Welcome,
    check_request,
)

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
        self._welcome = Welcome(model, tuple(tasks), limits)
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
            if self._websocket.subprotocol != SUBPROTOCOL:
                raise ProtocolError(
                    "wrong_version", f"This backend speaks the subprotocol {SUBPROTOCOL} only."
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
        await self._websocket.send(codec.encode(self._welcome))
        return True

    def _check_hello(self, data: str | bytes) -> None:
        hello = codec.decode(data, Limits(max_message_bytes=GREETING_BYTES))
        if not isinstance(hello, Hello):
            raise ProtocolError("unauthorized", "The first message must be a hello with the token.")
        if hello.version != PROTOCOL_VERSION:
            raise ProtocolError(
                "wrong_version",
                f"The client speaks version {hello.version} of the protocol, this backend version "
                f"{PROTOCOL_VERSION}; update the older one.",
            )
        if not token_matches(hello.token, self._token):
            raise ProtocolError(
                "unauthorized", "The token is wrong; copy the one that posellava serve printed at its start."
            )

    async def _receive(self, data: str | bytes) -> None:
        try:
            message = codec.decode(data, self._welcome.limits)
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
                await self._websocket.send(codec.encode(job.progress()))
            while not job.finished:
                await job.changed.wait()
                job.changed.clear()
                if not job.finished:
                    await self._websocket.send(codec.encode(job.progress()))
            if job.error is not None:
                await self._send_error(job.error)
            else:
                await self._websocket.send(codec.encode(job.result()))
        except ConnectionClosed:
            pass  # run() notices too and cancels the rest
        finally:
            del self._jobs[job.request.id]

    async def _send_error(self, error: ProtocolError) -> None:
        await self._websocket.send(codec.encode(ErrorMessage(error.code, error.sentence, error.request_id)))
