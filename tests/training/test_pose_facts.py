# SPDX-License-Identifier: Apache-2.0
"""Every kind of fact that captions and corrections tell, against bounds written out here and a chain by scipy."""

from __future__ import annotations

import re

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from blender_addon.contract.skeleton import JOINT_INDEX
from training.data.captions.caption import Captioner
from training.data.captions.correction import Corrector
from training.data.captions.facts import pose_facts
from training.data.captions.measures import Bodies
from training.data.directives.descriptions import base_body
from training.data.directives.postures import standing, whole_posture
from training.data.sources.constructed import constructed_poses

from .scipy_chain import chain

SIDES = ("left", "right")


def joints(pose):
    """(24, 3) joint positions relative to the pelvis of a pose whose heading is taken out."""
    return chain(pose, upright=True)[1]


@pytest.fixture(scope="module")
def upright():
    """Constructed poses whose pelvis is upright, so that the words' axes are the world's."""
    poses = constructed_poses(np.random.default_rng(11), 900)
    up = Rotation.from_rotvec(poses[:, 0]).as_matrix()[:, 1, 1]
    return poses[up > 0.6]


@pytest.fixture(scope="module")
def measured(upright):
    return pose_facts(Bodies.of(upright)), [joints(pose) for pose in upright]


def names_of(facts, code):
    return np.array(facts.names[code])[facts.codes[code]]


def at(position, side, joint):
    return position[JOINT_INDEX[f"{side}_{joint}"]]


@pytest.mark.parametrize(
    ("code", "joint", "bounds", "names"),
    [
        ("hands", "wrist", [0.12, 0.20, 0.40, 0.80, 1.20],
         ["none", "near", "shoulder_width", "none2", "apart", "far_apart"]),
        ("elbows", "elbow", [0.20, 0.40, 0.80], ["near", "none", "none2", "far_apart"]),
        ("knees", "knee", [0.12, 0.40, 0.80], ["together", "none", "apart", "far_apart"]),
    ],
)  # fmt: skip
def test_distances(measured, code, joint, bounds, names):
    facts, positions = measured
    told = names_of(facts, code)
    seen = set()
    for name, position in zip(told, positions, strict=True):
        distance = np.linalg.norm(at(position, "left", joint) - at(position, "right", joint))
        assert name == names[sum(distance > bound for bound in bounds)]
        seen.add(name)
    assert len(seen) >= 3


@pytest.mark.parametrize(
    ("code", "joint", "axis"),
    [("hand_higher", "wrist", 1), ("elbow_higher", "elbow", 1), ("knee_higher", "knee", 1),
     ("hand_ahead", "wrist", 2), ("ahead", "ankle", 2)],
)  # fmt: skip
def test_relative_positions(measured, code, joint, axis):
    facts, positions = measured
    told, seen = names_of(facts, code), set()
    for names, position in zip(told, positions, strict=True):
        for side, name in enumerate(names):
            gap = (at(position, SIDES[side], joint) - at(position, SIDES[1 - side], joint))[axis]
            assert name == ("none" if gap < 0.15 else "plain" if gap < 0.40 else "far")
            seen.add(name)
    assert seen == {"none", "plain", "far"}


@pytest.mark.parametrize(
    ("code", "start", "end"),
    [("thigh_tilt", "hip", "knee"), ("shin_tilt", "knee", "ankle"), ("upper_arm_tilt", "shoulder", "elbow"),
     ("forearm_tilt", "elbow", "wrist")],
)  # fmt: skip
def test_verticality(measured, code, start, end):
    facts, positions = measured
    told, seen = names_of(facts, code), set()
    for names, position in zip(told, positions, strict=True):
        for side, name in zip(SIDES, names, strict=True):
            along = at(position, side, end) - at(position, side, start)
            angle = np.degrees(np.arctan2(np.hypot(along[0], along[2]), abs(along[1])))
            assert name == ("upright" if angle < 10 else "level" if angle > 80 else "none")
            seen.add(name)
    assert seen == {"none", "upright", "level"}


