# SPDX-License-Identifier: Apache-2.0
"""The outcome of an evaluation: a table for people and a JSON object for programs.

Distances are in mm, angles in degrees, shares and recalls in per cent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from .bootstrap import Estimate

Figures = Mapping[str, Estimate]

LABELS: Final = {
    "mpjpe": "MPJPE, mm",
    "mpjpe_to_copy": "  over the copy's",
    "pa_mpjpe": "PA-MPJPE, mm",
    "mpjre": "MPJRE, degrees",
    "best_mpjpe": "  of four, the best",
    "second_mpjpe": "  of four, the second",
    "apart": "  of four, between them",
    "nearest_real": "to the nearest real pose",
    "near_mean": "near the mean pose, %",
    "drift_median": "drift, median, degrees",
    "drift_p95": "drift, 95th percentile",
    "no_pose": "without a pose, %",
    "r_at_1": "R@1, pose encoder, %",
    "r_at_5": "R@5",
    "r_at_10": "R@10",
    "r_at_20": "R@20",
    "retrieval_r_at_1": "R@1, retrieval model, %",
    "retrieval_r_at_5": "R@5",
    "retrieval_r_at_10": "R@10",
    "retrieval_r_at_20": "R@20",
    "t2p_r_at_1": "R@1, words to pose, %",
    "t2p_r_at_5": "R@5",
    "t2p_r_at_10": "R@10",
    "t2p_r_at_20": "R@20",
    "p2t_r_at_1": "R@1, pose to words, %",
    "p2t_r_at_5": "R@5",
    "p2t_r_at_10": "R@10",
    "p2t_r_at_20": "R@20",
}
"""Figures in the order in which they are shown."""

NAMES: Final = {"model": "model", "copy": "copy", "mean_pose": "mean pose", "target": "true poses"}


@dataclass(frozen=True)
class Report:
    """Everything that is told of one evaluation.

    Attributes:
        about: suite, cases, seed, pool (of retrieval), fingerprint, poses and model_name.
        contestants: the figures of ``model``, ``copy``, ``mean_pose`` and, with a retrieval model, ``target``.
        kinds: for each kind of case its number and each contestant's MPJPE.
    """

    about: dict[str, Any]
    contestants: Mapping[str, Figures]
    kinds: dict[str, dict[str, float]]


def as_json(report: Report) -> dict[str, Any]:
    """``{"model": {"mpjpe": …}, "copy": …, "mean_pose": …, "intervals": {"model": {"mpjpe": [low, high]}}, …}``."""
    values = {
        name: {figure: one.value for figure, one in figures.items()}
        for name, figures in report.contestants.items()
    }
    intervals = {
        name: {figure: [one.low, one.high] for figure, one in figures.items()}
        for name, figures in report.contestants.items()
    }
    return {**report.about, **values, "intervals": intervals, "kinds": report.kinds}


def as_table(report: Report) -> str:
    """The figures with their intervals of 95 %, and the errors by kind."""
    about = report.about
    lines = [
        f"{about['suite']}: {about['cases']} cases from {about['poses']}, seed {about['seed']}, "
        f"benchmark {about['fingerprint']}; {about['model_name']}; R@K in pools of {about['pool']}"
        + (f"; edits start from: {about['start']}" if "start" in about else ""),
        f"{'':26s}" + "".join(f"{NAMES[name]:>24s}" for name in report.contestants),
    ]
    for figure, label in LABELS.items():
        cells = [_cell(figures.get(figure)) for figures in report.contestants.values()]
        if any(cells):
            lines.append(f"{label:26s}" + "".join(f"{cell:>24s}" for cell in cells))
    if len(report.kinds) > 1:
        others = [name for name in report.contestants if name != "target"]
        lines.append("")
        lines.append(f"{'MPJPE, mm':26s}{'cases':>8s}" + "".join(f"{NAMES[name]:>12s}" for name in others))
        for kind, values in report.kinds.items():
            lines.append(f"{kind:26s}{values['cases']:8.0f}" + "".join(f"{values[n]:12.1f}" for n in others))
    return "\n".join(lines)


def _cell(estimate: Estimate | None) -> str:
    if estimate is None:
        return ""
    return estimate.told(2 if abs(estimate.value) < 10 else 1)
