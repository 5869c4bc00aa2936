# SPDX-License-Identifier: GPL-3.0-or-later
"""Which bone is which SMPL joint, by name. Pure Python.

A naming scheme is one row of ``SCHEMES``: the names it gives to the joints and the prefixes it may put before them.
Names are compared without regard to case.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from ..contract.skeleton import JOINT_INDEX, JOINT_NAMES


class RigError(Exception):
    """An armature that cannot be used; the text is one sentence that tells the user what to do."""


@dataclass(frozen=True)
class Scheme:
    """One way of naming the bones of a humanoid.

    Attributes:
        family: what the user calls such an armature.
        names: for each joint that the scheme knows, the names a bone may have; the first is the usual one.
        prefixes: what may stand before every name; "" when nothing need.
        markers: bones that only this scheme has, without prefix; they decide between schemes that agree otherwise.
        optional: joints the armature may lack.
    """

    family: str
    names: dict[int, tuple[str, ...]]
    prefixes: tuple[str, ...] = ("",)
    markers: tuple[str, ...] = ()
    optional: frozenset[int] = field(default=frozenset())


@dataclass(frozen=True)
class BoneMap:
    """The bones of one armature, as SMPL joints.

    Attributes:
        family: "SMPL", "SMPL-H" or "SMPL-X".
        bones: joint index -> bone name, as the armature spells it.
        missing: joints for which there is no bone; they count as not rotated.
    """

    family: str
    bones: dict[int, str]
    missing: frozenset[int]


HANDS: Final = frozenset({JOINT_INDEX["left_hand"], JOINT_INDEX["right_hand"]})


def _short_name(joint_name: str) -> str:
    """left_hip -> L_Hip, pelvis -> Pelvis: the spelling of SMPL's own armatures."""
    side, _, rest = joint_name.partition("_")
    return f"{side[0].upper()}_{rest.capitalize()}" if rest else joint_name.capitalize()


_SHORT: Final[dict[int, tuple[str, ...]]] = {
    joint: (_short_name(name),) for joint, name in enumerate(JOINT_NAMES)
}
_LONG: Final[dict[int, tuple[str, ...]]] = {
    **{joint: (name,) for joint, name in enumerate(JOINT_NAMES)},
    JOINT_INDEX["left_hand"]: ("left_hand", "left_palm"),
    JOINT_INDEX["right_hand"]: ("right_hand", "right_palm"),
}
_PREFIXES: Final = ("", "m_avg_", "f_avg_")

SCHEMES: Final = (
    Scheme("SMPL", _SHORT, _PREFIXES, optional=HANDS),
    Scheme("SMPL", _LONG, _PREFIXES, optional=HANDS),
    Scheme("SMPL-H", _SHORT, _PREFIXES, markers=("L_Index1", "R_Index1"), optional=HANDS),
    Scheme("SMPL-H", _LONG, _PREFIXES, markers=("left_index1", "right_index1"), optional=HANDS),
    Scheme("SMPL-X", _SHORT, _PREFIXES, markers=("L_Index1", "R_Index1", "Jaw"), optional=HANDS),
    Scheme("SMPL-X", _LONG, _PREFIXES, markers=("left_index1", "right_index1", "jaw"), optional=HANDS),
)
"""Add a row to know another kind of armature."""


def _match(scheme: Scheme, prefix: str, by_name: dict[str, str]) -> tuple[dict[int, str], int]:
    """Bones of this scheme with this prefix, and the number of its markers that are there."""
    bones = {}
    for joint, names in scheme.names.items():
        for name in names:
            bone = by_name.get((prefix + name).casefold())
            if bone is not None:
                bones[joint] = bone
                break
    markers = sum((prefix + marker).casefold() in by_name for marker in scheme.markers)
    return bones, markers


def map_bones(bone_names: Iterable[str]) -> BoneMap:
    """Recognise an armature by the names of its bones.

    Raises:
        RigError: the names are of no known scheme, or a bone that cannot be done without is missing.
    """
    by_name = {name.casefold(): name for name in bone_names}
    best: tuple[tuple[int, int], Scheme, str, dict[int, str]] | None = None
    for scheme in SCHEMES:
        for prefix in scheme.prefixes:
            bones, markers = _match(scheme, prefix, by_name)
            if markers < len(scheme.markers):
                continue
            if best is None or (len(bones), markers) > best[0]:
                best = ((len(bones), markers), scheme, prefix, bones)
    if best is None or len(best[3]) < len(JOINT_NAMES) // 2:
        raise RigError(
            "This armature is not an SMPL, SMPL-H or SMPL-X body: its bones are not named like Pelvis, L_Hip, … "
            "or pelvis, left_hip, …; choose such an armature or add one with Add SMPL Figure."
        )
    _, scheme, prefix, bones = best
    missing = frozenset(range(len(JOINT_NAMES))) - bones.keys()
    needed = sorted(missing - scheme.optional)
    if needed:
        names = ", ".join(prefix + scheme.names[joint][0] for joint in needed)
        raise RigError(
            f"This {scheme.family} armature lacks {len(needed)} of its bones ({names}); restore them or name them so."
        )
    return BoneMap(scheme.family, bones, missing)
