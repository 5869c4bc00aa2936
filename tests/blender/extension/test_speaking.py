# SPDX-License-Identifier: Apache-2.0
"""What the model says in words: it is shown the right poses, nothing moves, and a conversation goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ..scripted_backend import TURN_DEGREES
from .scripts import FIGURE, HAND_ON_IK, InBlender, OnFigure

SAID = """
said = result["said"] = []
def ask(operator, **options):
    error = call(operator, **options)
    said.append(error or activity.outcome.words)
def chat(words, **options):
    ask(bpy.ops.posellava.chat, instruction=words, **options)
"""


def test_a_pose_and_what_changed_are_described_and_nothing_is_keyed(on_figure: OnFigure) -> None:
    result = on_figure(
        SAID,
        """
ask(bpy.ops.posellava.describe_pose)
result["summary"] = activity.outcome.summary()
ask(bpy.ops.posellava.what_changed, since="EDIT")
ask(bpy.ops.posellava.what_changed, since="KEY")
result["keys before"] = keys()
result["in the panel"] = [item.identifier for item in bpy.context.scene.posellava.bl_rna.properties["since"].enum_items]
call(bpy.ops.posellava.edit_pose, instruction="raise the left arm")
ask(bpy.ops.posellava.what_changed, since="EDIT")
bpy.context.scene.frame_set(5)
ask(bpy.ops.posellava.what_changed, since="KEY")
ask(bpy.ops.posellava.what_changed, since="FRAME", since_frame=3)
""",
        backend=("--speaks",),
    )
    assert result["said"][0] == "I see 1, after []."
    assert "No edit led to this pose" in result["said"][1]
    assert "no keys before this frame" in result["said"][2]
    assert result["said"][3:] == ["I see 2, after ['']."] * 3
    assert result["summary"] == ""
    assert result["keys before"] == []
    assert result["in the panel"] == ["EDIT", "KEY"], "it has no field for a frame"


def test_a_conversation_goes_on_and_its_poses_are_keyed(on_figure: OnFigure) -> None:
    result = on_figure(
        SAID,
        """
chat("who is it")
chat("and now", shows_pose=False)
chat("show me!")
result["variants"] = activity.outcome.number_of_variants
result["degrees"] = activity.outcome.report.degrees
result["poses"] = [len(turn.poses) for turn in activity.chat.turns]
bpy.ops.posellava.clear_chat()
chat("hello")
""",
        backend=("--speaks",),
    )
    assert result["said"] == [
        "I see 1, after [].",
        "I see 1, after ['who is it'].",
        "I see 2, after ['who is it', 'and now']. <POSE> or <POSE>",
        "I see 1, after [].",
    ]
    assert result["variants"] == 2
    assert result["degrees"] == {"left_shoulder": pytest.approx(TURN_DEGREES, abs=0.01)}
    assert result["poses"] == [0, 0, 2]


def test_words_are_told_as_they_are_said_and_the_field_is_free_for_the_next(on_figure: OnFigure) -> None:
    result = on_figure(
        SAID,
        """
import threading, time
seen, over = [], threading.Event()
def watch():
    while not over.wait(0.01):
        handle = activity.handle
        if handle is not None and handle.progress is not None and handle.progress.words not in seen:
            seen.append(handle.progress.words)
threading.Thread(target=watch).start()
chosen = bpy.context.scene.posellava
chosen.question = " who is it "
ask(bpy.ops.posellava.chat)
over.set()
result["seen"] = seen
result["field"] = chosen.question
chosen.question = "and now"
chat("something else")
result["kept"] = chosen.question
""",
        backend=("--speaks", "--delay", "1.5"),
    )
    whole = result["said"][0]
    assert whole == "I see 1, after []."
    said = [words for words in result["seen"] if words]
    assert len(said) > 2
    assert all(whole.startswith(words) for words in said)
    assert said == sorted(said, key=len)
    assert (result["field"], result["kept"]) == ("", "and now")


def test_a_long_conversation_goes_on_without_its_oldest_turns(on_figure: OnFigure) -> None:
    result = on_figure(
        SAID,
        """
from bl_ext.user_default.posellava.contract.messages import Turn
for number in range(16):
    activity.chat.add(Turn(f"{number} " + 1900 * "漢", None, 1900 * "字"))
chat("and now")
result["turns"] = [turn.instruction[:3] for turn in activity.chat.turns]
""",
        backend=("--speaks",),
    )
    assert result["said"][0].startswith("I see 1, after ['12 ")
    assert result["turns"][-2:] == ["15 ", "and"]


def test_a_question_that_is_cancelled_stays_in_its_field_and_is_no_turn(on_figure: OnFigure) -> None:
    result = on_figure(
        SAID,
        """
import threading
from bl_ext.user_default.posellava.operators.ask import cancel_running
def cancel_when_it_speaks():
    while not (activity.handle and activity.handle.progress and activity.handle.progress.words):
        pass
    cancel_running()
chosen = bpy.context.scene.posellava
chosen.question = "who is it"
threading.Thread(target=cancel_when_it_speaks).start()
call(bpy.ops.posellava.chat)
result["kept"], result["turns"] = chosen.question, len(activity.chat.turns)
result["notice"] = activity.notice.sentence
chat("hello")
""",
        backend=("--speaks", "--delay", "3"),
    )
    assert (result["kept"], result["turns"]) == ("who is it", 0)
    assert result["notice"] == "Cancelled; nothing was changed."
    assert result["said"] == ["I see 1, after []."]


def test_a_pose_in_an_answer_moves_ik_targets_where_the_panel_says_so(on_figure: OnFigure) -> None:
    result = on_figure(
        SAID,
        HAND_ON_IK,
        """
bpy.context.scene.posellava.ik_targets = True
chat("show me!")
result["followed"] = activity.outcome.report.followed
""",
        backend=("--speaks",),
    )
    assert result["followed"] == ["Hand"], result["said"]


def test_a_model_that_describes_alone_says_that_it_does_not_converse(on_figure: OnFigure) -> None:
    result = on_figure(
        SAID,
        """
from bl_ext.user_default.posellava.operators import speak

ask(bpy.ops.posellava.describe_pose)
result["lack"] = [speak.lack(task) for task in ("describe", "chat")]
result["error"] = call(bpy.ops.posellava.chat, instruction="who is it")
""",
        backend=("--describes",),
    )
    assert result["said"] == ["I see 1, after []."]
    assert result["lack"][0] == ""
    assert "was not taught to converse" in result["lack"][1]
    assert "was not taught to chat" in result["error"]


def test_a_model_that_was_not_taught_to_speak_says_so(
    in_blender: InBlender, start_backend: Callable[..., Any]
) -> None:
    result = in_blender(
        FIGURE + 'result["error"] = call(bpy.ops.posellava.describe_pose)\n', URL=start_backend().url
    )
    assert "was not taught to speak" in result["error"]
