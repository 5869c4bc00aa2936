# SPDX-License-Identifier: GPL-3.0-or-later
"""The conversation with the model: what was asked and answered, with the poses that were shown. No bpy."""

from __future__ import annotations

from collections import deque
from typing import Final

from ..contract.messages import Turn

MAX_TURNS: Final = 16
"""Older ones are forgotten."""


class Chat:
    """The turns so far, oldest first."""

    def __init__(self) -> None:
        self._turns: deque[Turn] = deque(maxlen=MAX_TURNS)

    @property
    def turns(self) -> tuple[Turn, ...]:
        """All of them."""
        return tuple(self._turns)

    def add(self, turn: Turn) -> None:
        """Remember a question and its answer."""
        self._turns.append(turn)

    def clear(self) -> None:
        """Begin anew."""
        self._turns.clear()
