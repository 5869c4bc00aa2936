# SPDX-License-Identifier: Apache-2.0
"""A voice is taught beside a model that stays as it is, and what it says is held against the poses."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from backend.engines import load_engine
from backend.prompt.speech import read_speech, trunk_of
from tests.backend.test_speaking import save_model
from training.commands import measure_speech, train_speech
from training.data.captions.facts import pose_facts
from training.data.captions.measures import Bodies
from training.data.captions.rules import BOTH
from training.data.captions.spoken import (
    MOVES,
    STRAIGHT_CODES,
    Fact,
    judge_description,
    move_sizes,
    moves_of,
    read,
    sentence,
)
from training.data.pool import PosePool
from training.speech.measure import judge, said_by, taught
from training.speech.reading import COLUMNS, change_labels, fact_labels, packed, slots
from training.speech.samples import SpeechSampler
from training.speech.teaching import LOG_FILE, READING, SAYING, Trainer, load_speech_settings

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


def test_a_change_holds_of_no_pose_by_itself() -> None:
    said = judge_description(
        "The left hand is further up. The left hand is higher.", np.zeros((24, 3), np.float32)
    )
    assert (said.stated, said.right) == (1, 0)


@pytest.mark.slow
def test_a_voice_learns_goes_on_and_leaves_the_model_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = save_model(tmp_path / "model", seed=3)
    files = {
        file.name: hashlib.sha256(file.read_bytes()).digest() for file in model.iterdir() if file.is_file()
    }
    changes = [
        f"model={model}", f"output={tmp_path / 'run'}", "layers=1", "batch=8", "warmup_steps=1", "reader_width=16",
        "reader_batch=16",
    ]  # fmt: skip
    first = Trainer(load_speech_settings(CONFIG, [*changes, "steps=24"]))
    told = list(first.run())
    assert [progress.lesson for progress in told] == [READING] * 3 + [SAYING] * 3
    for lesson in (told[:3], told[3:]):
        assert lesson[-1].loss < 0.9 * lesson[0].loss
    arguments = [part for change in (*changes, "steps=8") for part in ("--set", change)]
    second = Trainer(load_speech_settings(CONFIG, [*changes, "steps=8"]), resume=True)
    assert (second.lesson, second.step) == (SAYING, 24)
    for name, weight in first.voice.taught().items():
        assert torch.equal(weight, second.voice.taught()[name]), name
    speaking = tmp_path / "speaking"
    assert train_speech(["--config", str(CONFIG), *arguments, "--resume", "--into", str(speaking)]) == 0
    after = json.loads((tmp_path / "run" / LOG_FILE).read_text(encoding="utf-8").splitlines()[-1])
    assert (after["lesson"], after["step"]) == (SAYING, 32)
    assert after["loss"] < told[3].loss
    speech = read_speech(speaking)
    assert speech is not None
    assert speech.trunk == trunk_of(model)
    for folder in (model, speaking):
        assert files == {name: hashlib.sha256((folder / name).read_bytes()).digest() for name in files}
    assert measure_speech([str(speaking), "--count", "4"]) == 0
    assert "40 words, one question at a time" in capsys.readouterr().out


@pytest.mark.slow
def test_readers_are_taught_what_the_captioner_says_of_the_same_poses(sampler: SpeechSampler) -> None:
    """Their labels, read back as facts, are those that a text of the pose is judged by."""
    rng = np.random.default_rng(5)
    before, after = sampler.pairs(rng, 40)
    facts = pose_facts(Bodies.of(after))
    labels = fact_labels(facts)
    assert labels.shape == (40, sum(slots()[0]))
    changed = change_labels(pose_facts(Bodies.of(before)), facts, move_sizes(before, after), 1.0)
    assert changed.shape == (40, sum(slots()[1]))
    told = [
        Fact(code, facts.names[code][number], side) for code, side, numbers in COLUMNS for number in numbers
    ]
    for row, pose in enumerate(after):
        for column, fact in enumerate(told):
            try:
                words = sentence(fact)
            except KeyError:  # never told
                continue
            if fact.code in STRAIGHT_CODES:  # is worded by how straight the limb is
                continue
            one = judge_description(words, pose)
            assert one.right >= labels[row, column], words
            if read(words) == [(fact,)]:
                assert one.right == labels[row, column], words
    moved = {
        (row, fact.code, side)
        for row, facts_of_row in enumerate(moves_of(before, after))
        for fact in facts_of_row
        for side in ((0, 1) if fact.who == BOTH else (fact.who,))
    }
    of_moves = changed[:, -2 * len(MOVES) :].reshape(-1, len(MOVES), 2)
    assert moved == {(row, [*MOVES][move], side) for row, move, side in np.argwhere(of_moves).tolist()}


def test_facts_that_belong_together_share_a_token_and_tokens_are_even() -> None:
    assert packed([1, 1, 2, 4, 1, 1], 4) == (2, 2, 4, 2)
    assert packed([1, 1, 2, 4, 1, 1], 3) == (4, 4, 2)
    assert packed([3], 2) == (3, 0)
    assert sum(packed([5, 1, 1, 1], 25)) == 8


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
    assert train_speech(["--config", str(CONFIG), "--set", "reader_minutes=0"]) == 1
    assert "reader_minutes must be above 0, not 0" in capsys.readouterr().err


@pytest.mark.slow
def test_the_model_that_ships_says_what_is_so_and_alike_in_both_engines(sampler: SpeechSampler) -> None:
    """On constructed poses; its figures on recorded ones are in docs/quality.md."""
    rng = np.random.default_rng(11)
    poses, pairs = sampler.descriptions(rng, 100), sampler.differences(rng, 100)
    engines = [load_engine(engine=name) for name in ("onnx", "torch")]
    of_poses, of_pairs = ([said_by(engine, some) for engine in engines] for some in (poses, pairs))
    for texts in (of_poses, of_pairs):
        alike = [one == other for one, other in zip(*texts, strict=True)]
        assert np.mean(alike) > 0.97, "words turn on the last digit of a logit but seldom"
    report = judge(poses, of_poses[0], pairs, of_pairs[0])
    assert report.right_of_poses > 0.7
    assert report.right_of_pairs > 0.58
    assert report.found > 0.8
    assert report.unread < 0.02
