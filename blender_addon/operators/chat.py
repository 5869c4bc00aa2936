# SPDX-License-Identifier: GPL-3.0-or-later
"""The conversation with the model: what was asked and answered, with the poses that were shown. No bpy."""

from __future__ import annotations

from collections import deque
from typing import Final

from ..contract.messages import Turn

MAX_TURNS: Final = 16
MAX_BYTES: Final = 48 * 1024
"""Of all words together: those of a request have to fit into its head, see contract/frames.py."""


class Chat:
    """The turns so far, oldest first; the oldest are forgotten where they are too many, or too long."""

    def __init__(self) -> None:
        self._turns: deque[Turn] = deque(maxlen=MAX_TURNS)

    @property
    def turns(self) -> tuple[Turn, ...]:
        """All of them."""
        return tuple(self._turns)

    def add(self, turn: Turn) -> None:
        """Remember a question and its answer."""
        self._turns.append(turn)
        while sum(map(_size, self._turns)) > MAX_BYTES:
            self._turns.popleft()

    def clear(self) -> None:
        """Begin anew."""
        self._turns.clear()


def _size(turn: Turn) -> int:
    return len(turn.instruction.encode()) + len(turn.words.encode())
