# SPDX-License-Identifier: Apache-2.0
"""The pose encoder and the projector that brings its tokens into the language model.

Legend: P poses, J = 24 joints, D = pose_hidden_size, H = hidden size of the language model.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from backend.body.kinematics import forward_kinematics
from backend.body.rotations import matrix_to_rot6d, rot6d_to_matrix, turn_over
from blender_addon.contract.skeleton import NUM_JOINTS

from .configuration import PoseLlavaConfig

FEATURE_SIZES = {"local": 6, "rows": 6, "kinematic": 15}


def transformer_encoder(
    width: int, heads: int, intermediate: int, layers: int, *, norm_first: bool
) -> nn.TransformerEncoder:
    """A transformer with GELU and no dropout: pre-norm, closed by a norm, or post-norm."""
    layer = nn.TransformerEncoderLayer(
        width, heads, intermediate, dropout=0.0, activation="gelu", batch_first=True, norm_first=norm_first
    )
    norm = nn.LayerNorm(width) if norm_first else None
    return nn.TransformerEncoder(layer, layers, norm=norm, enable_nested_tensor=False)


def kinematic_features(poses: Tensor) -> Tensor:
    """(P, J, 15) of poses (P, J, 6) rot6d: each joint's local rotation, its global one and its position."""
    # Kinematics in float32: in half precision positions would be off by millimetres.
    rotations, positions = forward_kinematics(rot6d_to_matrix(poses.float()))
    extra = torch.cat([matrix_to_rot6d(rotations), positions], dim=-1)
    return torch.cat([poses, extra.to(poses.dtype)], dim=-1)


class PoseEncoder(nn.Module):
    """Transformer over one token a joint and a learned global token (paper, "Architecture" and Figure 3)."""

    def __init__(self, config: PoseLlavaConfig) -> None:
        super().__init__()
        width = config.pose_hidden_size
        self.features = config.pose_features
        self.world = config.pose_world
        self.embed = nn.Linear(FEATURE_SIZES[config.pose_features], width)
        self.joint_position = nn.Parameter(torch.empty(NUM_JOINTS, width))
        self.global_token = nn.Parameter(torch.empty(1, width))
        self.layers = transformer_encoder(
            width,
            config.pose_attention_heads,
            config.pose_intermediate_size,
            config.pose_encoder_layers,
            norm_first=config.pose_norm == "before",
        )

    def forward(self, poses: Tensor) -> tuple[Tensor, Tensor]:
        """Encode poses.

        Args:
            poses: (P, J, 6) rot6d, heading removed.

        Returns:
            Z_avg (P, D) and Z_local (P, J, D).
        """
        if self.world == "y_down":
            poses = turn_over(poses)
        features = poses
        if self.features == "rows":
            features = rot6d_to_matrix(poses.float())[..., :2, :].flatten(-2).to(poses.dtype)
        elif self.features == "kinematic":
            features = kinematic_features(poses)
        tokens = self.embed(features) + self.joint_position
        tokens = torch.cat([self.global_token.expand(poses.shape[0], 1, -1), tokens], dim=1)
        encoded: Tensor = self.layers(tokens)
        return encoded[:, 0], encoded[:, 1:]


class PoseProjector(nn.Module):
    """Two linear layers from the pose encoder's width to the language model's, as the vision projector's."""

    def __init__(self, config: PoseLlavaConfig) -> None:
        super().__init__()
        hidden = config.text_config.hidden_size
        self.linear_1 = nn.Linear(config.pose_hidden_size, hidden)
        self.act = nn.GELU()
        self.linear_2 = nn.Linear(hidden, hidden)

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., D) to (..., H)."""
        projected: Tensor = self.linear_2(self.act(self.linear_1(tokens)))
        return projected
