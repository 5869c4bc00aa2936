# SPDX-License-Identifier: GPL-3.0-or-later
"""The channels that hold a pose bone's rotation in each rotation mode, and their locks.

Legend: ``values`` (K,) the channels of one bone: quaternion w, x, y, z; Euler x, y, z; or angle, axis x, y, z.
Runs inside Blender: Euler angles come from mathutils, so that they are just Blender's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from mathutils import Euler, Quaternion

from ..contract.rotations import Array, axis_angle_to_matrix, matrix_to_quaternion, quaternion_to_matrix

_AXES = "XYZ"
_SWEEPS = 12
"""Rounds of one-angle-at-a-time search when some Euler channels are locked; converges to float precision in fewer."""


def rotation_property(mode: str) -> str:
    """The property of a pose bone that holds its rotation in this rotation mode."""
    return {"QUATERNION": "rotation_quaternion", "AXIS_ANGLE": "rotation_axis_angle"}.get(
        mode, "rotation_euler"
    )


def rotation_locks(pbone: Any) -> tuple[bool, ...]:
    """Which channels (K,) of the bone's rotation are locked. The first of four counts only where Blender shows its
    lock, with ``lock_rotations_4d``."""
    locks = tuple(pbone.lock_rotation)
    if rotation_property(pbone.rotation_mode) == "rotation_euler":
        return locks
    return (pbone.lock_rotations_4d and pbone.lock_rotation_w, *locks)


def rotation_matrices(mode: str, values: npt.ArrayLike) -> Array:
    """Rotations (N, 3, 3) of channel values (N, K). As in Blender, a zero quaternion or axis is no rotation."""
    values = np.asarray(values, dtype=np.float64)
    if mode == "QUATERNION":
        length = np.linalg.norm(values, axis=-1, keepdims=True)
        return quaternion_to_matrix(np.where(length > 1e-9, values, [1.0, 0.0, 0.0, 0.0]))
    if mode == "AXIS_ANGLE":
        axis = values[..., 1:]
        length = np.linalg.norm(axis, axis=-1, keepdims=True)
        return axis_angle_to_matrix(values[..., :1] * axis / np.where(length > 1e-9, length, np.inf))
    first, second, third = (
        axis_angle_to_matrix(values[..., [i]] * np.eye(3)[i]) for i in map(_AXES.index, mode)
    )
    return np.asarray(third @ second @ first)


def values_near(mode: str, rotation: Array, near: Array) -> Array:
    """The channel values (K,) of a rotation (3, 3) nearest to the values ``near`` (K,), so that no curve flips."""
    quat = matrix_to_quaternion(rotation)
    if mode == "QUATERNION":
        return -quat if quat @ near < 0 else quat
    if mode == "AXIS_ANGLE":
        sine = np.linalg.norm(quat[1:])
        angle = 2 * np.arctan2(sine, quat[0])
        length = np.linalg.norm(near[1:])
        old_axis = near[1:] / length if length > 1e-9 else np.array([0.0, 1.0, 0.0])
        axis = quat[1:] / sine if sine > 1e-7 else old_axis
        if axis @ old_axis < 0:
            axis, angle = -axis, -angle
        return np.array([angle + 2 * np.pi * np.round((near[0] - angle) / (2 * np.pi)), *axis])
    return np.array(Quaternion(quat.tolist()).to_euler(mode, Euler(near.tolist(), mode)))


def hold_locked(mode: str, rotation: Array, values: Array, held: Array, locked: tuple[bool, ...]) -> Array:
    """Channel values (K,) whose locked channels are those of ``held`` (K,) and whose others come as close to the
    rotation (3, 3) as those allow, starting from ``values`` (K,)."""
    locks = np.array(locked)
    mixed = np.where(locks, held, values)
    if mode == "QUATERNION":
        # The unit quaternion with these components that has the largest inner product with the one wanted.
        room = 1.0 - np.sum(held[locks] ** 2)
        free = np.linalg.norm(values[~locks])
        if room <= 0 or free < 1e-9:
            return held
        return np.where(locks, held, values * np.sqrt(room) / free)
    if mode == "AXIS_ANGLE":
        if locks[1:].all() and np.linalg.norm(held[1:]) > 1e-9:
            quat = matrix_to_quaternion(rotation)
            twist = 2 * np.arctan2(quat[1:] @ held[1:] / np.linalg.norm(held[1:]), quat[0])
            mixed[0] = twist + 2 * np.pi * np.round((held[0] - twist) / (2 * np.pi))
        return mixed
    for _ in range(_SWEEPS):
        for place, axis in enumerate(map(_AXES.index, mode)):
            if locks[axis]:
                continue
            # trace(rotation.T @ E) is a sinusoid in each single angle; take its maximum.
            first, last = mixed.copy(), mixed.copy()
            for other_place, other in enumerate(map(_AXES.index, mode)):
                (first if other_place >= place else last)[other] = 0.0
                if other_place == place:
                    last[other] = 0.0
            m = rotation_matrices(mode, first[None])[0] @ rotation.T @ rotation_matrices(mode, last[None])[0]
            b, c = (axis + 1) % 3, (axis + 2) % 3
            best = np.arctan2(m[b, c] - m[c, b], m[b, b] + m[c, c])
            mixed[axis] = best + 2 * np.pi * np.round((mixed[axis] - best) / (2 * np.pi))
    return mixed
