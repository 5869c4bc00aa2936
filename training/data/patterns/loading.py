# SPDX-License-Identifier: Apache-2.0
"""The pattern files: sentences and what they ask for.

``sentences/KIND.yaml``, or any file in the folder ``sentences/KIND/``, holds patterns of one kind::

    words:                                   # optional: alternatives for this file's sentences
      put: "[put|place|lay|rest]"
    patterns:
      - do:                                  # imperatives: they are joined, made polite, told what is to stay
          - "{put} {your} {S} hand on the [nape|back of the neck]"
        say:                                 # anything else
          - "{S} hand on the nape"
        move: S_arm                          # groups or joints that may turn; all else stays, to the bit
        want: [touch S_palm nape]            # constraints on the result; language.py has the notation
        when: ["dist S_hand nape >= 0.2"]    # constraints on the start without which it is not asked
        draw: {n: 5..30 cm}                  # numbers: {n} in sentences and constraints; numbers.py

``move`` may name root, trunk, head, S_arm, O_arm, L_arm, R_arm, arms, S_leg …, legs, upper, lower, all, and single
joints. In a sentence ``[a|b|]`` picks one, ``{your}`` is a possessive or an article, ``{S}`` and ``{O}`` the side and
the other side ("left"), ``{S:linken|rechten}`` says them otherwise, and other slots are of ``draw``, of ``words``, or
of ``words.yaml``. A pattern that names a side (S_ or O_) is drawn for either; ``when`` can tell which side is meant
where the words do not ("the raised arm"). Further keys, all optional:

- ``set``: what is done before constraints are met: ``turn 90`` (the whole body, degrees to its left), ``face 90`` (see
  ``viewing``), ``rest GROUPS`` (as in a neutral standing figure), ``zero GROUPS`` (as in the T-pose), ``mirror S_arm``
  (from the other side), ``swap GROUPS`` (both sides change places), ``pose NAME GROUPS`` (of a posture by name;
  ``--postures`` of ``check`` lists them), and ``back GROUPS`` (follow-ups: as before the last turn).
- ``task: generate``: a pose from words alone (from a neutral standing figure); ``both`` for either.
- ``reply``: ``unclear``, ``no_request``, ``impossible`` or ``already``: nothing moves, the answer is words.
- ``lang``: de, fr, es, pt, it; English where it is left out.
- ``first``: a pattern that was asked for before; this one follows it, for the same side, from the pose it left.
- ``alone: true``: neither joined with others nor wrapped.
- ``weight``: how often it is drawn beside others of its kind; 1 where it is left out.

A fifth of the sentences, told by a hash of their text, is never trained on. A file that says ``learnt: true`` beside
``words`` is trained on whole: the weights that ship learnt its words from another source, so that a sentence of it that
is held out would not be unseen.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

from training.yaml_file import read_yaml

from .language import PatternError
from .numbers import LANGUAGES, DrawSpec

SENTENCES: Final = Path(__file__).with_name("sentences")
WORDS_FILE: Final = Path(__file__).with_name("words.yaml")
REPLIES: Final = ("unclear", "no_request", "impossible", "already")
TASKS: Final = ("adjust", "generate", "both")
HELD_OUT: Final = 5
"""One of so many sentences is held out."""
ReadFile = Callable[[str, Path], tuple[list["Pattern"], list[str]]]
"""Reads a file of a kind: its patterns, and its faults in a sentence each."""
_KEYS: Final = {
    "do", "say", "move", "want", "when", "draw", "set", "task", "reply", "lang", "first", "alone", "weight", "name",
}  # fmt: skip
_NAMES_A_SIDE: Final = re.compile(r"\b[SO](?=_|\b)")
_SAYS_A_SIDE: Final = re.compile(r"\{[SO](i|:[^{}]*)?\}")


@dataclass(frozen=True)
class Sentence:
    """One way of asking; ``imperative`` ones can be joined and wrapped."""

    text: str
    imperative: bool
    held_out: bool


@dataclass(frozen=True)
class Pattern:
    """Ways of asking for one thing, and the thing: see the module's docstring."""

    kind: str
    name: str
    sentences: tuple[Sentence, ...]
    move: str = ""
    want: tuple[str, ...] = ()
    when: tuple[str, ...] = ()
    draw: Mapping[str, DrawSpec] = field(default_factory=dict)
    set: tuple[str, ...] = ()
    task: str = "adjust"
    reply: str | None = None
    lang: str = "en"
    first: Pattern | None = None
    alone: bool = False
    weight: float = 1.0
    words: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def sided(self) -> bool:
        """Whether it is of one side and can be asked of either."""
        told = (self.move, *self.want, *self.when, *self.set)
        own = any(_NAMES_A_SIDE.search(line.removeprefix("each ")) for line in told if line) or self.says_side
        return own or (self.first is not None and self.first.sided)

    @property
    def says_side(self) -> bool:
        """Whether the words tell the side."""
        return any(_SAYS_A_SIDE.search(sentence.text) for sentence in self.sentences)

    def usable(self, *, held_out: bool, imperative: bool = False) -> list[Sentence]:
        """Its sentences of the part that is trained on, or of the part that is held out."""
        return [
            one for one in self.sentences if one.held_out == held_out and (one.imperative or not imperative)
        ]


