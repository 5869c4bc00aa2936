# SPDX-License-Identifier: Apache-2.0
"""Slips of the keyboard set right before a text is cut into tokens, as its case is: a misspelt word falls into pieces
that mean nothing to a small model. What the words mean stays the model's business.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Container, Iterator
from typing import Final

SHORTEST: Final = 4
"""Letters; shorter words have too many neighbours."""
_WORD: Final = re.compile(rf"(?<![A-Za-z])[A-Za-z]{{{SHORTEST},}}(?![A-Za-z])")
_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"


class Spelling:
    """Puts a known word in the place of an unknown one that is a single slip from it.

    Args:
        known: words, in lower case, that slips are taken back to.
        others: further words that are no slips: those that the tokenizer has whole.
    """

    def __init__(self, known: Collection[str], others: Container[str]) -> None:
        self._known = frozenset(known)
        self._others = others

    def correct(self, text: str) -> str:
        """The text with its slips set right. A word that two known words are equally near to stays as it is."""
        return _WORD.sub(lambda match: self._word(match.group()), text)

    def _word(self, typed: str) -> str:
        word = typed.lower()
        if word in self._known or word in self._others:
            return typed
        for slip in (_swapped, _left_out, _put_in, _hit_beside):
            meant = {near for near in slip(word) if near in self._known}
            if meant:
                return meant.pop() if len(meant) == 1 else typed
        return typed


def _swapped(word: str) -> Iterator[str]:
    """What may have been meant where two letters were typed in the wrong order."""
    for at in range(len(word) - 1):
        yield word[:at] + word[at + 1] + word[at] + word[at + 2 :]


def _left_out(word: str) -> Iterator[str]:
    for at in range(1, len(word) + 1):
        for letter in _LETTERS:
            yield word[:at] + letter + word[at:]


def _put_in(word: str) -> Iterator[str]:
    for at in range(1, len(word)):
        yield word[:at] + word[at + 1 :]


def _hit_beside(word: str) -> Iterator[str]:
    for at in range(1, len(word)):
        for letter in _LETTERS:
            yield word[:at] + letter + word[at + 1 :]
