# SPDX-License-Identifier: GPL-3.0-or-later
"""Forward kinematics, heading and mirroring of SMPL poses in numpy, batched over leading axes.

Legend: ``local`` (..., J, 3, 3) local rotations; ``pose_aa`` (..., J, 3) axis-angle, radians. J = 24.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .rotations import Array
from .skeleton import MIRROR, NUM_JOINTS, PARENTS, REST_OFFSETS

MIN_HORIZONTAL_FACING = 0.3
"""Below this length of the facing direction on the floor the body lies or hangs, and its heading counts as 0."""


def forward_kinematics(local: Array, offsets: Array = REST_OFFSETS) -> tuple[Array, Array]:
    """Global rotations (..., J, 3, 3) and joint positions (..., J, 3) relative to the pelvis, in metres.

    Args:
        local: (..., J, 3, 3) local rotations, joint 0 the global orientation.
        offsets: (J, 3) rest offsets from the parent; the pelvis's own is not used.
    """
    rotations = np.empty_like(local)
    positions = np.zeros(local.shape[:-1])
    rotations[..., 0, :, :] = local[..., 0, :, :]
    for joint in range(1, NUM_JOINTS):
        parent = PARENTS[joint]
        rotations[..., joint, :, :] = rotations[..., parent, :, :] @ local[..., joint, :, :]
        positions[..., joint, :] = positions[..., parent, :] + rotations[..., parent, :, :] @ offsets[joint]
    return rotations, positions


def heading(root: Array) -> Array:
    """Yaw (...) in radians of root rotations (..., 3, 3): the angle about +y that its +z axis has from +z.

    Zero where the body faces nearly straight up or down, where no heading is defined.
    """
    x, z = root[..., 0, 2], root[..., 2, 2]
    return np.where(np.hypot(x, z) > MIN_HORIZONTAL_FACING, np.arctan2(x, z), 0.0)


def yaw_matrix(yaw: npt.ArrayLike) -> Array:
    """Rotation (..., 3, 3) by ``yaw`` (...) radians about +y; positive turns to the body's left."""
    yaw = np.asarray(yaw, dtype=np.float64)
    matrix = np.zeros((*yaw.shape, 3, 3))
    matrix[..., 0, 0] = matrix[..., 2, 2] = np.cos(yaw)
    matrix[..., 0, 2] = np.sin(yaw)
    matrix[..., 2, 0] = -matrix[..., 0, 2]
    matrix[..., 1, 1] = 1.0
    return matrix


def mirror_pose(pose_aa: npt.ArrayLike) -> Array:
    """The pose (..., J, 3) seen in a mirror: left and right swapped, reflected in the plane x = 0."""
    mirrored: Array = np.asarray(pose_aa, dtype=np.float64)[..., MIRROR, :] * np.array([1.0, -1.0, -1.0])
    return mirrored
