# SPDX-License-Identifier: Apache-2.0
"""Sentences written by hand that ask for nothing that a body can do: nonsense, other matters, the impossible. They are
for measuring alone: none is trained on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

NOTHING: Final = Path(__file__).with_name("nothing.txt")


def read_nothing() -> dict[str, list[str]]:
    """The sentences by their kind: a line each, under the kind in brackets."""
    kinds: dict[str, list[str]] = {}
    for line in NOTHING.read_text(encoding="utf-8").splitlines():
        if line.startswith("[") and line.endswith("]"):
            sentences = kinds.setdefault(line[1:-1], [])
        elif line.strip():
            sentences.append(line)
    return kinds
