# SPDX-License-Identifier: Apache-2.0
"""Byte strings on the pipes between a backend and a process that it started: a letter that says what they are, how many
there are, and each with its length before it. And what such a process may know. Standard library only."""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import Iterator, Sequence
from typing import BinaryIO, Final

_LENGTH: Final = struct.Struct("<I")
MOST_PARTS: Final = 8
"""Of one message; a process that has lost its mind may name any number."""


def pieces(kind: bytes, parts: Sequence[bytes]) -> Iterator[bytes]:
    """What travels, without a copy of what is large."""
    yield kind + _LENGTH.pack(len(parts))
    for part in parts:
        yield _LENGTH.pack(len(part))
        yield part


def send(target: BinaryIO, kind: bytes, parts: Sequence[bytes] = ()) -> None:
    """Write a message, from within the process."""
    for piece in pieces(kind, parts):
        target.write(piece)
    target.flush()


def receive(source: BinaryIO) -> tuple[bytes, list[bytes]] | None:
    """The next message, within the process; None when the other side has ended."""
    kind = source.read(1)
    try:
        (count,) = _LENGTH.unpack(source.read(_LENGTH.size))
        return kind, [source.read(*_LENGTH.unpack(source.read(_LENGTH.size))) for _ in range(count)]
    except struct.error:  # it ended in the middle
        return None


async def receive_from(source: asyncio.StreamReader) -> tuple[bytes, list[bytes]]:
    """The next message of a process.

    Raises:
        EOFError: it ended before the message did.
    """
    kind = await source.readexactly(1)
    (count,) = _LENGTH.unpack(await source.readexactly(_LENGTH.size))
    parts = []
    for _ in range(min(count, MOST_PARTS)):
        (length,) = _LENGTH.unpack(await source.readexactly(_LENGTH.size))
        parts.append(await source.readexactly(length))
    return kind, parts


def environment(**own: str) -> dict[str, str]:
    """What the process may know of this one's environment, with its own beside it: no token."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("POSELLAVA_")}
    return {**kept, **own}
