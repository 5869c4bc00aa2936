# SPDX-License-Identifier: GPL-3.0-or-later
"""The edits of a figure that led to the pose it has now, for instructions such as "a little more". No bpy.

An edit is remembered with the pose before and the pose after it. What counts is the chain of edits that ends in the
pose as it stands: after undo, or a change by hand, an edit that no longer leads there is left out by itself.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from ..contract.kinematics import heading, yaw_matrix
from ..contract.messages import PoseArray, Turn
from ..contract.rotations import Array, axis_angle_to_matrix, geodesic_degrees

MAX_TURNS: Final = 8
"""Of a chain; what was asked before that hardly bears on what is asked now."""
MAX_PAST: Final = 200
SAME_DEGREES: Final = 1.0
"""Joints that differ by less are as they were: keys and constraints are read back to a few hundredths."""


@dataclass(frozen=True)
class _Past:
    """An edit of the figure ``armature`` at one frame, and the pose (24, 3) it led to."""

    armature: int
    turn: Turn
    after: PoseArray


class EditTurns:
    """The last MAX_PAST edits of all figures."""

    def __init__(self) -> None:
        self._past: deque[_Past] = deque(maxlen=MAX_PAST)

    def add(self, armature: int, instruction: str, words: str, before: PoseArray, after: PoseArray) -> None:
        """Remember an edit that turned the pose ``before`` (24, 3) into ``after`` (24, 3)."""
        self._past.append(_Past(armature, Turn(instruction, before, words), after))

    def leading_to(self, armature: int, pose: PoseArray) -> tuple[Turn, ...]:
        """The edits of this figure that led to ``pose`` (24, 3), oldest first; at most MAX_TURNS."""
        chain: list[Turn] = []
        for past in reversed(self._past):
            if len(chain) < MAX_TURNS and past.armature == armature and _is_same(past.after, pose):
                assert past.turn.pose is not None
                chain.append(past.turn)
                pose = past.turn.pose
        return tuple(reversed(chain))

    def clear(self) -> None:
        """Forget everything: another file is open."""
        self._past.clear()


def _is_same(one: PoseArray, other: PoseArray) -> bool:
    """Whether two poses (24, 3) are one, whichever way they face."""
    return bool(geodesic_degrees(_unturned(one), _unturned(other)).max() < SAME_DEGREES)


def _unturned(pose_aa: PoseArray) -> Array:
    """(24, 3, 3) local rotations, the heading taken out."""
    local = axis_angle_to_matrix(pose_aa)
    local[0] = yaw_matrix(-heading(local[0])) @ local[0]
    return local
