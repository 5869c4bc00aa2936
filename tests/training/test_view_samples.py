# SPDX-License-Identifier: Apache-2.0
"""Sentences about the camera: what they ask for is done as the camera sees it, and without a view they ask for it."""

import itertools
import math
from collections import defaultdict

import numpy as np
import pytest
import torch

from backend.prompt import VERBAL_ANSWERS, VIEW_ANSWER
from blender_addon.contract.kinematics import forward_kinematics, heading
from blender_addon.contract.rotations import axis_angle_to_matrix
from blender_addon.contract.skeleton import JOINT_INDEX, STANDING_POSE
from training.data.patterns.drafts import Asked, Draft, in_view, solve_drafts, state_of
from training.data.patterns.saying import drawn, say
from training.data.patterns.viewing import SAYINGS, ViewSampler, read_view_file, view_patterns
from training.data.records import from_record, to_record
from training.data.samples import Sample, View
from training.data.shards import Shard, shard_name, write_shard
from training.data.starts import StartPoses


@pytest.fixture(scope="module")
def samples():
    return ViewSampler(StartPoses(None)).draw_many(np.random.default_rng(4), 120)


def _solved(text, tmp_path, start, side="L", **values):
    path = tmp_path / "turns.yaml"
    path.write_text(f"patterns:\n- {text}\n", encoding="utf-8")
    [pattern, *_], faults = read_view_file("turns", path)
    assert not faults
    asked = Asked(pattern, side, {"pitch": 0.0, **values})
    [outcome] = solve_drafts([Draft(state_of(start), [asked], in_view=True)])
    assert outcome.met
    return outcome


def _standing(degrees):
    pose = STANDING_POSE.copy()
    pose[0] = (0.0, np.radians(degrees), 0.0)
    return pose


def _positions(pose_aa):
    """(24, 3) joints of a pose in its own world, by the contract's kinematics instead of the solver's."""
    return forward_kinematics(axis_angle_to_matrix(np.asarray(pose_aa, dtype=np.float64)))[1]


def test_there_are_many_patterns_and_all_can_be_read():
    assert len(view_patterns()) > 120
    assert {pattern.kind for pattern in view_patterns()} == {
        "view.turns", "view.gaze", "view.sides", "view.depth", "view.gestures"
    }  # fmt: skip


@pytest.mark.slow
def test_every_sentence_can_be_said_of_either_side():
    rng = np.random.default_rng(0)
    for pattern in view_patterns():
        _, numbers = drawn(rng, pattern)
        for sentence, side in itertools.product(pattern.sentences, "LR"):
            said = say(rng, pattern, sentence.text, side, numbers)
            assert not set(said) & set("{}[]|"), said


@pytest.mark.slow
def test_a_wish_that_was_met_is_said_in_several_ways(samples):
    seen = [one for one in samples if one.view is not None and one.kind.startswith("view.")]
    words = defaultdict(set)
    for one in seen:
        words[one.pose_aa.tobytes() + one.target_aa.tobytes()].add(one.instruction)
    assert len(words) <= math.ceil(len(seen) / SAYINGS) + 1
    assert np.mean([len(ways) for ways in words.values()]) > 0.9 * SAYINGS


def test_a_turn_to_the_camera_ends_there_from_every_heading(tmp_path):
    for degrees in (-170, -60, 30, 140):
        outcome = _solved('{do: [face it], set: ["face 0"]}', tmp_path, _standing(degrees))
        assert heading(axis_angle_to_matrix(outcome.state.pose_aa)[0]) == pytest.approx(0, abs=1e-5)


def test_half_of_the_way_is_half_of_the_way(tmp_path):
    outcome = _solved('{do: [face it], set: ["face 0 0.5"]}', tmp_path, _standing(120))
    assert np.degrees(heading(axis_angle_to_matrix(outcome.state.pose_aa)[0])) == pytest.approx(60, abs=1e-3)


@pytest.mark.parametrize("degrees", [0.0, 150.0, -40.0])
def test_a_hand_moves_in_the_picture_however_the_body_stands(tmp_path, degrees):
    start = _standing(degrees)
    start[JOINT_INDEX["left_elbow"]] = (0.0, -1.2, 0.0)
    line = '{do: [x], move: L_arm, want: ["pos L_hand x += 0.12", "pos L_hand y keep"]}'
    outcome = _solved(line, tmp_path, start)
    before, after = _positions(start), _positions(outcome.state.pose_aa)
    hand, pelvis = JOINT_INDEX["left_hand"], JOINT_INDEX["pelvis"]
    moved = (after[hand] - after[pelvis]) - (before[hand] - before[pelvis])
    assert moved[0] == pytest.approx(0.12, abs=0.025)
    assert moved[1] == pytest.approx(0, abs=0.025)
    np.testing.assert_array_equal(outcome.state.pose_aa[0], start[0])


