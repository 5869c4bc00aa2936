# SPDX-License-Identifier: GPL-3.0-or-later
"""The conversation with the backend: connect, say hello, send and receive, and try again when it breaks."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from functools import partial
from typing import Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.typing import Subprotocol

from ..contract import codec
from ..contract.messages import (
    PROTOCOL_VERSION,
    SUBPROTOCOL,
    Cancel,
    ErrorMessage,
    Hello,
    ProtocolError,
    Welcome,
    check_request,
)
from .events import Handle, State, Status
from .link import Link

RETRY_SECONDS: Final = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Pauses between attempts; the last one repeats."""
HANDSHAKE_SECONDS: Final = 10.0
MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024

_TRANSIENT_CODES: Final = ("busy", "shutting_down")
"""Codes of a refused Hello after which trying again makes sense."""

_OTHER_NAME: Final = (62, 64)
_OUT_OF_DATE: Final = (9, 10)
"""OpenSSL's X509_V_ERR_… codes: for another host name or IP address; not valid yet or any more."""


class _RefusedError(Exception):
    """The backend will not take this client as it is; carries the sentence."""


class _NotYetError(Exception):
    """The backend cannot take this client now; carries the sentence."""


def run(link: Link) -> None:
    """Keep ``link`` connected until it is stopped or the backend refuses it."""
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(_run(link))


async def _run(link: Link) -> None:
    loop, task, wake = asyncio.get_running_loop(), asyncio.current_task(), asyncio.Event()
    assert task is not None
    link.attach(partial(loop.call_soon_threadsafe, wake.set), partial(loop.call_soon_threadsafe, task.cancel))
    failures = 0
    while not link.stopping:
        opened = False
        try:
            async with _open(link.address.url) as websocket:
                welcome = await _shake_hands(websocket, link.address.token)
                opened, failures = True, 0
                link.set_status(Status(State.CONNECTED, f"Connected to {welcome.model}.", welcome))
                await _exchange(websocket, link, welcome, wake)
            sentence = f"The backend at {link.address.url} closed the connection."
        except (OSError, InvalidHandshake, ConnectionClosed, _NotYetError, _RefusedError) as error:
            sentence = _explain(error, link.address.url)
            if _is_fatal(error):
                link.end(Status(State.FAILED, sentence), sentence)
                return
        if opened:
            link.fail_all("connection_lost", f"{sentence} Nothing was changed; try again when it is back.")
        else:
            link.fail_all("no_backend", sentence)
        pause = RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)]
        failures += 1
        link.set_status(Status(State.CONNECTING, f"{sentence} Trying again in {pause:g} s."))
        wake.clear()
        if not link.has_work:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(wake.wait(), pause)


def _open(url: str) -> connect:
    return connect(
        url,
        subprotocols=[Subprotocol(SUBPROTOCOL)],
        proxy=None,  # the backend is on this machine or on the animator's own network
        compression=None,  # poses and PNG hardly shrink, and zlib costs more than loopback saves
        open_timeout=HANDSHAKE_SECONDS,
        close_timeout=1.0,
        max_size=MAX_ANSWER_BYTES,
    )


async def _shake_hands(websocket: ClientConnection, token: str) -> Welcome:
    if websocket.subprotocol != SUBPROTOCOL:
        raise _RefusedError(f"What answers there does not speak {SUBPROTOCOL}; check the address.")
    await websocket.send(codec.encode(Hello(token)))
    try:
        reply = codec.decode(await asyncio.wait_for(websocket.recv(), HANDSHAKE_SECONDS))
    except ProtocolError as error:
        raise _RefusedError(f"The backend's greeting cannot be read: {error.sentence}") from None
    if isinstance(reply, ErrorMessage):
        raise (_NotYetError if reply.code in _TRANSIENT_CODES else _RefusedError)(reply.message)
    if not isinstance(reply, Welcome):
        raise _RefusedError("The backend did not greet as expected; check that both are the same version.")
    if reply.version != PROTOCOL_VERSION:
        raise _RefusedError(
            f"The backend speaks version {reply.version} of the protocol, "
            f"this add-on version {PROTOCOL_VERSION}; update the older one."
        )
    return reply


async def _exchange(websocket: ClientConnection, link: Link, welcome: Welcome, wake: asyncio.Event) -> None:
    """Send and receive until the connection ends; raises ConnectionClosed when it broke."""
    tasks = {
        asyncio.create_task(_send_all(websocket, link, welcome, wake)),
        asyncio.create_task(_receive_all(websocket, link, welcome)),
    }
    try:
        finished, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in finished:
        task.result()


async def _send_all(websocket: ClientConnection, link: Link, welcome: Welcome, wake: asyncio.Event) -> None:
    while True:
        wake.clear()
        while (item := link.take()) is not None:
            if isinstance(item, Cancel):
                await websocket.send(codec.encode(item))
                continue
            try:
                fragments = _prepare(item, welcome)
            except ProtocolError as error:
                link.refuse(error)
            else:
                # Fragments also go out one by one: masking a long message would hold Python's global lock.
                await websocket.send(fragments[0] if len(fragments) == 1 else fragments)
        await wake.wait()


def _prepare(handle: Handle, welcome: Welcome) -> list[str]:
    request = handle.request
    check_request(request, welcome.limits, welcome.tasks)
    fragments = list(codec.encode_in_fragments(request))
    length = sum(map(len, fragments))
    if length > welcome.limits.max_message_bytes:
        raise ProtocolError(
            "too_large",
            f"The request takes {length} bytes, the backend {welcome.limits.max_message_bytes}; "
            "send fewer frames or a smaller image.",
            request.id,
        )
    return fragments


async def _receive_all(websocket: ClientConnection, link: Link, welcome: Welcome) -> None:
    async for data in websocket:
        try:
            link.deliver(codec.decode(data, welcome.limits))
        except ProtocolError as error:
            link.refuse(error)


def _is_fatal(error: Exception) -> bool:
    """Whether trying again cannot help: the backend said no, or the address or certificate is wrong."""
    if isinstance(error, InvalidStatus):
        return 400 <= error.response.status_code < 500
    if isinstance(error, InvalidHandshake):  # no websocket server at all, unless it broke off in the middle
        return not isinstance(error.__cause__, (EOFError, OSError))
    return isinstance(error, (_RefusedError, ssl.SSLCertVerificationError))


def _explain(error: Exception, url: str) -> str:
    if isinstance(error, (_RefusedError, _NotYetError)):
        return str(error)
    if isinstance(error, ConnectionClosed):
        reason = f" ({error.rcvd.reason})" if error.rcvd and error.rcvd.reason else ""
        return f"The connection to the backend at {url} broke{reason}."
    if isinstance(error, InvalidStatus):
        if error.response.status_code == 403:  # the backend's own refusals explain themselves
            return f"{url} refused: {(error.response.body or b'').decode('utf-8', 'replace').strip()[:200]}"
        return f"What answers at {url} (HTTP status {error.response.status_code}) is no PoseLLaVA backend."
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
