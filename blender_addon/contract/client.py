# SPDX-License-Identifier: GPL-3.0-or-later
"""The conversation with a backend, from the client's side: the one client that everything else is made of.

The add-on's session, ``posellava batch --server`` and scripts use it::

    async with await Client.open(Address.parse("ws://127.0.0.1:8765", token="…")) as client:
        result = await client.ask(Request(new_request_id(), "adjust", "raise the left arm", poses))

Any number of requests may be asked at a time; each is answered by itself. Cancelling the task that asks tells the
backend to stop. There is no trying again in here: a connection that is over stays over (session/ opens another).
Scripts that would rather wait than await use ``blender_addon.session.Connection``.

Imports asyncio and websockets, which takes longer than a frame of Blender's window may: import it on another thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from types import TracebackType
from typing import Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.typing import Subprotocol

from .address import Address
from .messages import (
    Cancel,
    ErrorMessage,
    Hello,
    Message,
    Progress,
    ProtocolError,
    Request,
    Result,
    Welcome,
    check_request,
)
from .wire import SUBPROTOCOLS, Wire, fragments

OPEN_SECONDS: float = 5.0
"""How long an address that does not answer is waited for: a user who mistyped it wants to know."""
HANDSHAKE_SECONDS: Final = 10.0
PING_SECONDS: Final = 20.0
PONG_SECONDS: Final = 180.0
"""How long a silent backend counts as there. Long, because the silence may be this side's: Blender can hold Python for
minutes while it loads or renders, and an answer that came meanwhile is still to be read."""
MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024

_TRANSIENT_CODES: Final = ("busy", "shutting_down")
"""Codes of a refused Hello after which trying again makes sense."""
_OTHER_NAME: Final = (62, 64)
_OUT_OF_DATE: Final = (9, 10)
"""OpenSSL's X509_V_ERR_… codes: for another host name or IP address; not valid yet or any more."""


class OpeningError(ProtocolError):
    """No conversation with the backend could be opened.

    Attributes:
        final: whether trying again cannot help: the backend said no, or address or certificate are wrong.
    """

    def __init__(self, sentence: str, *, final: bool) -> None:
        super().__init__("no_backend", sentence)
        self.final = final


