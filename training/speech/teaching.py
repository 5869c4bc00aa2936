# SPDX-License-Identifier: Apache-2.0
"""Teaches a voice: copies of the model's last layers learn to speak, and the model itself stays as it is.

A run is as long as its time. What it has learnt is written every few minutes, as the voice and as a checkpoint that a
later run goes on from.

Legend: B samples of a batch, L their length, K tokens to say, V tokens that may be said.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from backend.model import PoseLlavaProcessor
from backend.model.llava import load_whole
from backend.model.processing import IGNORED_LABEL
from backend.model.speech import Voice
from backend.prompt import COMPACT_SPEECH, PromptSample
from backend.prompt.speech import SPEECH_FOLDER, Speech, trunk_of
from training.data.captions.spoken import vocabulary
from training.data.samples import Sample
from training.evaluate.benchmarks import pose_pool
from training.stages.settings import load

from .samples import SpeechSampler

CHECKPOINT: Final = "checkpoint.pt"
LOG_FILE: Final = "metrics.jsonl"
CHUNK_BATCHES: Final = 8
"""Samples are drawn for this many batches at once, which is faster."""


@dataclass(frozen=True)
class SpeechSettings:
    """A run; see ``training/configs/mini_speech.yaml``."""

    model: Path
    output: Path
    poses: Path | None = None
    seed: int = 0
    layers: int = 2
    pairs: float = 0.4
    learning_rate: float = 1e-3
    warmup_steps: int = 100
    decay_share: float = 0.5
    batch: int = 64
    minutes: float = 60.0
    checkpoint_minutes: float = 5.0
    threads: int = 1
    steps: int | None = None
    """Where it is given the run ends after so many, whatever the time."""


def load_speech_settings(path: Path, changes: Sequence[str] = ()) -> SpeechSettings:
    """The settings in a YAML file with changes ``key=value``.

    Raises:
        FileNotFoundError: no such file.
        ValueError: an unknown key, a missing one or a value of the wrong type.
    """
    settings: SpeechSettings = load(SpeechSettings, path, changes)
    return settings


@dataclass(frozen=True)
class Progress:
    """Where a run stands: steps, samples seen by this run, minutes of it, and the mean loss of a token."""

    step: int
    samples: int
    minutes: float
    loss: float


class Trainer:
    """One run.

    Raises:
        ValueError: the model is no small one with words, or a checkpoint is of another model or of other layers.
    """

    def __init__(self, settings: SpeechSettings, *, resume: bool = False) -> None:
        torch.set_num_threads(settings.threads)
        torch.manual_seed(settings.seed)
        self.settings = settings
        self.model, self.processor = load_whole(settings.model, dtype=torch.float32)
        for task, templates in COMPACT_SPEECH.items():
            self.processor.templates.setdefault(task, templates)
        self.model.eval().requires_grad_(False)
        self.sampler = SpeechSampler(pose_pool(settings.poses, "train"), pairs=settings.pairs)
        self.tokens = said_tokens(self.processor)
        self.trunk = trunk_of(settings.model)
        self.voice = Voice.copied(self.model, settings.layers, self.tokens)
        self._place = torch.full((self.model.lm_head.weight.shape[0],), -1)
        self._place[self.voice.tokens] = torch.arange(len(self.tokens))
        self._weights = list(self.voice.taught().values())
        for weight in self._weights:
            weight.requires_grad_(True)
        self._optimiser = torch.optim.AdamW(
            self._weights, lr=settings.learning_rate, betas=(0.9, 0.98), weight_decay=0.01
        )
        self.step = 0
        if resume:
            self._resume()

    def run(self) -> Iterator[Progress]:
        """Trains until the time is over; yields after each chunk of batches."""
        settings, start = self.settings, time.monotonic()
        saved, samples, last = start, 0, self.step + (settings.steps or 2**62)
        settings.output.mkdir(parents=True, exist_ok=True)
        minutes = 0.0
        rng = np.random.default_rng((settings.seed, self.step))
        while minutes < settings.minutes and self.step < last:
            losses = []
            for batch in self._drawn(rng):
                share = (time.monotonic() - start) / (60 * settings.minutes)
                if settings.steps is not None:
                    share = (self.step - (last - settings.steps)) / settings.steps
                if share >= 1 or self.step >= last:
                    break
                losses.append(self._learn(batch, share))
                samples += len(batch)
            minutes = (time.monotonic() - start) / 60
            if losses:
                progress = Progress(self.step, samples, minutes, sum(losses) / len(losses))
                with (settings.output / LOG_FILE).open("a", encoding="utf-8") as log:
                    log.write(json.dumps(asdict(progress)) + "\n")
                yield progress
            if (time.monotonic() - saved) / 60 >= settings.checkpoint_minutes:
                self.save()
                saved = time.monotonic()
        self.save()

    def save(self) -> None:
        """Writes the voice and what a later run needs."""
        output = self.settings.output
        speech = Speech(dict(COMPACT_SPEECH), self.tokens, self.trunk)
        self.voice.save(output / SPEECH_FOLDER, speech)
        whole = {
            "weights": [weight.detach() for weight in self._weights],
            "optimiser": self._optimiser.state_dict(),
            "step": self.step,
            "trunk": self.trunk,
        }
        torch.save(whole, output / f"{CHECKPOINT}.new")
        (output / f"{CHECKPOINT}.new").replace(output / CHECKPOINT)

    def loss(self, samples: Sequence[Sample]) -> Tensor:
        """Mean cross-entropy of the tokens of the samples' replies."""
        encoded = self.processor.encode(
            cast(Sequence[PromptSample], samples),
            with_labels=True,
            replies=[sample.reply for sample in samples],
        )
        with torch.no_grad():
            embeds, _ = self.model.model.embed_with_poses(encoded["input_ids"], encoded["poses"])
        hidden = self.voice.language_model(
            inputs_embeds=embeds, attention_mask=encoded["attention_mask"], use_cache=False
        ).last_hidden_state
        labels = encoded["labels"][:, 1:]
        wanted = labels != IGNORED_LABEL
        logits = self.voice.head(hidden[:, :-1][wanted])  # (K, V)
        return functional.cross_entropy(logits, self._place[labels[wanted]])

    def _learn(self, samples: Sequence[Sample], share: float) -> float:
        rate = min(1.0, (self.step + 1) / self.settings.warmup_steps)
        rate *= min(1.0, (1.0 - share) / self.settings.decay_share)
        for group in self._optimiser.param_groups:
            group["lr"] = self.settings.learning_rate * rate
        loss = self.loss(samples)
        self._optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._weights, 1.0)
        self._optimiser.step()
        self.step += 1
        return float(loss.detach())

    def _drawn(self, rng: np.random.Generator) -> list[list[Sample]]:
        """Batches in random order, each of one kind: their questions are of one length."""
        size = self.settings.batch
        paired = int(rng.binomial(CHUNK_BATCHES, self.settings.pairs))
        drawn = self.sampler.descriptions(rng, size * (CHUNK_BATCHES - paired))
        pairs = self.sampler.differences(rng, size * paired)
        batches = [some[at : at + size] for some in (drawn, pairs) for at in range(0, len(some), size)]
        order = rng.permutation(len(batches))
        return [batches[number] for number in order]

    def _resume(self) -> None:
        file = self.settings.output / CHECKPOINT
        if not file.is_file():
            return
        held: dict[str, Any] = torch.load(file, weights_only=True)
        if held["trunk"] != self.trunk:
            raise ValueError(
                f"{file} was trained on other weights than those in {self.settings.model}: begin anew"
            )
        shapes = [weight.shape for weight in self._weights]
        if [weight.shape for weight in held["weights"]] != shapes:
            raise ValueError(
                f"{file} has other layers than {self.settings.layers}: set layers, or begin anew"
            )
        with torch.no_grad():
            for weight, value in zip(self._weights, held["weights"], strict=True):
                weight.copy_(value)
        self._optimiser.load_state_dict(held["optimiser"])
        self.step = held["step"]


def said_tokens(processor: PoseLlavaProcessor) -> tuple[int, ...]:
    """Every token of the sentences that are taught, and the one that ends a text."""
    tokenizer = processor.prompter.tokenizer
    found = {token for words in vocabulary() for token in tokenizer.ids(words)}
    return tuple(sorted(found | {tokenizer.eos_id}))


def train_speech(settings: SpeechSettings, *, resume: bool, report: Callable[[Progress], None]) -> None:
    """A whole run."""
    for progress in Trainer(settings, resume=resume).run():
        report(progress)
