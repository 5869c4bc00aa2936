# SPDX-License-Identifier: Apache-2.0
"""The installed extension in headless Blender, against a backend whose answers are foreseeable."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from ..scripted_backend import TURN_DEGREES, WORDS
from .scripts import COURSE, FIGURE, PREPARE, UNTOUCHED, InBlender, OnFigure


def test_an_edit_turns_what_the_model_turned_and_keys_it(on_figure: OnFigure) -> None:
    result = on_figure(
        """
bpy.context.scene.frame_set(7)
bpy.context.scene.posellava.instruction = "raise the left arm"
result["error"] = call(bpy.ops.posellava.edit_pose)
result["keys"] = keys()
result["words"] = activity.outcome.words
result["degrees"] = activity.outcome.report.degrees
""",
    )
    assert result["error"] == ""
    assert result["words"] == WORDS
    assert result["degrees"] == {"left_shoulder": pytest.approx(TURN_DEGREES, abs=0.01)}
    assert {path for path, _, _ in result["keys"]} == {'pose.bones["L_Shoulder"].rotation_quaternion'}
    assert all(frames == [7.0] for _, _, frames in result["keys"])


def test_an_edit_of_a_range_keys_every_frame_of_it(on_figure: OnFigure) -> None:
    result = on_figure(
        """
result["error"] = call(bpy.ops.posellava.edit_pose, instruction="raise it", frame_list="3:9,20")
result["keys"] = keys()
""",
    )
    assert result["error"] == ""
    assert result["keys"]
    assert all(frames == [3, 4, 5, 6, 7, 8, 9, 20] for _, _, frames in result["keys"])


LOCK_SHOULDER = """
shoulder = bpy.context.object.pose.bones["L_Shoulder"]
shoulder.rotation_mode = "XYZ"
shoulder.lock_rotation = (True, True, True)
"""


@pytest.mark.parametrize(
    ("before", "options", "told"),
    [
        ("", ', parts={"right_arm", "head"}', "nothing was keyed"),
        (LOCK_SHOULDER, "", "locked (left shoulder)"),
    ],
    ids=["parts that may not move", "locked channels"],
)
def test_what_may_not_be_keyed_is_not_and_that_is_said(
    before: str, options: str, told: str, in_blender: InBlender, start_backend: Callable[..., Any]
) -> None:
    result = in_blender(
        FIGURE
        + before
        + f"""
result["error"] = call(bpy.ops.posellava.edit_pose, instruction="raise it"{options})
result["keys"] = keys()
result["summary"] = activity.outcome.summary()
""",
        URL=start_backend().url,
    )
    assert result["error"] == ""
    assert result["keys"] == []
    assert told in result["summary"]


def test_a_generated_pose_keeps_the_way_the_figure_faces(on_figure: OnFigure) -> None:
    result = on_figure(
        """
import math, mathutils
from bl_ext.user_default.posellava.rig.armature import Rig
figure = bpy.context.object
figure.rotation_euler.z = math.radians(30)
bpy.context.view_layer.update()
before = Rig.of(figure).read_current()[0].tolist()
result["error"] = call(bpy.ops.posellava.generate_pose, instruction="a person")
result["roots"] = [before, Rig.of(figure).read_current()[0].tolist()]
result["degrees"] = activity.outcome.report.degrees
""",
    )
    assert result["error"] == ""
    assert result["roots"][1] == pytest.approx(result["roots"][0], abs=1e-5)
    assert list(result["degrees"]) == ["left_shoulder"]


def test_only_an_edit_has_frames_and_strength_and_both_count(on_figure: OnFigure) -> None:
    result = on_figure(
        """
names = ("edit_pose", "generate_pose", "estimate_pose")
properties = {name: getattr(bpy.ops.posellava, name).get_rna_type().properties.keys() for name in names}
result["options"] = [name for name in names if {"frames", "frame_list", "strength"} & set(properties[name])]
from bl_ext.user_default.posellava.operators import work
orders = []
def course(order, connection, real=work.course):
    orders.append(order)
    return real(order, connection)
