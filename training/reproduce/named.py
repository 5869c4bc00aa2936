# SPDX-License-Identifier: Apache-2.0
"""``NAME=PATH`` words of a command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def named(given: Sequence[str]) -> dict[str, Path]:
    """The words as a table. Raises ValueError and FileNotFoundError."""
    found = {}
    for word in given:
        name, equals, path = word.partition("=")
        if not equals:
            raise ValueError(f"write {word} as NAME=PATH, such as posefix=data/posefix-test")
        if not Path(path).exists():
            raise FileNotFoundError(f"there is nothing at {path}, which is to be {name}")
        found[name] = Path(path)
    return found
