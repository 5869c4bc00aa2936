# SPDX-License-Identifier: Apache-2.0
"""The three forms of the pose decoder: from the language model's states to 24 rotations.

Legend: Q poses asked for (``<POSE>`` tokens in the batch), L prompt length, J = 24 joints, H = hidden size of the
language model, D = the pose encoder's width, W = the decoder's own width.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from backend.body.rotations import compose, matrix_to_rot6d, rot6d_to_matrix, turn_over
from blender_addon.contract.skeleton import NUM_JOINTS

from .configuration import PoseLlavaConfig

IDENTITY_6D = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


class PoseContext(NamedTuple):
    """What a decoder may see of the prompt that asks for a pose. A tuple: DeepSpeed looks for tensors in those only.

    Attributes:
        state: (Q, H) the hidden state that stands for the pose.
        prompt: (Q, L, H) hidden states of the whole row.
        prompt_hidden: (Q, L) true where the prompt must not be seen: padding, and what comes after the pose.
        initial: (Q, J, 3, 3) the pose that is edited, or the standing pose where none was given.
        initial_tokens: (Q, J, D) its tokens from the pose encoder.
        initial_states: (Q, J, H) hidden states at those tokens in the prompt; zero where none was given.
        earlier: (Q, J, 3, 3) the pose before the last turn; ``initial`` where there was no turn.
        earlier_tokens: (Q, J, D) its tokens from the pose encoder.
    """

    state: Tensor
    prompt: Tensor
    prompt_hidden: Tensor
    initial: Tensor
    initial_tokens: Tensor
    initial_states: Tensor
    earlier: Tensor
    earlier_tokens: Tensor


class DecodedPose(NamedTuple):
    """A decoder's answer: matrices (Q, J, 3, 3) and, from the residual form, gate logits (Q, J) and what it thought of
    each joint (Q, J, W)."""

    matrices: Tensor
    gate_logits: Tensor | None = None
    thoughts: Tensor | None = None


def transformer_decoder(width: int, heads: int, intermediate: int, layers: int) -> nn.TransformerDecoder:
    """A pre-norm transformer decoder with GELU and no dropout, closed by a norm."""
    layer = nn.TransformerDecoderLayer(
        width, heads, intermediate, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    )
    return nn.TransformerDecoder(layer, layers, norm=nn.LayerNorm(width))


class RotationHead(nn.Linear):
    """A linear layer to 6D. Its bias starts at the identity rotation, where Gram-Schmidt is well conditioned."""

    def __init__(self, width: int) -> None:
        super().__init__(width, 6)


class FromZero(nn.Linear):
    """A linear layer whose weights and bias begin at zero: what it is added to stays as it was until it learns."""


class MlpPoseDecoder(nn.Module):
    """Two linear layers from the pose's state to 144 numbers (ChatPose; the paper's public code)."""

    def __init__(self, config: PoseLlavaConfig) -> None:
        super().__init__()
        hidden = config.text_config.hidden_size
        self.layers = nn.Sequential(nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, NUM_JOINTS * 6))
        self.world = config.pose_world

    def forward(self, context: PoseContext) -> DecodedPose:
        """Decode the state alone."""
        rot6d = self.layers(context.state).float().reshape(-1, NUM_JOINTS, 6)
        return DecodedPose(rot6d_to_matrix(turn_over(rot6d) if self.world == "y_down" else rot6d))


class TransformerPoseDecoder(nn.Module):
    """Learned joint queries that attend to the pose's state (the paper's text)."""

    def __init__(self, config: PoseLlavaConfig) -> None:
        super().__init__()
        width = config.pose_decoder_hidden_size
        self.queries = nn.Parameter(torch.empty(NUM_JOINTS, width))
        self.memory = nn.Linear(config.text_config.hidden_size, width)
        self.layers = transformer_decoder(
            width, config.pose_attention_heads, 2 * width, config.pose_decoder_layers
        )
        self.head = RotationHead(width)

    def forward(self, context: PoseContext) -> DecodedPose:
        """Decode the state alone."""
        memory = self.memory(context.state).unsqueeze(1)
        queries = self.queries.expand(memory.shape[0], -1, -1)
        return DecodedPose(rot6d_to_matrix(self.head(self.layers(queries, memory)).float()))


class Recall(nn.Module):
    """What the residual decoder makes of the turn before: it sees how each joint turned in it, and says how far to go
    back to the pose before it. 1 takes the turn back exactly, less in part, and below 0 it goes further the same way.

    It starts as if there had been no turn, and without one the answer is the same to the bit.
    """

    def __init__(self, config: PoseLlavaConfig) -> None:
        super().__init__()
        self.seen = FromZero(config.pose_hidden_size, config.pose_decoder_hidden_size, bias=False)
        self.back = FromZero(config.pose_decoder_hidden_size, 1)

    def forward(self, rot6d: Tensor, decoded: Tensor, context: PoseContext) -> Tensor:
        """Rotations (Q, J, 6) with the share of the pose before that ``decoded`` (Q, J, W) says."""
        turned = (context.earlier != context.initial).flatten(1).any(1)[:, None, None]
        share = torch.where(turned, self.back(decoded).float(), 0.0)
        return rot6d + share * (matrix_to_rot6d(context.earlier) - rot6d)


class ResidualPoseDecoder(nn.Module):
    """Joint queries that see the initial pose and the prompt, and say of each joint whether and how it turns.

    A query is the sum of a learned vector, the initial pose's encoder token and the language model's state at that
    token (which has read the instruction where the instruction comes first). From it come a gate, a rotation
    relative to the initial one in the parent's frame, an absolute rotation, and the blend of the two.

    With ``pose_history`` there is also ``Recall``.
    """

    def __init__(self, config: PoseLlavaConfig) -> None:
        super().__init__()
        width, hidden = config.pose_decoder_hidden_size, config.text_config.hidden_size
        self.queries = nn.Parameter(torch.empty(NUM_JOINTS, width))
        self.from_tokens = nn.Linear(config.pose_hidden_size, width)
        self.from_states = nn.Linear(hidden, width)
        self.from_state = nn.Linear(hidden, NUM_JOINTS * width)
        self.memory = nn.Linear(hidden, width)
        self.layers = transformer_decoder(
            width, config.pose_attention_heads, 2 * width, config.pose_decoder_layers
        )
        self.relative = RotationHead(width)
        self.absolute = RotationHead(width)
        self.blend = nn.Linear(width, 1)
        self.gate = nn.Linear(width, 1)
        self.recall = Recall(config) if config.pose_history else None

    def forward(self, context: PoseContext) -> DecodedPose:
        """Rotations as if every joint turned, and the gates that say which do."""
        queries = (
            self.queries
            + self.from_tokens(context.initial_tokens)
            + self.from_states(context.initial_states)
            + self.from_state(context.state).unflatten(-1, (NUM_JOINTS, -1))
        )
        if self.recall is not None:
            queries = queries + self.recall.seen(context.earlier_tokens - context.initial_tokens)
        decoded = self.layers(
            queries, self.memory(context.prompt), memory_key_padding_mask=context.prompt_hidden
        )
        # Rotations in float32 whatever the model's precision.
        relative = compose(rot6d_to_matrix(self.relative(decoded).float()), context.initial)
        absolute = rot6d_to_matrix(self.absolute(decoded).float())
        share = torch.sigmoid(self.blend(decoded).float())
        mixed = share * matrix_to_rot6d(absolute) + (1 - share) * matrix_to_rot6d(relative)
        if self.recall is not None:
            mixed = self.recall(mixed, decoded, context)
        return DecodedPose(rot6d_to_matrix(mixed), self.gate(decoded).squeeze(-1).float(), decoded)


def pose_decoder(config: PoseLlavaConfig) -> MlpPoseDecoder | TransformerPoseDecoder | ResidualPoseDecoder:
    """The decoder that a configuration asks for. Raises ValueError for a world that its form does not know."""
    if config.pose_world != "y_up" and config.pose_decoder != "mlp":
        raise ValueError("pose_world: only the decoder 'mlp', the public code's, writes poses with +y down")
    return POSE_DECODERS[config.pose_decoder](config)


POSE_DECODERS: dict[str, type[MlpPoseDecoder | TransformerPoseDecoder | ResidualPoseDecoder]] = {
    "mlp": MlpPoseDecoder,
    "transformer": TransformerPoseDecoder,
    "residual": ResidualPoseDecoder,
}
