# SPDX-License-Identifier: Apache-2.0
"""A process of the backend's own, its beginning and its end, and the byte strings on the pipes between: a letter that
says what they are, how many there are, and each with its length before it. May import blender_addon.contract.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import struct
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from blender_addon import contract

_LENGTH: Final = struct.Struct("<I")
_PIPE_BYTES: Final = 2**20
MOST_PARTS: Final = 8
"""Of one message; a process that has lost its mind may name any number."""
_BEGIN: Final = """
import importlib, json, sys, types
program, addon, path, *told = sys.argv[1:]
package = sys.modules["blender_addon"] = types.ModuleType("blender_addon")
package.__path__, sys.path[:] = [addon], json.loads(path)
importlib.import_module(program).main(*told)
"""
"""The add-on's folder is named: inside an extension it has another name, by which no path leads to the contract."""


async def begin(program: str, *told: str, **variables: str) -> asyncio.subprocess.Process:
    """A process that runs ``main(*told)`` of the module ``program``, with what this one finds on its search path, and
    with these variables in its environment. As little of the user's settings reaches it as this one: none, with -I."""
    flags = [flag for flag, is_given in (("-I", sys.flags.isolated), ("-S", sys.flags.no_site)) if is_given]
    addon = Path(contract.__file__).parents[1]
    return await asyncio.create_subprocess_exec(
        sys.executable, *flags, "-c", _BEGIN, program, addon, json.dumps(sys.path), *told,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=_PIPE_BYTES,
        env=environment(**variables),
    )  # fmt: skip


async def end(process: asyncio.subprocess.Process) -> None:
    """End a process at once."""
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    # wait() waits for the pipes too, and one that is full of an answer that nobody reads any more never ends.
    process._transport.close()  # type: ignore[attr-defined]
    await process.wait()


def stand_back() -> None:
    """From within the process: low priority, where the system has a way to say so; Ctrl-C is the other side's to
    hear."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(AttributeError, OSError):
        os.nice(5)


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
        EOFError: it ended before the message did, or the message has no end.
    """
    kind = await source.readexactly(1)
    (count,) = _LENGTH.unpack(await source.readexactly(_LENGTH.size))
    if count > MOST_PARTS:
        raise EOFError(f"a message of {count} parts")
    parts = []
    for _ in range(count):
        (length,) = _LENGTH.unpack(await source.readexactly(_LENGTH.size))
        parts.append(await source.readexactly(length))
    return kind, parts


def environment(**own: str) -> dict[str, str]:
    """What the process may know of this one's environment, with its own beside it: no token."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("POSELLAVA_")}
    return {**kept, **own}
