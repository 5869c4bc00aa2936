# SPDX-License-Identifier: GPL-3.0-or-later
"""An armature in the scene, recognised as an SMPL body: which bones play which joints, and how they rest. Runs inside
Blender. It changes nothing and reads no pose; the four steps of ``armature`` do, and build on this."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from ..contract.rotations import Array
from ..contract.skeleton import NUM_JOINTS
from .bone_map import RigError, map_bones
from .convert import BoneTree
from .rest import body_frame


class Body:
    """A recognised armature. Cheap to make; make a new one for every operation, as bones may change in between.

    Attributes:
        armature: the armature object.
        family: "SMPL", "SMPL-H" or "SMPL-X".
        bones: SMPL joint index -> bone name.
        missing: indices of the SMPL joints for which the armature has no bone (hands in SMPL-H and SMPL-X). They read
            as not rotated and are passed over in writing.
        names: (B,) the joints' bones and their ancestors, in the tree's order.
        positions: (24, 3) where the joints rest in the armature's space; NaN where there is no bone.
        tree: how these bones rest and hang together.
    """

    def __init__(self, armature: Any, family: str, bones: dict[int, str], missing: frozenset[int]) -> None:
        self.armature = armature
        self.family = family
        self.bones = bones
        self.missing = missing
        self.names, self.positions, self.tree = _bone_tree(armature, bones)

    @classmethod
    def of(cls, armature: Any) -> Self:
        """Recognise the bones of an armature object.

        Raises:
            RigError: not an armature, or no SMPL, SMPL-H or SMPL-X skeleton, or required bones are missing.
        """
        if armature is None or armature.type != "ARMATURE":
            raise RigError(
                "No armature is selected; select an SMPL armature or add one with Add SMPL Figure."
            )
        if armature.mode == "EDIT":
            raise RigError("The armature is in Edit Mode; switch to Pose Mode or Object Mode first.")
        found = map_bones(bone.name for bone in armature.data.bones)
        return cls(armature, found.family, found.bones, found.missing)

    def pose_bone(self, joint: int) -> Any:
        """The pose bone of a joint that has one."""
        return self.armature.pose.bones[self.bones[joint]]


def _bone_tree(armature: Any, bones: dict[int, str]) -> tuple[list[str], Array, BoneTree]:
    """Names (B,) of the joints' bones and their ancestors, rest positions (24, 3) of the joints, and the tree."""
    data = armature.data.bones
    wanted = {
        name
        for mapped in bones.values()
        for name in (mapped, *(up.name for up in data[mapped].parent_recursive))
    }
    names = sorted(wanted, key=lambda name: len(data[name].parent_recursive))
    index = {name: place for place, name in enumerate(names)}
    positions = np.full((NUM_JOINTS, 3), np.nan)
    for joint, name in bones.items():
        positions[joint] = data[name].head_local
    tree = BoneTree(
        rest=np.array([data[name].matrix_local.to_3x3() for name in names], dtype=np.float64),
        parents=tuple(-1 if data[name].parent is None else index[data[name].parent.name] for name in names),
        inherits=tuple(data[name].use_inherit_rotation for name in names),
        joint_bone=tuple(index[bones[joint]] if joint in bones else -1 for joint in range(NUM_JOINTS)),
        frame=body_frame(positions),
    )
    return names, positions, tree
