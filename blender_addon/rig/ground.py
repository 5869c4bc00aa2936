# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeping the body on the floor. Pure numpy.

A pose holds rotations and no place. Bending both knees of an armature whose pelvis stays put draws the feet up, so a
squat would float. When an edit turns the pelvis or a leg, the pelvis therefore follows vertically, until the body's
lowest point is as high as it was before: standing feet stay on their floor wherever that is, a body laid down comes
to rest on it, a lifted leg moves nothing (the other foot is still the lowest), and a body in the air stays as high
above the floor as it was. Bending the legs also draws the feet to the front or to the back, along the floor. So the
pelvis follows horizontally as well, until feet that carried the body before and carry it afterwards stand where they
stood; a step, which takes them opposite ways, moves nothing, and neither does sitting or lying down on the floor.

The body's points are those of the neutral body's skin, on the armature's own joints. Edits of trunk, head or arms alone
never move the pelvis: hands may reach below the feet. The pelvis follows only when it may move at all, and only along
location channels that are not locked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from ..contract.kinematics import forward_kinematics
from ..contract.rotations import Array, axis_angle_to_matrix, matrix_to_quaternion
from ..contract.skeleton import BODY_PARTS, JOINT_INDEX, NUM_JOINTS, PARENTS, REST_OFFSETS
from .rest import BodyFrame
from .skin import neutral_skin

CARRYING_JOINTS: Final = frozenset(BODY_PARTS["root"] + BODY_PARTS["left_leg"] + BODY_PARTS["right_leg"])
"""Joints whose turning changes how high the pelvis stands."""

_HIPS: Final = [JOINT_INDEX["left_hip"], JOINT_INDEX["right_hip"]]
_TO_HIPS: Final = REST_OFFSETS[_HIPS].mean(axis=0)
"""From the neutral pelvis to the middle of the hips; armatures have their pelvis's bone begin anywhere."""

_LIMBS: Final = [
    JOINT_INDEX[f"{side}_{name}"]
    for side in ("left", "right")
    for name in ("knee", "ankle", "elbow", "wrist")
]
"""Joints at the ends of the bones by which bodies are compared in size."""

_FEET: Final = [[JOINT_INDEX[f"{side}_{name}"] for name in ("ankle", "foot")] for side in ("left", "right")]
_SEAT: Final = [
    *(joint for part in ("root", "trunk", "head") for joint in BODY_PARTS[part]),
    JOINT_INDEX["left_collar"],
    JOINT_INDEX["right_collar"],
]
"""What carries a body that sits or lies."""

STILL: Final = 0.0008
"""Metres, on the neutral body, of a lift that is left out."""

SLIGHT: Final = (0.002, 0.005)
"""Metres, on the neutral body, up to which a slide is left out, and from which on all of it is taken back."""

TOUCH: Final = (0.01, 0.04)
"""Metres above the floor, on the neutral body, up to which a foot touches it, and from which on it does not."""

SEATED: Final = (0.02, 0.06)
"""The same of seat, trunk and head: where they carry the body, the feet may slide."""

UPRIGHT: Final = (0.2, 0.5)
"""How much of a foot's upward axis goes up where it carries nothing, as of one that lies on its back, and where it
does."""

CHANGE_FRAMES: Final = 2
"""Frames over which the pelvis goes over from one foot to the other (standard deviation of a bell curve)."""

SOLE: Final = 0.004
"""Metres by which a foot's point may be higher than its lowest before it counts by a third."""


def rest_offsets(positions: Array, frame: BodyFrame) -> Array:
    """(J, 3) offset of each joint from its parent in the zero pose, from rest ``positions`` (J, 3).

    In SMPL's axes and the armature's unit of length. A joint without a bone (NaN) lies on its parent, but for toes and
    hands, which are as long as the neutral body's.
    """
    there = positions.copy()
    offsets = np.zeros((NUM_JOINTS, 3))
    for joint in range(1, NUM_JOINTS):
        parent = PARENTS[joint]
        if np.isnan(there[joint]).any():
            there[joint] = there[parent]
        offsets[joint] = frame.rest_global[parent].T @ frame.axes.T @ (there[joint] - there[parent])
    scale = size(offsets)
    for joint in set(range(NUM_JOINTS)) - set(PARENTS):
        if np.isnan(positions[joint]).any():
            offsets[joint] = scale * REST_OFFSETS[joint]
    return offsets


