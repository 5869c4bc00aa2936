# SPDX-License-Identifier: Apache-2.0
"""``posellava eval`` from the command line, with the shipped model on a few constructed poses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.data.build import write_index
from training.data.samples import Sample
from training.data.shards import shard_name, write_shard
from training.evaluate.cli import evaluate, train_retrieval

OF_VARIANTS = {"apart", "best_mpjpe", "near_mean", "nearest_real", "second_mpjpe"}
FIGURES = {"mpjpe", "pa_mpjpe", "mpjre", "mpjpe_to_copy", *(f"r_at_{k}" for k in (1, 5, 10, 20))}


@pytest.mark.slow
def test_eval_writes_a_table_figures_and_a_sheet(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    report, sheet = tmp_path / "report.json", tmp_path / "sheet.png"
    arguments = ["--suite", "posepart", "--count", "6", "--threads", "1"]
    assert evaluate([*arguments, "--json", str(report), "--sheet", str(sheet)]) == 0
    record = json.loads(report.read_text())
    for contestant in ("model", "copy", "mean_pose"):
        assert {*FIGURES, "drift_median", "drift_p95"} == set(record[contestant]) - {"no_pose"}
    assert record["copy"]["drift_p95"] == 0
    assert record["pool"] == record["cases"] == 6
    printed = capsys.readouterr()
    assert "MPJPE, mm" in printed.out
    assert "every pose is constructed" in printed.err
    with Image.open(sheet) as picture:
        assert np.asarray(picture).std() > 10


@pytest.mark.slow
def test_eval_with_a_retrieval_model_finds_poses_by_words(tmp_path: Path):
    folder, report = tmp_path / "retrieval", tmp_path / "report.json"
    assert train_retrieval(["--output", str(folder), "--steps", "1", "--threads", "1"]) == 0
    arguments = ["--suite", "generation", "--count", "5", "--threads", "1", "--retrieval", str(folder)]
    assert evaluate([*arguments, "--json", str(report)]) == 0
    record = json.loads(report.read_text())
    words = {f"{way}_r_at_{k}" for way in ("t2p", "p2t") for k in (1, 5, 10, 20)}
    found = {f"retrieval_r_at_{k}" for k in (1, 5, 10, 20)}
    assert FIGURES | OF_VARIANTS | words | found == set(record["model"]) - {"no_pose"}
    assert set(record["target"]) == words | {"near_mean", "nearest_real"}
    assert record["model"]["t2p_r_at_5"] == 100


@pytest.mark.slow
def test_eval_takes_the_samples_of_a_data_set_as_cases(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Of shards with edits and descriptions the suite takes its own task's; every joint moves, so nothing drifts."""
    rng, poses = np.random.default_rng(0), []
    for number in range(5):
        start, target = rng.normal(0, 0.3, (2, 24, 3)).astype(np.float32)
        poses.append(
            Sample(f"edit-{number}", "adjust", "pair", "raise an arm", pose_aa=start, target_aa=target)
        )
        poses.append(Sample(f"words-{number}", "generate", "caption", "an arm is up", target_aa=target))
    write_shard(tmp_path / shard_name(0), poses)
    write_index(tmp_path, {}, [10])
    report = tmp_path / "report.json"
    arguments = ["--samples", str(tmp_path), "--threads", "1", "--json", str(report)]
    assert evaluate(["--suite", "posefix", *arguments]) == 0
    record = json.loads(report.read_text())
    assert (record["cases"], record["poses"], set(record["kinds"])) == (5, tmp_path.name, {"pair"})
    assert record["copy"]["mpjpe"] > 20
    assert "the mean is of poses that are constructed" in capsys.readouterr().err
    assert evaluate(["--suite", "generation", *arguments, "--count", "3"]) == 0
    assert json.loads(report.read_text())["cases"] == 3
    assert evaluate(["--suite", "estimation", *arguments]) == 1
    assert "fewer than two samples of the task estimate" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--suite", "posepart", "--poses", "nowhere.npz"], "there are no poses at nowhere.npz"),
        (["--suite", "posefix", "--model", "nowhere"], "no model in nowhere"),
        (["--suite", "generation", "--retrieval", "nowhere"], "no retrieval model in nowhere"),
        (["--suite", "posepart", "--json", "nowhere/report.json"], "there is no folder nowhere"),
        (["--suite", "posepart", "--device", "abacus"], "no device 'abacus'"),
        (["--suite", "robustness", "--sheet", "x.png"], "draws no sheet"),
        (["--suite", "robustness", "--samples", "x"], "takes --cases, not --samples"),
        (["--suite", "estimation", "--samples", "nowhere"], "no training data in nowhere"),
        (["--suite", "robustness", "--cases", "nowhere.jsonl"], "nowhere.jsonl"),
    ],
)
def test_a_problem_ends_as_one_sentence(arguments, sentence, capsys: pytest.CaptureFixture[str]):
    assert evaluate(arguments) == 1
    error = capsys.readouterr().err
    assert sentence in error
    assert "Traceback" not in error
