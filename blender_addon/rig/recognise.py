# SPDX-License-Identifier: GPL-3.0-or-later
"""Which bone plays which joint: as the user said, else by the bones' names. Pure Python."""

from __future__ import annotations

from functools import lru_cache

from .bone_map import BoneMap, RigError, Skeleton, check_map, map_from_text
from .families import by_names


@lru_cache(maxsize=64)
def recognise(skeleton: Skeleton, kept: str = "") -> BoneMap:
    """The bone map of an armature.

    Args:
        kept: the text of the map that is kept with the armature, empty where there is none.

    Raises:
        RigError: it is no humanoid, as far as can be seen, or the map that is kept does not fit it.
    """
    if kept:
        bone_map = map_from_text(kept)
        check_map(bone_map, skeleton)
        return bone_map
    found = by_names(skeleton)
    if found is None:
        raise RigError(
            "This armature is not recognised as a humanoid; say under Bone Map which bone plays which joint, "
            "choose another armature, or add one with Add SMPL Figure."
        )
    return found
