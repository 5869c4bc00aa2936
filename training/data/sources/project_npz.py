# SPDX-License-Identifier: Apache-2.0
"""The project's own pose file: ``quat_wxyz`` (N, 24, 4); where known ``split``, ``clip`` (N,) and ``clip_label``.

It is read in slices: what it takes in memory is the poses that are asked for, and little more.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from blender_addon.contract.rotations import quaternion_to_axis_angle
from blender_addon.contract.skeleton import NUM_JOINTS

from .check import sound_quaternions, tell_left_out
from .clip import PoseFileError
from .pose_set import PoseSet

Split = Literal["train", "val", "test"]
POSES: Final = "quat_wxyz"
SLICE: Final = 16_384
"""Poses that are converted at a time."""


class MissingSplitError(ValueError):
    """The file has splits, but not the one that is asked for."""


def read_project_npz(path: Path, split: Split) -> PoseSet:
    """One split of the file; all of it where the file names no splits. Poses with quaternions that are not finite or
    not of length 1 are left out, which the log tells.

    Raises:
        FileNotFoundError: no such file.
        MissingSplitError: the file has other splits only.
        PoseFileError: the file is not as described above, or none of its poses can be used.
    """
    with np.load(path, allow_pickle=False) as data:
        if POSES not in data.files:
            raise PoseFileError(f"{path} lacks the array {POSES}; it is no pose file of this project")
        count = _count(path)
        given = {name: data[name] for name in ("split", "clip", "clip_label") if name in data.files}
    for name in {"split", "clip"} & set(given):
        if given[name].shape != (count,):
            raise PoseFileError(
                f"{path} cannot be used: {name} has the shape {given[name].shape}, where one for each of its {count}"
                " poses was expected"
            )
    chosen = np.ones(count, dtype=bool)
    if "split" in given:
        chosen = given["split"] == split
        if not chosen.any():
            there = ", ".join(repr(str(name)) for name in np.unique(given["split"])) or "none"
            raise MissingSplitError(
                f"{path} holds no poses of the split {split!r}, only of {there}: its array 'split' says which"
            )
    label_of, names = _labels(path, given, count)
    pose_aa = np.empty((int(chosen.sum()), NUM_JOINTS, 3), dtype=np.float32)
    kept = np.zeros(count, dtype=bool)
    start = filled = 0
    for quat in _slices(path):
        rows = chosen[start : start + len(quat)]
        good = rows & sound_quaternions(quat)
        kept[start : start + len(quat)] = good
        number = int(good.sum())
        pose_aa[filled : filled + number] = quaternion_to_axis_angle(_unit(quat[good]))
        start, filled = start + len(quat), filled + number
    if not filled:
        raise PoseFileError(f"{path} cannot be used: none of its poses has finite quaternions of length 1")
    tell_left_out(
        path, len(pose_aa) - filled, len(pose_aa), "with quaternions that are not finite or not of length 1"
    )
    return PoseSet(pose_aa[:filled], label_of[kept], names)


def _labels(
    path: Path, given: dict[str, npt.NDArray[Any]], count: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.str_]]:
    if not {"clip", "clip_label"} <= set(given):
        return np.zeros(count, dtype=np.int32), np.array([""])
    clip, label = given["clip"], given["clip_label"]
    if (
        clip.dtype.kind not in "iu"
        or label.ndim != 1
        or (count and not 0 <= clip.min() <= clip.max() < len(label))
    ):
        raise PoseFileError(
            f"{path} cannot be used: clip must hold numbers from 0 to {len(label) - 1}, of the {len(label)} names in"
            " clip_label"
        )
    names, number = np.unique(label.astype(np.str_), return_inverse=True)
    return number[clip].astype(np.int32), names


def _unit(quat: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
    wide = quat.astype(np.float64)
    unit: npt.NDArray[np.float64] = wide / np.linalg.norm(wide, axis=-1, keepdims=True)
    return unit


def _count(path: Path) -> int:
    with zipfile.ZipFile(path) as archive, archive.open(f"{POSES}.npy") as file:
        shape, _, _ = _header(file)
    if len(shape) != 3 or shape[1:] != (NUM_JOINTS, 4):
        raise PoseFileError(
            f"{path} cannot be used: {POSES} has the shape {shape}, not (poses, {NUM_JOINTS}, 4)"
        )
    return shape[0]


def _slices(path: Path) -> Iterator[npt.NDArray[np.floating[Any]]]:
    """The quaternions (SLICE, J, 4), a slice after the other."""
    with zipfile.ZipFile(path) as archive, archive.open(f"{POSES}.npy") as file:
        shape, in_columns, dtype = _header(file)
        if in_columns or dtype.kind != "f":
            raise PoseFileError(f"{path} cannot be used: {POSES} must hold float32 numbers, pose after pose")
        row = dtype.itemsize * NUM_JOINTS * 4
        for start in range(0, shape[0], SLICE):
            number = min(SLICE, shape[0] - start)
            content = file.read(number * row)
            if len(content) < number * row:
                raise EOFError("it ends early")
            yield np.frombuffer(content, dtype=dtype).reshape(number, NUM_JOINTS, 4)


def _header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether columns come first, and type of an array in numpy's format."""
    version = np.lib.format.read_magic(file)  # type: ignore[no-untyped-call]
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    header: tuple[tuple[int, ...], bool, np.dtype[Any]] = read(file)  # type: ignore[no-untyped-call]
    return header
