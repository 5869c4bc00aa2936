# SPDX-License-Identifier: Apache-2.0
"""Adjustment from a picture and words: the data, the model that ships, and the suite."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from backend.engines import SHIPPED_MODEL
from backend.engines.torch import TorchEngine
from blender_addon.contract.kinematics import heading, yaw_matrix
from blender_addon.contract.rotations import axis_angle_to_matrix, geodesic_degrees, matrix_to_axis_angle
from training.data.cli import data
from training.data.images import show_start
from training.data.pool import PosePool
from training.data.posepart import PairSampler
from training.data.samples import Sample, open_image
from training.data.shards import SampleSource
from training.evaluate.cli import evaluate
from training.evaluate.contestants import query_of


def pairs(count: int) -> list[Sample]:
    return PairSampler(PosePool(None)).draw_many(np.random.default_rng(3), count)


def test_start_and_target_are_turned_alike_to_how_the_camera_sees_them() -> None:
    for sample in pairs(4):
        shown = show_start(np.random.default_rng(1), sample, "both")
        turns = [
            axis_angle_to_matrix(after[0]) @ axis_angle_to_matrix(before[0]).T
            for before, after in ((sample.pose_aa, shown.pose_aa), (sample.target_aa, shown.target_aa))
        ]
        assert np.allclose(turns[0], turns[1], atol=1e-5)
        assert np.allclose(turns[0] @ [0, 1, 0], [0, 1, 0], atol=1e-5)  # about the vertical
        assert np.allclose(shown.target_aa[1:], sample.target_aa[1:], atol=1e-5)
        assert open_image(shown.image).size in {(256, 256), (320, 240), (240, 320)}


@pytest.mark.parametrize("start", ["image", "both"])
def test_pictures_of_starts_are_built_into_shards(tmp_path: Path, start: str) -> None:
    arguments = ["build", "posepart", "--count", "2", "--shard-size", "2", "--output", str(tmp_path / "out")]
    assert data([*arguments, "--start", start]) == 0
    for row in range(2):
        sample = SampleSource(tmp_path / "out").read(0, row)
        assert sample.task == "adjust"
        assert sample.image is not None
        assert (sample.pose_aa is None) == (start == "image")


@pytest.mark.slow
def test_the_model_that_ships_adjusts_the_pose_that_it_sees() -> None:
    """What it is not asked to move stays near the pose in the picture, which it was not given, and faces as there."""
    start = matrix_to_axis_angle(np.broadcast_to(np.eye(3), (24, 3, 3))).astype(np.float32)
    start[16, 2], start[17, 2] = -1.2, 1.2
    start[0] = matrix_to_axis_angle(yaw_matrix(np.radians(30)))
    sample = Sample("a", "adjust", "k", "raise your left arm to the side", start, start)
    shown = show_start(np.random.default_rng(5), sample, "both")
    engine = TorchEngine.load(SHIPPED_MODEL, threads=1)
    answer, seen = engine.answer(
        [query_of(shown, "image"), query_of(Sample("e", "estimate", "k", "", image=shown.image))]
    )
    assert answer.pose_aa is not None
    gap = geodesic_degrees(axis_angle_to_matrix(answer.pose_aa), axis_angle_to_matrix(seen.pose_aa))
    assert gap[16] > 30  # the left shoulder moved
    assert np.median(gap) < 5
    faces = [heading(axis_angle_to_matrix(pose[0])) for pose in (answer.pose_aa, shown.pose_aa)]
    assert abs(np.degrees(faces[0] - faces[1])) < 30


def test_a_picture_beside_a_pose_changes_nothing_for_a_model_that_reads_the_pose() -> None:
    shown = show_start(np.random.default_rng(5), pairs(1)[0], "both")
    engine = TorchEngine.load(SHIPPED_MODEL, threads=1)
    with_picture, without = engine.answer([query_of(shown, "both"), query_of(shown, "pose")])
    assert np.array_equal(with_picture.pose_aa, without.pose_aa)


@pytest.mark.slow
def test_the_suites_of_edits_may_start_from_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--suite", "posepart", "--count", "3", "--threads", "1", "--json", str(tmp_path / "r.json")]
    assert evaluate([*arguments, "--start", "image"]) == 0
    record = json.loads((tmp_path / "r.json").read_text())
    assert record["start"] == "image"
    assert record["copy"]["mpjpe"] > 0
    assert "edits start from: image" in capsys.readouterr().out
    assert evaluate(["--suite", "generation", "--count", "3", "--start", "image"]) == 1
    assert "edits nothing: leave --start out" in capsys.readouterr().err
