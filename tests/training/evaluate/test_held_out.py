# SPDX-License-Identifier: Apache-2.0
"""Answers are judged by the constraints of the sentence: the solver's own pass, and what moved more is not kept."""

import numpy as np
import pytest

from backend.body.draw import DrawingUnavailableError
from backend.query import Answer
from blender_addon.contract.skeleton import JOINT_INDEX
from training.data.patterns.loading import default_patterns
from training.data.patterns.sampler import PatternSampler
from training.data.starts import StartPoses
from training.evaluate.held_out import judge
from training.evaluate.sheet import held_out_sheet

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cases():
    patterns = [one for one in default_patterns() if one.kind in ("relative", "nothing", "followup")]
    return PatternSampler(StartPoses(None), patterns, held_out=True).cases(np.random.default_rng(4), 60)


def test_targets_pass_and_most_starts_do_not(cases):
    edits = [case for case in cases if case.sample.target_aa is not None]
    assert len(edits) > 15
    assert all(judge(case, Answer(case.sample.target_aa, "")) == (True, True) for case in edits)
    unmoved = [judge(case, Answer(case.sample.pose_aa, ""))[0] for case in edits]
    assert np.mean(unmoved) < 0.7  # "slightly" is less than what people may differ by


def test_words_are_right_where_nothing_is_asked(cases):
    wordy = [case for case in cases if case.sample.target_aa is None]
    assert wordy
    for case in wordy:
        assert judge(case, Answer(None, "no")) == (True, True)
        moved = case.sample.pose_aa.copy()
        moved[JOINT_INDEX["left_knee"]] += (0.5, 0.0, 0.0)
        assert judge(case, Answer(moved, "")) == (False, False)


def test_a_joint_that_had_to_stay_is_not_kept(cases):
    edits = [
        case
        for case in cases
        if case.sample.target_aa is not None and JOINT_INDEX["head"] not in case.may_move
    ]
    assert edits
    for case in edits:
        more = case.sample.target_aa.copy()
        more[JOINT_INDEX["head"]] = (0.0, 1.2, 0.0)
        assert judge(case, Answer(more, ""))[1] is False


def test_turns_before_are_part_of_the_case(cases):
    assert any(case.sample.history for case in cases)


class _Words:
    """Answers everything in words."""

    name, tasks = "stub", ("adjust",)

    def answer(self, queries):
        return [Answer(None, "I do not understand.") for _ in queries]


def test_a_sheet_shows_held_out_sentences_and_counts_what_is_done(tmp_path):
    try:
        done, of = held_out_sheet(
            _Words(), "nothing", StartPoses(None), np.random.default_rng(1), tmp_path / "sheet.png"
        )
    except DrawingUnavailableError:
        pytest.skip("no OpenGL here")
    assert done == of > 10
    assert (tmp_path / "sheet.png").stat().st_size > 10_000


def test_a_kind_that_there_is_not_is_named(tmp_path):
    with pytest.raises(ValueError, match="no patterns are of the kind 'juggling'; there are chatty, contact"):
        held_out_sheet(
            _Words(), "juggling", StartPoses(None), np.random.default_rng(1), tmp_path / "sheet.png"
        )
