# SPDX-License-Identifier: Apache-2.0
"""What captions and corrections say is true of the poses, measured here with scipy and a chain written out anew."""

from __future__ import annotations

import re

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from blender_addon.contract.kinematics import mirror_pose
from blender_addon.contract.skeleton import JOINT_INDEX
from training.data.captions.caption import Captioner, fact_words
from training.data.captions.correction import Corrector, clause_words
from training.data.captions.facts import pose_facts
from training.data.captions.measures import Bodies
from training.data.captions.rules import BOTH, LEFT, RIGHT, alternatives, load_rules
from training.data.sources.constructed import constructed_poses

from .scipy_chain import chain

NOISE_DEGREES = load_rules()["noise"]["degrees"] + 0.1


@pytest.fixture(scope="module")
def poses():
    return constructed_poses(np.random.default_rng(3), 1500)


@pytest.fixture(scope="module")
def captioner(poses):
    return Captioner(poses)


def joints(pose):
    """(24, 3) joint positions of a pose whose heading is taken out, and whether it is upright."""
    rotations, positions = chain(pose, upright=True)
    return positions, rotations[0][1, 1] > 0.5


def inner_angle(position, side, names):
    a, b, c = (position[JOINT_INDEX[f"{side}_{name}"]] for name in names)
    u, v = a - b, c - b
    return np.degrees(np.arccos(np.clip(u @ v / np.linalg.norm(u) / np.linalg.norm(v), -1, 1)))


def swapped(text):
    """The text with left and right exchanged."""
    names = {"left": "right", "right": "left", "Left": "Right", "Right": "Left"}
    return re.sub(r"\b[Ll]eft\b|\b[Rr]ight\b(?! angle)", lambda found: names[found[0]], text)


@pytest.mark.parametrize("joint", ["elbow", "knee"])
def test_a_joint_is_said_to_be_bent_as_it_is(poses, captioner, joint):
    said = {
        r"(bent )?(at a right angle|at 90 degrees|to 90 degrees)": (75, 105),
        r"bent sharply|bent a lot|bent to a sharp angle|deeply bent": (45, 75),
        r"fully bent|as far as it goes|bent all the way": (0, 45),
        r"slightly bent|bent a little|bent slightly|a bit bent": (135, 160),
        r"straight|extended": (160, 180),
    }
    names = {"elbow": ("shoulder", "elbow", "wrist"), "knee": ("hip", "knee", "ankle")}[joint]
    checked = 0
    for pose, text in zip(poses, captioner.describe(poses, np.random.default_rng(0)), strict=True):
        position, _ = joints(pose)
        for found in re.finditer(rf"\b(left|right) {joint} (?:is )?((?:\w+ ?){{1,6}})", text.lower()):
            for pattern, (low, high) in said.items():
                if re.match(pattern, found[2]):
                    angle = inner_angle(position, found[1], names)
                    assert low - NOISE_DEGREES <= angle <= high + NOISE_DEGREES, text
                    checked += 1
    assert checked > 100


DIRECTIONS = {
    r"straight up|vertically up": (0, 1, 0),
    r"straight forward|straight ahead|horizontally forward": (0, 0, 1),
    r"straight out to the side|horizontally to the side": (1, 0, 0),
    r"straight back": (0.2, -0.2, -1),
}


def test_an_arm_points_where_it_is_said_to(poses, captioner):
    checked = 0
    for pose, text in zip(poses, captioner.describe(poses, np.random.default_rng(1)), strict=True):
        position, upright = joints(pose)
        for found in re.finditer(r"\b(left|right) arm (?:is )?\w+ ([\w ]+)", text.lower()):
            for pattern, direction in DIRECTIONS.items():
                if re.match(pattern, found[2]) and upright:
                    side = found[1]
                    start = position[JOINT_INDEX[f"{side}_shoulder"]]
                    ends = [position[JOINT_INDEX[f"{side}_{end}"]] - start for end in ("wrist", "elbow")]
                    wanted = np.array(direction) * [1 if side == "left" else -1, 1, 1]
                    angles = [
                        np.degrees(np.arccos(v @ wanted / np.linalg.norm(v) / np.linalg.norm(wanted)))
                        for v in ends
                    ]
                    assert min(angles) <= 35, text
                    checked += 1
    assert checked > 20


