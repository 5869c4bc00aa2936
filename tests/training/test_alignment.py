# SPDX-License-Identifier: Apache-2.0
"""Stage 1 of the tiny model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from backend.model import PoseLlavaForConditionalGeneration
from training.stages.export import export
from training.stages.loop import train
from training.stages.settings import load_settings
from training.stages.training_log import read_metrics

from .conftest import write_yaml


@pytest.mark.slow
def test_stage_1_learns_eight_samples_to_near_zero(tmp_path: Path, stage1: dict[str, Any]) -> None:
    train(load_settings(write_yaml(tmp_path / "config.yaml", stage1)))
    final = [
        line for line in read_metrics(tmp_path / "run" / "metrics.jsonl") if line["split"] == "validation"
    ][-1]
    assert final["recall_at_1"] == 1.0
    assert final["contrastive"] < 0.05
    assert final["local"] < 0.05
    assert final["regression"] < 0.002
    assert final["image_regression"] < 0.002
    assert final["image_positions"] < 0.02
    assert final["mpjpe_mm"] < 5
    assert final["image_mpjpe_mm"] < 5


@pytest.mark.slow
def test_stage_1_trains_its_parts_and_leaves_the_others(tmp_path: Path, stage1: dict[str, Any]) -> None:
    train(load_settings(write_yaml(tmp_path / "config.yaml", stage1), ["run.steps=2"]))
    export(tmp_path / "run", tmp_path / "model", dtype="float32")
    before = PoseLlavaForConditionalGeneration.from_pretrained(tmp_path / "initial").state_dict()
    after = PoseLlavaForConditionalGeneration.from_pretrained(tmp_path / "model").state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert all(
        name.startswith(("alignment.", "model.vision_tower.", "model.pose_encoder.")) for name in changed
    )
    for part in (
        "alignment.logit_scale",
        "model.vision_tower.embeddings.patch_embedding.weight",
        "model.pose_encoder",
    ):
        assert any(name.startswith(part) for name in changed), part
