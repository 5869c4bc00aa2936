# SPDX-License-Identifier: Apache-2.0
"""BlazePose's convolutions, which have learnt from photographs of people where limbs are and how deep.

Sources: Bazarevsky et al. 2020, "BlazePose: On-device Real-time Body Pose Tracking"; Grishchenko et al. 2022,
"BlazePose GHUM Holistic". The layers are those of the published full model up to its coarsest places of 8 x 8; batch
norms are folded into the convolutions. Legend: B images, C channels.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import torch
from torch import Tensor, nn

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
_FINE, _MIDDLE = 5, 11
"""Bottlenecks up to 32 x 32 and to 16 x 16 places."""
_LAST_EXPANSION: Final = 864
_COARSE_CHANNELS: Final = 288

TRUNK_CHANNELS: Final = (_COARSE_CHANNELS, _BOTTLENECKS[_MIDDLE - 1][-1], _BOTTLENECKS[_FINE - 1][-1])
"""Of what the trunk sees at 8 x 8, 16 x 16 and 32 x 32 places."""


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


class BlazePoseTrunk(nn.Module):
    """The published full model from an image to the coarse places that its landmarks are read off. Its convolutions are
    defined in the order in which they are applied."""

    def __init__(self) -> None:
        super().__init__()
        made = [_FIRST, *(row[-1] for row in _BOTTLENECKS)]
        layers = [Bottleneck(seen, *row) for (seen, _), row in zip(pairwise(made), _BOTTLENECKS, strict=True)]
        self.fine = nn.Sequential(_Convolution(3, _FIRST, 3, 2), *layers[:_FINE])
        self.middle = nn.Sequential(*layers[_FINE:_MIDDLE])
        self.coarse = nn.Sequential(
            *layers[_MIDDLE:],
            _Convolution(made[-1], _LAST_EXPANSION),
            _Convolution(_LAST_EXPANSION, _LAST_EXPANSION, 3),
            _Convolution(_LAST_EXPANSION, _LAST_EXPANSION, 3),
            _Convolution(_LAST_EXPANSION, _COARSE_CHANNELS),
        )

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Images (B, 3, 256, 256), values 0 to 1, to (B, 288, 8, 8), (B, 88, 16, 16) and (B, 32, 32, 32)."""
        fine = self.fine(image.contiguous(memory_format=torch.channels_last))
        middle = self.middle(fine)
        return self.coarse(middle), middle, fine
