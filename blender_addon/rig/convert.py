# SPDX-License-Identifier: GPL-3.0-or-later
"""Bone rotations to SMPL poses and back, through the rest matrices. Pure numpy, plain arrays in and out.

Legend: N frames, B bones (parents before children), J = 24 joints. All rotations (3, 3).

- ``rest``: (B, 3, 3) rest axes of the bones in the armature's space (``bone.matrix_local``).
- ``basis``: (N, B, 3, 3) what the animator keys: the rotation of a bone in its own rest axes.
- ``turn``: (N, B, 3, 3) how far a posed bone is turned from its rest, in the armature's space:
  ``posed @ rest.T``. A bone that inherits rotation has ``turn = turn[parent] @ rest @ basis @ rest.T``.
- ``oriented``: (N, J, 3, 3) where SMPL's axes at a joint lie in the armature's space.
- ``local``: (N, J, 3, 3) SMPL's local rotations.

With F = ``frame.axes`` (SMPL's axes in the armature's space) and T_j = ``frame.rest_global[j]`` (the SMPL rotation
that the joint has in the armature's rest; identity when the rest is the T-pose), the last joint of a link has
``oriented = turn[shown] @ F @ T_j``, and the link's joints together turn by that relative to the joint above it. Where
a link has several joints they share this rotation in reading, and in writing their product is what counts. Where it has
several bones, an even link spreads the change over them, and a limb gives all but the twist to its first bone. So a
pose that comes back unchanged changes no bone, whatever the shares.

**Global orientation.** Joint 0 is the pelvis against a stage: up is the world's up, forward is the way the object
faces. So a body that lies because its object is tipped over is read as lying, while an object that was only turned
about the vertical reads as its own front, and a generated pose faces where the object faces. ``stage`` (N, 3, 3) is
the object's tilt, what its rotation leaves when the heading is taken out; the object itself is never changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..contract.kinematics import heading, yaw_matrix
from ..contract.rotations import Array, axis_angle_to_matrix, matrix_to_axis_angle, matrix_to_quaternion
from ..contract.skeleton import NUM_JOINTS, PARENTS
from .bone_map import RigError
from .links import Link
from .rest import BodyFrame

BLENDER_FROM_SMPL = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
"""SMPL's axes in Blender's world: x stays, y up becomes Z up, z forward becomes -Y, the front view."""

_STILL = 1e-6
"""Rotation matrices that differ by less in every number are the same."""


@dataclass(frozen=True)
class BoneTree:
    """The bones that matter to a body: those of the links and all their ancestors.

    Attributes:
        rest: (B, 3, 3) rest axes in the armature's space.
        parents: parent of each bone, -1 for none; parents come before children.
        inherits: whether the bone inherits its parent's rotation.
        links: which bones play which joints, in SMPL's order.
        frame: SMPL's axes in the armature's space.
    """

    rest: Array
    parents: tuple[int, ...]
    inherits: tuple[bool, ...]
    links: tuple[Link, ...]
    frame: BodyFrame

    @cached_property
    def joint_rest(self) -> Array:
        """(J, 3, 3) F @ T_j, so that ``turn_j @ (F @ T_j)`` is a joint's SMPL global rotation seen from F."""
        return self.frame.axes @ self.frame.rest_global

    @cached_property
    def link_of(self) -> dict[int, Link]:
        """The link of each joint that has one."""
        return {joint: link for link in self.links for joint in link.joints}

    @cached_property
    def adrift(self) -> frozenset[int]:
        """First joints of the links whose bones do not hang on the joint that SMPL hangs them on: thighs beside the
        pelvis, collar bones on the neck. Such bones have to be turned along. A bone that does not inherit rotation
        is none of them: its animator wants it so."""
        owner = {bone: link for link in self.links for bone in (*link.bones, link.shown)}
        found = set()
        for link in self.links:
            bone, upper = link.bones[0], self.link_of.get(PARENTS[link.joints[0]])
            while upper is not None and bone >= 0 and self.inherits[bone]:
                bone = self.parents[bone]
                if bone < 0 or owner.get(bone, upper) is not upper:
                    found.add(link.joints[0])
                    break
                if bone in owner:
                    break
        return frozenset(found)


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
    oriented = _oriented(turns, tree)
    local = np.tile(np.eye(3), (len(turns), NUM_JOINTS, 1, 1))
    for link in tree.links:
        upper, last = PARENTS[link.joints[0]], link.joints[-1]
        if upper < 0:
            local[:, last] = stage @ tree.frame.axes.T @ oriented[:, last]
            continue
        whole = transpose(oriented[:, upper]) @ oriented[:, last]
        if len(link.joints) == 1:
            local[:, last] = whole
            continue
        turn = matrix_to_axis_angle(whole)
        for joint, share in zip(link.joints, link.shares, strict=True):
            local[:, joint] = axis_angle_to_matrix(share * turn)
    return local


