# SPDX-License-Identifier: GPL-3.0-or-later
"""Bone rotations to SMPL poses and back, through the rest matrices. Pure numpy, plain arrays in and out.

Legend: N frames, B bones (parents before children), J = 24 joints. All rotations (3, 3).

- ``rest``: (B, 3, 3) rest axes of the bones in the armature's space (``bone.matrix_local``).
- ``basis``: (N, B, 3, 3) what the animator keys: the rotation of a bone in its own rest axes.
- ``turn``: (N, B, 3, 3) how far a posed bone is turned from its rest, in the armature's space:
  ``posed @ rest.T``. A bone that inherits rotation has ``turn = turn[parent] @ rest @ basis @ rest.T``.
- ``local``: (N, J, 3, 3) SMPL's local rotations.

With F = ``frame.axes`` (SMPL's axes in the armature's space) and T_j = ``frame.rest_global[j]`` (the SMPL rotation
that the joint has in the armature's rest; identity when the rest is the T-pose), the SMPL global rotation of a joint
is ``F.T @ turn_j @ F @ T_j``, and its local rotation is relative to that of its SMPL parent.

**Global orientation.** Joint 0 is the pelvis against a stage: up is the world's up, forward is the way the object
faces. So a body that lies because its object is tipped over is read as lying, while an object that was only turned
about the vertical reads as its own front, and a generated pose faces where the object faces. ``stage`` (N, 3, 3) is
the object's tilt, what its rotation leaves when the heading is taken out; the object itself is never changed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..contract.kinematics import heading, yaw_matrix
from ..contract.rotations import Array
from ..contract.skeleton import NUM_JOINTS, PARENTS
from .rest import BodyFrame

BLENDER_FROM_SMPL = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
"""SMPL's axes in Blender's world: x stays, y up becomes Z up, z forward becomes -Y, the front view."""


@dataclass(frozen=True)
class BoneTree:
    """The bones that matter to a body: those of the joints and all their ancestors.

    Attributes:
        rest: (B, 3, 3) rest axes in the armature's space.
        parents: parent of each bone, -1 for none; parents come before children.
        inherits: whether the bone inherits its parent's rotation.
        joint_bone: (J,) bone of each joint, -1 for none.
        frame: SMPL's axes in the armature's space.
    """

    rest: Array
    parents: tuple[int, ...]
    inherits: tuple[bool, ...]
    joint_bone: tuple[int, ...]
    frame: BodyFrame

    @property
    def joint_rest(self) -> Array:
        """(J, 3, 3) F @ T_j, so that ``turn_j @ (F @ T_j)`` is a joint's SMPL global rotation seen from F."""
        return self.frame.axes @ self.frame.rest_global

    def carrier(self, bone: int) -> tuple[int, int]:
        """The bone whose rotation this one inherits and the nearest joint at or above that bone; -1 for none."""
        if not self.inherits[bone] or self.parents[bone] < 0:
            return -1, -1
        above = self.parents[bone]
        while above >= 0 and above not in self.joint_bone:
            if not self.inherits[above]:
                return self.parents[bone], -1
            above = self.parents[above]
        return self.parents[bone], (self.joint_bone.index(above) if above >= 0 else -1)


def transpose(matrix: Array) -> Array:
    """(..., 3, 3) transposed."""
    return np.swapaxes(matrix, -1, -2)


def nearest_rotation(matrix: Array) -> Array:
    """The rotation (..., 3, 3) nearest to a matrix that may also scale, shear or mirror.

    A mirroring matrix is mirrored back along the first axis, so that up and forward stay what one sees.
    """
    u, _, vt = np.linalg.svd(np.asarray(matrix, dtype=np.float64))
    rotation = u @ vt
    rotation[..., :, 0] *= np.linalg.det(rotation)[..., None]
    return np.asarray(rotation)


def stage_of(object_matrix: Array, axes: Array) -> Array:
    """The stage (..., 3, 3) of objects whose world matrices have the linear parts ``object_matrix`` (..., 3, 3)."""
    standing = BLENDER_FROM_SMPL.T @ nearest_rotation(object_matrix @ axes)
    return yaw_matrix(-heading(standing)) @ standing


def turns_from_basis(basis: Array, tree: BoneTree) -> Array:
    """(N, B, 3, 3) turns of bones without constraints whose basis rotations are (N, B, 3, 3)."""
    turns: Array = tree.rest @ basis @ transpose(tree.rest)
    for bone, parent in enumerate(tree.parents):
        if parent >= 0 and tree.inherits[bone]:
            turns[:, bone] = turns[:, parent] @ turns[:, bone]
    return turns


def local_from_turns(turns: Array, stage: Array, tree: BoneTree) -> Array:
    """(N, J, 3, 3) SMPL local rotations of posed bones (N, B, 3, 3); ``stage`` (N, 3, 3). No bone: identity."""
    joint_rest = tree.joint_rest
    oriented = np.empty((len(turns), NUM_JOINTS, 3, 3))
    local = np.empty_like(oriented)
    for joint, bone in enumerate(tree.joint_bone):
        parent = PARENTS[joint]
        if bone < 0:
            oriented[:, joint] = oriented[:, parent]
            local[:, joint] = np.eye(3)
            continue
        oriented[:, joint] = turns[:, bone] @ joint_rest[joint]
        if parent < 0:
            local[:, joint] = stage @ tree.frame.axes.T @ oriented[:, joint]
        else:
            local[:, joint] = transpose(oriented[:, parent]) @ oriented[:, joint]
    return local


def basis_from_local(
    local: Array, moving: frozenset[int], turns: Array, stage: Array, tree: BoneTree
) -> dict[int, Array]:
    """The basis rotations (N, 3, 3), by joint, that give the ``moving`` joints their local rotations.

    Joints that do not move keep their basis, so they are carried along by the others. Bones between two joints
    keep theirs too.

    Args:
        local: (N, J, 3, 3) SMPL local rotations wanted; only those of the moving joints are used.
        moving: joints that may turn; those without a bone are passed over.
        turns: (N, B, 3, 3) turns of the bones as they are now.
        stage: (N, 3, 3) tilt of the object.
    """
    joint_rest = tree.joint_rest
    new_turn: dict[int, Array] = {}
    oriented = np.empty((len(turns), NUM_JOINTS, 3, 3))
    basis: dict[int, Array] = {}
    for joint, bone in enumerate(tree.joint_bone):
        parent = PARENTS[joint]
        if bone < 0:
            oriented[:, joint] = oriented[:, parent]
            continue
        carrier, above = tree.carrier(bone)
        before = turns[:, carrier] if carrier >= 0 else np.broadcast_to(np.eye(3), (len(turns), 3, 3))
        carried = before
        if above in new_turn:
            carried = new_turn[above] @ transpose(turns[:, tree.joint_bone[above]]) @ before
        if joint in moving:
            if parent < 0:
                oriented[:, joint] = tree.frame.axes @ transpose(stage) @ local[:, joint]
            else:
                oriented[:, joint] = oriented[:, parent] @ local[:, joint]
            new_turn[joint] = oriented[:, joint] @ joint_rest[joint].T
            rest = tree.rest[bone]
            basis[joint] = rest.T @ transpose(carried) @ new_turn[joint] @ rest
        else:
            new_turn[joint] = carried @ transpose(before) @ turns[:, bone]
            oriented[:, joint] = new_turn[joint] @ joint_rest[joint]
    return basis
