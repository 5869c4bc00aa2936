# SPDX-License-Identifier: Apache-2.0
"""A picture sheet of a benchmark's best, middling and worst answers: start (or picture), what was wanted, the answer.

Legend: N cases; poses (N, 24, 3) axis-angle, radians.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import ImageOps

from backend.body.camera import Camera
from backend.body.pictures import THREE_QUARTERS, Row, draw_poses, save_sheet
from blender_addon.contract.rotations import Array
from training.data.samples import Sample, open_image
from training.data.sheets import facing

from .benchmarks import Benchmark

EACH: Final = 6
"""Cases of each sort."""
SIZE: Final = 150
COLUMNS: Final = 3
AS_PHOTOGRAPHED: Final = Camera(azimuth=0.0, elevation=5.0)


def extremes(errors: Array, each: int = EACH) -> list[tuple[str, int]]:
    """Which cases (N,) are the best, around the median, and the worst; each with its sort, by rising error."""
    order = np.argsort(errors, kind="stable")
    each = min(each, len(order) // 3 or 1)
    middle = max(0, len(order) // 2 - each // 2)
    sorts = {"best": order[:each], "median": order[middle : middle + each], "worst": order[-each:]}
    return [(sort, int(case)) for sort, cases in sorts.items() for case in cases]


def extremes_sheet(
    benchmark: Benchmark,
    answers_aa: npt.NDArray[np.float32],
    failed: npt.NDArray[np.bool_],
    errors: Array,
    copy_errors: Array,
    path: Path,
) -> None:
    """Draws the sheet.

    Args:
        benchmark: the cases.
        answers_aa: (N, 24, 3) the model's answers.
        failed: (N,) where there was none; then no answer is drawn.
        errors: (N,) MPJPE of the answers, mm.
        copy_errors: (N,) of the copy baseline.
        path: the image file to write.
    """
    rows = []
    for sort, case in extremes(errors):
        sample = benchmark.samples[case]
        shown = [sample.pose_aa, sample.target_aa, None if failed[case] else answers_aa[case]]
        poses = np.stack([pose for pose in shown if pose is not None])
        if sample.image is None:
            pictures = draw_poses(facing(poses), SIZE, THREE_QUARTERS)
        else:
            pictures = [
                ImageOps.pad(open_image(sample.image), (SIZE, SIZE)),
                *draw_poses(poses, SIZE, AS_PHOTOGRAPHED),
            ]
        rows.append(Row(pictures, _caption(sample, sort, failed[case], errors[case], copy_errors[case])))
    save_sheet(rows, path, columns=COLUMNS)


def _caption(sample: Sample, sort: str, failed: bool, error: float, copy_error: float) -> str:
    order = "picture" if sample.image is not None else "start"
    first = "wanted" if order == "start" and sample.pose_aa is None else f"{order}, wanted"
    answer = "no answer" if failed else "answer"
    return f"{sort}: {first}, {answer}; {error:.0f} mm (copy {copy_error:.0f})\n{sample.instruction}"
