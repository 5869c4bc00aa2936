# SPDX-License-Identifier: Apache-2.0
"""A voice is taught beside a model that stays as it is, and what it says is held against the poses."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from backend.prompt.speech import SPEECH_FOLDER, read_speech, trunk_of
from tests.backend.test_speaking import save_model
from training.commands import measure_speech, train_speech
from training.data.pool import PosePool
from training.speech.measure import judge, taught
from training.speech.samples import SpeechSampler
from training.speech.teaching import Trainer, load_speech_settings

CONFIG = Path(__file__).parents[2] / "training" / "configs" / "mini_speech.yaml"


@pytest.fixture(scope="module")
def sampler() -> SpeechSampler:
    return SpeechSampler(PosePool(None))


@pytest.mark.slow
def test_sentences_that_are_taught_hold_and_those_of_other_poses_do_not(sampler: SpeechSampler) -> None:
    rng = np.random.default_rng(0)
    poses, pairs = sampler.descriptions(rng, 60), sampler.differences(rng, 60)
    best = taught(poses, pairs)
    assert best.right_of_poses > 0.99
    assert best.right_of_pairs > 0.97
    assert best.unread == 0
    assert best.found > 0.6
    shifted = [[one.reply or "" for one in (*some[1:], some[0])] for some in (poses, pairs)]
    wrong = judge(poses, shifted[0], pairs, shifted[1])
    assert wrong.right_of_poses < 0.7
    assert wrong.right_of_pairs < 0.5
    assert wrong.found < best.found - 0.2


def test_a_sentence_that_says_nothing_known_is_counted_as_unread(sampler: SpeechSampler) -> None:
    rng = np.random.default_rng(1)
    poses, pairs = sampler.descriptions(rng, 2), sampler.differences(rng, 2)
    report = judge(poses, ["A fine day. It rains.", ""], pairs, ["", ""])
    assert (report.unread, report.facts_of_poses, report.right_of_poses) == (1, 0, 0)


@pytest.mark.slow
def test_a_voice_learns_goes_on_and_leaves_the_model_as_it_is(tmp_path: Path) -> None:
    model = save_model(tmp_path / "model", seed=3)
    files = {
        file.name: hashlib.sha256(file.read_bytes()).digest() for file in model.iterdir() if file.is_file()
    }
    changes = [f"model={model}", f"output={tmp_path / 'run'}", "layers=1", "batch=8", "warmup_steps=1"]
    first = Trainer(load_speech_settings(CONFIG, [*changes, "steps=24"]))
    losses = [progress.loss for progress in first.run()]
    assert losses[-1] < 0.9 * losses[0]
    second = Trainer(load_speech_settings(CONFIG, [*changes, "steps=8"]), resume=True)
    assert second.step == 24
    (after,) = [progress.loss for progress in second.run()]
    assert after < losses[0]
    voice = tmp_path / "run" / SPEECH_FOLDER
    voice.rename(model / SPEECH_FOLDER)
    speech = read_speech(model)
    assert speech is not None
    assert speech.trunk == trunk_of(model)
    assert files == {name: hashlib.sha256((model / name).read_bytes()).digest() for name in files}
    assert measure_speech([str(model), "--count", "4", "--engine", "torch"]) == 0


def test_a_model_without_a_voice_and_a_wrong_setting_are_told_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = save_model(tmp_path / "model", seed=4)
    assert measure_speech([str(model)]) == 1
    assert "has no voice: teach one with 'posellava train-speech'" in capsys.readouterr().err
    assert train_speech(["--config", str(CONFIG), "--set", "layrs=3"]) == 1
    assert "unknown key 'layrs'" in capsys.readouterr().err
    assert train_speech(["--config", str(CONFIG), "--set", "minutes=soon"]) == 1
    assert "minutes must be a number, not 'soon'" in capsys.readouterr().err