def _oriented(turns: Array, tree: BoneTree) -> Array:
    """(N, J, 3, 3) SMPL's axes at the joints; those without a bone, and all but the last of a link, as above them."""
    oriented = np.empty((len(turns), NUM_JOINTS, 3, 3))
    for joint in range(NUM_JOINTS):
        link = tree.link_of.get(joint)
        if link is not None and joint == link.joints[-1]:
            oriented[:, joint] = turns[:, link.shown] @ tree.joint_rest[joint]
        else:
            oriented[:, joint] = oriented[:, PARENTS[joint]]
    return oriented


def basis_from_local(
    local: Array, moving: frozenset[int], turns: Array, stage: Array, tree: BoneTree
) -> dict[int, Array]:
    """The basis rotations (N, 3, 3), by bone, that give the ``moving`` joints their local rotations.

    Joints that do not move keep their basis, so they are carried along by the others. Bones that play no joint keep
    theirs too.

    Args:
        local: (N, J, 3, 3) SMPL local rotations wanted; only those of the moving joints are used.
        moving: joints that may turn; those without a bone are passed over.
        turns: (N, B, 3, 3) turns of the bones as they are now.
        stage: (N, 3, 3) tilt of the object.
    """
    return _Turning(local, moving, turns, stage, tree).basis()


def turns_after(basis: dict[int, Array], turns: Array, tree: BoneTree) -> Array:
    """(N, B, 3, 3) turns of the bones once those of ``basis`` have their new basis rotations (N, 3, 3).

    A bone that shows what other bones do turns with them.
    """
    shows = {link.shown: link.bones[-1] for link in tree.links if link.shown not in link.bones}
    done: dict[int, Array] = {}

    def turn(bone: int) -> Array:
        if bone not in done:
            parent, rest = tree.parents[bone], tree.rest[bone]
            hangs = parent >= 0 and tree.inherits[bone]
            if bone in basis:
                own = rest @ basis[bone] @ rest.T
                done[bone] = turn(parent) @ own if hangs else own
            elif bone in shows or hangs:
                above = shows.get(bone, parent)
                done[bone] = turn(above) @ transpose(turns[:, above]) @ turns[:, bone]
            else:
                done[bone] = turns[:, bone]
        return done[bone]

    return np.stack([turn(bone) for bone in range(len(tree.rest))], axis=1)


