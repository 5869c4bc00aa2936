# SPDX-License-Identifier: Apache-2.0
"""Trains the tables' contestants, each for the same time on the samples of its tasks; one set serves all tables."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from safetensors.torch import load_model, save_model

from training.data.captions.sampler import CaptionSampler
from training.data.pool import PosePool
from training.data.posepart import PairSampler, PairSettings
from training.data.samples import Sample
from training.data.shards import SampleSource
from training.data.show import vocabulary
from training.evaluate.benchmarks import TASKS
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


@dataclass(frozen=True)
class Recipe:
    """What a contestant is and sees: ``vae`` reads text, ``vae+pose`` the start too; the others are language models."""

    form: str
    data: tuple[str, ...]


ROSTER: Final[dict[str, Recipe]] = {
    "PoseScript": Recipe("vae", ("generation",)),
    "PoseFix": Recipe("vae+pose", ("posefix", "posepart")),
    "ChatPose": Recipe("chatpose", ("generation", "posefix", "posepart")),
    "PoseLLaVA": Recipe("posellava", ("generation", "posefix", "posepart")),
    "PoseFix only": Recipe("posellava", ("posefix",)),
    "PosePart only": Recipe("posellava", ("posepart",)),
    "both": Recipe("posellava", ("posefix", "posepart")),
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


def listed_data(suite: str, path: Path) -> DrawSamples:
    """Samples of a data set for a suite: those of its task. Raises FileNotFoundError, and ValueError where none are."""
    source = SampleSource(path)
    rows = (source.read(shard, row) for shard, size in enumerate(source.sizes) for row in range(size))
    samples = [row for row in rows if row.task == TASKS[suite] and row.target_aa is not None]
    if not samples:
        raise ValueError(f"{path} has no samples of the task {TASKS[suite]} with a target pose")
    return lambda rng, count: [samples[row] for row in rng.integers(len(samples), size=count)]


def contestant(
    name: str, data: dict[str, DrawSamples], effort: Effort, folder: Path, about: dict[str, str],
    say: Callable[[str], None],
) -> Contestant:  # fmt: skip
    """A contestant of ``ROSTER``: that of an earlier table of the same run, or trained now.

    Args:
        name: which.
        data: where samples of each suite come from.
        effort: how long.
        folder: where the contestants are kept.
        about: what the samples are made of; with other data another contestant is trained.
        say: told of progress.
    """
    recipe = ROSTER[name]
    key = {**asdict(effort), "form": recipe.form, "data": {suite: about[suite] for suite in recipe.data}}
    weights, facts = (folder / f"{name.replace(' ', '-')}{suffix}" for suffix in (".safetensors", ".json"))
    known = json.loads(facts.read_text(encoding="utf-8")) if facts.is_file() else {}
    if known.get("key") == key and weights.is_file():
        model = _new(recipe, known["words"], effort.seed)
        load_model(model, weights)
        say(f"{name}: trained before, on {known['samples']} samples")
        return model.eval()
    draws = [data[suite] for suite in recipe.data]
    words = _words(draws, effort.seed) if recipe.form.startswith("vae") else []
    model = _new(recipe, words, effort.seed)
    samples, loss = _train(model, draws, effort)
    say(f"{name}: {samples} samples in {effort.minutes:g} minutes at most, loss {loss:.3f}")
    folder.mkdir(parents=True, exist_ok=True)
    with writing_to(folder):
        save_model(model, str(weights))
        facts.write_text(json.dumps({"key": key, "words": words, "samples": samples}), encoding="utf-8")
    return model.eval()


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
