# SPDX-License-Identifier: Apache-2.0
"""Whether the cases' sentences stand in what a model was trained on: word for word, or nearly so.

Nearly so: the sets of three letters in a row have at least NEAR of them in common (Broder 1997, resemblance), which a
changed word or two does not hide.
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
    for text in {plain(text) for text in texts}:
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
            elif likeness >= NEAR and likeness > near.get(identity, (0.0, ""))[0]:
                near[identity] = (likeness, text)
    return {
        "corpora": list(corpora),
        "texts": count,
        "exact": sorted(exact),
        "near": {identity: near[identity][1] for identity in sorted(near.keys() - exact)},
    }


def texts_in(path: Path) -> Iterator[str]:
    """The texts of a file: a line each, or of JSON lines the values of ``instruction``, ``text`` and ``value``.

    Raises:
        FileNotFoundError: no such file.
    """
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("{"):
            yield line
            continue
        try:
            record = json.loads(line)
        except ValueError:
            yield line
            continue
        yield from (
            record[name] for name in ("instruction", "text", "value") if isinstance(record.get(name), str)
        )


def _grams(text: str) -> frozenset[str]:
    padded = f" {text} "
    return frozenset(padded[at : at + GRAM] for at in range(max(1, len(padded) - GRAM + 1)))
