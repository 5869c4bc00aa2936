# SPDX-License-Identifier: Apache-2.0
"""Pattern files are read as their format says, and what is wrong with one is told."""

import re

import numpy as np
import pytest
import torch

from blender_addon.contract.rotations import axis_angle_to_matrix
from blender_addon.contract.skeleton import BODY_PARTS, JOINT_INDEX, STANDING_POSE
from training.data.patterns.drafts import Asked, Draft, State, holds, solve_drafts
from training.data.patterns.language import PatternError, constraints, joints, number
from training.data.patterns.loading import SENTENCES, is_held_out, load_patterns, read_file
from training.data.patterns.numbers import draw
from training.data.patterns.postures import posture, posture_names
from training.data.patterns.saying import say


def _read(tmp_path, text):
    path = tmp_path / "contact.yaml"
    path.write_text(text, encoding="utf-8")
    return read_file("contact", path)


def _standing():
    return State(STANDING_POSE, torch.tensor(axis_angle_to_matrix(STANDING_POSE), dtype=torch.float32), 0.0)


@pytest.mark.slow
def test_the_projects_own_patterns_can_be_read():
    patterns = load_patterns()
    assert {pattern.kind for pattern in patterns} >= {"contact", "degrees", "relative"}


def test_every_named_posture_can_be_met():
    for name in posture_names():
        assert posture(name).shape == (24, 3, 3)


def test_faults_are_told_with_file_and_number(tmp_path):
    _, faults = _read(tmp_path, "patterns:\n- {do: [x], wnat: [touch S_palm chest]}\n- {do: [y]}\n")
    assert faults[0].startswith("contact.yaml, pattern 1: unknown keys wnat")
    assert "asks for nothing" in faults[1]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("flex S_elbow 90", "no operator"),
        ("flex S_nose = 90", "flex is of"),
        ("dist S_hand chest in 3..1", "upside down"),
        ("flex S_elbow = {n}", "not drawn"),
        ("touch S_palm", "needs more words"),
    ],
)
def test_lines_that_cannot_be_understood(line, said):
    with pytest.raises(PatternError, match=said):
        constraints(line, "L", {})


def test_sides_are_bound_and_each_is_both():
    [left] = constraints("flex S_elbow = 90", "L", {})
    [right] = constraints("flex O_elbow = 90", "L", {})
    assert constraints("each flex S_elbow = 90", "R", {}) == [left, right]
    assert joints("S_arm", "R") == frozenset(BODY_PARTS["right_arm"][:4])


def test_values_are_sums_and_products():
    assert number("-({n} + 2) * {sign} / 4", {"n": 6.0, "sign": -1.0}) == 2.0
    with pytest.raises(PatternError):
        number("__import__('os')", {})


def test_a_change_is_counted_from_the_start_and_else_nothing_moves(tmp_path):
    patterns, _ = _read(
        tmp_path,
        'patterns:\n- {do: ["bend the {S} elbow {n} more"], move: S_elbow, want: ["flex S_elbow += {n}"],\n'
        "   draw: {n: 30..30 deg}}\n",
    )
    [outcome] = solve_drafts([Draft(_standing(), [Asked(patterns[0], "R", {"n": 30.0})])])
    moved = outcome.moved(_standing())
    assert outcome.met
    assert list(np.flatnonzero(moved)) == [JOINT_INDEX["right_elbow"]]
    turned = np.linalg.norm(outcome.state.pose_aa[JOINT_INDEX["right_elbow"]])
    assert np.degrees(turned) == pytest.approx(30 + np.degrees(0.2), abs=1.0)


def test_turning_the_whole_body_leaves_its_joints(tmp_path):
    patterns, _ = _read(tmp_path, 'patterns:\n- {do: ["turn {S}"], set: ["turn 90*{sign}"]}\n')
    [outcome] = solve_drafts([Draft(_standing(), [Asked(patterns[0], "R", {})])])
    assert np.degrees(outcome.state.yaw) == pytest.approx(-90)
    assert np.array_equal(outcome.state.pose_aa[1:], STANDING_POSE[1:])


def test_words_are_filled_in_for_the_side(tmp_path):
    patterns, _ = _read(
        tmp_path, 'patterns:\n- {say: ["den {S:linken|rechten} Arm, {S}"], lang: de, set: ["rest S_arm"]}\n'
    )
    [text] = [one.text for one in patterns[0].sentences]
    assert say(np.random.default_rng(0), patterns[0], text, "R", {}) == "den rechten Arm, right"


def test_a_fifth_of_the_sentences_is_held_out_by_their_text_alone():
    held = [is_held_out("contact", f"sentence {number}") for number in range(2000)]
    assert np.mean(held) == pytest.approx(0.2, abs=0.03)
    assert held == [is_held_out("contact", f"sentence {number}") for number in range(2000)]


@pytest.mark.parametrize("learnt", [True, False])
def test_none_of_a_file_whose_words_were_learnt_from_elsewhere_is_held_out(tmp_path, learnt):
    say = [f"sentence {number}" for number in range(60)]
    patterns, faults = _read(
        tmp_path, f"learnt: {str(learnt).lower()}\npatterns:\n- {{say: {say}, set: [turn 90]}}\n"
    )
    assert faults == []
    assert any(one.held_out for one in patterns[0].sentences) is not learnt


def test_what_was_learnt_as_directives_is_not_taken_for_unseen():
    """The weights that ship learnt these words from constructors: a held-out one would flatter them."""
    for path in sorted((SENTENCES / "plain").glob("*.yaml")):
        patterns, faults = read_file("plain", path)
        assert faults == []
        assert patterns
        assert [one.text for pattern in patterns for one in pattern.sentences if one.held_out] == []


@pytest.mark.parametrize("spec", ["5..40 cm", "10..90 deg", "0.2..0.8 share", "amount 20 deg", {"half": 0.5}])
@pytest.mark.parametrize("language", ["en", "de", "pt"])
def test_numbers_are_drawn_with_their_words(spec, language):
    value, words = draw(np.random.default_rng(1), spec, language)
    assert value > 0
    assert isinstance(words, str)


def test_holds_measures_what_was_asked():
    state = _standing()
    asked = constraints("flex L_elbow += 30", "L", {})
    assert holds(asked, state.local, state.local) == [False]
    after = state.local.clone()
    after[JOINT_INDEX["left_elbow"]] = torch.tensor(axis_angle_to_matrix([0.0, -0.2 - np.radians(30), 0.0]))
    assert holds(asked, state.local, after) == [True]


@pytest.mark.slow
def test_already_so_is_an_answer_to_what_is_to_stay_and_to_no_wish_for_a_change():
    """ "Straighten the elbow" of one that is nearly straight is done, not answered."""
    stays = re.compile(
        r"\b(stay|stays|remain|remains|keep|hold|leave|leaves|freeze|stop|still|don't|never|no|nothing|zero|if|only if|"
        r"in case|unless|same|as|happy|done|go on)\b"
    )
    replies = [pattern for pattern in load_patterns() if pattern.reply == "already"]
    assert replies
    assert [one.text for pattern in replies for one in pattern.sentences if not stays.search(one.text)] == []
