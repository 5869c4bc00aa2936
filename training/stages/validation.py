# SPDX-License-Identifier: Apache-2.0
"""How a model in training does on samples that it does not learn from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch

from training.data.samples import Sample

from .launch import rank, summed, union, world
from .objectives import weighted_sum
from .stages import StageTask


def validate(
    engine: Any,
    task: StageTask,
    samples: Sequence[Sample],
    weights: Mapping[str, float],
    *,
    micro_batch: int,
    device: torch.device,
    precision: Callable[[], AbstractContextManager[Any]],
) -> dict[str, float]:
    """Means of losses and measures over all processes' samples; empty where there are none.

    Args:
        engine: what is trained.
        task: of the stage.
        samples: those of all processes, who share them evenly.
        weights: of the losses.
        micro_batch: samples of a process at a time.
        device: of this process.
        precision: what the forward pass runs in.
    """
    if not samples:
        return {}
    engine.eval()
    means = _Means()
    size = micro_batch * world()
    for start in range(0, len(samples), size):
        everyone = list(samples[start : start + size])
        own = everyone[rank() :: world()]
        batch = task.collate(own, everyone).to(device)
        with torch.no_grad():
            with precision():
                output = task.forward(engine, batch)
            terms = task.losses(output, batch, weights).terms
            terms["loss"] = weighted_sum(terms, weights)
            measures = task.measures(output, batch)
        for name in ("loss", *weights):
            means.add(name, float(terms.get(name, 0.0)) * len(own), len(own))
        for name, values in measures.items():
            means.add(name, float(values.double().sum()), len(values))
    engine.train()
    return means.over_all_processes(device)


class _Means:
    def __init__(self) -> None:
        self._sums: dict[str, tuple[float, int]] = {}

    def add(self, name: str, total: float, count: int) -> None:
        before = self._sums.get(name, (0.0, 0))
        self._sums[name] = (before[0] + total, before[1] + count)

    def over_all_processes(self, device: torch.device) -> dict[str, float]:
        # A process whose rows have no pose measures less: all reduce the same names, in the same order.
        names: Iterable[str] = union(self._sums)
        mine = [self._sums.get(name, (0.0, 0)) for name in names]
        values = summed(torch.tensor(mine, dtype=torch.float64, device=device))
        return {
            name: float(total / max(count, 1)) for name, (total, count) in zip(names, values, strict=True)
        }