def test_a_hand_that_is_said_to_be_on_a_knee_is_there():
    poses = np.zeros((1, 24, 3))
    # Seated, the arms brought forward and down until the palms lie on the knees.
    poses[0, [1, 2], 0] = -np.pi / 2
    poses[0, [4, 5], 0] = np.pi / 2
    facts = pose_facts(Bodies.of(poses))
    assert facts.names["posture"][facts.codes["posture"][0]] == "sitting"
    assert facts.names["hand_at"][facts.codes["hand_at"][0, 0]] == "none"
    knee = joints(poses[0])[0][JOINT_INDEX["left_knee"]]
    best, gap = poses, np.inf
    for forward in np.linspace(0.2, 1.4, 25):
        for down in np.linspace(0.2, 1.4, 25):
            tried = poses.copy()
            turn = Rotation.from_euler("z", -down) * Rotation.from_euler("y", -forward)
            tried[0, 16] = turn.as_rotvec()
            distance = np.linalg.norm(joints(tried[0])[0][JOINT_INDEX["left_hand"]] - knee - [0, 0.01, 0.05])
            if distance < gap:
                best, gap = tried, distance
    facts = pose_facts(Bodies.of(best))
    expected = "knee" if gap < 0.13 else "none"
    assert facts.names["hand_at"][facts.codes["hand_at"][0, 0]] in (expected, "thigh")
    assert facts.names["hand_at"][facts.codes["hand_at"][0, 1]] == "none"


@pytest.mark.parametrize(
    ("posture", "turns"),
    [
        ("standing", {}),
        ("sitting", {1: (-1.5, 0, 0), 2: (-1.5, 0, 0), 4: (1.5, 0, 0), 5: (1.5, 0, 0)}),
        ("squatting", {1: (-1.9, 0, 0), 2: (-1.9, 0, 0), 4: (2.2, 0, 0), 5: (2.2, 0, 0)}),
        ("kneeling", {4: (1.57, 0, 0), 5: (1.57, 0, 0)}),
        ("lying_back", {0: (-np.pi / 2, 0, 0)}),
        ("lying_front", {0: (np.pi / 2, 0, 0)}),
        (
            "bent_over",
            {
                0: (0.4, 0, 0),
                1: (-0.4, 0, 0),
                2: (-0.4, 0, 0),
                3: (0.7, 0, 0),
                6: (0.5, 0, 0),
                9: (0.4, 0, 0),
            },
        ),
    ],
)
def test_a_posture_is_recognised(posture, turns):
    pose = np.zeros((1, 24, 3))
    for joint, turn in turns.items():
        pose[0, joint] = turn
    facts = pose_facts(Bodies.of(pose))
    assert facts.names["posture"][facts.codes["posture"][0]] == posture


def test_mirrored_poses_have_mirrored_facts(poses):
    here, there = pose_facts(Bodies.of(poses)), pose_facts(Bodies.of(mirror_pose(poses)))
    for name, code in here.codes.items():
        other = there.codes[name]
        mirrored = other if code.ndim == 1 else other[:, ::-1]
        # A tie between two places may go either way.
        assert (code == mirrored).mean() > 0.998, name


def test_mirrored_poses_have_mirrored_words(poses, captioner):
    flips = np.arange(len(poses)) % 2 == 0
    here = captioner.describe(poses, np.random.default_rng(5), flipped=flips)
    there = captioner.describe(mirror_pose(poses), np.random.default_rng(5), flipped=~flips)
    assert np.mean([swapped(a) == b for a, b in zip(here, there, strict=True)]) > 0.99


@pytest.mark.slow
def test_mirrored_pairs_have_mirrored_words(poses):
    first, second = poses[:700], poses[700:1400]
    flips = np.arange(700) % 2 == 0
    corrector = Corrector()
    here = corrector.instruct(first, second, np.random.default_rng(5), flipped=flips)
    there = corrector.instruct(
        mirror_pose(first), mirror_pose(second), np.random.default_rng(5), flipped=~flips
    )
    same = [swapped(a or "") == (b or "") for a, b in zip(here, there, strict=True)]
    assert np.mean(same) > 0.99


def test_the_same_seed_gives_the_same_words(poses, captioner):
    texts = [captioner.describe(poses[:50], np.random.default_rng(8)) for _ in range(2)]
    assert texts[0] == texts[1]
    assert len(set(texts[0])) > 45


def test_nothing_is_left_to_fill_in(poses, captioner):
    corrector = Corrector()
    texts = captioner.describe(poses, np.random.default_rng(0))
    texts += [text for text in corrector.instruct(poses[::2], poses[1::2], np.random.default_rng(0)) if text]
    for text in texts:
        assert not re.search(r"[{}\[\]|]|  |\bNone\b", text), text


