# SPDX-License-Identifier: Apache-2.0
"""The skeleton's chain with scipy's rotations: what tests measure poses with, apart from the project's own maths."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from blender_addon.contract.skeleton import PARENTS, REST_OFFSETS

Array = npt.NDArray[np.float64]
LEAST_FACING = 0.3
"""A body whose front points further up or down than this leaves has no heading."""


def chain(pose_aa: npt.ArrayLike, *, upright: bool = False) -> tuple[Array, Array]:
    """Rotations (24, 3, 3) and positions (24, 3) of the joints, metres from the pelvis.

    Args:
        pose_aa: (24, 3) axis-angle, radians.
        upright: with the heading taken out.
    """
    local = Rotation.from_rotvec(np.asarray(pose_aa, dtype=np.float64)).as_matrix()
    rotations, positions = local.copy(), np.zeros((24, 3))
    if upright:
        rotations[0] = Rotation.from_euler("y", -heading(local[0])).as_matrix() @ local[0]
    for joint, parent in enumerate(PARENTS[1:], start=1):
        rotations[joint] = rotations[parent] @ local[joint]
        positions[joint] = positions[parent] + rotations[parent] @ REST_OFFSETS[joint]
    return rotations, positions


def heading(pelvis: Array) -> float:
    """The angle about the vertical, radians, that the pelvis (3, 3) faces."""
    x, _, z = pelvis[:, 2]
    return float(np.arctan2(x, z)) if np.hypot(x, z) > LEAST_FACING else 0.0
