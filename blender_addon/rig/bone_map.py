# SPDX-License-Identifier: GPL-3.0-or-later
"""Which bone plays which SMPL joint: the map itself, and how it is written down. Pure Python.

A map names at most one bone for each joint, the one that starts the joint's part of the body. What the names leave
open follows from the armature (``rig.links``): bones in between share a joint's rotation, and a bone whose neighbours
have none plays several joints.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from ..contract.skeleton import JOINT_INDEX, JOINT_NAMES

FINGERS: Final = ("left_index", "left_little", "right_index", "right_little")
"""First bones of the fingers that show how a hand is turned; a map may name them, no joint is played by them."""

NEEDED: Final = tuple(
    JOINT_INDEX[name]
    for name in (
        "pelvis", "left_hip", "right_hip", "left_knee", "right_knee",
        "left_shoulder", "right_shoulder", "left_elbow", "right_elbow",
    )
)  # fmt: skip
"""Joints without which a body cannot be posed; the others may be missing."""

SPINE: Final = tuple(JOINT_INDEX[name] for name in ("spine1", "spine2", "spine3"))


class RigError(Exception):
    """An armature that cannot be used; the text is one sentence that tells the user what to do."""


@dataclass(frozen=True)
class Skeleton:
    """The bones of an armature at rest, parents before children. Hashable, so that what follows from it is kept.

    Attributes:
        names: (B,) as the armature spells them.
        parents: (B,) index of each bone's parent, -1 for none.
        heads: (B,) where each bone starts, in the armature's space and unit.
        tails: (B,) where it ends; importers often make this up.
        free: (B,) whether no constraint holds the bone.
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]
    heads: tuple[tuple[float, float, float], ...]
    tails: tuple[tuple[float, float, float], ...]
    free: tuple[bool, ...]

    def lineage(self, bone: int) -> list[int]:
        """The bone and all its ancestors, nearest first."""
        line = []
        while bone >= 0:
            line.append(bone)
            bone = self.parents[bone]
        return line


@dataclass(frozen=True)
class Switch:
    """A property that hands a limb over from inverse kinematics to the bones that are posed.

    Attributes:
        joints: the joints of the limb.
        bone: the bone that has the property.
        name: the custom property.
        fk: its value when the posed bones show.
        target: the control that the end of the limb follows under inverse kinematics, empty where it is not known.
        base: the control whose rotation says there which way the limb bends, empty where there is none.
        pole: the control that the limb bends towards there, empty where there is none.
    """

    joints: tuple[int, ...]
    bone: str
    name: str
    fk: float
    target: str = ""
    base: str = ""
    pole: str = ""


@dataclass(frozen=True)
class BoneMap:
    """The bones of one armature, as SMPL joints.

    Attributes:
        family: what the user calls such an armature.
        bones: joint index -> name of the bone that is keyed.
        known_by: whether its names were known, its structure was, or the user said which bone is which.
        shown: joint index -> the bone whose pose shows, where that is another one (in control rigs).
        fingers: of ``FINGERS`` -> bone name.
        switches: properties by which inverse kinematics may hold limbs.
        zero_at_rest: whether the rest pose is SMPL's zero by definition, limbs a few degrees off included.
    """

    family: str
    bones: dict[int, str]
    known_by: Literal["names", "structure", "user"] = "names"
    shown: dict[int, str] = field(default_factory=dict)
    fingers: dict[str, str] = field(default_factory=dict)
    switches: tuple[Switch, ...] = ()
    zero_at_rest: bool = False


def map_to_text(bone_map: BoneMap) -> str:
    """The map as the text of a file that ``map_from_text`` reads, and that can be added to ``bone_maps/``."""
    content: dict[str, Any] = {"family": bone_map.family, "bones": _named(bone_map.bones) | bone_map.fingers}
    if bone_map.shown:
        content["shown"] = _named(bone_map.shown)
    if bone_map.switches:
        content["switches"] = [
            {
                "joints": [JOINT_NAMES[joint] for joint in switch.joints],
                "bone": switch.bone,
                "property": switch.name,
                "fk": switch.fk,
                **({"target": switch.target} if switch.target else {}),
                **({"base": switch.base} if switch.base else {}),
                **({"pole": switch.pole} if switch.pole else {}),
            }
            for switch in bone_map.switches
        ]
    if bone_map.zero_at_rest:
        content["zero_at_rest"] = True
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _named(bones: dict[int, str]) -> dict[str, str]:
    return {JOINT_NAMES[joint]: bones[joint] for joint in sorted(bones)}


def map_from_text(text: str) -> BoneMap:
    """The map that ``map_to_text`` wrote, as one that the user made.

    Raises:
        RigError: the text is no such map.
    """
    try:
        content = json.loads(text)
        known = {**JOINT_INDEX, **{name: name for name in FINGERS}}
        bones = {known[key]: str(name) for key, name in content["bones"].items()}
        return BoneMap(
            family=str(content["family"]),
            bones={key: name for key, name in bones.items() if isinstance(key, int)},
            known_by="user",
            shown={JOINT_INDEX[key]: str(name) for key, name in content.get("shown", {}).items()},
            fingers={key: name for key, name in bones.items() if isinstance(key, str)},
            switches=tuple(
                Switch(
                    tuple(JOINT_INDEX[name] for name in one["joints"]),
                    str(one["bone"]),
                    str(one["property"]),
                    float(one["fk"]),
                    str(one.get("target", "")),
                    str(one.get("base", "")),
                    str(one.get("pole", "")),
                )
                for one in content.get("switches", ())
            ),
            zero_at_rest=bool(content.get("zero_at_rest", False)),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RigError(
            'This is no bone map: it needs "family" and "bones" with SMPL\'s joints as keys, '
            f"as Export Bone Map writes it ({error!r})."
        ) from error


def check_map(bone_map: BoneMap, skeleton: Skeleton) -> None:
    """See that a map fits an armature.

    Raises:
        RigError: a bone is not there, plays two joints, or a joint that is needed has none.
    """
    there = set(skeleton.names)
    gone = sorted(
        {name for name in (*bone_map.bones.values(), *bone_map.shown.values()) if name not in there}
    )
    if gone:
        raise RigError(
            f"The bone map names bones that this armature does not have ({', '.join(gone[:4])}); "
            "choose others under Bone Map or press Recognise Anew."
        )
    joints_of: dict[str, int] = {}
    for joint, name in bone_map.bones.items():
        if name in joints_of:
            raise RigError(
                f"The bone {name} plays both {_spoken(joints_of[name])} and {_spoken(joint)}; "
                "give one of them another bone under Bone Map, or none."
            )
        joints_of[name] = joint
    lacking = missing_needs(bone_map.bones)
    if lacking:
        names = ", ".join(lacking).replace("_", " ")
        raise RigError(f"The bone map has no bone for {names}; choose one under Bone Map.")


def _spoken(joint: int) -> str:
    return JOINT_NAMES[joint].replace("_", " ")


def missing_needs(bones: dict[int, str]) -> list[str]:
    """Names of the joints that are needed and have no bone; one bone of the spine will do."""
    lacking = [JOINT_NAMES[joint] for joint in NEEDED if joint not in bones]
    if not any(joint in bones for joint in SPINE):
        lacking.append("spine1")
    return lacking
