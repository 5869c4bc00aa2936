# SPDX-License-Identifier: Apache-2.0
"""The suite about the camera: cases that a still pose fails, judged in the camera's frame by an engine that can see."""

import collections

import numpy as np
import pytest

from backend.query import Answer
from blender_addon.contract.kinematics import yaw_matrix
from blender_addon.contract.messages import View
from blender_addon.contract.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from blender_addon.contract.skeleton import STANDING_POSE
from training.evaluate import view as view_module
from training.evaluate.view import (
    KNOWN,
    SeenBody,
    measure_view,
    read_cases,
    seen_excess,
    view_json,
    view_table,
)


def _turned(pose_aa, yaw):
    turned = np.array(pose_aa, dtype=np.float64)
    turned[0] = matrix_to_axis_angle(yaw_matrix(yaw) @ axis_angle_to_matrix(turned[0]))
    return turned.astype(np.float32)


def _standing(degrees):
    return _turned(STANDING_POSE, np.radians(degrees))


def test_there_are_at_least_120_cases_of_all_kinds():
    cases = read_cases()
    assert len(cases) >= 120
    kinds = collections.Counter(one.case["kind"] for one in cases)
    assert set(kinds) == {"turn", "gaze", "sides", "depth", "gestures"}
    assert min(kinds.values()) >= 15
    assert len({one.case["id"] for one in cases}) == len(cases)


def test_who_leaves_every_pose_as_it_is_passes_none():
    assert not [one.case["id"] for one in read_cases() if one.judge(one.pose_aa).success]


def test_the_view_of_a_case_is_where_the_camera_stands():
    for one in read_cases()[:20]:
        root = axis_angle_to_matrix(np.asarray(one.pose_aa, dtype=np.float64))[0]
        facing = np.arctan2(root[0, 2], root[2, 2])
        off = facing + one.view.yaw - one.azimuth
        assert np.cos(off) == pytest.approx(1.0, abs=1e-6)


def test_checks_are_measured_as_the_camera_sees_the_body():
    front, right = SeenBody(_standing(0)), SeenBody(_standing(90))
    assert seen_excess(["facing", 0, 10], front, front) == 0
    assert seen_excess(["facing", 0, 10], right, right) == pytest.approx(80, abs=1e-3)
    assert seen_excess(["facing", 170, 10], right, SeenBody(_standing(-175))) == pytest.approx(5, abs=1e-3)
    # The left arm of who faces the camera hangs on the right of the picture, of who turns the back on its left.
    assert seen_excess(["rel", "L_shoulder", "R_shoulder", "x", 0.2, None], front, front) == 0
    back = SeenBody(_standing(180))
    assert seen_excess(["rel", "L_shoulder", "R_shoulder", "x", None, -0.2], back, back) == 0
    assert seen_excess(["dir", "R_shoulder", "L_shoulder", "screen_right", 20], front, front) == 0
    assert seen_excess(["dir", "R_shoulder", "L_shoulder", "screen_left", 20], front, front) > 100
    # Facing right, the right shoulder is the nearer one.
    assert seen_excess(["dir", "L_shoulder", "R_shoulder", "nearer", 20], right, right) == 0
    assert seen_excess(["gaze_off", 80, 100], right, right) == 0


class _Turner:
    """Turns the body to where the case wants it, where it is told the view; else it speaks."""

    name, tasks = "turner", ("adjust",)

    def __init__(self):
        self.goals = {
            one.case["instruction"]: one.case["checks"][0][1]
            for one in read_cases()
            if one.case["checks"][0][0] == "facing" and len(one.case["checks"]) == 1
        }

    def answer(self, queries):
        answers = []
        for query in queries:
            goal = self.goals.get(query.instruction)
            if goal is None:
                answers.append(Answer(query.pose_aa, ""))
            elif query.view is None:
                answers.append(Answer(None, "where?"))
            else:
                answers.append(Answer(_turned(query.pose_aa, query.view.yaw + np.radians(goal)), ""))
        return answers


@pytest.mark.slow
def test_who_turns_by_the_view_passes_those_cases_and_the_report_tells_what_else_changed(monkeypatch):
    monkeypatch.setattr(view_module, "render", lambda rng, seen, pitch: None)
    other = {"instruction": "raise the arm", "pose": STANDING_POSE.tolist()}
    engine = _Turner()
    report = measure_view(engine, [other, other], batch_size=7)
    passed = {one.instruction for one in report.outcomes[KNOWN[0]] if one.success}
    assert passed == set(engine.goals)
    assert not any(one.success for known in KNOWN[1:] for one in report.outcomes[known])
    assert report.degrees.tolist() == [0.0, 0.0]
    assert "0 of 2 answers change" in view_table(report)
    record = view_json(report, {"suite": "view"})
    assert record["rates"][KNOWN[0]]["turn"]["success"] > 0.7
    assert record["others"] == {"cases": 2, "most_degrees": 0.0}


def test_a_view_tells_where_the_camera_is_by_its_sign():
    """The camera to the body's left is at a positive yaw: the wire's convention."""
    case = next(one for one in read_cases() if one.case["heading"] == -90.0)
    assert case.view == View(pytest.approx(np.pi / 2), pytest.approx(np.radians(case.case["pitch"])))
