# SPDX-License-Identifier: Apache-2.0
"""The training loop of all three stages.

Choices: one stream of samples for all processes, of which each takes its rows; the learning rate is set from the
step and the clock and never stored; a validation precedes each checkpoint, so every checkpoint has a loss to be judged
by; a signal to stop ends the step in hand, writes a checkpoint and leaves.
"""

from __future__ import annotations

import itertools
import math
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from training.claim import claimed
from training.data.samples import Sample
from training.data.shards import SampleSource
from training.data.stream import BatchStream, StreamState, WeightedSource
from training.writing import is_disk_full

from .batches import Batch, Collator
from .checkpoints import Checkpoints, Progress, TrainingStopped
from .feature_cache import LAST, CachedTower
from .feeding import fed
from .gauges import memory_gb
from .initialise import start_model
from .journal import Journal
from .launch import (
    gradient_norm,
    has_bfloat16,
    join_processes,
    rank,
    start_engine,
    summed,
    union,
    world,
)
from .objectives import (
    align,
    alignment_measures,
    alignment_terms,
    check_terms,
    instruct,
    instruction_measures,
    instruction_terms,
    stage1_task,
    weighted_sum,
)
from .parts import prepare_parts
from .schedule import Schedule
from .settings import SETTINGS_FILE, DataSettings, TrainSettings, save_settings


@dataclass(frozen=True)
class StageTask:
    """What differs between the stages: how batches are made, the pass, what is minimised, what is measured."""

    collate: Callable[[list[Sample], list[Sample]], Batch]
    forward: Callable[[nn.Module, Batch], Any]
    terms: Callable[[Any, Batch, Mapping[str, float]], dict[str, Tensor]]
    measures: Callable[[Any, Batch], dict[str, Tensor]]


def train(settings: TrainSettings, *, resume: bool = False) -> None:
    """Trains one stage to its end.

    Args:
        settings: the configuration.
        resume: go on from the newest checkpoint in the output folder; without one, start.

    Raises:
        FileNotFoundError: the start model or the data are missing.
        ValueError: the configuration and the model or data do not fit, or the output folder holds a run already, or
            another process trains there.
        TrainingStopped: the loss is no number any more, or the disk is full.
    """
    check_terms(settings.stage, settings.losses)
    try:
        device = join_processes(settings)
        with claimed(settings.output) if rank() == 0 else nullcontext():
            Trainer(settings, device, resume=resume).run()
    except (OSError, RuntimeError) as error:
        if is_disk_full(error):
            raise TrainingStopped(
                f"the disk of {settings.output} is full: free some space and run the same command with --resume"
            ) from error
        raise


