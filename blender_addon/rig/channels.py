# SPDX-License-Identifier: GPL-3.0-or-later
"""The channels that hold a pose bone's rotation in each rotation mode, and their locks.

Legend: ``values`` (K,) the channels of one bone: quaternion w, x, y, z; Euler x, y, z; or angle, axis x, y, z.
Runs inside Blender: Euler angles come from mathutils, so that they are just Blender's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import mul

import numpy as np
import numpy.typing as npt
from mathutils import Euler, Quaternion

from ..contract.rotations import Array, axis_angle_to_matrix, quaternion_to_matrix
from .blender_types import Posable

_AXES = "XYZ"
_SWEEPS = 12
"""Rounds of one-angle-at-a-time search when some Euler channels are locked; converges to float precision in fewer."""


def rotation_property(mode: str) -> str:
    """The property of a pose bone that holds its rotation in this rotation mode."""
    return {"QUATERNION": "rotation_quaternion", "AXIS_ANGLE": "rotation_axis_angle"}.get(
        mode, "rotation_euler"
    )


def rotation_locks(pbone: Posable) -> tuple[bool, ...]:
    """Which channels (K,) of the bone's rotation are locked. The first of four counts only where Blender shows its
    lock, with ``lock_rotations_4d``."""
    locks = tuple(pbone.lock_rotation)
    if rotation_property(pbone.rotation_mode) == "rotation_euler":
        return locks
    return (pbone.lock_rotations_4d and pbone.lock_rotation_w, *locks)


def rotation_matrices(mode: str, values: npt.ArrayLike) -> Array:
    """Rotations (..., 3, 3) of channel values (..., K). As in Blender, a zero quaternion or axis is no rotation."""
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


def values_near(mode: str, quat: Sequence[float], near: Sequence[float]) -> list[float]:
    """The channel values (K,) of a unit quaternion (w, x, y, z) nearest to the values ``near`` (K,), so that no curve
    flips. Plain floats: it runs for every key of every bone, where numpy's overhead would show."""
    if mode == "QUATERNION":
        sign = -1.0 if sum(map(mul, quat, near)) < 0 else 1.0
        return [sign * one for one in quat]
    if mode == "AXIS_ANGLE":
        sine, length = math.hypot(*quat[1:]), math.hypot(*near[1:])
        angle = 2 * math.atan2(sine, quat[0])
        old_axis = [one / length for one in near[1:]] if length > 1e-9 else [0.0, 1.0, 0.0]
        axis = [one / sine for one in quat[1:]] if sine > 1e-7 else old_axis
        if sum(map(mul, axis, old_axis)) < 0:
            axis, angle = [-one for one in axis], -angle
        return [_unwrap(angle, near[0]), *axis]
    euler = Quaternion(quat).to_euler(mode, Euler(near, mode))
    return [euler.x, euler.y, euler.z]


def _unwrap(angle: float, near: float) -> float:
    """The angle plus the whole turns that bring it nearest to ``near``."""
    return float(angle + 2 * math.pi * round((near - angle) / (2 * math.pi)))


def hold_locked(
    mode: str, quat: Array, values: npt.ArrayLike, held: Array, locked: tuple[bool, ...]
) -> Array:
    """Channel values (K,) whose locked channels are those of ``held`` (K,) and whose others come as close to the
    rotation ``quat`` (4,) as those allow, starting from ``values`` (K,)."""
    locks = np.array(locked)
    values = np.asarray(values)
    mixed = np.where(locks, held, values)
    if mode == "QUATERNION":
        # The unit quaternion with these components that has the largest inner product with the one wanted.
        room = 1.0 - np.sum(held[locks] ** 2)
        free = np.linalg.norm(values[~locks])
        if room <= 0 or free < 1e-9:
            return held
        return np.where(locks, held, values * np.sqrt(room) / free)
    if mode == "AXIS_ANGLE":
        length = np.linalg.norm(held[1:])
        if locks[1:].all() and length > 1e-9:
            mixed[0] = _unwrap(2 * np.arctan2(quat[1:] @ held[1:] / length, quat[0]), held[0])
        return mixed
    rotation = quaternion_to_matrix(quat)
    axes = [_AXES.index(letter) for letter in mode]
    for _ in range(_SWEEPS):
        for place, axis in enumerate(axes):
            if locks[axis]:
                continue
            # With E = last @ R(angle) @ first, trace(rotation.T @ E) is a sinusoid in the angle; take its maximum.
            first, last = np.zeros(3), np.zeros(3)
            first[axes[:place]], last[axes[place + 1 :]] = mixed[axes[:place]], mixed[axes[place + 1 :]]
            m = rotation_matrices(mode, first[None])[0] @ rotation.T @ rotation_matrices(mode, last[None])[0]
            b, c = (axis + 1) % 3, (axis + 2) % 3
            mixed[axis] = _unwrap(np.arctan2(m[b, c] - m[c, b], m[b, b] + m[c, c]), mixed[axis])
    return mixed
