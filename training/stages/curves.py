# SPDX-License-Identifier: Apache-2.0
"""A run's curves as a picture: one small plot for each quantity of its log, training and validation together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

SMOOTHING: Final = 0.9
AS_THEY_ARE: Final = ("learning_rate", "samples_per_s", "tokens_per_s", "memory_gb")
"""Quantities that are not smoothed."""
_COLOURS: Final = {"train": "#4c78a8", "validation": "#e45756"}


def draw_curves(lines: Sequence[Mapping[str, Any]], picture: Path) -> None:
    """Draws the lines of a log, each with its ``step`` and ``split``, as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(name for line in lines for name in line if name not in ("step", "split")))
    columns = min(4, max(1, len(names)))
    rows = max(1, -(-len(names) // columns))
    figure = Figure(figsize=(4.2 * columns, 2.8 * rows), layout="tight")
    FigureCanvasAgg(figure)
    for index, name in enumerate(names):
        _draw_one(figure.add_subplot(rows, columns, index + 1), lines, name)
    partial = picture.with_suffix(".partial")
    figure.savefig(partial, dpi=100, format="png")
    partial.replace(picture)


def _draw_one(axes: Any, lines: Sequence[Mapping[str, Any]], name: str) -> None:
    for split, colour in _COLOURS.items():
        points = [(line["step"], line[name]) for line in lines if line["split"] == split and name in line]
        if not points:
            continue
        steps, values = zip(*points, strict=True)
        if split == "train" and name not in AS_THEY_ARE:
            axes.plot(steps, values, color=colour, alpha=0.25, linewidth=0.8)
            values = _smoothed(values)
        marker = "o" if split == "validation" else None
        axes.plot(steps, values, color=colour, label=split, marker=marker, markersize=3)
    axes.set_title(name.replace("_", " "), fontsize=10)
    axes.set_xlabel("step", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.3)
    if name != "learning_rate":
        axes.set_ylim(bottom=0)
    axes.legend(fontsize=7, frameon=False)


def _smoothed(values: Sequence[float]) -> tuple[float, ...]:
    """Exponential moving average without the bias of its start."""
    smooth, weight, result = 0.0, 0.0, []
    for value in values:
        smooth = SMOOTHING * smooth + (1 - SMOOTHING) * value
        weight = SMOOTHING * weight + (1 - SMOOTHING)
        result.append(smooth / weight)
    return tuple(result)
