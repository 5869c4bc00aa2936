# SPDX-License-Identifier: GPL-3.0-or-later
"""An armature in the scene, recognised as an SMPL body: which bones play which joints, and how they rest. Runs inside
Blender. It changes nothing and reads no pose; the four steps of ``armature`` do, and build on this."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, Self

import bpy
import numpy as np

from ..contract.rotations import Array
from ..contract.skeleton import NUM_JOINTS
from .blender_types import ArmatureObject
from .bone_map import BoneMap, RigError, Skeleton
from .convert import BoneTree
from .links import Link, links_of
from .recognise import recognise
from .rest import body_frame

KEPT_IN: Final = "posellava_bone_map"
"""Custom property of an armature object that keeps the bone map which the user corrected, as text."""


class Body:
    """A recognised armature. Cheap to make; make a new one for every operation, as bones may change in between.

    Attributes:
        armature: the armature object.
        bone_map: which bone plays which joint.
        family: what the user calls such an armature.
        bones: SMPL joint index -> name of the bone that plays it, or plays it first.
        missing: indices of the SMPL joints that no bone plays (hands in most armatures). They read as not rotated and
            are passed over in writing.
        names: (B,) the joints' bones and their ancestors, in the tree's order.
        carriers: names of the bones that carry the whole body when they move together: the pelvis's, and those of
            the joints' that hang on no other joint's bone, as legs do that have a root of their own.
        positions: (24, 3) where the joints rest in the armature's space; NaN where there is no bone.
        tree: how these bones rest and hang together.
    """

    def __init__(self, armature: ArmatureObject, anatomy: _Anatomy) -> None:
        self.armature = armature
        self.bone_map = anatomy.bone_map
        self.family = anatomy.bone_map.family
        self.bones = anatomy.bone_map.bones
        played = {joint for link in anatomy.tree.links for joint in link.joints}
        self.missing = frozenset(range(NUM_JOINTS)) - played
        self.names, self.positions, self.tree = anatomy.names, anatomy.positions, anatomy.tree
        self.carriers = anatomy.carriers

    @classmethod
    def of(cls, armature: ArmatureObject) -> Self:
        """Recognise the bones of an armature object.

        Raises:
            RigError: not an armature, or no humanoid, or required bones are missing.
        """
        if armature is None or armature.type != "ARMATURE":
            raise RigError("No armature is selected; select a character or add one with Add SMPL Figure.")
        if armature.mode == "EDIT":
            raise RigError("The armature is in Edit Mode; switch to Pose Mode or Object Mode first.")
        bones = armature.data.bones
        rest = np.empty(16 * len(bones), dtype=np.float32)
        bones.foreach_get("matrix_local", rest)
        inherits = np.empty(len(bones), dtype=bool)
        bones.foreach_get("use_inherit_rotation", inherits)
        kept = str(armature.get(KEPT_IN, ""))
        return cls(armature, _anatomy(skeleton_of(armature), kept, rest.tobytes(), inherits.tobytes()))

    def pose_bone(self, joint: int) -> bpy.types.PoseBone:
        """The pose bone of a joint that has one."""
        return self.armature.pose.bones[self.bones[joint]]


def skeleton_of(armature: ArmatureObject) -> Skeleton:
    """The bones of an armature object as they rest."""
    bones = armature.data.bones
    index = {bone.name: place for place, bone in enumerate(bones)}
    places = {end: np.empty(3 * len(bones), dtype=np.float32) for end in ("head_local", "tail_local")}
    for end, values in places.items():
        bones.foreach_get(end, values)
    held = {
        pbone.name
        for pbone in armature.pose.bones
        if any(not constraint.mute for constraint in pbone.constraints)
    }
    return Skeleton(
        names=tuple(index),
        parents=tuple(-1 if bone.parent is None else index[bone.parent.name] for bone in bones),
        heads=tuple(map(tuple, places["head_local"].reshape(-1, 3).tolist())),
        tails=tuple(map(tuple, places["tail_local"].reshape(-1, 3).tolist())),
        free=tuple(name not in held for name in index),
    )


@dataclass(frozen=True)
class _Anatomy:
    """What is known of a skeleton; the attributes as in ``Body``."""

    bone_map: BoneMap
    names: list[str]
    carriers: tuple[str, ...]
    positions: Array
    tree: BoneTree


@lru_cache(maxsize=64)
def _anatomy(skeleton: Skeleton, kept: str, rest: bytes, inherits: bytes) -> _Anatomy:
    """The body that a skeleton is.

    Args:
        skeleton: its bones.
        kept: the bone map that the user corrected, as text.
        rest: (bones, 4, 4) float32, their rest matrices as Blender lays them out.
        inherits: (bones,) bool, whether each inherits its parent's rotation.

    Raises:
        RigError: as ``Body.of``.
    """
    bone_map = recognise(skeleton, kept)
    links = links_of(bone_map, skeleton)
    played = {bone for link in links for bone in (*link.bones, link.shown)}
    # In the armature's own order, in which parents come before children.
    chosen = sorted({above for bone in played for above in skeleton.lineage(bone)})
    index = {bone: place for place, bone in enumerate(chosen)}
    heads = np.array(skeleton.heads, dtype=np.float64)
    mapped, positions = np.full((2, NUM_JOINTS, 3), np.nan)
    for link in links:
        positions[list(link.joints)] = heads[link.bones[0]]
    place_of = dict(zip(skeleton.names, heads, strict=True))
    for joint, name in bone_map.bones.items():
        mapped[joint] = place_of[name]
    knuckles = {
        side: (place_of[bone_map.fingers[f"{side}_index"]], place_of[bone_map.fingers[f"{side}_little"]])
        for side in ("left", "right")
        if {f"{side}_index", f"{side}_little"} <= bone_map.fingers.keys()
    }
    matrices = np.frombuffer(rest, dtype=np.float32).reshape(-1, 4, 4)[chosen, :3, :3]
    inherit = np.frombuffer(inherits, dtype=bool)
    tree = BoneTree(
        rest=matrices.transpose(0, 2, 1).astype(np.float64),  # Blender lays matrices out column by column
        parents=tuple(index.get(skeleton.parents[bone], -1) for bone in chosen),
        inherits=tuple(bool(inherit[bone]) for bone in chosen),
        links=tuple(
            replace(link, bones=tuple(index[bone] for bone in link.bones), shown=index[link.shown])
            for link in links
        ),
        frame=body_frame(mapped, knuckles, zero_at_rest=bone_map.zero_at_rest),
    )
    carriers = tuple(skeleton.names[bone] for bone in _carriers(links, bone_map, skeleton))
    return _Anatomy(bone_map, [skeleton.names[bone] for bone in chosen], carriers, positions, tree)


def _carriers(links: Sequence[Link], bone_map: BoneMap, skeleton: Skeleton) -> list[int]:
    """As in ``Body``, as indices, the pelvis's first."""
    pelvis = skeleton.names.index(bone_map.bones[0])
    found = [pelvis]
    if bone_map.shown:
        return found  # a control rig has its parts follow by constraints
    played = {bone for link in links for bone in link.bones}
    for link in links:
        above = skeleton.lineage(link.bones[0])[1:]
        if link.bones[0] != pelvis and not played & set(above) and all(skeleton.free[bone] for bone in above):
            found.append(link.bones[0])
    return found
