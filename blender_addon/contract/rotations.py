# SPDX-License-Identifier: GPL-3.0-or-later
"""Rotation maths in numpy, batched over leading axes. The torch counterpart is backend.body.rotations.

Legend: ``aa`` (..., 3) axis-angle, radians; ``matrix`` (..., 3, 3); ``quat`` (..., 4) as w, x, y, z.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def axis_angle_to_matrix(aa: npt.ArrayLike) -> Array:
    """(..., 3) axis-angle to (..., 3, 3), by Rodrigues' formula; exact near zero."""
    aa = np.asarray(aa, dtype=np.float64)
    x, y, z = aa[..., 0], aa[..., 1], aa[..., 2]
    square = x * x + y * y + z * z
    # Never zero, so that sin(t)/t and (1 - cos t)/t^2 stay finite.
    angle = np.maximum(np.sqrt(square), 1e-12)
    sine, versine = np.sin(angle) / angle, 0.5 * (np.sin(angle / 2) / (angle / 2)) ** 2
    diagonal = 1 - versine * square
    matrix: Array = np.empty((*aa.shape, 3))
    for row, first in enumerate((x, y, z)):
        for column, second in enumerate((x, y, z)):
            matrix[..., row, column] = versine * first * second
        matrix[..., row, row] += diagonal
    for row, column, part in ((1, 0, z), (2, 1, x), (0, 2, y)):
        turned = sine * part
        matrix[..., row, column] += turned
        matrix[..., column, row] -= turned
    return matrix


def shortest_turn(start: npt.ArrayLike, end: npt.ArrayLike, across: npt.ArrayLike | None = None) -> Array:
    """The smallest rotation (3, 3) that takes direction ``start`` (3,) to ``end`` (3,), whatever their lengths.

    Where the two are opposite it is the half turn about ``across`` (3,), or without it about any axis across them.
    Where one has no length there is nothing to turn.
    """
    first, last = _direction(start), _direction(end)
    normal = np.cross(first, last)
    sine, cosine = float(np.linalg.norm(normal)), float(first @ last)
    if sine >= 1e-6:
        return axis_angle_to_matrix(normal / sine * np.arctan2(sine, cosine))
    if cosine >= 0:
        return np.eye(3)
    any_across = np.cross(first, np.eye(3)[int(np.argmin(np.abs(first)))])
    return axis_angle_to_matrix(_direction(any_across if across is None else across) * np.pi)


def _direction(vector: npt.ArrayLike) -> Array:
    vector = np.asarray(vector, dtype=np.float64)
    direction: Array = vector / np.maximum(np.linalg.norm(vector), 1e-12)
    return direction


def matrix_to_quaternion(matrix: npt.ArrayLike) -> Array:
    """(..., 3, 3) to (..., 4) unit quaternions w, x, y, z with w >= 0; stable for every angle (Shepperd 1978)."""
    m = np.asarray(matrix, dtype=np.float64)
    m00, m11, m22 = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    # Row k holds 4 q_k q: dividing the row of the largest component by its norm is well conditioned.
    rows = np.empty((*m.shape[:-2], 4, 4))
    rows[..., 0, 0] = 1 + m00 + m11 + m22
    rows[..., 1, 1] = 1 + m00 - m11 - m22
    rows[..., 2, 2] = 1 - m00 + m11 - m22
    rows[..., 3, 3] = 1 - m00 - m11 + m22
    rows[..., 0, 1] = rows[..., 1, 0] = m[..., 2, 1] - m[..., 1, 2]
    rows[..., 0, 2] = rows[..., 2, 0] = m[..., 0, 2] - m[..., 2, 0]
    rows[..., 0, 3] = rows[..., 3, 0] = m[..., 1, 0] - m[..., 0, 1]
    rows[..., 1, 2] = rows[..., 2, 1] = m[..., 0, 1] + m[..., 1, 0]
    rows[..., 1, 3] = rows[..., 3, 1] = m[..., 0, 2] + m[..., 2, 0]
    rows[..., 2, 3] = rows[..., 3, 2] = m[..., 1, 2] + m[..., 2, 1]
    best = np.argmax(np.einsum("...kk->...k", rows), axis=-1)[..., None, None]
    quat = np.take_along_axis(rows, best, axis=-2)[..., 0, :]
    quat /= np.linalg.norm(quat, axis=-1, keepdims=True)
    return np.where(quat[..., :1] < 0, -quat, quat)


def quaternion_to_matrix(quat: npt.ArrayLike) -> Array:
    """(..., 4) quaternions w, x, y, z (normalised here) to (..., 3, 3)."""
    q = np.asarray(quat, dtype=np.float64)
    w, x, y, z = np.moveaxis(q / np.linalg.norm(q, axis=-1, keepdims=True), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def matrix_to_axis_angle(matrix: npt.ArrayLike) -> Array:
    """(..., 3, 3) to (..., 3) axis-angle with angles in [0, pi]."""
    return quaternion_to_axis_angle(matrix_to_quaternion(matrix))


def quaternion_to_axis_angle(quat: npt.ArrayLike) -> Array:
    """(..., 4) unit quaternions w, x, y, z to (..., 3) axis-angle with angles in [0, pi]."""
    q = np.asarray(quat, dtype=np.float64)
    q = np.where(q[..., :1] < 0, -q, q)
    w, xyz = q[..., :1], q[..., 1:]
    sine = np.linalg.norm(xyz, axis=-1, keepdims=True)
    angle = 2 * np.arctan2(sine, w)
    scale = np.where(sine > 1e-9, angle / np.maximum(sine, 1e-9), 2.0)
    aa: Array = xyz * scale
    return aa


def geodesic_degrees(a: npt.ArrayLike, b: npt.ArrayLike) -> Array:
    """Angle between rotation matrices (..., 3, 3), in degrees, shape (...)."""
    relative = np.swapaxes(np.asarray(a, dtype=np.float64), -1, -2) @ np.asarray(b, dtype=np.float64)
    degrees: Array = np.degrees(np.linalg.norm(matrix_to_axis_angle(relative), axis=-1))
    return degrees