class _Turning:
    """One ``basis_from_local``: each bone's new turn, worked out when it is asked for, from what carries it."""

    def __init__(
        self, local: Array, moving: frozenset[int], turns: Array, stage: Array, tree: BoneTree
    ) -> None:
        self._turns, self._stage, self._tree = turns, stage, tree
        self._before = _oriented(turns, tree)
        now = local_from_turns(turns, stage, tree)
        self._local = now.copy()
        chosen = [joint for joint in range(NUM_JOINTS) if joint in moving]
        self._local[:, chosen] = local[:, chosen]
        self._now, self._moving = now, moving
        turning = [link for link in tree.links if moving & set(link.joints)]
        if turning:
            turning += [link for link in tree.links if link.joints[0] in tree.adrift and link not in turning]
        self._link_of_bone = {bone: link for link in turning for bone in (*link.bones, link.shown)}
        self._turning = turning
        self._new: dict[int, Array] = {}
        self._begun: set[int] = set()

    def basis(self) -> dict[int, Array]:
        """The basis rotations (N, 3, 3) of the bones that turn; bones turned along are left out where they need not."""
        found: dict[int, Array] = {}
        for link in self._turning:
            for bone in link.bones:
                parent, rest = self._tree.parents[bone], self._tree.rest[bone]
                after, now = self._turn(bone), self._turns[:, bone]
                if parent >= 0 and self._tree.inherits[bone]:
                    after = transpose(self._turn(parent)) @ after
                    now = transpose(self._turns[:, parent]) @ now
                if set(link.joints) & self._moving or np.abs(after - now).max(initial=0.0) > _STILL:
                    found[bone] = rest.T @ after @ rest
        return found

    def _turn(self, bone: int) -> Array:
        """(N, 3, 3) new turn of a bone."""
        if bone not in self._new:
            if bone in self._begun:
                raise RigError(
                    "The bone map goes in a circle: a bone carries one that is nearer to the pelvis; "
                    "choose other bones under Bone Map."
                )
            self._begun.add(bone)
            link = self._link_of_bone.get(bone)
            if link is None:
                self._new[bone] = self._carried(bone) @ self._turns[:, bone]
            else:
                self._turn_link(link)
        return self._new[bone]

    def _carried(self, bone: int) -> Array:
        """(N, 3, 3) by how much what carries the bone turns anew, in the armature's space."""
        parent = self._tree.parents[bone]
        if parent < 0 or not self._tree.inherits[bone]:
            return np.broadcast_to(np.eye(3), (len(self._turns), 3, 3))
        return self._turn(parent) @ transpose(self._turns[:, parent])

    def _joint(self, joint: int) -> Array:
        """(N, 3, 3) new orientation of SMPL's axes at a joint."""
        link = self._tree.link_of.get(joint)
        if link is None or joint != link.joints[-1]:
            return self._joint(PARENTS[joint])
        if link not in self._turning:
            return np.asarray(self._turn(link.shown) @ self._tree.joint_rest[joint])
        upper = PARENTS[link.joints[0]]
        base = self._tree.frame.axes @ transpose(self._stage) if upper < 0 else self._joint(upper)
        for one in link.joints:
            base = base @ self._local[:, one]
        return np.asarray(base)

    def _turn_link(self, link: Link) -> None:
        """New turns of a moving link's bones, the first to the last."""
        after, before = self._joint(link.joints[-1]), self._before[:, link.joints[-1]]
        if link.twist is None:
            carried = self._carried(link.bones[0])
            change = after @ transpose(carried @ before)
            for place, bone in enumerate(link.bones, 1):
                part = change
                if place < len(link.bones):
                    part = axis_angle_to_matrix(place / len(link.bones) * matrix_to_axis_angle(change))
                self._new[bone] = part @ carried @ self._turns[:, bone]
        else:
            more = self._more_twist(link, link.twist)
            for place, bone in enumerate(link.bones):
                left = (place / (len(link.bones) - 1) - 1.0) * more[:, None] * link.twist
                part = after @ axis_angle_to_matrix(left) @ transpose(before)
                self._new[bone] = part @ self._turns[:, bone]
        # The same as by the change, but free of the rounding that the turns bring along.
        self._new[link.shown] = after @ self._tree.joint_rest[link.joints[-1]].T

    def _more_twist(self, link: Link, segment: Array) -> Array:
        """(N,) radians by which the link's joint is to twist more about its segment (3,) than now."""
        angles = []
        for local in (self._now, self._local):
            whole = local[:, link.joints[0]]
            for joint in link.joints[1:]:
                whole = whole @ local[:, joint]
            quat = matrix_to_quaternion(whole)
            angles.append(2 * np.arctan2(quat[:, 1:] @ segment, quat[:, 0]))
        return np.asarray((angles[1] - angles[0] + np.pi) % (2 * np.pi) - np.pi)
