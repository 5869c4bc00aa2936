# SPDX-License-Identifier: Apache-2.0
"""What speaks in torch: a language model and the head that says its words.

A model that was trained to speak has its own of both. A small one that was trained to pose has a taught voice beside
it, see ``backend.prompt.speech``: copies of its last layers by themselves, a head of their own, and two readers that
tell them what holds of a pose and what changed between two (``fact_reader``).

Legend: B rows, L tokens, P poses read, H = hidden size, V tokens that may be said.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from backend.prompt import NUM_POSE_TOKENS
from backend.prompt.speech import SPEECH_FILE, VOICE_FILE, Speech
from backend.weight_files import SCALE

from .fact_reader import FactReader, pose_numbers
from .llava import readable_weights
from .modeling import PoseLlavaForConditionalGeneration
from .storage import quantised

_PREFIX: Final = "voice."
"""Begins the names of its weights on disk."""


class Voice(nn.Module):
    """Says words.

    Args:
        embedding: of tokens.
        language_model: from embeddings to states.
        head: from states to logits.
        tokens: (V,) the tokens of the head's rows.
    """

    tokens: Tensor

    def __init__(
        self, embedding: nn.Module, language_model: nn.Module, head: nn.Linear, tokens: Tensor
    ) -> None:
        super().__init__()
        self.embedding = embedding
        self.language_model: Any = language_model
        self.head = head
        self.register_buffer("tokens", tokens, persistent=False)

    @classmethod
    def own(cls, model: PoseLlavaForConditionalGeneration) -> Voice:
        """The model's own."""
        tokens = torch.arange(model.lm_head.weight.shape[0])
        return cls(model.get_input_embeddings(), model.model.language_model, model.lm_head, tokens)


class TaughtVoice(Voice):
    """One that was taught beside a model that poses.

    Args:
        model: whose words' embeddings it reads, and whose last layers its own begin as.
        tokens: that it may say.
        layers: how many of the last ones.
        facts: of each token of a pose how many facts it tells of; see ``FactReader``.
        changes: the same of a pair.
        width: of the readers.
    """

    def __init__(
        self,
        model: PoseLlavaForConditionalGeneration,
        tokens: Sequence[int],
        *,
        layers: int,
        facts: Sequence[int],
        changes: Sequence[int],
        width: int,
    ) -> None:
        own = model.model.language_model
        shell = copy.copy(own)
        shell._modules = dict(own._modules)
        shell.config = copy.copy(own.config)
        shell.config.num_hidden_layers = layers
        shell.layers = nn.ModuleList(map(copy.deepcopy, own.layers[len(own.layers) - layers :]))
        for number, layer in enumerate(shell.layers):
            layer.self_attn.layer_idx = number
        shell.norm = copy.deepcopy(own.norm)
        hidden_size = model.lm_head.weight.shape[1]
        head = nn.Linear(hidden_size, len(tokens), bias=False, dtype=model.dtype)
        nn.init.zeros_(head.weight)
        super().__init__(model.get_input_embeddings(), shell, head, torch.tensor(tokens))
        self.facts = FactReader(facts, poses=1, width=width, hidden_size=hidden_size)
        self.changes = FactReader(changes, poses=2, width=width, hidden_size=hidden_size)
        self._pose_token = model.config.pose_token_index

    @classmethod
    def load(cls, model: PoseLlavaForConditionalGeneration, folder: Path, speech: Speech) -> TaughtVoice:
        """The voice beside the model that was loaded from a folder.

        Raises:
            FileNotFoundError: there are no weights of it.
            ValueError: they are damaged, or of another voice than ``speech``.
        """
        file = folder / VOICE_FILE
        if not file.is_file():
            raise FileNotFoundError(f"{file} is missing: copy or download the model again")
        with readable_weights(folder):
            held = {name.removeprefix(_PREFIX): part for name, part in load_file(file).items()}
        layers = {name.split(".")[1] for name in held if name.startswith("layers.")}
        voice = cls(
            model,
            speech.tokens,
            layers=len(layers),
            facts=speech.facts,
            changes=speech.changes,
            width=len(held.get("facts.second.bias", ())),
        )
        taught = voice.taught()
        if {name: weight.shape for name, weight in taught.items()} != {
            name: part.shape for name, part in held.items() if not name.endswith(SCALE)
        }:
            raise ValueError(
                f"{file} and {SPEECH_FILE} beside it are of two voices: copy both again from where one was taught"
            )
        for name, weight in taught.items():
            value = held[name].float()
            if name + SCALE in held:
                value = value * held[name + SCALE].unsqueeze(1)
            with torch.no_grad():
                weight.copy_(value)
        return voice.eval()

    def embedded(self, input_ids: Tensor, poses: Tensor) -> Tensor:
        """Embeddings (B, L, H) of questions: words, and at ``<pose>`` what is seen of the pose; at one that another
        follows in its row, what changed from it to that.

        Args:
            input_ids: (B, L).
            poses: (P, J, 6) rot6d without heading, one for each ``<pose>``, row by row.
        """
        return self.placed(input_ids, *self.seen(poses))

    def seen(self, poses: Tensor) -> tuple[Tensor, Tensor]:
        """What the readers say of each pose (P, K) and of it with the following one (P, K')."""
        numbers = pose_numbers(poses)
        count = poses.shape[0]  # no length: traced, that would be the example's for good
        following = numbers[(torch.arange(count, device=poses.device) + 1).clamp_max(count - 1)]
        return self.facts(numbers), self.changes(torch.cat([numbers, following], dim=1))

    def placed(self, input_ids: Tensor, holds: Tensor, changed: Tensor) -> Tensor:
        """``embedded`` from what was ``seen`` of the poses."""
        is_pose = input_ids == self._pose_token
        place = (is_pose.flatten().long().cumsum(0) - 1).clamp_min(0).view(input_ids.shape)
        number = place // NUM_POSE_TOKENS
        last = torch.where(is_pose, number, -1).amax(dim=1, keepdim=True)
        of_pose, of_pair = (
            reader.tokens(logits).flatten(0, 1)[place]
            for reader, logits in ((self.facts, holds), (self.changes, changed))
        )
        seen = torch.where((number < last).unsqueeze(-1), of_pair, of_pose)
        return torch.where(is_pose.unsqueeze(-1), seen, self.embedding(input_ids))

    def readers(self) -> dict[str, nn.Parameter]:
        """The weights by which facts are read, by name."""
        return {
            name: weight
            for name, weight in self.taught().items()
            if name.startswith(("facts.", "changes.")) and not name.endswith((".vectors", ".nothing"))
        }

    def taught(self) -> dict[str, nn.Parameter]:
        """All its own weights by name; what is the model's is not among them."""
        found = dict(self.head.named_parameters(prefix="head"))
        for name in ("layers", "norm"):
            found |= dict(getattr(self.language_model, name).named_parameters(prefix=name))
        for name in ("facts", "changes"):
            found |= dict(getattr(self, name).named_parameters(prefix=name))
        return found

    def save(self, folder: Path, speech: Speech) -> None:
        """Write the voice into a folder, its matrices in int8."""
        folder.mkdir(parents=True, exist_ok=True)
        held: dict[str, Tensor] = {}
        for own_name, weight in self.taught().items():
            name = _PREFIX + own_name
            if weight.ndim == 2:
                held[name], held[name + SCALE] = quantised(weight.detach())
            else:
                held[name] = weight.detach().clone()
        save_file(held, folder / VOICE_FILE, metadata={"format": "pt"})
        speech.write(folder)
