# SPDX-License-Identifier: Apache-2.0
"""What every reader of recorded poses yields, and the way from there to a ``PoseSet``: turned upright and thinned.

Legend: N frames; J = 24 SMPL joints; poses axis-angle, radians.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from blender_addon.contract.rotations import Array, matrix_to_axis_angle
from blender_addon.contract.skeleton import NUM_JOINTS
from training.data.frames import Frame, upright

from .pose_set import PoseSet

RATE: Final = 8.0
"""Frames a second that are kept: neighbours at a recording's own rate are nearly the same pose."""

_NO_LABEL: Final = frozenset({"pose", "poses", "stageii", "smpl", "smplx", "smplh", "motion", "neutral"})


class PoseFileError(ValueError):
    """A file of poses cannot be used; the message names it, and says why."""


class UnknownFormatError(PoseFileError):
    """The file can be read, but holds no poses in any format known here."""


@dataclass(frozen=True)
class Clip:
    """Poses of one person, as the file has them.

    Attributes:
        pose_aa: (N, J, 3).
        frame: of the world that joint 0 turns in; None where files of the format differ, so that the poses must tell.
        rate: frames a second; None for poses that are no sequence.
        label: what is being done; "" where unknown.
    """

    pose_aa: npt.NDArray[np.float32]
    frame: Frame | None
    rate: float | None = None
    label: str = ""


Content = Mapping[str, Any] | str
"""An opened file: named arrays and values, or text."""


@dataclass(frozen=True)
class PoseFormat:
    """One format of files with poses: the interface of every reader.

    Attributes:
        name: what users call it.
        recognises: whether an opened file is of this format.
        clips: the clips of a file of this format; the path is for labels. Raises ValueError, KeyError, TypeError or
            IndexError where the file is not as the format says.
    """

    name: str
    recognises: Callable[[Content], bool]
    clips: Callable[[Content, Path], list[Clip]]


def body_pose(root: Any, body: Any, hands: Any = None) -> npt.NDArray[np.float32]:
    """Poses (N, J, 3) from a format's parts, which may be axis-angle or matrices, and of one pose or many.

    Args:
        root: 3 numbers a pose, or 9 of a matrix.
        body: those of the 21 body joints, or of 23 with the two hand joints.
        hands: those of the two hand joints; without them the hands are at rest.

    Raises:
        ValueError: another number of joints, or differing numbers of poses.
    """
    parts = [_joints(root, 1), _joints(body, 21, 23)]
    if parts[1].shape[1] == 21:
        parts.append(np.zeros((len(parts[1]), 2, 3)) if hands is None else _joints(hands, 2))
    if len({len(part) for part in parts}) > 1:
        raise ValueError(
            f"it has {' and '.join(str(len(part)) for part in parts)} poses in parts that belong together"
        )
    return np.concatenate(parts, axis=1).astype(np.float32)


def _joints(value: Any, *counts: int) -> Array:
    """(N, count, 3) of one of the counts."""
    array = np.asarray(value)
    if array.dtype.kind not in "fiu":
        raise ValueError(f"numbers were expected, not {array.dtype}")
    array = array.astype(np.float64)
    if array.shape[-2:] == (3, 3) and (array.ndim >= 4 or (array.ndim == 3 and counts == (1,))):
        array = matrix_to_axis_angle(array)
    for count in counts:
        if array.shape[-2:] == (count, 3) or array.shape[-1:] == (count * 3,):
            return array.reshape(-1, count, 3)
    wanted = " or ".join(str(3 * count) for count in counts)
    raise ValueError(f"it has arrays of shape {array.shape} where {wanted} numbers a pose were expected")


def label_of(path: Path) -> str:
    """What the file's name says is being done, such as "kick high left"; "" if it says nothing."""
    words = [word for word in re.split(r"[^A-Za-z0-9]+", path.stem) if word.isalpha() and len(word) > 1]
    words = [word.lower() for word in words if word.lower() not in _NO_LABEL]
    return " ".join(words)


def thinned(clip: Clip) -> Clip:
    """About ``RATE`` frames a second of the clip."""
    if clip.rate is None:
        return clip
    step = max(1, round(clip.rate / RATE))
    return replace(clip, pose_aa=clip.pose_aa[::step].copy(), rate=clip.rate / step)


def to_pose_set(clips: Sequence[Clip]) -> PoseSet:
    """All the clips' poses, upright and thinned."""
    kept = [upright(clip.pose_aa, clip.frame) for clip in map(thinned, clips)]
    names, label_of_clip = np.unique(
        np.array([clip.label for clip in clips], dtype=np.str_), return_inverse=True
    )
    return PoseSet(
        np.concatenate([np.zeros((0, NUM_JOINTS, 3), np.float32), *kept]),
        np.repeat(label_of_clip.astype(np.int32), [len(poses) for poses in kept]),
        names,
    )
