# SPDX-License-Identifier: GPL-3.0-or-later
"""An armature in the scene, seen as an SMPL body: read its poses, write poses as keyframes. Runs inside Blender.

The way of a pose through the rig is ``Rig.write``: four steps in order, each a module of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import bpy
import numpy as np
import numpy.typing as npt

from ..contract.rotations import Array, matrix_to_axis_angle
from ..contract.skeleton import NUM_JOINTS
from .blender_types import ArmatureObject, current_scene, is_armature
from .body import Body
from .bone_map import RigError
from .curves import is_same
from .editable import check_editable
from .plan import WriteOptions, make_plan
from .sample import current_frame, take_sample
from .verify import WriteReport, verify
from .write import write_plan

__all__ = ["Rig", "WriteOptions", "WriteReport", "find_armature"]


def find_armature(context: bpy.types.Context) -> ArmatureObject:
    """The armature object that the user means: the active object, or the one that deforms or holds the active
    object, or else the only armature among the selected objects.

    Raises:
        RigError: there is none, or more than one could be meant.
    """
    layer = context.view_layer
    assert layer is not None
    active = layer.objects.active
    if active is not None:
        if is_armature(active):
            return active
        deforming = [
            modifier.object
            for modifier in active.modifiers
            if isinstance(modifier, bpy.types.ArmatureModifier)
        ]
        for candidate in (*deforming, active.parent):
            if is_armature(candidate):
                return candidate
    selected = [one for one in layer.objects if is_armature(one) and one.select_get()]
    if len(selected) == 1:
        return selected[0]
    if selected:
        raise RigError(
            "Several armatures are selected; click the one to pose, so that it is the active object."
        )
    raise RigError("No armature is selected; select a character or add one with Add SMPL Figure.")


class Rig(Body):
    """A recognised armature whose poses can be read and written."""

    def read(self, frames: Sequence[float]) -> Array:
        """Poses (N, 24, 3), axis-angle in radians, at these frames, constraints and drivers included.

        The scene's current frame and poses that are not keyed yet stay as they are. The current frame is read as
        posed, keyed or not.
        """
        return np.asarray(matrix_to_axis_angle(take_sample(self, frames).local))

    def read_current(self) -> Array:
        """The pose (24, 3) as it stands now."""
        pose: Array = self.read([current_frame(current_scene())])[0]
        return pose

    def write(
        self,
        frames: Sequence[float],
        poses_aa: npt.ArrayLike,
        *,
        joints: frozenset[int],
        kept: frozenset[int] = frozenset(),
        options: WriteOptions = WriteOptions(),  # noqa: B008 (it is frozen)
    ) -> WriteReport:
        """Key poses (N, 24, 3) at N frames on the bones of ``joints`` whose rotation changes.

        A joint that changes at any of the frames is keyed at all of them, so that a range stays consistent; a joint
        that changes at none, or is not in ``joints``, is neither moved nor keyed. The caller makes the undo step.

        Args:
            frames: where to key, in the time of keys.
            poses_aa: (N, 24, 3) the poses wanted.
            joints: the joints that may move. Where the pelvis (0) is one of them its location follows the legs, so
                that feet stay on their floor (see ``rig.ground``).
            kept: those of them whose rotation stays as it is whatever ``poses_aa`` says.
            options: how they are written.

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
        if not options.keyed and not all(is_same(frame, current_frame(current_scene())) for frame in frames):
            raise RigError("Without keys only the current frame can be posed; choose it, or have keys set.")
        check_editable(self.armature)
        order = np.argsort(frames)
        ascending = [frames[row] for row in order]

        before = take_sample(self, ascending)
        plan = make_plan(
            self, before, wanted[order], turning=joints - kept, may_follow=0 in joints, options=options
        )
        keys = write_plan(self, plan)
        return verify(self, plan, keys)
