# SPDX-License-Identifier: Apache-2.0
"""Two runs of the same seed end equal: dozens of steps, to the last bit of every weight."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from training.stages.loop import train
from training.stages.plain import STATES_FILE
from training.stages.settings import load_settings
from training.stages.training_log import read_metrics

from .conftest import write_yaml

pytestmark = pytest.mark.slow

STEPS = 40


def _end(folder: Path, values: dict[str, Any], *changes: str) -> tuple[dict[str, torch.Tensor], list[float]]:
    """The weights that a run ends with, and its losses."""
    size = (f"run.steps={STEPS}", f"run.checkpoint_steps={STEPS}", "run.log_steps=1", f"output={folder}")
    train(load_settings(write_yaml(folder.with_suffix(".yaml"), values), (*size, *changes)))
    states = torch.load(folder / "checkpoints" / f"step-{STEPS:08d}" / STATES_FILE)["module"]
    return states, [
        line["loss"] for line in read_metrics(folder / "metrics.jsonl") if line["split"] == "train"
    ]


@pytest.mark.parametrize("precision", ["fp32", "autocast", "bf16"])
@pytest.mark.parametrize("stage", ["stage1", "stage3"])
def test_the_same_seed_ends_with_the_same_weights_and_another_does_not(
    stage: str, precision: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    values = request.getfixturevalue(stage)
    changes = ("run.deepspeed=false", f"run.precision={precision}", "optimiser.learning_rate=1e-3")
    first, losses = _end(tmp_path / "first", values, *changes)
    second, again = _end(tmp_path / "second", values, *changes)
    assert len(losses) == STEPS
    assert again == losses
    assert [name for name in first if not torch.equal(first[name], second[name])] == []
    other, _ = _end(tmp_path / "other", values, *changes, "seed=2")
    assert any(not torch.equal(first[name], other[name]) for name in first)
