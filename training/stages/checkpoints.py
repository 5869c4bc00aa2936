# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of a run: written whole or not at all, with all that an exact resume needs.

``checkpoints/step-00001000/`` holds DeepSpeed's weights and optimiser state, ``progress.json`` and each process's
random state. ``best.json`` names the one with the lowest validation loss.
"""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training.data.stream import StreamState

from .launch import rank, wait_for_all


class TrainingStopped(Exception):  # noqa: N818 - it tells of an event
    """The run cannot go on; the sentence says why and what to do."""


@dataclass(frozen=True)
class Progress:
    """Where a run stands: steps done, seconds of training, samples seen, its stream, the lowest validation loss."""

    step: int
    elapsed: float
    samples: int
    stream: StreamState
    best_loss: float | None = None


class Checkpoints:
    """The checkpoints of one run in ``folder``; keeps the newest ``keep`` and the best."""

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder = folder
        self.keep = keep

    def names(self) -> list[str]:
        """Whole checkpoints, oldest first."""
        return sorted(path.name for path in self.folder.glob("step-*") if (path / "progress.json").is_file())

    def best(self) -> str | None:
        """The checkpoint with the lowest validation loss."""
        path = self.folder / "best.json"
        return str(json.loads(path.read_text(encoding="utf-8"))["checkpoint"]) if path.is_file() else None

    def save(self, engine: Any, progress: Progress, *, is_best: bool) -> None:
        """Writes a checkpoint under a passing name and renames it; where that fails, earlier ones are untouched."""
        name = f"step-{progress.step:08d}"
        partial = self.folder / f"{name}.partial"
        try:
            if rank() == 0:
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir(parents=True)
            wait_for_all()
            engine.save_checkpoint(
                str(self.folder), tag=partial.name, save_latest=False, exclude_frozen_parameters=True
            )
            torch.save(_random_state(), partial / f"random-{rank()}.pt")
            wait_for_all()
            if rank() == 0:
                (partial / "progress.json").write_text(json.dumps(asdict(progress)), encoding="utf-8")
                final = self.folder / name
                shutil.rmtree(final, ignore_errors=True)
                partial.rename(final)
                if is_best:
                    self._mark_best(name)
                self._forget_old()
        except (OSError, RuntimeError):
            shutil.rmtree(partial, ignore_errors=True)
            raise
        wait_for_all()

    def _mark_best(self, name: str) -> None:
        partial = self.folder / "best.json.partial"
        partial.write_text(json.dumps({"checkpoint": name}), encoding="utf-8")
        partial.replace(self.folder / "best.json")

    def _forget_old(self) -> None:
        best = self.best()
        for name in self.names()[: -self.keep]:
            if name != best:
                shutil.rmtree(self.folder / name)

    def load(self, engine: Any, name: str) -> Progress:
        """Restores weights, optimiser and random state; returns where the run stood."""
        engine.load_checkpoint(str(self.folder), tag=name, load_module_strict=False)
        path = self.folder / name / f"random-{rank()}.pt"
        if path.is_file():  # A run that goes on with more processes has no state for the new ones.
            _restore_random_state(torch.load(path, weights_only=False))
        values = json.loads((self.folder / name / "progress.json").read_text(encoding="utf-8"))
        return Progress(**values)


def _random_state() -> dict[str, Any]:
    state = {"python": random.getstate(), "numpy": np.random.get_state(), "torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def _restore_random_state(state: dict[str, Any]) -> None:
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
