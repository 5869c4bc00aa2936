# SPDX-License-Identifier: Apache-2.0
"""What a taught voice sees of a pose, or of a pose beside an earlier one, before it says a word of it.

A small network reads from the rotations and positions that the pose encoder is fed with how surely each of many facts
holds: "the left hand is on the hip", "the right knee is more bent". Each fact has a vector. A few facts make one token,
the sum of their vectors by how surely they hold, and the tokens stand in the prompt at ``<pose>``, where for everything
else that the model does the pose encoder's are.

Legend: P poses or pairs, R = 1 or 2 poses that are read together, F numbers a pose, K facts, S = 25 tokens,
H = hidden size of the language model.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from backend.prompt import NUM_POSE_TOKENS
from blender_addon.contract.skeleton import NUM_JOINTS

from .pose_encoder import FEATURE_SIZES, kinematic_features

POSE_NUMBERS = NUM_JOINTS * FEATURE_SIZES["kinematic"]


class FactReader(nn.Module):
    """From numbers of poses to chances of facts, and from these to tokens.

    Args:
        facts: (S,) how many facts each token tells of.
        poses: how many are read together, the earlier one first.
        width: of the network.
        hidden_size: H.

    Raises:
        ValueError: there are not as many tokens as ``<pose>`` takes places.
    """

    token: Tensor

    def __init__(self, facts: Sequence[int], *, poses: int, width: int, hidden_size: int) -> None:
        super().__init__()
        if len(facts) != NUM_POSE_TOKENS:
            raise ValueError(f"{len(facts)} tokens of facts, where a pose takes {NUM_POSE_TOKENS} places")
        known = sum(facts)
        self.first = nn.Linear(poses * POSE_NUMBERS, width)
        self.second = nn.Linear(width, width)
        self.third = nn.Linear(width, width)
        self.holds = nn.Linear(width, known)
        self.vectors = nn.Parameter(0.3 * torch.randn(known, hidden_size))
        self.nothing = nn.Parameter(0.3 * torch.randn(NUM_POSE_TOKENS, hidden_size))
        token = torch.arange(NUM_POSE_TOKENS).repeat_interleave(torch.tensor(facts))
        self.register_buffer("token", token, persistent=False)

    def forward(self, numbers: Tensor) -> Tensor:
        """Logits (P, K) that the facts hold, from (P, R * F)."""
        state = nn.functional.gelu(self.first(numbers))
        state = state + nn.functional.gelu(self.second(state))
        state = state + nn.functional.gelu(self.third(state))
        logits: Tensor = self.holds(state)
        return logits

    def tokens(self, logits: Tensor) -> Tensor:
        """(P, S, H) from logits (P, K)."""
        told = self.token == torch.arange(NUM_POSE_TOKENS, device=logits.device).unsqueeze(1)
        summed: Tensor = (told * logits.sigmoid().unsqueeze(1)) @ self.vectors + self.nothing
        return summed


def pose_numbers(poses: Tensor) -> Tensor:
    """(P, F) of poses (P, J, 6) rot6d without heading: local and global rotations and positions of the joints."""
    return kinematic_features(poses).flatten(1)
