# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes on: the request that runs, what came of the last one, and the history of edits. Plain data, no bpy.

Operators write it; the panel, the command line and scripts read it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from ..contract.messages import PAINTED_TASKS, SPOKEN_TASKS, PoseArray, ProtocolError
from ..rig.armature import WriteOptions, WriteReport
from ..session import Edit, Handle, History
from .chat import Chat
from .edit_turns import EditTurns


@dataclass(frozen=True)
class Variants:
    """The answers to one request, of which one is keyed; the others can be looked at in its place.

    Attributes:
        armature: the armature object's session_uid.
        frames: (N,) the frames that are keyed.
        poses: V arrays (N, 24, 3), best first.
        joints: those that may move.
        kept: those of them that none of the answers turns.
        options: how the poses are written.
        chosen: which one is keyed.
    """

    armature: int
    frames: tuple[float, ...]
    poses: tuple[PoseArray, ...]
    joints: frozenset[int]
    kept: frozenset[int]
    options: WriteOptions
    chosen: int = 0


@dataclass(frozen=True)
class PaintedPicture:
    """A picture that was painted.

    Attributes:
        image: the name of Blender's image.
        path: of its file.
    """

    image: str
    path: str


@dataclass(frozen=True)
class Outcome:
    """What came of a request that was answered.

    Attributes:
        task: one of the protocol's TASKS.
        instruction: what the user asked for.
        words: what the model said.
        report: what was keyed; None where the model answered in words alone and nothing was touched.
        milliseconds: from handing the request to the connection until the last key was written.
        variants: all the answers; None as ``report``.
        alone: a sentence where others in Pose Mode were left as they are, or an empty text.
        picture: what was painted; None of every task but PAINTED_TASKS.
    """

    task: str
    instruction: str
    words: str
    report: WriteReport | None
    milliseconds: float
    variants: Variants | None = None
    alone: str = ""
    picture: PaintedPicture | None = None

    @property
    def number_of_variants(self) -> int:
        """How many answers there are."""
        return 0 if self.variants is None else len(self.variants.poses)

    @property
    def held_by_ik(self) -> bool:
        """Whether limbs did not arrive because of IK whose targets can be keyed instead."""
        return self.report is not None and self.report.held_by_ik

    @property
    def arrived(self) -> bool:
        """Whether every joint that should move is where it should be, or the picture is there."""
        if self.picture is not None:
            return True
        return self.report is not None and not (self.report.short or self.report.adrift or self.report.slid)

    def summary(self, most: int = 3) -> str:
        """What was done, for the user: which joints moved most, by how much, on how many frames, and what kept others
        from it."""
        if self.report is None and self.task in SPOKEN_TASKS:
            return "" if self.words else "The model had nothing to say."
        if self.picture is not None:
            return f"Painted {self.picture.image}; its file is {self.picture.path}."
        if self.task in PAINTED_TASKS:
            return "No picture was painted."
        if self.report is None:
            return "The model gave no pose; nothing was changed. Say it in other words."
        return " ".join((_movement(self.report, most), *_hindrances(self.report, most), self.alone)).rstrip()


LEAST_TOLD: Final = 0.5
"""Degrees; a joint that is held and gives way by less is not said to have moved."""


def _movement(report: WriteReport, most: int) -> str:
    if not report.degrees and report.held and not report.keys:
        if not _locked(report):
            return "Nothing was keyed."
        return (
            f"Nothing was keyed: all that should move is locked ({_spoken(_locked(report))}); unlock its rotation to "
            "pose it."
        )
    if not (report.degrees or report.short or report.stopped):
        return "The model kept the pose as it was; nothing was keyed."
    moved = [
        f"{_spoken([joint])} {degrees:.0f}°"
        for joint, degrees in report.degrees.items()
        if degrees >= LEAST_TOLD or joint not in report.short
    ]
    if not moved:
        return "Nothing moved."
    rest = f" and {len(moved) - most} more" if len(moved) > most else ""
    frames = len(report.frames)
    held = f"; locked: {_spoken(_locked(report))}" if _locked(report) else ""
    keys = "" if report.keyed else "; no key was set"
    return f"Moved {', '.join(moved[:most])}{rest} on {frames} frame{'s' if frames != 1 else ''}{held}{keys}."


def _locked(report: WriteReport) -> list[str]:
    """The joints that could not be keyed because the user locked them."""
    return [
        joint for joint in report.held if joint not in report.short or "locked" in report.short[joint].holder
    ]


