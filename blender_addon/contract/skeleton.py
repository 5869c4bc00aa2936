# SPDX-License-Identifier: GPL-3.0-or-later
"""The one table of joints: names, parents, mirror pairs, body parts and the neutral rest skeleton.

Shapes: J = 24 SMPL joints. Metres, right-handed; +x the body's left, +y up, +z the way it faces.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

JOINT_NAMES: Final = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle",
    "right_ankle", "spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar", "head",
    "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
    "left_hand", "right_hand",
)  # fmt: skip
NUM_JOINTS: Final = len(JOINT_NAMES)
JOINT_INDEX: Final = {name: index for index, name in enumerate(JOINT_NAMES)}

PARENTS: Final = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)
"""Parent of each joint; -1 for the pelvis, whose rotation is global_orient."""


def _mirror_name(name: str) -> str:
    if name.startswith("left_"):
        return "right_" + name.removeprefix("left_")
    if name.startswith("right_"):
        return "left_" + name.removeprefix("right_")
    return name


MIRROR: Final = tuple(JOINT_INDEX[_mirror_name(name)] for name in JOINT_NAMES)
"""MIRROR[j] is the joint on the other side of the body (j itself on the midline)."""

BODY_PARTS: Final[dict[str, tuple[int, ...]]] = {
    "root": (0,),
    "trunk": (3, 6, 9),
    "head": (12, 15),
    "left_arm": (13, 16, 18, 20, 22),
    "right_arm": (14, 17, 19, 21, 23),
    "left_leg": (1, 4, 7, 10),
    "right_leg": (2, 5, 8, 11),
}
"""Parts an edit may be restricted to; together they cover every joint exactly once."""

# Offsets from the parent for an adult of 1.70 m in the T-pose. Limb lengths follow the body-segment fractions
# in Winter, "Biomechanics and Motor Control of Human Movement" (thigh .245, shank .246, forearm .146 of height).
_LEFT_OFFSETS: Final = {
    "left_hip": (0.086, -0.065, 0.0),
    "left_knee": (0.0, -0.416, 0.0),
    "left_ankle": (0.0, -0.418, 0.0),
    "left_foot": (0.0, -0.055, 0.13),
    "left_collar": (0.075, 0.115, 0.0),
    "left_shoulder": (0.11, 0.03, 0.0),
    "left_elbow": (0.285, 0.0, 0.0),
    "left_wrist": (0.248, 0.0, 0.0),
    "left_hand": (0.085, 0.0, 0.0),
}
_MIDLINE_OFFSETS: Final = {
    "pelvis": (0.0, 0.962, 0.0),
    "spine1": (0.0, 0.11, 0.0),
    "spine2": (0.0, 0.13, 0.0),
    "spine3": (0.0, 0.055, 0.0),
    "neck": (0.0, 0.21, 0.0),
    "head": (0.0, 0.09, 0.02),
}


def _rest_offsets() -> npt.NDArray[np.float64]:
    offsets = np.zeros((NUM_JOINTS, 3))
    for name, (x, y, z) in _LEFT_OFFSETS.items():
        offsets[JOINT_INDEX[name]] = (x, y, z)
        offsets[JOINT_INDEX[_mirror_name(name)]] = (-x, y, z)
    for name, offset in _MIDLINE_OFFSETS.items():
        offsets[JOINT_INDEX[name]] = offset
    offsets.setflags(write=False)
    return offsets


REST_OFFSETS: Final = _rest_offsets()
"""(J, 3) offset of each joint from its parent in the zero pose; the pelvis's own is its height above the floor."""


def _standing_pose() -> npt.NDArray[np.float32]:
    pose = np.zeros((NUM_JOINTS, 3), dtype=np.float32)
    pose[JOINT_INDEX["left_shoulder"]] = (0.0, 0.0, -1.25)
    pose[JOINT_INDEX["right_shoulder"]] = (0.0, 0.0, 1.25)
    pose[JOINT_INDEX["left_elbow"]] = (0.0, -0.2, 0.0)
    pose[JOINT_INDEX["right_elbow"]] = (0.0, 0.2, 0.0)
    pose.setflags(write=False)
    return pose


STANDING_POSE: Final = _standing_pose()
"""(J, 3) axis-angle, radians: upright with the arms hanging, where a pose made from words alone starts."""
