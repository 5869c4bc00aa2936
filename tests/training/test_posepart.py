# SPDX-License-Identifier: Apache-2.0
"""PosePart and PoseFix-style triplets: which joints change, and where from."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from blender_addon.contract.skeleton import BODY_PARTS
from training.data.captions.correction import Corrector
from training.data.captions.sampler import CaptionSampler
from training.data.cli import data
from training.data.pool import PosePool, with_heading
from training.data.posepart import POSEPART_PARTS, PairSampler, PairSettings
from training.data.registry import SOURCES, Build
from training.data.shards import SampleSource
from training.data.sources.constructed import constructed_poses
from training.data.sources.pose_set import PoseSet


@pytest.fixture(scope="module")
def pool():
    return PosePool(None)


def changed(triplets):
    return np.abs(triplets.before_aa - triplets.after_aa).max(axis=2) > 1e-6


def test_one_part_changes_and_nothing_else(pool):
    made = PairSampler(pool).triplets(np.random.default_rng(0), 400)
    for joints in changed(made):
        moved = set(np.flatnonzero(joints))
        assert any(moved <= set(part) for part in POSEPART_PARTS.values())
        assert moved


def test_every_part_is_chosen_now_and_then(pool):
    made = PairSampler(pool).triplets(np.random.default_rng(0), 600)
    assert (made.parts.sum(axis=1) == 1).all()
    shares = made.parts.mean(axis=0)[1:]
    assert shares.min() > 0.04


def test_the_part_comes_from_another_pose_of_the_pool():
    poses = constructed_poses(np.random.default_rng(1), 40)
    pool = PosePool(PoseSet.labelled(poses, np.full(40, "x")), constructed_share=0.0)
    made = PairSampler(pool, PairSettings(related_share=0.5)).triplets(np.random.default_rng(0), 100)
    known = np.concatenate([poses.reshape(-1, 3), poses.reshape(-1, 3) * (1, -1, -1)])
    for after, joints in zip(made.after_aa, changed(made), strict=True):
        for joint in np.flatnonzero(joints):
            assert np.abs(known - after[joint]).max(axis=1).min() < 1e-5


def test_noise_touches_the_other_parts_only_when_asked_for(pool):
    quiet = PairSampler(pool).triplets(np.random.default_rng(0), 50)
    noisy = PairSampler(pool, PairSettings(noise_degrees=2.0)).triplets(np.random.default_rng(0), 50)
    assert changed(quiet).sum(axis=1).max() <= 4
    assert changed(noisy).sum(axis=1).min() >= 20
    turned = np.degrees(np.abs(noisy.before_aa - noisy.after_aa)[~noisy.parts[:, 1], 3])
    assert 0.3 < turned.mean() < 4


def test_several_parts_change_in_posefix_pairs(pool):
    made = PairSampler(pool, PairSettings(several=True)).triplets(np.random.default_rng(0), 500)
    counts = made.parts.sum(axis=1)
    assert counts.min() >= 2
    assert 0.04 < (counts == 7).mean() < 0.2
    words = np.array([len(text.split()) for text in made.texts])
    assert words.mean() > 1.3 * np.mean([len(text.split()) for text in PairSampler(pool).triplets(
        np.random.default_rng(0), 500).texts])  # fmt: skip


def test_part_of_the_way_is_on_the_shortest_turn(pool):
    sampler = PairSampler(pool, PairSettings(partial_share=1.0))
    whole = PairSampler(pool)
    made, full = (one.triplets(np.random.default_rng(4), 300) for one in (sampler, whole))

    def turned(triplets):
        before, after = (
            Rotation.from_rotvec(poses.reshape(-1, 3)) for poses in (triplets.before_aa, triplets.after_aa)
        )
        return (before.inv() * after).magnitude().reshape(-1, 24).max(axis=1)

    assert turned(made).mean() < 0.75 * turned(full).mean()


def test_the_heading_is_any_and_stays(pool):
    made = PairSampler(pool).triplets(np.random.default_rng(0), 300)
    roots = Rotation.from_rotvec(made.before_aa[:, 0]).as_matrix()
    yaw = np.arctan2(roots[:, 0, 2], roots[:, 2, 2])
    assert np.abs(np.histogram(yaw, 4, (-np.pi, np.pi))[0] / 300 - 0.25).max() < 0.12
    assert np.array_equal(made.before_aa[:, 0], made.after_aa[:, 0])


def test_a_seed_decides_everything(pool):
    sampler = PairSampler(pool)
    first, second = (sampler.triplets(np.random.default_rng(9), 40) for _ in range(2))
    assert first.texts == second.texts
    assert np.array_equal(first.after_aa, second.after_aa)


def test_samples_are_edits_with_words(pool):
    sample = PairSampler(pool, PairSettings(several=True)).draw(np.random.default_rng(0))
    assert (sample.task, sample.kind) == ("adjust", "posefix")
    assert sample.instruction
    assert sample.pose_aa.shape == sample.target_aa.shape == (24, 3)


def test_captions_are_of_poses_without_heading(pool):
    samples = CaptionSampler(pool).draw_many(np.random.default_rng(0), 30)
    for sample in samples:
        assert (sample.task, sample.kind, sample.pose_aa) == ("generate", "caption", None)
        ahead = Rotation.from_rotvec(sample.target_aa[0]).as_matrix()[:, 2]
        assert np.hypot(ahead[0], ahead[2]) < 0.3 or abs(np.arctan2(ahead[0], ahead[2])) < 1e-4


def test_a_heading_can_be_given():
    poses = constructed_poses(np.random.default_rng(0), 50)
    turned = with_heading(poses, np.full(50, 1.0))
    ahead = Rotation.from_rotvec(turned[:, 0]).as_matrix()[:, :, 2]
    upright = np.hypot(ahead[:, 0], ahead[:, 2]) > 0.35
    assert np.allclose(np.arctan2(ahead[upright, 0], ahead[upright, 2]), 1.0, atol=1e-4)


def test_constructed_poses_are_within_the_limits_of_joints():
    poses = constructed_poses(np.random.default_rng(0), 2000)
    assert poses.shape == (2000, 24, 3)
    angle = np.degrees(np.linalg.norm(poses, axis=2))
    for joint, limit in {
        4: 141,
        5: 141,
        18: 146,
        19: 146,
        3: 50,
        6: 50,
        9: 50,
        12: 60,
        15: 60,
        22: 0,
        23: 0,
    }.items():
        assert angle[:, joint].max() <= limit + 1e-3
    knees = poses[:, [4, 5]]
    assert knees[..., 0].min() >= 0
    assert np.abs(knees[..., 1:]).max() < 1e-6
    assert (poses[:, 18, 1] <= 1e-6).all()
    assert (poses[:, 19, 1] >= -1e-6).all()


def test_words_are_of_the_part_only_even_with_noise_elsewhere(pool):
    made = PairSampler(pool, PairSettings(noise_degrees=2.0)).triplets(np.random.default_rng(3), 400)
    other = {"left": "right", "right": "left"}
    for text, parts in zip(made.texts, made.parts, strict=True):
        name = list(BODY_PARTS)[int(parts.argmax())]
        said = text.lower()
        if name.endswith("_arm"):
            elsewhere = r"\b(leg|knee|thigh|foot|toes|torso|chin)s? (more|a lot|up|down|should)"
            assert not re.search(elsewhere, said), text
        if name.split("_")[0] in other:
            side = other[name.split("_")[0]]
            moved = rf"(raise|lower|lift|bend|straighten|extend|flex) (your|the) {side} "
            assert not re.search(moved, said), text


def test_nudges_are_smaller_than_whole_changes(pool):
    build = Build("nudges", Path(), 200)
    samples = SOURCES["nudges"].open(build)(np.random.default_rng(0), 200)
    whole = SOURCES["posepart"].open(build)(np.random.default_rng(0), 200)
    assert {sample.kind for sample in samples} == {"nudge"}
    moves = [
        np.mean([np.abs(one.target_aa - one.pose_aa).sum() for one in group]) for group in (samples, whole)
    ]
    assert moves[0] < 0.75 * moves[1]


def test_the_command_line_sets_the_noise(tmp_path):
    assert data(["build", "posepart", "--output", str(tmp_path), "--count", "32", "--shard-size", "32",
                 "--noise", "2"]) == 0  # fmt: skip
    sample = SampleSource(tmp_path).read(0, 0)
    assert (np.abs(sample.pose_aa - sample.target_aa).max(axis=1) > 1e-6).sum() >= 20


def test_a_body_that_falls_over_is_told_by_its_posture_or_not_at_all():
    rng = np.random.default_rng(5)
    before = constructed_poses(rng, 60)
    before = before[np.abs(before[:, 0, [0, 2]]).max(axis=1) < 0.5]
    flat = np.zeros_like(before)
    flat[:, 0] = [-np.pi / 2, 0.0, 0.0]
    texts = [text for text in Corrector().instruct(before, flat, rng) if text is not None]
    assert len(texts) > 10
    assert all("lie" in text.lower() for text in texts), texts
    # The legs stay as they are, so that no posture is told of.
    flat[:, [1, 2, 4, 5, 7, 8, 10, 11]] = before[:, [1, 2, 4, 5, 7, 8, 10, 11]]
    assert Corrector().instruct(before, flat, rng) == [None] * len(before)
