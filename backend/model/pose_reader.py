# SPDX-License-Identifier: Apache-2.0
"""Reads the pose that an image shows: BlazePose's convolutions, maps of where each joint is in the image and in space,
and a lift from these places and positions to rotations.

Sources: Sun et al. 2018, "Integral Human Pose Regression" (places as the heatmaps' expectations); Mehta et al. 2017,
"VNect" (positions as maps that are read at the joints' places); Martinez et al. 2017, "A Simple Yet Effective Baseline
for 3D Human Pose Estimation" (the lift). Legend: B images, J = 24 joints, S = MAP_SIDE. Places are shares of a square
canvas, x to the right and y down, in which the image lies in the middle in its own proportions. Positions are metres
from the pelvis in the frame of the pose: x to the right, y up, z along the ground towards the camera.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from backend.body.rotations import nearest_rotation, rot6d_to_matrix
from blender_addon.contract.skeleton import MIRROR, NUM_JOINTS

from .blazepose import TRUNK_CHANNELS, BlazePoseTrunk

MAP_SIDE: Final = 32
_WIDTHS: Final = (96, 96, 64)
"""Channels at 8 x 8, 16 x 16 and 32 x 32 places."""
_LIFT_WIDTH: Final = 320
_LIFT_BLOCKS: Final = 3
_DROPOUT: Final = 0.1
CLOSER_MARGIN: Final = 1.32
"""The second look's part of the canvas beside the joints' extent: figures are about as large there as in the pictures
that the reader learns from."""
LEAST_SIDE: Final = 0.25
"""Of that part, as a share of the canvas: what is enlarged more has too few pixels."""
_POSITION_SCALE: Final = 3.0
"""Makes positions about as large as the other numbers that the lift sees."""


@dataclass
class SeenJoints:
    """Where joints are: ``places`` (B, J, 2), ``spread`` (B, J), how unsure each place is, as the logarithm of a
    standard deviation in cells of the heatmap, and ``positions`` (B, J, 3)."""

    places: Tensor
    spread: Tensor
    positions: Tensor


@dataclass
class ReadPose:
    """What the reader sees: ``heatmaps`` (B, J, S, S) logits, ``joints``, and ``matrices`` (B, J, 3, 3), the pose as
    local rotations, its heading relative to the camera."""

    heatmaps: Tensor
    joints: SeenJoints
    matrices: Tensor


class CloseLook(NamedTuple):
    """What two looks see.

    Attributes:
        sums: (B, J, 3, 3) what the pose's rotations are the nearest ones to.
        spread: (B, J) how unsure the second look is of each place; see ``SeenJoints``.
        places: (B, J, 2) where the first look sees the joints, on the whole canvas.
        first_spread: (B, J) how unsure the first look is of these.
    """

    sums: Tensor
    spread: Tensor
    places: Tensor
    first_spread: Tensor


class PoseReader(nn.Module):
    """From an image to the pose that it shows."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = BlazePoseTrunk()
        self.maps = JointMaps()
        self.lift = PoseLift()

    def forward(self, canvases: Tensor) -> ReadPose:
        """One look at images on canvases (B, 3, 256, 256), as the processor's ``canvases`` makes them."""
        return self._read(self._look(canvases))

    def look_closely(self, canvases: Tensor) -> Tensor:
        """The poses (B, J, 3, 3) by a second look, at the part of the canvas in which the first finds the joints."""
        return nearest_rotation(self.look_twice(canvases).sums)

    def look_twice(self, canvases: Tensor) -> CloseLook:
        """What ``look_closely`` sees, and how sure it is of it."""
        first = self(canvases).joints
        sums, spread = self._both_ways(closer(canvases, first.places))
        return CloseLook(sums, spread, first.places, first.spread)

    def look_both_ways(self, canvases: Tensor) -> Tensor:
        """The poses (B, J, 3, 3) by the image and its mirror image: maps and rotations in the middle of both."""
        return nearest_rotation(self._both_ways(canvases)[0])

    def _both_ways(self, canvases: Tensor) -> tuple[Tensor, Tensor]:
        both, count = self._look(torch.cat([canvases, canvases.flip(-1)])), canvases.shape[0]
        one, other = both[:count], both[count:]
        maps = (one + _in_mirror(other)) / 2
        seen, there = self._read(maps), self._read(_in_mirror(maps)).matrices
        # Mirroring keeps the signs of a rotation matrix's entries but for those between x and another axis.
        signs = there.new_tensor([[1.0, -1.0, -1.0], [-1.0, 1.0, 1.0], [-1.0, 1.0, 1.0]])
        return seen.matrices + signs * there[:, list(MIRROR)], seen.joints.spread

    def _look(self, canvases: Tensor) -> Tensor:
        # In half precision places would be off by pixels: only the layers with weights work in it.
        maps: Tensor = self.maps(self.trunk(canvases))
        return maps.float()

    def _read(self, maps: Tensor) -> ReadPose:
        heatmaps = maps[:, 0]
        joints = expected_joints(heatmaps.flatten(2).softmax(-1).view(heatmaps.shape), maps[:, 1:])
        return ReadPose(heatmaps, joints, self.lift(joints))


def _in_mirror(maps: Tensor) -> Tensor:
    """Maps (B, 4, J, S, S) of an image as those of its mirror image, where what was at x is at -x."""
    signs = maps.new_tensor([1.0, -1.0, 1.0, 1.0]).view(4, 1, 1, 1)
    return signs * maps[:, :, list(MIRROR)].flip(-1)


