# SPDX-License-Identifier: Apache-2.0
"""A pass's losses by the task that was asked: what a mean over a mixture hides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

from blender_addon.contract.messages import TASKS

from .batches import Batch
from .objectives import Losses

TaskSums = dict[str, tuple[float, float]]
"""By name, such as ``pose_adjust`` and ``text_chat``, the sum of a task's losses and how many poses or tokens they are
of."""
_NUMBER: Final = {task: number for number, task in enumerate(TASKS)}


def names_of(weights: Mapping[str, float]) -> list[str]:
    """Every name that a run's log may have, the same in all processes."""
    kinds = (["pose"] if set(weights) - {"text"} else []) + (["text"] if "text" in weights else [])
    return [f"{kind}_{task}" for kind in kinds for task in TASKS]


def sums_by_task(losses: Losses, batch: Batch, weights: Mapping[str, float]) -> TaskSums:
    """The pose's terms together, each with its weight, and the text's by itself, of this process's rows."""
    found: TaskSums = {}
    if losses.by_pose:
        weighted = sum(weights[name] * values.detach() for name, values in losses.by_pose.items())
        assert isinstance(weighted, Tensor)
        found |= _sums("pose", weighted, batch.pose_rows, batch)
    if losses.by_token is not None:
        labels = batch.inputs["labels"][:, 1:] != -100
        rows = labels.nonzero()[:, 0]
        found |= _sums("text", losses.by_token, rows, batch)
    return found


def _sums(kind: str, values: Tensor, rows: Tensor, batch: Batch) -> TaskSums:
    """Sums of values (N,) by the task of their rows (N,)."""
    number = torch.tensor([_NUMBER[task] for task in batch.tasks], device=values.device)
    of = number[rows.to(values.device)]
    both = torch.stack([values.double(), torch.ones_like(values, dtype=torch.float64)])
    totals = torch.zeros(2, len(TASKS), dtype=torch.float64, device=values.device).index_add_(1, of, both)
    pairs = totals.T.tolist()
    return {
        f"{kind}_{task}": (pairs[place][0], pairs[place][1])
        for task, place in _NUMBER.items()
        if pairs[place][1]
    }
