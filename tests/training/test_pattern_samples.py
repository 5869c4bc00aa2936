# SPDX-License-Identifier: Apache-2.0
"""Samples drawn from patterns: what is asked is met, turns hang together, and answers in words move nothing."""

import re

import numpy as np
import pytest

from backend.prompt import VERBAL_ANSWERS
from training.data.patterns import followups
from training.data.patterns import sampler as sampler_module
from training.data.patterns.drafts import holds, state_of
from training.data.patterns.loading import default_patterns
from training.data.patterns.sampler import PatternSampler
from training.data.patterns.wrapping import in_language
from training.data.starts import StartPoses


@pytest.fixture(scope="module")
def samples():
    return PatternSampler(StartPoses(None)).draw_many(np.random.default_rng(2), 160)


@pytest.mark.slow
def test_the_same_seed_draws_the_same_samples(samples):
    again = PatternSampler(StartPoses(None)).draw_many(np.random.default_rng(2), 160)
    assert [one.instruction for one in again] == [one.instruction for one in samples]
    np.testing.assert_array_equal(
        [one.target_aa for one in again if one.target_aa is not None],
        [one.target_aa for one in samples if one.target_aa is not None],
    )


def test_samples_move_a_joint_or_answer_in_words(samples):
    for sample in samples:
        if sample.target_aa is None:
            assert sample.reply in VERBAL_ANSWERS.values()
        elif sample.pose_aa is not None:
            assert not np.array_equal(sample.target_aa, sample.pose_aa)
            assert np.isfinite(sample.target_aa).all()


def test_most_joints_of_an_edit_keep_their_very_numbers(samples):
    still = [
        (sample.target_aa == sample.pose_aa).all(-1).mean()
        for sample in samples
        if sample.target_aa is not None and sample.pose_aa is not None and sample.kind == "pattern.degrees"
    ]
    assert np.mean(still) > 0.75


def test_turns_before_have_poses_and_a_follow_up_starts_where_they_ended(samples):
    followed = [sample for sample in samples if sample.history]
    assert len(followed) > 15
    for sample in followed:
        assert all(turn.pose is not None and turn.instruction for turn in sample.history)
        assert not np.array_equal(sample.history[-1].pose, sample.pose_aa)


@pytest.mark.slow
def test_undoing_is_going_back_to_the_bit(monkeypatch):
    words = followups.followup_words()
    undo = [row for row in words["scaled"] if row["scale"] == 0]
    assert "undo that" in undo[0]["say"]
    monkeypatch.setattr(followups, "followup_words", lambda: {**words, "scaled": undo})
    monkeypatch.setattr(sampler_module, "FORMS", {"scaled": 1.0})
    patterns = [one for one in default_patterns() if one.kind == "degrees"]
    drawn = PatternSampler(StartPoses(None), patterns).draw_many(np.random.default_rng(2), 60)
    undone = [sample for sample in drawn if sample.kind == "followup.scaled"]
    assert len(undone) > 5
    for sample in undone:
        np.testing.assert_array_equal(sample.target_aa, sample.history[-1].pose)


@pytest.mark.slow
def test_a_pattern_that_cannot_be_worked_out_is_counted_and_ends_nothing(monkeypatch):
    solve = sampler_module.solve_drafts

    def failing(drafts):
        if any(part.pattern.kind == "degrees" for draft in drafts for part in draft.asked):
            raise RuntimeError("no solution")
        return solve(drafts)

    monkeypatch.setattr(sampler_module, "solve_drafts", failing)
    patterns = [one for one in default_patterns() if one.kind in ("contact", "degrees")]
    sampler = PatternSampler(StartPoses(None), patterns)
    drawn = sampler.draw_many(np.random.default_rng(5), 40)
    assert len(drawn) == 40
    assert not any(sample.kind == "pattern.degrees" for sample in drawn)
    assert sum(sampler.failures.values()) > 0


@pytest.mark.slow
def test_held_out_sentences_are_not_drawn_and_cases_meet_their_constraints():
    patterns = [one for one in default_patterns() if one.kind in ("contact", "degrees", "relative")]
    cases = PatternSampler(StartPoses(None), patterns, held_out=True).cases(np.random.default_rng(3), 60)
    assert len(cases) > 20
    for case in cases:
        asked = [one for one in case.asked.constraints() if one.weight >= 1]  # a soft wish may be missed
        assert all(holds(asked, case.start.local, state_of(case.sample.target_aa).local))


@pytest.mark.parametrize(
    ("language", "joined_by"), [("de", "und|dann"), ("fr", "et|puis"), ("es", "y|luego")]
)
def test_wishes_of_another_language_are_joined_in_that_language(language, joined_by):
    rng = np.random.default_rng(0)
    rows = [in_language(rng, ["eins", "zwei", "drei"], language).lower() for _ in range(40)]
    assert any(re.search(rf"\b({joined_by})\b", row) for row in rows)
    assert not any(re.search(r"\b(and|then|please)\b", row) for row in rows)
