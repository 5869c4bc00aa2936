# SPDX-License-Identifier: Apache-2.0
"""A client of v1 for tests, small enough to misbehave at will."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from PIL import Image
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from blender_addon.contract.codec import SUBPROTOCOL, decode, encode
from blender_addon.contract.messages import ErrorMessage, Hello, Message, Progress, Request, Result

POSES = np.linspace(-1, 1, 3 * 72, dtype=np.float32).reshape(3, 24, 3)
Start = Callable[..., Any]


@contextlib.contextmanager
def client(url: str, token: str = "", **options: Any) -> Iterator[ClientConnection]:
    with connect(
        url, subprotocols=[Subprotocol(SUBPROTOCOL)], proxy=None, max_size=None, **options
    ) as websocket:
        websocket.send(encode(Hello(token, 1)))
        yield websocket


@contextlib.contextmanager
def held_up(backend: Any, engine: Any, request: Request) -> Iterator[ClientConnection]:
    """A client whose request the engine has begun with; it goes on once ``engine.gate`` is set."""
    engine.gate.clear()
    with client(backend.url) as websocket:
        receive(websocket)
        websocket.send(encode(request))
        assert engine.entered.wait(20)
        yield websocket


def receive(websocket: ClientConnection) -> Message:
    return decode(websocket.recv(timeout=20))


def outcome(websocket: ClientConnection) -> Result | ErrorMessage:
    """The next message that is no progress."""
    while isinstance(message := receive(websocket), Progress):
        pass
    assert isinstance(message, (Result, ErrorMessage))
    return message


def assert_still_answers(websocket: ClientConnection) -> None:
    websocket.send(encode(Request("good", "adjust", "raise it", POSES)))
    result = outcome(websocket)
    assert isinstance(result, Result), result
    np.testing.assert_allclose(np.stack(result.poses), POSES + 0.1, atol=1e-6)


def png(width: int = 8, height: int = 8) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(buffer, "PNG")
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds nothing."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body)) + bytes(20)
    )
