# SPDX-License-Identifier: Apache-2.0
"""Reads the files of a downloaded release: whole, finite, and never running what is in them."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor


def read_configuration(source: Path) -> dict[str, Any]:
    """The configuration of a checkpoint folder. Raises FileNotFoundError and ValueError."""
    if not (source / "config.json").is_file():
        raise FileNotFoundError(f"{source} has no config.json: give the folder of the downloaded release")
    file = source / "config.json"
    try:
        released = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        raise ValueError(f"{file} is damaged{_hint(file)}") from None
    if not isinstance(released, dict):
        raise ValueError(f"{file} is not the release's: it holds no settings")
    return released


def read_weights(folder: Path) -> dict[str, Tensor]:
    """All weights of a checkpoint folder. Raises FileNotFoundError and ValueError."""
    if (folder / "adapter_config.json").is_file():
        raise ValueError(
            f"{folder} holds an adapter: merge it with the public code first, then convert the result"
        )
    files = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))
    if not files:
        raise FileNotFoundError(f"{folder} has no weights: expected *.safetensors or pytorch_model*.bin")
    weights: dict[str, Tensor] = {}
    for file in files:
        weights |= _read(file)
    broken = [name for name, weight in weights.items() if not torch.isfinite(weight).all()]
    if broken:
        raise ValueError(
            f"{folder} holds weights that are no finite numbers, such as {broken[0]}: download the release again"
        )
    return weights


def _read(file: Path) -> dict[str, Tensor]:
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        read = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "weights_only" in str(error).lower() or "global" in str(error).lower():
            raise ValueError(f"{file} was not opened: it holds code, where only weights may be") from None
        raise ValueError(f"{file} is damaged{_hint(file)}") from None
    except (SafetensorError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise ValueError(
            f"{file} is damaged or cut off{_hint(file)} ({' '.join(str(error).split())[:80]})"
        ) from None
    if not isinstance(read, dict) or not all(isinstance(weight, Tensor) for weight in read.values()):
        raise ValueError(f"{file} holds no weights by name: is it the release's own?")
    return read


def _hint(file: Path) -> str:
    """What to do about a file that cannot be read: one that Git did not fetch says so itself."""
    with file.open("rb") as opened:
        pointer = opened.read(40).startswith(b"version https://git-lfs")
    return (
        ": it is only Git LFS's pointer to the file; fetch the files with 'git lfs pull'"
        if pointer
        else ": download it again"
    )