class Trainer:
    """One process of a run."""

    def __init__(self, settings: TrainSettings, device: torch.device, *, resume: bool) -> None:
        self.settings = settings
        self.device = device
        run = settings.run
        self.checkpoints = Checkpoints(settings.output / "checkpoints", run.keep)
        existing = self.checkpoints.names()
        if existing and not resume:
            raise ValueError(
                f"{settings.output} holds a run with checkpoints: add --resume to go on, or choose another output"
            )
        precision = run.precision
        self._autocasts = precision == "autocast" or (precision == "auto" and has_bfloat16(device))
        torch.manual_seed(settings.seed)
        dtype = torch.bfloat16 if run.precision == "bf16" else torch.float32
        model, processor = start_model(settings.model, dtype=dtype, attention=run.attention)
        # A start that had to be made has drawn numbers, one that was there has not.
        torch.manual_seed(settings.seed)
        if rank() == 0:
            save_settings(settings, settings.output / SETTINGS_FILE)
        self.collator = Collator(processor)
        self.stream, total = open_stream(settings, self.collator)
        self.validation = open_validation(settings.data, self.collator)
        steps = run.steps or max(
            1, round(run.epochs * total / (run.micro_batch * world() * run.accumulation))
        )
        self.schedule = Schedule(steps, 60 * run.max_minutes, settings.optimiser)
        if run.gradient_checkpointing:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        wrapped = prepare_parts(model, settings.trainable)
        if settings.data.feature_cache is not None:
            layer = LAST if settings.stage == "stage1" else model.config.vision_feature_layer
            if layer != LAST and processor.prompter.sees_poses and model.pose_reader is None:
                raise ValueError(
                    "data.feature_cache keeps the layer that the projector reads, and <seen_pose> in the model's"
                    " templates needs the last one: leave feature_cache out"
                )
            tower = CachedTower(model.model.vision_tower, settings.data.feature_cache, layer)
            model.model.vision_tower = tower
        if settings.stage == "stage1":
            wrapped = stage1_task(model, settings.losses)
        self.task = stage_task(settings, self.collator)
        self.engine = start_engine(wrapped.to(device), settings)
        self.progress = Progress(0, 0.0, 0, self.stream.state())
        if existing:
            self.progress = self.checkpoints.load(self.engine, existing[-1])
            self.stream.restore(self.progress.stream)
        self.journal = Journal(settings.output, step=self.progress.step) if rank() == 0 else None
        self._stop_asked = False

    def run(self) -> None:
        """Steps until the schedule ends."""
        previous = {
            number: signal.signal(number, self._ask_to_stop) for number in (signal.SIGTERM, signal.SIGINT)
        }
        try:
            self._run()
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
            if self.journal is not None:
                self.journal.close()

    def _ask_to_stop(self, number: int, frame: FrameType | None) -> None:
        self._stop_asked = True

    def _run(self) -> None:
        run = self.settings.run
        passes = self._passes()
        self.engine.train()
        meter = _Meter()
        clock = time.monotonic()
        last_saved = self.progress.elapsed
        stopping = False
        while not stopping and self.schedule.progress(self.progress.step, self.progress.elapsed) < 1.0:
            rate = self.schedule.rate(self.progress.step, self.progress.elapsed)
            for group in self.engine.optimizer.param_groups:
                group["lr"] = rate * group["ratio"]
            terms: dict[str, float] = {}
            tokens = 0
            for number in range(run.accumulation):
                if number > 0:
                    self.engine.step()  # Between passes DeepSpeed only counts; the last one, below, updates.
                batch, stream = next(passes)
                tokens += batch.tokens
                for name, value in self._backward(batch).items():
                    terms[name] = terms.get(name, 0.0) + value / run.accumulation
            step = self.progress.step + 1
            clock_now = self.progress.elapsed + time.monotonic() - clock
            terms, tokens, elapsed, stopping = self._agree(terms, tokens, clock_now)
            clock = time.monotonic()
            self._require_finite(terms, step, batch.names)
            self.engine.step()
            count = run.micro_batch * world() * run.accumulation
            meter.add(terms, count, tokens)
            self.progress = replace(
                self.progress,
                step=step,
                elapsed=elapsed,
                samples=self.progress.samples + count,
                stream=stream,
            )
            if step % run.log_steps == 0 and self.journal is not None:
                self._log(meter.read(), rate)
            due = run.checkpoint_minutes > 0 and elapsed - last_saved >= 60 * run.checkpoint_minutes
            if step % run.checkpoint_steps == 0 or due or stopping:
                self.save()
                last_saved = elapsed
                clock = time.monotonic()
        if self.progress.step % run.checkpoint_steps != 0 and not stopping:
            self.save()
        if self.journal is not None:
            sentence = "stopped as asked; --resume goes on from here" if stopping else "training is complete"
            self.journal.say(f"step {self.progress.step}: {sentence}")

    def _backward(self, batch: Batch) -> dict[str, float]:
        """One pass; returns this process's terms."""
        with self._precision():
            output = self.task.forward(self.engine, batch)
        terms = self.task.terms(output, batch, self.settings.losses)
        loss = weighted_sum(terms, self.settings.losses)
        self.engine.backward(loss)
        return {name: float(term.detach()) for name, term in {**terms, "loss": loss}.items()}

    def _precision(self) -> AbstractContextManager[Any]:
        """What the forward pass runs in."""
        stack = ExitStack()
        if self._autocasts:
            stack.enter_context(torch.autocast(self.device.type, torch.bfloat16))
            if self.device.type == "cpu":
                # The fused attention's backward pass in bfloat16 takes four times the plain one's time there.
                stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        return stack

    def _agree(
        self, terms: dict[str, float], tokens: int, elapsed: float
    ) -> tuple[dict[str, float], int, float, bool]:
        """The terms' means over all processes, all tokens, the first one's clock, and whether any was asked to stop."""
        names = ["loss", *self.settings.losses]
        mine = [terms.get(name, 0.0) for name in names]
        if world() == 1:
            return dict(zip(names, mine, strict=True)), tokens, elapsed, self._stop_asked
        own_clock = elapsed if rank() == 0 else 0.0
        packed = torch.tensor([*mine, tokens, own_clock, float(self._stop_asked)], dtype=torch.float64)
        values = summed(packed.to(self.device)).tolist()
        means = {name: value / world() for name, value in zip(names, values, strict=False)}
        return means, round(values[-3]), values[-2], values[-1] > 0

    def _require_finite(self, values: Mapping[str, float], step: int, samples: list[str]) -> None:
        bad = [name for name, value in values.items() if not math.isfinite(value)]
        if bad:
            newest = self.checkpoints.names()[-1:]
            raise TrainingStopped(
                f"the loss ({', '.join(bad)}) is not a finite number at step {step}, samples "
                f"{', '.join(samples[:4])} …: lower the learning rate or look at those samples, then --resume "
                f"(newest checkpoint: {newest[0] if newest else 'none yet'})"
            )

    def _log(self, values: dict[str, float], rate: float) -> None:
        assert self.journal is not None
        done = self.schedule.progress(self.progress.step, self.progress.elapsed)
        left = self.progress.elapsed / max(done, 1e-9) * (1 - done)
        norm = gradient_norm(self.engine)
        gauges = {
            "learning_rate": rate,
            **({} if norm is None else {"gradient_norm": norm}),
            "memory_gb": memory_gb(self.device),
        }
        self.journal.train(self.progress.step, {**values, **gauges}, progress=done, seconds_left=left)

    def save(self) -> None:
        """Validates and writes a checkpoint; weights that give no finite loss are not written."""
        values = self.validate()
        self._require_finite(values, self.progress.step, [sample.id for sample in self.validation])
        loss, best = values.get("loss"), self.progress.best_loss
        is_best = loss is not None and (best is None or loss < best)
        if is_best:
            self.progress = replace(self.progress, best_loss=loss)
        if self.journal is not None and values:
            self.journal.validation(self.progress.step, values)
        self.checkpoints.save(self.engine, self.progress, is_best=is_best)

    def validate(self) -> dict[str, float]:
        """Means over the validation samples; empty where there are none."""
        if not self.validation:
            return {}
        self.engine.eval()
        sums: dict[str, float] = {}
        counts: dict[str, int] = {}
        for everyone in self._validation_batches():
            samples = everyone[rank() :: world()]
            batch = self.task.collate(samples, everyone).to(self.device)
            with torch.no_grad():
                with self._precision():
                    output = self.task.forward(self.engine, batch)
                terms = self.task.terms(output, batch, self.settings.losses)
                terms["loss"] = weighted_sum(terms, self.settings.losses)
                measures = self.task.measures(output, batch)
            for name in ("loss", *self.settings.losses):
                sums[name] = sums.get(name, 0.0) + float(terms.get(name, 0.0)) * len(samples)
                counts[name] = counts.get(name, 0) + len(samples)
            for name, values in measures.items():
                sums[name] = sums.get(name, 0.0) + float(values.double().sum())
                counts[name] = counts.get(name, 0) + len(values)
        self.engine.train()
        # A process whose rows have no pose measures less: all reduce the same names, in the same order.
        names = union(sums)
        mine = [[sums.get(name, 0.0), counts.get(name, 0)] for name in names]
        values = summed(torch.tensor(mine, dtype=torch.float64, device=self.device))
        return {
            name: float(total / max(count, 1)) for name, (total, count) in zip(names, values, strict=True)
        }

    def _validation_batches(self) -> Iterator[list[Sample]]:
        size = self.settings.run.micro_batch * world()
        for start in range(0, len(self.validation), size):
            yield self.validation[start : start + size]

    def _passes(self) -> Iterator[tuple[Batch, StreamState]]:
        """This process's part of each batch, with the stream's state after it."""
        if self.settings.data.workers:
            state = self.stream.state()
            for batch in self._fed():
                yield batch.to(self.device), state
            return

        def prepared() -> Iterator[tuple[Batch, StreamState]]:
            for samples in self.stream:
                yield self.task.collate(samples[rank() :: world()], samples), self.stream.state()

        ahead = self.settings.data.prefetch
        for batch, state in prefetched(prepared(), ahead) if ahead else prepared():
            yield batch.to(self.device), state

    def _fed(self) -> Iterator[Batch]:
        """This process's batches, from processes of its own."""
        data, run = self.settings.data, self.settings.run
        return fed(
            data.sources,
            lambda samples: self.task.collate(samples, samples),
            self.collator.length,
            batch_size=run.micro_batch,
            window=data.bucket_batches,
            seed=self.settings.seed + rank(),
            workers=data.workers,
        )


