# SPDX-License-Identifier: Apache-2.0
"""What the panel says and when, in headless Blender; how it looks and feels is tests/blender/gui's business."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from ..scripted_backend import NO_POSE_WORDS
from .scripts import FIGURE, PREPARE, UNTOUCHED, InBlender, OnFigure

SHOWN = """
from bl_ext.user_default.posellava.operators.situation import standing_notice
def shown():
    notice = standing_notice(bpy.context)
    return notice.sentence if notice else ""
"""


def test_an_answer_in_words_alone_is_a_hint_and_moves_nothing(
    in_blender: InBlender, start_backend: Callable[..., Any]
) -> None:
    result = in_blender(
        FIGURE
        + 'result["error"] = call(bpy.ops.posellava.edit_pose, instruction="what is love?", frame_list="1:3")'
        + UNTOUCHED
        + """
result["words"], result["summary"] = activity.outcome.words, activity.outcome.summary()
result["report"] = activity.outcome.report
""",
        URL=start_backend().url,
    )
    assert (result["error"], result["panel"], result["keys"], result["posed"]) == ("", "", [], [])
    assert result["words"] == NO_POSE_WORDS
    assert result["report"] is None
    assert "nothing was changed" in result["summary"]


@pytest.mark.parametrize(
    "mend",
    [
        'bpy.context.scene.posellava.instruction = "lower it"',
        "bpy.context.view_layer.objects.active = None",
        'preferences.url = "ws://127.0.0.1:10"',
        "bpy.context.scene.frame_set(5)",
    ],
)
def test_an_error_is_no_longer_shown_when_what_it_was_about_has_changed(
    in_blender: InBlender, start_backend: Callable[..., Any], mend: str
) -> None:
    result = in_blender(
        FIGURE
        + SHOWN
        + f"""
bpy.context.scene.posellava.frames = "SELECTED"
call(bpy.ops.posellava.edit_pose, instruction="raise it")
result["before"] = [shown(), shown()]
{mend}
result["after"] = shown()
""",
        URL=start_backend().url,
    )
    assert "No keyframe of this armature is selected" in result["before"][0]
    assert result["before"][1] == result["before"][0]
    assert result["after"] == ""


def test_what_was_undone_or_belongs_to_another_file_is_no_longer_told(on_figure: OnFigure) -> None:
    result = on_figure(
        """
bpy.ops.ed.undo_push(message="Set-up")
bpy.ops.posellava.edit_pose(instruction="raise it")
bpy.ops.ed.undo_push(message="Edit Pose")
result["told"] = [activity.outcome is not None]
bpy.ops.ed.undo()
result["told"].append(activity.outcome is not None)
bpy.ops.posellava.edit_pose(instruction="raise it")
bpy.ops.wm.read_homefile(use_empty=True)
result["told"].append(activity.outcome is not None)
""",
    )
    assert result["told"] == [True, False, False]


def test_undo_takes_back_poses_but_not_what_was_chosen_in_the_panel(in_blender: InBlender) -> None:
    result = in_blender(
        FIGURE
        + """
chosen = bpy.context.scene.posellava
bpy.ops.ed.undo_push(message="Set-up")
bpy.context.object.pose.bones["L_Knee"].rotation_quaternion = (0.9, 0.3, 0, 0)
chosen.frames, chosen.strength, chosen.parts = "RANGE", 0.5, {"head", "trunk"}
chosen.instruction = "nod"
bpy.ops.ed.undo_push(message="Frames")
def read():
    chosen = bpy.context.scene.posellava
    knee = bpy.context.object.pose.bones["L_Knee"].rotation_quaternion
    return [chosen.frames, chosen.strength, sorted(chosen.parts), chosen.instruction, round(knee[1], 1)]
bpy.ops.ed.undo()
result["undone"] = read()
bpy.ops.ed.redo()
result["redone"] = read()
"""
    )
    assert result["undone"] == ["RANGE", 0.5, ["head", "trunk"], "nod", 0.0]
    assert result["redone"] == ["RANGE", 0.5, ["head", "trunk"], "nod", 0.3]


def test_a_cancelled_request_is_a_hint_and_no_error(
    in_blender: InBlender, start_backend: Callable[..., Any]
) -> None:
    result = in_blender(
        FIGURE
        + """
import threading
from bl_ext.user_default.posellava.operators.ask import cancel_running
def cancel_when_sent():
    while activity.handle is None:
        pass
    cancel_running()