def is_held_out(kind: str, text: str) -> bool:
    """Whether a sentence is never trained on."""
    return hashlib.blake2b(f"{kind}/{text}".encode(), digest_size=4).digest()[0] % HELD_OUT == 0


def load_patterns(folder: Path = SENTENCES, read: ReadFile | None = None) -> list[Pattern]:
    """All patterns of a folder, each file read by ``read_file`` or as ``read`` does.

    Raises:
        PatternError: a file is not as it should be; all its faults are named.
    """
    patterns, faults = [], []
    for kind, path in pattern_files(folder):
        found, wrong = (read or read_file)(kind, path)
        patterns += found
        faults += wrong
    if faults:
        raise PatternError("\n".join(faults))
    return patterns


@cache
def default_patterns() -> tuple[Pattern, ...]:
    """The project's own patterns, read once."""
    return tuple(load_patterns())


def pattern_files(folder: Path = SENTENCES) -> Iterator[tuple[str, Path]]:
    """The kind and path of every pattern file."""
    for path in sorted(folder.rglob("*.yaml")):
        inside = path.relative_to(folder)
        yield (inside.parts[0] if len(inside.parts) > 1 else path.stem), path


def read_file(
    kind: str, path: Path, prepare: Callable[[Any], Any] | None = None
) -> tuple[list[Pattern], list[str]]:
    """The patterns of a file, once what it holds is prepared, and its faults in a sentence each."""
    try:
        data = read_yaml(path)
    except yaml.YAMLError as error:
        return [], [f"{path.name}: no readable YAML: {error}"]
    if prepare is not None:
        data = prepare(data)
    if not isinstance(data, Mapping) or not isinstance(data.get("patterns"), list):
        return [], [f"{path.name}: needs a list under patterns:"]
    words, learnt = {**_shared_words(), **data.get("words", {})}, data.get("learnt", False)
    patterns, faults = [], []
    for number, entry in enumerate(data["patterns"], start=1):
        name = f"{path.stem}/{number}"
        try:
            patterns.append(_pattern(kind, name, entry, words, learnt=learnt))
        except PatternError as error:
            faults.append(f"{path.name}, pattern {number}: {error}")
    return patterns, faults


@cache
def _shared_words() -> Mapping[str, str]:
    words: Mapping[str, str] = read_yaml(WORDS_FILE)
    return words


def _pattern(kind: str, name: str, entry: Any, words: Mapping[str, str], *, learnt: bool) -> Pattern:
    if not isinstance(entry, Mapping):
        raise PatternError("is no mapping of do, say, move, want …")
    unknown = sorted(map(str, set(entry) - _KEYS))
    if unknown:
        raise PatternError(f"unknown keys {', '.join(unknown)}; there are {', '.join(sorted(_KEYS))}")
    sentences = tuple(
        Sentence(text, key == "do", not learnt and is_held_out(kind, text))
        for key in ("do", "say")
        for text in _lines(entry, key)
    )
    if not sentences:
        raise PatternError("has no sentence under do: or say:")
    task, reply, lang = entry.get("task", "adjust"), entry.get("reply"), entry.get("lang", "en")
    for value, known, key in (
        (task, TASKS, "task"),
        (reply, (None, *REPLIES), "reply"),
        (lang, LANGUAGES, "lang"),
    ):
        if value not in known:
            raise PatternError(f"{key}: {value!r} is none of {', '.join(map(str, known))}")
    first = None
    if "first" in entry:
        first = _pattern(kind, f"{name}/first", entry["first"], words, learnt=learnt)
    pattern = Pattern(
        kind,
        name if "name" not in entry else f"{kind}/{entry['name']}",
        sentences,
        move=str(entry.get("move", "")),
        want=_lines(entry, "want"),
        when=_lines(entry, "when"),
        draw=entry.get("draw", {}),
        set=_lines(entry, "set"),
        task=task,
        reply=reply,
        lang=lang,
        first=first,
        alone=bool(entry.get("alone", False)),
        weight=float(entry.get("weight", 1.0)),
        words=words,
    )
    if reply is None and not pattern.want and not pattern.set:
        raise PatternError("asks for nothing: it needs want:, set: or reply:")
    if pattern.want and not pattern.move:
        raise PatternError("has want: but does not say with move: what may turn")
    return pattern


def _lines(entry: Mapping[str, Any], key: str) -> tuple[str, ...]:
    lines = entry.get(key, ())
    if isinstance(lines, str):
        return (lines,)
    if not isinstance(lines, Sequence) or not all(isinstance(line, str) for line in lines):
        raise PatternError(f"{key}: needs a list of texts; put quotes around each")
    return tuple(lines)