class _Meter:
    """Means since the last reading."""

    def __init__(self) -> None:
        self._restart()

    def _restart(self) -> None:
        self._sums: dict[str, float] = {}
        self._steps = 0
        self._samples = 0
        self._tokens = 0
        self._since = time.monotonic()

    def add(self, terms: Mapping[str, float], samples: int, tokens: int) -> None:
        for name, value in terms.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._steps += 1
        self._samples += samples
        self._tokens += tokens

    def read(self) -> dict[str, float]:
        values = {name: value / self._steps for name, value in self._sums.items()}
        values["samples_per_s"] = self._samples / (time.monotonic() - self._since)
        if self._tokens:
            values["tokens_per_s"] = self._tokens / (time.monotonic() - self._since)
        self._restart()
        return values


def prefetched(items: Iterator[Any], ahead: int) -> Iterator[Any]:
    """The items, made ``ahead`` of their use in a thread; an error in it is raised here."""
    ready: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(ahead)

    def work() -> None:
        try:
            for item in items:
                ready.put((item, None))
        except BaseException as error:
            ready.put((None, error))

    threading.Thread(target=work, daemon=True).start()
    while True:
        item, error = ready.get()
        if error is not None:
            raise error
        yield item


def stage_task(settings: TrainSettings, collator: Collator) -> StageTask:
    """What a stage does with samples."""
    if settings.stage == "stage1":
        return StageTask(collator.alignment, align, alignment_terms, alignment_measures)
    return StageTask(collator.instructions, instruct, instruction_terms, instruction_measures)


def open_stream(settings: TrainSettings, collator: Collator) -> tuple[BatchStream, int]:
    """The run's stream of samples, and how many samples its sources have."""
    sources = [
        WeightedSource(
            name, SampleSource(source.path, frame=source.frame), source.weight, varied=source.varied
        )
        for name, source in settings.data.sources.items()
    ]
    stream = BatchStream(
        sources,
        batch_size=settings.run.micro_batch * world(),
        seed=settings.seed,
        length=collator.length,
        window=settings.data.bucket_batches,
    )
    return stream, sum(len(source.source) for source in sources)


def open_validation(settings: DataSettings, collator: Collator) -> list[Sample]:
    """The validation samples, of like lengths side by side; as many as the processes can share evenly."""
    if settings.validation is None:
        return []
    source = SampleSource(settings.validation)
    places = ((shard, row) for shard, size in enumerate(source.sizes) for row in range(size))
    chosen = itertools.islice(places, settings.validation_samples)
    samples = [source.read(shard, row) for shard, row in chosen]
    samples.sort(key=collator.length)
    return samples[: len(samples) // world() * world()]
