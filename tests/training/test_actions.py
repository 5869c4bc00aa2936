# SPDX-License-Identifier: Apache-2.0
"""Poses asked for by an action or a situation: what the tables say, and that the poses fit."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from blender_addon.contract.kinematics import forward_kinematics, mirror_pose
from blender_addon.contract.rotations import axis_angle_to_matrix
from blender_addon.contract.skeleton import JOINT_INDEX
from training.data.actions.actions import ActionSampler, action_text, clean_label, load_actions
from training.data.actions.situations import SituationSampler, build_posture, load_situations
from training.data.registry import SOURCES, Build
from training.data.sources.constructed import constructed_poses
from training.data.sources.pose_set import PoseSet


@pytest.fixture(scope="module")
def labelled():
    poses = constructed_poses(np.random.default_rng(0), 40)
    labels = np.array(["salsa dance"] * 20 + ["crawl_through_03_poses"] * 10 + [""] * 10)
    return PoseSet.labelled(poses, labels)


def joints(name, number=0):
    pose = build_posture(load_situations()["situations"][name]["postures"][number]).to_pose()
    return forward_kinematics(axis_angle_to_matrix(pose))[1]


def test_only_labelled_poses_are_drawn_and_said_by_their_label(labelled):
    samples = ActionSampler(labelled).draw_many(np.random.default_rng(0), 200)
    known = np.concatenate([labelled.pose_aa, mirror_pose(labelled.pose_aa)])
    for sample in samples:
        rows = np.flatnonzero(np.abs(known[:, 1:] - sample.target_aa[1:]).max(axis=(1, 2)) < 1e-5) % 40
        label = labelled.labels[rows[0]]
        assert label
        assert (sample.task, sample.kind, sample.pose_aa) == ("generate", "action", None)
    texts = " ".join(sample.instruction.lower() for sample in samples)
    assert texts.count("salsa") > 30
    assert texts.count("crawl through") > 30
    assert "poses" not in texts
    assert "03" not in texts


def test_the_poses_of_actions_have_no_heading(labelled):
    for sample in ActionSampler(labelled).draw_many(np.random.default_rng(1), 50):
        ahead = Rotation.from_rotvec(sample.target_aa[0]).as_matrix()[:, 2]
        assert np.hypot(ahead[0], ahead[2]) < 0.3 or abs(np.arctan2(ahead[0], ahead[2])) < 1e-4


def test_poses_without_labels_are_refused(labelled):
    with pytest.raises(ValueError, match="label"):
        ActionSampler(PoseSet.labelled(labelled.pose_aa, np.full(40, "")))


def test_actions_ask_for_a_pose_file():
    with pytest.raises(ValueError, match="--poses"):
        SOURCES["actions"].open(Build("actions", Path(), 1))


def test_file_names_become_words():
    assert clean_label("walk_forward_02_poses") == "walk forward"
    assert clean_label("Start Hop Stop") == "start hop stop"


def test_every_known_label_is_said_without_a_side_and_filled_in():
    rng = np.random.default_rng(0)
    for label in load_actions()["labels"]:
        for _ in range(20):
            text = action_text(rng, label)
            assert not re.search(r"[\[\]{}|_]|\b(left|right)\b", text), text


def test_every_situation_has_words_and_postures_that_can_be_built():
    names = set()
    for name, situation in load_situations()["situations"].items():
        assert set(situation) <= {"doing", "says", "postures"}
        assert len(situation["doing"]) >= 2, name
        for text in [*situation["doing"], *situation.get("says", ())]:
            assert not re.search(r"\b(left|right)\b", text), text
        for spec in situation["postures"]:
            assert set(spec) <= {"legs", "posture", "trunk", "head", "arms"}
            assert np.isfinite(build_posture(spec).to_pose()).all()
        names.add(name)
    assert len(names) >= 80


def test_situations_have_poses_that_fit():
    at = JOINT_INDEX
    shelf = joints("top_shelf")
    assert shelf[at["left_wrist"], 1] > shelf[at["head"], 1] + 0.3
    seated = joints("waiting_room")
    assert seated[at["left_knee"], 2] > 0.25
    assert abs(seated[at["left_knee"], 1] - seated[at["left_hip"], 1]) < 0.12
    asleep = joints("sleeping", 2)
    assert abs(asleep[at["head"], 1] - asleep[at["pelvis"], 1]) < 0.15
    caller = joints("phone_call")
    assert np.linalg.norm(caller[at["left_hand"]] - caller[at["head"]]) < 0.2
    beggar = joints("proposing")
    assert beggar[at["left_knee"], 1] < beggar[at["right_knee"], 1] - 0.25


def test_situations_are_drawn_on_both_sides_in_many_words():
    samples = [SituationSampler().draw(rng) for rng in map(np.random.default_rng, range(400))]
    assert len({sample.kind for sample in samples}) > 70
    assert len({sample.instruction.lower() for sample in samples}) > 330
    assert all(not re.search(r"[\[\]{}|_]", sample.instruction) for sample in samples)
    calls = [
        sample.target_aa for sample in samples if sample.kind in ("situation.phone_call", "situation.selfie")
    ]
    raised = [pose[16, 2] > -0.6 for pose in calls]
    assert len(calls) > 4
    assert 0 < sum(raised) < len(raised)
