# SPDX-License-Identifier: Apache-2.0
"""``posellava eval`` from the command line, with the shipped model on a few constructed poses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.evaluate.cli import evaluate, train_retrieval

FIGURES = {"mpjpe", "pa_mpjpe", "mpjre", "no_pose", "mpjpe_to_copy", "r_at_1", "r_at_5", "r_at_10"}


def test_eval_writes_a_table_figures_and_a_sheet(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    report, sheet = tmp_path / "report.json", tmp_path / "sheet.png"
    arguments = ["--suite", "posepart", "--count", "6", "--threads", "1"]
    assert evaluate([*arguments, "--json", str(report), "--sheet", str(sheet)]) == 0
    record = json.loads(report.read_text())
    for contestant in ("model", "copy", "mean_pose"):
        assert {*FIGURES, "drift_median", "drift_p95"} == set(record[contestant])
    assert record["copy"]["drift_p95"] == 0
    assert record["pool"] == record["cases"] == 6
    printed = capsys.readouterr()
    assert "MPJPE, mm" in printed.out
    assert "every pose is constructed" in printed.err
    with Image.open(sheet) as picture:
        assert np.asarray(picture).std() > 10


def test_eval_with_a_retrieval_model_finds_poses_by_words(tmp_path: Path):
    folder, report = tmp_path / "retrieval", tmp_path / "report.json"
    assert train_retrieval(["--output", str(folder), "--steps", "1", "--threads", "1"]) == 0
    arguments = ["--suite", "generation", "--count", "5", "--threads", "1", "--retrieval", str(folder)]
    assert evaluate([*arguments, "--json", str(report)]) == 0
    record = json.loads(report.read_text())
    words = {f"{way}_r_at_{k}" for way in ("t2p", "p2t") for k in (1, 5, 10)}
    assert FIGURES | words | {f"retrieval_r_at_{k}" for k in (1, 5, 10)} == set(record["model"])
    assert set(record["target"]) == words
    assert record["model"]["t2p_r_at_5"] == 100


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--suite", "posepart", "--poses", "nowhere.npz"], "there are no poses at nowhere.npz"),
        (["--suite", "posefix", "--model", "nowhere"], "no model in nowhere"),
        (["--suite", "generation", "--retrieval", "nowhere"], "no retrieval model in nowhere"),
        (["--suite", "posepart", "--json", "nowhere/report.json"], "there is no folder nowhere"),
        (["--suite", "posepart", "--device", "abacus"], "no device 'abacus'"),
        (["--suite", "robustness", "--sheet", "x.png"], "draws no sheet"),
        (["--suite", "robustness", "--cases", "nowhere.jsonl"], "nowhere.jsonl"),
    ],
)
def test_a_problem_ends_as_one_sentence(arguments, sentence, capsys: pytest.CaptureFixture[str]):
    assert evaluate(arguments) == 1
    error = capsys.readouterr().err
    assert sentence in error
    assert "Traceback" not in error
