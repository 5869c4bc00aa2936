# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeping the body on the floor. Pure numpy.

A pose holds rotations and no place. Bending both knees of an armature whose pelvis stays put draws the feet up, so a
squat would float. When an edit turns the pelvis or a leg, the pelvis therefore follows vertically, until the body's
lowest point is as high as it was before: standing feet stay on their floor wherever that is, a body laid down comes
to rest on it, a lifted leg moves nothing (the other foot is still the lowest), and a body in the air stays as high
above the floor as it was. The body's points are those of the neutral body's skin, on the armature's own joints. Edits
of trunk, head or arms alone never move the pelvis: hands may reach below the feet. The pelvis follows only when it may
move at all, and only along location channels that are not locked.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from ..contract.kinematics import forward_kinematics
from ..contract.rotations import Array
from ..contract.skeleton import BODY_PARTS, JOINT_INDEX, NUM_JOINTS, PARENTS, REST_OFFSETS
from .rest import BodyFrame
from .skin import neutral_skin

CARRYING_JOINTS: Final = frozenset(BODY_PARTS["root"] + BODY_PARTS["left_leg"] + BODY_PARTS["right_leg"])
"""Joints whose turning changes how high the pelvis stands."""

_HIPS: Final = [JOINT_INDEX["left_hip"], JOINT_INDEX["right_hip"]]
_TO_HIPS: Final = REST_OFFSETS[_HIPS].mean(axis=0)
"""From the neutral pelvis to the middle of the hips; armatures have their pelvis's bone begin anywhere."""

_LIMBS: Final = [
    JOINT_INDEX[f"{side}_{name}"]
    for side in ("left", "right")
    for name in ("knee", "ankle", "elbow", "wrist")
]
"""Joints at the ends of the bones by which bodies are compared in size."""

STILL: Final = 0.0008
"""Metres, on the neutral body, of a lift that is left out."""


def rest_offsets(positions: Array, frame: BodyFrame) -> Array:
    """(J, 3) offset of each joint from its parent in the zero pose, from rest ``positions`` (J, 3).

    In SMPL's axes and the armature's unit of length. A joint without a bone (NaN) lies on its parent, but for toes and
    hands, which are as long as the neutral body's.
    """
    there = positions.copy()
    offsets = np.zeros((NUM_JOINTS, 3))
    for joint in range(1, NUM_JOINTS):
        parent = PARENTS[joint]
        if np.isnan(there[joint]).any():
            there[joint] = there[parent]
        offsets[joint] = frame.rest_global[parent].T @ frame.axes.T @ (there[joint] - there[parent])
    scale = size(offsets)
    for joint in set(range(NUM_JOINTS)) - set(PARENTS):
        if np.isnan(positions[joint]).any():
            offsets[joint] = scale * REST_OFFSETS[joint]
    return offsets


def size(offsets: Array) -> float:
    """How large a body with these offsets (J, 3) is beside the neutral one, by the bones of its limbs."""
    lengths = np.linalg.norm(offsets[_LIMBS], axis=1)
    there = lengths > 0
    return float(lengths[there].sum() / np.linalg.norm(REST_OFFSETS[_LIMBS], axis=1)[there].sum())


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
    length = np.linalg.norm(upward, axis=1, keepdims=True)
    scale = size(offsets) * length
    lowest = []
    for local in (before, after):
        standing = local.copy()
        standing[:, 0] = np.swapaxes(stage, -1, -2) @ local[:, 0]
        rotations, joints = forward_kinematics(standing, offsets)
        heights = np.einsum("njk,nk->nj", joints, upward)
        tilts = np.einsum("nk,njkl->njl", upward / length, rotations)
        heights[:, 0] = heights[:, _HIPS].mean(axis=1) - scale[:, 0] * (tilts[:, 0] @ _TO_HIPS)
        lowest.append(neutral_skin().lowest(heights, tilts, scale))
    lift = lowest[0] - lowest[1]
    return np.where(np.abs(lift) > STILL * scale[:, 0], lift, 0.0)
