# SPDX-License-Identifier: Apache-2.0
"""Whether a body cuts through itself: capsules around the bones of the neutral skeleton, of parts that do not adjoin.

Coarse on purpose: it sees an arm that goes through the trunk or a leg through the other, and lets touching pass.

Legend: N poses; C capsules; K pairs of them.
"""

from __future__ import annotations

from itertools import combinations
from typing import Final

import numpy as np
import numpy.typing as npt

from blender_addon.contract.kinematics import forward_kinematics
from blender_addon.contract.rotations import Array, axis_angle_to_matrix
from blender_addon.contract.skeleton import JOINT_INDEX

CAPSULES: Final = {
    "pelvis": ("pelvis", "spine1", 0.11), "trunk": ("spine1", "spine3", 0.11), "chest": ("spine3", "neck", 0.10),
    "head": ("neck", "head", 0.08),
    **{
        f"{side}_{name}": (f"{side}_{start}", f"{side}_{end}", radius)
        for side in ("left", "right")
        for name, start, end, radius in (
            ("upper_arm", "shoulder", "elbow", 0.04), ("forearm", "elbow", "wrist", 0.035),
            ("hand", "wrist", "hand", 0.03), ("thigh", "hip", "knee", 0.06), ("shin", "knee", "ankle", 0.045),
            ("foot", "ankle", "foot", 0.035),
        )
    },
}  # fmt: skip
"""Name: the joints that a capsule goes between, and its radius in metres, less than the flesh has."""
_CHAINS: Final = (
    ("pelvis", "trunk", "chest", "head"),
    *((f"{side}_hand", f"{side}_forearm", f"{side}_upper_arm", "chest", "trunk") for side in ("left", "right")),
    *((f"{side}_foot", f"{side}_shin", f"{side}_thigh", "pelvis", "trunk") for side in ("left", "right")),
    ("left_thigh", "pelvis", "right_thigh"), ("left_upper_arm", "chest", "right_upper_arm"),
    ("left_upper_arm", "chest", "head"), ("right_upper_arm", "chest", "head"),
)  # fmt: skip
"""What hangs together: parts at most two apart in a chain touch by nature."""
ALLOWED: Final = 0.03
"""Metres by which two capsules may overlap, as flesh gives way."""


def _pairs() -> list[tuple[int, int]]:
    names = list(CAPSULES)
    near = {
        frozenset((one, other))
        for chain in _CHAINS
        for place, one in enumerate(chain)
        for other in chain[place + 1 : place + 3]
    }
    return [
        (one, other)
        for one, other in combinations(range(len(names)), 2)
        if frozenset((names[one], names[other])) not in near
    ]


_PAIRS: Final = np.array(_pairs())
_ENDS: Final = np.array([[JOINT_INDEX[start], JOINT_INDEX[end]] for start, end, _ in CAPSULES.values()])
_RADII: Final = np.array([radius for _, _, radius in CAPSULES.values()])


def depth(poses_aa: npt.ArrayLike) -> Array:
    """(N,) how far, in metres, the worst pair of capsules of each pose (N, 24, 3) overlaps; 0 where none does."""
    _, joints = forward_kinematics(axis_angle_to_matrix(np.asarray(poses_aa, dtype=np.float64)))
    ends = joints[:, _ENDS]  # (N, C, 2, 3)
    one, other = ends[:, _PAIRS[:, 0]], ends[:, _PAIRS[:, 1]]
    gap = _segment_distance(one[:, :, 0], one[:, :, 1], other[:, :, 0], other[:, :, 1])
    overlap = _RADII[_PAIRS].sum(axis=1) - gap
    worst: Array = np.maximum(overlap.max(axis=1), 0.0)
    return worst


def collides(poses_aa: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """(N,) whether each pose (N, 24, 3) cuts through itself by more than ALLOWED."""
    return depth(poses_aa) > ALLOWED


def _segment_distance(p: Array, q: Array, r: Array, s: Array) -> Array:
    """(...) distance of the segments p-q and r-s, points (..., 3) (Ericson 2005, "Real-Time Collision Detection",
    section 5.1.9)."""
    d1, d2, apart = q - p, s - r, p - r
    a, e = (d1 * d1).sum(-1), (d2 * d2).sum(-1)
    b, c, f = (d1 * d2).sum(-1), (d1 * apart).sum(-1), (d2 * apart).sum(-1)
    slack = a * e - b * b
    along = np.where(slack > 1e-12, np.clip((b * f - c * e) / np.maximum(slack, 1e-12), 0, 1), 0.0)
    across = (b * along + f) / np.maximum(e, 1e-12)
    held = np.clip(across, 0, 1)
    along = np.where(across == held, along, np.clip((b * held - c) / np.maximum(a, 1e-12), 0, 1))
    gap = (p + d1 * along[..., None]) - (r + d2 * held[..., None])
    distance: Array = np.sqrt((gap * gap).sum(-1))
    return distance