def test_contact_with_the_floor():
    facts = pose_facts(
        Bodies.of(
            np.stack([
                whole_posture("all_fours")(standing()).to_pose(), whole_posture("plank")(standing()).to_pose(),
                base_body("kneel").to_pose(), standing().to_pose(), base_body("one_leg").to_pose(),
            ])
        )
    )  # fmt: skip
    hands, knees = names_of(facts, "hand_floor"), names_of(facts, "knee_floor")
    assert (hands[:2] == "on").all()
    assert (hands[2:] == "none").all()
    assert (knees[[0, 2]] == "on").all()
    assert (knees[[1, 3, 4]] == "none").all()
    assert (names_of(facts, "lifted")[4] != "none").sum() == 1


def bent(joint, axis, degrees):
    pose = np.zeros((24, 3), dtype=np.float32)
    pose[JOINT_INDEX[joint], "xyz".index(axis)] = np.radians(degrees)
    return pose


@pytest.mark.parametrize(
    ("code", "joint", "axis", "table"),
    [
        ("pitch", "spine1", "x", {-40: "far_back", -16: "back", 0: "none", 17: "slightly_forward", 40: "forward",
                                  70: "far_forward"}),
        ("look", "head", "x", {60: "far_down", 25: "down", 0: "none", -22: "up", -45: "far_up"}),
    ],
)  # fmt: skip
def test_inclines_forward(code, joint, axis, table):
    facts = pose_facts(Bodies.of(np.stack([bent(joint, axis, degrees) for degrees in table])))
    assert list(names_of(facts, code)) == list(table.values())


@pytest.mark.parametrize(
    ("code", "joint", "axis", "toward_left", "table"),
    [
        ("lean", "spine1", "z", -1, {5: "none", 16: "slight", 35: "plain", 75: "far"}),
        ("twist", "spine1", "y", 1, {10: "none", 22: "slight", 40: "plain", 60: "far"}),
        ("turn", "neck", "y", 1, {10: "none", 22: "slight", 40: "plain", 65: "far"}),
        ("tilt", "neck", "z", -1, {10: "none", 22: "plain", 40: "far"}),
    ],
)  # fmt: skip
def test_inclines_and_turns_to_a_side(code, joint, axis, toward_left, table):
    for side in (0, 1):
        sign = toward_left * (1 - 2 * side)
        facts = pose_facts(Bodies.of(np.stack([bent(joint, axis, sign * degrees) for degrees in table])))
        told = names_of(facts, code)
        assert list(told[:, side]) == list(table.values())
        assert (told[:, 1 - side] == "none").all()


def test_the_heading_says_nothing(upright):
    turned = upright.copy()
    turned[:, 0] = (Rotation.from_rotvec([0, 1.0, 0]) * Rotation.from_rotvec(upright[:, 0])).as_rotvec()
    here, there = pose_facts(Bodies.of(upright)), pose_facts(Bodies.of(turned))
    for name, code in here.codes.items():
        assert (code == there.codes[name]).mean() > 0.995, name


def test_bounds_are_blurred_by_noise_but_not_further():
    poses = np.stack([bent("left_elbow", "y", -degrees) for degrees in np.repeat([85, 76, 60], 200)])
    facts = pose_facts(Bodies.of(poses), np.random.default_rng(0))
    told = names_of(facts, "elbow")[:, 0].reshape(3, 200)
    assert set(told[0]) == {"right_angle"}
    assert set(told[1]) == {"right_angle", "bent"}
    assert set(told[2]) == {"bent"}


def test_the_rare_is_kept_and_the_common_is_skipped():
    common = np.zeros((990, 24, 3), dtype=np.float32)
    rare = np.stack([bent("head", "y", 60)] * 10)
    captioner = Captioner(np.concatenate([common, rare]))
    rng = np.random.default_rng(0)
    said = captioner.describe(np.repeat(rare, 30, axis=0), rng)
    assert np.mean([bool(re.search(r"head|over .* shoulder", text)) for text in said]) > 0.9
    plain = captioner.describe(common[:300], rng)
    assert np.mean([bool(re.search(r"knees?\b", text)) for text in plain]) < 0.4


