# SPDX-License-Identifier: Apache-2.0
"""Start poses built from joint angles, so that the cases need no recorded poses."""

from __future__ import annotations

from typing import Final

import numpy as np

from blender_addon.contract.kinematics import yaw_matrix
from blender_addon.contract.rotations import Array, axis_angle_to_matrix, matrix_to_axis_angle
from blender_addon.contract.skeleton import JOINT_INDEX, NUM_JOINTS

Turns = dict[str, tuple[float, float, float]]
"""Joint to degrees about x, y, z, composed as Rx Ry Rz: an arm is lowered (z) and then swung forward (-x)."""

JITTER_DEGREES: Final = 4.0
"""How far a seed moves each angle that a start pose names, at most."""

_HANGING: Final[Turns] = {
    "left_shoulder": (0, 0, -72),
    "right_shoulder": (0, 0, 72),
    "left_elbow": (0, -12, 0),
    "right_elbow": (0, 12, 0),
}
_SEATED_LEGS: Final[Turns] = {
    "left_hip": (-90, 0, 6),
    "right_hip": (-90, 0, -6),
    "left_knee": (92, 0, 0),
    "right_knee": (92, 0, 0),
}

STARTS: Final[dict[str, Turns]] = {
    "stand": _HANGING,
    "t_pose": {},
    "a_pose": {"left_shoulder": (0, 0, -45), "right_shoulder": (0, 0, 45)},
    "arms_forward": {"left_shoulder": (0, -84, 0), "right_shoulder": (0, 84, 0)},
    "arms_up": {
        "left_shoulder": (0, 0, 78),
        "right_shoulder": (0, 0, -78),
        "left_elbow": (0, -10, 0),
        "right_elbow": (0, 10, 0),
    },
    "left_arm_up": {**_HANGING, "left_shoulder": (0, 0, 75)},
    "right_arm_out": {**_HANGING, "right_shoulder": (0, 0, 4), "right_elbow": (0, 5, 0)},
    "right_arm_forward": {**_HANGING, "right_shoulder": (0, 82, 0), "right_elbow": (0, 5, 0)},
    "waving": {**_HANGING, "right_shoulder": (0, 0, -25), "right_elbow": (0, 10, -55)},
    "guard": {
        "left_shoulder": (-30, 0, -60),
        "right_shoulder": (-25, 0, 62),
        "left_elbow": (0, -115, 0),
        "right_elbow": (0, 120, 0),
    },
    "contrapposto": {
        "left_shoulder": (0, -15, -62),
        "right_shoulder": (0, 15, 68),
        "left_elbow": (0, -95, 0),
        "right_elbow": (0, 70, 0),
        "left_hip": (-18, 10, 0),
        "left_knee": (28, 0, 0),
        "spine1": (3, 0, -6),
        "head": (0, -12, 0),
    },
    "stride": {
        **_HANGING,
        "left_hip": (-26, 0, 0),
        "left_knee": (10, 0, 0),
        "right_hip": (18, 0, 0),
        "right_knee": (30, 0, 0),
        "left_shoulder": (22, 0, -74),
        "right_shoulder": (-24, 0, 74),
        "right_elbow": (0, 25, 0),
    },
    "twisted_left": {**_HANGING, "spine1": (0, 14, 0), "spine2": (0, 14, 0), "spine3": (0, 12, 0)},
    "stooped": {
        **_HANGING,
        "spine1": (26, 0, 0),
        "spine2": (20, 0, 0),
        "spine3": (10, 0, 0),
        "left_shoulder": (-45, 0, -72),
        "right_shoulder": (-45, 0, 72),
    },
    "leaning_right": {**_HANGING, "spine1": (0, 0, 12), "spine2": (0, 0, 10), "spine3": (0, 0, 8)},
    "looking_left": {**_HANGING, "neck": (0, 24, 0), "head": (0, 26, 0)},
    "looking_down": {**_HANGING, "neck": (20, 0, 0), "head": (22, 0, 0)},
    "sit": {
        **_SEATED_LEGS,
        "spine1": (6, 0, 0),
        "left_shoulder": (-26, 0, -70),
        "right_shoulder": (-26, 0, 70),
        "left_elbow": (0, -48, 0),
        "right_elbow": (0, 48, 0),
    },
    "squat": {
        "left_hip": (-98, -10, 8),
        "right_hip": (-98, 10, -8),
        "left_knee": (116, 0, 0),
        "right_knee": (116, 0, 0),
        "left_ankle": (-24, 0, 0),
        "right_ankle": (-24, 0, 0),
        "spine1": (22, 0, 0),
        "left_shoulder": (0, -70, 0),
        "right_shoulder": (0, 70, 0),
    },
    "lunge": {
        **_HANGING,
        "left_hip": (-62, 0, 0),
        "left_knee": (70, 0, 0),
        "right_hip": (26, 0, 0),
        "right_knee": (22, 0, 0),
    },
    "kneel": {**_HANGING, "left_knee": (92, 0, 0), "right_knee": (92, 0, 0), "left_ankle": (40, 0, 0),
              "right_ankle": (40, 0, 0)},
    "right_knee_up": {**_HANGING, "right_hip": (-82, 0, 0), "right_knee": (92, 0, 0)},
    "star": {
        "left_hip": (0, 0, 24),
        "right_hip": (0, 0, -24),
        "left_shoulder": (0, 0, 32),
        "right_shoulder": (0, 0, -32),
    },
    "lying": {**_HANGING, "pelvis": (-90, 0, 0)},
}  # fmt: skip


def start_pose(name: str, heading_degrees: float = 0.0, seed: int | None = None) -> Array:
    """(24, 3) axis-angle, radians, of a start pose.

    Args:
        name: a key of STARTS.
        heading_degrees: turn of the whole body about +y, positive to its left.
        seed: varies each named angle by up to JITTER_DEGREES; None leaves the pose as listed.
    """
    rng = None if seed is None else np.random.default_rng(seed)
    local = np.tile(np.eye(3), (NUM_JOINTS, 1, 1))
    for joint, turns in STARTS[name].items():
        for axis, angle in enumerate(turns):
            if angle and rng is not None and joint != "pelvis":
                angle += rng.uniform(-JITTER_DEGREES, JITTER_DEGREES)
            turn = np.zeros(3)
            turn[axis] = np.radians(angle)
            local[JOINT_INDEX[joint]] = local[JOINT_INDEX[joint]] @ axis_angle_to_matrix(turn)
    local[0] = yaw_matrix(np.radians(heading_degrees)) @ local[0]
    return matrix_to_axis_angle(local)
