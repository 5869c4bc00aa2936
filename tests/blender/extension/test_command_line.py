# SPDX-License-Identifier: Apache-2.0
"""The command that ``blender --command posellava`` calls, and the same as functions, in headless Blender."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ..scripted_backend import NO_POSE_WORDS, WORDS
from .scripts import HAND_ON_IK, InBlender

FIGURE = """
import contextlib, io, os
bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.ops.preferences.addon_enable(module=addon.__name__)
bpy.ops.posellava.add_figure()
bpy.context.view_layer.objects.active = None
bpy.context.object and bpy.context.object.select_set(False)
from bl_ext.user_default.posellava import cli
def frames():
    return sorted({point.co.x for curve in all_curves()
                   for point in curve.keyframe_points})
def run(*arguments):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        result["status"] = cli.main(list(arguments))
    result["out"], result["err"] = out.getvalue(), err.getvalue()
"""


@pytest.fixture
def in_scene(in_blender: InBlender) -> InBlender:
    """in_scene(script, **environment) -> the script's ``result``, run where a figure stands that is not selected."""
    return lambda script, **environment: in_blender(FIGURE + script, **environment)


def test_edit_keys_the_frames_and_saves_the_file(
    in_scene: InBlender, start_backend: Callable[..., Any], tmp_path: Path
) -> None:
    result = in_scene(
        """
run("edit", "--instruction", "raise it", "--frames", "1:3", "--save", os.environ["OUT"])
bpy.ops.wm.open_mainfile(filepath=os.environ["OUT"])
result["frames"] = frames()
""",
        POSELLAVA_URL=start_backend(token="secret").url,
        POSELLAVA_TOKEN="secret",
        OUT=str(tmp_path / "out.blend"),
    )
    assert result["status"] == 0
    assert result["frames"] == [1, 2, 3]
    assert WORDS in result["out"]
    assert "left shoulder 40°" in result["out"]


def test_a_failure_is_a_sentence_and_a_status(in_scene: InBlender) -> None:
    result = in_scene("""
run("generate", "--instruction", "a person", "--url", "ws://127.0.0.1:9")
result["frames"] = frames()
""")
    assert result["status"] == 1
    assert result["err"].startswith("posellava: No backend answers at ws://127.0.0.1:9")
    assert result["err"].count("\n") == 1
    assert result["frames"] == []


def test_an_empty_list_of_frames_and_a_strength_that_is_none_are_refused(in_scene: InBlender) -> None:
    result = in_scene("""
run("edit", "--instruction", "raise it", "--frames", "")
result["empty"] = result["err"]
run("edit", "--instruction", "raise it", "--strength", "5")
""")
    assert result["empty"] == "posellava: The list of frames is empty; write one such as 12, 1:48 or 1,5,9.\n"
    assert result["err"] == "posellava: A strength of 5 is none; give one from 0 to 1.\n"
    assert result["status"] == 1


def test_a_file_that_cannot_be_written_is_named(
    in_scene: InBlender, start_backend: Callable[..., Any], tmp_path: Path
) -> None:
    result = in_scene(
        """
run("edit", "--instruction", "raise it", "--save", os.environ["OUT"])
""",
        POSELLAVA_URL=start_backend().url,
        OUT=str(tmp_path / "nowhere" / "out.blend"),
    )
    assert result["status"] == 1
    assert "nowhere/out.blend cannot be written; give --save" in result["err"]
    assert result["err"].count("\n") == 1


def test_the_functions_return_what_came_of_it(
    in_scene: InBlender, start_backend: Callable[..., Any], tmp_path: Path
) -> None:
    result = in_scene(
        """
url = os.environ["URL"]
outcomes = [
    cli.edit("raise it", frames="4", armature="SMPL Figure", parts=["left_arm"], url=url),
    cli.generate("a person", url=url),
]
result["degrees"] = [outcome.report.degrees for outcome in outcomes]
try:
    cli.edit("raise it", armature="Nobody", url=url)
except cli.CommandError as error:
    result["error"] = str(error)
""",
        URL=start_backend().url,
    )
    assert [list(degrees) for degrees in result["degrees"]] == [["left_shoulder"], ["left_shoulder"]]
    assert "'Nobody'" in result["error"]
    assert "SMPL Figure" in result["error"]


