# SPDX-License-Identifier: Apache-2.0
"""The project's own pose file: ``quat_wxyz`` (N, 24, 4); where known ``split``, ``clip`` (N,) and ``clip_label``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from blender_addon.contract.rotations import (
    axis_angle_to_matrix,
    matrix_to_axis_angle,
    matrix_to_quaternion,
    quaternion_to_matrix,
)

from .pose_set import PoseSet


class MissingSplitError(ValueError):
    """The file has splits, but not the one that is asked for."""


def read_project_npz(path: str | Path, split: Literal["train", "val"]) -> PoseSet:
    """One split of the file; all of it where the file names no splits.

    Raises:
        FileNotFoundError: no such file.
        MissingSplitError: the file has other splits only.
        ValueError: the file lacks the poses.
    """
    with np.load(path, allow_pickle=False) as data:
        if "quat_wxyz" not in data.files:
            raise ValueError(f"{path} lacks the array quat_wxyz; it is no pose file of this project")
        chosen = np.ones(len(data["quat_wxyz"]), dtype=bool)
        if "split" in data.files:
            chosen = data["split"] == split
        if not chosen.any():
            raise MissingSplitError(f"{path} holds no poses of the split {split!r}")
        quat = data["quat_wxyz"][chosen].astype(np.float64)
        labels = np.full(len(quat), "")
        if {"clip", "clip_label"} <= set(data.files):
            labels = data["clip_label"][data["clip"][chosen]]
    return PoseSet(matrix_to_axis_angle(quaternion_to_matrix(quat)).astype(np.float32), labels)


def write_project_npz(path: Path, poses: PoseSet, split: Literal["train", "val"]) -> None:
    """Writes poses, all of one split; the file appears under its name only once it is whole."""
    labels, clip = np.unique(poses.labels, return_inverse=True)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez_compressed(
            file,
            quat_wxyz=matrix_to_quaternion(axis_angle_to_matrix(poses.pose_aa)).astype(np.float32),
            split=np.full(len(poses), split),
            clip=clip,
            clip_label=labels,
        )
    partial.replace(path)
