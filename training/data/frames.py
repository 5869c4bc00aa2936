# SPDX-License-Identifier: Apache-2.0
"""Worlds that poses are written in, and the one way from there to +y up. May import blender_addon.contract.

Legend: N poses; J = 24 joints; poses axis-angle, radians.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

import numpy as np
import numpy.typing as npt

from blender_addon.contract.rotations import Array, axis_angle_to_matrix, matrix_to_axis_angle

Poses = npt.NDArray[np.float32]
Frame = Literal["y_up", "z_up", "camera"]
"""Which way the world's axes go: +y up, +z up, or as a camera sees it (+x right, +y down, +z away)."""
FRAMES: Final[tuple[Frame, ...]] = get_args(Frame)

TO_Y_UP: Final[dict[Frame, Array]] = {
    "y_up": np.eye(3),
    "z_up": np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]]),
    # Heading 0 then faces the camera.
    "camera": np.diag([1.0, -1.0, -1.0]),
}

CLEARLY_UP: Final = 0.4
"""Mean cosine of the trunks with up from which a frame is believed; that of everyday poses is 0.8 to 0.95."""


def upright(pose_aa: Poses, frame: Frame | None) -> Poses:
    """The poses (N, J, 3) in a world with +y up.

    Without a known frame, it is taken to be the one in which the trunks point up on average. That holds of nearly every
    sequence; a single pose of someone lying down may be misread.
    """
    known = likely_frame(pose_aa) if frame is None else frame
    if known == "y_up":
        return pose_aa
    turned = pose_aa.copy()
    turned[:, 0] = matrix_to_axis_angle(TO_Y_UP[known] @ axis_angle_to_matrix(pose_aa[:, 0]))
    return turned


def rising(pose_aa: Poses) -> dict[Frame, float]:
    """For each frame the mean cosine of the trunks of poses (N, J, 3) with its up."""
    up = axis_angle_to_matrix(pose_aa[:, 0])[:, :, 1].mean(axis=0)
    return {"y_up": float(up[1]), "z_up": float(up[2]), "camera": -float(up[1])}


def likely_frame(pose_aa: Poses) -> Frame:
    """The frame in which the trunks of poses (N, J, 3) point up most."""
    cosines = rising(pose_aa)
    return max(cosines, key=lambda frame: cosines[frame])


def clear_frame(pose_aa: Poses) -> Frame | None:
    """The same, or None where it is not plain: no trunks point up in any frame."""
    frame = likely_frame(pose_aa)
    return frame if rising(pose_aa)[frame] >= CLEARLY_UP else None