def test_without_an_active_armature_among_several_the_option_and_their_names_are_given(
    in_scene: InBlender, start_backend: Callable[..., Any]
) -> None:
    result = in_scene(
        """
bpy.context.scene.objects["SMPL Figure"].name = "Anna"
bpy.ops.posellava.add_figure()
bpy.context.object.name = "Bert"
bpy.context.object.select_set(False)
bpy.context.view_layer.objects.active = None
run("edit", "--instruction", "raise it")
result["keys"] = frames()
result["chosen"] = cli.main(["edit", "--instruction", "raise it", "--armature", "Bert"])
result["keyed"] = [one.name for one in bpy.data.objects if one.animation_data and one.animation_data.action]
bpy.context.view_layer.objects.active = next(
    one for one in bpy.data.objects if one.type == "MESH" and one.parent.name == "Anna"
)
result["skin"] = cli.main(["edit", "--instruction", "raise it"])
result["then"] = sorted(one.name for one in bpy.data.objects if one.animation_data and one.animation_data.action)
""",
        POSELLAVA_URL=start_backend().url,
    )
    assert result["status"] == 1
    assert "--armature: Anna, Bert." in result["err"]
    assert result["err"].count("\n") == 1
    assert result["keys"] == []
    assert (result["chosen"], result["keyed"]) == (0, ["Bert"])
    assert (result["skin"], result["then"]) == (0, ["Anna", "Bert"])


def test_the_backend_of_a_call_does_not_stay_in_the_preferences(
    in_scene: InBlender, start_backend: Callable[..., Any]
) -> None:
    result = in_scene(
        """
preferences = bpy.context.preferences.addons[addon.__name__].preferences
preferences.url, preferences.token = "ws://127.0.0.1:9", "of the preferences"
cli.edit("raise it", url=os.environ["URL"])
result["after"] = [preferences.url, preferences.token]
try:
    cli.edit("raise it", url="ws://127.0.0.1:10", token="wrong")
except cli.CommandError as error:
    result["error"] = str(error)
result["after_failure"] = [preferences.url, preferences.token]
""",
        URL=start_backend(token="secret").url,
        POSELLAVA_TOKEN="secret",
    )
    assert result["after"] == result["after_failure"] == ["ws://127.0.0.1:9", "of the preferences"]
    assert "ws://127.0.0.1:10" in result["error"]


def test_a_body_part_that_is_none_is_named(in_scene: InBlender) -> None:
    result = in_scene("""
try:
    cli.edit("raise it", parts=["tail"])
except cli.CommandError as error:
    result["error"] = str(error)
""")
    assert result["error"].startswith("There is no body part 'tail'; there are root, ")


def test_a_scene_whose_armature_was_removed_says_that_there_is_none(in_scene: InBlender) -> None:
    result = in_scene("""
bpy.context.view_layer.objects.active = bpy.data.objects["SMPL Figure"]
bpy.data.objects.remove(bpy.data.objects["SMPL Figure"])
errors = []
for armature in (None, "SMPL Figure"):
    try:
        cli.edit("raise it", armature=armature)
    except cli.CommandError as error:
        errors.append(str(error))
result["errors"] = errors
""")
    assert "No armature is selected" in result["errors"][0]
    assert "There is no armature 'SMPL Figure'" in result["errors"][1]


def test_frames_before_zero_are_taken(in_scene: InBlender, start_backend: Callable[..., Any]) -> None:
    result = in_scene(
        """
run("edit", "--instruction", "raise it", "--frames", "-3:-1", "--frame", "-2")
result["frames"] = frames()
""",
        POSELLAVA_URL=start_backend().url,
    )
    assert result["status"] == 0
    assert result["frames"] == [-3, -2, -1]


