# SPDX-License-Identifier: Apache-2.0
"""Files of weights without what is in them: their checksums, and what a safetensors file says that it holds.

Imports the standard library only.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Final, NamedTuple

SCALE: Final = ".scale"
"""Ends the name of what a matrix in int8 is multiplied with, row by row."""


class HeldTensor(NamedTuple):
    """Where a tensor lies in its file: ``kind`` as safetensors names it, ``start`` and ``length`` in bytes."""

    kind: str
    shape: tuple[int, ...]
    start: int
    length: int


def checksum(file: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def held_in(file: Path) -> dict[str, HeldTensor]:
    """The tensors of a safetensors file by name, told by its header.

    Raises:
        ValueError: the header is damaged or cut off.
    """
    with file.open("rb") as content:
        first = 8 + int.from_bytes(content.read(8), "little")
        header = content.read(first - 8) if first <= file.stat().st_size else b""
    try:
        return {
            name: HeldTensor(entry["dtype"], tuple(entry["shape"]), first + start, end - start)
            for name, entry in json.loads(header).items()
            if name != "__metadata__"
            for start, end in [entry["data_offsets"]]
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{file} is damaged or cut off: copy or download the model again") from None
