# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeping the body on the floor. Pure numpy.

A pose holds rotations and no place. Bending both knees of an armature whose pelvis stays put draws the feet up, so a
squat would float. When an edit turns the pelvis or a leg, the pelvis therefore follows vertically, until the body's
lowest point is as high as it was before: standing feet stay on their floor wherever that is, a body laid down comes
to rest on it, a lifted leg moves nothing (the other foot is still the lowest), and a body in the air stays as high
above the floor as it was. The body's points are its joints with the flesh around them, and the soles of its feet. Edits
of trunk, head or arms alone never move the pelvis: hands may reach below the feet. The pelvis follows only when it may
move at all, and only along location channels that are not locked.
"""

from __future__ import annotations

import numpy as np

from ..contract.kinematics import forward_kinematics
from ..contract.rotations import Array
from ..contract.skeleton import BODY_PARTS, JOINT_INDEX, JOINT_NAMES, NUM_JOINTS, PARENTS
from .rest import BodyFrame

CARRYING_JOINTS = frozenset(BODY_PARTS["root"] + BODY_PARTS["left_leg"] + BODY_PARTS["right_leg"])
"""Joints whose turning changes how high the pelvis stands."""

_FLESH = {
    "pelvis": 0.09, "hip": 0.09, "spine1": 0.06, "spine2": 0.065, "spine3": 0.075, "collar": 0.055, "neck": 0.035,
    "head": 0.07, "shoulder": 0.06, "elbow": 0.035, "wrist": 0.025, "hand": 0.015, "knee": 0.055, "ankle": 0.05,
    "foot": 0.0,
}  # fmt: skip
FLESH = np.array([_FLESH[name.removeprefix("left_").removeprefix("right_")] for name in JOINT_NAMES])
"""(J,) metres from a joint to the skin on which it would rest, on the neutral body; a foot rests on its joint."""

_HIPS, _KNEES = ([JOINT_INDEX[f"{side}_{name}"] for side in ("left", "right")] for name in ("hip", "knee"))

_SOLE = {"ankle": ((0.0, -0.058, -0.045),), "foot": ((0.0, -0.008, 0.0), (0.0, -0.005, 0.07))}
"""Metres from a foot's joints to its heel, its ball and the tips of its toes, in SMPL's axes, on the neutral body."""

SOLES = tuple(
    (JOINT_INDEX[f"{side}_{name}"], np.array(offset))
    for side in ("left", "right")
    for name, offsets in _SOLE.items()
    for offset in offsets
)
"""The same as (joint, offset (3,)) for both feet."""

_NEUTRAL_HEIGHT = float(np.ptp(forward_kinematics(np.tile(np.eye(3), (NUM_JOINTS, 1, 1)))[1][:, 1]))
"""Metres from the neutral body's lowest joint to its highest."""

STILL = 0.0005
"""A lift below this part of the body's height (a millimetre) is left out."""


def rest_offsets(positions: Array, frame: BodyFrame) -> Array:
    """(J, 3) offset of each joint from its parent in the zero pose, from rest ``positions`` (J, 3).

    In SMPL's axes and the armature's unit of length; joints without a bone (NaN) lie on their parent.
    """
    offsets = np.zeros((NUM_JOINTS, 3))
    for joint in range(1, NUM_JOINTS):
        parent = PARENTS[joint]
        between = frame.axes.T @ (positions[joint] - positions[parent])
        offsets[joint] = np.nan_to_num(frame.rest_global[parent].T @ between)
    return offsets


def _is_far_from_hips(positions: Array) -> bool:
    """Whether the pelvis's bone starts elsewhere than a pelvis is, as where it reaches up from the floor."""
    away = np.linalg.norm(positions[0] - positions[_HIPS].mean(axis=0))
    return bool(away > 0.5 * np.linalg.norm(positions[_HIPS] - positions[_KNEES], axis=1).mean())


def pelvis_lift(
    before: Array, after: Array, positions: Array, frame: BodyFrame, stage: Array, object_matrix: Array
) -> Array:
    """Metres (N,) by which the pelvis has to rise in the world for the lowest point to keep its height.

    Args:
        before, after: (N, J, 3, 3) SMPL local rotations.
        positions: (J, 3) rest positions of the joints in the armature's space.
        frame: SMPL's axes in that space.
        stage: (N, 3, 3) tilt of the object, as in ``convert``.
        object_matrix: (N, 3, 3) linear part of the object's world matrix.
    """
    offsets = rest_offsets(positions, frame)
    upward = (object_matrix @ frame.axes)[:, 2, :]  # (N, 3): what a step along SMPL's axes adds to the height
    tall = (positions @ frame.axes)[:, 1]
    height = (np.nanmax(tall) - np.nanmin(tall)) * np.linalg.norm(upward, axis=1)
    scale = height / _NEUTRAL_HEIGHT
    unit = upward / np.linalg.norm(upward, axis=1, keepdims=True)
    flesh = scale[:, None] * FLESH
    far_from_hips = _is_far_from_hips(positions)
    lowest = []
    for local in (before, after):
        standing = local.copy()
        standing[:, 0] = np.swapaxes(stage, -1, -2) @ local[:, 0]
        rotations, joints = forward_kinematics(standing, offsets)
        heights = np.einsum("njk,nk->nj", joints, upward)
        if far_from_hips:
            heights[:, 0] = heights[:, _HIPS].mean(axis=1)
        # What a sole's point adds is a step along SMPL's axes too, but in metres of the world.
        soles = [
            heights[:, joint] + scale * np.einsum("nkl,l,nk->n", rotations[:, joint], offset, unit)
            for joint, offset in SOLES
        ]
        lowest.append(np.column_stack([heights - flesh, *soles]).min(axis=1))
    lift = lowest[0] - lowest[1]
    return np.where(np.abs(lift) > STILL * height, lift, 0.0)
