# SPDX-License-Identifier: Apache-2.0
"""Poses gathered in a build's folder: read once, then shared by all processes through a memory map."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from .pose_set import PoseSet

POSES: Final = "poses.npy"
LABELS: Final = "labels.npz"


def write_gathered(folder: Path, poses: PoseSet) -> None:
    """Writes the poses; the files appear under their names only once they are whole, the poses last."""
    partial = folder / "gathered.partial"
    with partial.open("wb") as file:
        np.savez(file, label_of=poses.label_of, label_names=poses.label_names)
    partial.replace(folder / LABELS)
    with partial.open("wb") as file:
        np.save(file, poses.pose_aa)
    partial.replace(folder / POSES)


def is_gathered(folder: Path) -> bool:
    """Whether poses were written there."""
    return (folder / POSES).is_file()


def read_gathered(folder: Path) -> PoseSet:
    """What ``write_gathered`` wrote; the poses stay on disk until they are looked at.

    Raises:
        ValueError: a file is damaged.
    """
    try:
        with np.load(folder / LABELS, allow_pickle=False) as labels:
            label_of, names = labels["label_of"], labels["label_names"]
        return PoseSet(np.load(folder / POSES, mmap_mode="r", allow_pickle=False), label_of, names)
    except (ValueError, KeyError, EOFError) as error:
        raise ValueError(
            f"the poses in {folder} are damaged: delete the folder and build the data again"
        ) from error
