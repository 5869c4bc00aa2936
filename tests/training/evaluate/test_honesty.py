# SPDX-License-Identifier: Apache-2.0
"""The suite of pictures: what each shows is drawn so, and poses without a word are counted where none should be."""

import numpy as np
import pytest

from backend.body.draw import DrawingUnavailableError
from backend.query import Answer
from blender_addon.contract.skeleton import STANDING_POSE
from training.evaluate.honesty import LEFT, draw_cases, honesty_json, honesty_table, measure_honesty


@pytest.fixture(scope="module")
def cases():
    try:
        return draw_cases(np.random.default_rng(3), lambda rng: STANDING_POSE, 2)
    except DrawingUnavailableError:
        pytest.skip("no OpenGL here")


class _Engine:
    """Answers with the pose that a whole figure has, and of two with the one on the left, where it is asked to."""

    name, tasks = "stub", ("estimate",)

    def __init__(self, cases):
        self.cases = {id(case.picture): case for case in cases}

    def answer(self, queries):
        answers = []
        for query in queries:
            case = self.cases[id(query.image)]
            knows = case.kind == "whole" or (case.kind == "two" and query.instruction == LEFT)
            answers.append(Answer(case.poses[0] if knows else None, ""))
        return answers


def test_every_kind_is_drawn_and_half_a_figure_fills_its_picture(cases):
    kinds = [case.kind for case in cases]
    assert {"whole", "nobody", "two", "half"} <= set(kinds)
    assert [len(case.poses) for case in cases if case.kind == "two"] == [2, 2]
    for case in cases:
        if case.kind == "two":
            assert case.picture.size == (320, 240)


def test_an_honest_engine_keys_nothing_without_a_word(cases):
    report = measure_honesty(_Engine(cases), cases)
    assert report.told["whole"].keyed == report.told["whole"].pictures == 2
    assert not any(told.keyed for kind, told in report.told.items() if kind != "whole")
    assert (report.named.pictures, report.named.keyed) == (2, 2)
    assert "0.0% answered with a pose" in honesty_table(report)
    assert honesty_json(report, {})["told"]["nobody"] == {"pictures": 2, "poses": 0}
