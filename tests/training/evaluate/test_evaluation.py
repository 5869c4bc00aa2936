# SPDX-License-Identifier: Apache-2.0
"""Benchmarks, baselines and scoring: the same cases for everyone, and failures counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from backend.query import Answer
from blender_addon.contract.skeleton import STANDING_POSE
from training.data.pool import PosePool, with_heading
from training.data.sources.pose_set import PoseSet
from training.evaluate import metrics
from training.evaluate.benchmarks import Benchmark, build_benchmark, pose_pool
from training.evaluate.bootstrap import Bootstrap
from training.evaluate.contestants import Answers, Baselines, copy_answers, mean_answers, mean_pose
from training.evaluate.pictures import extremes
from training.evaluate.report import Report, as_json, as_table
from training.evaluate.scoring import PoseVectors, by_kind, figures, measure


@pytest.fixture(scope="module")
def pool() -> PosePool:
    return PosePool(None)


@pytest.fixture(scope="module")
def posepart(pool: PosePool) -> Benchmark:
    return build_benchmark("posepart", pool, count=120, seed=4)


def flat(poses: np.ndarray) -> np.ndarray:
    """A stand-in for an encoder."""
    return poses.reshape(len(poses), -1).astype(np.float64) + 0.01


@pytest.mark.slow
@pytest.mark.parametrize("suite", ["posepart", "posefix", "generation"])
def test_the_same_seed_gives_the_same_cases_and_another_seed_others(pool, suite):
    first, again = (build_benchmark(suite, pool, count=30, seed=1) for _ in range(2))
    other = build_benchmark(suite, pool, count=30, seed=2)
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert np.array_equal(first.targets_aa, again.targets_aa)
    assert len(first.descriptions) == 30


def test_posepart_cases_are_grouped_by_the_part_that_changes(posepart):
    kinds = {sample.kind for sample in posepart.samples}
    assert {"left arm", "right leg", "head"} <= kinds <= {
        "left arm", "right arm", "left leg", "right leg", "head", "trunk",
    }  # fmt: skip


def test_the_copy_baseline_has_no_drift_and_its_own_ratio_is_one(posepart):
    copy = measure(posepart, copy_answers(posepart.samples), [], seed=0)
    found = figures(copy, Bootstrap(120), copy)
    assert found["drift_p95"].value == 0
    assert found["mpjpe_to_copy"].value == 1
    assert "no_pose" not in found  # who always answers with a pose is not praised for it


def test_true_answers_have_no_error_and_are_found_first(posepart):
    right = Answers(posepart.targets_aa, np.zeros(120, bool))
    copy = measure(posepart, copy_answers(posepart.samples), [], seed=0)
    found = figures(measure(posepart, right, [PoseVectors("", flat)], seed=0), Bootstrap(120), copy)
    assert found["mpjpe"].value < 1e-6
    assert found["pa_mpjpe"].value < 1e-3
    assert found["r_at_1"].value == 100
    assert found["drift_p95"].value < 1e-6


def test_an_answer_without_a_pose_is_the_worse_baseline_and_never_found(posepart):
    targets, samples = posepart.targets_aa, posepart.samples
    baselines = Baselines.of(samples, STANDING_POSE)
    copy, mean = baselines.copy, baselines.mean
    replies = [Answer(pose, "") for pose in targets]
    replies[3] = Answer(None, "no")
    replies[5] = Answer(np.full((24, 3), np.nan, np.float32), "")
    answers = baselines.scored(replies, targets, declines=True)
    errors = measure(posepart, answers, [PoseVectors("", flat)], seed=0)
    worse = np.maximum(metrics.mpjpe(copy.poses_aa, targets), metrics.mpjpe(mean.poses_aa, targets))
    assert np.flatnonzero(answers.failed).tolist() == [3, 5]
    assert errors.values["mpjpe"][[3, 5]] == pytest.approx(worse[[3, 5]])
    assert errors.values["r_at_10"][[3, 4, 5]].tolist() == [0, 100, 0]
    assert errors.values["no_pose"].mean() == pytest.approx(100 * 2 / 120)


def test_the_mean_pose_is_scipys_mean_of_the_rotations():
    rng = np.random.default_rng(0)
    poses = rng.normal(0, 0.3, (50, 24, 3)).astype(np.float32)
    pool = PosePool(PoseSet.labelled(poses, np.full(50, "x")), constructed_share=0.0)
    drawn = with_heading(pool.draw(np.random.default_rng(0), 4000), np.zeros(4000))
    expected = [Rotation.from_rotvec(drawn[:, joint]).mean().as_rotvec() for joint in range(24)]
    assert np.abs(mean_pose(pool) - expected).max() < 1e-4


def test_the_mean_pose_is_turned_to_face_as_the_start_does(posepart):
    answers = mean_answers(posepart.samples, STANDING_POSE)
    standing = copy_answers(posepart.samples)
    aligned = metrics.mpjpe(answers.poses_aa, standing.poses_aa).mean()
    unaligned = metrics.mpjpe(np.repeat(STANDING_POSE[None], 120, axis=0), standing.poses_aa).mean()
    assert aligned < 0.8 * unaligned


def test_the_report_holds_every_contestant_with_intervals_around_the_values(posepart):
    copy = measure(posepart, copy_answers(posepart.samples), [], seed=0)
    mean = measure(posepart, mean_answers(posepart.samples, STANDING_POSE), [], seed=0)
    errors = {"model": copy, "copy": copy, "mean_pose": mean}
    bootstrap = Bootstrap(120)
    about = {
        "suite": "posepart", "cases": 120, "seed": 4, "pool": 100, "poses": "constructed poses",
        "model_name": "nothing", "fingerprint": posepart.fingerprint,
    }  # fmt: skip
    contestants = {name: figures(one, bootstrap, copy) for name, one in errors.items()}
    report = Report(about, contestants, by_kind(posepart, errors))
    record = as_json(report)
    assert record["model"]["mpjpe"] == record["copy"]["mpjpe"] == pytest.approx(copy.values["mpjpe"].mean())
    for name in errors:
        for figure, value in record[name].items():
            low, high = record["intervals"][name][figure]
            assert low <= value <= high
    assert sum(kind["cases"] for kind in record["kinds"].values()) == 120
    assert f"{record['mean_pose']['mpjpe']:.1f} [" in as_table(report)


def test_extremes_are_the_least_the_middle_and_the_greatest_errors():
    errors = np.random.default_rng(0).permutation(30).astype(float)
    found: dict[str, list[float]] = {}
    for sort, case in extremes(errors, each=3):
        found.setdefault(sort, []).append(errors[case])
    assert found == {"best": [0, 1, 2], "median": [14, 15, 16], "worst": [27, 28, 29]}
    assert [sort for sort, _ in extremes(np.array([1.0, 0.0]))] == ["best", "median", "worst"]


def test_cases_come_from_the_val_split_where_there_is_one_and_else_from_all_poses(tmp_path):
    quat = Rotation.from_rotvec(np.random.default_rng(0).normal(0, 0.3, (240, 3))).as_quat(scalar_first=True)
    quat = quat.reshape(10, 24, 4)
    plain, split = tmp_path / "plain.npz", tmp_path / "split.npz"
    np.savez(plain, quat_wxyz=quat)
    np.savez(split, quat_wxyz=quat, split=np.array(["train"] * 6 + ["val"] * 4))
    only_train = tmp_path / "train.npz"
    np.savez(only_train, quat_wxyz=quat, split=np.full(10, "train"))

    def different(path: Path, part: str) -> int:
        drawn = pose_pool(path, part).draw(np.random.default_rng(0), 400)
        # A pose and its mirror image have the same sum of squares.
        return len(np.unique((drawn**2).sum(axis=(1, 2)).round(4)))

    assert [different(path, "val") for path in (plain, split, only_train)] == [10, 4, 10]
    assert different(split, "train") == 6
