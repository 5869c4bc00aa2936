# SPDX-License-Identifier: Apache-2.0
"""The one check that every source of poses passes: finite numbers, rotations in radians, unit quaternions.

What is left out is counted and named in the log. Legend: N poses; J = 24 joints; poses axis-angle, radians.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from training.data.sound import LARGEST_TURN, turns

from .clip import Clip, PoseFileError

_log = logging.getLogger(__name__)

UNIT: Final = 0.02
"""How far a quaternion's length may be from 1; within it, it is normalised."""

Flags = npt.NDArray[np.bool_]


def checked(clip: Clip, path: Path) -> Clip:
    """The clip without its poses that cannot be used.

    Raises:
        PoseFileError: that would be every pose, or most of the rotations are far too large to be radians.
    """
    largest = turns(clip.pose_aa)
    finite = ~np.isnan(largest)
    if len(finite) and not finite.any():
        raise PoseFileError(f"{path} cannot be read: its rotations are no finite numbers")
    too_large = finite & ~(largest <= LARGEST_TURN)
    if 2 * too_large.sum() > finite.sum():
        raise PoseFileError(
            f"{path} cannot be read: its joints turn by up to {np.nanmax(largest):.0f} radians; if its numbers are "
            "degrees, convert them first (numpy.radians)"
        )
    tell_left_out(path, int((~finite).sum()), len(finite), "with numbers that are not finite")
    tell_left_out(
        path, int(too_large.sum()), len(finite), "with joints that turn by more than three half turns"
    )
    kept = finite & ~too_large
    return clip if kept.all() else replace(clip, pose_aa=clip.pose_aa[kept])


def sound_quaternions(quat: npt.NDArray[np.floating[Any]]) -> Flags:
    """(N,) whether all quaternions of each pose (N, J, 4) are finite and of length 1."""
    length = np.linalg.norm(quat, axis=-1)
    found: Flags = (np.abs(length - 1) <= UNIT).all(axis=-1)
    return found


def tell_left_out(path: Path, left_out: int, total: int, reason: str) -> None:
    """Says in the log how many poses of a file are left out, where any are."""
    if left_out:
        _log.warning("%s: %d of %d poses are left out, %s", path, left_out, total, reason)