def test_an_answer_in_words_alone_is_a_failure_with_the_words(
    in_scene: InBlender, start_backend: Callable[..., Any]
) -> None:
    result = in_scene('run("edit", "--instruction", "what is love?")', POSELLAVA_URL=start_backend().url)
    assert result["status"] == 1
    assert "keyed" not in result["out"]
    assert result["err"].startswith(f"posellava: {NO_POSE_WORDS} ")


def test_an_estimate_is_one_whatever_the_panel_of_the_file_says(
    in_scene: InBlender, start_backend: Callable[..., Any], tmp_path: Path
) -> None:
    asked, picture = tmp_path / "asked.json", tmp_path / "photo.png"
    Image.new("RGB", (60, 80), "teal").save(picture)
    result = in_scene(
        """
bpy.context.scene.posellava.changed = True
run("estimate", "--image", os.environ["IMAGE"])
""",
        POSELLAVA_URL=start_backend("--asked", str(asked)).url,
        IMAGE=str(picture),
    )
    assert result["status"] == 0, result["err"]
    assert json.loads(asked.read_text())["task"] == "estimate"


def test_where_ik_drives_a_limb_the_option_that_keys_its_targets_is_told_and_every_task_has_it(
    in_scene: InBlender, start_backend: Callable[..., Any]
) -> None:
    result = in_scene(
        HAND_ON_IK
        + """
run("edit", "--instruction", "raise it")
result["told"] = result["out"]
result["hand"] = hand.animation_data is not None
run("generate", "--instruction", "a person", "--ik-targets")
result["follows"] = hand.animation_data is not None
""",
        POSELLAVA_URL=start_backend().url,
    )
    assert "did not arrive" in result["told"]
    assert "give --ik-targets" in result["told"]
    assert not result["hand"]
    assert result["status"] == 0
    assert "IK targets moved along: Hand." in result["out"]
    assert "--ik-targets" not in result["out"]
    assert result["follows"]


def test_describe_and_chat_print_what_the_model_says_and_nothing_else(
    in_scene: InBlender, start_backend: Callable[..., Any]
) -> None:
    """Blender itself writes what operators report, as "Info: …", when it likes."""
    result = in_scene(
        """
said = result["said"] = []
for words in (["describe"], ["describe", "--since", "3"], ["chat", "--instruction", "who?", "--no-pose"]):
    run(*words)
    printed = [line for line in result["out"].splitlines() if not line.startswith("Info: ")]
    said.append([result["status"], printed])
""",
        POSELLAVA_URL=start_backend("--speaks").url,
    )
    assert result["said"] == [
        [0, ["I see 1, after []."]],
        [0, ["I see 2, after ['']."]],
        [0, ["I see 0, after []."]],
    ]


def test_ctrl_c_ends_it_at_once_and_nothing_is_saved(
    in_scene: InBlender, start_backend: Callable[..., Any], tmp_path: Path
) -> None:
    result = in_scene(
        """
import signal, threading, time
# As in Blender, whose own handler only takes note.
signal.signal(signal.SIGINT, lambda *_: None)
from bl_ext.user_default.posellava.operators.activity import activity
def press():
    while activity.handle is None:
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=press).start()
began = time.monotonic()
run("edit", "--instruction", "raise it", "--save", os.environ["OUT"])
result["seconds"] = time.monotonic() - began
result["frames"], result["saved"] = frames(), os.path.exists(os.environ["OUT"])
""",
        POSELLAVA_URL=start_backend("--delay", "60").url,
        OUT=str(tmp_path / "out.blend"),
    )
    assert result["status"] == 130
    assert result["seconds"] < 30
    assert result["err"] == "posellava: Interrupted; nothing was saved.\n"
    assert (result["frames"], result["saved"]) == ([], False)
