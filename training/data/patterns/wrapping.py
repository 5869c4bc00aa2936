# SPDX-License-Identifier: Apache-2.0
"""The same wish as different people type it: polite, terse, with talk around it, several in a row, with what must stay.

``wrapping.yaml`` has the words. Everything here takes finished clauses, whichever pattern they are of.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from training.data.directives.framing import POLITELY, REQUESTS, THANKS, still_parts, with_keep
from training.data.directives.slips import type_in
from training.data.directives.wording import expand
from training.yaml_file import read_yaml

from .language import Side

WRAPPING_FILE: Final = Path(__file__).with_name("wrapping.yaml")
REQUEST_SHARE, FRAME_SHARE, CHAT_SHARE = 0.08, 0.16, 0.25
KEEP_SHARE, TERSE_SHARE, POLITE_SHARE = 0.13, 0.12, 0.06
NOT_OTHER_SHARE: Final = 0.06
_LEFT_ALONE: Final = 3
"""Of how many parts "the rest" consists at least."""
_FILLERS: Final = re.compile(
    r"\b(please|pls|plz|the|your|her|his|their|its|a|an|should|be|is|are|just|so that|of)\b ?", re.IGNORECASE
)
_SHORT: Final = {
    "left": "[L|l|lft|left]", "right": "[R|r|rt|right]", "and": "[+|&|,|and]", "degrees": "[deg|°|d]",
    "forward": "[fwd|forward]", "forwards": "[fwd|fwds]", "backward": "[bwd|back]", "with": "[w/|with]",
    "shoulder": "[shldr|shoulder]", "shoulders": "[shldrs|shoulders]", "centimetres": "cm", "centimeters": "cm",
    "inches": "[in|inches]", "slightly": "[a bit|slightly|sl.]", "straight": "[str8|straight]", "up": "up",
    "behind": "[behind|bhnd]", "between": "[btw|between]", "without": "[w/o|without]", "position": "[pos|position]",
}  # fmt: skip


@cache
def _words() -> Mapping[str, Any]:
    words: Mapping[str, Any] = read_yaml(WRAPPING_FILE)
    return words


def _one(rng: np.random.Generator, options: Sequence[str]) -> str:
    return str(options[rng.integers(len(options))])


def in_a_row(rng: np.random.Generator, clauses: Sequence[str]) -> str:
    """Several clauses as one instruction."""
    if len(clauses) == 1:
        return clauses[0]
    if rng.random() < 0.3:
        marks = _words()["numbered"]
        chosen = marks[rng.integers(len(marks))]
        return "".join(mark + clause for mark, clause in zip(chosen, clauses, strict=False)).strip()
    joiner = _one(rng, _words()["sequence"])
    text = clauses[0]
    for number, clause in enumerate(clauses[1:], start=2):
        if number == len(clauses) and joiner == ", ":
            joiner = _one(rng, (", ", " and ", ", and ", " & "))
        text += joiner + clause
        if rng.random() < 0.3 and "\n" not in joiner:
            joiner = _one(rng, _words()["sequence"][:8])
    return text


def in_language(rng: np.random.Generator, clauses: Sequence[str], language: str) -> str:
    """One or several clauses of another language as one instruction, now and then with a polite word."""
    words = _words()["languages"][language]
    text = clauses[0]
    for number, clause in enumerate(clauses[1:], start=2):
        # The last is joined by "and", those before it mostly by commas.
        text += (_one(rng, words["row"]) if number == len(clauses) else ", ") + clause
    if rng.random() < 2 * POLITE_SHARE:
        text = _one(rng, words["polite"]).replace("{}", text)
    return type_in(rng, text, slip_share=0.08)


def terse(rng: np.random.Generator, text: str) -> str:
    """As a note: without articles, in lower case, abbreviated here and there."""
    text = _FILLERS.sub("", text).strip()

    def shorten(match: re.Match[str]) -> str:
        short = _SHORT.get(match.group(0).lower())
        return match.group(0) if short is None or rng.random() < 0.35 else expand(rng, short, {})

    text = re.sub(r"[A-Za-z]+", shorten, text)
    text = re.sub(r"(\d) (cm|deg|°|in)\b", r"\1\2" if rng.random() < 0.6 else r"\1 \2", text)
    return text.replace(" ,", ",").lower() if rng.random() < 0.8 else text.upper()


def wrapped(
    rng: np.random.Generator,
    text: str,
    *,
    imperative: bool,
    side: Side | None,
    unmoved: npt.NDArray[np.bool_],
) -> str:
    """One way of typing a finished clause, or several in a row.

    Args:
        imperative: whether it can be wrapped into a request and told what is to stay.
        side: the one side that the words speak of; None where they speak of none or of both.
        unmoved: (24,) the joints that stay.
    """
    form = rng.random()
    if form < TERSE_SHARE:
        return type_in(rng, terse(rng, text), slip_share=0.2)
    form -= TERSE_SHARE
    still = still_parts(unmoved)
    if imperative and side is not None and rng.random() < NOT_OTHER_SHARE:
        sides = {"S": "left", "O": "right"} if side == "L" else {"S": "right", "O": "left"}
        text = expand(rng, _one(rng, _words()["not_other"]).replace("{}", text), sides)
    elif imperative and len(still) >= _LEFT_ALONE and form < KEEP_SHARE:
        text = with_keep(rng, text, still)
    elif imperative and rng.random() < REQUEST_SHARE:
        text = _one(rng, REQUESTS).replace("{}", text)
    elif imperative and rng.random() < FRAME_SHARE:
        text = expand(rng, _one(rng, _words()["frames"]).replace("{}", "{it}"), {"it": text})
    if rng.random() < POLITE_SHARE:
        text = _one(rng, POLITELY + THANKS if imperative else THANKS).replace("{}", text)
    if rng.random() < CHAT_SHARE:
        text = _with_chat(rng, text)
    return type_in(rng, text, slip_share=0.12)


def _with_chat(rng: np.random.Generator, text: str) -> str:
    form = rng.random()
    if form < 0.75:
        before = expand(rng, _one(rng, _words()["before"]), {})
        if before[-1] in ".!?" or rng.random() < 0.2:
            text = text[:1].upper() + text[1:]
        text = f"{before[:1].upper() + before[1:] if rng.random() < 0.5 else before} {text}"
    if form > 0.5:
        if text[-1:].isalnum():
            text += _one(rng, (".", ".", ",", "!", ""))
        after = expand(rng, _one(rng, _words()["after"]), {})
        text += f" {after[:1].upper() + after[1:] if text[-1] in '.!' and rng.random() < 0.7 else after}"
    return text
