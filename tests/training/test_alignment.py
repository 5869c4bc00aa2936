# SPDX-License-Identifier: Apache-2.0
"""Stage 1 of the tiny model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from backend.model import PoseLlavaForConditionalGeneration
from training.data.build import write_index
from training.data.samples import Sample
from training.data.shards import shard_name, write_shard
from training.stages.export import export
from training.stages.journal import read_metrics
from training.stages.loop import train
from training.stages.settings import load_settings

from .conftest import write_yaml


def eight_pictures() -> list[Sample]:
    """Random pictures with random poses: nothing to generalise, only to remember."""
    rng = np.random.default_rng(0)
    return [
        Sample(
            f"picture-{number}", "estimate", "noise", "",
            target_aa=rng.normal(0, 0.4, (24, 3)).astype(np.float32),
            image=rng.integers(0, 255, (32, 32, 3), dtype=np.uint8),
        )
        for number in range(8)
    ]  # fmt: skip


@pytest.fixture
def stage1(tmp_path: Path, stage3: dict[str, Any]) -> dict[str, Any]:
    folder = tmp_path / "pictures"
    folder.mkdir()
    write_shard(folder / shard_name(0), eight_pictures())
    write_index(folder, {}, [8])
    data = {"sources": {"pictures": {"path": str(folder)}}, "validation": str(folder), "bucket_batches": 1}
    return {
        **stage3,
        "stage": "stage1",
        "data": data,
        "trainable": {
            "language_model": "frozen", "embeddings": "frozen", "vision_tower": True, "pose_projector": False,
            "pose_decoder": False, "alignment": True,
        },
        "optimiser": {"learning_rate": 3e-3},
        "losses": {"contrastive": 1.0, "local": 1.0, "regression": 10.0, "regression_joints": 4.0},
        "run": {**stage3["run"], "steps": 400, "micro_batch": 8, "checkpoint_steps": 400, "log_steps": 30},
    }  # fmt: skip


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
