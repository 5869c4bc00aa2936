# SPDX-License-Identifier: Apache-2.0
"""Draws poses with what was said of them: are the words true to the eye, too?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from backend.body.camera import Camera
from backend.body.pictures import Row, draw_poses, save_sheet
from training.data.samples import Sample

SHOWN: Final = 20
"""Poses on a sheet."""
SIZE: Final = 200
CAMERAS: Final = (Camera(azimuth=25.0, elevation=10.0), Camera(azimuth=-70.0, elevation=10.0))


def draw_sheet(poses: Sequence[Sample], texts: Sequence[str], path: Path) -> None:
    """Draws poses, each from its left front and from its right, above the words to an image file."""
    rows = []
    for sample, text in zip(poses, texts, strict=True):
        assert sample.pose_aa is not None
        seen = [draw_poses(sample.pose_aa[None], SIZE, camera)[0] for camera in CAMERAS]
        rows.append(Row(seen, text))
    save_sheet(rows, path, columns=2)