threading.Thread(target=cancel_when_sent).start()
result["error"] = call(bpy.ops.posellava.edit_pose, instruction="raise it")
result["notice"] = [activity.notice.sentence, activity.notice.failed]
"""
        + UNTOUCHED,
        URL=start_backend("--delay", "20").url,
    )
    assert result["notice"] == ["Cancelled; nothing was changed.", False]
    assert (result["error"], result["panel"], result["keys"]) == ("", "", [])


# What cannot be posed is said before the model is asked: no backend answers at the address, and none is missed.

BEFORE_ASKING = """
from types import SimpleNamespace
from bl_ext.user_default.posellava.operators import pose
from bl_ext.user_default.posellava.operators import ask
from bl_ext.user_default.posellava.session import State, Status
ask.backend.status = lambda: Status(State.CONNECTED, "")
bpy.context.scene.posellava.instruction = "raise it"
result["tooltip"] = pose.POSELLAVA_OT_edit_pose.obstacle(SimpleNamespace(
    scene=bpy.context.scene, view_layer=bpy.context.view_layer, preferences=bpy.context.preferences,
    posellava_panel=bpy.context.scene.posellava))
result["error"] = call(bpy.ops.posellava.edit_pose, instruction="raise it")
"""


@pytest.mark.parametrize(
    ("scene", "words"),
    [
        pytest.param(
            """
name = bpy.context.object.name
bpy.ops.wm.save_as_mainfile(filepath=os.environ["FILE"])
bpy.ops.wm.read_homefile(use_empty=True)
with bpy.data.libraries.load(os.environ["FILE"], link=True) as (there, here):
    here.objects = [name]
bpy.context.collection.objects.link(here.objects[0])
bpy.context.view_layer.objects.active = here.objects[0]
""",
            ["linked from another file", "library override"],
            id="linked",
        ),
        pytest.param(
            """
collection = bpy.data.collections.new("Crowd")
for one in list(bpy.context.collection.objects):
    collection.objects.link(one)
    bpy.context.collection.objects.unlink(one)
empty = bpy.data.objects.new("Crowd One", None)
empty.instance_type, empty.instance_collection = "COLLECTION", collection
bpy.context.collection.objects.link(empty)
bpy.context.view_layer.objects.active = empty
""",
            ["Crowd One is an instance of the collection Crowd", "Make Instances Real"],
            id="instance",
        ),
        pytest.param(
            """
figure = bpy.context.object
figure.pose.bones["L_Knee"].keyframe_insert("rotation_quaternion", frame=1)
slots = hasattr(figure.animation_data, "action_slot")
if slots:
    figure.animation_data.action_slot = None
result["slots"] = slots
""",
            ["is assigned without a slot", "choose a slot"],
            id="action without its slot",
        ),
        pytest.param(
            "bpy.ops.object.mode_set(mode='EDIT')", ["Edit Mode", "switch to Pose Mode"], id="edit mode"
        ),
        pytest.param(
            "bpy.context.view_layer.objects.active = None; bpy.ops.object.select_all(action='DESELECT')",
            ["No armature is selected"],
            id="nothing",
        ),
    ],
)
def test_an_armature_that_cannot_be_posed_is_refused_before_the_model_is_asked(
    in_blender: InBlender, tmp_path: Any, scene: str, words: list[str]
) -> None:
    result = in_blender(FIGURE + scene + BEFORE_ASKING, FILE=str(tmp_path / "library.blend"))
    if result.get("slots", True) is False:
        pytest.skip("actions have slots from Blender 4.4 on")
    assert result["tooltip"] == result["error"]
    for word in words:
        assert word in result["error"]


def test_a_long_instruction_is_shown_whole_and_the_figure_is_offered_where_it_is_named(
    in_blender: InBlender,
) -> None:
    words = " ".join(f"word{number}" for number in range(60))
    result = in_blender(
        PREPARE
        + """
from types import SimpleNamespace
from bl_ext.user_default.posellava.ui import panel
class Layout:
    def __init__(self, labels, operators):
        self.labels, self.operators = labels, operators
    def label(self, text="", **options):
        self.labels.append(text)
    def operator(self, name, **options):
        self.operators.append(name)
        return SimpleNamespace()
    def __getattr__(self, name):
        return lambda *rest, **options: Layout(self.labels, self.operators)
def draw(scene):
    labels, operators = [], []
    chosen = SimpleNamespace(addons=bpy.context.preferences.addons, system=SimpleNamespace(ui_scale=1.0))
    context = SimpleNamespace(
        scene=scene, view_layer=bpy.context.view_layer, window_manager=bpy.context.window_manager,
        preferences=chosen, region=SimpleNamespace(width=300))
    panel.POSELLAVA_PT_main.draw(SimpleNamespace(layout=Layout(labels, operators)), context)
    return labels, operators
