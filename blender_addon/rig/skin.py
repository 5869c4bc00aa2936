# SPDX-License-Identifier: GPL-3.0-or-later
"""The skin of the neutral body, as far as it can touch a floor. Pure numpy.

Legend: P points, J joints; ``tilts`` (N, J, 3) what one step along each of a joint's axes adds to a coordinate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..contract.rotations import Array

BODY_FILE: Final = Path(__file__).parent.parent / "assets" / "neutral_body.npz"
"""The neutral body in SMPL's axes and metres: vertices (V, 3), faces (F, 3 or 4), weights (V, 24), joints (24, 3)."""

_DIRECTIONS: Final = 100
"""Of the floor, as a part of the body sees it; what lies between two of them is off by 2 % of the part's roundness."""


@dataclass(frozen=True)
class Skin:
    """Those points of a skin that are the outermost of their part of the body in some direction.

    Attributes:
        weights: (P, J) how much each joint carries a point.
        arms: (P, J * 3) the same times the way from the joint to the point, in the zero pose.
        part: (P,) the joint that carries a point most.
    """

    weights: Array
    arms: Array
    part: NDArray[np.intp]

    def along(self, joints: Array, tilts: Array, scale: float) -> Array:
        """(N, P) a coordinate, such as the height, of the points of bodies ``scale`` times as large, of whose joints it
        is ``joints`` (N, J)."""
        steps = tilts.reshape(len(tilts), -1) @ self.arms.T
        found: Array = joints @ self.weights.T + scale * steps
        return found

    def of(self, joints: Sequence[int]) -> Skin:
        """The points of these joints' parts of the body."""
        chosen = np.isin(self.part, joints)
        return Skin(self.weights[chosen], self.arms[chosen], self.part[chosen])


@cache
def neutral_skin() -> Skin:
    """The neutral body's."""
    with np.load(BODY_FILE) as file:
        vertices, joints = file["vertices"].astype(np.float64), file["joints"].astype(np.float64)
        weights = file["weights"].astype(np.float64)
    weights /= weights.sum(axis=1, keepdims=True)
    part_of = weights.argmax(axis=1)
    directions = _all_round(_DIRECTIONS)
    outermost: set[int] = set()
    for joint in range(len(joints)):
        part = np.flatnonzero(part_of == joint)
        if len(part):
            outermost.update(part[(vertices[part] @ directions.T).argmax(axis=0)].tolist())
    points = sorted(outermost)
    ways = vertices[points][:, None] - joints
    arms = weights[points][:, :, None] * ways
    return Skin(weights[points], arms.reshape(len(points), -1), part_of[points])


def _all_round(count: int) -> Array:
    """(count, 3) unit vectors spread evenly over all directions (a Fibonacci lattice)."""
    steps = np.arange(count) + 0.5
    up = 1.0 - 2.0 * steps / count
    around = np.pi * (1.0 + np.sqrt(5.0)) * steps
    level = np.sqrt(1.0 - up * up)
    return np.stack([level * np.cos(around), up, level * np.sin(around)], axis=1)
