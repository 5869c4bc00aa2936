# SPDX-License-Identifier: Apache-2.0
"""BlazePose's convolutions, which have learnt from photographs of people where limbs are and how deep: a trunk beside
CLIP's patch embedding, for a small tower that has few pictures to learn from.

Sources: Bazarevsky et al. 2020, "BlazePose: On-device Real-time Body Pose Tracking"; Grishchenko et al. 2022,
"BlazePose GHUM Holistic". The layers are those of the published full model up to the one that its landmarks are read
off, without the heatmaps and the segmentation beside them; batch norms are folded into the convolutions. Legend: B
images, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

IMAGE_SIZE: Final = 256
"""Pixels a side that the trunk was trained on; other images are scaled to it."""
CHANNELS: Final = 288
"""Of what the trunk sees."""
WHOLE_SIDE: Final = 2
"""The image as a whole is seen at 2 x 2 places."""

_FIRST: Final = 24
_BOTTLENECKS: Final = (
    # (kernel, stride, channels inside, channels out)
    (3, 1, _FIRST, 16),
    (3, 2, 64, 24),
    (3, 1, 144, 24),
    (5, 2, 144, 32),
    (5, 1, 192, 32),
    (3, 2, 192, 64),
    (3, 1, 384, 64),
    (3, 1, 384, 64),
    (5, 1, 384, 88),
    (5, 1, 528, 88),
    (5, 1, 528, 88),
    (5, 2, 528, 144),
    (5, 1, 864, 144),
    (5, 1, 864, 144),
    (5, 1, 864, 144),
)
_LAST_EXPANSION: Final = 864
_RESIDUAL_STRIDES: Final = (2, 1, 1, 1, 1, 2, 1, 1, 1, 1, 1)


@dataclass(frozen=True)
class TrunkFeatures:
    """What the trunk sees: ``patches`` (B, 288, 8, 8), and ``whole`` (B, 288, 2, 2), of which the published model's
    landmarks are linear functions."""

    patches: Tensor
    whole: Tensor


class _Convolution(nn.Sequential):
    """A convolution with bias, and ReLU6 where it is ``active``."""

    def __init__(
        self, seen: int, made: int, kernel: int = 1, stride: int = 1, *, active: bool = True
    ) -> None:
        groups = seen if kernel > 1 and seen == made else 1
        layer = nn.Conv2d(seen, made, kernel, stride, padding=kernel // 2, groups=groups)
        super().__init__(layer, *([nn.ReLU6()] if active else []))


class Bottleneck(nn.Module):
    """An inverted residual (Sandler et al. 2018): widened, seen place by place of each channel, narrowed."""

    def __init__(self, seen: int, kernel: int, stride: int, inside: int, made: int) -> None:
        super().__init__()
        widen = [] if inside == seen else [_Convolution(seen, inside)]
        self.layers = nn.Sequential(
            *widen, _Convolution(inside, inside, kernel, stride), _Convolution(inside, made, active=False)
        )
        self.adds = stride == 1 and seen == made

    def forward(self, seen: Tensor) -> Tensor:
        """(B, C, height, width) to the same or half of it."""
        made: Tensor = self.layers(seen)
        return seen + made if self.adds else made


class Residual(nn.Module):
    """BlazePose's block of the coarse places: a depthwise and a pointwise convolution added to what is there."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.depthwise = nn.Conv2d(channels, channels, 3, stride, padding=0, groups=channels)
        self.pointwise = nn.Conv2d(channels, channels, 1)

    def forward(self, seen: Tensor) -> Tensor:
        """(B, C, height, width) to the same or half of it."""
        # The published model pads a halving convolution on the right and below only.
        before = 1 if self.stride == 1 else 0
        padded = functional.pad(seen, (before, 1, before, 1))
        kept = seen if self.stride == 1 else functional.max_pool2d(seen, 2)
        return functional.relu6(kept + self.pointwise(functional.relu6(self.depthwise(padded))))


class BlazePoseTrunk(nn.Module):
    """The published full model from an image to the last layer before its landmarks. Its convolutions are defined in
    the order in which they are applied."""

    def __init__(self) -> None:
        super().__init__()
        made = [_FIRST, *(row[-1] for row in _BOTTLENECKS)]
        self.places = nn.Sequential(
            _Convolution(3, _FIRST, 3, 2),
            *(Bottleneck(seen, *row) for (seen, _), row in zip(pairwise(made), _BOTTLENECKS, strict=True)),
            _Convolution(made[-1], _LAST_EXPANSION),
            _Convolution(_LAST_EXPANSION, _LAST_EXPANSION, 3),
            _Convolution(_LAST_EXPANSION, _LAST_EXPANSION, 3),
            _Convolution(_LAST_EXPANSION, CHANNELS),
        )
        self.whole = nn.Sequential(*(Residual(CHANNELS, stride) for stride in _RESIDUAL_STRIDES))

    def forward(self, pixels: Tensor) -> TrunkFeatures:
        """From square images (B, 3, height, width) as CLIP's processor makes them, with the figure in the middle."""
        mean, deviation = (
            pixels.new_tensor(values).view(3, 1, 1) for values in (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD)
        )
        image = functional.interpolate(
            pixels * deviation + mean, size=(IMAGE_SIZE, IMAGE_SIZE), mode="bilinear"
        )
        patches = self.places(image.contiguous(memory_format=torch.channels_last))
        return TrunkFeatures(patches, self.whole(patches))


def trunks(tower: nn.Module) -> list[BlazePoseTrunk]:
    """The trunk of a vision tower that has one."""
    return [module for module in tower.modules() if isinstance(module, BlazePoseTrunk)]
