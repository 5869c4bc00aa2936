# SPDX-License-Identifier: GPL-3.0-or-later
"""The edits made so far, so that an instruction can be used again."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

MAX_EDITS: Final = 200


@dataclass(frozen=True)
class Edit:
    """One finished request: its task, what was asked, and what the model said."""

    task: str
    instruction: str
    text: str


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