def size(offsets: Array) -> float:
    """How large a body with these offsets (J, 3) is beside the neutral one, by the bones of its limbs."""
    lengths = np.linalg.norm(offsets[_LIMBS], axis=1)
    there = lengths > 0
    return float(lengths[there].sum() / np.linalg.norm(REST_OFFSETS[_LIMBS], axis=1)[there].sum())


def pelvis_steps(
    before: Array,
    after: Array,
    frames: Sequence[float],
    positions: Array,
    frame: BodyFrame,
    stage: Array,
    object_matrix: Array,
) -> Array:
    """Metres (N, 3) in the world that the pelvis has to go for the lowest point to keep its height and for planted feet
    to keep their place.

    Args:
        before, after: (N, J, 3, 3) SMPL local rotations.
        frames: (N,) the frames at which they are, ascending.
        positions: (J, 3) rest positions of the joints in the armature's space.
        frame: SMPL's axes in that space.
        stage: (N, 3, 3) tilt of the object, as in ``convert``.
        object_matrix: (N, 3, 3) linear part of the object's world matrix.
    """
    offsets = rest_offsets(positions, frame)
    axes = object_matrix @ frame.axes  # (N, 3, 3): its columns are steps along SMPL's axes in the world
    length = np.linalg.norm(axes[:, 2], axis=1)
    upward = axes[:, 2] / length[:, None]
    was, becomes = (_stand(local, offsets, stage, upward) for local in (before, after))
    lift = was.floor - becomes.floor
    slide = _slide(was, becomes, upward, np.asarray(frames, dtype=np.float64))
    steps = (axes @ -slide[..., None])[..., 0]
    steps[:, 2] = np.where(np.abs(lift) > STILL * was.scale, lift * length, 0.0)
    return np.asarray(steps)


@dataclass(frozen=True)
class _Stand:
    """How bodies stand, in SMPL's axes and the armature's unit of length; the pelvis is where it was.

    Attributes:
        pelvis: (N, 3, 3) how it is turned.
        floor: (N,) the height of the lowest point.
        feet: for the left and the right, (N, F, 3) the points of its skin.
        above: for the left and the right, (N, F) their heights above the lowest point of all.
        carry: for the left and the right, (N,) how far the foot stands on the floor and carries the body, 0 to 1.
        scale: how large the body is beside the neutral one.
    """

    pelvis: Array
    floor: Array
    feet: tuple[Array, Array]
    above: tuple[Array, Array]
    carry: tuple[Array, Array]
    scale: float


def _stand(local: Array, offsets: Array, stage: Array, upward: Array) -> _Stand:
    """Bodies (N, J, 3, 3) on an object whose ``upward`` (N, 3) is the world's."""
    scale = size(offsets)
    standing = local.copy()
    standing[:, 0] = np.swapaxes(stage, -1, -2) @ local[:, 0]
    turns, joints = forward_kinematics(standing, offsets)
    joints[:, 0] = joints[:, _HIPS].mean(axis=1) - scale * turns[:, 0] @ _TO_HIPS
    skin = neutral_skin()
    heights = skin.along(
        np.einsum("njk,nk->nj", joints, upward), np.einsum("nk,njkl->njl", upward, turns), scale
    )
    floor = heights.min(axis=1)
    left, right = (
        np.stack([foot.along(joints[..., axis], turns[..., axis, :], scale) for axis in range(3)], axis=-1)
        for foot in map(skin.of, _FEET)
    )
    above = [heights[:, np.isin(skin.part, foot)] - floor[:, None] for foot in _FEET]
    rested = _ramp(heights[:, np.isin(skin.part, _SEAT)].min(axis=1) - floor, SEATED, scale)
    carry = []
    for foot, high in zip(_FEET, above, strict=True):
        upright = (turns[:, foot[0], :, 1] * upward).sum(axis=1)
        carry.append(rested * _ramp(upright, UPRIGHT) * (1.0 - _ramp(high.min(axis=1), TOUCH, scale)))
    return _Stand(turns[:, 0], floor, (left, right), (above[0], above[1]), (carry[0], carry[1]), scale)


