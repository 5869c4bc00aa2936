# SPDX-License-Identifier: Apache-2.0
"""``posellava data build --poses`` on files and folders of recorded poses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from training.data.cli import data
from training.data.shards import SampleSource
from training.data.sources.constructed import constructed_poses
from training.data.sources.gathered import read_gathered
from training.data.sources.reading import read_poses

POSES = constructed_poses(np.random.default_rng(2), 60)


def recordings(folder: Path) -> Path:
    """Three files of twenty upright-world poses each."""
    folder.mkdir(parents=True)
    for number, name in enumerate(("walk", "sit", "dance")):
        poses = POSES[20 * number : 20 * number + 20]
        np.savez(folder / f"{name}.npz", global_orient=poses[:, 0], body_pose=poses[:, 1:].reshape(20, 69))
    return folder


@pytest.mark.parametrize("source", ["captions", "directives"])
def test_a_folder_is_read_once_for_a_build_and_its_continuation(tmp_path: Path, source: str) -> None:
    folder = recordings(tmp_path / "recorded")
    arguments = ["--poses", str(folder), "--output", str(tmp_path / "out"), "--shard-size", "4"]
    assert data(["build", source, *arguments, "--count", "4"]) == 0
    train = read_poses(folder, "train")
    gathered = read_gathered(tmp_path / "out")
    assert np.allclose(gathered.pose_aa, train.pose_aa, atol=1e-5)
    assert list(gathered.labels) == list(train.labels)
    for file in folder.iterdir():
        file.unlink()
    assert data(["build", source, *arguments, "--count", "8"]) == 0
    assert len(SampleSource(tmp_path / "out")) == 8


def test_the_two_splits_share_no_pose(tmp_path: Path) -> None:
    folder = recordings(tmp_path / "recorded")
    train, val = (read_poses(folder, split) for split in ("train", "val"))
    assert len(train) + len(val) == 60
    assert len(val) == 20
    assert not set(train.labels) & set(val.labels)


def test_folders_named_after_splits_are_heeded(tmp_path: Path) -> None:
    folder = tmp_path / "sequenceFiles"
    for split in ("train", "validation", "test"):
        recordings(folder / split)
    assert len(read_poses(folder, "train")) == len(read_poses(folder, "val")) == 60
    (folder / "validation").rename(folder / "more")
    assert len(read_poses(folder, "train")) + len(read_poses(folder, "val")) == 120


def test_what_is_missing_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = ["--output", str(tmp_path / "out")]
    for arguments, reason in (
        (["captions", *output], "say how many samples of captions with --count"),
        (["captions", "--count", "4", "--poses", str(tmp_path / "no"), *output], "there are no poses at"),
        (
            ["captions", "--count", "4", "--split", "test", "--poses", str(tmp_path / "no"), *output],
            "splits train and val",
        ),
        (["3dpw", "--annotations", str(tmp_path), *output], "say where its pictures are with --images"),
        (["human36m", *output], "say where its texts or annotations are with --annotations"),
    ):
        assert data(["build", *arguments]) == 1
        said = capsys.readouterr().err
        assert reason in said
        assert said.count("\n") == 1
