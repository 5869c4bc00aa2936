# SPDX-License-Identifier: Apache-2.0
"""Entries side by side, as a Markdown table, with the copy row that they have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from .results import COPY_ROW, ENTRY_ROW
from .scoring import FIGURES

HEADS: Final = {
    "success": "success", "done": "done", "kept": "rest kept", "drift_degrees": "drift, degrees",
    "collisions": "cuts through itself", "answered": "answered",
}  # fmt: skip


def table(results: Sequence[Mapping[str, Any]]) -> str:
    """Results of the same cases, the most successful first.

    Raises:
        ValueError: they are of different cases.
    """
    known = {held["cases"]["sha256"] for held in results}
    if len(known) != 1:
        raise ValueError("the results are of different cases, and so not comparable")
    cases = results[0]["cases"]
    rows = sorted(results, key=lambda held: -held["figures"][ENTRY_ROW]["success"][0])
    lines = [
        f"{cases['count']} cases ({cases['source']}), `{cases['sha256'][:12]}`; per cent with intervals of 95 %",
        "",
        "| entry | " + " | ".join(HEADS[name] for name in FIGURES) + " | seen in training |",
        "|---" * (len(FIGURES) + 2) + "|",
    ]
    lines += [_row(held["entry"]["name"], held["figures"][ENTRY_ROW], _seen(held)) for held in rows]
    lines.append(_row("*copy: the pose as it was*", results[0]["figures"][COPY_ROW], ""))
    return "\n".join(lines)


def _row(name: str, figures: Mapping[str, Sequence[float]], seen: str) -> str:
    cells = [_cell(figure, figures[figure]) for figure in FIGURES]
    return f"| {name} | " + " | ".join(cells) + f" | {seen} |"


def _cell(figure: str, numbers: Sequence[float]) -> str:
    scale = 1.0 if figure == "drift_degrees" else 100.0
    value, low, high = (scale * number for number in numbers)
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"


def _seen(held: Mapping[str, Any]) -> str:
    found = held["contamination"]
    return "not checked" if found is None else f"{len(found['exact'])} exact, {len(found['near'])} near"
