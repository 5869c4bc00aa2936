# SPDX-License-Identifier: Apache-2.0
"""A camera that looks at a posed body: world axes are SMPL's, +y up, metres. Needs numpy alone."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Camera:
    """A camera that looks at the body. Angles in degrees, lengths in metres."""

    azimuth: float = 0.0
    """Where it stands around the vertical: 0 in front of a body that faces +z, 90 on that body's left."""
    elevation: float = 8.0
    """Its height above the horizon, as an angle."""
    distance: float = 4.2
    fov: float = 30.0
    """The vertical angle of view."""
    roll: float = 0.0
    target: tuple[float, float, float] = (0.0, 0.9, 0.0)

    def framing(self, vertices: Array, margin: float = 1.06) -> Camera:
        """This camera, moved to where all of ``vertices`` (N, 3) fill the height of the image and no more."""
        centre = (vertices.max(0) + vertices.min(0)) / 2
        # As from a camera at the centre: x right, y up, z towards it.
        seen = (vertices - centre) @ self.view()[:3, :3].T
        spread = np.abs(seen[:, :2]).max(1) * margin / math.tan(math.radians(self.fov) / 2)
        distance = float((spread + seen[:, 2]).max())
        return replace(self, target=(float(centre[0]), float(centre[1]), float(centre[2])), distance=distance)

    def view(self) -> Array:
        """(4, 4) world to camera; the camera looks along its -z, +y up."""
        azimuth, elevation, roll = (math.radians(a) for a in (self.azimuth, self.elevation, self.roll))
        back = np.array(
            [
                math.sin(azimuth) * math.cos(elevation),
                math.sin(elevation),
                math.cos(azimuth) * math.cos(elevation),
            ]
        )
        right = np.array([math.cos(azimuth), 0.0, -math.sin(azimuth)])
        up = np.cross(back, right)
        turned_right = math.cos(roll) * right + math.sin(roll) * up
        rotation = np.stack([turned_right, np.cross(back, turned_right), back])
        matrix = np.eye(4, dtype=np.float32)
        matrix[:3, :3] = rotation
        matrix[:3, 3] = -rotation @ (np.array(self.target) + self.distance * back)
        return matrix

    def projection(self, aspect: float) -> Array:
        """(4, 4) camera to OpenGL clip space for images of width / height ``aspect``."""
        near, far = 0.05, 100.0
        focal = 1 / math.tan(math.radians(self.fov) / 2)
        matrix = np.zeros((4, 4), dtype=np.float32)
        matrix[0, 0], matrix[1, 1] = focal / aspect, focal
        matrix[2, 2], matrix[2, 3] = (far + near) / (near - far), 2 * far * near / (near - far)
        matrix[3, 2] = -1
        return matrix

    def project(self, points: Array, size: tuple[int, int]) -> Array:
        """Pixel positions (N, 2), x to the right and y down, of world points (N, 3) in images of (width, height)."""
        width, height = size
        clip = np.c_[points, np.ones(len(points))] @ (self.projection(width / height) @ self.view()).T
        flat = clip[:, :2] / clip[:, 3:]
        return np.asarray((flat * [0.5, -0.5] + 0.5) * [width, height], dtype=np.float32)
