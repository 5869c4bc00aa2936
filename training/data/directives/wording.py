# SPDX-License-Identifier: Apache-2.0
"""Sentences for directives, expanded from the wording files (``wording/*.yaml``).

A wording file has ``words``, named alternatives for its own sentences (those of a file without kinds are for every
file), and ``kinds``: for each kind (and ``kind/variant`` where a kind has variants) the lists ``do``, imperative
clauses, and ``say``, everything else.
In a sentence ``[a|b|]`` picks one alternative (they nest; an empty one is allowed), ``{name}`` is a slot: first
looked up in the words the kind gave, then in ``words``. ``{L}`` and ``{R}`` are the sides, ``{Li}`` and ``{Ri}`` their
initials, ``{ccw}`` and ``{cw}`` the turns towards them seen from above, ``{your}`` a possessive that stays the same
throughout a sentence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from training.yaml_file import read_yaml

WORDING_FOLDER: Final = Path(__file__).parent / "wording"
_INNERMOST_CHOICE: Final = re.compile(r"\[([^\[\]]*)\]")
_SLOT: Final = re.compile(r"\{(\w+)\}")
_SIDES: Final = (
    {"L": "left", "R": "right", "Li": "L", "Ri": "R", "ccw": "counter-clockwise", "cw": "clockwise"},
    {"L": "right", "R": "left", "Li": "R", "Ri": "L", "ccw": "clockwise", "cw": "counter-clockwise"},
)
_OTHER: Final = {
    "L": "other",
    "Li": "other",
    "R": "opposite",
    "Ri": "opposite",
    "ccw": "other",
    "cw": "other",
}
_OTHER_LIMB: Final = re.compile(
    r"other (arm|hand|elbow|forearm|wrist|palm|fist|upper arm|lower arm|leg|foot|knee|thigh|heel|ankle|toes?|hip)\b"
)
_THE_OTHER: Final = re.compile(
    r"\b(the character's|your|the|her|his|their|my|its) other (arm|hand|leg|foot)\b(?!'|-)"
)
_OTHER_TRIES: Final = 12
_ONE_SHARE: Final = 0.12
"""How often the other limb is only called "the other one"."""
_POSSESSIVES: Final = ("your", "your", "your", "the", "the", "the", "her", "his", "their", "my",
                       "the character's", "its", "")  # fmt: skip


class Wording:
    """All wording files together.

    Args:
        words: for each kind the named alternatives that its sentences may use.
        kinds: for each kind its sentences.
    """

    def __init__(
        self, words: Mapping[str, Mapping[str, str]], kinds: Mapping[str, Mapping[str, list[str]]]
    ) -> None:
        self.words = words
        self.kinds = kinds

    @classmethod
    def load(cls, folder: Path = WORDING_FOLDER) -> Wording:
        """Reads every wording file. Raises ValueError where two files define the same kind."""
        files: dict[str, dict[str, Any]] = {
            path.name: read_yaml(path) for path in sorted(folder.glob("*.yaml"))
        }
        shared = {
            name: text
            for data in files.values()
            if "kinds" not in data
            for name, text in data["words"].items()
        }
        words: dict[str, Mapping[str, str]] = {}
        kinds: dict[str, dict[str, list[str]]] = {}
        for file_name, data in files.items():
            own = {**shared, **data.get("words", {})}
            for name, sentences in data.get("kinds", {}).items():
                if name in kinds:
                    raise ValueError(f"{file_name}: the kind {name!r} is defined in another wording file too")
                kinds[name], words[name] = sentences, own
        return cls(words, kinds)

    def clause(
        self,
        rng: np.random.Generator,
        name: str,
        slots: Mapping[str, str],
        *,
        mirrored: bool,
        imperative: bool = False,
    ) -> tuple[str, bool]:
        """One wording of a kind and whether it is an imperative.

        Args:
            name: ``kind`` or ``kind/variant``.
            slots: the words that the kind gave.
            mirrored: whether left and right change places.
            imperative: only imperatives are wanted (for compounds and requests), where the kind has any.
        """
        return self._clause(rng, name, slots, _SIDES[mirrored], imperative)

    def _clause(
        self,
        rng: np.random.Generator,
        name: str,
        slots: Mapping[str, str],
        sides: Mapping[str, str],
        imperative: bool,
    ) -> tuple[str, bool]:
        entry = self.kinds[name]
        do, say = entry.get("do", []), entry.get("say", [])
        use_do = bool(do) and (imperative or not say or rng.random() < 0.7)
        pool = do if use_do else say
        sentence = pool[rng.integers(len(pool))]
        table = {**self.words[name], **slots, **sides, "your": str(rng.choice(_POSSESSIVES))}
        if table.get("pre") and "{pre}" not in sentence:
            # A sentence without a place before its verb tells a small amount after the object.
            table["amount"] = "{a_bit}"
        return expand(rng, sentence, table), use_do

    def clause_of_other(
        self, rng: np.random.Generator, name: str, slots: Mapping[str, str], *, imperative: bool = False
    ) -> tuple[str, bool] | None:
        """As ``clause``, but of "the other" limb; None where no sentence was found in which "other" is a limb's."""
        for _ in range(_OTHER_TRIES):
            text, use_do = self._clause(rng, name, slots, _OTHER, imperative)
            if len(re.findall(r"\bother\b", text)) == 1 and _OTHER_LIMB.search(text):
                if rng.random() < _ONE_SHARE:
                    text = _THE_OTHER.sub("the other one", text)
                return text, use_do
        return None


@cache
def default_wording() -> Wording:
    """The project's wording, read once."""
    return Wording.load()


def expand(rng: np.random.Generator, text: str, table: Mapping[str, str]) -> str:
    """Fills slots and picks alternatives until none is left, then tidies white space.

    Raises:
        KeyError: a slot that the table does not have.
    """

    def pick(match: re.Match[str]) -> str:
        options = match.group(1).split("|")
        return options[rng.integers(len(options))]

    while "[" in text or "{" in text:
        text = _SLOT.sub(lambda match: table[match.group(1)], text)
        while (chosen := _INNERMOST_CHOICE.sub(pick, text)) != text:
            text = chosen
    text = re.sub(r"\s+", " ", text).strip()
    return re.sub(r"\s+([,.;!?])", r"\1", text)
