# SPDX-License-Identifier: Apache-2.0
"""Reads ``rules.yaml`` and writes its sentences out: every alternative, for either side and for both."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from itertools import product
from math import prod
from pathlib import Path
from random import Random
from typing import Any, Final

import numpy as np

from training.yaml_file import read_yaml

RULES_FILE: Final = Path(__file__).with_name("rules.yaml")

LEFT: Final = 0
RIGHT: Final = 1
BOTH: Final = 2
"""Whom a sentence is about. What has no sides is told as LEFT."""

MOST_ALTERNATIVES: Final = 160
"""A sentence with more alternatives than this is represented by as many random ones."""

_TOKENS: Final = re.compile(r"[\[\]|]|[^\[\]|]+")
_NOUN: Final = re.compile(r"\{(same|other):(\w+)\}")
_SPACES: Final = re.compile(r" +")
_SIDE_NAMES: Final = ("left", "right")
_SIDE, _OTHER_SIDE = "\x01", "\x02"
_PLURALS: Final = {"foot": "feet"}
_SYNONYMS: Final = {
    "trunk": "[torso|upper body|trunk|torso|chest]",
    "upper_arm": "[upper arm|upper arm|elbow]",
    "upper_arm_or_arm": "[upper arm|elbow|arm]",
    "thigh": "[thigh|thigh|upper leg]",
    "thigh_or_knee": "[thigh|knee|leg]",
    "toe": "toes",
    "body": "[body|whole body]",
}
_MIDDLE: Final = {"trunk", "head", "chin", "face", "back", "body", "shoulders"}
"""Nouns without a side."""


Draw = Callable[[], float]
"""Gives a random number in [0, 1)."""


def quick_draws(rng: np.random.Generator) -> Draw:
    """Draws one at a time, seeded by ``rng``: several times as fast as numpy's."""
    return Random(int(rng.integers(2**62))).random


@cache
def load_rules(path: Path = RULES_FILE) -> Mapping[str, Any]:
    """The rules as they stand in the file."""
    rules: Mapping[str, Any] = read_yaml(path)
    return rules


def alternatives(template: str, who: int, *, short: bool = False, **words: str) -> tuple[str, ...]:
    """Every way to say ``template`` of one side or of both; ``{your}`` and unknown names stay as they are.

    Args:
        template: with ``[a|b]`` choices and slots; see ``rules.yaml``. A bar outside brackets parts sentences.
        who: LEFT, RIGHT or BOTH.
        short: leave the side out of ``{same:NOUN}``, where it is known already.
        words: what to put for further slots; may hold choices and slots itself.
    """
    text = f"[{template}]"
    for name, word in words.items():
        text = text.replace("{" + name + "}", word)
    text = _NOUN.sub(lambda found: _noun(found[1], found[2], who, short), text)
    both = who == BOTH
    for name, word in (
        ("side", "" if both else _SIDE),
        ("other", "other" if both else _OTHER_SIDE),
        ("it_is", "they are" if both else "it is"),
        ("it_points", "they point" if both else "it points"),
    ):
        text = text.replace("{" + name + "}", word)
    # The names of the sides go in last, so that both sides have the same alternatives in the same order.
    side, other = _SIDE_NAMES[who % 2], _SIDE_NAMES[1 - who % 2]
    return tuple(one.replace(_SIDE, side).replace(_OTHER_SIDE, other) for one in _expand(text))


def _noun(relation: str, noun: str, who: int, short: bool) -> str:
    word = _SYNONYMS.get(noun, noun)
    if noun in _MIDDLE:
        return f"{{your}} {word}"
    side = _SIDE if relation == "same" else _OTHER_SIDE
    if who == BOTH:
        plural = _SYNONYMS.get(noun, noun) if noun == "toe" else _plural(word)
        if relation == "other":
            return f"the opposite {plural}"
        return f"the {plural}" if short else f"[{{your}}|{{your}}|both] {plural}"
    if short and relation == "same":
        return f"the {word}"
    return f"{{your}} {side} {word}"


def _plural(word: str) -> str:
    if word.startswith("["):
        return "[" + "|".join(_plural(part) for part in word[1:-1].split("|")) + "]"
    return _PLURALS.get(word, word + "s")


Part = str | tuple["Part", ...] | list["Part"]
"""A template taken apart: plain text, parts one after the other (a tuple), or a choice of parts (a list)."""


def _expand(text: str) -> tuple[str, ...]:
    """All texts that a template with choices stands for, or a sample of them where they are many."""
    tree = _parse(text)
    if _count(tree) <= MOST_ALTERNATIVES:
        texts = _all(tree)
    else:
        draw = Random(len(text)).random
        texts = [_one(tree, draw) for _ in range(MOST_ALTERNATIVES)]
    return tuple(_SPACES.sub(" ", one).strip() for one in texts)


def _parse(text: str) -> Part:
    """The template as a tree."""
    open_choices: list[list[list[Part]]] = [[[]]]
    for token in _TOKENS.findall(text):
        if token == "[":
            open_choices.append([[]])
        elif token == "|" and len(open_choices) > 1:
            open_choices[-1].append([])
        elif token == "]":
            choice = open_choices.pop()
            open_choices[-1][-1].append([tuple(option) for option in choice])
        else:
            open_choices[-1][-1].append(token)
    return tuple(open_choices[0][0])


def _count(part: Part) -> int:
    if isinstance(part, str):
        return 1
    return prod(map(_count, part)) if isinstance(part, tuple) else sum(map(_count, part))


def _all(part: Part) -> list[str]:
    if isinstance(part, str):
        return [part]
    if isinstance(part, list):
        return [text for option in part for text in _all(option)]
    return ["".join(texts) for texts in product(*map(_all, part))]


def _one(part: Part, draw: Draw) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, list):
        return _one(part[int(draw() * len(part))], draw)
    return "".join([_one(item, draw) for item in part])
