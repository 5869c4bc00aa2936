# SPDX-License-Identifier: Apache-2.0
"""The project's own pose file: ``quat_wxyz`` (N, 24, 4), ``split`` (N,), and a table of clips."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from blender_addon.contract.rotations import matrix_to_axis_angle, quaternion_to_matrix

from .pose_set import PoseSet


def read_project_npz(path: str | Path, split: Literal["train", "val"]) -> PoseSet:
    """One split of the file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file lacks an array or the split.
    """
    with np.load(path, allow_pickle=False) as data:
        missing = {"quat_wxyz", "split", "clip", "clip_label"} - set(data.files)
        if missing:
            raise ValueError(
                f"{path} lacks the arrays {', '.join(sorted(missing))}; it is no pose file of this project"
            )
        chosen = data["split"] == split
        if not chosen.any():
            raise ValueError(f"{path} holds no poses of the split {split!r}")
        quat = data["quat_wxyz"][chosen].astype(np.float64)
        labels = data["clip_label"][data["clip"][chosen]]
    return PoseSet(matrix_to_axis_angle(quaternion_to_matrix(quat)).astype(np.float32), labels)
