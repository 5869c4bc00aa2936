# SPDX-License-Identifier: GPL-3.0-or-later
"""The edits made so far, so that an instruction can be found and used again."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import Final

MAX_EDITS: Final = 200


@dataclass(frozen=True)
class Edit:
    """One finished request: its task, what was asked, what the model said, and when (seconds since 1970)."""

    task: str
    instruction: str
    text: str
    time: float = field(default_factory=time.time)


class History:
    """The last MAX_EDITS edits."""

    def __init__(self) -> None:
        self._edits: deque[Edit] = deque(maxlen=MAX_EDITS)

    def add(self, edit: Edit) -> None:
        """Remember an edit; the oldest is forgotten when there are too many."""
        self._edits.append(edit)

    @property
    def edits(self) -> tuple[Edit, ...]:
        """Every edit, newest first."""
        return tuple(reversed(self._edits))

    def search(self, words: str) -> tuple[Edit, ...]:
        """The edits whose instruction or answer contains every one of ``words``, newest first."""
        wanted = words.casefold().split()
        return tuple(
            edit
            for edit in self.edits
            if all(word in f"{edit.instruction} {edit.text}".casefold() for word in wanted)
        )
