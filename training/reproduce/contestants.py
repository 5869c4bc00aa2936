# SPDX-License-Identifier: Apache-2.0
"""Trains the tables' contestants, each for the same time on the samples of its tasks; one set serves all tables."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from safetensors.torch import load_model, save_model

from backend.query import Answer
from training.data.captions.sampler import CaptionSampler
from training.data.pool import PosePool
from training.data.posepart import PairSampler, PairSettings
from training.data.samples import Sample
from training.data.shards import SampleSource
from training.data.show import vocabulary
from training.evaluate.benchmarks import TASKS, pose_pool
from training.writing import writing_to

from .baselines import PoseVae
from .forms import FormModel

DrawSamples = Callable[[np.random.Generator, int], list[Sample]]
Contestant = PoseVae | FormModel

RATE: Final = 1e-3
BATCH: Final = 32
CHUNK: Final = 24
"""Batches that are drawn at once, which is faster."""
VOCABULARY_TEXTS: Final = 2000
NEVER: Final = 10**9
AT_ONCE: Final = 64
"""Samples that are asked for at once."""


@dataclass(frozen=True)
class Recipe:
    """What a contestant is and sees: ``vae`` reads text, ``vae+pose`` the start too; the others are language models.

    Of each suite named in ``data`` it sees as much as of any other; one that is named twice, twice as much.
    """

    form: str
    data: tuple[str, ...]


ROSTER: Final[dict[str, Recipe]] = {
    "PoseScript": Recipe("vae", ("generation",)),
    "PoseFix": Recipe("vae+pose", ("posefix", "posepart")),
    "ChatPose": Recipe("chatpose", ("generation", "posefix", "posepart")),
    "PoseLLaVA": Recipe("posellava", ("generation", "posefix", "posepart")),
    # PoseLLaVA learnt from both. These see as many edits in as many samples, all of one kind.
    "PoseFix only": Recipe("posellava", ("generation", "posefix", "posefix")),
    "PosePart only": Recipe("posellava", ("generation", "posepart", "posepart")),
}


@dataclass(frozen=True)
class Effort:
    """How long each contestant trains, in minutes of a core, and from which numbers. ``steps`` ends it earlier.

    Of a core, not of the clock: on a busy machine all would see fewer samples, and not equally fewer.
    """

    minutes: float = 2.0
    steps: int = NEVER
    seed: int = 0


def own_data(pool: PosePool) -> dict[str, DrawSamples]:
    """Samples of the project's own, by suite: made of a pool's poses."""
    return {
        "generation": CaptionSampler(pool).draw_many,
        "posefix": PairSampler(pool, PairSettings(several=True)).draw_many,
        "posepart": PairSampler(pool, PairSettings()).draw_many,
    }


def from_dataset(suite: str, path: Path) -> DrawSamples:
    """Samples of a data set for a suite: those of its task. Raises FileNotFoundError, and ValueError where none are."""
    source = SampleSource(path)
    rows = (source.read(shard, row) for shard, size in enumerate(source.sizes) for row in range(size))
    samples = [row for row in rows if row.task == TASKS[suite] and row.target_aa is not None]
    if not samples:
        raise ValueError(f"{path} has no samples of the task {TASKS[suite]} with a target pose")
    return lambda rng, count: [samples[row] for row in rng.integers(len(samples), size=count)]


@dataclass(frozen=True)
class Sources:
    """What contestants are trained on: a file or folder of poses, or None for constructed ones, and for each suite a
    data set that takes its place."""

    poses: Path | None
    datasets: Mapping[str, Path]

    def about(self, suite: str) -> str:
        """What a suite's samples are made of; with other data another contestant is trained."""
        return str(self.datasets.get(suite, self.poses or "constructed poses"))

    def draws(self, suites: Sequence[str]) -> list[DrawSamples]:
        """What draws the samples of each suite. Raises as ``from_dataset``."""
        own = own_data(pose_pool(self.poses, "train")) if set(suites) - set(self.datasets) else {}
        return [
            from_dataset(suite, self.datasets[suite]) if suite in self.datasets else own[suite]
            for suite in suites
        ]


