# SPDX-License-Identifier: Apache-2.0
"""Commands that would harm, hang, end in a traceback or take options for nothing: one sentence instead."""

from __future__ import annotations

import builtins
import errno
import json
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from backend.cli import main
from training.data.pool import PosePool
from training.data.posepart import PairSampler
from training.data.sources.constructed import constructed_poses
from training.data.sources.pose_set import PoseSet
from training.writing import model_folder, writing_to

from .conftest import not_launched
from .test_released import Release

POSES = constructed_poses(np.random.default_rng(2), 60)


@pytest.fixture(scope="module")
def release() -> Release:
    return Release()


def sentence(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 1) -> str:
    """What a command that must fail says: one line."""
    capsys.readouterr()
    assert main(arguments) == status
    said = capsys.readouterr()
    assert said.err.count("\n") == 1, said.err
    return said.err


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("output", ["source", ".", "source/../source"])
def test_convert_never_replaces_what_it_reads(
    release: Release, tmp_path: Path, capsys: pytest.CaptureFixture[str], output: str
) -> None:
    source = release.save(tmp_path / "source")
    before = contents(tmp_path)
    assert "would overwrite" in sentence(capsys, "convert", str(source), str(tmp_path / output))
    assert contents(tmp_path) == before


def test_a_folder_with_other_files_is_not_replaced(
    release: Release, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = release.save(tmp_path / "source")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    assert "holds other files" in sentence(capsys, "convert", str(source), str(tmp_path / "thesis"))
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "years of work"


@pytest.mark.slow
def test_a_good_conversion_says_one_line_and_may_be_repeated(release: Release, tmp_path: Path) -> None:
    """In a process of its own: what a library says once a process, it says there."""
    source = release.save(tmp_path / "source")
    environment = {name: value for name, value in not_launched().items() if name != "DS_ACCELERATOR"}
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-m", "training", "convert", str(source), str(tmp_path / "model")],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.count("\n") == 1, done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "source"]


def damaged(source: Path) -> dict[str, Any]:
    """What can be wrong with the second file of weights, and what is said."""
    file = source / "model-00002-of-00002.safetensors"
    whole = file.read_bytes()
    weights = load_file(file)
    name = next(iter(weights))

    def code() -> None:
        file.unlink()
        (source / "model-00001-of-00002.safetensors").unlink()
        (source / "pytorch_model.bin").write_bytes(pickle.dumps({"a": builtins.eval}, protocol=2))

    return {
        "damaged or cut off.*download it again": lambda: file.write_bytes(whole[: len(whole) // 2]),
        "Git LFS's pointer.*git lfs pull": lambda: file.write_text(
            "version https://git-lfs.github.com/spec/v1\n"
        ),
        "no finite numbers": lambda: save_file(
            weights | {name: torch.full_like(weights[name], torch.nan)}, file
        ),
        r"pytorch_model\.bin was not opened: it holds code": code,
    }


@pytest.mark.parametrize("case", range(4))
def test_damaged_weights_are_one_sentence(
    release: Release, tmp_path: Path, capsys: pytest.CaptureFixture[str], case: int
) -> None:
    source = release.save(tmp_path / "source")
    words, harm = list(damaged(source).items())[case]
    harm()
    said = sentence(capsys, "convert", str(source), str(tmp_path / "model"))
    assert re.search(words, said), said
    assert not (tmp_path / "model").exists()


def test_a_damaged_configuration_or_tokenizer_is_one_sentence(
    release: Release, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = release.save(tmp_path / "source")
    tokenizer = (source / "tokenizer.json").read_text()
    (source / "tokenizer.json").write_text(tokenizer[:100])
    assert "the tokenizer in" in sentence(capsys, "convert", str(source), str(tmp_path / "model"))
    (source / "config.json").write_text("version https://git-lfs.github.com/spec/v1\n")
    assert "git lfs pull" in sentence(capsys, "convert", str(source), str(tmp_path / "model"))


def test_pairs_of_poses_that_are_all_alike_end() -> None:
    pool = PosePool(
        PoseSet.labelled(np.zeros((40, 24, 3), np.float32), np.full(40, "x")), constructed_share=0.0
    )
    with pytest.raises(ValueError, match="the poses are all alike"):
        PairSampler(pool).triplets(np.random.default_rng(0), 10)


def test_poses_of_a_test_split_alone_are_measured_on(tmp_path: Path) -> None:
    from training.evaluate.benchmarks import pose_pool

    quat = np.zeros((6, 24, 4), np.float32)
    quat[..., 0] = 1
    np.savez(tmp_path / "poses.npz", quat_wxyz=quat, split=np.full(6, "test"))
    for split in ("train", "val"):
        assert pose_pool(tmp_path / "poses.npz", split).draw(np.random.default_rng(0), 4).shape == (4, 24, 3)


def write_half(output: Path, error: Exception) -> None:
    with model_folder(output) as partial:
        (partial / "half").write_text("x")
        raise error


def test_a_full_disk_is_told_with_its_path(tmp_path: Path) -> None:
    for error in (
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("[enforce fail at inline_container.cc] . PytorchStreamWriter failed: file write failed"),
        ValueError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ):
        with pytest.raises(OSError, match=f"the disk of {tmp_path / 'model'} is full"):
            write_half(tmp_path / "model", error)
        assert not any(tmp_path.iterdir())
    with pytest.raises(ValueError, match="another matter"), writing_to(tmp_path):
        raise ValueError("another matter")


def test_a_new_model_keeps_the_card_of_the_one_before(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for name in ("config.json", "README.md", "model.safetensors"):
        (model / name).write_text("old")
    with model_folder(model) as partial:
        (partial / "config.json").write_text("new")
    assert {file.name: file.read_text() for file in model.iterdir()} == {
        "config.json": "new",
        "README.md": "old",
    }


def test_an_unknown_command_is_told_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    said = sentence(capsys, "trian", status=2)
    assert "Did you mean train?" in said
    for command in (
        "batch",
        "convert",
        "data",
        "eval",
        "export",
        "info",
        "serve",
        "train",
        "train-retrieval",
    ):
        assert command in said


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("posellava ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["data", "build", "descriptions", "--count", "4", "--poses", "P", "--output", "O"],
            "uses no --poses",
        ),
        (["data", "show", "situations", "--poses", "P", "--json"], "uses no --poses"),
        (
            ["data", "build", "directives", "--count", "4", "--split", "test", "--output", "O"],
            "splits train and val",
        ),
        (["data", "build", "rpe", "--annotations", "P", "--split", "val", "--output", "O"], "has no splits"),
        (
            ["data", "build", "conversations", "--annotations", "P", "--split", "test", "--output", "O"],
            "splits train and val",
        ),
        (["data", "build", "captions", "--count", "4", "--noise", "3", "--output", "O"], "uses no --noise"),
        (["data", "build", "captions", "--count", "4", "--images", "P", "--output", "O"], "uses no --images"),
        (["data", "build", "directives", "--count", "4", "--body", "P", "--output", "O"], "uses no --body"),
        (
            ["data", "build", "human36m", "--poses", "P", "--annotations", "P", "--output", "O"],
            "uses no --poses",
        ),
        (
            ["data", "build", "captions", "--count", "4", "--poses", "P", "--output", "P/x"],
            "choose a folder elsewhere",
        ),
        (["eval", "--suite", "generation", "--cases", "P"], "leave --cases out"),
        (["eval", "--suite", "generation", "--frame", "camera"], "--frame is of --samples"),
        (["eval", "--suite", "posepart", "--samples", "S.json", "--json", "S.json"], "would overwrite"),
        (["data", "show", "S.json", "--json", "S.json"], "would overwrite"),
        (
            ["data", "rewrite", "P", "--output", "P", "--url", "http://127.0.0.1:9", "--model", "m"],
            "would overwrite",
        ),
    ],
)
def test_an_option_that_would_do_nothing_or_harm_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    (tmp_path / "P").mkdir()
    (tmp_path / "S.json").write_text(json.dumps([]))
    places = {name: str(tmp_path / name) for name in ("P", "O", "S.json", "P/x")}
    assert words in sentence(capsys, *(places.get(argument, argument) for argument in arguments))
    assert (tmp_path / "S.json").read_text() == "[]"
