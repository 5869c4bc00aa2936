# SPDX-License-Identifier: Apache-2.0
"""A head that tells one thing of a text from what the text encoder says of its words.

Legend: T texts, N their length, E = width of the text encoder, S heads, V their width, M = width of what they say
together.
"""

from __future__ import annotations

from typing import Final

from torch import Tensor, nn

HEADS: Final = 4


class TextHead(nn.Module):
    """States of texts in, and how surely it is so of each text out.

    Args:
        width: E.
        value_width: V.
        mixed_width: M.
    """

    def __init__(self, width: int, value_width: int, mixed_width: int) -> None:
        super().__init__()
        self.attention = nn.Linear(width, HEADS)
        self.values = nn.Linear(width, HEADS * value_width)
        self.mixed = nn.Linear(HEADS * value_width, mixed_width)
        self.said = nn.Linear(mixed_width, 1)

    def forward(self, states: Tensor, is_word: Tensor) -> Tensor:
        """Logits (T,) from states (T, N, E) and where these are of words (T, N)."""
        looks = self.attention(states).masked_fill(~is_word.unsqueeze(-1), -1e4).softmax(dim=1)
        values = self.values(states).unflatten(-1, (HEADS, -1))
        seen = (looks.unsqueeze(-1) * values).sum(1).flatten(1)
        logits: Tensor = self.said(nn.functional.gelu(self.mixed(nn.functional.gelu(seen)))).squeeze(-1)
        return logits.float()
