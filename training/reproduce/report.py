# SPDX-License-Identifier: Apache-2.0
"""A finished table as Markdown, JSON and a figure, beside the paper's numbers, with what may be compared."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from training.evaluate.bootstrap import Estimate
from training.writing import writing_to

from .paper import TABLES
from .tables import FIGURES, Table

TITLES: Final = {
    "table2": "Table 2: pose estimation",
    "table3": "Table 3: pose adjustment",
    "table4": "Table 4: pose generation",
    "table5": "Table 5: training on PosePart, PoseFix or both",
}
HEADS: Final = ("MPJPE", "PA-MPJPE", "R@1", "R@5", "R@10")
COMPARABLE: Final = (
    "Comparable within the table: all rows answer the same cases, and what is trained here saw samples of its tasks "
    "for the same time. Not comparable with the paper's numbers, which stand beside them for their order and "
    "distances: its poses, words, body and pictures are others, its models have 7 billion weights and more, and each "
    "of its methods finds by embeddings of its own (here all by the shipped pose encoder)."
)


def markdown(table: Table) -> str:
    """The table with intervals of 95 %, the paper's numbers, and its claims."""
    order = table.order
    lines = [f"## {TITLES[order.table]}", ""]
    for column, rows in table.figures.items():
        source = order.test.get(column) or order.poses
        lines += [
            f"`{column}`: {order.count} cases at most from {'constructed poses' if source is None else source.name}, "
            f"benchmark {table.fingerprints[column]}; mm and %",
            "",
            "| | " + " | ".join(HEADS) + " | paper: MPJPE / PA |",
            "|---" * (len(HEADS) + 2) + "|",
        ]
        reported = TABLES[order.table]
        for row, figures in rows.items():
            cells = [figures[name].told() for name in FIGURES]
            lines.append(f"| {row} | " + " | ".join(cells) + f" | {_reported(reported, row, column)} |")
        lines += [
            f"| {row} |{' |' * len(HEADS)} {_reported(reported, row, column)} |"
            for row in reported
            if row not in rows and column in reported[row]
        ]
        lines.append("")
    others = sorted({column for row in TABLES[order.table].values() for column in row} - set(table.figures))
    for column in others:
        lines += [
            f"`{column}`: the paper alone, for this run was given no such data; mm",
            "",
            "| | MPJPE / PA |",
        ]
        lines.append("|---|---|")
        lines += [
            f"| {row} | {_reported(TABLES[order.table], row, column)} |"
            for row, columns in TABLES[order.table].items()
            if column in columns
        ]
        lines.append("")
    if table.verdicts:
        lines += [
            "| claim | here: ratio of MPJPE | lower | the paper: by | by as much |",
            "|---|---|---|---|---|",
        ]
        for one in table.verdicts:
            gain = "" if one.paper_gain is None else f"{100 * one.paper_gain:.0f} %"
            lines.append(
                f"| {one.better} below {one.worse} on {one.column} | {one.ratio.told(2)} | **{one.held}** | {gain} | "
                f"{one.gain_held or ''} |"
            )
        lines.append("")
    if table.samples_seen:
        seen = ", ".join(f"{row} {count:,}" for row, count in table.samples_seen.items())
        lines += [f"Samples seen, with --minutes {order.effort.minutes:g} of a core: {seen}.", ""]
    return "\n".join([*lines, COMPARABLE, ""])


def _reported(reported: dict[str, Any], row: str, column: str) -> str:
    mpjpe, aligned = reported.get(row, {}).get(column, (None, None))
    if mpjpe is None and aligned is None:
        return ""
    return f"{'-' if mpjpe is None else mpjpe} / {'-' if aligned is None else aligned}"


def as_json(table: Table) -> dict[str, Any]:
    """``{"table", "columns": {column: {row: {figure: [value, low, high]}}}, "claims": […], …}``."""
    order = table.order
    return {
        "table": order.table,
        "poses": None if order.poses is None else order.poses.name,
        "cases": order.count,
        "minutes": order.effort.minutes,
        "samples_seen": table.samples_seen,
        "seed": order.effort.seed,
        "benchmarks": table.fingerprints,
        "columns": {column: cells(rows) for column, rows in table.figures.items()},
        "paper": TABLES[order.table],
        "claims": [
            {
                "better": one.better, "worse": one.worse, "column": one.column, "paper_gain": one.paper_gain,
                "ratio": [one.ratio.value, one.ratio.low, one.ratio.high], "verdict": one.held,
                "gain_verdict": one.gain_held,
            }
            for one in table.verdicts
        ],
    }  # fmt: skip


def figure(table: Table, path: Path) -> None:
    """Bars of MPJPE with intervals, and the paper's numbers as marks."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(5.0 * max(1, len(table.figures)), 3.6), layout="constrained")
    FigureCanvasAgg(drawn)
    axes = drawn.subplots(1, len(table.figures), squeeze=False)[0]
    for axis, (column, rows) in zip(axes, table.figures.items(), strict=True):
        values = [figures["mpjpe"] for figures in rows.values()]
        places = range(len(rows))
        bounds = [[one.value - one.low for one in values], [one.high - one.value for one in values]]
        axis.barh(places, [one.value for one in values], xerr=bounds, color="#7fa8c9", capsize=2)
        for place, row in zip(places, rows, strict=True):
            reported = TABLES[table.order.table].get(row, {}).get(column, (None, None))[0]
            if reported is not None:
                axis.plot(reported, place, "kD", markersize=4)
        axis.set_yticks(list(places), list(rows))
        axis.invert_yaxis()
        axis.set_title(f"{column}: MPJPE, mm (diamonds: the paper's own data)", fontsize=8)
    drawn.savefig(path, dpi=110)


def write(table: Table) -> list[Path]:
    """Writes the three files into the order's folder; returns their paths."""
    base = table.order.output / table.order.table
    texts = write_texts(base, markdown(table), as_json(table))
    picture = base.with_suffix(".png")
    with writing_to(base.parent):
        figure(table, picture)
    return [*texts, picture]


def write_texts(base: Path, text: str, record: dict[str, Any]) -> list[Path]:
    """Writes ``base.md`` and ``base.json``; returns their paths."""
    paths = [base.with_suffix(".md"), base.with_suffix(".json")]
    with writing_to(base.parent):
        paths[0].write_text(text, encoding="utf-8")
        paths[1].write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return paths


def cells(rows: Mapping[str, Mapping[str, Estimate]]) -> dict[str, dict[str, list[float]]]:
    """The figures of each row of a column, as JSON holds them: ``[value, low, high]``."""
    return {
        row: {name: [one.value, one.low, one.high] for name, one in figures.items()}
        for row, figures in rows.items()
    }
