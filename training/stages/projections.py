# SPDX-License-Identifier: Apache-2.0
"""Poses as cameras would show their joints, without a picture: what the pose reader's lift learns from besides
pictures, at a small part of their cost.

Poses are those of a batch with limbs exchanged among them, so that there are far more than recordings have. Their
places and positions are as wrong as those that are read off maps. Legend: B poses given, P drawn, J = 24 joints.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from backend.body.kinematics import forward_kinematics
from backend.body.rotations import apply_heading, split_heading
from backend.model.pose_reader import SeenJoints, spread_of
from blender_addon.contract.rotations import axis_angle_to_matrix
from blender_addon.contract.skeleton import BODY_PARTS
from training.data.images import SIZES, VIEWPORT_SHARE, draw_heading
from training.data.looks import draw_camera

Array = npt.NDArray[np.float32]

EXCHANGED: Final = ("left_arm", "right_arm", "left_leg", "right_leg")
EXCHANGED_SHARE: Final = 0.2
"""How often each of these is another pose's."""
FLESH: Final = 0.05
"""Metres that a body reaches beyond its joints, about."""
MOST_ERROR: Final = 0.02
"""Standard deviations of places are drawn up to this share of the canvas."""
ASTRAY_SHARE, ASTRAY_ERROR = 0.04, 0.06
"""Some joints are far off."""
AXES: Final = (0.6, 0.6, 1.0)
"""What is wrong to the right, up and towards the camera, as shares of the following errors: depth is hardest."""
MOST_POSITION_ERROR: Final = 0.14
"""Standard deviations of positions are drawn up to so many metres, once for the joints and once for the limbs."""
ASTRAY_POSITION_SHARE, ASTRAY_POSITION_ERROR = 0.05, 0.25
TILTED_SHARE, TILT = 0.5, 0.12
"""Who misjudges how high the camera is sees all of the body tilted: such angles' standard deviation, radians."""
TIMID_SHARE, LEAST_KEPT = 0.5, 0.5
"""Who does not know whether a limb comes nearer or goes away says something between: such positions are less than they
should be, at least this share of it."""


@dataclass
class Projections:
    """``matrices`` (P, J, 3, 3) local rotations, the heading relative to the camera, and their ``joints``."""

    matrices: Tensor
    joints: SeenJoints


def project(rng: np.random.Generator, matrices: Tensor, count: int) -> Projections:
    """Draws ``count`` poses and cameras from the poses (B, J, 3, 3) of a batch."""
    _, upright = split_heading(matrices[rng.integers(len(matrices), size=count)])
    for part in EXCHANGED:
        rows = np.flatnonzero(rng.random(count) < EXCHANGED_SHARE)
        joints = list(BODY_PARTS[part])
        others = matrices[rng.integers(len(matrices), size=len(rows))]
        upright[rows[:, None], joints] = others[:, joints]
    headings = torch.tensor([draw_heading(rng) for _ in range(count)], dtype=matrices.dtype)
    turned = apply_heading(headings.to(matrices.device), upright)
    _, positions = forward_kinematics(turned)
    exact = np.stack([_seen(rng, joints) for joints in positions.cpu().numpy()])
    deviation = rng.uniform(0, MOST_ERROR, (count, 1)) + ASTRAY_ERROR * (
        rng.random(exact.shape[:2]) < ASTRAY_SHARE
    )
    places = np.clip(exact + deviation[..., None] * rng.normal(size=exact.shape), 0, 1)
    # A heatmap is as wide as a joint is large at least, and its width says only about how wrong it is.
    width = (1.4 * deviation + 0.02) * np.exp(0.3 * rng.normal(size=deviation.shape))
    spread = spread_of(torch.from_numpy(width).square())
    unsure = torch.from_numpy(_unsure(rng, positions.cpu().numpy()))
    seen = SeenJoints(*(values.to(turned) for values in (torch.from_numpy(places), spread, unsure)))
    return Projections(turned, seen)


def _unsure(rng: np.random.Generator, positions: Array) -> npt.NDArray[np.float64]:
    """Positions (P, J, 3) as wrong as those that an image shows."""
    count, axes = len(positions), np.array(AXES)
    deviation = axes * rng.uniform(0, MOST_POSITION_ERROR, (count, 1, 1))
    error = deviation * rng.normal(size=positions.shape)
    for part in EXCHANGED:
        error[:, list(BODY_PARTS[part])] += deviation * rng.normal(size=(count, 1, 3))
    astray = rng.random((*positions.shape[:2], 1)) < ASTRAY_POSITION_SHARE
    error += axes * ASTRAY_POSITION_ERROR * astray * rng.normal(size=positions.shape)
    timid = rng.random((count, 1, 1)) < TIMID_SHARE
    kept = 1 - axes * timid * rng.uniform(0, 1 - LEAST_KEPT, (count, 1, 1))
    tilt = TILT * rng.normal(size=count) * (rng.random(count) < TILTED_SHARE)
    none = np.zeros(count)
    turned = positions @ axis_angle_to_matrix(np.stack([tilt, none, none], axis=-1)).swapaxes(-1, -2)
    unsure: npt.NDArray[np.float64] = kept * turned + error
    return unsure


def _seen(rng: np.random.Generator, joints: Array) -> Array:
    """(J, 2) where a camera drawn as for a picture shows the joints (J, 3), as shares of the canvas."""
    around = np.concatenate([joints - FLESH, joints + FLESH]).astype(np.float32)
    camera = draw_camera(rng, around, viewport=rng.random() < VIEWPORT_SHARE)
    size = SIZES[rng.integers(len(SIZES))]
    from_middle = (camera.project(joints, size) - np.divide(size, 2)) / max(size)
    return np.asarray(from_middle + 0.5, dtype=np.float32)