class _Asked:
    """A request that waits for its answer."""

    def __init__(self, request: Request, on_progress: Callable[[Progress], None] | None) -> None:
        self.request = request
        self.on_progress = on_progress
        self.answer: asyncio.Future[Result] = asyncio.get_running_loop().create_future()

    def fail(self, error: ProtocolError) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class Client:
    """An open conversation; leave its ``async with``, or call close(), to end it.

    Attributes:
        welcome: what the backend said of itself: its model, tasks and limits.
    """

    def __init__(self, websocket: ClientConnection, wire: Wire, welcome: Welcome, url: str) -> None:
        """For Client.open()."""
        self.welcome = welcome
        self._websocket = websocket
        self._wire = wire
        self._url = url
        self._asked: dict[str, _Asked] = {}
        self._outbox: asyncio.Queue[_Asked | Cancel] = asyncio.Queue()
        self._over = f"The backend at {url} closed the connection."
        self._work = asyncio.create_task(self._converse())

    @classmethod
    async def open(cls, address: Address) -> Client:
        """Connect, present the token, and read the backend's welcome.

        Raises:
            OpeningError: nobody answers, or not as a backend that takes this client; the sentence says what to do.
        """
        try:
            websocket = await connect(
                address.url,
                subprotocols=[Subprotocol(name) for name in SUBPROTOCOLS],
                proxy=None,  # the backend is on this machine or on the animator's own network
                compression=None,  # poses and PNG hardly shrink, and zlib costs more than loopback saves
                open_timeout=OPEN_SECONDS,
                close_timeout=1.0,
                ping_interval=PING_SECONDS,
                ping_timeout=PONG_SECONDS,
                max_size=MAX_ANSWER_BYTES,
            )
        except (OSError, InvalidHandshake, ConnectionClosed) as error:
            raise OpeningError(_explain(error, address.url), final=_is_final(error)) from None
        try:
            wire, welcome = await _shake_hands(websocket, address.token)
        except (OSError, ConnectionClosed) as error:
            raise OpeningError(_explain(error, address.url), final=False) from None
        except BaseException:
            await websocket.close()
            raise
        return cls(websocket, wire, welcome, address.url)

    async def ask(self, request: Request, *, on_progress: Callable[[Progress], None] | None = None) -> Result:
        """Ask, and wait for the answer. When this is cancelled the backend is told to stop.

        Args:
            request: what to ask; its id must be none of the requests that run. Its arrays must not change meanwhile.
            on_progress: called with every Progress of the request.

        Raises:
            ProtocolError: what went wrong, with a sentence for the user; ``connection_lost`` when the conversation
                ended before the answer.
        """
        check_request(request, self.welcome.limits, self.welcome.tasks)
        if request.id in self._asked:
            raise ProtocolError("bad_message", f"Request {request.id} still runs; give each its own id.")
        if self._work.done():
            raise ProtocolError("connection_lost", self._over, request.id)
        asked = self._asked[request.id] = _Asked(request, on_progress)
        self._outbox.put_nowait(asked)
        try:
            return await asked.answer
        except asyncio.CancelledError:
            self._outbox.put_nowait(Cancel(request.id))
            raise
        finally:
            del self._asked[request.id]

    async def wait_closed(self) -> str:
        """Wait until the conversation has ended; returns the sentence that says why."""
        await asyncio.wait([self._work])
        return self._over

    async def close(self) -> None:
        """End the conversation; requests that run fail with ``connection_lost``."""
        self._work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._work

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _converse(self) -> None:
        """Send and receive until the connection ends, then fail whatever still waits."""
        tasks = {asyncio.create_task(self._send_all()), asyncio.create_task(self._receive_all())}
        try:
            finished, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in finished:
                task.result()
            if self._websocket.close_reason:
                self._over = f"{self._over.rstrip('.')} ({self._websocket.close_reason})."
        except ConnectionClosed as error:
            self._over = _explain(error, self._url)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for asked in self._asked.values():
                asked.fail(ProtocolError("connection_lost", self._over, asked.request.id))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2.0):
                    await self._websocket.close()

    async def _send_all(self) -> None:
        while True:
            item = await self._outbox.get()
            if isinstance(item, Cancel):
                await self._send(item)
                continue
            if item.answer.done():  # cancelled before its turn
                continue
            try:
                await self._send(item.request)
            except ProtocolError as error:
                item.fail(ProtocolError(error.code, error.sentence, item.request.id))

    async def _send(self, message: Message) -> None:
        frames = self._wire.write(message)
        longest = max(map(len, frames))
        if longest > self._wire.max_bytes:
            raise ProtocolError(
                "too_large",
                f"The request takes {longest} bytes, the backend {self._wire.max_bytes}; "
                "send fewer frames or a smaller image.",
            )
        for frame in frames:
            pieces = fragments(frame)
            await self._websocket.send(pieces[0] if len(pieces) == 1 else pieces)

    async def _receive_all(self) -> None:
        async for data in self._websocket:
            try:
                message = self._wire.read(data)
            except ProtocolError as error:
                message = ErrorMessage(error.code, error.sentence, error.request_id)
            if message is not None:
                self._deliver(message)

    def _deliver(self, message: Message) -> None:
        """Hand a message to the request it belongs to; one that nobody waits for is dropped."""
        asked = self._asked.get(getattr(message, "id", None) or "")
        if asked is None or asked.answer.done():
            return
        if isinstance(message, Progress):
            if asked.on_progress is not None:
                asked.on_progress(message)
        elif isinstance(message, Result):
            asked.answer.set_result(message)
        elif isinstance(message, ErrorMessage):
            asked.fail(ProtocolError(message.code, message.message, message.id))


