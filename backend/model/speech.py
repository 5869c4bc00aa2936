# SPDX-License-Identifier: Apache-2.0
"""What speaks in torch: a language model and the head that says its words.

A model that was trained to speak has its own of both. A small one that was trained to pose has a voice beside it, see
``backend.prompt.speech``: copies of its last layers, which take their place, and a head of their own.

Legend: B rows, H = hidden size, V tokens that may be said.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from backend.prompt.speech import SPEECH_FOLDER, VOICE_FILE, Speech
from backend.weight_files import SCALE

from .llava import readable_weights
from .modeling import PoseLlavaForConditionalGeneration
from .storage import quantised


class Voice(nn.Module):
    """Says words from the model's embeddings.

    Args:
        language_model: from embeddings to states.
        head: from states to logits.
        tokens: (V,) the tokens of the head's rows.
        first: the first layer that is a copy; None where all are the model's own.
    """

    tokens: Tensor

    def __init__(
        self, language_model: nn.Module, head: nn.Linear, tokens: Tensor, first: int | None = None
    ) -> None:
        super().__init__()
        self.language_model: Any = language_model
        self.head = head
        self._first = first
        self.register_buffer("tokens", tokens, persistent=False)

    @classmethod
    def own(cls, model: PoseLlavaForConditionalGeneration) -> Voice:
        """The model's own."""
        return cls(model.model.language_model, model.lm_head, torch.arange(model.lm_head.weight.shape[0]))

    @classmethod
    def copied(cls, model: PoseLlavaForConditionalGeneration, layers: int, tokens: tuple[int, ...]) -> Voice:
        """Copies of the model's last layers and norm in their place, and a head that says all tokens alike as yet."""
        own = model.model.language_model
        shell = copy.copy(own)
        shell._modules = dict(own._modules)
        first = len(own.layers) - layers
        shell.layers = nn.ModuleList([*own.layers[:first], *map(copy.deepcopy, own.layers[first:])])
        shell.norm = copy.deepcopy(own.norm)
        head = nn.Linear(model.lm_head.weight.shape[1], len(tokens), bias=False)
        nn.init.zeros_(head.weight)
        return cls(shell, head, torch.tensor(tokens), first)

    @classmethod
    def load(cls, model: PoseLlavaForConditionalGeneration, folder: Path, speech: Speech) -> Voice:
        """The voice beside the model that was loaded from a folder.

        Raises:
            ValueError: its weights are damaged.
        """
        file = folder / SPEECH_FOLDER / VOICE_FILE
        with readable_weights(folder / SPEECH_FOLDER):
            held = load_file(file)
        numbers = {name.split(".")[1] for name in held if name.startswith("layers.")}
        voice = cls.copied(model, len(numbers), speech.tokens)
        for name, weight in voice.taught().items():
            value = held[name].float()
            if name + SCALE in held:
                value = value * held[name + SCALE].unsqueeze(1)
            with torch.no_grad():
                weight.copy_(value)
        return voice.eval()

    @contextmanager
    def in_place(self, model: PoseLlavaForConditionalGeneration) -> Iterator[None]:
        """Within this the voice's language model is in the place of the model's own."""
        own = model.model.language_model
        model.model.language_model = self.language_model
        try:
            yield
        finally:
            model.model.language_model = own

    def taught(self) -> dict[str, nn.Parameter]:
        """The weights of the copies, the norm and the head, by name; what is the model's own is not among them."""
        if self._first is None:
            return {}
        found = dict(self.head.named_parameters(prefix="head"))
        for number, layer in enumerate(self.language_model.layers[self._first :], self._first):
            found |= {f"layers.{number}.{name}": weight for name, weight in layer.named_parameters()}
        return found | {
            f"norm.{name}": weight for name, weight in self.language_model.norm.named_parameters()
        }

    def save(self, folder: Path, speech: Speech) -> None:
        """Write the voice's folder, its matrices in int8."""
        folder.mkdir(parents=True, exist_ok=True)
        held: dict[str, Tensor] = {}
        for name, weight in self.taught().items():
            if weight.ndim == 2:
                held[name], held[name + SCALE] = quantised(weight.detach())
            else:
                held[name] = weight.detach().clone()
        save_file(held, folder / VOICE_FILE, metadata={"format": "pt"})
        speech.write(folder)
