# SPDX-License-Identifier: GPL-3.0-or-later
"""Where SMPL's axes lie in an armature, and which SMPL pose its rest is, found from where the joints rest. Pure numpy.

Some armatures are modelled Z up, some Y up, some lie on their object's side; the joints' places tell which. They rest
in a T, an A, with hanging or bent arms, bent knees or a stooping trunk; ``BodyFrame.rest_global`` says how, so that
SMPL's zero pose is a T on every armature. What a rest does not show is taken to be as in SMPL's zero: a head looks
ahead, a foot stands flat, and an arm is not rolled unless the bend of its elbow or the fingers show that it is.

An SMPL armature rests in SMPL's zero by definition, and bodies differ by a few degrees; there only limbs that plainly
rest elsewhere (an A-pose, more than ``LIMB_TOLERANCE_DEGREES`` off) are given the rotation of their rest directions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from ..contract.kinematics import yaw_matrix
from ..contract.rotations import Array, shortest_turn
from ..contract.skeleton import JOINT_INDEX, NUM_JOINTS, PARENTS, REST_OFFSETS
from .bone_map import SPINE, RigError

SNAP_DEGREES = 10.0
"""Bodies differ in posture by a few degrees; axes this close to the armature's own are taken to be just those."""

WIDE_SNAP_DEGREES = 35.0
"""The same where left and right lie along one of the armature's axes, so that only stooping can be the reason."""

LEVEL_DEGREES = 3.0
"""Left and right lie along an axis when they are this close to it."""

LIMB_TOLERANCE_DEGREES = 20.0
"""T-poses differ by less; the arms of an A-pose hang by 30 degrees or more."""

HINGE_DEGREES = 20.0
"""An elbow or knee that rests bent by more shows how its limb is rolled."""

STOOP_DEGREES = 15.0
"""A trunk that leans by more is a pose and not posture."""

POINTED_DEGREES = 40.0
"""A foot that slopes by this much more or less than SMPL's is posed; by less, its shoe has a heel."""

LIMBS = (("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle"))
"""The joints of a limb from the body outwards; the last one's direction is not that of a segment of its own."""

_POSTURE = tuple(
    JOINT_INDEX[name]
    for name in (
        "left_hip", "right_hip", "spine2", "spine3", "left_collar", "right_collar", "left_shoulder",
        "right_shoulder", "neck", "head",
    )
)  # fmt: skip
"""Joints that stand in the same places in a T-pose and an A-pose."""

_UP, _AHEAD = np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0])


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


def _neutral_positions() -> Array:
    neutral = np.zeros((NUM_JOINTS, 3))
    for joint in range(1, NUM_JOINTS):
        neutral[joint] = neutral[PARENTS[joint]] + REST_OFFSETS[joint]
    return neutral


def body_axes(positions: Array) -> Array:
    """(3, 3) SMPL's axes in the space of the rest ``positions`` (J, 3); NaN for joints that have no bone.

    The rotation that lays the neutral skeleton best on the armature's (Kabsch 1976), snapped to the armature's own
    axes where these are near.

    Raises:
        RigError: the joints are all in one place or on one line, so that they show no direction.
    """
    posture = [joint for joint in _POSTURE if not np.isnan(positions[joint]).any()]
    found, neutral = positions[posture], _neutral_positions()[posture]
    u, spread, vt = np.linalg.svd((found - found.mean(axis=0)).T @ (neutral - neutral.mean(axis=0)))
    if not spread[1] > 1e-4 * spread[0]:
        raise RigError(
            "The bones of this armature all rest on one spot or line; put it into its T-pose in Edit Mode."
        )
    axes = u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt
    snapped = np.zeros((3, 3))
    rows = np.argmax(np.abs(axes), axis=0)
    snapped[rows, range(3)] = np.sign(axes[rows, range(3)])
    cosine = (np.trace(snapped.T @ axes) - 1) / 2
    level = np.degrees(np.arccos(min(1.0, np.abs(axes[:, 0]).max()))) < LEVEL_DEGREES
    near = WIDE_SNAP_DEGREES if level else SNAP_DEGREES
    if len(set(rows)) == 3 and np.linalg.det(snapped) > 0 and cosine > np.cos(np.radians(near)):
        return snapped
    return np.asarray(axes)


