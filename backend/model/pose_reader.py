# SPDX-License-Identifier: Apache-2.0
"""Reads the pose that an image shows: BlazePose's convolutions, maps of where each joint is and how near, and a lift
from these places and depths to rotations.

Sources: Sun et al. 2018, "Integral Human Pose Regression" (places as the heatmaps' expectations); Mehta et al. 2017,
"VNect" (depths as maps that are read at the joints' places); Martinez et al. 2017, "A Simple Yet Effective Baseline for
3D Human Pose Estimation" (the lift). Legend: B images, J = 24 joints, S = MAP_SIDE. Places are shares of a square
canvas, x to the right and y down, in which the image lies in the middle in its own proportions. Depths are metres from
the pelvis towards the camera, along the ground.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from backend.body.rotations import nearest_rotation, rot6d_to_matrix
from blender_addon.contract.skeleton import MIRROR, NUM_JOINTS

from .blazepose import IMAGE_SIZE, TRUNK_CHANNELS, BlazePoseTrunk

MAP_SIDE: Final = 32
_WIDTHS: Final = (96, 96, 64)
"""Channels at 8 x 8, 16 x 16 and 32 x 32 places."""
_LIFT_WIDTH: Final = 320
_LIFT_BLOCKS: Final = 3
_DROPOUT: Final = 0.1
_DEPTH_SCALE: Final = 3.0
"""Makes depths about as large as the other numbers that the lift sees."""


@dataclass
class SeenJoints:
    """Where joints are: ``places`` (B, J, 2), ``spread`` (B, J), how unsure each place is, as the logarithm of a
    standard deviation in cells of the heatmap, and ``depths`` (B, J)."""

    places: Tensor
    spread: Tensor
    depths: Tensor


@dataclass
class ReadPose:
    """What the reader sees: ``heatmaps`` (B, J, S, S) logits, ``joints``, and ``matrices`` (B, J, 3, 3), the pose as
    local rotations, its heading relative to the camera."""

    heatmaps: Tensor
    joints: SeenJoints
    matrices: Tensor


class PoseReader(nn.Module):
    """From an image to the pose that it shows."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = BlazePoseTrunk()
        self.maps = JointMaps()
        self.lift = PoseLift()

    def forward(self, pixels: Tensor, image_sizes: Tensor) -> ReadPose:
        """Images (B, 3, height, width) stretched to squares as LLaVA-NeXT's processor makes the first tile, and their
        own sizes (B, 2), (height, width). Where it does not learn, the reader looks at the mirror image too."""
        # In half precision places would be off by pixels: only the layers with weights work in it.
        canvas = on_canvas(pixels.float(), image_sizes).to(pixels.dtype)
        looks = canvas if self.training else torch.cat([canvas, canvas.flip(-1)])
        maps = self.maps(self.trunk(looks)).float()
        if self.training:
            return self._read(maps)
        one, other = maps.chunk(2)
        maps = (one + _in_mirror(other)) / 2
        read, there = self._read(maps), self._read(_in_mirror(maps))
        # Mirroring keeps the signs of a rotation matrix's entries but for those between x and another axis.
        signs = read.matrices.new_tensor([[1.0, -1.0, -1.0], [-1.0, 1.0, 1.0], [-1.0, 1.0, 1.0]])
        middle = nearest_rotation(read.matrices + signs * there.matrices[:, list(MIRROR)])
        return ReadPose(read.heatmaps, read.joints, middle)

    def _read(self, maps: Tensor) -> ReadPose:
        heatmaps, depths = maps.unbind(1)
        joints = expected_joints(heatmaps.flatten(2).softmax(-1).view(heatmaps.shape), depths)
        return ReadPose(heatmaps, joints, self.lift(joints))


def _in_mirror(maps: Tensor) -> Tensor:
    """Maps (B, 2, J, S, S) of an image as those of its mirror image."""
    return maps[:, :, list(MIRROR)].flip(-1)


def on_canvas(pixels: Tensor, image_sizes: Tensor) -> Tensor:
    """Stretched and normalised images (B, 3, height, width) in their own proportions (B, 3, 256, 256), values 0 to 1,
    black where they do not reach."""
    mean, deviation = (
        pixels.new_tensor(values).view(3, 1, 1) for values in (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD)
    )
    height, width = canvas_shares(image_sizes).to(pixels).unbind(1)
    none = torch.zeros_like(height)
    scale = torch.stack([1 / width, none, none, none, 1 / height, none], dim=1).view(-1, 2, 3)
    size = [len(pixels), 3, IMAGE_SIZE, IMAGE_SIZE]
    grid = functional.affine_grid(scale, size, align_corners=False)
    return functional.grid_sample(pixels * deviation + mean, grid, align_corners=False)


def canvas_shares(image_sizes: Tensor) -> Tensor:
    """(B, 2) the share of the canvas that images of such sizes (B, 2) fill, height and width."""
    return image_sizes / image_sizes.amax(dim=1, keepdim=True)


def expected_joints(shares: Tensor, depths: Tensor) -> SeenJoints:
    """From heatmaps that each sum to 1 and how near a joint would be at each place, both (B, J, S, S), rows first."""
    centres = (torch.arange(MAP_SIDE, device=shares.device) + 0.5) / MAP_SIDE
    columns, rows = shares.sum(2), shares.sum(3)
    places = torch.stack([columns @ centres, rows @ centres], dim=-1)
    away = (centres - places.unsqueeze(-1)).square()  # (B, J, 2, S)
    variance = (away * torch.stack([columns, rows], dim=2)).sum((-1, -2))
    return SeenJoints(places, spread_of(variance), (shares * depths).sum((-1, -2)))


def depths_of(positions: Tensor) -> Tensor:
    """``SeenJoints.depths`` from positions (B, J, 3) in metres, y up, z towards the camera along the ground."""
    depths: Tensor = positions[..., 2] - positions[:, :1, 2]
    return depths


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
        self.out = MapHead(_WIDTHS[-1], 2 * NUM_JOINTS, 1)

    def forward(self, trunk: tuple[Tensor, ...]) -> Tensor:
        """What the trunk sees to (B, 2, J, S, S): logits of where each joint is, and how near it would be there."""
        seen, *others = (layer(features) for layer, features in zip(self.seen, trunk, strict=True))
        features: Tensor = self.blocks[0](seen)
        for finer, block, beside in zip(self.finer, self.blocks[1:], others, strict=True):
            larger = functional.interpolate(finer(features), size=beside.shape[-2:], mode="bilinear")
            features = block(larger + beside)
        maps: Tensor = self.out(features).unflatten(1, (2, NUM_JOINTS))
        return maps


class PoseLift(nn.Module):
    """From where the joints are to their rotations."""

    def __init__(self) -> None:
        super().__init__()
        # Places about their middle, the middle, their extent, how unsure each is, and depths.
        self.joints = nn.Linear(NUM_JOINTS * 2 + 2 + 1 + NUM_JOINTS + NUM_JOINTS, _LIFT_WIDTH)
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
        known = torch.cat([shape, view, joints.spread.clamp(-3, 3), _DEPTH_SCALE * joints.depths], dim=1)
        state = self.joints(known.to(self.joints.weight.dtype))
        rotations: Tensor = self.rotations(self.norm(self.blocks(state))).float()
        standing = rotations.new_tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0])
        return rot6d_to_matrix(rotations.view(-1, NUM_JOINTS, 6) + standing)
