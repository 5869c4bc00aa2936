# SPDX-License-Identifier: Apache-2.0
"""What the trainings of ``backend.model.text_head`` share: sentences without poses, what the frozen text encoder says
of them, and how a head learns from it.

May import backend, training.data and training.stages.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from backend.model import PoseLlavaForConditionalGeneration, PoseLlavaProcessor
from training.data.patterns.loading import Pattern
from training.data.patterns.sampler import Weighted, side_of
from training.data.patterns.saying import drawn, say
from training.data.shards import SampleSource
from training.stages.launch import in_processor_precision

OTHER_SOURCES: Final = (
    "directives", "basics", "posefix", "posepart", "nudges", "captions", "descriptions", "actions", "situations",
)  # fmt: skip
"""Of whose instructions a head learns what is not so, beside the patterns."""
READ_AT_ONCE: Final = 64
RATE: Final = 2e-3
WORD_DROPOUT: Final = 0.1
SURE: Final = 0.99
"""The probability that is wished for where it is so; where not, what is left of 1."""


def weighted(patterns: Sequence[Pattern], held_out: bool) -> Weighted:
    """Patterns with sentences of the part that is wished for."""
    return Weighted([one for one in patterns if one.usable(held_out=held_out)], held_out)


def said(
    rng: np.random.Generator, pattern: Pattern, held_out: bool, *, imperative: bool = False
) -> tuple[str, bool]:
    """A sentence of a pattern, and whether it is an imperative."""
    usable = pattern.usable(held_out=held_out, imperative=imperative)
    sentence = usable[rng.integers(len(usable))]
    _, words = drawn(rng, pattern)
    return say(rng, pattern, sentence.text, side_of(rng, pattern), words), sentence.imperative


def instructions(data: Path, count: int, rng: np.random.Generator, *, with_a_pose: bool = False) -> list[str]:
    """About so many instructions of the other sources in a folder of data; or only of those, which are fewer, that are
    answered with a pose."""
    folders = [data / name for name in OTHER_SOURCES if any((data / name).glob("shard-*.npz"))]
    found: list[str] = []
    for folder in folders:
        source = SampleSource(folder)
        for shard in rng.permutation(len(source.sizes))[:4].tolist():
            rows = rng.permutation(source.sizes[shard])[: math.ceil(count / len(folders) / 4)]
            samples = [source.read(shard, row) for row in rows.tolist()]
            found += [one.instruction for one in samples if one.target_aa is not None or not with_a_pose]
    return found


class ReadTexts:
    """What a model's text encoder says of texts, shortest first."""

    def __init__(
        self,
        model: PoseLlavaForConditionalGeneration,
        processor: PoseLlavaProcessor,
        texts: Sequence[str],
    ) -> None:
        assert model.model.text_encoder is not None
        tokenizer = processor.prompter.tokenizer
        self.states: list[Tensor] = []
        ids = [
            torch.tensor([tokenizer.bos_id, *tokenizer.ids(processor.prompter.plain(text)), tokenizer.eos_id])
            for text in texts
        ]
        ids.sort(key=len)
        for start in range(0, len(ids), READ_AT_ONCE):
            part = ids[start : start + READ_AT_ONCE]
            texts_ids = nn.utils.rnn.pad_sequence(
                part, batch_first=True, padding_value=model.model.text_encoder.padding
            )
            with torch.no_grad(), in_processor_precision():
                states = model.model.text_encoder(texts_ids).bfloat16()
            self.states += [state[: len(one)].clone() for state, one in zip(states, part, strict=True)]

    def some(self, rng: np.random.Generator, count: int) -> list[Tensor]:
        """The states of so many, drawn with replacement."""
        return [self.states[row] for row in rng.integers(len(self.states), size=count)]


def fit(
    head: nn.Module,
    so: ReadTexts,
    not_so: ReadTexts,
    *,
    shares: tuple[int, int],
    steps: int,
    rng: np.random.Generator,
) -> None:
    """Trains a head to tell texts of which it is so from others, in batches of so many of both."""
    head.requires_grad_(True)
    optimizer = torch.optim.AdamW(head.parameters(), lr=RATE, weight_decay=0.05)
    wanted = torch.cat([torch.full((shares[0],), SURE), torch.full((shares[1],), 1 - SURE)])
    for step in range(steps):
        states, is_word = _padded([*so.some(rng, shares[0]), *not_so.some(rng, shares[1])])
        seen = is_word & (torch.rand(is_word.shape) > WORD_DROPOUT)
        seen[:, 0] = True
        loss = nn.functional.binary_cross_entropy_with_logits(head(states, seen), wanted)
        for group in optimizer.param_groups:
            group["lr"] = RATE * (1 - step / steps)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    head.requires_grad_(False)


def chances(head: nn.Module, read: ReadTexts) -> npt.NDArray[np.float64]:
    """How probable a head finds it of each text."""
    parts = []
    for start in range(0, len(read.states), READ_AT_ONCE):
        with torch.no_grad():
            parts.append(head(*_padded(read.states[start : start + READ_AT_ONCE])).sigmoid())
    return torch.cat(parts).double().numpy()


def _padded(states: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    lengths = torch.tensor([len(one) for one in states])
    padded = nn.utils.rnn.pad_sequence(list(states), batch_first=True).float()
    return padded, torch.arange(padded.shape[1]) < lengths.unsqueeze(1)
