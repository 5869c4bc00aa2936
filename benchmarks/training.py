# SPDX-License-Identifier: Apache-2.0
"""Samples a second of mini's stage 3 on this machine's CPU, beside a plain padded loop over the same samples.

*Ours* is ``posellava train stage3`` as ``make train-mini`` runs it: its configuration, its processes and threads,
DeepSpeed's engine, samples read from shards; what its own log says, without the first steps. *Plain* is what one
writes first: one process with two threads; batches in the order drawn, padded to their longest sample; logits at every
position; torch's AdamW as it comes. Both see the same samples (mixed as the configuration says; the pictures are noise,
since what they show costs nothing), take the same global batch, minimise the same losses, start from the same weights.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from backend.model import PoseLlavaForConditionalGeneration
from training.data.build import run as build_shards
from training.data.build import write_index
from training.data.registry import Build
from training.data.samples import Sample
from training.data.shards import SampleSource, shard_name, write_shard
from training.data.stream import BatchStream, WeightedSource
from training.recipe import load_recipe, step_settings
from training.stages.batches import Batch, Collator
from training.stages.initialise import start_model
from training.stages.objectives import instruction_terms, weighted_sum
from training.stages.parts import parameter_groups, prepare_parts
from training.stages.settings import (
    ModelSettings,
    SourceSettings,
    TrainSettings,
    save_settings,
)
from training.stages.training_log import read_metrics

CONFIGS = Path(__file__).parents[1] / "training" / "configs"
STEPS = 30
WARM_STEPS = 6
"""Left out of the measurement: threads start, memory is taken, caches fill."""
SAMPLES = 640


def write_samples(settings: TrainSettings, folder: Path) -> TrainSettings:
    """Draws samples for every source of a configuration; returns it with their folders."""
    weights = {name: source.weight for name, source in settings.data.sources.items()}
    sources = {}
    for name, weight in weights.items():
        count = max(8, round(SAMPLES * weight / sum(weights.values())))
        path = folder / name
        if name == "pictures":
            path.mkdir()
            write_shard(path / shard_name(0), noise_pictures(count))
            write_index(path, {}, [count])
        else:
            for _ in build_shards(Build(name, path, count, shard_size=count)):
                pass
        sources[name] = SourceSettings(path, weight)
    cache = None if settings.data.feature_cache is None else folder / "features"
    data = replace(settings.data, sources=sources, validation=None, feature_cache=cache)
    model = ModelSettings(folder / "initial", fresh=CONFIGS / "mini_model.yaml")
    run = replace(settings.run, steps=STEPS, max_minutes=0.0, checkpoint_steps=STEPS, log_steps=1)
    return replace(settings, output=folder / "run", model=model, data=data, run=run)


def noise_pictures(count: int) -> list[Sample]:
    """Pictures to estimate a pose from."""
    rng = np.random.default_rng(0)
    pose = np.zeros((24, 3), dtype=np.float32)
    pictures = rng.integers(0, 255, (count, 112, 112, 3), np.uint8)
    return [
        Sample(f"noise-{number}", "estimate", "noise", "", target_aa=pose, image=picture)
        for number, picture in enumerate(pictures)
    ]


def our_rate(settings: TrainSettings, processes: int) -> float:
    """Samples a second of the training itself, over its steps after the first."""
    config = settings.output.with_suffix(".yaml")
    save_settings(settings, config)
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    command = [sys.executable, *(launcher if processes > 1 else []), "-m", "training"]
    done = subprocess.run(
        [*command, "train", settings.stage, "--config", str(config)],
        env={**os.environ, "OMP_NUM_THREADS": str(settings.run.threads)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"the training failed: {done.stderr[-2000:]}")
    lines = read_metrics(settings.output / "metrics.jsonl")
    return statistics.harmonic_mean(line["samples_per_s"] for line in lines if line["step"] > WARM_STEPS)


def plain_rate(settings: TrainSettings, batch_size: int) -> float:
    """Samples a second of the plain loop, over its steps after the first."""
    torch.set_num_threads(min(2, os.cpu_count() or 1))
    torch.manual_seed(settings.seed)
    model, processor = start_model(settings.model, dtype=torch.float32, attention=settings.run.attention)
    prepare_parts(model, settings.trainable)
    parameters = [group["params"] for group in parameter_groups(model, settings.optimiser)]
    optimiser = torch.optim.AdamW([{"params": group} for group in parameters], lr=1e-4)
    rates, batches = [], plain_batches(settings, Collator(processor), batch_size)
    for step in range(1, STEPS + 1):
        start = time.perf_counter()
        loss = loss_with_all_logits(model, next(batches), settings.losses)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        if step > WARM_STEPS:
            rates.append(batch_size / (time.perf_counter() - start))
    return statistics.harmonic_mean(rates)


def plain_batches(settings: TrainSettings, collator: Collator, batch_size: int) -> Iterator[Batch]:
    """The training's samples as they are drawn."""
    sources = [
        WeightedSource(name, SampleSource(source.path), source.weight)
        for name, source in settings.data.sources.items()
    ]
    stream = BatchStream(sources, batch_size=batch_size, seed=settings.seed, length=collator.length, window=1)
    for samples in stream:
        yield collator.instructions(samples)


def loss_with_all_logits(
    model: PoseLlavaForConditionalGeneration, batch: Batch, weights: dict[str, float]
) -> torch.Tensor:
    """The same loss as training's, with the logits of every position."""
    inputs = dict(batch.inputs)
    labels = inputs.pop("labels")
    output = model(**inputs, use_cache=False)
    logits = output.logits[:, :-1].flatten(0, 1).float()
    output["text_loss"] = functional.cross_entropy(logits, labels[:, 1:].flatten())
    output["logits"] = output.logits[:, :-1][labels[:, 1:] != -100]  # as training's terms expect them
    return weighted_sum(instruction_terms(output, batch, weights), weights)


def main() -> None:
    """Measures both."""
    recipe = load_recipe()
    with tempfile.TemporaryDirectory() as folder:
        settings = write_samples(step_settings(recipe, "stage3", Path(folder)), Path(folder))
        plain = plain_rate(settings, settings.run.micro_batch * recipe.processes)
        ours = our_rate(settings, recipe.processes)
    print(
        json.dumps(
            {
                "name": "train_samples_per_s",
                "value": round(ours, 1),
                "unit": "samples/s",
                "speedup": round(ours / plain, 2),
                "plain": round(plain, 1),
                "batch": settings.run.micro_batch * recipe.processes,
                "processes": recipe.processes,
                "threads": settings.run.threads,
            }
        )
    )


if __name__ == "__main__":
    main()