def closer(canvases: Tensor, places: Tensor) -> Tensor:
    """The square part of canvases (B, 3, S, S) around places (B, J, 2) on them, as large as a canvas; what lies beyond
    an edge continues it."""
    least, most = places.amin(1), places.amax(1)
    side = ((most - least).amax(1) * CLOSER_MARGIN).clamp_min(LEAST_SIDE)
    middle = least + most - 1
    pixels = canvases.shape[-1]
    across = (2 * torch.arange(pixels, device=canvases.device) + 1) / pixels - 1
    # (B, 2, S) where the columns and rows of the part lie, -1 to 1 from edge to edge of the canvas.
    columns, rows = (side[:, None, None] * across + middle.unsqueeze(-1)).unbind(1)
    grid = torch.stack(
        [columns.unsqueeze(1).expand(-1, pixels, -1), rows.unsqueeze(2).expand(-1, -1, pixels)], dim=-1
    )
    # In half precision the grid would be off by pixels.
    part_of = functional.grid_sample(canvases.float(), grid, padding_mode="border", align_corners=False)
    return part_of.to(canvases.dtype)


def expected_joints(shares: Tensor, positions: Tensor) -> SeenJoints:
    """From heatmaps (B, J, S, S) that each sum to 1, rows first, and the position (B, 3, J, S, S) that a joint would
    have at each place."""
    centres = (torch.arange(MAP_SIDE, device=shares.device) + 0.5) / MAP_SIDE
    columns, rows = shares.sum(2), shares.sum(3)
    places = torch.stack([columns @ centres, rows @ centres], dim=-1)
    away = (centres - places.unsqueeze(-1)).square()  # (B, J, 2, S)
    variance = (away * torch.stack([columns, rows], dim=2)).sum((-1, -2))
    there = (shares.unsqueeze(1) * positions).sum((-1, -2))
    return SeenJoints(places, spread_of(variance), there.transpose(1, 2))


def spread_of(variance: Tensor) -> Tensor:
    """``SeenJoints.spread`` from variances, in shares of the canvas squared."""
    return (variance.clamp_min(1e-6).sqrt() * MAP_SIDE).log()


class _Added(nn.Module):
    """Layers that add to what they see."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, seen: Tensor) -> Tensor:
        added: Tensor = self.layers(seen)
        return seen + added


def _convolutions(channels: int) -> _Added:
    return _Added(
        nn.Conv2d(channels, channels, 3, padding=1),
        nn.GroupNorm(1, channels),
        nn.ReLU(),
        nn.Conv2d(channels, channels, 3, padding=1),
    )


def _linears(width: int) -> _Added:
    return _Added(
        nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Dropout(_DROPOUT), nn.Linear(width, width)
    )


class MapHead(nn.Conv2d):
    """The layer that makes maps; the model begins with maps of zeros."""


class JointMaps(nn.Module):
    """From the trunk's coarse places to finer ones, each joined by what the trunk saw there."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = nn.ModuleList(
            nn.Conv2d(made, width, 1) for made, width in zip(TRUNK_CHANNELS, _WIDTHS, strict=True)
        )
        self.finer = nn.ModuleList(nn.Conv2d(coarse, fine, 1) for coarse, fine in pairwise(_WIDTHS))
        self.blocks = nn.ModuleList(_convolutions(width) for width in _WIDTHS)
        self.out = MapHead(_WIDTHS[-1], 4 * NUM_JOINTS, 1)

    def forward(self, trunk: tuple[Tensor, ...]) -> Tensor:
        """What the trunk sees to (B, 4, J, S, S): logits of where each joint is, and its position if it is there."""
        seen, *others = (layer(features) for layer, features in zip(self.seen, trunk, strict=True))
        features: Tensor = self.blocks[0](seen)
        for finer, block, beside in zip(self.finer, self.blocks[1:], others, strict=True):
            larger = functional.interpolate(finer(features), size=beside.shape[-2:], mode="bilinear")
            features = block(larger + beside)
        maps: Tensor = self.out(features).unflatten(1, (4, NUM_JOINTS))
        return maps


class PoseLift(nn.Module):
    """From where the joints are to their rotations."""

    def __init__(self) -> None:
        super().__init__()
        # Places about their middle, the middle, their extent, how unsure each is, and positions.
        self.joints = nn.Linear(NUM_JOINTS * 2 + 2 + 1 + NUM_JOINTS + NUM_JOINTS * 3, _LIFT_WIDTH)
        self.blocks = nn.Sequential(*(_linears(_LIFT_WIDTH) for _ in range(_LIFT_BLOCKS)))
        self.norm = nn.LayerNorm(_LIFT_WIDTH)
        self.rotations = nn.Linear(_LIFT_WIDTH, NUM_JOINTS * 6)

    def forward(self, joints: SeenJoints) -> Tensor:
        """Joints to local rotations (B, J, 3, 3)."""
        middle = joints.places.mean(1, keepdim=True)
        around = joints.places - middle
        extent = around.abs().amax((1, 2)).clamp_min(0.05)
        shape = (2 * around / extent[:, None, None]).flatten(1)
        view = torch.cat([4 * (middle[:, 0] - 0.5), 4 * extent.unsqueeze(1)], dim=1)
        positions = _POSITION_SCALE * joints.positions.flatten(1)
        known = torch.cat([shape, view, joints.spread.clamp(-3, 3), positions], dim=1)
        state = self.joints(known.to(self.joints.weight.dtype))
        rotations: Tensor = self.rotations(self.norm(self.blocks(state))).float()
        standing = rotations.new_tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0])
        return rot6d_to_matrix(rotations.view(-1, NUM_JOINTS, 6) + standing)
