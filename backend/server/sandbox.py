# SPDX-License-Identifier: Apache-2.0
"""A process of its own for what is large and comes from outside: long texts of v1 and pictures.

Reading a megabyte of JSON holds Python's lock for as long as it takes, on whatever thread; a picture of 47 KB can have
48 MB of pixels; and a decoder can have a hole. So both happen in a process that has little memory to take, low priority
and a deadline, and that is ended and begun anew when it oversteps them. One piece of work at a time, in fair shares:
who has had the least of its time comes first. It is begun when it is first needed.

What comes back is not trusted either: a request as frames of v2, which are read like anybody's, and a picture as its
size and as many bytes.

Run as a program this module is that process.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import struct
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Final

from PIL import Image

from backend.images import MODEL_SIDE, check_image, decode_image
from backend.pipes import begin, end, pieces, receive, receive_from, send, stand_back
from blender_addon.contract import codec, frames
from blender_addon.contract.messages import ErrorMessage, Limits, Message, ProtocolError

log = logging.getLogger(__name__)

WORK_SECONDS: Final = 20.0
MEMORY_BYTES: Final = 1536 * 2**20
_SIZE: Final = struct.Struct("<II")
_TEXT, _PICTURE, _ERROR = b"T", b"P", b"E"


class Sandbox:
    """The process, from outside. To be used from one event loop; ``close`` ends the process."""

    def __init__(self, seconds: float = WORK_SECONDS) -> None:
        self._seconds = seconds
        self._process: asyncio.subprocess.Process | None = None
        self._busy = False
        self._waiting: list[tuple[object, asyncio.Future[None]]] = []
        self._used: dict[object, float] = {}
        self._stopped = False

    async def message(self, owner: object, text: str, limits: Limits) -> Message:
        """The message of v1 in ``text``; ``owner`` is whose share of the process it takes.

        Raises:
            ProtocolError: it is none, or takes too much time or memory to read.
        """
        head = json.dumps(asdict(limits)).encode()
        parts = await self._work(owner, _TEXT, head, text.encode("utf-8", "surrogatepass"))
        reader = frames.FrameReader(limits)
        message = None
        for number, part in enumerate(parts):
            message = reader.read(part if number else part.decode())
        if message is None:
            raise ProtocolError("bad_message", "The message could not be read.")
        return message

    async def picture(
        self, owner: object, data: bytes, limits: Limits, request_id: str | None = None
    ) -> Image.Image:
        """The decoded picture; see decode_image. Its pixels are counted before it gets here.

        Raises:
            ProtocolError: it is none, or takes too much time or memory to decode.
        """
        check_image(data, limits, request_id)
        try:
            picture = _believed(await self._work(owner, _PICTURE, b"", data))
            if picture is None:
                raise ProtocolError("bad_image", "The image could not be decoded; save it again.")
            return picture
        except ProtocolError as error:
            raise ProtocolError(error.code, error.sentence, request_id) from None

    async def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            await end(process)

    async def stop(self) -> None:
        """End the process for good; what it is at, and what waits for it, fails as ``shutting_down``."""
        self._stopped = True
        await self.close()

    async def _work(self, owner: object, kind: bytes, head: bytes, body: bytes) -> list[bytes]:
        await self._turn(owner)
        began = time.monotonic()
        try:
            if self._stopped:
                raise ProtocolError(
                    "shutting_down", "The backend is shutting down; repeat the request later."
                )
            async with asyncio.timeout(self._seconds):
                return await self._exchange(kind, head, body)
        except TimeoutError:
            await self.close()
            raise ProtocolError(
                "too_large", f"Reading it took longer than {self._seconds:g} s; send something smaller."
            ) from None
        except (EOFError, OSError, struct.error) as error:  # the process died of it, or was stopped
            if self._stopped:
                raise ProtocolError(
                    "shutting_down", "The backend is shutting down; repeat it later."
                ) from None
            log.warning("the process that reads what clients send ended (%s)", type(error).__name__)
            await self.close()
            raise ProtocolError(
                "too_large", "Reading it took too much memory or failed; send something smaller."
            ) from None
        except asyncio.CancelledError:
            # What it is at nobody waits for, and its answer would be taken for the next.
            await self.close()
            raise
        finally:
            self._used[owner] = self._used.get(owner, 0.0) + time.monotonic() - began
            self._next()

    async def _turn(self, owner: object) -> None:
        if not self._busy:
            self._busy = True
            return
        level = min((self._used.get(other, 0.0) for other, _ in self._waiting), default=0.0)
        self._used[owner] = max(self._used.get(owner, 0.0), level)
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((owner, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if (owner, turn) in self._waiting:
                self._waiting.remove((owner, turn))
            elif not turn.cancelled():  # its turn came in the same moment
                self._next()
            raise

    def _next(self) -> None:
        if not self._waiting:
            self._busy = False
            self._used.clear()  # all are level again
            return
        first = min(self._waiting, key=lambda item: self._used.get(item[0], 0.0))
        self._waiting.remove(first)
        first[1].set_result(None)

    async def _exchange(self, kind: bytes, head: bytes, body: bytes) -> list[bytes]:
        if self._process is None or self._process.returncode is not None:
            self._process = await begin(__name__, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        for piece in pieces(kind, (head, body)):
            stdin.write(piece)
        await stdin.drain()
        outcome, parts = await receive_from(stdout)
        if outcome == _ERROR:
            error = codec.decode(parts[0].decode())
            assert isinstance(error, ErrorMessage)
            raise ProtocolError(error.code, error.message, error.id)
        return parts


def _believed(parts: list[bytes]) -> Image.Image | None:
    """The picture that the process says it decoded, unless it cannot be one."""
    if len(parts) != 2 or len(parts[0]) != _SIZE.size:
        return None
    (width, height), pixels = _SIZE.unpack(parts[0]), parts[1]
    if max(width, height) > MODEL_SIDE or len(pixels) != width * height * 3:
        return None
    return Image.frombytes("RGB", (width, height), pixels)


# Inside.


def main() -> None:
    """Work until the other side ends."""
    source, target = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr
    _restrict()
    while (question := receive(source)) is not None:
        kind, (head, body) = question
        try:
            parts, outcome = list(_done(kind, head, body)), kind
        except ProtocolError as error:
            parts, outcome = [_error(error.code, error.sentence, error.request_id)], _ERROR
        except MemoryError:
            parts = [_error("too_large", "It takes too much memory to read; send something smaller.", None)]
            outcome = _ERROR
        send(target, outcome, parts)
        del question, head, body, parts


def _done(kind: bytes, head: bytes, body: bytes) -> Iterator[bytes]:
    if kind == _PICTURE:
        image = decode_image(body)
        yield _SIZE.pack(*image.size)
        yield image.tobytes()
    else:
        message = codec.decode(body.decode("utf-8", "surrogatepass"), Limits(**json.loads(head)))
        for frame in frames.encode(message):
            yield frame.encode() if isinstance(frame, str) else frame


def _error(code: str, sentence: str, request_id: str | None) -> bytes:
    return codec.encode(ErrorMessage(code, sentence, request_id)).encode()


def _restrict() -> None:
    """Little memory, where the system has a way to say so, and low priority."""
    stand_back()
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
