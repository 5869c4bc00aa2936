# SPDX-License-Identifier: Apache-2.0
"""Other answers beside the decoder's own, for words that many poses fit.

The decoder's one answer is the mean of what the words leave open. Here a few learned *manners* each turn it their own
way; they are trained so that the best of all is as near to the true pose as can be (Guzman-Rivera et al. 2012,
"Multiple Choice Learning"), so that each takes a part of what is possible. They see what the decoder thought of each
joint and the state of ``<POSE>``, and cost nothing where nobody asks for them. Joints whose gate is closed stay.

Legend: Q poses asked for, K manners, J = 24 joints, W = the decoder's width, H = hidden size of the language model,
V = own width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from backend.body.rotations import matrix_to_rot6d, rot6d_to_matrix
from blender_addon.contract.skeleton import NUM_JOINTS

from .configuration import PoseLlavaConfig


class PoseVariants(nn.Module):
    """What the decoder thought and answered in, K other answers out."""

    def __init__(self, config: PoseLlavaConfig) -> None:
        super().__init__()
        width = config.pose_variants_hidden_size
        self.count = config.pose_variants
        self.manners = nn.Parameter(torch.empty(self.count, NUM_JOINTS, width))
        self.from_thoughts = nn.Linear(config.pose_decoder_hidden_size, width)
        self.from_state = nn.Linear(config.text_config.hidden_size, self.count * width)
        self.norm = nn.LayerNorm(width)
        self.mixed = nn.Linear(width, width)
        self.from_all = nn.Linear(width, width)
        self.turn = nn.Linear(width, 6)
        self.likely = nn.Linear(width, 1)

    def forward(
        self, thoughts: Tensor, state: Tensor, matrices: Tensor, moves: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The other answers (Q, K, J, 3, 3) and how likely each is to be the best of them, logits (Q, K).

        Args:
            thoughts: (Q, J, W) of the decoder.
            state: (Q, H) that stands for the pose.
            matrices: (Q, J, 3, 3) the decoder's answer.
            moves: (Q, J) whether a joint's gate is open; the others are as in the answer.
        """
        seen = self.from_thoughts(thoughts).unsqueeze(1) + self.manners
        seen = seen + self.from_state(state).unflatten(-1, (self.count, 1, -1))  # (Q, K, J, V)
        made = functional.gelu(self.norm(seen))
        made = made + functional.gelu(self.mixed(made) + self.from_all(made.mean(2, keepdim=True)))
        own = matrices.unsqueeze(1)
        turned = rot6d_to_matrix(matrix_to_rot6d(own) + self.turn(made).float())
        others = torch.where(moves[:, None, :, None, None], turned, own)
        return others, self.likely(made.mean(2)).squeeze(-1).float()

    def ranked(self, thoughts: Tensor, state: Tensor, matrices: Tensor, moves: Tensor) -> Tensor:
        """The other answers (Q, K, J, 3, 3), likeliest first; see ``forward``."""
        others, likely = self(thoughts, state, matrices, moves)
        order = likely.topk(self.count, dim=1).indices
        places = order[..., None, None, None].expand_as(others)
        ordered: Tensor = others.gather(1, places)
        return ordered
