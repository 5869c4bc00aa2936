# SPDX-License-Identifier: GPL-3.0-or-later
"""Where SMPL's axes lie in an armature, found from where the joints rest. Pure numpy.

Some armatures are modelled Z up, some Y up, some lie on their object's side; the joints' places tell which. The rest
pose of an SMPL armature is the T-pose, SMPL's zero, so its joints rest unrotated. Only a limb that plainly
rests elsewhere (an A-pose, more than ``LIMB_TOLERANCE_DEGREES`` off) is given the rotation of its rest directions.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from ..contract.rotations import Array, shortest_turn
from ..contract.skeleton import JOINT_INDEX, NUM_JOINTS, PARENTS, REST_OFFSETS
from .bone_map import RigError

SNAP_DEGREES = 10.0
"""Bodies differ in posture by a few degrees; axes this close to the armature's own are taken to be just those."""

LIMB_TOLERANCE_DEGREES = 20.0
"""T-poses differ by less; the arms of an A-pose hang by 30 degrees or more."""

LIMBS = (("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle"))
"""The joints of a limb from the body outwards; the last one's direction is not that of a segment of its own."""

_POSTURE = tuple(
    JOINT_INDEX[name]
    for name in ("left_hip", "right_hip", "spine2", "spine3", "left_collar", "right_collar", "neck", "head")
)
"""Joints that stand in the same places in a T-pose and an A-pose."""


@dataclass(frozen=True)
class BodyFrame:
    """SMPL's axes and rest in an armature's space.

    Attributes:
        axes: (3, 3) rotation; its columns are SMPL's x, y and z in the armature's space.
        rest_global: (J, 3, 3) SMPL global rotation that each joint has when the armature rests; identity in a T-pose.
    """

    axes: Array
    rest_global: Array


def _degrees_between(a: Array, b: Array) -> float:
    return float(np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b)), a @ b)))


def body_axes(positions: Array) -> Array:
    """(3, 3) SMPL's axes in the space of the rest ``positions`` (J, 3); NaN for joints that have no bone.

    The rotation that lays the neutral skeleton best on the armature's (Kabsch 1976), snapped to the armature's own
    axes where these are near.

    Raises:
        RigError: the joints are all in one place or on one line, so that they show no direction.
    """
    neutral = np.zeros((NUM_JOINTS, 3))
    for joint in _POSTURE:
        chain, above = [], joint
        while above > 0:
            chain.append(above)
            above = PARENTS[above]
        neutral[joint] = REST_OFFSETS[chain].sum(axis=0)
    found = positions[list(_POSTURE)] - positions[0]
    u, spread, vt = np.linalg.svd(found.T @ neutral[list(_POSTURE)])
    if not spread[1] > 1e-4 * spread[0]:
        raise RigError(
            "The bones of this armature all rest on one spot or line; put it into its T-pose in Edit Mode."
        )
    axes = u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt
    snapped = np.zeros((3, 3))
    rows = np.argmax(np.abs(axes), axis=0)
    snapped[rows, range(3)] = np.sign(axes[rows, range(3)])
    cosine = (np.trace(snapped.T @ axes) - 1) / 2
    if len(set(rows)) == 3 and np.linalg.det(snapped) > 0 and cosine > np.cos(np.radians(SNAP_DEGREES)):
        return snapped
    return np.asarray(axes)


def body_frame(positions: npt.ArrayLike) -> BodyFrame:
    """SMPL's axes and rest rotations from the joints' rest ``positions`` (J, 3) in the armature's space.

    Args:
        positions: heads of the joints' bones; NaN for joints that have no bone. Any unit of length.

    Raises:
        RigError: as ``body_axes``.
    """
    positions = np.asarray(positions, dtype=np.float64)
    axes = body_axes(positions)
    standing = positions @ axes
    rest_global = np.tile(np.eye(3), (NUM_JOINTS, 1, 1))
    for side in ("left", "right"):
        for names in LIMBS:
            limb = [JOINT_INDEX[f"{side}_{name}"] for name in names]
            pairs = list(pairwise(limb))
            found = [standing[end] - standing[start] for start, end in pairs]
            wanted = [REST_OFFSETS[end] for _, end in pairs]
            if max(map(_degrees_between, found, wanted)) < LIMB_TOLERANCE_DEGREES:
                continue
            for (joint, _), direction, straight in zip(pairs, found, wanted, strict=True):
                rest_global[joint] = shortest_turn(straight, direction)
            # The hand or foot goes with the last segment; a foot that stands flat on the floor is left as it is.
            if names[0] == "shoulder":
                rest_global[limb[-1]] = rest_global[limb[-1] + 2] = rest_global[limb[-2]]
    return BodyFrame(axes, rest_global)
