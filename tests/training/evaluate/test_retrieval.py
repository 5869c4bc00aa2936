# SPDX-License-Identifier: Apache-2.0
"""The retrieval model: learns which words belong to which pose, and comes back from disk as it went."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from training.data.captions.sampler import CaptionSampler
from training.data.pool import PosePool, with_heading
from training.data.records import to_record
from training.data.samples import Sample
from training.evaluate.cli import train_retrieval as train
from training.evaluate.retrieval import RetrievalModel
from training.evaluate.train_retrieval import RetrievalSettings, new_model, recall, train_retrieval

TEXTS = ["the left arm is raised", "standing with both knees bent", "xyzzy", ""]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def model() -> RetrievalModel:
    torch.manual_seed(0)
    return RetrievalModel(["arm", "bent", "left", "raised", "the"]).eval()


def test_vectors_have_length_one_and_do_not_depend_on_the_batch(model):
    together = model.embed_texts(TEXTS)
    assert np.linalg.norm(together, axis=1) == pytest.approx(1, abs=1e-6)
    for row, text in enumerate(TEXTS):
        assert np.abs(model.embed_texts([text])[0] - together[row]).max() < 1e-5


def test_the_heading_of_a_pose_is_not_looked_at(model):
    poses = np.random.default_rng(0).normal(0, 0.3, (30, 24, 3)).astype(np.float32)
    turned = with_heading(poses, np.random.default_rng(1).uniform(-3, 3, 30)).astype(np.float32)
    assert np.abs(model.embed_poses(poses) - model.embed_poses(turned)).max() < 1e-4


def test_a_saved_model_gives_the_same_vectors(model, tmp_path: Path):
    model.save(tmp_path / "model")
    again = RetrievalModel.load(tmp_path / "model")
    assert np.array_equal(model.embed_texts(TEXTS), again.embed_texts(TEXTS))


def test_a_folder_without_a_model_says_how_to_make_one(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="train-retrieval"):
        RetrievalModel.load(tmp_path)


@pytest.mark.slow
def test_a_short_training_finds_poses_better_than_chance():
    """Chance is 10 % among 100; the poses tried are not those trained on."""
    pool = PosePool(None)
    sampler = CaptionSampler(pool)
    model = new_model(sampler, seed=0)
    settings = RetrievalSettings(steps=40, batch=48, seed=0)
    losses = [progress.loss for progress in train_retrieval(model, sampler, settings)]
    assert losses[-1] < 0.9 * losses[0]
    found = recall(model, CaptionSampler(pool), count=100, seed=7)
    assert found["t2p_r_at_10"] > 20
    assert found["p2t_r_at_10"] > 20


def test_it_is_trained_on_the_texts_of_a_data_set_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    poses = np.random.default_rng(0).normal(0, 0.3, (8, 24, 3)).astype(np.float32)
    words = ["kneeling", "sitting", "waving", "running", "jumping", "bowing", "stretching", "throwing"]
    samples = [
        Sample(word, "generate", "script", f"someone {word}", None, pose)
        for word, pose in zip(words, poses, strict=True)
    ]
    samples.append(Sample("edit", "adjust", "k", "unrelated", poses[0], poses[1]))
    path = tmp_path / "texts.json"
    path.write_text(json.dumps([to_record(sample) for sample in samples]))
    arguments = ["--samples", str(path), "--validation", str(path), "--output", str(tmp_path / "model")]
    assert train([*arguments, "--steps", "2", "--threads", "1"]) == 0
    model = RetrievalModel.load(tmp_path / "model")
    assert set(words) < set(model.words)
    assert "unrelated" not in model.words
    assert "t2p_r_at_20" in capsys.readouterr().out
