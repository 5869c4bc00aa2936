# SPDX-License-Identifier: Apache-2.0
"""What is measured of poses: angles, directions and heights, thousands of poses at a time.

Everything is in the body's own frame: the heading is taken out, and of a body that lies or hangs upside down "up"
and "forward" are the pelvis's own. Sided numbers have an axis of two, left then right, and their x points outward.

Legend: N poses; J = 24 joints; S = 2 sides. Metres and degrees.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from blender_addon.contract.kinematics import forward_kinematics, heading, yaw_matrix
from blender_addon.contract.rotations import Array, axis_angle_to_matrix
from blender_addon.contract.skeleton import JOINT_INDEX

UPRIGHT_PELVIS: Final = 0.5
"""A pelvis whose up axis is lower than this gives the frame itself, as for the directives."""

_OUTWARD: Final = np.array([[1.0, 1.0, 1.0], [-1.0, 1.0, 1.0]])


def sides(joint: str) -> list[int]:
    """Indices of a joint's left and right one."""
    return [JOINT_INDEX[f"left_{joint}"], JOINT_INDEX[f"right_{joint}"]]


@dataclass(frozen=True)
class Bodies:
    """Posed bodies without their heading.

    Attributes:
        local: (N, J, 3, 3) local rotations; the root's without heading.
        rot: (N, J, 3, 3) global rotations.
        pos: (N, J, 3) joints relative to the pelvis.
        frame: (N, 3, 3) the axes outward-left, up and forward that words refer to, as columns.
        yaw: (N,) the heading that was taken out, radians.
    """

    local: Array
    rot: Array
    pos: Array
    frame: Array
    yaw: Array

    @classmethod
    def of(cls, pose_aa: npt.ArrayLike) -> Bodies:
        """From poses (N, J, 3) axis-angle, radians."""
        local = axis_angle_to_matrix(pose_aa)
        yaw = heading(local[:, 0])
        local[:, 0] = yaw_matrix(-yaw) @ local[:, 0]
        rot, pos = forward_kinematics(local)
        upright = rot[:, 0, 1, 1] > UPRIGHT_PELVIS
        frame = np.where(upright[:, None, None], np.eye(3), rot[:, 0])
        return cls(local, rot, pos, frame, yaw)

    def __len__(self) -> int:
        return len(self.local)

    def in_frame(self, vectors: Array) -> Array:
        """Vectors (N, ..., 3) as outward-left, up and forward."""
        seen: Array = np.einsum("n...i,nij->n...j", vectors, self.frame)
        return seen

    def sided(self, start: str, end: str) -> Array:
        """(N, S, 3) from a sided joint to another of the same side, in the frame, x outward."""
        vectors: Array = self.in_frame(self.pos[:, sides(end)] - self.pos[:, sides(start)]) * _OUTWARD
        return vectors

    def bend(self, joint: str, before: str, after: str) -> Array:
        """(N, S) inner angle at a sided joint: 180 is straight."""
        here = self.pos[:, sides(joint)]
        return angles(self.pos[:, sides(before)] - here, self.pos[:, sides(after)] - here)


def unit(vectors: Array) -> Array:
    """Vectors (..., 3) scaled to length one."""
    scaled: Array = (
        vectors / np.maximum(np.sqrt(np.einsum("...i,...i->...", vectors, vectors)), 1e-9)[..., None]
    )
    return scaled


def cosines(a: Array, b: Array) -> Array:
    """(...) cosine of the angle between vectors (..., 3)."""
    cosine: Array = np.clip(np.einsum("...i,...i->...", unit(a), unit(b)), -1.0, 1.0)
    return cosine


def angles(a: Array, b: Array) -> Array:
    """(...) angle between vectors (..., 3), degrees."""
    degrees: Array = np.degrees(np.arccos(cosines(a, b)))
    return degrees


def trunk_angles(bodies: Bodies) -> tuple[Array, Array, Array]:
    """(N,) lean of the trunk forward and to its left, and the turn of the chest against the pelvis to its left."""
    up = bodies.in_frame(bodies.pos[:, JOINT_INDEX["neck"]])
    pitch = np.degrees(np.arctan2(up[:, 2], np.hypot(up[:, 0], up[:, 1]) * np.sign(up[:, 1] + 1e-9)))
    lean = np.degrees(np.arctan2(up[:, 0], np.hypot(up[:, 1], up[:, 2])))
    chest = np.swapaxes(bodies.rot[:, 0], -1, -2) @ bodies.rot[:, JOINT_INDEX["spine3"]]
    # The turn about the spine: what is left of the rotation when its bending is undone (swing and twist).
    twist = 2 * np.degrees(np.arctan2(chest[:, 0, 2] - chest[:, 2, 0], 1 + np.trace(chest, axis1=1, axis2=2)))
    return pitch, lean, twist


def head_angles(bodies: Bodies) -> tuple[Array, Array, Array]:
    """(N,) of the head against the chest: up, turned to its left, tilted to its left."""
    chest = bodies.rot[:, JOINT_INDEX["spine3"]]
    head = np.swapaxes(chest, -1, -2) @ bodies.rot[:, JOINT_INDEX["head"]]
    ahead, up = head[:, :, 2], head[:, :, 1]
    turn = np.arctan2(ahead[:, 0], ahead[:, 2])
    look = np.degrees(np.arcsin(np.clip(ahead[:, 1], -1, 1)))
    sideways = np.cos(turn) * up[:, 0] - np.sin(turn) * up[:, 2]
    tilt = np.degrees(np.arctan2(sideways, up[:, 1]))
    return look, np.degrees(turn), tilt


def floor_heights(bodies: Bodies, skin: Mapping[str, float]) -> dict[str, Array]:
    """Height of the skin over the lowest point of the body, (N, S) or (N,) for each joint in ``skin``."""
    heights = {}
    for joint, thickness in skin.items():
        index: Any = JOINT_INDEX[joint] if joint in JOINT_INDEX else sides(joint)
        heights[joint] = bodies.pos[:, index, 1] - thickness
    floor = np.min([h if h.ndim == 1 else h.min(axis=1) for h in heights.values()], axis=0)
    return {
        joint: height - (floor if height.ndim == 1 else floor[:, None]) for joint, height in heights.items()
    }


def place_positions(bodies: Bodies, joint: str, offset: npt.ArrayLike) -> Array:
    """(N, S, 3) of a place on the body, ``offset`` (3,) from a joint in its own axes, written for the left side."""
    index = [JOINT_INDEX[joint]] * 2 if joint in JOINT_INDEX else sides(joint)
    offsets = np.asarray(offset, dtype=np.float64) * _OUTWARD
    places: Array = bodies.pos[:, index] + np.einsum("nsij,sj->nsi", bodies.rot[:, index], offsets)
    return places