def test_rare_facts_are_told_and_common_ones_seldom(poses):
    captioner = Captioner(np.concatenate([np.zeros((990, 24, 3)), poses[:10]]))
    straight = np.zeros((200, 24, 3))
    raised = straight.copy()
    raised[:, 16] = (0, 0, 1.5)  # the left arm overhead
    said = [" ".join(captioner.describe(group, np.random.default_rng(0))) for group in (straight, raised)]
    assert said[1].count("left arm") > 150
    assert said[0].count("to the side") < 100


def test_a_whole_sentence_names_both_sides_at_once(captioner):
    pose = np.zeros((300, 24, 3))
    pose[:, 18, 1], pose[:, 19, 1] = -np.pi / 2, np.pi / 2
    texts = captioner.describe(pose, np.random.default_rng(0))
    both = sum("elbows" in text for text in texts)
    assert both > 5 * sum(bool(re.search(r"(left|right) elbow (is )?(bent )?at", text)) for text in texts)


class TestCorrections:
    """Each sentence against the geometry of its pair."""

    def one_part(self, seed, moved):
        rng = np.random.default_rng(seed)
        first, second = constructed_poses(rng, 1200), constructed_poses(rng, 1200)
        second[:, [joint for joint in range(24) if joint not in moved]] = 0
        after = first.copy()
        after[:, moved] = second[:, moved]
        texts = Corrector().instruct(first, after, rng)
        return first, after, texts

    @pytest.mark.parametrize(
        ("words", "sign"),
        [
            (r"^(bend|flex|close) your (left|right) elbow", -1),
            (r"^(straighten|extend|open|unbend) your (left|right) elbow", 1),
        ],
    )
    def test_elbows_bend_and_straighten_as_told(self, words, sign):
        first, after, texts = self.one_part(1, [16, 18, 20])
        checked = 0
        for before, target, text in zip(first, after, texts, strict=True):
            found = re.match(words, (text or "").lower())
            if found:
                names = ("shoulder", "elbow", "wrist")
                change = inner_angle(joints(target)[0], found[2], names) - inner_angle(
                    joints(before)[0], found[2], names
                )
                assert sign * change > 10, text
                checked += 1
        assert checked > 20

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("words", "axis", "sign"),
        [
            (r"(raise|lift|bring up|move up|elevate) your (left) (arm|hand)", 1, 1),
            (r"(lower|drop|bring down|move down) your (left) (arm|hand)", 1, -1),
            (r"(move|bring|swing|push) your (left) (arm|hand) (forward|to the front)\b(?! and)", 2, 1),
            (r"(move|bring|swing|pull) your (left) (arm|hand) back", 2, -1),
        ],
    )
    def test_arms_move_as_told(self, words, axis, sign):
        first, after, texts = self.one_part(2, [16, 18, 20])
        checked = 0
        for before, target, text in zip(first, after, texts, strict=True):
            found = re.match(words, (text or "").lower())
            (position, upright), (goal, _) = joints(before), joints(target)
            if found and upright:
                joints_moved = [JOINT_INDEX["left_wrist"], JOINT_INDEX["left_elbow"]]
                there = goal[joints_moved] - goal[JOINT_INDEX["left_shoulder"]]
                pointing = sign * there[1, axis] / np.linalg.norm(there[1]) > 0.5
                assert (sign * (goal - position)[joints_moved, axis]).max() > 0.01 or pointing, text
                checked += 1
        assert checked > 10

    def test_a_text_tells_of_the_part_that_changed_only(self):
        _, _, texts = self.one_part(3, [16, 18, 20])
        for text in texts:
            text = re.sub(
                r"(at|on|near|to|touching|holding) (your|the) (right|left) (upper leg|\w+)", "", text or ""
            )
            assert not re.search(r"\bright (arm|hand|elbow|forearm|leg|knee|foot)\b", text or ""), text
            assert not re.search(r"\b(torso|trunk|leg|foot|toes|look)\b", text or ""), text

    def test_a_head_turns_to_the_side_told(self):
        first, after, texts = self.one_part(4, [12, 15])
        checked = 0
        for before, target, text in zip(first, after, texts, strict=True):
            found = re.search(
                r"(?:look|turn your (?:head|face)|rotate your head) to (?:your|the) (left|right)", text or ""
            )
            if found:
                turned = [
                    (Rotation.from_rotvec(pose[12]) * Rotation.from_rotvec(pose[15])).apply([0, 0, 1])
                    for pose in (before, target)
                ]
                yaw = [np.degrees(np.arctan2(ahead[0], ahead[2])) for ahead in turned]
                assert (yaw[1] - yaw[0]) * (1 if found[1] == "left" else -1) > 5, text
                checked += 1
        assert checked > 50

    def test_degrees_are_those_of_the_change(self):
        first, after, texts = self.one_part(5, [18])
        checked = 0
        for before, target, text in zip(first, after, texts, strict=True):
            found = re.search(r"(\d+) ?(?:degrees|°)", text or "")
            if found and not re.search(r"(to|at|about) 90 degrees", text):
                names = ("shoulder", "elbow", "wrist")
                change = inner_angle(joints(target)[0], "left", names) - inner_angle(
                    joints(before)[0], "left", names
                )
                if "elbow" in text:
                    assert abs(abs(change) - float(found[1])) < 8, text
                    checked += 1
        assert checked > 30

    def test_nothing_changed_gives_no_text(self, poses):
        assert Corrector().instruct(poses[:5], poses[:5], np.random.default_rng(0)) == [None] * 5

    def test_both_arms_are_told_at_once(self):
        first = np.zeros((200, 24, 3))
        after = first.copy()
        after[:, 16], after[:, 17] = (0, 0, 1.4), (0, 0, -1.4)
        texts = Corrector().instruct(first, after, np.random.default_rng(0))
        assert np.mean([bool(re.search(r"arms|hands|elbows", text or "")) for text in texts]) > 0.85

    def test_a_leg_that_changes_is_told_besides_arms_that_are_told_at_once(self):
        first = np.zeros((200, 24, 3))
        after = first.copy()
        after[:, 16], after[:, 17] = (0, 0, 1.4), (0, 0, -1.4)
        after[:, 1] = (-1.2, 0, 0)
        texts = Corrector().instruct(first, after, np.random.default_rng(0))
        assert all(re.search(r"leg|knee|foot|thigh|ankle|hip", text or "") for text in texts)