from bl_ext.user_default.posellava.operators import ask_pose
ask_pose.course = course
result["error"] = call(bpy.ops.posellava.edit_pose, instruction="raise it", frame_list="3:4", strength=0.25)
bpy.context.scene.posellava.strength = 0.5
call(bpy.ops.posellava.edit_pose, instruction="raise it")
call(bpy.ops.posellava.generate_pose, instruction="a person")
result["orders"] = [[list(order.frames), order.strength] for order in orders]
result["planted"] = [order.options.planted for order in orders]
""",
    )
    assert result == {
        "options": ["edit_pose"],
        "error": "",
        "orders": [[[3, 4], 0.25], [[1], 0.5], [[1], 1.0]],
        "planted": [True, True, False],
    }


@pytest.mark.parametrize(("size", "sent"), [("3000,100", (1024, 34)), ("300,200", (300, 200))])
def test_a_pose_is_estimated_from_an_image_file_of_any_size(
    size: str, sent: tuple[int, int], on_figure: OnFigure, tmp_path: Any
) -> None:
    arrived = tmp_path / "arrived.png"
    result = on_figure(
        """
image = bpy.data.images.new("photo", *map(int, os.environ["SIZE"].split(",")))
image.file_format = "JPEG"
path = os.environ["IMAGE"]
image.save(filepath=path)
bpy.data.images.remove(image)
result["error"] = call(bpy.ops.posellava.estimate_pose, filepath=path)
result["images"] = len(bpy.data.images)
result["keys"] = len(keys())
""",
        backend=("--picture", str(arrived)),
        IMAGE=str(tmp_path / "photo.jpg"),
        SIZE=size,
    )
    assert (tmp_path / "photo.jpg").read_bytes().startswith(b"\xff\xd8"), "it has to be a JPEG"
    assert result == {"error": "", "images": 0, "keys": 4}
    assert Image.open(arrived).size == sent


def test_the_cameras_view_is_sent_when_asked_for(on_figure: OnFigure) -> None:
    result = on_figure(
        """
camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
camera.location, camera.rotation_euler = (0, -4, 1), (1.5708, 0, 0)
bpy.context.collection.objects.link(camera)
bpy.context.scene.camera = camera
engine = bpy.context.scene.render.engine
from bl_ext.user_default.posellava.operators import picture
png = finish(picture.of_view(bpy.context, bpy.data.objects["SMPL Figure"])).png
result["png"] = [png[:8].hex(), int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")]
result["error"] = call(bpy.ops.posellava.edit_pose, instruction="raise it", send_view=True)
result["same"] = [bpy.context.scene.render.engine == engine, len(bpy.data.scenes)]
""",
    )
    assert result == {"png": ["89504e470d0a1a0a", 336, 336], "error": "", "same": [True, 1]}


def test_history_recalls_an_instruction(on_figure: OnFigure) -> None:
    result = on_figure(
        """
for instruction in ("raise it", "raise it more"):
    call(bpy.ops.posellava.edit_pose, instruction=instruction)
result["edits"] = [edit.instruction for edit in activity.history.edits]
bpy.ops.posellava.recall(instruction=result["edits"][1])
result["field"] = bpy.context.scene.posellava.instruction
""",
    )
    assert result == {"edits": ["raise it more", "raise it"], "field": "raise it"}


def test_only_the_panels_buttons_wait_for_a_connection(in_blender: InBlender) -> None:
    result = in_blender(
        FIGURE
        + """
from types import SimpleNamespace
from bl_ext.user_default.posellava.operators import pose
def obstacle(**pointer):
    return pose.POSELLAVA_OT_edit_pose.obstacle(SimpleNamespace(
        scene=bpy.context.scene, view_layer=bpy.context.view_layer, preferences=bpy.context.preferences, **pointer))
result["button"] = obstacle(posellava_panel=bpy.context.scene.posellava)
result["script"] = obstacle()
preferences.url = ""
from bl_ext.user_default.posellava.operators import local_backend
real = local_backend.obstacle
local_backend.obstacle = lambda: "It has no backend of its own."
result["alone"] = obstacle(posellava_panel=bpy.context.scene.posellava)
local_backend.obstacle = lambda: ""
result["own"] = obstacle(posellava_panel=bpy.context.scene.posellava)
local_backend.obstacle = real
"""
    )
    assert "press Connect" in result["button"]
    assert result["script"] == ""
    assert result["alone"] == "It has no backend of its own."
    assert "instruction is empty" in result["own"], "the extension's own backend starts by itself"


def test_the_preferences_say_how_the_local_backend_is_and_why_it_failed(
    in_blender: Callable[..., dict[str, Any]],
) -> None:
    result = in_blender(
        PREPARE
        + """
from types import SimpleNamespace
from bl_ext.user_default.posellava import settings
from bl_ext.user_default.posellava.local import LocalState, LocalStatus
from bl_ext.user_default.posellava.operators import local_backend
class Layout:
    def __init__(self, said):
        self.__dict__["said"] = said
    def __setattr__(self, name, value):
        pass
    def __getattr__(self, name):
        def call(*arguments, **options):
            self.said.append(options.get("text") or str(arguments[-1] if arguments else ""))
            return Layout(self.said)
        return call
context = SimpleNamespace(
    region=SimpleNamespace(width=3000), preferences=SimpleNamespace(system=SimpleNamespace(ui_scale=1.0)))
def drawn(state, *lines):
    local_backend.status = lambda: LocalStatus(state, "What to do.", lines)
    said = []
    settings.PoseLlavaPreferences.draw(SimpleNamespace(layout=Layout(said)), context)
    return said
for state in LocalState:
    result[state.value] = drawn(state, "the last line")
"""
    )
    for state, button in (("stopped", "start"), ("starting", "stop"), ("ready", "stop"), ("failed", "start")):
        said = " | ".join(filter(None, result[state]))
        assert f"Local backend: {state}" in said
        assert ("Stop" in result[state]) == (button == "stop")
        assert ("posellava.start_local_backend" in said) == (button == "start")
        assert ("What to do. | the last line" in said) == (state == "failed")


def test_cancel_is_heard_while_poses_are_still_read(on_figure: OnFigure) -> None:
    result = on_figure(
        """
from bl_ext.user_default.posellava.operators import backend, work
order = work.Order("adjust", "raise it", bpy.context.object.session_uid, tuple(range(2000)), frozenset({"head"}), 1.0)
result["refused"] = call(bpy.ops.posellava.cancel)
activity.begin()
course = work.course(order, backend.connection(bpy.context))
next(course)
bpy.ops.posellava.cancel()
try:
    next(course)
except Exception as error:
    result["error"] = str(error)
result["sent"] = activity.handle is not None
activity.end()
result["next"] = call(bpy.ops.posellava.edit_pose, instruction="raise it")
""",
    )
    assert result.pop("refused") != ""
    assert result == {"error": "Cancelled; nothing was changed.", "sent": False, "next": ""}


def test_poses_that_blender_evaluates_are_read_several_at_a_time_however_busy_the_machine(
    on_figure: OnFigure,
) -> None:
    result = on_figure(
        """
import itertools, types
from bl_ext.user_default.posellava.operators import work
bpy.context.object.pose.bones["Head"].constraints.new("LIMIT_LOCATION")
hours = itertools.count(step=3600.0)
work.time = types.SimpleNamespace(perf_counter=lambda: next(hours))
order = work.Order("adjust", "raise it", bpy.context.object.session_uid, tuple(range(1, 102)), frozenset({"head"}), 1.0)
result["pauses"] = len(list(work._read(order)))
"""
    )
    assert result["pauses"] == 25


def test_what_is_posed_while_the_model_works_stays(on_figure: OnFigure) -> None:
    result = on_figure(
        COURSE,
        """
wait = start("adjust", (1.0,))
knee = bpy.context.object.pose.bones["L_Knee"]
knee.rotation_quaternion = (0.9, 0.3, 0, 0)
finish_course(wait)
result["degrees"] = activity.outcome.report.degrees
result["knee"] = list(knee.rotation_quaternion)
result["keyed"] = sorted({path for path, _, _ in keys()})
""",
    )
    assert list(result["degrees"]) == ["left_shoulder"]
    assert result["knee"] == pytest.approx([0.9, 0.3, 0, 0])
    assert result["keyed"] == ['pose.bones["L_Shoulder"].rotation_quaternion']


def test_a_generated_pose_faces_as_at_its_frame_wherever_the_timeline_is_moved_meanwhile(
    on_figure: OnFigure,
) -> None:
    result = on_figure(
        COURSE,
        """
import math
pelvis = bpy.context.object.pose.bones["Pelvis"]
pelvis.rotation_mode = "XYZ"
for frame, degrees in ((1, 0), (10, 90)):
    pelvis.rotation_euler = (0, math.radians(degrees), 0)
    pelvis.keyframe_insert("rotation_euler", frame=frame)
bpy.context.scene.frame_set(1)
before = Rig.of(bpy.context.object).read([1.0])[0, 0].tolist()
wait = start("generate", (1.0,))
bpy.context.scene.frame_set(10)
finish_course(wait)
result["roots"] = [before, Rig.of(bpy.context.object).read([1.0])[0, 0].tolist()]
""",
    )
    assert result["roots"][1] == pytest.approx(result["roots"][0], abs=1e-5)


def test_an_image_that_is_removed_before_it_is_sent_is_explained(in_blender: InBlender) -> None:
    result = in_blender(
        FIGURE
        + """
from bl_ext.user_default.posellava.operators import picture
image = bpy.data.images.new("Dancer", 8, 8)
take = picture.of_image(image)
bpy.data.images.remove(image)
try:
    finish(take)
except picture.PictureError as error:
    result["error"] = str(error)
"""
    )
    assert result["error"] == "The image Dancer was removed; choose another."


def test_a_pasted_line_brings_its_token(in_blender: InBlender) -> None:
    result = in_blender(
        PREPARE
        + """
preferences.token = "of an earlier start"
preferences.url = "ws://127.0.0.1:9"
result["kept"] = preferences.token
preferences.url = " listening ws://127.0.0.1:4321 token=fresh "
result["taken"] = [preferences.url, preferences.token]
"""
    )
    assert result == {"kept": "of an earlier start", "taken": ["ws://127.0.0.1:4321", "fresh"]}


# Bad input: one clear sentence each, and the scene as it was.


def check_untouched(result: dict[str, Any], *words: str) -> None:
    """One sentence that has these words, shown in the panel too, and no change."""
    assert result["keys"] == []
    assert result["posed"] == []
    assert result["error"] == result["panel"]
    assert result["error"].count("\n") == 0
    for word in words:
        assert word in result["error"]


def test_without_an_armature_it_says_to_select_or_add_one(
    in_blender: InBlender, start_backend: Callable[..., Any]
) -> None:
    result = in_blender(
        PREPARE + 'result["error"] = call(bpy.ops.posellava.edit_pose, instruction="raise it")' + UNTOUCHED,
        URL=start_backend().url,
    )
    check_untouched(result, "No armature is selected", "Add SMPL Figure")


def test_an_armature_that_is_no_humanoid_is_refused(
    in_blender: InBlender, start_backend: Callable[..., Any]
) -> None:
    result = in_blender(
        PREPARE
        + """
bpy.ops.object.armature_add()
result["error"] = call(bpy.ops.posellava.edit_pose, instruction="raise it")
"""
        + UNTOUCHED,
        URL=start_backend().url,
    )
    check_untouched(result, "SMPL")


def test_without_a_backend_it_says_how_to_start_one(in_blender: InBlender) -> None:
    result = in_blender(
        FIGURE + 'result["error"] = call(bpy.ops.posellava.edit_pose, instruction="raise it")' + UNTOUCHED
    )
    check_untouched(result, "No backend answers", "posellava serve")


def test_a_wrong_token_is_refused_with_a_sentence(
    in_blender: InBlender, start_backend: Callable[..., Any]
) -> None:
    result = in_blender(
        FIGURE + 'result["error"] = call(bpy.ops.posellava.edit_pose, instruction="raise it")' + UNTOUCHED,
        URL=start_backend(token="right").url,
        TOKEN="wrong",
    )
    check_untouched(result, "token")


def test_a_backend_killed_in_mid_request_is_reported_and_the_next_one_is_used(
    in_blender: InBlender, start_backend: Callable[..., Any], tmp_path: Any
) -> None:
    asked = tmp_path / "asked.json"
    dying, next_one = start_backend("--delay", "600", "--asked", str(asked)), start_backend()
    result = in_blender(
        FIGURE
        + """
import signal, threading
def kill_when_sent():
    while not os.path.exists(os.environ["ASKED"]):
        __import__("time").sleep(0.05)
    os.kill(int(os.environ["PID"]), signal.SIGKILL)
threading.Thread(target=kill_when_sent).start()
result["error"] = call(bpy.ops.posellava.edit_pose, instruction="raise it")
"""
        + UNTOUCHED
        + """
preferences.url = os.environ["NEXT"]
result["then"] = call(bpy.ops.posellava.edit_pose, instruction="raise it")
""",
        URL=dying.url,
        PID=str(dying.process.pid),
        ASKED=str(asked),
        NEXT=next_one.url,
    )
    check_untouched(result, "broke", "Nothing was changed")
    assert result["then"] == ""
    assert dying.process.wait(timeout=10) == -signal.SIGKILL


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        ("9:3", "ends before it starts"),
        ("now", "is no list of frames"),
        ("1:99999999999", "Blender's last"),
    ],
)
def test_frames_that_cannot_be_read_are_explained(
    in_blender: InBlender, start_backend: Callable[..., Any], frames: str, words: str
) -> None:
    result = in_blender(
        FIGURE
        + 'result["error"] = call(bpy.ops.posellava.edit_pose, instruction="raise it", frame_list=os.environ["F"])'
        + UNTOUCHED,
        URL=start_backend().url,
        F=frames,
    )
    check_untouched(result, words)


@pytest.mark.parametrize("choose", ['frames="RANGE"', 'frame_list="1:4097"'])
def test_more_frames_than_a_request_takes_are_refused_before_any_is_read(
    in_blender: InBlender, start_backend: Callable[..., Any], choose: str
) -> None:
    result = in_blender(
        FIGURE
        + f"""
from bl_ext.user_default.posellava.operators import work
def read(order):
    raise AssertionError("poses are read")
real, work._read = work._read, read
scene = bpy.context.scene
scene.frame_start, scene.frame_end = 1, 4097
result["error"] = call(bpy.ops.posellava.edit_pose, instruction="raise it", {choose})
"""
        + UNTOUCHED
        + """
work._read = real
result["then"] = call(bpy.ops.posellava.edit_pose, instruction="raise it", frame_list="1:2")
""",
        URL=start_backend().url,
    )
    check_untouched(result, "4,097 frames", "at most 4,096")
    assert result["then"] == ""


def test_an_empty_instruction_is_explained(in_blender: InBlender, start_backend: Callable[..., Any]) -> None:
    result = in_blender(
        FIGURE + 'result["error"] = call(bpy.ops.posellava.edit_pose, instruction=" ")' + UNTOUCHED,
        URL=start_backend().url,
    )
    check_untouched(result, "instruction is empty")


def test_a_megabyte_of_text_is_refused(in_blender: InBlender, start_backend: Callable[..., Any]) -> None:
    result = in_blender(
        FIGURE
        + 'result["error"] = call(bpy.ops.posellava.edit_pose, instruction="x" * (1 << 20))'
        + UNTOUCHED,
        URL=start_backend().url,
    )
    check_untouched(result, "shorten it")


def test_a_file_that_is_no_image_is_refused(
    in_blender: InBlender, start_backend: Callable[..., Any], tmp_path: Any
) -> None:
    file = tmp_path / "notes.png"
    file.write_bytes(b"no picture at all")
    result = in_blender(
        FIGURE
        + 'result["error"] = call(bpy.ops.posellava.estimate_pose, filepath=os.environ["FILE"])'
        + UNTOUCHED,
        URL=start_backend().url,
        FILE=str(file),
    )
    check_untouched(result, "choose a PNG or JPEG image")


def test_another_machine_is_not_reached_while_blender_is_offline(in_blender: InBlender) -> None:
    result = in_blender(
        FIGURE + 'result["error"] = call(bpy.ops.posellava.edit_pose, instruction="raise it")' + UNTOUCHED,
        URL="ws://192.0.2.1:8765",
    )
    check_untouched(result, "Online Access")
