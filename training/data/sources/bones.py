# SPDX-License-Identifier: Apache-2.0
"""Which bone of a recorded skeleton is which part of the body, by its name and by where it hangs.

Limbs and head go by name (CMU, LaFAN, Mixamo, 100STYLE, MotionBuilder, 3ds Max, Daz, Unreal, SMPL). How many bones
spine and neck have differs everywhere, so those are what lies between: hips, where the legs meet; chest, where arms and
head meet.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

# Of each limb's joints, from the trunk outwards, the names that a bone may have. An earlier name wins over a later
# one: with an "arm", the "shoulder" is the collar; with an "ankle", the "foot" is the toes.
_NAMES: Final[dict[str, tuple[str, ...]]] = {
    "shoulder": ("upperarm", "uparm", "arm", "shldr", "shoulder"),
    "elbow": ("forearm", "lowerarm", "lowarm", "elbow"),
    "wrist": ("wrist", "hand"),
    "hip": ("upperleg", "upleg", "thigh", "hip"),
    "knee": ("lowerleg", "lowleg", "shin", "calf", "knee", "leg"),
    "ankle": ("ankle", "foot"),
}
_OPTIONAL: Final[dict[str, tuple[str, ...]]] = {
    "collar": ("clavicle", "collar", "collarbone", "shoulder"),
    "foot": ("toebase", "toe", "toes", "ball", "foot"),
}
_LIMB_NAMES: Final = frozenset(name for names in (_NAMES | _OPTIONAL).values() for name in names)
_SIDES: Final = {"left": "left", "l": "left", "right": "right", "r": "right"}
_PREFIXES: Final = frozenset(
    {"bip", "mixamorig", "character", "model", "skeleton", "valve", "biped", "m", "f", "avg"}
)
_WORDS: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


@dataclass(frozen=True)
class Bones:
    """The bones of a skeleton that a pose is told by, as indices.

    Attributes:
        limbs: SMPL joint name, such as "left_elbow", to bone; collars and feet may be missing.
        trunk: from the hips to the chest, both included.
        head: from the chest, excluded, to the head.
    """

    limbs: dict[str, int]
    trunk: tuple[int, ...]
    head: tuple[int, ...]


def find_bones(names: Sequence[str], parents: npt.NDArray[np.int64]) -> Bones:
    """Recognises a skeleton.

    Raises:
        ValueError: a bone that is needed is not there, or the skeleton is no person's.
    """
    by_part: dict[tuple[str, str], int] = {}
    for bone, name in enumerate(names):
        by_part.setdefault(_part(name), bone)
    limbs: dict[str, int] = {}
    missing: list[str] = []
    for side in ("left", "right"):
        for joint, candidates in _NAMES.items():
            named = [by_part[side, name] for name in candidates if (side, name) in by_part]
            if named:
                limbs[f"{side}_{joint}"] = named[0]
            else:
                missing.append(f"{side} {joint}")
    head = by_part.get(("", "head"))
    if missing or head is None:
        wanted = ", ".join(missing + (["head"] if head is None else []))
        raise ValueError(
            f"no bone is named as the {wanted}; names as in CMU, LaFAN, Mixamo, 100STYLE, Unreal or SMPL skeletons are "
            f"known, and this one has {', '.join(names[:8])}, …"
        )
    taken = set(limbs.values())
    for side in ("left", "right"):
        for joint, candidates in _OPTIONAL.items():
            free = (by_part.get((side, name)) for name in candidates)
            found = next((bone for bone in free if bone is not None and bone not in taken), None)
            if found is not None:
                limbs[f"{side}_{joint}"] = found
    hips = _meeting(parents, limbs["left_hip"], limbs["right_hip"])
    chest = _meeting(parents, _meeting(parents, limbs["left_shoulder"], limbs["right_shoulder"]), head)
    trunk = _path(parents, hips, chest)
    neck = _path(parents, chest, head)
    if trunk is None or neck is None or len(neck) < 2:
        raise ValueError("its head and arms do not hang from its hips: it is no person's skeleton")
    return Bones(limbs, tuple(trunk), tuple(neck[1:]))


def _part(name: str) -> tuple[str, str]:
    """Side ("left", "right" or "") and part of a bone: "mixamorig:LeftUpLeg" is ("left", "upleg")."""
    words = [word.lower() for word in _WORDS.findall(name.rpartition(":")[2])]
    side = ""
    kept = []
    for word in words:
        if not side and word in _SIDES:
            side = _SIDES[word]
        elif word not in _PREFIXES:
            kept.append(word)
    part = "".join(kept)
    if not side:
        # All in lower case, only the rest tells where the side ends.
        for word, side_name in _SIDES.items():
            if part.removeprefix(word) in _LIMB_NAMES and part.startswith(word):
                return side_name, part.removeprefix(word)
    return side, part


def _ancestors(parents: npt.NDArray[np.int64], bone: int) -> list[int]:
    """The bone and all above it, upwards."""
    found = []
    while bone >= 0:
        found.append(bone)
        bone = int(parents[bone])
    return found


def _meeting(parents: npt.NDArray[np.int64], one: int, other: int) -> int:
    """The nearest bone that both hang from."""
    above = set(_ancestors(parents, other))
    return next((bone for bone in _ancestors(parents, one) if bone in above), -1)


def _path(parents: npt.NDArray[np.int64], start: int, end: int) -> list[int] | None:
    """The bones from ``start`` down to ``end``; None if it does not hang from there."""
    above = _ancestors(parents, end)
    return above[: above.index(start) + 1][::-1] if start in above else None
