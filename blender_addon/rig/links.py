# SPDX-License-Identifier: GPL-3.0-or-later
"""How the bones of an armature share the rotations of SMPL's joints. Pure Python and numpy.

A link is the least piece that bones and joints have in common: one bone for one joint in the plain case; several bones
for one joint where the spine or the neck has more of them, or where twist bones lie within a limb; one bone for several
joints where the armature has fewer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..contract.rotations import Array
from ..contract.skeleton import JOINT_INDEX, NUM_JOINTS, PARENTS, REST_OFFSETS
from .bone_map import SPINE, BoneMap, Skeleton

_NECK, _HEAD = JOINT_INDEX["neck"], JOINT_INDEX["head"]
_COLLARS = (JOINT_INDEX["left_collar"], JOINT_INDEX["right_collar"])
_TRUNK = (*SPINE, _NECK)
"""Joints whose bones in between bend evenly."""

_LIMBS = {
    JOINT_INDEX[f"{side}_{upper}"]: JOINT_INDEX[f"{side}_{lower}"]
    for side in ("left", "right")
    for upper, lower in (("hip", "knee"), ("knee", "ankle"), ("shoulder", "elbow"), ("elbow", "wrist"))
}
"""Joints whose bones in between twist only -> the joint where the segment ends."""

IN_LINE = 0.1
"""A twist bone lies this near to the line of its limb, as a part of the segment's length."""


@dataclass(frozen=True, eq=False)
class Link:
    """Joints and the bones that play them together.

    Attributes:
        joints: one or more, from the body outwards.
        bones: one or more, from the body outwards, as indices.
        shares: for each joint its part of the bones' rotation in reading; they sum to 1.
        twist: (3,) direction, in SMPL's zero pose, about which the later bones take the joint's twist and nothing
            else; None where all bend evenly.
        shown: index of the bone whose pose shows; usually the last of ``bones``.
    """

    joints: tuple[int, ...]
    bones: tuple[int, ...]
    shares: tuple[float, ...]
    twist: Array | None
    shown: int


def links_of(bone_map: BoneMap, skeleton: Skeleton) -> tuple[Link, ...]:
    """The links of a mapped armature in SMPL's order; joints in none of them have no bone."""
    index = {name: bone for bone, name in enumerate(skeleton.names)}
    bone_of = {joint: index[name] for joint, name in bone_map.bones.items()}
    links = []
    for joints in _joined(frozenset(bone_of)):
        joint = next(one for one in joints if one in bone_of)
        bones = (bone_of[joint], *_between(joint, bone_of, skeleton))
        shown = index.get(bone_map.shown.get(joint, ""), bones[-1])
        twist = None
        if len(bones) > 1 and joint in _LIMBS:
            offset = REST_OFFSETS[_LIMBS[joint]]
            twist = offset / np.linalg.norm(offset)
        links.append(Link(joints, bones, _shares(joints), twist, shown))
    return tuple(links)


def _joined(mapped: frozenset[int]) -> list[tuple[int, ...]]:
    """The joints in groups that have one mapped joint each, ordered by SMPL's order of their first."""
    groups: dict[int, list[int]] = {joint: [joint] for joint in mapped}
    for joint in range(1, NUM_JOINTS):
        if joint in mapped:
            continue
        if joint in SPINE:
            above = [one for one in SPINE if one in mapped and one > joint]
            below = [one for one in SPINE if one in mapped and one < joint]
            takers = above[:1] or below[-1:]
        elif joint in _COLLARS or joint == _NECK:
            ends = [child for child in range(NUM_JOINTS) if PARENTS[child] == joint and child in mapped]
            takers = ends[:1]
        else:
            takers = []  # the end of a limb or the head: nothing plays it
        for taker in takers:
            groups[taker].append(joint)
    return sorted(tuple(sorted(group)) for group in groups.values())


def _shares(joints: tuple[int, ...]) -> tuple[float, ...]:
    """The spine and the neck bend evenly; an arm without a collar is turned at the shoulder."""
    if joints[0] in _COLLARS:
        return (0.0,) * (len(joints) - 1) + (1.0,)
    return (1.0 / len(joints),) * len(joints)


def _between(joint: int, bone_of: dict[int, int], skeleton: Skeleton) -> list[int]:
    """The bones between a joint's bone and the next joint's that take part in its rotation, outwards."""
    start = bone_of[joint]
    if joint in _TRUNK:
        above = [one for one in (*SPINE, _NECK, _HEAD) if one > joint and one in bone_of]
        if joint in SPINE and not any(one in SPINE for one in above):
            # The chest ends where arms and neck part.
            ends = [bone_of[one] for one in _ends_of_chest(bone_of)]
            lines = [skeleton.lineage(end)[1:] for end in ends]
            shared = [bone for bone in lines[0] if all(bone in line for line in lines[1:])] if lines else []
            path = shared[: shared.index(start)] if start in shared else []
        else:
            path = _path(start, bone_of[above[0]], skeleton) if above else []
        return [bone for bone in reversed(path) if skeleton.free[bone]]
    if joint in _LIMBS and _LIMBS[joint] in bone_of:
        end = bone_of[_LIMBS[joint]]
        first, last = np.array(skeleton.heads[start]), np.array(skeleton.heads[end])
        return [
            bone
            for bone in reversed(_path(start, end, skeleton))
            if skeleton.free[bone] and _is_within(np.array(skeleton.heads[bone]), first, last)
        ]
    return []


def _ends_of_chest(bone_of: dict[int, int]) -> list[int]:
    ends = []
    for side in ("left", "right"):
        names = (f"{side}_collar", f"{side}_shoulder")
        ends += [JOINT_INDEX[name] for name in names if JOINT_INDEX[name] in bone_of][:1]
    return ends + [joint for joint in (_NECK, _HEAD) if joint in bone_of][:1]


def _path(start: int, end: int, skeleton: Skeleton) -> list[int]:
    """The bones strictly between a bone and its descendant, from the descendant up; none where it descends not."""
    line = skeleton.lineage(end)[1:]
    return line[: line.index(start)] if start in line else []


def _is_within(place: Array, first: Array, last: Array) -> bool:
    """Whether a place lies on the segment from ``first`` to ``last``, and not at its ends."""
    along = last - first
    length = float(np.linalg.norm(along))
    if length < 1e-9:
        return False
    part = float((place - first) @ along) / length**2
    off = float(np.linalg.norm(place - first - part * along)) / length
    return off < IN_LINE and 0.05 < part < 0.95
