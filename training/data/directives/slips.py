# SPDX-License-Identifier: Apache-2.0
"""How a sentence reaches the keyboard: case, final marks, abbreviations and the slips of typing."""

from __future__ import annotations

import re
from typing import Final

import numpy as np

SLIP_SHARE: Final = 0.25
ABBREVIATION_SHARE: Final = 0.06

_ABBREVIATIONS: Final = {
    "left": ("l", "L", "lft", "Lt"),
    "right": ("r", "R", "rt", "rgt"),
    "and": ("&", "n"),
    "forward": ("fwd",),
    "forwards": ("fwd",),
    "with": ("w/",),
    "without": ("w/o",),
    "slightly": ("slighty", "slightly"),
    "degrees": ("deg", "degs", "degree"),
    "your": ("ur", "yr"),
    "you": ("u",),
    "straight": ("strait", "str8"),
    "shoulder": ("shldr",),
    "please": ("pls", "plz"),
    "little": ("lil",),
    "because": ("bc",),
    "horizontal": ("horiz",),
    "vertical": ("vert",),
}
_NEIGHBOURS: Final = {
    "a": "sq", "b": "vn", "c": "xv", "d": "sf", "e": "wr", "f": "dg", "g": "fh", "h": "gj", "i": "uo", "j": "hk",
    "k": "jl", "l": "k", "m": "n", "n": "bm", "o": "ip", "p": "o", "q": "w", "r": "et", "s": "ad", "t": "ry",
    "u": "yi", "v": "cb", "w": "qe", "x": "zc", "y": "tu", "z": "x",
}  # fmt: skip
_ENDS: Final = ("", "", "", "", "", ".", ".", ".", ".", "!", "...", " .", "!!", " ")


def type_in(rng: np.random.Generator, sentence: str, *, slip_share: float = SLIP_SHARE) -> str:
    """The sentence as typed; ``slip_share`` is how often there are slips in it."""
    if rng.random() < ABBREVIATION_SHARE:
        sentence = _abbreviate(rng, sentence)
    if rng.random() < slip_share:
        sentence = _slip(rng, sentence)
    case = rng.random()
    if case < 0.5:
        sentence = sentence[:1].upper() + sentence[1:]
    elif case < 0.53:
        sentence = sentence.upper()
    if sentence[-1:].isalnum():
        sentence += _ENDS[rng.integers(len(_ENDS))]
    return sentence


def _abbreviate(rng: np.random.Generator, sentence: str) -> str:
    def replace(match: re.Match[str]) -> str:
        options = _ABBREVIATIONS.get(match.group(0).lower())
        if options is None or rng.random() < 0.3:
            return match.group(0)
        return options[rng.integers(len(options))]

    return re.sub(r"[A-Za-z]+", replace, sentence)


def _slip(rng: np.random.Generator, sentence: str) -> str:
    """One or two words with a letter dropped, doubled, swapped with the next one, or hit beside its key."""
    words = sentence.split(" ")
    for _ in range(1 + int(rng.random() < 0.3)):
        long = [index for index, word in enumerate(words) if len(word) > 3 and word.isalpha()]
        if not long:
            break
        index = long[rng.integers(len(long))]
        word = words[index]
        at = int(rng.integers(1, len(word) - 1))
        form = rng.integers(4)
        if form == 0:
            word = word[:at] + word[at + 1 :]
        elif form == 1:
            word = word[:at] + word[at] + word[at:]
        elif form == 2:
            word = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
        else:
            near = _NEIGHBOURS.get(word[at].lower(), word[at])
            word = word[:at] + near[rng.integers(len(near))] + word[at + 1 :]
        words[index] = word
    return " ".join(words)
