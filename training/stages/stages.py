# SPDX-License-Identifier: Apache-2.0
"""What differs between the stages, as far as the loop has to know it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from training.data.samples import Sample

from .batches import Batch, Collator
from .objectives import (
    Losses,
    align,
    alignment_measures,
    alignment_terms,
    instruct,
    instruction_losses,
    instruction_measures,
)
from .settings import Stage


@dataclass(frozen=True)
class StageTask:
    """How batches are made, the pass, what is minimised, what is measured."""

    collate: Callable[[list[Sample], list[Sample]], Batch]
    forward: Callable[[nn.Module, Batch], Any]
    losses: Callable[[Any, Batch, Mapping[str, float]], Losses]
    measures: Callable[[Any, Batch], dict[str, Tensor]]


def stage_task(stage: Stage, collator: Collator) -> StageTask:
    """What a stage does with samples."""
    if stage == "stage1":
        return StageTask(collator.alignment, align, _alignment_losses, alignment_measures)
    return StageTask(collator.instructions, instruct, instruction_losses, instruction_measures)


def _alignment_losses(output: Any, batch: Batch, weights: Mapping[str, float]) -> Losses:
    return Losses(alignment_terms(output, batch, weights))
