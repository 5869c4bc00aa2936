# SPDX-License-Identifier: Apache-2.0
"""`posellava data show` and `stats`: what is written of samples, and the figures over them."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blender_addon.contract.skeleton import STANDING_POSE
from training.data.cli import data
from training.data.registry import SOURCES
from training.data.samples import Sample
from training.data.show import kinds, only_in, vocabulary

from .scipy_chain import chain

PAGE = Path(__file__).parents[2] / "docs" / "data.md"


def test_every_source_that_the_page_of_data_lists_can_be_built_and_none_is_left_out() -> None:
    page = PAGE.read_text(encoding="utf-8")
    made = page.split("## What is made of them")[1].split("###")[0]
    rows = [line.split(" | ") for line in made.splitlines() if line.startswith("| `")]
    assert all(len(row) == 3 for row in rows)
    drawn = {name for name, source in SOURCES.items() if not source.is_dataset}
    assert {row[0].strip("| `") for row in rows} == drawn
    assert set(SOURCES) - drawn <= set(re.findall(r"`(\w+)`", page))


def joints_mm(pose_aa: np.ndarray) -> np.ndarray:
    """(24, 3) joint positions in mm, pelvis at the origin."""
    return 1000 * chain(pose_aa)[1]


def edit(instruction: str, kind: str, target_aa: np.ndarray, pose_aa: np.ndarray | None) -> Sample:
    return Sample("", "adjust", kind, instruction, pose_aa=pose_aa, target_aa=target_aa)


def test_show_writes_a_line_for_each_sample_and_a_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines_path, picture = tmp_path / "lines.jsonl", tmp_path / "new" / "sheet.png"
    arguments = [
        "show",
        "directives",
        "--count",
        "3",
        "--columns",
        "3",
        "--size",
        "48",
        "--output",
        str(picture),
    ]
    assert data([*arguments, "--json", str(lines_path)]) == 0
    lines = [json.loads(line) for line in lines_path.read_text(encoding="utf-8").splitlines()]
    assert len(lines) == 3
    for line in lines:
        assert set(line) == {"id", "kind", "pose", "target", "instruction"}
        assert line["instruction"]
        assert np.array(line["pose"]).shape == np.array(line["target"]).shape == (24, 3)
        assert all(number == round(number, 5) for joint in line["target"] for number in joint)
    assert len({line["id"] for line in lines}) == 3
    assert Image.open(picture).width > 3 * 2 * 48
    # The same seed writes the same lines, to the standard output too.
    capsys.readouterr()
    assert data(["show", "directives", "--count", "3", "--json"]) == 0
    assert capsys.readouterr().out == lines_path.read_text(encoding="utf-8")


def test_a_description_has_no_start_pose(capsys: pytest.CaptureFixture[str]) -> None:
    assert data(["show", "descriptions", "--count", "2", "--json"]) == 0
    for line in capsys.readouterr().out.splitlines():
        assert json.loads(line)["pose"] is None


def test_show_can_be_asked_for_kinds_by_pattern(capsys: pytest.CaptureFixture[str]) -> None:
    assert data(["show", "directives", "--count", "4", "--kind", "posture.*", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 4
    assert all(line["kind"].startswith("posture.") for line in lines)


def test_a_kind_that_no_sample_has_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("training.data.show.MOST_TRIED", 20)
    assert data(["show", "situations", "--count", "2", "--kind", "somersault", "--json"]) == 1
    assert "'somersault'" in capsys.readouterr().err


@pytest.mark.parametrize("count", ["0", "-3"])
def test_less_than_one_sample_is_refused(count: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        data(["show", "directives", "--count", count])
    assert f"{count} is not 1 or more" in capsys.readouterr().err


def test_a_name_that_is_neither_source_nor_file_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert data(["show", "directvies", "--json"]) == 1
    error = capsys.readouterr().err
    assert "directvies" in error
    assert "directives" in error
    assert error.count("\n") == 1


def test_copy_baseline_is_the_mean_distance_of_the_joints_left_where_they_are() -> None:
    rng = np.random.default_rng(0)
    before, after = (rng.normal(0, 0.3, (24, 3)).astype(np.float32) for _ in range(2))
    expected = np.linalg.norm(joints_mm(before) - joints_mm(after), axis=-1).mean()
    figures = kinds([edit("one", "turned", after, before), edit("Two words", "same", before, before)])
    assert figures["turned"].copy_mpjpe == pytest.approx(expected, rel=1e-4)
    assert figures["same"].copy_mpjpe == pytest.approx(0.0, abs=1e-6)
    assert figures["same"].words == 2


def test_copy_baseline_of_generation_starts_from_the_standing_figure() -> None:
    figures = kinds(
        [edit("stand", "stand", STANDING_POSE, None), edit("Stand", "stand", STANDING_POSE, None)]
    )
    assert figures["stand"].copy_mpjpe == pytest.approx(0.0, abs=1e-6)
    assert (figures["stand"].samples, figures["stand"].distinct) == (2, 1)


def test_words_that_one_knows_and_the_other_does_not() -> None:
    first = vocabulary([edit("Raise it, raise IT, abduct abduct slpi", "", STANDING_POSE, None)])
    assert first["raise"] == 2
    # A word seen once may be a slip of typing.
    assert only_in(first, {"raise": 1, "it": 1}) == ["abduct"]
    assert only_in(Counter({"raise": 5}), first) == []


def test_words_with_accents_and_apostrophes_are_whole() -> None:
    words = vocabulary([edit("demi-plié on the dancer's left leg_2", "", STANDING_POSE, None)])
    assert set(words) == {"demi", "plié", "on", "the", "dancer's", "left", "leg"}


def test_stats_count_sentences_words_and_kinds(capsys: pytest.CaptureFixture[str]) -> None:
    assert data(["stats", "directives", "captions", "--count", "40", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    for what in ("directives", "captions"):
        figures = report[what]
        assert figures["sentences"] == 40
        assert 20 < figures["distinct"] <= 40
        assert figures["vocabulary"] > 50
        assert sum(kind["share"] for kind in figures["kinds"].values()) == pytest.approx(1.0)
        errors = [
            kind["copy_mpjpe"] for kind in figures["kinds"].values()
        ]  # none of what is answered in words
        assert all(error is None or error >= 0 for error in errors)
        assert any(errors)
    assert report["words"]["only_directives"]
    assert report["words"]["only_others"]
    assert data(["stats", "directives", "captions", "--count", "40"]) == 0
    told = capsys.readouterr().out
    assert "40 sentences" in told
    assert "words that only directives know" in told
