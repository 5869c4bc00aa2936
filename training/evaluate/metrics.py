# SPDX-License-Identifier: Apache-2.0
"""Errors of poses, drift of joints that were to stay, and ranks in retrieval; one number a case.

Joints are those of the neutral skeleton, relative to the pelvis, with the global orientation included. Legend: N
cases, J = 24 joints, D = size of an embedding, P = size of a pool; poses (N, J, 3) axis-angle, radians.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from blender_addon.contract.kinematics import forward_kinematics
from blender_addon.contract.rotations import Array, axis_angle_to_matrix, geodesic_degrees
from blender_addon.contract.skeleton import JOINT_INDEX, REST_OFFSETS

Poses = npt.NDArray[np.float32]

STILL_DEGREES: Final = 0.5
"""A joint was not to move when its target is within this of its start."""
_HANDS: Final = [JOINT_INDEX["left_hand"], JOINT_INDEX["right_hand"]]


def joint_positions(poses_aa: npt.ArrayLike, offsets: Array | None = None) -> Array:
    """(N, J, 3) metres, the pelvis at the origin; ``offsets`` (J, 3) from each joint's parent, of another body than the
    neutral one."""
    return forward_kinematics(axis_angle_to_matrix(poses_aa), REST_OFFSETS if offsets is None else offsets)[1]


def mpjpe(answers_aa: npt.ArrayLike, targets_aa: npt.ArrayLike, offsets: Array | None = None) -> Array:
    """(N,) mean distance of the joints in mm, the pelvises laid on each other."""
    gap = joint_positions(answers_aa, offsets) - joint_positions(targets_aa, offsets)
    error: Array = 1000.0 * np.linalg.norm(gap, axis=-1).mean(axis=-1)
    return error


def pa_mpjpe(answers_aa: npt.ArrayLike, targets_aa: npt.ArrayLike, offsets: Array | None = None) -> Array:
    """(N,) the same in mm after the best rotation, scale and shift of the answer's joints (Umeyama 1991)."""
    answers, targets = joint_positions(answers_aa, offsets), joint_positions(targets_aa, offsets)
    answers = answers - answers.mean(axis=1, keepdims=True)
    targets = targets - targets.mean(axis=1, keepdims=True)
    u, sizes, vt = np.linalg.svd(np.swapaxes(answers, 1, 2) @ targets)
    # A rotation, never a reflection: where the best orthogonal matrix is one, the weakest axis is turned back.
    signs = np.ones_like(sizes)
    signs[:, 2] = np.sign(np.linalg.det(u @ vt))
    rotations = (u * signs[:, None, :]) @ vt
    scales = (sizes * signs).sum(axis=1) / (answers**2).sum(axis=(1, 2))
    gap = scales[:, None, None] * (answers @ rotations) - targets
    error: Array = 1000.0 * np.linalg.norm(gap, axis=-1).mean(axis=-1)
    return error


def mpjre(answers_aa: npt.ArrayLike, targets_aa: npt.ArrayLike) -> Array:
    """(N,) mean angle in degrees between the local rotations of answer and target."""
    error: Array = joint_degrees(answers_aa, targets_aa).mean(axis=-1)
    return error


def joint_degrees(first_aa: npt.ArrayLike, second_aa: npt.ArrayLike) -> Array:
    """(N, J) angle in degrees between the local rotations of two poses."""
    return geodesic_degrees(axis_angle_to_matrix(first_aa), axis_angle_to_matrix(second_aa))


def drift(answers_aa: npt.ArrayLike, starts_aa: npt.ArrayLike, targets_aa: npt.ArrayLike) -> Array:
    """(N, J) degrees by which joints turned that were to stay; NaN for joints that were to move.

    Hands never move in the data and are left out (NaN): counting them would flatter.
    """
    turned = joint_degrees(answers_aa, starts_aa)
    turned[joint_degrees(targets_aa, starts_aa) > STILL_DEGREES] = np.nan
    turned[:, _HANDS] = np.nan
    return turned


def draw_pools(rng: np.random.Generator, count: int, size: int) -> npt.NDArray[np.int64]:
    """(N, P) for each of ``count`` cases its own number and, after it, P - 1 others; P is at most ``count``."""
    size = min(size, count)
    pools = np.empty((count, size), dtype=np.int64)
    for case in range(count):
        others = rng.choice(count - 1, size - 1, replace=False)
        pools[case, 0] = case
        pools[case, 1:] = others + (others >= case)
    return pools


def ranks(queries: Array, gallery: Array, pools: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """(N,) the place, from 1, at which each query finds its own entry in its pool, by cosine similarity.

    Args:
        queries: (N, D).
        gallery: (N, D), row n the entry that query n should find.
        pools: (N, P), as from ``draw_pools``.

    Entries as near as the own one count as nearer, so that embeddings which are all alike score nothing.
    """
    queries = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    gallery = gallery / np.linalg.norm(gallery, axis=1, keepdims=True)
    similar = np.take_along_axis(queries @ gallery.T, pools, axis=1)
    place: npt.NDArray[np.int64] = 1 + (similar[:, 1:] >= similar[:, :1]).sum(axis=1)
    return place
