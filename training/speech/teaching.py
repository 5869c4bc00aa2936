# SPDX-License-Identifier: Apache-2.0
"""Teaches a voice beside a model that stays as it is: first to read facts of poses, then to say them.

Each of the two lessons is as long as its time. What is learnt is written every few minutes, as the voice and as a
checkpoint that a later run goes on from.

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
from backend.model.speech import TaughtVoice
from backend.prompt import COMPACT_SPEECH, PromptSample
from backend.prompt.speech import Speech, trunk_of
from training.data.captions.spoken import vocabulary
from training.data.samples import Sample
from training.evaluate.benchmarks import pose_pool
from training.stages.settings import load

from .reading import Lesson, draw_lesson, reading_loss, slots
from .samples import SpeechSampler

CHECKPOINT: Final = "checkpoint.pt"
LOG_FILE: Final = "metrics.jsonl"
READING: Final = "reading"
SAYING: Final = "saying"
LESSONS: Final = (READING, SAYING)
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
    pairs: float = 0.5
    reader_width: int = 384
    reader_rate: float = 2e-3
    reader_batch: int = 256
    reader_minutes: float = 14.0
    learning_rate: float = 1e-3
    warmup_steps: int = 100
    decay_share: float = 0.5
    batch: int = 64
    minutes: float = 40.0
    checkpoint_minutes: float = 3.0
    threads: int = 1
    steps: int | None = None
    """Where it is given each lesson ends after so many, whatever the time."""

    def __post_init__(self) -> None:
        for name in (
            "layers", "reader_width", "reader_batch", "reader_minutes", "warmup_steps", "decay_share", "batch",
            "minutes", "threads",
        ):  # fmt: skip
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)}")


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
    """Where a run stands: in which of LESSONS, its steps, the samples that this run has seen of it, its minutes, and
    the mean loss, of a pose and a pair in reading and of a token in saying."""

    lesson: str
    step: int
    samples: int
    minutes: float
    loss: float

    def __str__(self) -> str:
        return (
            f"{self.lesson}: step {self.step}, {self.samples} samples, {self.minutes:.1f} minutes: "
            f"loss {self.loss:.3f}"
        )


class Trainer:
    """One run.

    Raises:
        ValueError: the model is no small one with words, or a checkpoint is of another model or of other sizes.
    """

    def __init__(self, settings: SpeechSettings, *, resume: bool = False) -> None:
        torch.set_num_threads(settings.threads)
        torch.manual_seed(settings.seed)
        self.settings = settings
        self.model, self.processor = load_whole(settings.model, dtype=torch.float32)
        self.model.eval().requires_grad_(False)
        self.sampler = SpeechSampler(pose_pool(settings.poses, "train"))
        tokens, (facts, changes) = said_tokens(self.processor), slots()
        self.speech = Speech(dict(COMPACT_SPEECH), tokens, trunk_of(settings.model), facts, changes)
        self.processor.add_speech(self.speech)
        self.voice = TaughtVoice(
            self.model,
            tokens,
            layers=settings.layers,
            facts=facts,
            changes=changes,
            width=settings.reader_width,
        )
        self._place = torch.full((self.model.lm_head.weight.shape[0],), -1)
        self._place[self.voice.tokens] = torch.arange(len(tokens))
        self._begin(READING)
        if resume:
            self._resume()

    def _begin(self, lesson: str) -> None:
        """Let those weights learn that the lesson is for."""
        self.lesson, self.step, self._spent = lesson, 0, 0.0
        readers = self.voice.readers()
        for name, weight in self.voice.taught().items():
            weight.requires_grad_((name in readers) == (lesson == READING))
        self._weights = [weight for weight in self.voice.taught().values() if weight.requires_grad]
        self._optimiser = torch.optim.AdamW(self._weights, betas=(0.9, 0.98), weight_decay=0.01)

    def run(self) -> Iterator[Progress]:
        """Trains until the time of both lessons is over; yields after each chunk of batches."""
        settings = self.settings
        settings.output.mkdir(parents=True, exist_ok=True)
        if self.lesson == READING:
            lessons = self._lesson(
                settings.reader_rate, settings.reader_minutes, self._lessons, self._misread
            )
            yield from lessons
            self._begin(SAYING)
        yield from self._lesson(settings.learning_rate, settings.minutes, self._drawn, self.loss)

    def _lesson(
        self,
        learning_rate: float,
        minutes: float,
        draw: Callable[[np.random.Generator], list[Any]],
        loss_of: Callable[[Any], Tensor],
    ) -> Iterator[Progress]:
        settings, begun = self.settings, time.monotonic() - 60 * self._spent
        saved, samples, first = time.monotonic(), 0, self.step
        rng = np.random.default_rng((settings.seed, self.step, LESSONS.index(self.lesson)))
        ended = False
        while not ended:
            losses = []
            for batch in draw(rng):
                self._spent = (time.monotonic() - begun) / 60
                share = self._spent / minutes
                if settings.steps is not None:
                    share = (self.step - first) / settings.steps
                ended = share >= 1
                if ended:
                    break
                losses.append(self._learn(loss_of(batch), learning_rate, share))
                samples += len(batch)
            if losses:
                progress = Progress(self.lesson, self.step, samples, self._spent, sum(losses) / len(losses))
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
        self.voice.save(output, self.speech)
        whole = {
            "weights": {name: weight.detach() for name, weight in self.voice.taught().items()},
            "optimiser": self._optimiser.state_dict(),
            "lesson": self.lesson,
            "step": self.step,
            "spent": self._spent,
            "trunk": dict(self.speech.trunk),
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
            seen = self.voice.seen(encoded["poses"])
        hidden = self.voice.language_model(
            inputs_embeds=self.voice.placed(encoded["input_ids"], *seen),
            attention_mask=encoded["attention_mask"],
            use_cache=False,
        ).last_hidden_state
        labels = encoded["labels"][:, 1:]
        wanted = labels != IGNORED_LABEL
        logits = self.voice.head(hidden[:, :-1][wanted])  # (K, V)
        return functional.cross_entropy(logits, self._place[labels[wanted]])

    def _misread(self, lesson: Lesson) -> Tensor:
        return reading_loss(self.voice, lesson)

    def _learn(self, loss: Tensor, learning_rate: float, share: float) -> float:
        rate = min(1.0, (self.step + 1) / self.settings.warmup_steps)
        rate *= min(1.0, (1.0 - share) / self.settings.decay_share)
        for group in self._optimiser.param_groups:
            group["lr"] = learning_rate * rate
        self._optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._weights, 1.0)
        self._optimiser.step()
        self.step += 1
        return float(loss.detach())

    def _lessons(self, rng: np.random.Generator) -> list[Lesson]:
        size = self.settings.reader_batch
        return draw_lesson(self.sampler, rng, CHUNK_BATCHES * size).batches(size)

    def _drawn(self, rng: np.random.Generator) -> list[list[Sample]]:
        """Batches in random order, each of one kind and of replies of about one length."""
        size = self.settings.batch
        paired = int(rng.binomial(CHUNK_BATCHES, self.settings.pairs))
        drawn = self.sampler.descriptions(rng, size * (CHUNK_BATCHES - paired))
        pairs = self.sampler.differences(rng, size * paired)
        for some in (drawn, pairs):
            some.sort(key=lambda sample: len(sample.reply or ""))
        batches = [some[at : at + size] for some in (drawn, pairs) for at in range(0, len(some), size)]
        order = rng.permutation(len(batches))
        return [batches[number] for number in order]

    def _resume(self) -> None:
        file = self.settings.output / CHECKPOINT
        if not file.is_file():
            return
        held: dict[str, Any] = torch.load(file, weights_only=True)
        if held["trunk"] != self.speech.trunk:
            raise ValueError(
                f"{file} was trained on other weights than those in {self.settings.model}: begin anew"
            )
        taught = self.voice.taught()
        if {name: weight.shape for name, weight in held["weights"].items()} != {
            name: weight.shape for name, weight in taught.items()
        }:
            raise ValueError(
                f"{file} has other layers or readers than the settings: set layers and reader_width, or begin anew"
            )
        with torch.no_grad():
            for name, weight in taught.items():
                weight.copy_(held["weights"][name])
        self._begin(held["lesson"])
        self._optimiser.load_state_dict(held["optimiser"])
        self.step, self._spent = held["step"], held["spent"]


def said_tokens(processor: PoseLlavaProcessor) -> tuple[int, ...]:
    """Every token of the sentences that are taught, and the one that ends a text."""
    tokenizer = processor.prompter.tokenizer
    found = {token for words in vocabulary() for token in tokenizer.ids(words)}
    return tuple(sorted(found | {tokenizer.eos_id}))


def train_speech(settings: SpeechSettings, *, resume: bool, report: Callable[[Progress], None]) -> None:
    """A whole run."""
    for progress in Trainer(settings, resume=resume).run():
        report(progress)