def test_an_elbow_and_a_knee_that_are_bent_alike_are_told_in_one():
    pose = bent("left_elbow", "y", -90)
    pose[JOINT_INDEX["left_knee"], 0] = np.radians(90)
    captioner = Captioner(constructed_poses(np.random.default_rng(0), 500))
    texts = captioner.describe(np.repeat(pose[None], 300, axis=0), np.random.default_rng(0))
    together = [text for text in texts if re.search(r"left (elbow and knee|knee and elbow)", text)]
    assert len(together) > 5
    assert not any(
        re.search(r"(elbow|knee) (is )?bent at .*(elbow|knee) (is )?bent at", text) for text in together
    )


class TestChanges:
    def test_the_whole_body_turns_as_told(self):
        before = np.repeat(constructed_poses(np.random.default_rng(2), 1), 400, axis=0)
        before[:, 0] = 0
        degrees = np.random.default_rng(0).choice([-130, -90, -40, 40, 90, 130], 400)
        after = before.copy()
        after[:, 0, 1] = np.radians(degrees)
        told = Corrector().instruct(before, after, np.random.default_rng(1))
        for turn, text in zip(degrees, told, strict=True):
            assert re.search(r"\bleft\b" if turn > 0 else r"\bright\b", text), text
            found = re.search(r"(\d+)", text)
            assert found is None or abs(int(found[1]) - abs(turn)) <= 5, text
            slight = re.search(r"slightly|a (tad|bit|little)|somewhat", text)
            assert not slight or abs(turn) <= 66, text

    def test_centimetres_are_those_of_the_hand(self):
        rng = np.random.default_rng(3)
        before = constructed_poses(rng, 1500)
        before[:, 0] = 0
        after = before.copy()
        after[:, [16, 18]] = constructed_poses(rng, 1500)[:, [16, 18]]
        axes = {"up": 1, "rais": 1, "lift": 1, "down": 1, "lower": 1, "drop": 1, "forward": 2, "back": 2,
                "pull": 2, "front": 2}  # fmt: skip
        checked = 0
        for first, second, text in zip(before, after, Corrector().instruct(before, after, rng), strict=True):
            found = re.search(r"([\w ]*hand[\w ]*?)(\d+) (cm|centimeters)", (text or "").lower())
            axis = next((axes[word] for word in axes if found and word in found[1]), None)
            if axis is not None:
                move = (at(joints(second), "left", "wrist") - at(joints(first), "left", "wrist"))[axis]
                assert abs(abs(move) * 100 - int(found[2])) < 6, text
                checked += 1
        assert checked > 30

    @pytest.mark.slow
    def test_hands_and_feet_come_together_and_part_as_told(self):
        rng = np.random.default_rng(4)
        before = constructed_poses(rng, 3000)
        for limbs, end, noun in (([16, 17, 18, 19], "wrist", "hands"), ([1, 2, 4, 5], "ankle", "feet")):
            after = before.copy()
            after[:, limbs] = constructed_poses(rng, 3000)[:, limbs]
            checked = 0
            for first, second, text in zip(
                before, after, Corrector().instruct(before, after, rng), strict=True
            ):
                found = re.search(rf"{noun} (closer together|towards each other|together|apart|further apart|"
                                  r"away from each other)", text or "")  # fmt: skip
                if found:
                    gaps = [
                        np.linalg.norm(at(joints(pose), "left", end) - at(joints(pose), "right", end))
                        for pose in (first, second)
                    ]
                    assert (gaps[1] > gaps[0]) == (
                        found[1] in ("apart", "further apart", "away from each other")
                    ), text
                    checked += 1
            assert checked > 30
