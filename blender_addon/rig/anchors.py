# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a channel needs keys of its old value, so that an edit changes no frame that was not chosen. Pure Python.

A curve holds its first and last key for ever. So one key on a bone that had none changes the bone at every frame of the
animation, and an anchor on either side keeps it to itself.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

AnchorKind = Literal["FRAMES", "KEYS", "NONE"]
"""FRAMES: on the frames beside the edit. KEYS: on the character's nearest keys, so that the pose goes over from them
and back to them. NONE: no anchors."""

STEP = 1.0
"""Chosen frames no further apart than this follow on each other."""


def runs_of(chosen: Sequence[float], posed: Sequence[float]) -> list[tuple[float, float]]:
    """The chosen frames, ascending, as runs (first, last) that belong together: frames that follow on each other, and
    frames at which the character is posed already, between which it goes over from pose to pose as before."""
    keyed = set(posed)
    runs = [(chosen[0], chosen[0])]
    for before, after in pairwise(chosen):
        if after - before <= STEP or (before in keyed and after in keyed):
            runs[-1] = (runs[-1][0], after)
        else:
            runs.append((after, after))
    return runs


def anchor_frames(
    chosen: Sequence[float],
    own: Sequence[float],
    posed: Sequence[float],
    kind: AnchorKind,
    *,
    as_range: bool = False,
) -> dict[float, int]:
    """The frames at which a channel gets a key of its old value, and on which side of each nothing may change: -1
    before it, 1 after it, 0 neither, where it stands alone between two edits.

    Where the character has no keys but at the chosen frames there is nothing to keep. A key that the channel has
    already is the anchor on its side of a pose: from there the animator wants it to go over. Where two keys stand side
    by side, as a pose and its anchor do, or a motion keyed at every frame, what lies beyond is held. Beyond a range of
    frames nothing may move, so it has its anchors right beside it.

    Args:
        chosen: the frames that are edited, ascending.
        own: the frames of the channel's keys, ascending.
        posed: the frames of all the character's keys, ascending, those of ``own`` among them.
        kind: what the user chose.
        as_range: all from the first to the last chosen frame was chosen, though not every frame of it is keyed.
    """
    edited, keyed = set(chosen), set(posed)
    others = [frame for frame in posed if frame not in edited]
    if kind == "NONE" or not others:
        return {}
    runs = [(chosen[0], chosen[-1])] if as_range else runs_of(chosen, posed)
    anchors: dict[float, int] = {}
    for number, (first, last) in enumerate(runs):
        within = [frame for frame in chosen if first <= frame <= last]
        strict = kind == "FRAMES" and len(within) > 1 and (as_range or not keyed.issuperset(within))
        before = runs[number - 1][1] if number else None
        after = runs[number + 1][0] if number + 1 < len(runs) else None
        left = _anchor_before(own, others, before, first, kind, strict)
        right = _anchor_before(_mirrored(own), _mirrored(others), _negative(after), -last, kind, strict)
        for frame, side in ((left, -1), (_negative(right), 1)):
            if frame is not None:
                anchors[frame] = 0 if frame in anchors else side
    return dict(sorted(anchors.items()))


def _anchor_before(
    own: Sequence[float],
    others: Sequence[float],
    before: float | None,
    first: float,
    kind: AnchorKind,
    strict: bool,
) -> float | None:
    """The anchor of a run that begins at ``first`` and follows one that ends at ``before``; None where it needs none.

    ``strict``: a key of the channel's own serves only right beside the run.
    """
    beside = first - STEP
    if before is None and not bisect_left(others, first):
        return None
    earlier = own[: bisect_left(own, first)]
    if earlier and (before is None or earlier[-1] > before):
        strict = strict or (len(earlier) > 1 and earlier[-1] - earlier[-2] <= STEP)
        if not strict or earlier[-1] >= beside:
            return None
    if kind == "KEYS":
        place = bisect_left(others, first) - 1
        if place >= 0 and (before is None or others[place] > before):
            return others[place]
    return beside if before is None or beside > before else None


def _mirrored(frames: Sequence[float]) -> list[float]:
    return [-frame for frame in reversed(frames)]


def _negative(frame: float | None) -> float | None:
    return None if frame is None else -frame
