# SPDX-License-Identifier: Apache-2.0
"""Errors, drift, ranks and intervals against independent references."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.spatial import distance, procrustes
from scipy.spatial.transform import Rotation

from blender_addon.contract.skeleton import JOINT_INDEX
from training.evaluate import metrics
from training.evaluate.bootstrap import Bootstrap
from training.evaluate.contestants import Answers
from training.evaluate.sharpness import Sharpness, of_all_offered

from ..scipy_chain import chain


@pytest.fixture
def pairs() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    first = rng.normal(0, 0.5, (20, 24, 3))
    return first, first + rng.normal(0, 0.15, first.shape)


def joints(pose_aa: np.ndarray) -> np.ndarray:
    """(24, 3) mm, by scipy's rotations."""
    return 1000 * chain(pose_aa)[1]


def test_mpjpe_is_the_mean_distance_of_pelvis_aligned_joints(pairs):
    for answer, target, found in zip(*pairs, metrics.mpjpe(*pairs), strict=True):
        gaps = [distance.euclidean(a, b) for a, b in zip(joints(answer), joints(target), strict=True)]
        assert found == pytest.approx(np.mean(gaps))


def test_pa_mpjpe_agrees_with_scipys_procrustes_analysis(pairs):
    for answer, target, found in zip(*pairs, metrics.pa_mpjpe(*pairs), strict=True):
        wanted, given = joints(target), joints(answer)
        size = np.linalg.norm(wanted - wanted.mean(axis=0))
        first, second, _ = procrustes(wanted, given)
        expected = size * np.linalg.norm(first - second, axis=1).mean()
        assert found == pytest.approx(expected)


def test_pa_mpjpe_ignores_the_global_orientation_and_mpjpe_does_not(pairs):
    poses, _ = pairs
    turned = poses.copy()
    turned[:, 0] = (
        Rotation.from_euler("y", 50, degrees=True) * Rotation.from_rotvec(poses[:, 0])
    ).as_rotvec()
    assert metrics.pa_mpjpe(turned, poses).max() < 1e-6
    assert metrics.mpjpe(turned, poses).min() > 50


def test_pa_mpjpe_never_reflects(monkeypatch):
    """Points against their mirror image: scipy's analysis may reflect and then finds no error at all."""
    points = _centred(np.random.default_rng(1).normal(size=(24, 3)))
    mirrored = points * (1, 1, -1)
    assert procrustes(points, mirrored)[2] < 1e-9
    monkeypatch.setattr(metrics, "joint_positions", np.asarray)
    rotation, _ = Rotation.align_vectors(points, mirrored)
    turned = rotation.apply(mirrored)
    scale = (turned * points).sum() / (turned**2).sum()
    expected = 1000 * np.linalg.norm(scale * turned - points, axis=1).mean()
    assert metrics.pa_mpjpe(mirrored[None], points[None])[0] == pytest.approx(expected)


def _centred(points: np.ndarray) -> np.ndarray:
    return points - points.mean(axis=0)


def test_mpjre_is_the_mean_angle_of_the_relative_rotations(pairs):
    for answer, target, found in zip(*pairs, metrics.mpjre(*pairs), strict=True):
        relative = Rotation.from_rotvec(answer).inv() * Rotation.from_rotvec(target)
        assert found == pytest.approx(np.degrees(relative.magnitude()).mean())


def test_drift_counts_joints_that_were_to_stay_and_no_others():
    start, target, answer = (np.zeros((1, 24, 3)) for _ in range(3))
    target[0, JOINT_INDEX["left_elbow"]] = (0, 1, 0)
    answer[0, JOINT_INDEX["left_elbow"]] = (0, 0.9, 0)
    answer[0, JOINT_INDEX["neck"]] = np.radians((0, 7, 0))
    found = metrics.drift(answer, start, target)[0]
    counted = ~np.isnan(found)
    left_out = {JOINT_INDEX[name] for name in ("left_elbow", "left_hand", "right_hand")}
    assert set(np.flatnonzero(~counted)) == left_out
    assert found[JOINT_INDEX["neck"]] == pytest.approx(7)
    assert np.nansum(found) == pytest.approx(7)


