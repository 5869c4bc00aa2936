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
    measure: Callable[[PosedBody, str], float]
    has_room: Callable[[PosedBody, str, float], bool]
    sign: int = 1


@dataclass(frozen=True)
class LengthCase:
    """An instruction with a length, and what it asks for; ``change`` in metres."""

    kind: str
    instruction: str
    pose_aa: npt.NDArray[np.float32]
    side: str
    change: float

    def error(self, answer_aa: npt.NDArray[np.float32]) -> float:
        """Centimetres between the change that was asked for and the one that was made."""
        measure = MOVES[self.kind].measure
        made = measure(PosedBody(answer_aa), self.side) - measure(PosedBody(self.pose_aa), self.side)
        return 100.0 * abs(made - self.change)


def _wrist(axis: int) -> Callable[[PosedBody, str], float]:
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


def _between(joint: str) -> Callable[[PosedBody, str], float]:
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
    found: list[LengthCase] = []
    for kind, move in MOVES.items():
        tries = [_try(rng, kind, move, starts_aa[rng.integers(len(starts_aa))]) for _ in range(10 * each)]
        found += [case for case in tries if case is not None][:each]
    return found


def _try(
    rng: np.random.Generator, kind: str, move: Move, pose_aa: npt.NDArray[np.float32]
) -> LengthCase | None:
    side, amount = ("left", "right")[rng.integers(2)], int(rng.choice(AMOUNTS))
    change = move.sign * amount / 100
    if not move.has_room(PosedBody(pose_aa), side, change):
        return None
    sentence = move.sentences[rng.integers(len(move.sentences))]
    return LengthCase(kind, sentence.format(side=side, n=amount), pose_aa, side, change)
