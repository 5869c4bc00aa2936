# SPDX-License-Identifier: Apache-2.0
"""Instructions that name an angle ("by 30 degrees"), and how far the answer's change is from it.

The change is measured on the neutral skeleton in the body's own frame, as ``instructions`` does. A start pose is used
for an instruction only where the joint has room for the change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from .amounts import AmountCase, Measure, draw_cases
from .instructions import PosedBody

AMOUNTS: Final = (15, 20, 30, 45, 60)


@dataclass(frozen=True)
class Turn:
    """One thing that can be turned by an angle.

    Attributes:
        sentences: wordings with ``{n}`` for the degrees and ``{side}`` where there are two.
        measure: degrees of a posed body, for a side.
        sign: +1 where the words ask for more of it, -1 for less; 0 where it is more to the left and less to the right.
        room: least and greatest value after the change.
    """

    sentences: tuple[str, ...]
    measure: Measure
    sign: int
    room: tuple[float, float]


class AngleCase(AmountCase):
    """An instruction with an angle; ``kind`` is a key of ``TURNS``, ``change`` in degrees."""

    def error(self, answer_aa: npt.NDArray[np.float32]) -> float:
        """Degrees between the change that was asked for and the one that was made."""
        made = self.made(TURNS[self.kind].measure, answer_aa)
        return abs((made - self.change + 180.0) % 360.0 - 180.0)


def _flex(joint: str) -> Measure:
    return lambda body, side: body.flex(f"{side[0].upper()}_{joint}")


def _angle(name: str) -> Measure:
    return lambda body, _: body.angle(name)


def _elevation(body: PosedBody, side: str) -> float:
    """Degrees of the upper arm above the horizon."""
    arm = body.at(f"{side[0].upper()}_elbow") - body.at(f"{side[0].upper()}_shoulder")
    return float(np.degrees(np.arcsin(arm[1] / np.linalg.norm(arm))))


TURNS: Final[dict[str, Turn]] = {
    "bend elbow": Turn(
        ("bend the {side} elbow by {n} degrees", "flex your {side} elbow {n} degrees more"), _flex("elbow"), 1, (0, 140)
    ),
    "straighten elbow": Turn(("straighten the {side} elbow by {n} degrees",), _flex("elbow"), -1, (0, 140)),
    "bend knee": Turn(
        ("bend the {side} knee by {n} degrees", "flex your {side} knee {n} degrees more"), _flex("knee"), 1, (0, 130)
    ),
    "straighten knee": Turn(("straighten the {side} knee by {n} degrees",), _flex("knee"), -1, (0, 130)),
    "raise arm": Turn(("raise the {side} arm by {n} degrees",), _elevation, 1, (-90, 75)),
    "lower arm": Turn(("lower the {side} arm by {n} degrees",), _elevation, -1, (-80, 90)),
    "turn head": Turn(
        ("turn the head {n} degrees to the {side}", "turn your head {side} by {n} degrees"),
        _angle("head_yaw"), 0, (-75, 75),
    ),
    "look down": Turn(("look down by {n} degrees",), _angle("head_pitch"), 1, (-50, 55)),
    "look up": Turn(("look up by {n} degrees",), _angle("head_pitch"), -1, (-50, 55)),
    "bend forward": Turn(("bend forward by {n} degrees",), _angle("bend"), 1, (-30, 80)),
    "lean": Turn(("lean {n} degrees to the {side}",), _angle("lean"), 0, (-40, 40)),
    "twist": Turn(("twist the upper body {n} degrees to the {side}",), _angle("twist"), 0, (-50, 50)),
    "turn around": Turn(
        ("turn the whole body {n} degrees to the {side}",), lambda body, _: body.facing, 0, (-np.inf, np.inf)
    ),
}  # fmt: skip


def draw_angle_cases(
    rng: np.random.Generator, starts_aa: Sequence[npt.NDArray[np.float32]], each: int
) -> list[AngleCase]:
    """Up to ``each`` cases of every kind, on start poses drawn from those given; fewer where they lack room."""
    return draw_cases(AngleCase, TURNS, AMOUNTS, _change, rng, starts_aa, each)


def _change(turn: Turn, body: PosedBody, side: str, amount: int) -> float | None:
    change = float(amount * (turn.sign or (1 if side == "left" else -1)))
    low, high = turn.room
    return change if low <= turn.measure(body, side) + change <= high else None
