# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes on: the request that runs, what came of the last one, and the history of edits. Plain data, no bpy.

Operators write it; the panel, the command line and scripts read it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..rig.armature import WriteReport
from ..session import Edit, Handle, History


@dataclass(frozen=True)
class Outcome:
    """What came of a request that ended well.

    Attributes:
        task: ``adjust``, ``generate`` or ``estimate``.
        instruction: what the user asked for.
        words: what the model said.
        report: what was keyed.
        milliseconds: from handing the request to the connection until the last key was written.
    """

    task: str
    instruction: str
    words: str
    report: WriteReport
    milliseconds: float

    def summary(self, most: int = 3) -> str:
        """One line for the user: which joints moved most, by how much, on how many frames."""
        locked = ", ".join(self.report.held).replace("_", " ")
        if not self.report.degrees and locked:
            return f"Nothing was keyed: all that should move is locked ({locked}); unlock its rotation to pose it."
        if not self.report.degrees:
            return "The model kept the pose as it was; nothing was keyed."
        moved = [
            f"{joint.replace('_', ' ')} {degrees:.0f}°" for joint, degrees in self.report.degrees.items()
        ]
        rest = f" and {len(moved) - most} more" if len(moved) > most else ""
        frames = len(self.report.frames)
        held = f"; locked: {locked}" if locked else ""
        return f"Moved {', '.join(moved[:most])}{rest} on {frames} frame{'s' if frames != 1 else ''}{held}."


@dataclass
class Activity:
    """The state that the panel shows.

    Attributes:
        preparing: a request is being put together and has not been sent.
        abandoned: the user cancelled it before it was sent.
        handle: the request that was sent and is not answered yet.
        outcome: what came of the last request, None when it failed or before the first.
        error: why the last request failed, a sentence for the user; empty when it did not.
        history: every request that ended well.
    """

    preparing: bool = False
    abandoned: bool = False
    handle: Handle | None = None
    outcome: Outcome | None = None
    error: str = ""
    history: History = field(default_factory=History)

    @property
    def running(self) -> bool:
        """Whether a request is under way."""
        return self.preparing or self.handle is not None

    def begin(self) -> None:
        """A request starts: what came of the last one is no longer shown."""
        self.preparing, self.abandoned = True, False
        self.handle, self.outcome, self.error = None, None, ""

    def sent(self, handle: Handle) -> None:
        """The request was handed to the connection."""
        self.preparing, self.handle = False, handle

    def succeed(self, outcome: Outcome) -> None:
        """The request ended well."""
        self.preparing, self.handle, self.outcome = False, None, outcome
        self.history.add(Edit(outcome.task, outcome.instruction, outcome.words))

    def fail(self, sentence: str) -> None:
        """The request, or an attempt to connect, failed; the sentence says what to do."""
        self.preparing, self.handle, self.error = False, None, sentence


activity = Activity()
"""The one of this Blender."""
