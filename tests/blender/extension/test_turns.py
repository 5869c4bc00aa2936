# SPDX-License-Identifier: Apache-2.0
"""What happens around a request: earlier turns go along, variants are looked at, the armature itself is followed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from blender_addon.contract.skeleton import STANDING_POSE
from blender_addon.operators.edit_turns import MAX_TURNS, EditTurns

from ..scripted_backend import TURN_DEGREES
from .scripts import COURSE, OnFigure


def bent(degrees: float) -> np.ndarray:
    """The standing pose with a bent left elbow."""
    pose = STANDING_POSE.astype(np.float32).copy()
    pose[18, 1] = np.radians(degrees)
    return pose


def test_the_edits_that_led_to_a_pose_are_those_of_its_figure_in_their_order() -> None:
    turns = EditTurns()
    turns.add(1, "bend the elbow", "Done.", bent(0), bent(20))
    turns.add(2, "bend the other's", "", bent(0), bent(20))
    turns.add(1, "more", "", bent(20), bent(40))
    assert [turn.instruction for turn in turns.leading_to(1, bent(40))] == ["bend the elbow", "more"]
    assert [turn.words for turn in turns.leading_to(1, bent(40))] == ["Done.", ""]
    assert np.array_equal(turns.leading_to(1, bent(40))[1].pose, bent(20))
    assert [turn.instruction for turn in turns.leading_to(2, bent(20))] == ["bend the other's"]


def test_after_undo_or_a_change_by_hand_an_edit_that_leads_elsewhere_is_left_out() -> None:
    turns = EditTurns()
    turns.add(1, "bend the elbow", "", bent(0), bent(20))
    turns.add(1, "more", "", bent(20), bent(40))
    assert [turn.instruction for turn in turns.leading_to(1, bent(20))] == ["bend the elbow"]
    assert turns.leading_to(1, bent(0)) == ()
    assert turns.leading_to(1, bent(33)) == ()
    turns.add(1, "a lot more", "", bent(20), bent(90))
    assert [turn.instruction for turn in turns.leading_to(1, bent(90))] == ["bend the elbow", "a lot more"]


def test_turning_the_figure_round_breaks_no_chain_and_tilting_it_does() -> None:
    turns = EditTurns()
    turns.add(1, "bend the elbow", "", bent(0), bent(20))
    turned, tilted = bent(20), bent(20)
    turned[0], tilted[0] = (0, 2.0, 0), (0.5, 0, 0)
    assert len(turns.leading_to(1, turned)) == 1
    assert turns.leading_to(1, tilted) == ()


def test_no_more_turns_than_bear_on_the_next_are_sent() -> None:
    turns = EditTurns()
    for step in range(2 * MAX_TURNS):
        turns.add(1, f"step {step}", "", bent(5 * step), bent(5 * step + 5))
    sent = turns.leading_to(1, bent(10 * MAX_TURNS))
    assert [turn.instruction for turn in sent] == [f"step {step}" for step in range(MAX_TURNS, 2 * MAX_TURNS)]


def test_earlier_turns_go_along_until_they_are_undone_or_the_figure_is_posed_by_hand(
    on_figure: OnFigure, tmp_path: Any
) -> None:
    asked = tmp_path / "asked.json"
    result = on_figure(
        """
import json
sent = []
def ask(instruction):
    call(bpy.ops.posellava.edit_pose, instruction=instruction)
    bpy.ops.ed.undo_push(message=instruction)
    sent.append([turn[0] for turn in json.load(open(os.environ["ASKED"]))["history"]])
bpy.ops.ed.undo_push(message="Set-up")
ask("one")
ask("two")
ask("three")
result["pose"] = json.load(open(os.environ["ASKED"]))["history"][0][1]
bpy.ops.ed.undo()
ask("three again")
bpy.data.objects["SMPL Figure"].pose.bones["L_Knee"].rotation_quaternion = (0.9, 0.3, 0, 0)
ask("four")
ask("five")
bpy.ops.wm.read_homefile(use_empty=True)
bpy.ops.posellava.add_figure()
ask("in another file")
result["sent"] = sent
""",
        backend=("--asked", str(asked)),
        ASKED=str(asked),
    )
    assert result["sent"] == [[], ["one"], ["one", "two"], ["one", "two"], [], ["four"], []]
    assert np.abs(result["pose"]).max() < 1e-4, "the pose before the first turn is the T-pose"


def test_variants_are_keyed_one_in_the_place_of_the_other(on_figure: OnFigure) -> None:
    result = on_figure(
        """
import math
turns = []
def note():
    shoulder = bpy.data.objects["SMPL Figure"].pose.bones["L_Shoulder"].rotation_quaternion
    turns.append([round(math.degrees(2 * math.acos(min(1, abs(shoulder[0])))), 1), activity.outcome.variants.chosen,
                  round(activity.outcome.report.degrees["left_shoulder"])])
bpy.ops.posellava.edit_pose(instruction="raise it", variants=3)
note()
for step in (1, 1, 1, -1):
    bpy.ops.posellava.show_variant(step=step)
    note()
result["turns"], result["keys"] = turns, keys()
bpy.ops.ed.undo_push(message="x")
bpy.ops.posellava.edit_pose(instruction="raise it", variants=3, frame_list="1:2")
result["of_a_range"] = activity.outcome.number_of_variants
result["poll"] = bpy.ops.posellava.show_variant.poll()
""",
    )
    once = TURN_DEGREES
    assert [turn[:2] for turn in result["turns"]] == [
        [once, 0],
        [pytest.approx(2 * once, abs=0.1), 1],
        [pytest.approx(3 * once, abs=0.1), 2],
        [once, 0],
        [pytest.approx(3 * once, abs=0.1), 2],
    ]
    assert all(frames == [1.0] for _, _, frames in result["keys"])
    assert len(result["keys"]) == 4
    assert (result["of_a_range"], result["poll"]) == (1, False)


def test_the_armature_is_followed_when_it_is_renamed_and_no_other_takes_its_place(
    on_figure: OnFigure,
) -> None:
    result = on_figure(
        COURSE,
        """
figure = bpy.context.object
wait = start("adjust", (1.0,))
figure.name = "Anna"
bpy.ops.posellava.add_figure()
other = bpy.context.object
result["name"] = other.name
finish_course(wait)
result["keyed"] = [one.name for one in bpy.data.objects if one.animation_data and one.animation_data.action]
bpy.context.view_layer.objects.active = figure
wait = start("adjust", (1.0,))
bpy.data.objects.remove(figure)
other.name = "Anna"
try:
    finish_course(wait)
except Exception as error:
    result["error"] = str(error)
""",
    )
    assert result["name"] == "SMPL Figure"
    assert result["keyed"] == ["Anna"]
    assert "was removed" in result["error"]