def test_each_pool_holds_its_own_case_first_and_distinct_others():
    pools = metrics.draw_pools(np.random.default_rng(0), 250, 100)
    assert (pools[:, 0] == np.arange(250)).all()
    assert all(len(set(pool)) == 100 for pool in pools)
    assert metrics.draw_pools(np.random.default_rng(0), 30, 100).shape == (30, 30)


def test_ranks_agree_with_sorting_scipys_cosine_distances():
    rng = np.random.default_rng(2)
    gallery = rng.normal(size=(60, 8))
    queries = gallery + rng.normal(size=gallery.shape)
    pools = metrics.draw_pools(rng, 60, 20)
    far = distance.cdist(queries, gallery, "cosine")
    expected = [stats.rankdata(far[case][pool])[0] for case, pool in enumerate(pools)]
    assert metrics.ranks(queries, gallery, pools).tolist() == expected


def test_embeddings_that_are_all_alike_find_nothing():
    same = np.ones((40, 4))
    assert (metrics.ranks(same, same, metrics.draw_pools(np.random.default_rng(0), 40, 20)) == 20).all()


def test_the_interval_of_a_mean_is_that_of_normal_theory():
    values = np.random.default_rng(3).gamma(2.0, 10.0, 800)
    found = Bootstrap(800, seed=1).mean(values)
    low, high = stats.norm.interval(0.95, values.mean(), stats.sem(values))
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(low, abs=0.3)
    assert found.high == pytest.approx(high, abs=0.3)


def test_the_interval_of_a_median_agrees_with_scipys_bootstrap():
    values = np.random.default_rng(4).gamma(2.0, 10.0, 300)
    found = Bootstrap(300, seed=1).percentile(values[:, None], 50)
    reference = stats.bootstrap(
        (values,), np.median, n_resamples=1000, method="percentile", random_state=5
    ).confidence_interval
    assert found.value == pytest.approx(np.median(values))
    assert found.low == pytest.approx(reference.low, abs=0.6)
    assert found.high == pytest.approx(reference.high, abs=0.6)


def test_the_ratio_of_means_is_resampled_together():
    values = np.random.default_rng(5).gamma(2.0, 10.0, 300)
    found = Bootstrap(300).ratio(0.5 * values, values)
    assert (found.value, found.low, found.high) == pytest.approx((0.5, 0.5, 0.5))


def test_a_percentile_passes_over_missing_values():
    values = np.array([[1.0, np.nan], [3.0, 5.0]])
    assert Bootstrap(2).percentile(values, 50).value == 3.0


def test_sharpness_tells_a_real_pose_from_the_mean_of_two() -> None:
    real = np.zeros((2, 24, 3), dtype=np.float32)
    real[0, 16, 2], real[1, 16, 2] = 1.2, -1.2  # the left arm up, or down
    mean = np.zeros((24, 3), dtype=np.float32)
    turned = real.copy()
    turned[:, 0, 1] = 0.7  # a heading is no difference
    found = Sharpness(real, mean).measure(np.stack([*turned, mean]))
    assert found["nearest_real"][:2].max() < 0.1
    assert found["nearest_real"][2] > 20.0
    assert found["near_mean"].tolist() == [100.0, 100.0, 100.0]
    far = real[:1].copy()
    far[0, [1, 2], 0] = -1.5
    assert Sharpness(real, mean).measure(far)["near_mean"].tolist() == [0.0]


def test_of_several_answers_the_best_the_second_and_their_distance_are_told() -> None:
    rng = np.random.default_rng(0)
    targets = rng.normal(0, 0.3, (3, 24, 3)).astype(np.float32)
    others = rng.normal(0, 0.3, (3, 24, 3)).astype(np.float32)
    offered = np.stack([others, targets], axis=1)
    figures = of_all_offered(Answers(others, np.zeros(3, dtype=bool), offered=offered), targets)
    np.testing.assert_allclose(figures["best_mpjpe"], 0.0, atol=1e-6)
    np.testing.assert_allclose(figures["second_mpjpe"], 0.0, atol=1e-6)
    np.testing.assert_allclose(figures["apart"], metrics.mpjpe(others, targets), rtol=1e-5)
