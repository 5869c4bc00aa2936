# SPDX-License-Identifier: Apache-2.0
"""The training loop of all three stages.

Choices: one stream of samples for all processes, of which each takes its rows; the learning rate is set from the
step and the clock and never stored; a validation precedes each checkpoint, so every checkpoint has a loss to be judged
by; a signal to stop ends the step in hand, writes a checkpoint and leaves.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from types import FrameType
from typing import Any

import torch
from torch import nn

from backend.model import PoseLlavaForConditionalGeneration, PoseLlavaProcessor
from training.data.stream import StreamState
from training.run_lock import run_lock
from training.writing import is_disk_full

from .batches import Batch, Collator
from .by_task import TaskSums, names_of, sums_by_task
from .checkpoints import Checkpoints, Progress, TrainingStopped
from .feature_cache import with_cached_tower
from .initialise import start_model
from .launch import (
    gradient_norm,
    has_bfloat16,
    in_bfloat16,
    join_processes,
    norm_before_step,
    rank,
    start_engine,
    summed,
    world,
)
from .meter import Meter, memory_gb
from .objectives import check_terms, stage1_task, weighted_sum
from .parts import prepare_parts
from .schedule import Schedule
from .settings import SETTINGS_FILE, TrainSettings, save_settings
from .stages import stage_task
from .training_data import open_stream, open_validation, own_batches
from .training_log import TrainingLog
from .validation import validate


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
        with run_lock(settings.output) if rank() == 0 else nullcontext():
            Trainer(settings, device, resume=resume).run()
    except (OSError, RuntimeError) as error:
        if is_disk_full(error):
            raise TrainingStopped(
                f"the disk of {settings.output} is full: free some space and run the same command with --resume"
            ) from error
        raise


@dataclass
class _Step:
    """What one step's passes gave: mean terms, tokens, losses by task; of this process, then of all."""

    terms: dict[str, float] = field(default_factory=dict)
    tokens: int = 0
    of_tasks: TaskSums = field(default_factory=dict)

    def add(self, terms: Mapping[str, float], tokens: int, of_tasks: TaskSums, *, passes: int) -> None:
        for name, value in terms.items():
            self.terms[name] = self.terms.get(name, 0.0) + value / passes
        self.tokens += tokens
        for name, (total, count) in of_tasks.items():
            before = self.of_tasks.get(name, (0.0, 0.0))
            self.of_tasks[name] = (before[0] + total, before[1] + count)


