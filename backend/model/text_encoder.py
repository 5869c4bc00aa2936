# SPDX-License-Identifier: Apache-2.0
"""A small pretrained text encoder beside the language model: what each word of an instruction means in its sentence.

BERT's form (Devlin et al. 2019) with the sizes and weights of all-MiniLM-L6-v2 (Wang et al. 2020, "MiniLM"), on the
language model's own word pieces. Its states are added to the embeddings of the instruction's tokens by a projection
that starts at zero.

Legend: T texts, N their length, B rows of prompts, L their length, E = width of the encoder, H = hidden size of the
language model.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .configuration import PoseLlavaConfig
from .pose_decoder import FromZero

LAYER_NORM_EPS = 1e-12


class TextEncoder(nn.Module):
    """Texts in, a state for each of their tokens out."""

    def __init__(self, config: PoseLlavaConfig) -> None:
        super().__init__()
        width = config.text_encoder_hidden_size
        self.padding = config.text_config.pad_token_id
        self.words = nn.Embedding(config.text_config.vocab_size, width)
        self.places = nn.Parameter(torch.empty(config.text_encoder_positions, width))
        self.norm = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        layer = nn.TransformerEncoderLayer(
            width,
            config.text_encoder_attention_heads,
            config.text_encoder_intermediate_size,
            dropout=0.0,
            activation="gelu",
            layer_norm_eps=LAYER_NORM_EPS,
            batch_first=True,
        )
        self.layers = nn.TransformerEncoder(layer, config.text_encoder_layers, enable_nested_tensor=False)

    def forward(self, texts: Tensor) -> Tensor:
        """Ids (T, N), padded, to states (T, N, E)."""
        embeds = self.norm(self.words(texts) + self.places[: texts.shape[1]])
        states: Tensor = self.layers(embeds, src_key_padding_mask=texts == self.padding)
        return states


class TextProjector(FromZero):
    """From the encoder's states to what is added to the language model's embeddings; nothing at first."""

    def __init__(self, config: PoseLlavaConfig) -> None:
        super().__init__(config.text_encoder_hidden_size, config.text_config.hidden_size)

    def added(self, states: Tensor, text_places: Tensor) -> Tensor:
        """(B, L, H) from states (T, N, E): at each position the state that ``text_places`` (B, L) names among the
        T x N, zero where that is negative."""
        projected: Tensor = self(states).flatten(0, 1)[text_places.clamp_min(0)]
        return projected * (text_places >= 0).unsqueeze(-1).to(projected.dtype)
