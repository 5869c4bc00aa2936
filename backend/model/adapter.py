# SPDX-License-Identifier: Apache-2.0
"""A kept adapter: what was trained on a base model, without the base.

The folder holds LoRA in peft's form, the other trained parts as one file, the processor, and ``base.json``, which
says what it was trained on: ``base`` is the folder of the base model, ``changes`` the fields of PoseLlavaConfig that
were set on it, ``seed`` what its fresh modules were drawn with.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import torch
from safetensors.torch import load_file

from .llava import load_base, readable_weights
from .modeling import PoseLlavaForConditionalGeneration
from .processing import PoseLlavaProcessor

LORA_CONFIG: Final = "adapter_config.json"
TRAINED_FILE: Final = "trained_parts.safetensors"
BASE_FILE: Final = "base.json"


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter."""
    return (folder / LORA_CONFIG).is_file() and (folder / BASE_FILE).is_file()


def load_adapter(
    adapter: Path, *, dtype: torch.dtype = torch.float32
) -> tuple[PoseLlavaForConditionalGeneration, PoseLlavaProcessor]:
    """The base with a kept adapter merged into it, and the processor that was kept with it.

    Raises:
        FileNotFoundError: the base is not where ``base.json`` says.
        ValueError: the adapter was trained on another base, or a file of weights is damaged.
    """
    from peft import PeftModel

    told = json.loads((adapter / BASE_FILE).read_text(encoding="utf-8"))
    base = Path(told["base"])
    if not (base / "config.json").is_file():
        raise FileNotFoundError(
            f"the adapter {adapter} needs the model that it was trained on in {base}: put it there, or write its "
            f"folder into {adapter / BASE_FILE}"
        )
    torch.manual_seed(told["seed"])
    model, _ = load_base(base, told["changes"], dtype=dtype)
    with readable_weights(adapter):
        wrapped = PeftModel.from_pretrained(model, adapter)
        _, unexpected = wrapped.load_state_dict(load_file(adapter / TRAINED_FILE), strict=False)
    if unexpected:
        raise ValueError(
            f"{adapter} was trained on another base than {base}: it has weights for {', '.join(unexpected[:3])}"
        )
    merged: PoseLlavaForConditionalGeneration = wrapped.merge_and_unload()
    return merged, PoseLlavaProcessor.from_pretrained(adapter)
