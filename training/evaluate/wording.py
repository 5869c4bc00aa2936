# SPDX-License-Identifier: Apache-2.0
"""Changes of an instruction's wording that must not change what is done, and the mirroring of its sides."""

from __future__ import annotations

import re
from typing import Final

import numpy as np

NONSENSE: Final = ("", "   ", "?!", "banana", "qwertz uiop", "the invoice is due on tuesday")
"""Texts that ask for nothing."""

SHORTEST_MISSPELT: Final = 5
"""Letters of a word that may be misspelt; a slip in a shorter one easily makes another word of it."""

_STOPS: Final = re.compile(r"[.,;:!?]+(?=\s|$)")
_LONG_WORD: Final = re.compile(rf"[A-Za-z]{{{SHORTEST_MISSPELT},}}")
_SIDES: Final = re.compile(
    r"\b(left|right(?!\s+angle)|clockwise|anticlockwise|counterclockwise)\b", re.IGNORECASE
)
_OTHER_SIDE: Final = {
    "left": "right",
    "right": "left",
    "clockwise": "anticlockwise",
    "anticlockwise": "clockwise",
    "counterclockwise": "clockwise",
}


def rewordings(instruction: str, rng: np.random.Generator) -> dict[str, str]:
    """The instruction in other wordings, by what was changed; a change that is not possible is left out."""
    plain = instruction.rstrip(" .!")
    changed = {
        "upper case": instruction.upper(),
        "lower case": instruction.lower(),
        "no punctuation": _STOPS.sub("", instruction),
        "exclamation marks": plain + "!!",
        "trailing spaces": instruction + "   ",
        "please": "please " + instruction[:1].lower() + instruction[1:],
        "pls": plain + " pls",
    }
    slip = misspell(instruction, rng)
    return changed if slip is None else {**changed, "a misspelt word": slip}


def misspell(instruction: str, rng: np.random.Generator) -> str | None:
    """The instruction with one slip within one word: two letters swapped or one left out; None where all are short."""
    words = list(_LONG_WORD.finditer(instruction))
    if not words:
        return None
    word = words[rng.integers(len(words))]
    place = word.start() + int(rng.integers(1, len(word.group()) - 2))
    first, second = instruction[place], instruction[place + 1]
    # Swapping equal letters would change nothing.
    put = second if first == second or rng.random() < 0.5 else second + first
    return instruction[:place] + put + instruction[place + 2 :]


def mirror_words(instruction: str) -> str:
    """The instruction with left and right exchanged, in the case in which they are written; right angles stay."""
    return _SIDES.sub(_exchange, instruction)


def _exchange(match: re.Match[str]) -> str:
    word = match.group()
    other = _OTHER_SIDE[word.lower()]
    if word.isupper():
        return other.upper()
    return other.capitalize() if word[0].isupper() else other
