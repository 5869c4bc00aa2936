# SPDX-License-Identifier: Apache-2.0
"""Whether the cases' sentences stand in what a model was trained on: word for word, or nearly so.

Nearly so: the sets of three letters in a row have at least NEAR of them in common (Broder 1997, resemblance), which a
changed word or two does not hide; or a sentence of some words stands whole within a longer text, such as a question
that is wrapped around it.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from .cases import Case

NEAR: Final = 0.7
GRAM: Final = 3
WORDS: Final = 4
"""A sentence of so many words is no chance within a longer text."""
KEYS: Final = ("instruction", "text", "value")
_WORD: Final = re.compile(r"[^\W_]+")


def plain(text: str) -> str:
    """A text without capitals and punctuation."""
    return " ".join(_WORD.findall(text.lower()))


def check(cases: Sequence[Case], texts: Iterable[str], *, corpora: Sequence[str]) -> dict[str, Any]:
    """Which cases stand in a corpus: ``{"corpora", "texts", "exact": [id], "near": {id: text}}``.

    Args:
        cases: the benchmark's.
        texts: everything that the model read.
        corpora: how these are called.
    """
    asked = {case["id"]: plain(case["instruction"]) for case in cases}
    grams = {identity: _grams(text) for identity, text in asked.items()}
    holding: dict[str, set[str]] = defaultdict(set)
    for identity, known in grams.items():
        for gram in known:
            holding[gram].add(identity)
    exact: set[str] = set()
    near: dict[str, tuple[float, str]] = {}
    count = 0
    for text in sorted({plain(text) for text in texts}):  # of equally near ones always the same is told
        count += 1
        own = _grams(text)
        shared: dict[str, int] = defaultdict(int)
        for gram in own:
            for identity in holding.get(gram, ()):
                shared[identity] += 1
        for identity, number in shared.items():
            likeness = number / (len(own) + len(grams[identity]) - number)
            if text == asked[identity]:
                exact.add(identity)
                continue
            if number == len(grams[identity]) and _stands_in(asked[identity], text):
                likeness = 1.0
            if likeness >= NEAR and likeness > near.get(identity, (0.0, ""))[0]:
                near[identity] = (likeness, text)
    return {
        "corpora": list(corpora),
        "texts": count,
        "exact": sorted(exact),
        "near": {identity: near[identity][1] for identity in sorted(near.keys() - exact)},
    }


def _stands_in(sentence: str, text: str) -> bool:
    return len(sentence.split()) >= WORDS and f" {sentence} " in f" {text} "


def texts_in(path: Path) -> Iterator[str]:
    """The texts of a file: a line each, or of JSON, a line each or the whole file, all under ``instruction``, ``text``
    and ``value``, however deep they lie.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is no text in UTF-8.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is no text in UTF-8") from None
    whole = _parsed(text)
    if whole is not None:
        yield from _told(whole)
        return
    for line in text.splitlines():
        record = _parsed(line)
        yield from [line] if record is None else _told(record)


def _parsed(text: str) -> Any:
    """An object or a list, where the text is one in JSON."""
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        return json.loads(text)
    except ValueError:
        return None


def _told(record: Any, *, is_text: bool = True) -> Iterator[str]:
    """The texts in a JSON value."""
    if isinstance(record, str):
        if is_text:
            yield record
    elif isinstance(record, list):
        for each in record:
            yield from _told(each, is_text=is_text)
    elif isinstance(record, dict):
        for name, value in record.items():
            yield from _told(value, is_text=name in KEYS)


def _grams(text: str) -> frozenset[str]:
    padded = f" {text} "
    return frozenset(padded[at : at + GRAM] for at in range(max(1, len(padded) - GRAM + 1)))
