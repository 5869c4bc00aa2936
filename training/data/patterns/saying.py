# SPDX-License-Identifier: Apache-2.0
"""From a pattern's sentence to words: alternatives, sides, numbers and possessives filled in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import numpy as np

from training.data.directives.wording import expand

from .language import PatternError, Side
from .loading import Pattern
from .numbers import draw

_SIDE_WORDS: Final[dict[Side, dict[str, str]]] = {
    "L": {"S": "left", "O": "right", "Si": "[L|l]", "Oi": "[R|r]"},
    "R": {"S": "right", "O": "left", "Si": "[R|r]", "Oi": "[L|l]"},
}
_SIDE_OTHERWISE: Final = re.compile(r"\{([SO]):([^|{}]*)\|([^|{}]*)\}")
_POSSESSIVES: Final = ("your", "your", "the", "the", "the", "the", "her", "his", "their", "its", "")
_SLOT: Final = re.compile(r"\{(\w+)\}")


def drawn(rng: np.random.Generator, pattern: Pattern) -> tuple[dict[str, float], dict[str, str]]:
    """Values and words of all numbers of a pattern.

    Raises:
        PatternError: one cannot be drawn.
    """
    values, words = {}, {}
    for name, spec in pattern.draw.items():
        values[name], words[name] = draw(rng, spec, pattern.lang)
    return values, words


def say(rng: np.random.Generator, pattern: Pattern, text: str, side: Side, numbers: Mapping[str, str]) -> str:
    """One wording of a sentence.

    Raises:
        PatternError: a slot that nothing fills, or brackets that do not match.
    """

    def otherwise(match: re.Match[str]) -> str:
        is_left = (side == "L") == (match.group(1) == "S")
        return match.group(2) if is_left else match.group(3)

    text = _SIDE_OTHERWISE.sub(otherwise, text)
    table = {**pattern.words, **numbers, **_SIDE_WORDS[side]}
    table["your"] = _POSSESSIVES[rng.integers(len(_POSSESSIVES))]
    for _ in range(40):
        slots = _SLOT.findall(text)
        if not slots:
            break
        unknown = [name for name in slots if name not in table]
        if unknown:
            raise PatternError(f"nothing fills {{{unknown[0]}}} in {text!r}")
        text = _SLOT.sub(lambda match: table[match.group(1)], text)
    else:
        raise PatternError(f"words of {text!r} name themselves without end")
    if text.count("[") != text.count("]"):
        raise PatternError(f"brackets do not match in {text!r}")
    return expand(rng, text, {})
