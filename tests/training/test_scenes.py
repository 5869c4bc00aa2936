# SPDX-License-Identifier: Apache-2.0
"""Scenes of several people: everybody is to be seen, and what is said of one holds of no other."""

from __future__ import annotations

import re

import numpy as np
import pytest

from backend.body.draw import DrawingUnavailableError
from backend.engines.meant import tells_somebody
from backend.query import Answer, Query
from training.data.actions.situations import load_situations
from training.data.captions.spoken import judge_description
from training.data.pool import PosePool
from training.data.scenes.drawing import Scene, load_words
from training.data.scenes.telling import KINDS, Question, Telling
from training.evaluate.benchmarks import HELD_OUT_SITUATIONS, build_benchmark
from training.evaluate.reasoning import ALL, Case, draw_cases, judge, reasoning_json, reasoning_table

Drawn = list[tuple[Scene, list[Question]]]


@pytest.fixture(scope="module")
def drawn() -> Drawn:
    telling, rng = Telling(PosePool(None)), np.random.default_rng(2)
    try:
        return [telling.draw(rng) for _ in range(8)]
    except DrawingUnavailableError:
        pytest.skip("no OpenGL here")


def test_the_people_of_a_scene_differ_and_are_to_be_seen(drawn: Drawn) -> None:
    colours = load_words()["colours"]
    for scene, _ in drawn:
        figures = scene.figures
        assert len(figures) in (2, 3)
        for worn in ({one.shirt for one in figures}, {one.trousers for one in figures}):
            assert len(worn) == len(figures)
            assert worn <= set(colours)
        done = [one.behaviour for one in figures if one.behaviour]
        assert len(set(done)) == len(done)
        assert scene.picture.std() > 10, "something is in it"


def test_every_kind_is_asked_and_tells_one(drawn: Drawn) -> None:
    asked = [(scene, question) for scene, questions in drawn for question in questions]
    assert {question.kind for _, question in asked} == set(KINDS)
    for scene, question in asked:
        one = scene.figures[question.who]
        others = [figure for figure in scene.figures if figure is not one]
        words = question.words
        assert tells_somebody(words, does=True), words
        if question.kind == "outfits":
            colour = next(colour for colour in load_words()["colours"] if f" {colour} " in words)
            assert colour in (one.shirt, one.trousers)
        if question.kind == "shape":
            assert all(figure.is_small != one.is_small for figure in others)
        if question.kind == "pose" and (fact := re.search(r"whose (.*)", words)):
            sentence = f"The {fact[1]}."
            assert judge_description(sentence, one.pose_aa).right == 1
            assert not any(judge_description(sentence, figure.pose_aa).right for figure in others)


def test_the_right_one_is_the_nearest_and_words_are_wrong() -> None:
    poses = np.random.default_rng(0).normal(0, 0.5, (3, 24, 3)).astype(np.float32)
    cases = [Case(Question(kind, "the one", 1), None, poses) for kind in ("place", "place", "pose", "pose")]
    near = poses[1] + np.float32(0.01)
    answers = [Answer(near, ""), Answer(poses[2], ""), Answer(None, "Which one?"), Answer(near, "")]
    judged = judge(cases, answers, np.zeros((24, 3), np.float32), seed=0)
    assert (judged["place"].right.value, judged["pose"].right.value, judged[ALL].right.value) == (50, 50, 50)
    assert (judged["pose"].questions, judged["pose"].answered) == (2, 1)
    own = judge(cases[3:], answers[3:], np.zeros((24, 3), np.float32), seed=0)["pose"].errors["mpjpe"].value
    assert own < 40 < judged["pose"].errors["mpjpe"].value, (
        "what is not answered is off as the pose in its place is"
    )
    assert "place" in reasoning_table(judged)
    assert reasoning_json(judged, {"seed": 0})["kinds"]["pose"]["answered"] == 1


@pytest.mark.slow
def test_the_model_that_ships_takes_the_right_one_of_two_who_stand_apart() -> None:
    from backend.engines import load_engine

    try:
        cases = [
            case for case in draw_cases(PosePool(None), 96, 11) if case.question.kind in ("place", "outfits")
        ]
    except DrawingUnavailableError:
        pytest.skip("no OpenGL here")
    engine = load_engine(engine="onnx")
    answers = [
        engine.answer([Query("estimate", case.question.words, image=case.picture)])[0] for case in cases
    ]
    judged = judge(cases, answers, np.zeros((24, 3), np.float32), seed=0)
    assert judged[ALL].questions == 40
    assert judged[ALL].right.value >= 80


def test_situations_for_measuring_are_not_in_training() -> None:
    held_out, known = (load_situations(*files)["situations"] for files in ((HELD_OUT_SITUATIONS,), ()))
    assert not set(held_out) & set(known)

    def sentences(table: dict) -> set[str]:
        return {
            text.lower() for each in table.values() for key in ("doing", "says") for text in each.get(key, ())
        }

    assert not sentences(held_out) & sentences(known)
    benchmark = build_benchmark("spg", PosePool(None), count=40, seed=1)
    assert {sample.kind.removeprefix("situation.") for sample in benchmark.samples} <= set(held_out)
    assert benchmark.descriptions == [sample.instruction for sample in benchmark.samples]
