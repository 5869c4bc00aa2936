# SPDX-License-Identifier: Apache-2.0
"""Samples a second of mini's stage 3 on two cores, beside a plain padded loop over the same samples.

The samples are constructed edits, short and compound, descriptions and pictures (noise: what they show costs nothing).
The training's own way: batches of like lengths, logits at labels only, features of the frozen tower kept. The
plain loop: batches in the order drawn, padded to the longest, logits everywhere, the tower run every time. Both
do the whole step, optimiser included, after a first pass that fills the cache, in turns, so that other load on the
machine hits both.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from backend.model import PoseLlavaForConditionalGeneration
from training.data.directives.descriptions import DescriptionSampler
from training.data.directives.sampler import DirectiveSampler
from training.data.samples import Sample
from training.data.starts import StartPoses
from training.stages.batches import Batch, Collator
from training.stages.feature_cache import CachedTower
from training.stages.initialise import FreshModel, fresh_model
from training.stages.objectives import instruct, instruction_terms, weighted_sum
from training.stages.parts import parameter_groups, prepare_parts
from training.stages.settings import load_settings, parse, read_yaml

CONFIGS = Path(__file__).parents[1] / "training" / "configs"
BATCH = 32
SAMPLES = 8 * BATCH
PICTURES = 48
ROUNDS = 2


def samples() -> list[Sample]:
    """The mixture that both loops see."""
    rng = np.random.default_rng(0)
    edits, descriptions = DirectiveSampler(StartPoses(None)), DescriptionSampler()
    drawn = [edits.draw(rng) for _ in range(SAMPLES // 2)]
    drawn += [descriptions.draw(rng) for _ in range(SAMPLES // 2 - PICTURES)]
    for _ in range(PICTURES):
        noise = rng.integers(0, 255, (112, 112, 3), dtype=np.uint8)
        drawn.append(Sample("", "estimate", "noise", "", target_aa=drawn[0].target_aa, image=noise))
    return [drawn[index] for index in rng.permutation(len(drawn))]


def our_batches(drawn: list[Sample], collator: Collator) -> Iterator[Batch]:
    """Sorted by length, as the stream gives them."""
    ordered = sorted(drawn, key=collator.length)
    for start in np.random.default_rng(1).permutation(range(0, len(ordered), BATCH)):
        yield collator.instructions(ordered[start : start + BATCH])


def plain_batches(drawn: list[Sample], collator: Collator) -> Iterator[Batch]:
    """As drawn."""
    for start in range(0, len(drawn), BATCH):
        yield collator.instructions(drawn[start : start + BATCH])


def main() -> None:
    """Times both loops in turns."""
    torch.set_num_threads(min(2, os.cpu_count() or 1))
    settings = load_settings(CONFIGS / "mini_stage3.yaml")
    model, processor = fresh_model(
        parse(FreshModel, read_yaml(CONFIGS / "mini_model.yaml"), "mini_model.yaml")
    )
    prepare_parts(model, settings.trainable)
    optimiser = torch.optim.AdamW(parameter_groups(model, settings.optimiser), lr=1e-4, fused=True)
    collator, drawn = Collator(processor), samples()
    tower = model.model.vision_tower

    def our_loss(batch: Batch) -> torch.Tensor:
        return weighted_sum(
            instruction_terms(instruct(model, batch), batch, settings.losses), settings.losses
        )

    def plain_loss(batch: Batch) -> torch.Tensor:
        return loss_with_all_logits(model, batch, settings.losses)

    def seconds(batches: Iterator[Batch], loss_of: Callable[[Batch], torch.Tensor]) -> float:
        start = time.perf_counter()
        for batch in batches:
            loss_of(batch).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            optimiser.zero_grad()
        return time.perf_counter() - start

    ours, plain = [], []
    with tempfile.TemporaryDirectory() as folder:
        cached = CachedTower(tower, Path(folder), model.config.vision_feature_layer)
        for number in range(ROUNDS + 1):
            model.model.vision_tower = cached
            our_time = seconds(our_batches(drawn, collator), our_loss)
            model.model.vision_tower = tower
            plain_time = seconds(plain_batches(drawn, collator), plain_loss)
            if number > 0:
                ours.append(our_time)
                plain.append(plain_time)
    value, reference = len(drawn) / min(ours), len(drawn) / min(plain)
    print(
        json.dumps(
            {
                "name": "train_samples_per_s",
                "value": round(value, 1),
                "unit": "samples/s",
                "speedup": round(value / reference, 2),
                "plain": round(reference, 1),
                "threads": torch.get_num_threads(),
            }
        )
    )


def loss_with_all_logits(
    model: PoseLlavaForConditionalGeneration, batch: Batch, weights: dict[str, float]
) -> torch.Tensor:
    """The same loss as training's, with the logits of every position."""
    inputs = dict(batch.inputs)
    labels = inputs.pop("labels")
    output = model(**inputs, use_cache=False)
    logits = output.logits[:, :-1].flatten(0, 1).float()
    output["text_loss"] = functional.cross_entropy(logits, labels[:, 1:].flatten())
    return weighted_sum(instruction_terms(output, batch, weights), weights)


if __name__ == "__main__":
    main()
