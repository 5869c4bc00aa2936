# SPDX-License-Identifier: Apache-2.0
"""A tiny model and eight edits to learn."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from blender_addon.contract.skeleton import JOINT_INDEX, STANDING_POSE
from training.data.build import write_index
from training.data.records import to_record
from training.data.samples import Sample
from training.data.shards import shard_name, write_shard

TINY_MODEL = {
    "vocabulary": 700,
    "text": {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 2, "initializer_range": 0.1,
    },
    "vision": {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
        "image_size": 32, "patch_size": 16,
    },
    "pose": {
        "pose_features": "kinematic", "pose_hidden_size": 96, "pose_encoder_layers": 1, "pose_attention_heads": 2,
        "pose_intermediate_size": 192, "pose_decoder": "residual", "pose_decoder_hidden_size": 32,
        "pose_decoder_layers": 1,
    },
}  # fmt: skip


def eight_edits() -> list[Sample]:
    """Eight instructions of different lengths, each turning one joint of the standing pose by 40 to 75 degrees."""
    edits = [
        ("raise the left arm", "left_shoulder", 2), ("raise your right arm to the side", "right_shoulder", 2),
        ("bend the left knee", "left_knee", 0), ("bend the right knee a little please", "right_knee", 0),
        ("look to the left", "neck", 1), ("lean forward", "spine1", 0),
        ("bend the left elbow so that the hand comes up", "left_elbow", 1),
        ("turn the right foot out", "right_ankle", 1),
    ]  # fmt: skip
    samples = []
    for number, (words, joint, axis) in enumerate(edits):
        target = STANDING_POSE.copy()
        target[JOINT_INDEX[joint], axis] += np.radians(40 + 5 * number)
        samples.append(Sample(f"edit-{number}", "adjust", joint, words, STANDING_POSE.copy(), target))
    return samples


def not_launched() -> dict[str, str]:
    """The environment for a process of its own: a training in this process has left its rank and port in it."""
    launched = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    return {name: value for name, value in os.environ.items() if name not in launched}


def write_json(path: Path, samples: list[Sample]) -> Path:
    path.write_text(json.dumps([to_record(sample) for sample in samples]), encoding="utf-8")
    return path


def write_yaml(path: Path, values: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def weights_added(before: Path, after: Path) -> set[str]:
    """The files of weights that a model has beside those that were there before, which stayed byte for byte."""
    files = {file.name for file in before.glob("*.safetensors")}
    assert files
    for name in files:
        assert (before / name).read_bytes() == (after / name).read_bytes(), name
    return {file.name for file in after.glob("*.safetensors")} - files


def copied_with(model: Path, place: Path, **settings: object) -> Path:
    """A copy of a model whose processor is set otherwise."""
    shutil.copytree(model, place)
    file = place / "processor_config.json"
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | settings), encoding="utf-8")
    return place


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _draws_of_its_own() -> None:
    """What torch draws in a test is the same in whatever order tests run."""
    # Not torch.manual_seed, which also keeps a stack of calls for each kind of accelerator that is not here.
    torch.default_generator.manual_seed(0)


@pytest.fixture
def stage3(tmp_path: Path) -> dict[str, Any]:
    """A configuration of stage 3 on the eight edits."""
    edits = write_json(tmp_path / "edits.json", eight_edits())
    model = write_yaml(tmp_path / "model.yaml", TINY_MODEL)
    return {
        "stage": "stage3",
        "output": str(tmp_path / "run"),
        "seed": 1,
        "model": {"start": str(tmp_path / "initial"), "fresh": str(model)},
        "trainable": {"embeddings": "special"},
        "data": {
            "sources": {"edits": {"path": str(edits)}},
            "validation": str(edits),
            "validation_samples": 8,
            "bucket_batches": 2,
        },
        "optimiser": {"learning_rate": 3e-3},
        "losses": {"text": 0.2, "gate": 2.0, "moving": 1.0, "still": 0.2, "joints": 4.0},
        "run": {"steps": 6, "micro_batch": 4, "checkpoint_steps": 3, "log_steps": 1, "threads": 1},
    }


def eight_pictures() -> list[Sample]:
    """Random pictures with random poses: nothing to generalise, only to remember."""
    rng = np.random.default_rng(0)
    return [
        Sample(
            f"picture-{number}", "estimate", "noise", "",
            target_aa=rng.normal(0, 0.4, (24, 3)).astype(np.float32),
            image=rng.integers(0, 255, (32, 32, 3), dtype=np.uint8),
            image_joints=np.where(np.arange(24)[:, None] < 24 - 2 * number, rng.uniform(size=(24, 2)), np.nan).astype(
                np.float32
            ),  # each picture shows other joints
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
        "losses": {
            "contrastive": 1.0, "local": 1.0, "attention": 0.1, "regression": 10.0, "regression_joints": 4.0,
            "image_regression": 10.0, "image_regression_joints": 4.0, "image_positions": 1.0,
        },
        "run": {**stage3["run"], "steps": 550, "micro_batch": 8, "checkpoint_steps": 550, "log_steps": 30},
    }  # fmt: skip
