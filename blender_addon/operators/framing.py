# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a camera has to stand so that a figure fills its picture. numpy alone.

Legend: ``points`` (N, 3) places on the figure; vectors and matrices in the same space, a camera looks along its -z.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from ..contract.rotations import Array

FIELD_OF_VIEW: Final = 30.0
"""Degrees, as in the pictures that the model's reader was trained on."""
MARGIN: Final = 1.25
"""How much larger than its joints a figure is drawn: skin, hair and fingers reach beyond them."""


@dataclass(frozen=True)
class Framing:
    """A camera.

    Attributes:
        to_world: (4, 4) the camera's place and axes.
        distance: from the camera to the figure's middle.
        near, far: where what it sees begins and ends; what stands between it and the figure is left out.
    """

    to_world: Array
    distance: float
    near: float
    far: float

    @property
    def to_camera(self) -> Array:
        """(4, 4) from the world to the camera."""
        return np.asarray(np.linalg.inv(self.to_world))

    @property
    def projection(self) -> Array:
        """(4, 4) from the camera to OpenGL's clip space, for a square picture."""
        focal = 1 / math.tan(math.radians(FIELD_OF_VIEW) / 2)
        depth = self.near - self.far
        return np.array(
            [
                [focal, 0, 0, 0],
                [0, focal, 0, 0],
                [0, 0, (self.far + self.near) / depth, 2 * self.far * self.near / depth],
                [0, 0, -1, 0],
            ]
        )


def frame(points: Array, towards: Array, up: Array) -> Framing:
    """The camera that sees all of ``points`` from the direction ``towards`` (3,), where the figure's middle is seen
    from; ``up`` (3,) is upward in the picture."""
    centre = (points.max(axis=0) + points.min(axis=0)) / 2
    back = towards / np.linalg.norm(towards)
    right = np.cross(up, back)
    if np.linalg.norm(right) < 1e-6:  # straight from above or below
        right = np.cross(np.eye(3)[np.argmin(np.abs(back))], back)
    right /= np.linalg.norm(right)
    axes = np.stack([right, np.cross(back, right), back], axis=1)
    seen = (points - centre) @ axes  # x right, y up, z towards the camera
    half = math.tan(math.radians(FIELD_OF_VIEW) / 2)
    distance = float((MARGIN * np.abs(seen[:, :2]).max(axis=1) / half + seen[:, 2]).max())
    reach = float(np.linalg.norm(points - centre, axis=1).max())
    to_world = np.eye(4)
    to_world[:3, :3] = axes
    to_world[:3, 3] = centre + distance * back
    return Framing(to_world, distance, max(distance - 1.5 * reach, 0.01 * distance), distance + 10 * reach)
