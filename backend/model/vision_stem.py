# SPDX-License-Identifier: Apache-2.0
"""CLIP's vision tower with a stem of convolutions beside its patch embedding.

The patch embedding is one linear map of a patch's pixels, from which a small tower that few images teach hardly learns
where in the patch a wrist is; convolutions learn it from a fraction of the samples. Source: Xiao et al. 2021, "Early
Convolutions Help Transformers See Better"; there they stand in the embedding's place, here they add to it, so that a
tower with published weights starts as it was. Legend: B images, V = width of the tower, G = patches a side.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, zip_longest
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPooling


class AddedConvolution(nn.Conv2d):
    """A convolution that adds to what is there, and starts from zero."""


class ResidualBlock(nn.Module):
    """Two convolutions of 3 x 3 that add to what they see."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolution = _convolution(channels, channels, stride=1)
        self.out = AddedConvolution(channels, channels, 3, padding=1)

    def forward(self, seen: Tensor) -> Tensor:
        """(B, channels, height, width) to the same shape."""
        added: Tensor = self.out(self.convolution(seen))
        return seen + added


class VisionStem(nn.Module):
    """Convolutions of 3 x 3: one for each of ``channels`` that halves the image, one that does not, and one that
    brings it to a pixel a patch (wider where that is further than to the half); after each that halves it so many
    residual blocks as ``blocks`` says."""

    def __init__(self, config: CLIPVisionConfig, channels: Sequence[int], blocks: Sequence[int]) -> None:
        super().__init__()
        width = config.hidden_size
        ends = [config.num_channels, *channels]
        halving = [_convolution(seen, made, stride=2) for seen, made in pairwise(ends)]
        left = config.patch_size // 2 ** len(channels)
        self.convolutions = nn.Sequential(
            *halving, _convolution(ends[-1], ends[-1], stride=1), _convolution(ends[-1], width, stride=left)
        )
        self.blocks = nn.ModuleList(
            nn.Sequential(*(ResidualBlock(made) for _ in range(count)))
            for made, count in zip(channels, blocks, strict=True)
        )
        self.out = AddedConvolution(width, width, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, height, width) to (B, V, G, G)."""
        seen = pixels
        for convolution, blocks in zip_longest(self.convolutions, self.blocks, fillvalue=nn.Identity()):
            seen = blocks(convolution(seen))
        patches: Tensor = self.out(seen)
        return patches


def _convolution(seen: int, made: int, *, stride: int) -> nn.Sequential:
    convolution = nn.Conv2d(seen, made, max(3, stride + 1), stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.GroupNorm(1, made), nn.GELU())


class StemmedPatchEmbedding(nn.Conv2d):
    """CLIP's patch embedding, with its weights under its names, plus the stem."""

    def __init__(self, config: CLIPVisionConfig, channels: Sequence[int], blocks: Sequence[int]) -> None:
        super().__init__(
            config.num_channels, config.hidden_size, config.patch_size, stride=config.patch_size, bias=False
        )
        self.stem = VisionStem(config, channels, blocks)

    def forward(self, input: Tensor) -> Tensor:
        """(B, 3, height, width) to (B, V, G, G)."""
        # Channels last: on a CPU the convolutions then learn an eighth faster.
        stem: Tensor = self.stem(input.contiguous(memory_format=torch.channels_last))
        return super().forward(input) + stem


class StemmedVisionModel(CLIPVisionModel):  # type: ignore[misc]
    """CLIP's vision tower with a stem.

    Raises:
        ValueError: halving once for each of ``channels`` does not leave a part of a patch, or ``blocks`` has not a
            number for each.
    """

    def __init__(self, config: CLIPVisionConfig, channels: Sequence[int], blocks: Sequence[int] = ()) -> None:
        if config.patch_size % 2 ** len(channels) or config.patch_size == 2 ** len(channels):
            raise ValueError(
                f"vision_stem: a patch of {config.patch_size} pixels cannot be halved {len(channels)} times with more"
                " than one left; give fewer channels"
            )
        if blocks and len(blocks) != len(channels):
            raise ValueError(
                f"vision_stem_blocks: {len(blocks)} numbers for {len(channels)} convolutions of vision_stem; give one"
                " for each"
            )
        super().__init__(config)
        self.embeddings.patch_embedding = StemmedPatchEmbedding(
            config, channels, blocks or [0] * len(channels)
        )
        self.post_init()

    def forward(self, pixel_values: Tensor, **kwargs: Any) -> BaseModelOutputWithPooling:
        """CLIP's, for tiles (B, 3, height, width). A tile that is just the one before it is not worked on again: the
        one tile of a small square image is the image as a whole."""
        tiles, places = torch.unique_consecutive(pixel_values, dim=0, return_inverse=True)
        output: BaseModelOutputWithPooling = super().forward(tiles, **kwargs)
        layers = output.hidden_states
        if layers is not None:  # Only those that were asked for are there.
            layers = tuple(None if layer is None else layer[places] for layer in layers)
        return BaseModelOutputWithPooling(
            last_hidden_state=output.last_hidden_state[places],
            pooler_output=output.pooler_output[places],
            hidden_states=layers,
        )

    def _init_weights(self, module: nn.Module) -> None:
        """The library's initialisation; the stem and its blocks add nothing at first."""
        super()._init_weights(module)
        if isinstance(module, AddedConvolution):
            init.zeros_(module.weight)
            init.zeros_(module.bias)