def test_a_pelvis_that_may_turn_keeps_its_heading(tmp_path):
    line = '{do: [x], move: root legs, want: ["tilt_fwd = 15"]}'
    outcome = _solved(line, tmp_path, _standing(35))
    assert np.degrees(outcome.state.yaw) == pytest.approx(35, abs=1e-4)
    facing = np.degrees(heading(in_view(outcome.state)[0].double().numpy()))
    assert facing == pytest.approx(35, abs=4)


def test_a_pattern_with_a_side_of_the_picture_stands_for_both(tmp_path):
    path = tmp_path / "sides.yaml"
    path.write_text(
        'words: {at: "on the {P}"}\npatterns:\n- {do: ["the hand {at}"], move: S_arm, '
        'want: ["pos S_hand x = {p}*0.5"], when: ["rel S_hand O_hand PX >= 0.1"]}\n',
        encoding="utf-8",
    )
    left, right = read_view_file("sides", path)[0]
    assert [one.sentences[0].text for one in (left, right)] == [
        "the hand on the left",
        "the hand on the right",
    ]
    # The camera sees +x, the left of a body that faces it, on its right.
    assert left.when == ("rel S_hand O_hand right >= 0.1",)
    assert left.want == ("pos S_hand x = (-1)*0.5",)
    assert right.when == ("rel S_hand O_hand left >= 0.1",)


@pytest.mark.slow
def test_samples_are_of_all_three_forms(samples):
    seen = [one for one in samples if one.view is not None and one.kind.startswith("view.")]
    unseen = [one for one in samples if one.kind.endswith(".unseen")]
    others = [one for one in samples if one.kind.endswith(".in_view")]
    assert min(len(seen), len(unseen), len(others)) >= 15
    assert len(seen) + len(unseen) + len(others) == len(samples)
    assert all(one.view is None and one.target_aa is None for one in unseen)
    assert {one.reply for one in unseen} == {VERBAL_ANSWERS[VIEW_ANSWER]}
    assert all(one.view is not None for one in others)


@pytest.mark.slow
def test_poses_of_seen_samples_stand_as_their_camera_sees_them(samples):
    for one in samples:
        if one.view is None or not one.kind.startswith("view."):
            continue
        root = axis_angle_to_matrix(np.asarray(one.pose_aa, dtype=np.float64))[0]
        away = np.degrees(heading(root) + one.view.yaw)
        assert (away + 180) % 360 - 180 == pytest.approx(0, abs=1e-3)


def test_shards_and_records_keep_the_view(tmp_path):
    view = View(0.5, -0.25)
    sample = Sample("s", "adjust", "view.turns", "face us", STANDING_POSE, STANDING_POSE, view=view)
    write_shard(tmp_path / shard_name(0), [sample, Sample("o", "generate", "k", "x", None, STANDING_POSE)])
    read = Shard(tmp_path / shard_name(0))
    assert read[0].view == view
    assert read[1].view is None
    assert from_record(to_record(sample), folder=tmp_path).view == view
    with pytest.raises(ValueError, match="view must be an object with yaw and pitch"):
        from_record({**to_record(sample), "view": {"yaw": "x"}}, folder=tmp_path)


def test_targets_are_learnt_in_the_cameras_frame():
    from backend.engines import SHIPPED_MODEL
    from backend.model import PoseLlavaProcessor
    from backend.prompt import COMPACT_VIEW
    from training.stages.batches import Collator

    loaded = PoseLlavaProcessor.from_pretrained(SHIPPED_MODEL)
    processor = PoseLlavaProcessor(
        loaded.image_processor, loaded.tokenizer, templates=loaded.templates, view_template=COMPACT_VIEW,
        patch_size=16, vision_feature_select_strategy="default",
    )  # fmt: skip
    # The camera is to the left of a body that faces 40 degrees, and the answer faces it.
    sample = Sample(
        "s", "adjust", "k", "face us", _standing(40), _standing(130), view=View(np.radians(90), 0.0)
    )
    batch = Collator(processor).instructions([sample])
    seen = batch.inputs["poses"][0].reshape(24, 2, 3)[0]
    torch.testing.assert_close(seen[0], torch.tensor([0.0, 0.0, 1.0]), atol=1e-5, rtol=0)
    torch.testing.assert_close(batch.targets[0, 0], torch.eye(3), atol=1e-5, rtol=0)