@dataclass(frozen=True)
class Training:
    """How the contestants of a run are trained, and the folder in which they are kept for its other tables."""

    sources: Sources
    effort: Effort
    folder: Path

    def kept(self, name: str) -> tuple[Contestant, int] | None:
        """A contestant that was trained before in just this way, with the samples that it saw; None where there is
        none."""
        weights, facts = self._files(name)
        known = json.loads(facts.read_text(encoding="utf-8")) if facts.is_file() else {}
        if known.get("key") != self._key(name) or not weights.is_file():
            return None
        model = _new(ROSTER[name], known["words"], self.effort.seed)
        if known.get("made_of") != made_of(model):
            return None
        load_model(model, weights)
        return model.eval(), int(known["samples"])

    def train(self, name: str) -> str:
        """Trains a contestant and keeps it; returns what is to be told."""
        recipe, seed = ROSTER[name], self.effort.seed
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # minutes are of a core
        try:
            draws = self.sources.draws(recipe.data)
            words = _words(draws, seed) if recipe.form.startswith("vae") else []
            model = _new(recipe, words, seed)
            samples, loss = _train(model, draws, self.effort)
        finally:
            torch.set_num_threads(threads)
        weights, facts = self._files(name)
        self.folder.mkdir(parents=True, exist_ok=True)
        with writing_to(self.folder):
            save_model(model, str(weights))
            known = {
                "key": self._key(name), "made_of": made_of(model), "words": words, "samples": samples,
            }  # fmt: skip
            facts.write_text(json.dumps(known), encoding="utf-8")
        return (
            f"{name}: {samples} samples in {self.effort.minutes:g} minutes of a core at most, loss {loss:.3f}"
        )

    def _files(self, name: str) -> tuple[Path, Path]:
        stem = name.replace(" ", "-")
        return self.folder / f"{stem}.safetensors", self.folder / f"{stem}.json"

    def _key(self, name: str) -> dict[str, Any]:
        recipe = ROSTER[name]
        data = [[suite, self.sources.about(suite)] for suite in recipe.data]
        return {**asdict(self.effort), "form": recipe.form, "data": data}


def trained(
    names: Sequence[str], training: Training, *, processes: int, say: Callable[[str], None]
) -> dict[str, tuple[Contestant, int]]:
    """Contestants of ``ROSTER`` with the samples that each saw: those of an earlier table of the run, or trained now.

    Args:
        names: which.
        training: on what and how long.
        processes: how many are trained at a time.
        say: told of progress.
    """
    missing = []
    for name in names:
        kept = training.kept(name)
        if kept is None:
            missing.append(name)
        else:
            say(f"{name}: trained before, on {kept[1]} samples")
    if processes == 1 or len(missing) == 1:
        for name in missing:
            say(training.train(name))
    elif missing:
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            for sentence in pool.map(training.train, missing):
                say(sentence)
    found = {name: training.kept(name) for name in names}
    return {name: kept for name, kept in found.items() if kept is not None}


def answers_to(answer: Callable[[Sequence[Sample]], list[Answer]], samples: Sequence[Sample]) -> list[Answer]:
    """The answers to all samples, AT_ONCE at a time."""
    with torch.inference_mode():
        return [
            reply
            for first in range(0, len(samples), AT_ONCE)
            for reply in answer(samples[first : first + AT_ONCE])
        ]


def made_of(model: Contestant) -> str:
    """What weights must fit beside their shapes: the words that each row of the embeddings is of, and the wording. With
    another version of the project they may be others, and the weights would be read as if they were not."""
    shapes = {name: list(value.shape) for name, value in model.state_dict().items()}
    told: dict[str, Any] = {"shapes": shapes}
    if isinstance(model, FormModel):
        told |= {"vocabulary": model.processor.tokenizer.get_vocab(), "templates": model.processor.templates}
    return sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def _new(recipe: Recipe, words: Sequence[str], seed: int) -> Contestant:
    torch.manual_seed(seed)
    if recipe.form.startswith("vae"):
        return PoseVae(words, corrects=recipe.form == "vae+pose")
    return FormModel("chatpose" if recipe.form == "chatpose" else "posellava", seed)


def _words(draws: Sequence[DrawSamples], seed: int) -> list[str]:
    rng = np.random.default_rng((seed, 2))
    texts = [sample for draw in draws for sample in draw(rng, VOCABULARY_TEXTS // len(draws))]
    return sorted(vocabulary(texts))


def _train(model: Contestant, draws: Sequence[DrawSamples], effort: Effort) -> tuple[int, float]:
    """Trains in place; returns the number of samples seen and the mean loss of the last batches."""
    rng = np.random.default_rng((effort.seed, 3))
    optimiser = torch.optim.AdamW(
        [value for value in model.parameters() if value.requires_grad], lr=RATE, weight_decay=0.01
    )
    model.train()
    start, step, losses = time.process_time(), 0, [0.0]
    batches: list[list[Sample]] = []
    while True:
        done = max((time.process_time() - start) / (60 * effort.minutes), step / effort.steps)
        if done >= 1:
            break
        if not batches:
            each = min(CHUNK, effort.steps) * BATCH // len(draws)
            drawn = [sample for draw in draws for sample in draw(rng, each)]
            order = rng.permutation(len(drawn))
            batches = [
                [drawn[row] for row in order[first : first + BATCH]] for first in range(0, len(order), BATCH)
            ]
        for group in optimiser.param_groups:
            group["lr"] = RATE * min((step + 1) / 50, 0.5 + 0.5 * math.cos(math.pi * done))
        loss = model.loss(batches.pop())
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        losses.append(float(loss.detach()))
        step += 1
    return step * BATCH, float(np.mean(losses[-50:]))
