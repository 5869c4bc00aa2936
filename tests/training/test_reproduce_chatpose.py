# SPDX-License-Identifier: Apache-2.0
"""ChatPose's tables, made quickly: every row has its figures, and the paper's stand beside them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backend.body.draw import DrawingUnavailableError, Renderer
from training.commands import reproduce
from training.reproduce.chatpose_paper import ESTIMATION, REASONING, RECALLS
from training.run_lock import run_lock


@pytest.mark.slow
@pytest.mark.parametrize(
    ("table", "columns", "rows"),
    [
        (
            "chatpose1",
            {"generation", "spg"},
            {"standing pose", "PoseScript", "ChatPose", "mini", "true poses"},
        ),
        ("chatpose2", {"place", "averaged"}, {"mean pose", "mini, words unread", "mini"}),
        ("chatpose3", {"drawn"}, {"standing pose", "mean pose", "mini"}),
    ],
)
def test_a_table_is_made_beside_the_papers(
    table: str, columns: set[str], rows: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        Renderer((32, 32))
    except DrawingUnavailableError:
        pytest.skip("no OpenGL here")
    assert reproduce([table, "--quick", "--output", str(tmp_path)]) == 0
    made = json.loads((tmp_path / f"{table}.json").read_text())
    assert columns <= set(made["columns"])
    for found in made["columns"].values():
        assert set(found) == rows
    text = (tmp_path / f"{table}.md").read_text()
    assert text in capsys.readouterr().out + "\n"
    paper = {"chatpose1": RECALLS["spg"], "chatpose2": REASONING, "chatpose3": ESTIMATION}[table]
    assert "paper" in text
    assert any(f"| {row} |" in text for row in paper)


def test_a_column_that_a_table_has_not_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x").mkdir()
    arguments = ["chatpose2", "--output", str(tmp_path / "out"), "--test", f"spg={tmp_path / 'x'}"]
    assert reproduce(arguments) == 1
    assert "chatpose2 has no column spg to read; it has rpe" in capsys.readouterr().err


def test_two_do_not_train_contestants_in_one_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with run_lock(tmp_path):
        assert reproduce(["chatpose1", "--output", str(tmp_path), "--quick"]) == 1
    assert "another process is writing" in capsys.readouterr().err


def test_an_option_that_these_tables_would_not_use_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["chatpose3", "--output", str(tmp_path / "out"), "--model", str(tmp_path)]
    assert reproduce(arguments) == 1
    assert "chatpose3 takes no --train, --model or --body" in capsys.readouterr().err


def test_help_names_both_papers_tables(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        reproduce(["--help"])
    told = capsys.readouterr().out
    assert "table5" in told
    assert "chatpose1" in told
