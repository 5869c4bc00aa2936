# SPDX-License-Identifier: Apache-2.0
"""The one file that an entry is: who answered, what, judged how, and checksums that say that nothing was changed.

    {"format": 1, "judging": 1,
     "entry": {"name", "about", "by"},
     "cases": {"count", "sha256", "source"},
     "answers": {"sha256", "poses": {id: 24 x 3, or null}},
     "figures": {row: {figure: [value, low, high]}}, "kinds": {kind: {figure: value}},
     "outcomes": {id: {"done", "kept", "drift_degrees", "collides", "answered"}},
     "contamination": null or {"corpora", "texts", "exact", "near"},
     "sha256": of all the rest}

The answers are in it, so that anybody can judge them anew. Rows are the entry's own, and ``copy``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from training.evaluate.bootstrap import Estimate

from .cases import Case, fingerprint
from .scoring import FIGURES, VERSION, Judged, copy_answers, figures, judge_all, pose_in

FORMAT: Final = 1
OUTCOME: Final = ("done", "kept", "drift_degrees", "collides", "answered")
"""What a result tells of each case."""
ENTRY_ROW: Final = "entry"
COPY_ROW: Final = "copy"


@dataclass(frozen=True)
class Entry:
    """Who answered: a short name, a sentence about it (model, size, date, prompt), and how to reach its author."""

    name: str
    about: str = ""
    by: str = ""


def result(
    entry: Entry,
    cases: Sequence[Case],
    answers: Mapping[str, Any],
    *,
    source: str,
    contamination: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Judge answers and put the file together. ``source`` says in words where the cases are from."""
    poses = {case["id"]: _plain(answers.get(case["id"])) for case in cases}
    judged = judge_all(cases, poses)  # as they are written, so that judging them anew gives the same
    held: dict[str, Any] = {
        "format": FORMAT,
        "judging": VERSION,
        "entry": asdict(entry),
        "cases": {"count": len(cases), "sha256": fingerprint(cases), "source": source},
        "answers": {"sha256": _sha256(poses), "poses": poses},
        "figures": {
            ENTRY_ROW: _numbers(figures(judged)),
            COPY_ROW: _numbers(figures(judge_all(cases, copy_answers(cases)))),
        },
        "kinds": _by_kind(judged),
        "outcomes": {one.id: {name: getattr(one, name) for name in OUTCOME} for one in judged},
        "contamination": None if contamination is None else dict(contamination),
    }
    return {**held, "sha256": _sha256(held)}


def write(held: Mapping[str, Any], path: Path) -> None:
    """Write a result."""
    path.write_text(json.dumps(held, indent=1) + "\n", encoding="utf-8")


def read(path: Path) -> dict[str, Any]:
    """A result that is as it was written.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is no result, or it was changed.
    """
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        rest = {name: value for name, value in held.items() if name != "sha256"}
        whole = held["sha256"] == _sha256(rest)
        same = held["answers"]["sha256"] == _sha256(held["answers"]["poses"])
        version = held["format"], held["judging"]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{path} is no result of 'posellava benchmark'") from None
    if not whole or not same:
        raise ValueError(f"{path} was changed after it was written: its checksum is another")
    if version != (FORMAT, VERSION):
        raise ValueError(f"{path} was judged by another version: judge its answers anew")
    checked: dict[str, Any] = held
    return checked


def judge_again(held: Mapping[str, Any], cases: Sequence[Case]) -> bool:
    """Whether the answers in a result, judged anew on these cases, give its figures.

    Raises:
        ValueError: it is of other cases.
    """
    if held["cases"]["sha256"] != fingerprint(cases):
        raise ValueError(f"the result of {held['entry']['name']} is of other cases than these")
    again = figures(judge_all(cases, held["answers"]["poses"]))
    return bool(_numbers(again) == held["figures"][ENTRY_ROW])


def _plain(answer: Any) -> list[list[float]] | None:
    pose = pose_in(answer)
    return None if pose is None else np.round(pose, 6).tolist()


def _numbers(found: Mapping[str, Estimate]) -> dict[str, list[float]]:
    return {
        name: [round(value, 6) for value in (one.value, one.low, one.high)] for name, one in found.items()
    }


def _by_kind(judged: Sequence[Judged]) -> dict[str, dict[str, float]]:
    kinds: dict[str, list[Judged]] = {}
    for one in judged:
        kinds.setdefault(one.kind, []).append(one)
    return {
        kind: {
            "cases": len(ones),
            **{name: round(float(np.mean([one.value(name) for one in ones])), 6) for name in FIGURES},
        }
        for kind, ones in kinds.items()
    }


def _sha256(held: Any) -> str:
    return hashlib.sha256(json.dumps(held, sort_keys=True).encode()).hexdigest()
