# SPDX-License-Identifier: Apache-2.0
"""What stage 1 adds to align poses and images: the resampler, the image's global projection and a pose decoder.

Source: the paper, "Pose-Image Alignment" and Figure 3; what it leaves open, where joints get their identity and
patches their place, is said at the modules. Legend: B samples, N = G x G image patches, V = width of the vision tower,
D = pose_hidden_size, J = 24 joints.
"""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from backend.body.rotations import rot6d_to_matrix
from blender_addon.contract.skeleton import NUM_JOINTS

from .configuration import PoseLlavaConfig
from .pose_decoder import RotationHead, transformer_decoder

STAGE1_DECODER_LAYERS = 2
INITIAL_LOGIT_SCALE = math.log(10.0)
INITIAL_LOGIT_BIAS = -10.0


class Resampler(nn.Module):
    """One cross-attention from learned joint queries to the image's patches: V_local, a token a joint.

    The patches' places are added to what the attention gathers, and the query to what it has gathered, so that a token
    says of which joint it is and where that was seen.
    """

    def __init__(self, config: PoseLlavaConfig) -> None:
        super().__init__()
        width, vision_width = config.pose_hidden_size, config.vision_config.hidden_size
        self.queries = nn.Parameter(torch.empty(NUM_JOINTS, width))
        self.norm = nn.LayerNorm(vision_width)
        self.attention = nn.MultiheadAttention(
            width, config.pose_attention_heads, kdim=vision_width, vdim=vision_width, batch_first=True
        )
        self.out = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width)
        )

    def forward(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N, V) to tokens (B, J, D) and how much each joint looks at each patch (B, J, N), rows that sum to 1."""
        patches = self.norm(patches)
        queries = self.queries.expand(len(patches), -1, -1)
        placed = patches + patch_places(patches.shape[1], patches.shape[2]).to(patches)
        attended, weights = self.attention(queries, patches, placed)
        resampled: Tensor = self.out(queries + attended)
        return resampled, weights


@cache
def patch_places(patches: int, width: int) -> Tensor:
    """(N, V) sines and cosines of the column and the row of each patch of a square image, row by row."""
    side = math.isqrt(patches)
    waves = math.pi * 2.0 ** torch.linspace(-1, math.log2(side), width // 4)
    at = (torch.arange(side) + 0.5) / side
    rows, columns = torch.meshgrid(at, at, indexing="ij")
    phases = torch.cat([columns.reshape(-1, 1) * waves, rows.reshape(-1, 1) * waves], dim=1)
    return functional.pad(torch.cat([phases.sin(), phases.cos()], dim=1), (0, width - 4 * (width // 4)))


class PoseImageAlignment(nn.Module):
    """The modules of stage 1 and SigLIP's temperature and bias (Zhai et al. 2023: t' = log 10, b = -10)."""

    def __init__(self, config: PoseLlavaConfig) -> None:
        super().__init__()
        width = config.pose_hidden_size
        self.resampler = Resampler(config)
        self.image_global = nn.Linear(config.vision_config.hidden_size, width)
        self.decoder_queries = nn.Parameter(torch.empty(NUM_JOINTS, width))
        self.decoder = transformer_decoder(
            width, config.pose_attention_heads, config.pose_intermediate_size, STAGE1_DECODER_LAYERS
        )
        self.decoder_head = RotationHead(width)
        # Of one element, not none: DeepSpeed cannot broadcast a scalar.
        self.logit_scale = nn.Parameter(torch.tensor([INITIAL_LOGIT_SCALE]))
        self.logit_bias = nn.Parameter(torch.tensor([INITIAL_LOGIT_BIAS]))

    def reconstruct(self, tokens_global: Tensor, tokens_local: Tensor) -> Tensor:
        """Poses (B, J, 3, 3) from tokens Z_avg (B, D) and Z_local (B, J, D), or an image's that are aligned to them."""
        memory = torch.cat([tokens_global.unsqueeze(1), tokens_local], dim=1)
        # Each joint's query starts from that joint's token: the decoder need not learn first which one is its own.
        queries = self.decoder_queries + tokens_local
        return rot6d_to_matrix(self.decoder_head(self.decoder(queries, memory)).float())
