# SPDX-License-Identifier: Apache-2.0
"""Contact sheets of samples: before, after and the words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from blender_addon.contract.kinematics import heading
from blender_addon.contract.rotations import axis_angle_to_matrix

from .pool import with_heading
from .samples import Sample, open_image

Poses = npt.NDArray[np.float32]


def contact_sheet(samples: Sequence[Sample], path: Path, *, columns: int = 5, size: int = 150) -> None:
    """Draws the samples to an image file: before, after and the words. Both are turned to face as the first does."""
    from backend.body.pictures import Row, draw_poses, save_sheet

    rows = []
    for sample in samples:
        pictures = []
        if sample.image is not None:
            pictures.append(open_image(sample.image).resize((size, size)))
        poses = [pose for pose in (sample.pose_aa, sample.target_aa) if pose is not None]
        if poses:
            pictures += draw_poses(facing(np.stack(poses)), size)
        if not pictures:  # words alone need a width
            pictures.append(Image.new("RGB", (2 * size, 1), "white"))
        answer = "" if sample.reply is None else f"\n- {sample.reply}"
        rows.append(Row(pictures, f"{sample.kind}: {sample.instruction}{answer}"))
    save_sheet(rows, path, columns=columns)


def facing(poses: Poses) -> Poses:
    """Poses (N, 24, 3), turned together so that the first has no heading."""
    yaw = heading(axis_angle_to_matrix(poses[:, 0]))
    return with_heading(poses, yaw - yaw[0])
