# SPDX-License-Identifier: GPL-3.0-or-later
"""How far joints turn: the one table, and holding an edit to it. Used by the rig, by training data and by checks.

The table is wide, so that it only stops what no body does: an elbow that bends until the forearm lies in the upper arm,
a knee that folds over forwards. Hinges are limited about their axis, other joints in how far they are turned in all;
shoulders have no limit of their own. The ranges are those of Kapandji, "The Physiology of the Joints", with room for
soft tissue and for poses measured on SMPL bodies, whose joints share a movement differently. Within the limits lie the
``RANGES`` that people reach at ease; training data stays in them.

Legend: N poses, J = 24 joints; ``local`` (N, J, 3, 3) local rotations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from .rotations import Array, axis_angle_to_matrix, matrix_to_axis_angle, matrix_to_quaternion
from .skeleton import JOINT_INDEX


@dataclass(frozen=True)
class Hinge:
    """A joint that bends one way.

    Attributes:
        axis: (3,) of the bending, in the joint's own axes in the T-pose.
        least, most: degrees from straight; negative is bent backwards.
    """

    axis: tuple[float, float, float]
    least: float
    most: float


ELBOW_DEGREES: Final = 160.0
KNEE_DEGREES: Final = 160.0
OVERSTRETCHED_DEGREES: Final = 15.0
"""How far elbows and knees may bend backwards."""

HINGES: Final[dict[int, Hinge]] = {
    JOINT_INDEX["left_elbow"]: Hinge((0.0, -1.0, 0.0), -OVERSTRETCHED_DEGREES, ELBOW_DEGREES),
    JOINT_INDEX["right_elbow"]: Hinge((0.0, 1.0, 0.0), -OVERSTRETCHED_DEGREES, ELBOW_DEGREES),
    JOINT_INDEX["left_knee"]: Hinge((1.0, 0.0, 0.0), -OVERSTRETCHED_DEGREES, KNEE_DEGREES),
    JOINT_INDEX["right_knee"]: Hinge((1.0, 0.0, 0.0), -OVERSTRETCHED_DEGREES, KNEE_DEGREES),
}

_ON_BOTH_SIDES: Final = {
    "hip": 165.0,
    "ankle": 90.0,
    "foot": 90.0,
    "collar": 75.0,
    "wrist": 120.0,
    "hand": 120.0,
}
_IN_THE_MIDDLE: Final = {"spine1": 80.0, "spine2": 80.0, "spine3": 80.0, "neck": 90.0, "head": 90.0}

TURNS: Final[dict[int, float]] = {
    **{JOINT_INDEX[name]: most for name, most in _IN_THE_MIDDLE.items()},
    **{
        JOINT_INDEX[f"{side}_{name}"]: most
        for name, most in _ON_BOTH_SIDES.items()
        for side in ("left", "right")
    },
}
"""Degrees that a joint may be turned from the T-pose about any axis."""


ELBOW_EASE: Final = 150.0
KNEE_EASE: Final = 150.0
HIP_EASE: Final = 125.0
"""Degrees to which people bend elbows and knees, and raise a thigh to the front, by themselves."""

_LEFT_RANGES: Final[dict[str, tuple[tuple[float, float], tuple[float, float], tuple[float, float]]]] = {
    "left_hip": ((-HIP_EASE, 30), (-45, 45), (-30, 55)),
    "left_knee": ((0, KNEE_EASE), (-8, 8), (-5, 5)),
    "left_ankle": ((-30, 55), (-20, 20), (-20, 20)),
    "left_foot": ((-40, 25), (-3, 3), (-3, 3)),
    "left_shoulder": ((-100, 100), (-130, 50), (-95, 110)),
    "left_elbow": ((-75, 75), (-ELBOW_EASE, 2), (-8, 8)),
    "left_wrist": ((-70, 70), (-35, 30), (-80, 80)),
    "left_collar": ((-10, 10), (-25, 18), (-12, 30)),
    "spine1": ((-14, 32), (-14, 14), (-13, 13)),
    "spine2": ((-14, 32), (-16, 16), (-13, 13)),
    "spine3": ((-14, 32), (-16, 16), (-13, 13)),
    "neck": ((-30, 28), (-38, 38), (-22, 22)),
    "head": ((-32, 28), (-42, 42), (-22, 22)),
}

RANGES: Final[dict[int, tuple[tuple[float, float], tuple[float, float], tuple[float, float]]]] = {
    JOINT_INDEX[name]: ranges for name, ranges in _LEFT_RANGES.items()
} | {
    JOINT_INDEX[name.replace("left_", "right_")]: (x, (-y[1], -y[0]), (-z[1], -z[0]))
    for name, (x, y, z) in _LEFT_RANGES.items()
    if name.startswith("left_")
}
"""Joint -> the least and the most degrees of each component of its rotation vector that people reach at ease."""


def bend_degrees(rotation: Array, hinge: Hinge) -> Array:
    """Degrees (...), within half a turn, by which rotations (..., 3, 3) bend a hinge: their twist about its axis."""
    quat = matrix_to_quaternion(rotation)
    return np.asarray(np.degrees(2 * np.arctan2(quat[..., 1:] @ np.array(hinge.axis), quat[..., 0])))


def keeps_limits(start: Array, answer: Array) -> bool:
    """Whether no joint of an answer (N, J, 3, 3) goes beyond its limit, or further beyond it than at the start."""
    return not hold_to_limits(start, answer, frozenset(HINGES) | frozenset(TURNS))[1]


def hold_to_limits(start: Array, answer: Array, joints: frozenset[int]) -> tuple[Array, dict[int, float]]:
    """The answer with the joints that went too far held at their limits, and those joints' limits in degrees.

    A joint that the answer left where it was, or that is not in ``joints``, is not touched. One that begins beyond its
    limit may stay as far beyond it, and come back. A hinge that goes on past half a turn is taken as having gone too
    far, not as having come out on the other side.

    Args:
        start: (N, J, 3, 3) local rotations before the edit.
        answer: (N, J, 3, 3) those that it asks for.
        joints: the joints that turn.
    """
    held = answer.copy()
    stopped: dict[int, float] = {}
    for joint in sorted(joints):
        if joint in HINGES:
            hinge = HINGES[joint]
            was, bent = bend_degrees(start[:, joint], hinge), bend_degrees(answer[:, joint], hinge)
            bent = was + (bent - was + 180.0) % 360.0 - 180.0
            excess = bent - np.clip(bent, np.minimum(hinge.least, was), np.maximum(hinge.most, was))
            back = axis_angle_to_matrix(np.radians(-excess)[:, None] * np.array(hinge.axis))
            limit = hinge.most if excess.max(initial=0.0) > 0 else hinge.least
        elif joint in TURNS:
            limit = TURNS[joint]
            turn = matrix_to_axis_angle(answer[:, joint])
            angle = np.degrees(np.linalg.norm(turn, axis=-1))
            most = np.maximum(
                limit, np.degrees(np.linalg.norm(matrix_to_axis_angle(start[:, joint]), axis=-1))
            )
            excess = np.maximum(angle - most, 0.0)
            back = axis_angle_to_matrix(-turn * (excess / np.maximum(angle, 1e-9))[:, None])
        else:
            continue
        beyond = np.abs(excess) > 1e-3
        if beyond.any():
            held[beyond, joint] = answer[beyond, joint] @ back[beyond]
            stopped[joint] = limit
    return held, stopped
