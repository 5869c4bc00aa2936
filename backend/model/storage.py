# SPDX-License-Identifier: Apache-2.0
"""How a small model lies on disk: the pose reader in a file of its own; the reader, words and text encoder in int8.

A matrix ``name`` in int8 has ``name.scale`` (rows,) float32 beside it: its row r is ``name[r] * scale[r]``. So has a
convolution, whose rows are the channels that it makes. Everything else is as ``save_pretrained`` wrote it.
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

from backend.weight_files import SCALE

WEIGHTS: Final = "model.safetensors"
INDEX: Final = "model.safetensors.index.json"
_EMBEDDINGS: Final = "language_model.model.embed_tokens.weight"
"""As LLaVA-NeXT's checkpoints call the word embeddings."""
ON_ITS_OWN: Final = "pose_reader."
IN_INT8: Final = ("model.text_encoder.", _EMBEDDINGS, ON_ITS_OWN)
"""What bears it: answers hardly change, and half of its bytes are saved."""
VIEW_IN_INT8: Final = ("/down", "/up", "values.weight", "mixed.weight")
"""The same of what is learnt about the camera."""
WISH_IN_INT8: Final = ("values.weight", "mixed.weight")
"""The same of the head that hears when nothing is asked."""
VARIANTS_IN_INT8: Final = (".weight",)
"""The same of the other answers."""
_DECODER: Final = "pose_decoder."
_LARGEST: Final = 127


def pack(folder: Path) -> None:
    """Rewrites the weights that ``save_pretrained`` put into one file."""
    tensors = load_file(folder / WEIGHTS)
    first: dict[str, Tensor] = {}
    second: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        part = second if name.startswith(ON_ITS_OWN) else first
        if _bears_int8(name, tensor):
            part[name], part[name + SCALE] = quantised(tensor)
        else:
            part[name] = tensor
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


def _bears_int8(name: str, tensor: Tensor) -> bool:
    """Whether a weight of that name is kept in int8: a matrix, or a convolution of more than one channel each."""
    if not name.startswith(IN_INT8) or name.endswith(".places"):
        return False
    return tensor.ndim == 2 or (tensor.ndim == 4 and tensor.shape[1] > 1)


def add_weights(
    folder: Path, part: str, tensors: dict[str, Tensor], *, in_int8: tuple[str, ...] = ()
) -> None:
    """Gives a saved model one part more, ``PART.NAME`` for each of ``tensors``, in the precision of its pose decoder,
    matrices whose names end in one of ``in_int8`` in int8.

    Beside weights in several files the part lies in ``PART.safetensors``, a file of its own: the files that were there
    stay the same byte for byte, so that a history which holds them does not hold them twice.
    """
    index_file = folder / INDEX
    index = json.loads(index_file.read_text(encoding="utf-8")) if index_file.is_file() else None
    own, decoder = WEIGHTS, WEIGHTS
    if index is not None:
        places: dict[str, str] = index["weight_map"]
        own, decoder = (
            f"{part}.safetensors",
            next(file for name, file in places.items() if name.startswith(_DECODER)),
        )
    dtype = next(
        tensor.dtype for name, tensor in load_file(folder / decoder).items() if name.startswith(_DECODER)
    )
    held = load_file(folder / own) if (folder / own).is_file() else {}
    added: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        key = f"{part}.{name}"
        if in_int8 and name.endswith(in_int8) and tensor.ndim == 2:
            added[key], added[key + SCALE] = quantised(tensor.detach())
        else:
            added[key] = tensor.detach().to(dtype).contiguous()
    save_file(held | added, folder / own, metadata={"format": "pt"})
    if index is not None:
        before = sum(held[name].nbytes for name in added if name in held)
        index["metadata"]["total_size"] += sum(tensor.nbytes for tensor in added.values()) - before
        index["weight_map"] = dict(sorted((places | dict.fromkeys(added, own)).items()))
        index_file.write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def quantised(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """A matrix (R, ...) in int8 and the scale (R,) of its rows."""
    rows = matrix.float().flatten(1)
    scale = rows.abs().amax(dim=1).clamp_min(1e-12) / _LARGEST
    return (rows / scale.unsqueeze(1)).round().to(torch.int8).view(matrix.shape), scale


def scale_rows(model: PreTrainedModel, folder: Path) -> None:
    """Gives the matrices that were loaded from int8 their scales. A part that the model goes without is
    passed over."""
    parameters = {**dict(model.named_parameters()), _EMBEDDINGS: model.get_input_embeddings().weight}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as opened, torch.no_grad():
            for name in opened.keys():  # noqa: SIM118 - it is no dictionary
                matrix = parameters.get(name.removesuffix(SCALE))
                if name.endswith(SCALE) and matrix is not None:
                    scale = opened.get_tensor(name).view(-1, *(1,) * (matrix.ndim - 1))
                    matrix.copy_(matrix.float() * scale.to(matrix.device))