result["empty"], result["offered"] = draw(bpy.context.scene)
bpy.ops.posellava.add_figure()
bpy.context.scene.posellava.instruction = os.environ["WORDS"]
result["long"], result["then"] = draw(bpy.context.scene)
""",
        WORDS=words,
    )
    assert "Add SMPL Figure" in " ".join(result["empty"])
    assert "posellava.add_figure" in result["offered"]
    assert "posellava.add_figure" not in result["then"]
    lines = [line for line in result["long"] if "word" in line]
    assert " ".join(lines) == f"“{words}”"
    assert max(map(len, lines)) < 60


def test_search_and_menus_lead_to_the_operators(in_blender: InBlender) -> None:
    result = in_blender(
        PREPARE
        + """
from types import SimpleNamespace
import bl_ext.user_default.posellava.ui.menus as menus
named = []
class Layout:
    def __getattr__(self, name):
        return lambda first=None, *rest, **options: named.append([name, first])
menus.POSELLAVA_MT_main.draw(SimpleNamespace(layout=Layout()), bpy.context)
result["operators"] = [first for name, first in named if name == "operator"]
result["exist"] = all(
    getattr(bpy.ops.posellava, one.split(".")[1]).get_rna_type() for one in result["operators"])
result["in"] = [
    menu for menu in ("VIEW3D_MT_pose", "VIEW3D_MT_object")
    if menus._draw_submenu in getattr(bpy.types, menu).draw._draw_funcs]
"""
    )
    assert result["exist"]
    assert {"posellava.edit_pose", "posellava.generate_pose", "posellava.estimate_pose"} <= set(
        result["operators"]
    )
    assert result["in"] == ["VIEW3D_MT_pose", "VIEW3D_MT_object"]


def test_a_leftover_instruction_does_not_go_along_with_an_image(on_figure: OnFigure, tmp_path: Any) -> None:
    asked = tmp_path / "asked.json"
    result = on_figure(
        """
image = bpy.data.images.new("photo", 8, 8)
bpy.context.scene.posellava.image = image
bpy.context.scene.posellava.instruction = "raise it"
result["error"] = call(bpy.ops.posellava.estimate_pose)
""",
        backend=("--asked", str(asked)),
    )
    assert result["error"] == ""
    assert '"instruction": ""' in asked.read_text()


def test_it_works_from_any_repository_of_extensions(
    extension_zip: Any, start_backend: Callable[..., Any], tmp_path: Any, run_blender: Callable[..., str]
) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        """
import bpy, os, sys
bpy.ops.preferences.extension_repo_add(name="Studio", type="LOCAL")
repository = bpy.context.preferences.extensions.repos["Studio"].module
bpy.ops.extensions.package_install_files(filepath=sys.argv[1], repo=repository, enable_on_install=True)
bpy.ops.wm.read_homefile(use_empty=True)
import importlib
cli = importlib.import_module(f"bl_ext.{repository}.posellava.cli")
bpy.ops.posellava.add_figure()
outcome = cli.edit("raise it", url=os.environ["URL"])
print("KEYS", repository != "user_default" and outcome.report.keys)
"""
    )
    output = run_blender(
        [str(script), str(extension_zip)],
        {"BLENDER_USER_RESOURCES": str(tmp_path), "URL": start_backend().url},
    )
    assert "KEYS 4" in output


def test_names_in_any_script_are_taken_and_told(on_figure: OnFigure, tmp_path: Any) -> None:
    asked = tmp_path / "asked.json"
    result = on_figure(
        """
figure = bpy.context.object
figure.name = figure.data.name = "Фигура 人物 🤸"
bpy.context.scene.name = bpy.context.view_layer.name = "Szene für später"
figure.animation_data_create().action = bpy.data.actions.new("Gehen 歩く")
result["error"] = call(bpy.ops.posellava.edit_pose, instruction="подними «левую» руку 🙋")
result["keys"] = len(keys())
result["edits"] = [edit.instruction for edit in activity.history.edits]
from bl_ext.user_default.posellava import cli
result["outcome"] = cli.edit("もう一度", armature=figure.name, url=os.environ["URL"]).report.keys
""",
        backend=("--asked", str(asked)),
    )
    assert result == {"error": "", "keys": 4, "edits": ["подними «левую» руку 🙋"], "outcome": 4}
    assert json.loads(asked.read_text())["instruction"] == "もう一度"
