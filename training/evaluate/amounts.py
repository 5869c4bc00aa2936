# SPDX-License-Identifier: Apache-2.0
"""Instructions that name an amount, be it an angle or a length: what a case of them is, and how cases are drawn."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from .instructions import PosedBody

Measure = Callable[[PosedBody, str], float]
"""A number of a posed body, for a side."""


@dataclass(frozen=True)
class AmountCase(ABC):
    """An instruction with an amount, and what it asks for.

    Attributes:
        kind: what is to change.
        instruction: the words.
        pose_aa: (24, 3) axis-angle, radians.
        side: "left" or "right".
        change: by how much the measure is to change, in its unit.
    """

    kind: str
    instruction: str
    pose_aa: npt.NDArray[np.float32]
    side: str
    change: float

    @abstractmethod
    def error(self, answer_aa: npt.NDArray[np.float32]) -> float:
        """How far the change that was made is from the one that was asked for, in what its kind is measured in."""

    def made(self, measure: Measure, answer_aa: npt.NDArray[np.float32]) -> float:
        """By how much the answer changed a measure."""
        return measure(PosedBody(answer_aa), self.side) - measure(PosedBody(self.pose_aa), self.side)


class Worded(Protocol):
    """Something that can be changed by an amount."""

    @property
    def sentences(self) -> tuple[str, ...]:
        """Wordings with ``{n}`` for the amount and ``{side}`` where there are two."""
        ...


Kind = TypeVar("Kind", bound=Worded)
CaseOf = TypeVar("CaseOf", bound=AmountCase)


def draw_cases(
    case: type[CaseOf],
    kinds: Mapping[str, Kind],
    amounts: Sequence[int],
    change_of: Callable[[Kind, PosedBody, str, int], float | None],
    rng: np.random.Generator,
    starts_aa: Sequence[npt.NDArray[np.float32]],
    each: int,
) -> list[CaseOf]:
    """Up to ``each`` cases of every kind, on start poses drawn from those given; fewer where they lack room.

    Args:
        case: the class of the cases.
        kinds: what can be changed, by name.
        amounts: what the words may name.
        change_of: the change of the measure that a side and an amount mean; None where the pose has no room for it.
        rng: of all that is drawn.
        starts_aa: poses (24, 3).
        each: how many.
    """

    def attempt(name: str, kind: Kind, pose_aa: npt.NDArray[np.float32]) -> CaseOf | None:
        side, amount = ("left", "right")[rng.integers(2)], int(rng.choice(amounts))
        change = change_of(kind, PosedBody(pose_aa), side, amount)
        if change is None:
            return None
        sentence = kind.sentences[rng.integers(len(kind.sentences))]
        return case(name, sentence.format(side=side, n=amount), pose_aa, side, change)

    found: list[CaseOf] = []
    for name, kind in kinds.items():
        tries = [attempt(name, kind, starts_aa[rng.integers(len(starts_aa))]) for _ in range(10 * each)]
        found += [one for one in tries if one is not None][:each]
    return found