def _slide(was: _Stand, becomes: _Stand, upward: Array, frames: Array) -> Array:
    """(N, 3) how far planted feet would slide along the floor.

    It is what the ways of both feet have in common: the shortest way between the two, which is none where they go
    opposite ways, as in a step, or where one of them stays. Where one foot is in the air before and after it is the
    other's way. How much of each foot's way counts comes and goes with what the feet carry, and over some frames, so
    that nothing jumps from one to the next where a foot is put down.
    """
    # A body that turns round does so about its pelvis; what its feet describe then is no slide.
    turn = _turn_about(becomes.pelvis @ np.swapaxes(was.pelvis, -1, -2), upward)
    ways = []
    for side in range(2):
        low = was.above[side] + becomes.above[side]
        touch = np.exp((low.min(axis=1, keepdims=True) - low) / (SOLE * was.scale))
        touch /= touch.sum(axis=1, keepdims=True)
        before, after = ((touch[:, None] @ one.feet[side])[:, 0] for one in (was, becomes))
        way = (np.swapaxes(turn, -1, -2) @ after[..., None])[..., 0] - before
        ways.append(way - (way * upward).sum(axis=1, keepdims=True) * upward)
    apart = ways[1] - ways[0]
    share = -(ways[0] * apart).sum(axis=1) / np.maximum((apart * apart).sum(axis=1), 1e-12 * was.scale**2)
    common = np.clip(np.stack([1.0 - share, share]), 0.0, 1.0)  # (2, N): how much of each foot's way
    carry = list(zip(was.carry, becomes.carry, strict=True))
    planted = [one * after for one, after in carry]
    aloft = [(1.0 - one) * (1.0 - after) for one, after in carry]
    parts = planted[0] * planted[1] * common
    for side, other in ((0, 1), (1, 0)):
        alone = planted[side] * (1.0 - planted[other])
        parts += alone * (1.0 - aloft[other]) * common
        parts[side] += alone * aloft[other]
    parts = _gradually(parts, frames)
    slide = parts[0, :, None] * ways[0] + parts[1, :, None] * ways[1]
    slide = slide * _ramp(np.linalg.norm(slide, axis=1), SLIGHT, was.scale)[:, None]
    return np.asarray((turn @ slide[..., None])[..., 0])


def _gradually(parts: Array, frames: Array) -> Array:
    """``parts`` (2, N) at ascending frames, each the mean of those around it, by a bell curve."""
    total, weights = parts.copy(), np.ones(len(frames))
    for step in range(1, 3 * CHANGE_FRAMES + 1):
        near = np.exp(-0.5 * ((frames[step:] - frames[:-step]) / CHANGE_FRAMES) ** 2)
        total[:, step:] += near * parts[:, :-step]
        total[:, :-step] += near * parts[:, step:]
        weights[step:] += near
        weights[:-step] += near
    return np.asarray(total / weights)


def _ramp(lengths: Array, between: tuple[float, float], scale: float = 1.0) -> Array:
    """(N,) from 0 up to the first of two lengths, those of the neutral body, to 1 from the second on."""
    low, high = between
    share = np.clip((lengths / scale - low) / (high - low), 0.0, 1.0)
    return np.asarray(share * share * (3.0 - 2.0 * share))


def _turn_about(rotation: Array, axis: Array) -> Array:
    """(N, 3, 3) that part of rotations (N, 3, 3) that goes about unit vectors (N, 3)."""
    quat = matrix_to_quaternion(rotation)
    angle = 2.0 * np.arctan2((quat[:, 1:] * axis).sum(axis=1), quat[:, 0])
    return axis_angle_to_matrix(angle[:, None] * axis)
