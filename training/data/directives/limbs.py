# SPDX-License-Identifier: Apache-2.0
"""Kinds that are asked of one arm or of both: registered twice, with the same sentences and other nouns.

The sentences use ``{limb}`` (arm or arms), ``{hand}``, ``{elbow}``, ``{wrist}``, ``{forearm}``, ``{shoulder}``,
``{palm}``, ``{is}`` and ``{it}``; the words behind them stand in ``wording/limbs.yaml``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from .kinds import Edit, KindFunction, kind
from .posed_body import PosedBody, Side
from .reach import SIDES, both_arms

Sides = tuple[Side, ...]
SidedFunction = Callable[[np.random.Generator, PosedBody, Sides], Edit | None]

_NOUNS: Final = ("arm", "hand", "elbow", "wrist", "forearm", "shoulder", "palm", "upper_arm", "fist")
_ONE: Final = {name: f"{{one_{name}}}" for name in _NOUNS} | {
    "limb": "{one_arm}",
    "is": "is",
    "it": "it",
    "s": "s",
}
_TWO: Final = {name: f"{{two_{name}s}}" for name in _NOUNS} | {
    "limb": "{two_arms}",
    "is": "are",
    "it": "them",
    "s": "",
}


def one_and_both(
    one: str, both: str, *, family: str, weight: float, both_share: float = 0.4
) -> Callable[[SidedFunction], SidedFunction]:
    """Registers a kind for the left arm as ``one`` and for both arms as ``both``."""

    def register(function: SidedFunction) -> SidedFunction:
        kind(one, family=family, weight=weight * (1 - both_share))(_with_nouns(function, SIDES[:1], _ONE))
        kind(both, family=family, weight=weight * both_share)(_with_nouns(function, SIDES, _TWO))
        return function

    return register


def _with_nouns(function: SidedFunction, sides: Sides, nouns: Mapping[str, str]) -> KindFunction:
    def apply(rng: np.random.Generator, start: PosedBody) -> Edit | None:
        edit = function(rng, start, sides)
        return None if edit is None else Edit(edit.target, {**nouns, **edit.slots}, edit.variant)

    return apply


def on(start: PosedBody, sides: Sides, move: Callable[[Side], PosedBody | None]) -> PosedBody | None:
    """The move made by the left arm or by both."""
    return move("left") if len(sides) == 1 else both_arms(start, move)
