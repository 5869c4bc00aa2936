# SPDX-License-Identifier: GPL-3.0-or-later
"""What a camera has to do with the body: where its joints are, and from which side it is seen. Runs inside Blender."""

from __future__ import annotations

import math

import bpy
import numpy as np

from ..contract.kinematics import heading, yaw_matrix
from ..contract.messages import View
from ..contract.rotations import Array
from .blender_types import current_scene
from .body import Body
from .convert import BLENDER_FROM_SMPL, nearest_rotation
from .sample import current_frame, take_sample


def joint_places(body: Body) -> Array:
    """(N, 3) in the world: both ends of the joints' bones as they stand."""
    evaluated = body.armature.evaluated_get(bpy.context.evaluated_depsgraph_get())
    bones = [evaluated.pose.bones[name] for name in body.bones.values()]
    ends = np.array([end for bone in bones for end in (bone.head, bone.tail)], dtype=np.float64)
    world = np.array(evaluated.matrix_world, dtype=np.float64)
    return np.asarray(ends @ world[:3, :3].T + world[:3, 3])


def view_from(body: Body, towards: Array) -> View:
    """The direction (3,) from the body to a camera, in the world, as the body sees it at the current frame."""
    sample = take_sample(body, [current_frame(current_scene())])
    standing = BLENDER_FROM_SMPL.T @ nearest_rotation(sample.world[0] @ body.tree.frame.axes)
    turn = yaw_matrix(-heading(standing) - heading(sample.local[0, 0]))
    x, y, z = turn @ BLENDER_FROM_SMPL.T @ (towards / np.linalg.norm(towards))
    return View(yaw=math.atan2(x, z), pitch=math.asin(max(-1.0, min(1.0, y))))
