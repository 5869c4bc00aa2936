# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of a spine's bones play SMPL's three joints of the spine. Pure numpy.

The joints go to the bones that lie nearest to their heights between hips and neck, in order. The last joint carries
arms and head, so it goes to the last bone, or to the first of those that ``rig.links`` lets share it. With two bones
the upper plays two joints, with one bone all three.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from ..contract.rotations import Array
from ..contract.skeleton import JOINT_INDEX, REST_OFFSETS
from .bone_map import SPINE, Skeleton

_UPWARDS = np.cumsum([REST_OFFSETS[joint][1] for joint in (*SPINE, JOINT_INDEX["neck"])])
_HIPS = REST_OFFSETS[JOINT_INDEX["left_hip"]][1]
_HEIGHTS = (_UPWARDS[:-1] - _HIPS) / (_UPWARDS[-1] - _HIPS)
"""(3,) heights of SMPL's joints of the spine; 0 is between the hips, 1 the neck."""


def joints_of_spine(spine: Sequence[str], bones: dict[int, str], skeleton: Skeleton) -> dict[int, str]:
    """Bone names by joint for the bones ``spine``, from the pelvis up.

    Args:
        bones: the other joints' bones; the hips are needed.
    """
    if not spine:
        return {}
    if len(spine) == 1:
        return {SPINE[2]: spine[0]}
    heights = _heights_of(spine, bones, skeleton)
    if len(spine) == 2:
        lower = SPINE[int(np.argmin(np.abs(_HEIGHTS[:2] - heights[0])))]
        return {lower: spine[0], SPINE[2]: spine[1]}
    starts = min(
        ((0, *others) for others in combinations(range(1, len(spine)), 2)),
        key=lambda chosen: float(np.abs(heights[list(chosen)] - _HEIGHTS).sum()),
    )
    return {joint: spine[start] for joint, start in zip(SPINE, starts, strict=True)}


def _heights_of(spine: Sequence[str], bones: dict[int, str], skeleton: Skeleton) -> Array:
    """(K,) heights of the bones' heads between hips and neck."""
    head = {name: np.array(place) for name, place in zip(skeleton.names, skeleton.heads, strict=True)}
    hips = np.mean([head[bones[JOINT_INDEX[f"{side}_hip"]]] for side in ("left", "right")], axis=0)
    neck = bones.get(JOINT_INDEX["neck"], bones.get(JOINT_INDEX["head"]))
    if neck is not None:
        top = head[neck]
    else:
        top = np.mean([head[bones[JOINT_INDEX[f"{side}_shoulder"]]] for side in ("left", "right")], axis=0)
    along = top - hips
    square = max(float(along @ along), 1e-12)
    return np.array([(head[name] - hips) @ along / square for name in spine])