def _hindrances(report: WriteReport, most: int) -> Iterator[str]:
    """One sentence for each thing that kept the body from the pose that was asked for."""
    held: dict[str, list[str]] = {}
    for joint, short in report.short.items():
        if joint not in _locked(report):
            held.setdefault(short.holder, []).append(joint)
    for holder, joints in held.items():
        rest = f" and {len(joints) - most} more" if len(joints) > most else ""
        worst = max(report.short[joint].degrees for joint in joints)
        yield f"{_spoken(joints[:most]).capitalize()}{rest} did not arrive ({worst:.0f}° off): {holder}."
    for joint, degrees in report.stopped.items():
        yield f"{_spoken([joint]).capitalize()} stops at its limit ({abs(degrees):.0f}°)."
    loose = []
    if report.adrift:
        where = "hangs above" if report.adrift > 0 else "sinks below"
        loose.append(f"the body {where} its floor by up to {100 * abs(report.adrift):.0f} cm")
    if report.slid:
        loose.append(f"planted feet slide by up to {100 * report.slid:.0f} cm")
    if loose:
        what = " and ".join(loose)
        yield (
            f"{what[0].upper()}{what[1:]}: the pelvis is locked, connected or not among the parts that may move."
        )
    if report.followed:
        yield f"IK targets moved along: {', '.join(report.followed)}."
    if report.in_layer:
        yield "The keys are in a strip of their own above the NLA strips."


def _spoken(joints: Sequence[str]) -> str:
    return ", ".join(joints).replace("_", " ")


@dataclass(frozen=True)
class Notice:
    """Why there is no outcome.

    Attributes:
        sentence: for the user; it says what to do.
        failed: False where the user wanted it so, as with Cancel.
        situation: what the user had chosen then. Once that has changed, the sentence may no longer be true, and the
            panel shows it no more.
        until_connected: whether a connection is what was lacking.
    """

    sentence: str
    failed: bool = True
    situation: Hashable = None
    until_connected: bool = False


@dataclass
class Activity:
    """The state that the panel shows.

    Attributes:
        preparing: a request is being put together and has not been sent.
        abandoned: the user cancelled it before it was sent.
        handle: the request that was sent and is not answered yet.
        outcome: what came of the last request, None when it failed or before the first.
        notice: why the last request, or an attempt to connect, came to nothing; None when it did not.
        history: every request that was answered.
        edit_turns: the edits that led to the poses that figures have now.
        chat: the conversation in words.
    """

    preparing: bool = False
    abandoned: bool = False
    handle: Handle | None = None
    outcome: Outcome | None = None
    notice: Notice | None = None
    history: History = field(default_factory=History)
    edit_turns: EditTurns = field(default_factory=EditTurns)
    chat: Chat = field(default_factory=Chat)

    @property
    def running(self) -> bool:
        """Whether a request is under way."""
        return self.preparing or self.handle is not None

    @property
    def error(self) -> str:
        """Why the last request failed, a sentence for the user; empty when it did not."""
        return self.notice.sentence if self.notice is not None and self.notice.failed else ""

    def begin(self) -> None:
        """A request starts: what came of the last one is no longer shown."""
        self.forget()
        self.preparing, self.abandoned, self.handle = True, False, None

    def sent(self, handle: Handle) -> None:
        """The request was handed to the connection."""
        self.preparing, self.handle = False, handle

    def succeed(self, outcome: Outcome) -> None:
        """The request was answered."""
        self.preparing, self.handle, self.outcome = False, None, outcome
        self.history.add(Edit(outcome.task, outcome.instruction, outcome.words))

    def fail(self, error: Exception, situation: Hashable = None) -> None:
        """The request, or an attempt to connect, came to nothing; the text of ``error`` says what to do."""
        code = error.code if isinstance(error, ProtocolError) else ""
        self.end()
        self.notice = Notice(
            sentence=str(error),
            failed=code != "cancelled",
            situation=situation,
            until_connected=code in ("not_connected", "no_backend"),
        )

    def end(self) -> None:
        """The request is over, without a word."""
        self.preparing, self.handle = False, None

    def forget(self) -> None:
        """What came of the last request is no longer so: it was undone, or another file is open."""
        self.outcome, self.notice = None, None


activity = Activity()
"""The one of this Blender."""