async def _shake_hands(websocket: ClientConnection, token: str) -> tuple[Wire, Welcome]:
    if websocket.subprotocol is None:
        raise OpeningError(
            f"What answers there speaks neither {' nor '.join(SUBPROTOCOLS)}; check the address.", final=True
        )
    wire = Wire(websocket.subprotocol)
    try:
        (hello,) = wire.write(Hello(token, wire.version))
        await websocket.send(hello)
        async with asyncio.timeout(HANDSHAKE_SECONDS):
            reply = wire.read(await websocket.recv())
    except ProtocolError as error:
        raise OpeningError(f"The backend's greeting cannot be read: {error.sentence}", final=True) from None
    if isinstance(reply, ErrorMessage):
        raise OpeningError(reply.message, final=reply.code not in _TRANSIENT_CODES)
    if not isinstance(reply, Welcome):
        raise OpeningError(
            "The backend did not greet as expected; check that both are the same version.", final=True
        )
    if reply.version != wire.version:
        raise OpeningError(
            f"The backend speaks version {reply.version} of the protocol, this client version {wire.version}; "
            "update the older one.",
            final=True,
        )
    wire.limits = reply.limits
    return wire, reply


def _is_final(error: Exception) -> bool:
    if isinstance(error, InvalidStatus):
        return 400 <= error.response.status_code < 500
    if isinstance(error, InvalidHandshake):  # no websocket server at all
        return not _broke_off(error)
    return isinstance(error, ssl.SSLCertVerificationError)


def _broke_off(error: Exception) -> bool:
    """Whether the handshake ended in the middle, as when a backend is just being stopped."""
    return isinstance(error, InvalidHandshake) and isinstance(error.__cause__, (EOFError, OSError))


def _explain(error: Exception, url: str) -> str:
    if isinstance(error, ConnectionClosed):
        reason = f" ({error.rcvd.reason})" if error.rcvd and error.rcvd.reason else ""
        return f"The connection to the backend at {url} broke{reason}."
    if isinstance(error, InvalidStatus):
        if error.response.status_code in (403, 503):  # the backend's own refusals explain themselves
            said = (error.response.body or b"").decode("utf-8", "replace").strip()[:200]
            return f"{url} refused: {said or f'HTTP status {error.response.status_code}'}"
        return f"What answers at {url} (HTTP status {error.response.status_code}) is no PoseLLaVA backend."
    if _broke_off(error):
        return (
            f"The connection to {url} broke before anything was said; try again, and check the address (a backend with "
            "TLS needs wss://)."
        )
    if isinstance(error, InvalidHandshake):
        return f"What answers at {url} is no PoseLLaVA backend; check the address."
    if isinstance(error, ssl.SSLCertVerificationError):
        return _explain_certificate(error, url)
    if url.startswith("wss:") and isinstance(error, (ssl.SSLError, ConnectionResetError)):
        return (
            f"No secure connection to {url}; if the backend does without TLS, write ws:// instead of wss://."
        )
    if isinstance(error, socket.gaierror):
        return f"The host name in {url} cannot be found; check the address."
    if isinstance(error, TimeoutError):
        return f"Nothing answers at {url} in time; check the address and the firewall."
    return f"No backend answers at {url}; start one with: posellava serve."


def _explain_certificate(error: ssl.SSLCertVerificationError, url: str) -> str:
    if error.verify_code in _OTHER_NAME:
        advice = "put the name that the certificate was made for into the address"
    elif error.verify_code in _OUT_OF_DATE:
        advice = "renew it, and check this computer's clock"
    else:
        advice = (
            "if it is your own, start Blender with the environment variable SSL_CERT_FILE set to a PEM file of it "
            "or of the authority that signed it"
        )
    return f"The certificate of {url} cannot be trusted ({error.verify_message.rstrip('.')}); {advice}."