class Trainer:
    """One process of a run."""

    def __init__(self, settings: TrainSettings, device: torch.device, *, resume: bool) -> None:
        self.settings = settings
        self.device = device
        self.checkpoints = Checkpoints(settings.output / "checkpoints", settings.run.keep)
        existing = self.checkpoints.names()
        if existing and not resume:
            raise ValueError(
                f"{settings.output} holds a run with checkpoints: add --resume to go on, or choose another output"
            )
        precision = settings.run.precision
        self._autocasts = precision == "autocast" or (precision == "auto" and has_bfloat16(device))
        model, processor = self._start_model()
        if rank() == 0:
            save_settings(settings, settings.output / SETTINGS_FILE)
        self.collator = Collator(processor)
        self.stream, total = open_stream(settings, self.collator)
        self.validation = open_validation(settings.data, self.collator)
        self.schedule = Schedule(self._steps(total), 60 * settings.run.max_minutes, settings.optimiser)
        self.task = stage_task(settings.stage, self.collator)
        self.engine = start_engine(self._learning(model, processor).to(device), settings)
        self.progress = Progress(0, 0.0, 0, self.stream.state())
        if existing:
            self.progress = self.checkpoints.load(self.engine, existing[-1])
            self.stream.restore(self.progress.stream)
        self.log = TrainingLog(settings.output, step=self.progress.step) if rank() == 0 else None
        self._stop_asked = False

    def _start_model(self) -> tuple[PoseLlavaForConditionalGeneration, PoseLlavaProcessor]:
        settings = self.settings
        dtype = torch.bfloat16 if settings.run.precision == "bf16" else torch.float32
        torch.manual_seed(settings.seed)
        model, processor = start_model(settings.model, dtype=dtype, attention=settings.run.attention)
        # A start that had to be made has drawn numbers, one that was there has not.
        torch.manual_seed(settings.seed)
        return model, processor

    def _steps(self, samples: int) -> int:
        run = self.settings.run
        return run.steps or max(
            1, round(run.epochs * samples / (run.micro_batch * world() * run.accumulation))
        )

    def _learning(self, model: PoseLlavaForConditionalGeneration, processor: PoseLlavaProcessor) -> nn.Module:
        """The model with the parts that learn, as the stage calls it."""
        settings = self.settings
        if settings.run.gradient_checkpointing:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        wrapped = prepare_parts(model, settings.trainable)
        if settings.data.feature_cache is not None:
            with_cached_tower(model, processor, settings)
        return stage1_task(model, settings.losses) if settings.stage == "stage1" else wrapped

    def run(self) -> None:
        """Steps until the schedule ends."""
        try:
            with self._signals():
                self._run()
        finally:
            if self.log is not None:
                self.log.close()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Ctrl-C and SIGTERM ask to stop."""
        previous = {
            number: signal.signal(number, self._ask_to_stop) for number in (signal.SIGTERM, signal.SIGINT)
        }
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _ask_to_stop(self, number: int, frame: FrameType | None) -> None:
        self._stop_asked = True

    def _run(self) -> None:
        run = self.settings.run
        batches = own_batches(self.settings, self.stream, self.collator, self.task.collate)
        self.engine.train()
        meter = Meter()
        clock = time.monotonic()
        last_saved = self.progress.elapsed
        stopping = False
        while not stopping and self.schedule.progress(self.progress.step, self.progress.elapsed) < 1.0:
            rate = self._set_rate()
            own, stream, names = self._passes(batches)
            clock_now = self.progress.elapsed + time.monotonic() - clock
            everyone, elapsed, stopping = self._agree(own, clock_now)
            clock = time.monotonic()
            self._require_finite(everyone.terms, self.progress.step + 1, names)
            norm = self._update()
            self._count(everyone, elapsed, stream, meter)
            if self.log is not None and self.progress.step % run.log_steps == 0:
                self._write_line(self.log, meter.read(), rate, norm)
            due = run.checkpoint_minutes > 0 and elapsed - last_saved >= 60 * run.checkpoint_minutes
            if self.progress.step % run.checkpoint_steps == 0 or due or stopping:
                self.save()
                last_saved = elapsed
                clock = time.monotonic()
        if self.progress.step % run.checkpoint_steps != 0 and not stopping:
            self.save()
        if self.log is not None:
            sentence = "stopped as asked; --resume goes on from here" if stopping else "training is complete"
            self.log.say(f"step {self.progress.step}: {sentence}")

    def _set_rate(self) -> float:
        """The learning rate of the step that comes, which the optimiser is told."""
        rate = self.schedule.rate(self.progress.step, self.progress.elapsed)
        for group in self.engine.optimizer.param_groups:
            group["lr"] = rate * group["ratio"]
        return rate

    def _passes(self, batches: Iterator[tuple[Batch, StreamState]]) -> tuple[_Step, StreamState, list[str]]:
        """A step's passes, forward and back: what they gave, where the stream is after them, the last one's samples."""
        passes = self.settings.run.accumulation
        own = _Step()
        for number in range(passes):
            if number > 0:
                self.engine.step()  # Between passes DeepSpeed only counts; the step in _update changes the weights.
            batch, stream = next(batches)
            terms, of_tasks = self._backward(batch.to(self.device))
            own.add(terms, batch.tokens, of_tasks, passes=passes)
        return own, stream, batch.names

    def _update(self) -> float | None:
        """Changes the weights; the norm of the gradients where the log is to tell it."""
        is_logged = (self.progress.step + 1) % self.settings.run.log_steps == 0
        norm = norm_before_step(self.engine) if is_logged else None
        self.engine.step()
        told = gradient_norm(self.engine) if is_logged else None
        return norm if told is None else told

    def _count(self, everyone: _Step, elapsed: float, stream: StreamState, meter: Meter) -> None:
        """One step more, of all processes."""
        run = self.settings.run
        samples = run.micro_batch * world() * run.accumulation
        meter.add(everyone.terms, samples, everyone.tokens, everyone.of_tasks)
        self.progress = replace(
            self.progress,
            step=self.progress.step + 1,
            elapsed=elapsed,
            samples=self.progress.samples + samples,
            stream=stream,
        )

    def _backward(self, batch: Batch) -> tuple[dict[str, float], TaskSums]:
        """One pass; returns this process's terms and losses by task."""
        with self._precision():
            output = self.task.forward(self.engine, batch)
        weights = self.settings.losses
        losses = self.task.losses(output, batch, weights)
        loss = weighted_sum(losses.terms, weights)
        self.engine.backward(loss)
        values = {name: float(term.detach()) for name, term in {**losses.terms, "loss": loss}.items()}
        return values, sums_by_task(losses, batch, weights)

    def _precision(self) -> AbstractContextManager[Any]:
        """What the forward pass runs in."""
        return in_bfloat16(self.device) if self._autocasts else nullcontext()

    def _agree(self, own: _Step, elapsed: float) -> tuple[_Step, float, bool]:
        """All processes' terms (their means), tokens and losses by task, the first one's clock, and whether any was
        asked to stop."""
        terms = ["loss", *self.settings.losses]
        mine = [own.terms.get(name, 0.0) for name in terms]
        if world() == 1:
            return replace(own, terms=dict(zip(terms, mine, strict=True))), elapsed, self._stop_asked
        tasks = names_of(self.settings.losses)
        own_clock = elapsed if rank() == 0 else 0.0
        packed = [*mine, own.tokens, own_clock, float(self._stop_asked)]
        packed += [number for name in tasks for number in own.of_tasks.get(name, (0.0, 0.0))]
        values = summed(torch.tensor(packed, dtype=torch.float64).to(self.device)).tolist()
        means, (tokens, clock, stops) = values[: len(terms)], values[len(terms) : len(terms) + 3]
        pairs = values[len(terms) + 3 :]
        everyone = _Step(
            {name: value / world() for name, value in zip(terms, means, strict=True)},
            round(tokens),
            {name: (pairs[2 * place], pairs[2 * place + 1]) for place, name in enumerate(tasks)},
        )
        return everyone, clock, stops > 0

    def _require_finite(self, values: Mapping[str, float], step: int, samples: list[str]) -> None:
        bad = [name for name, value in values.items() if not math.isfinite(value)]
        if bad:
            newest = self.checkpoints.names()[-1:]
            raise TrainingStopped(
                f"the loss ({', '.join(bad)}) is not a finite number at step {step}, samples "
                f"{', '.join(samples[:4])} …: lower the learning rate or look at those samples, then --resume "
                f"(newest checkpoint: {newest[0] if newest else 'none yet'})"
            )

    def _write_line(
        self, log: TrainingLog, values: dict[str, float], rate: float, norm: float | None
    ) -> None:
        done = self.schedule.progress(self.progress.step, self.progress.elapsed)
        left = self.progress.elapsed / max(done, 1e-9) * (1 - done)
        used = {
            "learning_rate": rate,
            **({} if norm is None else {"gradient_norm": norm}),
            "memory_gb": memory_gb(self.device),
        }
        log.train(self.progress.step, {**values, **used}, progress=done, seconds_left=left)

    def save(self) -> None:
        """Validates and writes a checkpoint; weights that give no finite loss are not written."""
        values = validate(
            self.engine,
            self.task,
            self.validation,
            self.settings.losses,
            micro_batch=self.settings.run.micro_batch,
            device=self.device,
            precision=self._precision,
        )
        self._require_finite(values, self.progress.step, [sample.id for sample in self.validation])
        loss, best = values.get("loss"), self.progress.best_loss
        is_best = loss is not None and (best is None or loss < best)
        if is_best:
            self.progress = replace(self.progress, best_loss=loss)
        if self.log is not None and values:
            self.log.validation(self.progress.step, values)
        self.checkpoints.save(self.engine, self.progress, is_best=is_best)
