# SPDX-License-Identifier: Apache-2.0
"""Asked for more and more, the shipped model stops where a joint does."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from backend.engines import SHIPPED_MODEL
from backend.engines.onnx import OnnxEngine
from backend.query import Query
from blender_addon.contract.messages import Turn
from blender_addon.contract.skeleton import STANDING_POSE
from training.evaluate.instructions import PosedBody

TURNS_SENT = 2
TIMES = 8
# What people reach (Kapandji, "The Physiology of the Joints"), with some degrees of leave.
LIMITS: dict[str, tuple[Callable[[PosedBody], float], float]] = {
    "bend the left elbow": (lambda body: body.flex("L_elbow"), 152),
    "bend the right knee": (lambda body: body.flex("R_knee"), 148),
    "look to the left": (lambda body: body.angle("head_yaw"), 88),
    "look down": (lambda body: body.angle("head_pitch"), 65),
    "look up": (lambda body: -body.angle("head_pitch"), 70),
    "tilt the head to the right": (lambda body: -body.angle("head_roll"), 60),
    "lean forward": (lambda body: body.angle("bend"), 95),
    "lean to the right": (lambda body: -body.angle("lean"), 50),
    "twist the torso to the left": (lambda body: body.angle("twist"), 70),
    "squat down": (lambda body: body.flex("L_knee"), 148),
}


@pytest.fixture(scope="module")
def engine() -> OnnxEngine:
    return OnnxEngine.load(SHIPPED_MODEL, threads=1)


@pytest.mark.parametrize("words", LIMITS)
def test_more_and_more_never_passes_what_a_joint_can_do(words: str, engine: OnnxEngine) -> None:
    measure, limit = LIMITS[words]
    pose, history, reached = STANDING_POSE, (), [measure(PosedBody(STANDING_POSE))]
    for number in range(1 + TIMES):
        asked = "more" if number else words
        [answer] = engine.answer([Query("adjust", asked, pose, history=history[-TURNS_SENT:])])
        if answer.pose_aa is None:  # there is no more: it is told in words, and nothing moves
            continue
        history = (*history, Turn(asked, pose))
        pose = answer.pose_aa
        reached.append(measure(PosedBody(pose)))
    assert reached[1] > reached[0] + 5  # the first request moves
    assert max(reached) <= limit
