# SPDX-License-Identifier: Apache-2.0
"""How a small model lies on disk: what pictures are read with in a file of its own, words and text encoder in int8.

A matrix ``name`` in int8 has ``name.scale`` (rows,) float32 beside it: its row r is ``name[r] * scale[r]``. Everything
else is as ``save_pretrained`` wrote it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

WEIGHTS: Final = "model.safetensors"
INDEX: Final = "model.safetensors.index.json"
SCALE: Final = ".scale"
_EMBEDDINGS: Final = "language_model.model.embed_tokens.weight"
"""As LLaVA-NeXT's checkpoints call the word embeddings."""
IN_INT8: Final = ("model.text_encoder.", _EMBEDDINGS)
"""What bears it: answers hardly change, and half of its bytes are saved."""
ON_ITS_OWN: Final = "pose_reader."
_LARGEST: Final = 127


def pack(folder: Path) -> None:
    """Rewrites the weights that ``save_pretrained`` put into one file."""
    tensors = load_file(folder / WEIGHTS)
    first: dict[str, Tensor] = {}
    second: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name.startswith(ON_ITS_OWN):
            second[name] = tensor
        elif name.startswith(IN_INT8) and tensor.ndim == 2 and not name.endswith(".places"):
            first[name], first[name + SCALE] = quantised(tensor)
        else:
            first[name] = tensor
    (folder / WEIGHTS).unlink()
    parts = [part for part in (first, second) if part]
    where: dict[str, str] = {}
    for number, part in enumerate(parts, 1):
        file = f"model-{number:05d}-of-{len(parts):05d}.safetensors"
        save_file(part, folder / file, metadata={"format": "pt"})
        where |= dict.fromkeys(part, file)
    size = sum(tensor.numel() * tensor.element_size() for part in parts for tensor in part.values())
    index = {"metadata": {"total_size": size}, "weight_map": dict(sorted(where.items()))}
    (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def add_weights(folder: Path, tensors: dict[str, Tensor]) -> None:
    """Adds weights to a saved model, those that it has staying as they are, to the bit; in the precision of the pose
    decoder's, and in its file."""
    index_file = folder / INDEX
    index = json.loads(index_file.read_text(encoding="utf-8")) if index_file.is_file() else None
    like = "pose_decoder."
    file = WEIGHTS
    if index is not None:
        file = next(file for name, file in index["weight_map"].items() if name.startswith(like))
    held = load_file(folder / file)
    dtype = next(tensor.dtype for name, tensor in held.items() if name.startswith(like))
    added = {name: tensor.detach().to(dtype).contiguous() for name, tensor in tensors.items()}
    save_file(held | added, folder / file, metadata={"format": "pt"})
    if index is not None:
        before = sum(held[name].nbytes for name in added if name in held)
        index["metadata"]["total_size"] += sum(one.nbytes for one in added.values()) - before
        index["weight_map"] = dict(sorted((index["weight_map"] | dict.fromkeys(added, file)).items()))
        index_file.write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def quantised(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """A matrix (R, C) in int8 and the scale (R,) of its rows."""
    rows = matrix.float()
    scale = rows.abs().amax(dim=1).clamp_min(1e-12) / _LARGEST
    return (rows / scale.unsqueeze(1)).round().to(torch.int8), scale


def scale_rows(model: PreTrainedModel, folder: Path) -> None:
    """Gives the matrices that were loaded from int8 their scales."""
    parameters = {**dict(model.named_parameters()), _EMBEDDINGS: model.get_input_embeddings().weight}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as opened, torch.no_grad():
            for name in opened.keys():  # noqa: SIM118 - it is no dictionary
                if name.endswith(SCALE):
                    matrix = parameters[name.removesuffix(SCALE)]
                    matrix.copy_(matrix.float() * opened.get_tensor(name).unsqueeze(1).to(matrix.device))
