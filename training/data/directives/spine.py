# SPDX-License-Identifier: Apache-2.0
"""Geometry that the kinds of trunk and head share: a turn spread over a chain of joints, and its measures.

The trunk is measured as the chest relative to the pelvis, the head as the head relative to the chest. All angles
are degrees.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from blender_addon.contract.rotations import Array, axis_angle_to_matrix, matrix_to_axis_angle
from blender_addon.contract.skeleton import JOINT_INDEX

from .posed_body import FRONT, LEFT, UP, PosedBody, turn

TRUNK: Final = ("spine1", "spine2", "spine3")
HEAD: Final = ("neck", "head")
_REACHED: Final = {TRUNK: (1 / 3, 2 / 3, 1.0), HEAD: (0.4, 1.0)}
"""Part of a turn that has been made at each joint of a chain."""


def chain_rotation(start: PosedBody, chain: tuple[str, ...]) -> Array:
    """Rotation (3, 3) of the chain's last joint relative to the parent of its first."""
    total = np.eye(3)
    for joint in chain:
        total = total @ start.local[JOINT_INDEX[joint]]
    return total


def chain_turned(start: PosedBody, chain: tuple[str, ...], axis: npt.ArrayLike, degrees: float) -> PosedBody:
    """The chain turned about an axis (3,) of the frame that it stands on, each joint taking its part."""
    changes = {}
    before, after = np.eye(3), np.eye(3)
    for joint, reached in zip(chain, _REACHED[chain], strict=True):
        before = before @ start.local[JOINT_INDEX[joint]]
        wanted = turn(axis, reached * degrees) @ before
        changes[joint] = after.T @ wanted
        after = wanted
    return start.with_local(changes)


def chain_set(start: PosedBody, chain: tuple[str, ...], rotation: Array) -> PosedBody:
    """The chain's whole rotation (3, 3) set, each joint taking its part of it."""
    vector = matrix_to_axis_angle(rotation)
    parts = np.diff([0.0, *_REACHED[chain]])
    return start.with_local(
        {joint: axis_angle_to_matrix(vector * part) for joint, part in zip(chain, parts, strict=True)}
    )


def chain_eased(start: PosedBody, chain: tuple[str, ...], part: float) -> PosedBody:
    """Each joint of the chain turned back by ``part`` of its own rotation; 1 sets it to neutral."""
    return start.with_local(
        {
            joint: axis_angle_to_matrix(matrix_to_axis_angle(start.local[JOINT_INDEX[joint]]) * (1.0 - part))
            for joint in chain
        }
    )


# -- trunk -------------------------------------------------------------------------------------------------


def trunk_angles(start: PosedBody) -> tuple[float, float, float]:
    """Twist to the left, bend forward and lean to the left of the chest relative to the pelvis."""
    rotation = chain_rotation(start, TRUNK)
    ahead, up = rotation[:, 2], rotation[:, 1]
    return (
        float(np.degrees(np.arctan2(ahead[0], ahead[2]))),
        float(np.degrees(np.arctan2(up[2], up[1]))),
        float(np.degrees(np.arctan2(up[0], up[1]))),
    )


def trunk_bent(start: PosedBody, degrees: float) -> PosedBody:
    """Bent forward by an angle."""
    return chain_turned(start, TRUNK, LEFT, degrees)


def trunk_leaned(start: PosedBody, degrees: float) -> PosedBody:
    """Bent to the left by an angle."""
    return chain_turned(start, TRUNK, FRONT, -degrees)


def trunk_twisted(start: PosedBody, degrees: float) -> PosedBody:
    """Twisted to the left by an angle."""
    return chain_turned(start, TRUNK, UP, degrees)


# -- head --------------------------------------------------------------------------------------------------


def angles_of(rotation: Array) -> tuple[float, float, float]:
    """Yaw to the left, pitch down and roll to the left of a head's rotation (3, 3) relative to the chest."""
    ahead, up = rotation[:, 2], rotation[:, 1]
    return (
        float(np.degrees(np.arctan2(ahead[0], ahead[2]))),
        float(np.degrees(np.arctan2(-ahead[1], np.hypot(ahead[0], ahead[2])))),
        float(np.degrees(np.arctan2(up[0], up[1]))),
    )


def head_angles(start: PosedBody) -> tuple[float, float, float]:
    """Yaw to the left, pitch down and roll to the left of the head relative to the chest."""
    return angles_of(chain_rotation(start, HEAD))


def head_turned(start: PosedBody, degrees: float) -> PosedBody:
    """Turned to the left by an angle about the chest's upright axis."""
    return chain_turned(start, HEAD, UP, degrees)


def head_pitched(start: PosedBody, degrees: float) -> PosedBody:
    """Nodded down by an angle about the axis through the ears."""
    yaw = np.radians(head_angles(start)[0])
    return chain_turned(start, HEAD, [np.cos(yaw), 0.0, -np.sin(yaw)], degrees)


def head_rolled(start: PosedBody, degrees: float) -> PosedBody:
    """Tilted to the left shoulder by an angle."""
    return chain_turned(start, HEAD, FRONT, -degrees)


def head_set(start: PosedBody, yaw: float, pitch: float, roll: float = 0.0) -> PosedBody:
    """The head set to angles, in the order roll, pitch, yaw."""
    return chain_set(start, HEAD, turn(UP, yaw) @ turn(LEFT, pitch) @ turn(FRONT, -roll))