def body_frame(
    positions: npt.ArrayLike,
    knuckles: Mapping[str, tuple[Array, Array]] | None = None,
    *,
    zero_at_rest: bool = False,
) -> BodyFrame:
    """SMPL's axes and rest rotations from the joints' rest ``positions`` (J, 3) in the armature's space.

    Args:
        positions: heads of the joints' bones; NaN for joints that have no bone. Any unit of length.
        knuckles: where index and little finger begin, by ``left`` and ``right``; sides that are not known are left out.
        zero_at_rest: whether the rest is SMPL's zero by definition.

    Raises:
        RigError: as ``body_axes``.
    """
    positions = np.asarray(positions, dtype=np.float64)
    axes = body_axes(positions)
    standing = positions @ axes
    rest_global = np.tile(np.eye(3), (NUM_JOINTS, 1, 1))
    if not zero_at_rest:
        _lay_trunk(standing, rest_global)
    for side in ("left", "right"):
        for names in LIMBS:
            limb = [JOINT_INDEX[f"{side}_{name}"] for name in names]
            pairs = [pair for pair in pairwise(limb) if not np.isnan(standing[list(pair)]).any()]
            off = [
                _degrees_between(standing[end] - standing[start], REST_OFFSETS[end]) for start, end in pairs
            ]
            if not pairs or (zero_at_rest and max(off) < LIMB_TOLERANCE_DEGREES):
                continue
            _lay_limb(limb[: len(pairs) + 1], standing, rest_global)
            if names[0] == "shoulder":
                # The hand goes with the last segment; a foot that stands flat on the floor does not.
                rest_global[limb[2]] = rest_global[limb[2] + 2] = rest_global[limb[len(pairs) - 1]]
        if not zero_at_rest:
            _lay_foot(side, standing, rest_global)
            if knuckles and side in knuckles:
                index, little = (place @ axes for place in knuckles[side])
                _lay_hand(side, index, little, standing, rest_global)
    return BodyFrame(axes, rest_global)


def _lay_trunk(standing: Array, rest_global: Array) -> None:
    """Rest of the spine where the trunk leans as a whole; head and neck are taken to be upright."""
    ends = [
        joint for joint in _POSTURE if joint >= JOINT_INDEX["neck"] and not np.isnan(standing[joint]).any()
    ]
    top = next((standing[joint] for joint in (JOINT_INDEX["neck"],) if joint in ends), None)
    if top is None:
        top = standing[[JOINT_INDEX["left_shoulder"], JOINT_INDEX["right_shoulder"]]].mean(axis=0)
    along = top - standing[[JOINT_INDEX["left_hip"], JOINT_INDEX["right_hip"]]].mean(axis=0)
    if _degrees_between(along, _UP) > STOOP_DEGREES:
        rest_global[list(SPINE)] = shortest_turn(_UP, along)


def _lay_limb(limb: list[int], standing: Array, rest_global: Array) -> None:
    """Rest of a limb's segments from their directions; ``limb`` names its joints, the last ends it."""
    directions = [standing[end] - standing[start] for start, end in pairwise(limb)]
    straight = REST_OFFSETS[limb[1]]
    upper = shortest_turn(straight, directions[0])
    if len(directions) > 1 and HINGE_DEGREES < _degrees_between(*directions) < 180 - HINGE_DEGREES:
        # Elbows bend the forearm forward, knees the shank back.
        bends_to = _AHEAD if abs(straight[0]) > abs(straight[1]) else -_AHEAD
        hinge = np.cross(straight, bends_to)
        upper = _axes_of(directions[0], np.cross(*directions)) @ _axes_of(straight, hinge).T
    rest_global[limb[0]] = upper
    if len(directions) > 1:
        rest_global[limb[1]] = shortest_turn(upper @ REST_OFFSETS[limb[2]], directions[1]) @ upper


def _lay_foot(side: str, standing: Array, rest_global: Array) -> None:
    """Rest of foot and toes: how far they point outwards, and up or down where that cannot be a shoe's heel."""
    ankle, foot = (JOINT_INDEX[f"{side}_{name}"] for name in ("ankle", "foot"))
    along = standing[foot] - standing[ankle]
    if np.isnan(along).any() or not np.linalg.norm(along) > 0:
        return
    level = REST_OFFSETS[foot]
    ahead = np.hypot(along[0], along[2]) > 0.2 * np.linalg.norm(along) and along[2] > 0
    turn = yaw_matrix(np.arctan2(along[0], along[2])) if ahead else np.eye(3)
    if _degrees_between(turn @ level, along) > POINTED_DEGREES:
        turn = shortest_turn(turn @ level, along) @ turn
    rest_global[ankle] = rest_global[foot] = turn


def _lay_hand(side: str, index: Array, little: Array, standing: Array, rest_global: Array) -> None:
    """Rest of a hand from the first joints of two fingers; in SMPL's zero its palm looks down."""
    wrist, hand = JOINT_INDEX[f"{side}_wrist"], JOINT_INDEX[f"{side}_hand"]
    along, across = (index + little) / 2 - standing[wrist], little - index
    if np.isnan(along).any() or not 30 < _degrees_between(along, across) < 150:
        return
    rest_global[wrist] = _axes_of(along, across) @ _axes_of(REST_OFFSETS[hand], -_AHEAD).T
    rest_global[hand] = rest_global[wrist]


def _axes_of(first: npt.ArrayLike, second: npt.ArrayLike) -> Array:
    """(3, 3) the rotation whose columns are ``first``, ``second`` made square to it, and the one across both."""
    x = np.asarray(first, dtype=np.float64) / np.linalg.norm(first)
    z: Array = np.cross(x, np.asarray(second, dtype=np.float64))
    z /= np.linalg.norm(z)
    return np.stack([x, np.cross(z, x), z], axis=-1)