AMOUNT = re.compile(
    r"\d|slight|bit|little|tad|some|more|lot|much|significantly|great|partly|part of|higher|lower|until|head back"
)


@pytest.mark.parametrize(("degrees", "is_plain"), [(20, False), (45, True), (75, False)])
def test_a_turn_of_the_head_without_an_amount_is_a_clear_one(degrees, is_plain):
    first = np.zeros((200, 24, 3))
    after = first.copy()
    after[:, [12, 15], 1] = np.radians(degrees / 2)
    texts = Corrector().instruct(first, after, np.random.default_rng(0))
    assert any(text and not AMOUNT.search(text) for text in texts) == is_plain


@pytest.mark.parametrize(("end", "is_plain"), [(60, False), (0, True)])
def test_straighten_alone_is_said_where_the_elbow_ends_straight(end, is_plain):
    first = np.zeros((200, 24, 3))
    first[:, 18, 1] = np.radians(-110)
    after = first.copy()
    after[:, 18, 1] = np.radians(-end)
    texts = [text for text in Corrector().instruct(first, after, np.random.default_rng(0)) if text]
    told = [
        text for text in texts if re.fullmatch(r"(straighten|extend) (your|the) \w+ \w+\W*", text.lower())
    ]
    assert bool(told) == is_plain


def test_every_sentence_can_be_said_of_either_side_and_both():
    rules = load_rules()
    for code, rule in rules["facts"].items():
        for category in rule["says"]:
            for who in (LEFT, RIGHT, BOTH):
                words = fact_words(code, category, who, straight=False)
                assert words.predicate
                assert words.subject
    for name, sentence in rules["changes"]["says"].items():
        if isinstance(sentence, str) and "{amount}" in sentence:
            left = clause_words(("by", name, "plain"), LEFT, False)
            right = clause_words(("by", name, "plain"), RIGHT, False)
            assert sorted(map(swapped, left)) == sorted(right)


def test_alternatives_write_out_nested_choices():
    assert set(alternatives("[a|b [c|d]|] {same:knee}", LEFT)) == {
        "a {your} left knee", "b c {your} left knee", "b d {your} left knee", "{your} left knee",
    }  # fmt: skip
    assert alternatives("on {other:shoulder}", RIGHT) == ("on {your} left shoulder",)
    assert alternatives("on {other:shoulder}", BOTH) == ("on the opposite shoulders",)
