# SPDX-License-Identifier: GPL-3.0-or-later
"""Which bone plays which joint: as the user said, else by the bones' names, else by their structure. Pure Python and
numpy."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ..contract.rotations import Array
from ..contract.skeleton import JOINT_NAMES
from .bone_map import BoneMap, RigError, Skeleton, check_map, map_from_text
from .families import by_names
from .structure import by_structure


def recognise(skeleton: Skeleton, kept: str = "") -> BoneMap:
    """The bone map of an armature.

    Args:
        kept: the text of the map that is kept with the armature, empty where there is none.

    Raises:
        RigError: it is no humanoid, as far as can be seen, or the map that is kept does not fit it.
    """
    found = _verdict(skeleton, kept)
    if isinstance(found, str):
        raise RigError(found)
    return found


@lru_cache(maxsize=64)
def _verdict(skeleton: Skeleton, kept: str) -> BoneMap | str:
    """The bone map, or why there is none; either is kept, as the panel asks at every redraw."""
    try:
        return _look(skeleton, kept)
    except RigError as error:
        return str(error)


def _look(skeleton: Skeleton, kept: str) -> BoneMap:
    if kept:
        bone_map = map_from_text(kept)
        check_map(bone_map, skeleton)
        return bone_map
    found = by_names(skeleton) or by_structure(skeleton)
    if found is None:
        raise RigError(
            "This armature is not recognised as a humanoid; say under Bone Map which bone plays which joint, "
            "choose another armature, or add one with Add SMPL Figure."
        )
    if on_all_fours(found, skeleton):
        raise RigError(
            "This armature rests on all fours, so it is not posed as a humanoid; if it is one, say so under Bone Map "
            "by choosing its bones there; else choose another armature, or add one with Add SMPL Figure."
        )
    return found


def on_all_fours(bone_map: BoneMap, skeleton: Skeleton) -> bool:
    """Whether arms and legs point the same way and the trunk across, as those of four-legged animals do."""
    head = {name: np.array(place) for name, place in zip(skeleton.names, skeleton.heads, strict=True)}
    at = {JOINT_NAMES[joint]: head[name] for joint, name in bone_map.bones.items()}
    hips, shoulders = (at[f"left_{joint}"] + at[f"right_{joint}"] for joint in ("hip", "shoulder"))
    trunk = shoulders - hips
    legs = at["left_knee"] + at["right_knee"] - hips
    arms = at["left_elbow"] + at["right_elbow"] - shoulders
    return _degrees(legs, arms) < 60 and 45 < _degrees(trunk, legs) < 135


def _degrees(a: Array, b: Array) -> float:
    return float(np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b)), a @ b)))
