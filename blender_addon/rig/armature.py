# SPDX-License-Identifier: GPL-3.0-or-later
"""An armature in the scene, seen as an SMPL body: read its poses, write poses as keyframes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

PoseArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class WriteReport:
    """What one ``Rig.write`` did.

    Attributes:
        frames: the frames that were keyed.
        degrees: SMPL joint name -> the largest angle over the frames by which the joint's local rotation changed,
            for every joint that was keyed, largest first.
        held: names of the joints that should have moved but could not: no such bone, or all channels locked.
        pelvis_shift: (N,) metres in the world by which the pelvis was raised so that the lowest joint kept its
            height; all zero where it was left alone.
        keys: number of key values written.
    """

    frames: tuple[float, ...]
    degrees: dict[str, float]
    held: tuple[str, ...]
    pelvis_shift: tuple[float, ...]
    keys: int


def find_armature(context: Any) -> Any:
    """The armature object that the user means: the active object, or the armature that deforms the active mesh,
    or else the only armature that is selected, or the only one in the scene.

    Raises:
        RigError: there is none, or more than one could be meant.
    """
    raise NotImplementedError


class Rig:
    """A recognised armature. Cheap to make; make a new one for every operation, as bones may change in between.

    Attributes:
        armature: the armature object.
        family: "SMPL", "SMPL-H" or "SMPL-X".
        missing: indices of the SMPL joints for which the armature has no bone (hands in SMPL-H and SMPL-X).
    """

    armature: Any
    family: str
    missing: frozenset[int]

    @classmethod
    def of(cls, armature: Any) -> Rig:
        """Recognise the bones of an armature object.

        Raises:
            RigError: not an armature, or no SMPL, SMPL-H or SMPL-X skeleton, or required bones are missing.
        """
        raise NotImplementedError

    def read(self, frames: Sequence[float]) -> PoseArray:
        """Poses (N, 24, 3), axis-angle in radians, at these frames, constraints and drivers included.

        The scene's current frame and poses that are not keyed yet stay as they are. The current frame is read as
        posed, keyed or not.
        """
        raise NotImplementedError

    def read_current(self) -> PoseArray:
        """The pose (24, 3) as it stands now."""
        raise NotImplementedError

    def write(self, frames: Sequence[float], poses_aa: npt.ArrayLike, *, joints: frozenset[int]) -> WriteReport:
        """Key poses (N, 24, 3) at N frames on the bones of ``joints`` whose rotation changes.

        Bones outside ``joints`` are neither moved nor keyed. The pelvis's location follows only when joint 0 is in
        ``joints`` (see ``rig.ground``). The caller makes the undo step.

        Raises:
            ValueError: the shapes do not agree or a value is not finite.
            RigError: the armature or its action cannot be edited (linked from another file).
        """
        raise NotImplementedError
