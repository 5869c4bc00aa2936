# SPDX-License-Identifier: Apache-2.0
"""From the bones of any recorded person to SMPL's joints, through the directions of their bones at rest.

A bone turned from rest by G points to G d, where d is its direction at rest; SMPL's bone of direction s points there
with the rotation G A, if A turns s to d. The shortest such turn is taken, after that of the limb's bone above. Trunk,
head and feet differ between skeletons in build rather than in pose: their rest counts as SMPL's.

At rest a skeleton stands, with the arms anywhere. Where a file's zero pose does not (LaFAN's bones then all point the
same way), the frame that stands best takes its place.

Legend: N frames; K bones; J = 24 SMPL joints. The world is turned to +y up.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from blender_addon.contract.rotations import Array, axis_angle_to_matrix, matrix_to_axis_angle, shortest_turn
from blender_addon.contract.skeleton import JOINT_INDEX, NUM_JOINTS, PARENTS, REST_OFFSETS
from training.data.frames import TO_Y_UP

from .bones import Bones

LIMBS: Final = tuple(
    (f"{side}_{upper}", f"{side}_{lower}")
    for side in ("left", "right")
    for upper, lower in (("hip", "knee"), ("knee", "ankle"), ("shoulder", "elbow"), ("elbow", "wrist"))
)
"""Joints whose bones, to the next joint, have their directions carried over."""

_STANDS: Final = 0.6
"""A zero pose counts as standing if legs are down and trunk is up by this cosine."""


def retarget(bones: Bones, rotations: Array, offsets: Array, parents: npt.NDArray[np.int64]) -> Array:
    """Local rotations (N, J, 3, 3) of SMPL.

    Args:
        bones: which bone is what.
        rotations: (N, K, 3, 3) of the bones in the world.
        offsets: (K, 3) of the bones from their parents, in any unit.
        parents: (K,).
    """
    positions = _positions(rotations, offsets, parents)
    rising = (positions[:, bones.head[-1]] - positions[:, bones.trunk[0]]).mean(axis=0)
    zero = np.broadcast_to(np.eye(3), (1, len(parents), 3, 3))
    if rising[2] > abs(rising[1]):
        z_to_y = TO_Y_UP["z_up"]
        rotations, positions = z_to_y @ rotations, positions @ z_to_y.T
        zero = z_to_y @ zero
    at_rest = _positions(zero, offsets, parents)
    rest = zero[0]
    if _stance(bones, at_rest)[0] < _STANDS:
        best = int(np.argmax(_stance(bones, positions)))
        rest, at_rest = rotations[best], positions[best : best + 1]
    aligned = _aligned(bones, at_rest[0])
    # What each bone has turned by since rest.
    turned = rotations @ np.swapaxes(rest, -1, -2)
    world = _smpl_rotations(bones, turned)
    world = np.stack([world[:, joint] @ aligned[joint] for joint in range(NUM_JOINTS)], axis=1)
    local = world.copy()
    for joint in range(1, NUM_JOINTS):
        local[:, joint] = np.swapaxes(world[:, PARENTS[joint]], -1, -2) @ world[:, joint]
    return local


def _positions(rotations: Array, offsets: Array, parents: npt.NDArray[np.int64]) -> Array:
    """(N, K, 3) of the bones' heads, the root's at the origin."""
    positions = np.zeros(rotations.shape[:-1])
    for bone, parent in enumerate(parents):
        if parent >= 0:
            positions[:, bone] = positions[:, parent] + rotations[:, parent] @ offsets[bone]
    return positions


def _stance(bones: Bones, positions: Array) -> Array:
    """(N,) how much the bodies stand: the least cosine of legs with down, and of the trunk with up."""
    limbs = bones.limbs
    parts = [(bones.head[-1], bones.trunk[0])]
    parts += [(limbs[upper], limbs[lower]) for upper, lower in LIMBS if upper.endswith(("hip", "knee"))]
    up = np.stack([_direction(positions[:, above] - positions[:, below])[:, 1] for above, below in parts])
    return np.asarray(up.min(axis=0))


def _aligned(bones: Bones, at_rest: Array) -> Array:
    """(J, 3, 3) what turns each SMPL bone of the T-pose to that of the resting body, positions (K, 3)."""
    limbs = bones.limbs
    hips, shoulders = (
        at_rest[limbs[f"left_{joint}"]] - at_rest[limbs[f"right_{joint}"]] for joint in ("hip", "shoulder")
    )
    # In some files the hips coincide, and the thighs spread below them.
    left = hips if np.linalg.norm(hips) > 0.05 * np.linalg.norm(shoulders) else shoulders
    left = _direction(left * np.array([1.0, 0.0, 1.0]))
    up = np.array([0.0, 1.0, 0.0])
    facing = np.stack([left, up, np.cross(left, up)], axis=-1)
    aligned = np.broadcast_to(facing, (NUM_JOINTS, 3, 3)).copy()
    for upper, lower in LIMBS:
        joint, child = JOINT_INDEX[upper], JOINT_INDEX[lower]
        above = PARENTS[joint]
        carried = aligned[above] if upper.endswith(("knee", "elbow")) else facing
        wanted = at_rest[limbs[lower]] - at_rest[limbs[upper]]
        aligned[joint] = shortest_turn(carried @ REST_OFFSETS[child], wanted) @ carried
    for side in ("left", "right"):
        for follower in (f"{side}_wrist", f"{side}_hand"):
            aligned[JOINT_INDEX[follower]] = aligned[JOINT_INDEX[f"{side}_elbow"]]
    return aligned


def _smpl_rotations(bones: Bones, turned: Array) -> Array:
    """(N, J, 3, 3) the turns (N, K, 3, 3) of the bones, at SMPL's joints."""
    world = np.empty((len(turned), NUM_JOINTS, 3, 3))
    spine = ("pelvis", "spine1", "spine2", "spine3")
    for name, rotation in zip(spine, _along(turned[:, list(bones.trunk)], len(spine)), strict=True):
        world[:, JOINT_INDEX[name]] = rotation
    neck = turned[:, [bones.trunk[-1], *bones.head]]
    for name, rotation in zip(("spine3", "neck", "head"), _along(neck, 3), strict=True):
        world[:, JOINT_INDEX[name]] = rotation
    for name, joint in JOINT_INDEX.items():
        if name.startswith(("left_", "right_")):
            bone = bones.limbs.get(name)
            world[:, joint] = world[:, PARENTS[joint]] if bone is None else turned[:, bone]
    return world


def _along(chain: Array, count: int) -> list[Array]:
    """``count`` rotations (N, 3, 3) evenly spaced along a chain's (N, bones, 3, 3), the first and last its own."""
    found = []
    for place in np.linspace(0, chain.shape[1] - 1, count):
        below = min(int(place), chain.shape[1] - 2) if chain.shape[1] > 1 else 0
        if chain.shape[1] == 1 or place == below:
            found.append(chain[:, below])
            continue
        step = matrix_to_axis_angle(np.swapaxes(chain[:, below], -1, -2) @ chain[:, below + 1])
        found.append(chain[:, below] @ axis_angle_to_matrix(step * (place - below)))
    return found


def _direction(vector: Array) -> Array:
    return np.asarray(vector / np.maximum(np.linalg.norm(vector, axis=-1, keepdims=True), 1e-12))
