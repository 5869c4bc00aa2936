# SPDX-License-Identifier: GPL-3.0-or-later
"""An armature in the scene, seen as an SMPL body: read its poses, write poses as keyframes. Runs inside Blender."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import bpy
import numpy as np
import numpy.typing as npt
from mathutils import Matrix

from ..contract.rotations import (
    Array,
    axis_angle_to_matrix,
    geodesic_degrees,
    matrix_to_axis_angle,
    matrix_to_quaternion,
)
from ..contract.skeleton import JOINT_NAMES, NUM_JOINTS
from .bone_map import RigError, map_bones
from .channels import rotation_matrices, rotation_property
from .convert import BoneTree, basis_from_local, local_from_turns, stage_of, transpose
from .curves import Curves, curves_of
from .ground import CARRYING_JOINTS, pelvis_lift
from .keys import insert_keys, locked_channels, plan_rotation
from .rest import body_frame
from .sampling import current_frame, sample_bones, take_in_keys

HAIR_DEGREES = 0.02
"""A joint that turns by less at every frame counts as unchanged and gets no key; reading is a hundred times finer."""


@dataclass(frozen=True)
class WriteReport:
    """What one ``Rig.write`` did.

    Attributes:
        frames: the frames that were keyed.
        degrees: SMPL joint name -> the largest angle over the frames by which the joint's local rotation changed,
            for every joint that was keyed, largest first.
        held: names of the joints that should have moved but could not, all their channels being locked.
        pelvis_shift: (N,) metres in the world by which the pelvis was raised so that the body's lowest point kept
            its height; all zero where it was left alone.
        keys: number of key values written.
    """

    frames: tuple[float, ...]
    degrees: dict[str, float]
    held: tuple[str, ...]
    pelvis_shift: tuple[float, ...]
    keys: int


def find_armature(context: Any) -> Any:
    """The armature object that the user means: the active object, or the one that deforms or holds the active
    object, or else the only armature among the selected objects.

    Raises:
        RigError: there is none, or more than one could be meant.
    """
    active = context.view_layer.objects.active
    if active is not None:
        if active.type == "ARMATURE":
            return active
        deforming = [modifier.object for modifier in active.modifiers if modifier.type == "ARMATURE"]
        for candidate in (*deforming, active.parent):
            if candidate is not None and candidate.type == "ARMATURE":
                return candidate
    selected = [one for one in context.view_layer.objects if one.select_get() and one.type == "ARMATURE"]
    if len(selected) == 1:
        return selected[0]
    if selected:
        raise RigError(
            "Several armatures are selected; click the one to pose, so that it is the active object."
        )
    raise RigError("No armature is selected; select an SMPL armature or add one with Add SMPL Figure.")


class Rig:
    """A recognised armature. Cheap to make; make a new one for every operation, as bones may change in between.

    Attributes:
        armature: the armature object.
        family: "SMPL", "SMPL-H" or "SMPL-X".
        bones: SMPL joint index -> bone name.
        missing: indices of the SMPL joints for which the armature has no bone (hands in SMPL-H and SMPL-X). They read
            as not rotated and are passed over in writing.
    """

    def __init__(self, armature: Any, family: str, bones: dict[int, str], missing: frozenset[int]) -> None:
        self.armature = armature
        self.family = family
        self.bones = bones
        self.missing = missing
        self._names, self._positions, self._tree = _bone_tree(armature, bones)

    @classmethod
    def of(cls, armature: Any) -> Rig:
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

    def read(self, frames: Sequence[float]) -> Array:
        """Poses (N, 24, 3), axis-angle in radians, at these frames, constraints and drivers included.

        The scene's current frame and poses that are not keyed yet stay as they are. The current frame is read as
        posed, keyed or not.
        """
        return np.asarray(matrix_to_axis_angle(self._sample(frames).local))

    def read_current(self) -> Array:
        """The pose (24, 3) as it stands now."""
        pose: Array = self.read([current_frame(bpy.context.scene)])[0]
        return pose

    def write(
        self, frames: Sequence[float], poses_aa: npt.ArrayLike, *, joints: frozenset[int]
    ) -> WriteReport:
        """Key poses (N, 24, 3) at N frames on the bones of ``joints`` whose rotation changes.

        A joint that changes at any of the frames is keyed at all of them, so that a range stays consistent; a joint
        that changes at none, or is not in ``joints``, is neither moved nor keyed. The pelvis's location follows only
        when joint 0 is in ``joints`` (see ``rig.ground``). The caller makes the undo step.

        Raises:
            ValueError: the shapes do not agree, a value is not finite, or a frame is given twice.
            RigError: the armature or its action cannot be edited (linked from another file).
        """
        wanted = np.asarray(poses_aa, dtype=np.float64)
        if wanted.shape != (len(frames), NUM_JOINTS, 3):
            raise ValueError(
                f"{len(frames)} frames need poses of shape ({len(frames)}, 24, 3), not {wanted.shape}."
            )
        if not np.isfinite(wanted).all():
            raise ValueError("A pose holds a value that is not finite.")
        if len(set(frames)) < len(frames):
            raise ValueError("A frame is given twice.")
        self._check_editable()
        order = np.argsort(frames)
        frames = [frames[row] for row in order]

        before = self._sample(frames)
        target = axis_angle_to_matrix(wanted[order])
        changes = geodesic_degrees(before.local, target).max(axis=0, initial=0.0)
        moving = frozenset(joint for joint in joints & self.bones.keys() if changes[joint] > HAIR_DEGREES)
        basis = basis_from_local(target, moving, before.turns, before.stage, self._tree)

        curves = curves_of(self.armature)
        current = current_frame(bpy.context.scene)
        after = before.local.copy()
        plans = {}
        for joint, rotations in basis.items():
            pbone = self._pose_bone(joint)
            values, locked = plan_rotation(pbone, frames, matrix_to_quaternion(rotations), curves, current)
            after[:, joint] = target[:, joint]
            if any(locked):
                reached = rotation_matrices(pbone.rotation_mode, values)
                after[:, joint] = target[:, joint] @ self._miss(joint, rotations, reached)
            if not all(locked):
                plans[joint] = (pbone, rotation_property(pbone.rotation_mode), values, locked)
        lift, location = np.zeros(len(frames)), None
        if 0 in joints and plans.keys() & CARRYING_JOINTS:
            lift, location = self._plan_location(before, after, curves)

        keys = 0
        for pbone, name, values, locked in plans.values():
            keys += insert_keys(pbone, name, frames, values, locked, current)
        if location is not None:
            keys += insert_keys(self._pose_bone(0), "location", frames, *location, current)
        take_in_keys(self.armature)
        turned = geodesic_degrees(before.local, after).max(axis=0, initial=0.0)
        return WriteReport(
            frames=tuple(frames),
            degrees={JOINT_NAMES[j]: float(turned[j]) for j in sorted(plans, key=lambda j: -turned[j])},
            held=tuple(JOINT_NAMES[joint] for joint in sorted(moving - plans.keys())),
            pelvis_shift=tuple(lift.tolist()),
            keys=keys,
        )

    def _pose_bone(self, joint: int) -> Any:
        return self.armature.pose.bones[self.bones[joint]]

    def _check_editable(self) -> None:
        if not self.armature.is_editable:
            raise RigError(
                "This armature is linked from another file; make a library override of it to pose it here."
            )
        data = self.armature.animation_data
        if data is not None and data.action is not None and not data.action.is_editable:
            raise RigError(
                "The armature's action is linked from another file; make a local copy of the action first."
            )

    def _sample(self, frames: Sequence[float]) -> _Sample:
        turns, world, location = sample_bones(self.armature, self._names, self._tree, frames, self.bones[0])
        stage = stage_of(world, self._tree.frame.axes)
        return _Sample(turns, world, location, stage, local_from_turns(turns, stage, self._tree))

    def _miss(self, joint: int, wanted: Array, reached: Array) -> Array:
        """What locked channels leave undone, (N, 3, 3) in the axes of the joint's local rotation."""
        rest = self._tree.joint_rest[joint].T @ self._tree.rest[self._tree.joint_bone[joint]]
        return np.asarray(rest @ transpose(wanted) @ reached @ rest.T)

    def _plan_location(
        self, before: _Sample, after: Array, curves: Curves
    ) -> tuple[Array, tuple[Array, tuple[bool, ...]] | None]:
        """The pelvis's rise (N,) in metres, and its location channels (N, 3) with the ones to leave; or none."""
        pbone = self._pose_bone(0)
        lift = pelvis_lift(before.local, after, self._positions, self._tree.frame, before.stage, before.world)
        if not lift.any() or pbone.bone.use_connect:
            return np.zeros(len(lift)), None
        upward = np.zeros((len(lift), 3))
        upward[:, 2] = lift
        in_armature = np.linalg.solve(before.world, upward[..., None])
        steps = np.linalg.solve(self._location_axes(pbone, before.turns), in_armature)[..., 0]
        locked = locked_channels(pbone, "location", pbone.lock_location, curves)
        left = tuple(
            lock or still
            for lock, still in zip(locked, np.abs(steps).max(0) < 1e-3 * np.abs(steps).max(), strict=True)
        )
        if all(left):
            return np.zeros(len(lift)), None
        return lift, (before.location + np.where(left, 0.0, steps), left)

    def _location_axes(self, pbone: Any, turns: Array) -> Array:
        """(N, 3, 3) whose columns are the steps in the armature's space for one unit of each location channel."""
        bone, parent = pbone.bone, pbone.parent
        axes = np.empty((len(turns), 3, 3))
        for row, turn in enumerate(turns):
            above = {}
            if parent is not None:
                index = self._names.index(parent.name)
                posed = Matrix((turn[index] @ self._tree.rest[index]).tolist()).to_4x4()
                above = {"parent_matrix": posed, "parent_matrix_local": parent.bone.matrix_local}
            origin, *ends = (
                bone.convert_local_to_pose(Matrix.Translation(step), bone.matrix_local, **above).translation
                for step in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))
            )
            axes[row] = np.array([end - origin for end in ends]).T
        return axes


@dataclass(frozen=True)
class _Sample:
    """The armature at N frames: turns (N, B, 3, 3) of its bones, the object's world matrix (N, 3, 3), the pelvis's
    location channels (N, 3), the stage (N, 3, 3) and SMPL's local rotations (N, 24, 3, 3)."""

    turns: Array
    world: Array
    location: Array
    stage: Array
    local: Array


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
