# SPDX-License-Identifier: Apache-2.0
"""Trains the retrieval model on poses of the train split and the project's own descriptions of them, or on the texts
and poses of a data set, such as PoseScript's.

Every batch is drawn anew; of the project's own descriptions no pose has two alike, and nothing is kept on disk.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import torch

from training.data.samples import Sample
from training.data.shards import SampleSource
from training.data.show import vocabulary

from .metrics import draw_pools
from .retrieval import RetrievalModel
from .scoring import POOL, RECALL_AT, words_and_poses

VOCABULARY_TEXTS: Final = 5000
CHUNK_BATCHES: Final = 16
"""Descriptions are drawn for this many batches at once, which is faster."""
WARM_UP: Final = 0.05


@dataclass(frozen=True)
class RetrievalSettings:
    """How long and how fast."""

    steps: int = 2000
    batch: int = 128
    learning_rate: float = 1e-3
    seed: int = 0


@dataclass(frozen=True)
class Progress:
    """Where training stands: steps done and the mean loss since the last report."""

    step: int
    loss: float


class TextSampler(Protocol):
    """Where descriptions with their poses come from."""

    def draw_many(self, rng: np.random.Generator, count: int) -> list[Sample]:
        """``count`` samples with an instruction that describes the target pose."""
        ...


class DatasetTexts:
    """The texts of a data set: its samples of the task ``generate``.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: there are none.
    """

    def __init__(self, source: Path) -> None:
        data = SampleSource(source)
        rows = (data.read(shard, row) for shard, size in enumerate(data.sizes) for row in range(size))
        self.samples = [row for row in rows if row.task == "generate" and row.target_aa is not None]
        if not self.samples:
            raise ValueError(f"{source} has no samples of the task generate: descriptions with their poses")

    def draw_many(self, rng: np.random.Generator, count: int) -> list[Sample]:
        """``count`` at random; each at most once, as far as there are as many."""
        chosen = rng.choice(len(self.samples), count, replace=count > len(self.samples))
        return [self.samples[row] for row in chosen]


def new_model(sampler: TextSampler, seed: int) -> RetrievalModel:
    """An untrained model that knows the words of the sampler's descriptions."""
    torch.manual_seed(seed)
    words = vocabulary(sampler.draw_many(np.random.default_rng(seed), VOCABULARY_TEXTS))
    return RetrievalModel(sorted(words))


def train_retrieval(
    model: RetrievalModel, sampler: TextSampler, settings: RetrievalSettings
) -> Iterator[Progress]:
    """Trains the model in place; yields after every chunk of batches."""
    rng = np.random.default_rng((settings.seed, 1))
    optimiser = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, partial(_share_of_rate, steps=settings.steps))
    model.train()
    step = 0
    while step < settings.steps:
        batches = min(CHUNK_BATCHES, settings.steps - step)
        drawn = sampler.draw_many(rng, batches * settings.batch)
        total = 0.0
        for number in range(batches):
            batch = drawn[number * settings.batch : (number + 1) * settings.batch]
            loss = model.loss(
                model.texts([sample.instruction for sample in batch]), model.poses(_targets(batch))
            )
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            total += float(loss.detach())
        step += batches
        yield Progress(step, total / batches)
    model.eval()


def recall(model: RetrievalModel, sampler: TextSampler, *, count: int, seed: int = 0) -> dict[str, float]:
    """R@K in per cent in pools of 100, words to pose and pose to words, on what the sampler draws."""
    samples = sampler.draw_many(np.random.default_rng(seed), count)
    texts = model.embed_texts([sample.instruction for sample in samples])
    poses = model.embed_poses(_targets(samples).numpy())
    pools = draw_pools(np.random.default_rng(seed), count, POOL)
    return {
        f"{name}_at_{k}": 100.0 * float((place <= k).mean())
        for name, place in words_and_poses(texts, poses, pools).items()
        for k in RECALL_AT
    }


def _targets(samples: list[Sample]) -> torch.Tensor:
    """(N, J, 3)."""
    return torch.from_numpy(
        np.stack([sample.target_aa for sample in samples if sample.target_aa is not None])
    )


def _share_of_rate(step: int, *, steps: int) -> float:
    """Linear warm-up, then a cosine to zero."""
    return min((step + 1) / max(1.0, WARM_UP * steps), 0.5 + 0.5 * math.cos(math.pi * step / steps))
