# SPDX-License-Identifier: Apache-2.0
"""Instructions that name a length ("by 10 cm"), and how far the answer's change is from it.

The change is measured on the neutral skeleton in the body's own frame, along the direction that is asked for. A start
pose is used for an instruction only where the limb has room for the change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from .amounts import AmountCase, Measure, draw_cases
from .instructions import PosedBody

AMOUNTS: Final = (5, 8, 10, 15, 20)
"""Centimetres."""
_REACH: Final = (0.18, 0.97)
"""Least and greatest share of an arm's length between shoulder and wrist."""


@dataclass(frozen=True)
class Move:
    """One thing that can be moved by a length.

    Attributes:
        sentences: wordings with ``{n}`` for the centimetres and ``{side}`` where there are two.
        measure: metres of a posed body, for a side.
        has_room: whether the measure can change by so many metres.
        sign: -1 where the words ask for less of it.
    """

    sentences: tuple[str, ...]
    measure: Measure
    has_room: Callable[[PosedBody, str, float], bool]
    sign: int = 1


class LengthCase(AmountCase):
    """An instruction with a length; ``kind`` is a key of ``MOVES``, ``change`` in metres."""

    def error(self, answer_aa: npt.NDArray[np.float32]) -> float:
        """Centimetres between the change that was asked for and the one that was made."""
        return 100.0 * abs(self.made(MOVES[self.kind].measure, answer_aa) - self.change)


def _wrist(axis: int) -> Measure:
    return lambda body, side: float(body.at(f"{side[0].upper()}_wrist")[axis])


def _within_reach(axis: int) -> Callable[[PosedBody, str, float], bool]:
    def has_room(body: PosedBody, side: str, change: float) -> bool:
        letter = side[0].upper()
        arm = body.distance(f"{letter}_shoulder", f"{letter}_elbow") + body.distance(
            f"{letter}_elbow", f"{letter}_wrist"
        )
        moved = body.at(f"{letter}_wrist").copy()
        moved[axis] += change
        share = float(np.linalg.norm(moved - body.at(f"{letter}_shoulder"))) / arm
        return _REACH[0] <= share <= _REACH[1]

    return has_room


def _between(joint: str) -> Measure:
    return lambda body, _: body.distance(f"L_{joint}", f"R_{joint}")


def _up_to(joint: str, greatest: float) -> Callable[[PosedBody, str, float], bool]:
    return lambda body, side, change: 0.1 <= _between(joint)(body, side) + change <= greatest


def _hips_have_room(body: PosedBody, side: str, change: float) -> bool:
    standing = max(body.flex("L_knee"), body.flex("R_knee")) < 40
    return standing and body.pelvis_height() + change > 0.5


MOVES: Final[dict[str, Move]] = {
    "raise hand": Move(
        ("raise the {side} hand by {n} cm", "lift your {side} hand {n} centimetres"), _wrist(1), _within_reach(1)
    ),
    "lower hand": Move(("lower the {side} hand by {n} cm",), _wrist(1), _within_reach(1), -1),
    "hand forward": Move(
        ("move the {side} hand {n} cm forward", "bring your {side} hand {n} centimetres further forward"),
        _wrist(2), _within_reach(2),
    ),
    "hand back": Move(("move the {side} hand {n} cm back",), _wrist(2), _within_reach(2), -1),
    "hands apart": Move(("move the hands {n} cm further apart",), _between("wrist"), _up_to("wrist", 1.1)),
    "feet apart": Move(("put the feet {n} cm further apart",), _between("ankle"), _up_to("ankle", 0.8)),
    "lower hips": Move(
        ("lower the hips by {n} cm", "sink {n} centimetres at the hips"),
        lambda body, _: body.pelvis_height(), _hips_have_room, -1,
    ),
}  # fmt: skip


def draw_length_cases(
    rng: np.random.Generator, starts_aa: Sequence[npt.NDArray[np.float32]], each: int
) -> list[LengthCase]:
    """Up to ``each`` cases of every kind, on start poses drawn from those given; fewer where they lack room."""
    return draw_cases(LengthCase, MOVES, AMOUNTS, _change, rng, starts_aa, each)


def _change(move: Move, body: PosedBody, side: str, amount: int) -> float | None:
    change = move.sign * amount / 100
    return change if move.has_room(body, side, change) else None
