# SPDX-License-Identifier: Apache-2.0
"""The add-on in a real Blender window, used with mouse and keyboard. Screenshots go to out/.

Places are those of Blender 4.3's default layout at 1280 x 800; a picture of each stage is in out/ after a run. A test
waits for what it does to show, however busy the machine is; how long the add-on holds the window is measured by
``make bench``.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from .window import DEBIAN, ROOT, Window

pytestmark = [
    pytest.mark.gui,
    pytest.mark.skipif(not (DEBIAN / ".posellava-ready").exists(), reason="run it with: make test-gui"),
]

OUT = ROOT / "out"
TAB = (1043, 262)
CONNECT = (976, 128)
INSTRUCTION = (880, 191)
EDIT_POSE = (909, 220)
ADD_FIGURE_FIRST, INSTRUCTION_FIRST, EDIT_POSE_FIRST = (900, 247), (870, 217), (910, 247)
"""Where these are as long as nothing is set up."""
CANCEL = (909, 248)
NEXT_VARIANT = (1003, 342)
EDIT_OPTIONS = (835, 280)
IN_WORDS = (835, 410)
"""While the edit's options are closed."""
ASK_FIRST, ASK_SECOND = (1008, 503), (1008, 558)
"""Where the question's button is below no turn, and below a short one."""
DESCRIBE = (909, 441)
DESCRIBE_MUTE, IMAGE_BELOW_MUTE = (909, 475), (828, 595)
"""Below the sentence that the model does not speak."""
IMAGE = (828, 436)
PAINT_POSE = (909, 560)
VIEWPORT = (250, 620)
INSTRUCTION_TEXT = "raise your left arm to shoulder height"

LOOK = """
camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
bpy.context.collection.objects.link(camera)
camera.location, camera.rotation_euler = (0.0, -4.0, 0.9), (1.5708, 0.0, 0.0)
scene = bpy.context.scene
scene.camera = camera
scene.render.resolution_x = scene.render.resolution_y = 512
scene.render.filepath = __import__("os").environ["FOLDER"] + "/"
next(area for area in bpy.context.screen.areas if area.type == "PROPERTIES").type = "IMAGE_EDITOR"
"""
"""A camera that sees the figure, and an Image Editor in the place of the properties."""
SPEAKS = """
import importlib
backend = importlib.import_module("bl_ext.user_default.posellava.operators.backend")
result["it"] = "describe" in backend.status().welcome.tasks
"""
ASK = 'bpy.ops.posellava.edit_pose("INVOKE_DEFAULT", instruction="raise it", frames="CURRENT")'


def test_buttons_are_grey_with_a_reason_until_all_is_there(
    extension_zip: Path, start_backend: Callable[..., Any]
) -> None:
    with Window(extension_zip, url=start_backend().url, token="") as window:
        _open_tab(window)
        state = window.wait_for(lambda state: state["polled"])
        assert set(state["polled"].values()) == {"Not connected to a backend; press Connect first."}
        window.click(EDIT_POSE)
        window.move((EDIT_POSE[0] + 20, EDIT_POSE[1]))
        time.sleep(3.0)  # the tooltip
        window.screenshot(OUT / "gui_grey.png")
        assert not window.state["running"]
        window.move(VIEWPORT)
        _connect(window)
        window.wait_for(lambda state: "instruction is empty" in state["polled"]["Edit Pose"])
        _instruct(window, "raise it")
        window.wait_for(lambda state: state["polled"]["Edit Pose"] == "")
        window.wait_for(lambda state: "No image is chosen" in state["polled"]["Estimate Pose"])
        window.run("bpy.ops.object.mode_set(mode='EDIT')")
        window.wait_for(lambda state: "Edit Mode" in state["polled"]["Edit Pose"])
        window.run("bpy.ops.object.mode_set(mode='OBJECT'); bpy.context.view_layer.objects.active = None")
        window.run("bpy.ops.object.select_all(action='DESELECT')")
        window.wait_for(lambda state: "No armature" in state["polled"]["Edit Pose"])
        time.sleep(4.0)  # until the panels have slid to their places
        window.move(VIEWPORT)
        window.screenshot(OUT / "gui_nothing.png")


def test_a_typed_instruction_moves_the_figure_and_one_undo_takes_it_back(
    extension_zip: Path, shipped_backend: Any
) -> None:
    with _connected(extension_zip, shipped_backend) as window:
        window.screenshot(OUT / "gui_connected.png")
        before = _type(window, INSTRUCTION_TEXT)
        after = window.click_until(EDIT_POSE, lambda state: state["degrees"] and not state["running"])
        window.move(VIEWPORT)
        _screenshot_of(window, "gui_edited.png", done=True)
        assert after["error"] == ""
        assert after["degrees"]["left_shoulder"] > 20
        assert 10.0 in after["keys"]['pose.bones["L_Shoulder"].rotation_quaternion[0]']

        window.key("ctrl+z")
        undone = window.wait_for(lambda state: state["keys"] == before["keys"])
        assert undone["pose"] == before["pose"]
        assert undone["instruction"] == INSTRUCTION_TEXT
        window.wait_for(lambda state: not state["degrees"])  # the panel no longer reports it
        window.key("ctrl+shift+z")
        window.wait_for(lambda state: state["keys"] == after["keys"])
        assert "Traceback" not in window.log_so_far
        assert {"invoke", "modal", "connect"} <= window.state["longest_ms"].keys()


def test_a_request_can_be_cancelled_while_the_window_stays_usable(
    extension_zip: Path, start_backend: Callable[..., Any]
) -> None:
    backend = start_backend("--delay", "600")
    with _connected(extension_zip, backend) as window:
        before = _instruct(window, "raise the left arm")
        window.click_until(EDIT_POSE, lambda state: state["running"])
        window.move(VIEWPORT)
        window.key("n")  # the window answers: N closes the sidebar and opens it again
        window.key("n")
        _screenshot_of(window, "gui_running.png", sent=True)
        assert window.state["running"]
        after = window.click_until(CANCEL, lambda state: not state["running"])
        assert (after["error"], after["notice"]) == ("", "Cancelled; nothing was changed.")
        assert after["keys"] == before["keys"]
        window.move(VIEWPORT)
        _screenshot_of(window, "gui_cancelled.png", notice=after["notice"])


def test_a_killed_backend_is_reported_and_the_connection_comes_back_by_itself(
    extension_zip: Path, start_backend: Callable[..., Any]
) -> None:
    backend = start_backend("--delay", "600")
    with _connected(extension_zip, backend) as window:
        before = _instruct(window, "raise the left arm")
        window.click_until(EDIT_POSE, lambda state: state["sent"])
        time.sleep(1.0)  # from being handed over to being on its way
        backend.process.kill()
        after = window.wait_for(lambda state: state["error"])
        window.move(VIEWPORT)
        _screenshot_of(window, "gui_lost.png", notice=after["error"])
        assert "Nothing was changed" in after["error"]
        assert after["keys"] == before["keys"]
        assert after["connection"] == "connecting"
        start_backend("--port", backend.url.rpartition(":")[2])
        window.wait_for(lambda state: state["connection"] == "connected")


def test_another_address_in_the_preferences_is_gone_to(
    extension_zip: Path, start_backend: Callable[..., Any]
) -> None:
    first, second = start_backend(), start_backend(token="secret")
    with _connected(extension_zip, first) as window:
        change = "bpy.context.preferences.addons['bl_ext.user_default.posellava'].preferences"
        window.run(f"{change}.url = {second.url!r}")
        window.wait_for(lambda state: state["connection"] == "failed")  # it wants a token
        window.run(f"{change}.token = 'secret'")
        window.wait_for(lambda state: state["connection"] == "connected")
        first.process.kill()
        time.sleep(1.0)
        assert window.state["connection"] == "connected"


def test_variants_and_words_alone_are_shown(extension_zip: Path, start_backend: Callable[..., Any]) -> None:
    with _connected(extension_zip, start_backend()) as window:
        _instruct(window, "raise the left arm")
        one = window.click_until(EDIT_POSE, lambda state: state["degrees"] and not state["running"])
        window.move(VIEWPORT)
        _screenshot_of(window, "gui_variants.png", done=True)
        other = window.click_until(NEXT_VARIANT, lambda state: state["pose"] != one["pose"])
        assert other["keys"] == one["keys"]
        _undo_until(window, lambda state: state["pose"] == one["pose"])
        _instruct(window, "what is it that you would like me to tell you about the weather of tomorrow?")
        words = window.click_until(
            EDIT_POSE, lambda state: state["words"] and not (state["degrees"] or state["running"])
        )
        window.move(VIEWPORT)
        _screenshot_of(window, "gui_words.png", done=True)
        assert (words["degrees"], words["pose"], words["error"]) == ({}, one["pose"], "")


def test_a_conversation_is_held_in_the_panel_while_its_words_come(
    extension_zip: Path, start_backend: Callable[..., Any]
) -> None:
    with _connected(extension_zip, start_backend("--speaks", "--delay", "6")) as window:
        _open_words(window)
        before = window.state
        _ask(window, "How many poses do you see", ASK_FIRST)
        window.wait_for(lambda state: state["running"] and state["said"])
        window.screenshot(OUT / "gui_speaking.png")
        window.wait_for(lambda state: len(state["turns"]) == 1 and not state["running"])
        first = window.state
        assert (first["question"], first["pose"]) == ("", before["pose"])
        assert "L_Shoulder" in str(window.state["keys"])
        _ask(
            window,
            "what would you change so that it is seen from far away that she is glad, show me!",
            ASK_SECOND,
        )
        window.wait_for(lambda state: state["degrees"] and not state["running"])
        assert window.state["pose"]["L_Shoulder"] != before["pose"]["L_Shoulder"]
        assert window.state["turns"][0][0] == "How many poses do you see"
        window.move(IN_WORDS)
        window.do("click", "--repeat", "6", "--delay", "100", "5")  # the wheel, down to the panel's end
        time.sleep(1.5)
        window.move(VIEWPORT)
        _screenshot_of(window, "gui_conversation.png", done=True)
        assert "Traceback" not in window.log_so_far


def test_what_a_backend_does_not_do_is_told_in_plain_sight(
    extension_zip: Path, start_backend: Callable[..., Any]
) -> None:
    with _connected(extension_zip, start_backend()) as window:
        _open_words(window)
        window.click_until(IMAGE_BELOW_MUTE, lambda state: "POSELLAVA_PT_image" in state["longest_ms"])
        time.sleep(1.5)
        window.move(VIEWPORT)
        window.screenshot(OUT / "gui_mute.png")
        before = window.state
        window.click(DESCRIBE_MUTE)
        time.sleep(2.0)
        assert not window.state["running"]
        assert window.state["words"] == before["words"]


def test_the_model_that_ships_says_what_it_sees(extension_zip: Path, shipped_backend: Any) -> None:
    with _connected(extension_zip, shipped_backend) as window:
        if not window.run(SPEAKS)["it"]:
            pytest.skip("the model that ships was not taught to speak")
        _open_words(window)
        described = window.click_until(DESCRIBE, lambda state: state["words"] and not state["running"])
        window.move(VIEWPORT)
        _screenshot_of(window, "gui_described.png", done=True)
        window.run(ASK.replace("raise it", "raise your left arm to shoulder height"))
        window.wait_for(lambda state: state["degrees"] and not state["running"])
        window.run('bpy.ops.posellava.what_changed("INVOKE_DEFAULT", since="EDIT")')
        changed = window.wait_for(lambda state: state["words"] and not (state["degrees"] or state["running"]))
        _screenshot_of(window, "gui_changed.png", done=True)
        assert "arm" in changed["words"] or "elbow" in changed["words"] or "hand" in changed["words"]
        assert described["words"] != changed["words"]
        assert window.state["error"] == ""


def test_a_picture_is_painted_step_by_step_and_can_be_cancelled(
    extension_zip: Path, start_backend: Callable[..., Any]
) -> None:
    with _connected(extension_zip, start_backend("--paints", "openpose")) as window:
        window.run(LOOK)
        window.click(EDIT_OPTIONS)
        time.sleep(1.5)
        window.click_until(IMAGE, lambda state: "POSELLAVA_PT_image" in state["longest_ms"])
        time.sleep(1.5)
        _prompt(window, "wait")
        window.screenshot(OUT / "gui_image.png")
        window.click_until(PAINT_POSE, lambda state: state["steps"] > 2)
        window.move(VIEWPORT)
        window.screenshot(OUT / "gui_painting.png")
        cancelled = window.click_until(CANCEL, lambda state: not state["running"])
        assert (cancelled["error"], cancelled["notice"]) == ("", "Cancelled; nothing was changed.")
        _prompt(window, "keep the map of a dancer on a stage")
        window.click_until(PAINT_POSE, lambda state: state["painted"] and not state["running"])
        shown = window.run(
            "space = next(area for area in bpy.context.screen.areas if area.type == 'IMAGE_EDITOR').spaces.active\n"
            "result.update(name=space.image.name, size=list(space.image.size))"
        )
        assert shown == {"name": window.state["painted"], "size": [512, 512]}
        window.move(VIEWPORT)
        _screenshot_of(window, "gui_painted.png", done=True)
        assert "Traceback" not in window.log_so_far


def test_a_range_asks_once_how_it_is_edited(extension_zip: Path, start_backend: Callable[..., Any]) -> None:
    with _connected(extension_zip, start_backend()) as window:
        _instruct(window, "raise it")
        window.run("""
            scene = bpy.context.scene
            scene.frame_start, scene.frame_end = 8, 12
            scene.posellava.frames, scene.posellava.every_frame = "RANGE", True
            bpy.context.area.tag_redraw()
            """)
        window.click(EDIT_POSE)
        time.sleep(2.0)  # until the question shows
        window.screenshot(OUT / "gui_range.png")
        window.key("o")  # the letter that Blender underlines in Offset
        state = window.wait_for(lambda state: state["degrees"])
        shoulder = next(frames for path, frames in state["keys"].items() if "L_Shoulder" in path)
        assert shoulder == [1, 7, 8, 9, 10, 11, 12]
        chosen = window.run('result["mode"] = bpy.context.scene.posellava.range_mode')
        assert chosen == {"mode": "OFFSET"}


@pytest.mark.parametrize("gpu_backend", ["opengl", "vulkan"])
def test_the_figure_fills_the_picture_of_a_far_and_dark_view_and_of_a_quarter(
    gpu_backend: str, extension_zip: Path, start_backend: Callable[..., Any], tmp_path: Path
) -> None:
    from PIL import Image

    picture = tmp_path / "viewport.png"

    def shoot(script: str) -> np.ndarray:
        picture.unlink(missing_ok=True)
        window.run(script)
        window.wait_for(lambda state: not state["running"] and picture.exists())
        time.sleep(0.5)  # until it is all in the file
        image = Image.open(picture).convert("RGB")
        image.save(OUT / f"sent_{gpu_backend}_{len(taken)}.png")
        assert image.size == (336, 336)
        taken.append(np.asarray(image, dtype=float).mean(axis=-1))
        return taken[-1]

    taken: list[np.ndarray] = []
    estimate = 'bpy.ops.posellava.estimate_pose("INVOKE_DEFAULT", picture="VIEWPORT")'
    stand = "bpy.ops.ed.undo()\nbpy.ops.ed.undo_push(message='x')\n"
    backend = start_backend("--picture", str(picture))
    with _connected(extension_zip, backend, gpu_backend=gpu_backend) as window:
        drawn_by = window.run('import gpu; result["it"] = gpu.platform.backend_type_get()')
        assert drawn_by == {"it": gpu_backend.upper()}
        _instruct(window, "raise the left arm")
        window.click_until(EDIT_POSE, lambda state: state["degrees"] and not state["running"])
        assert picture.exists(), "an edit sends the viewport along"
        near = shoot(estimate)
        assert near.std() > 15, "the picture shows nothing"
        rows = np.flatnonzero(np.abs(near - np.median(near)).max(axis=1) > 25)
        assert np.ptp(rows) > 0.6 * 336, "the figure is small"
        view = "space = bpy.context.space_data\n"
        far = shoot(view + "space.region_3d.view_distance = 40\n" + stand + estimate)
        dark = shoot(
            view
            + "bpy.context.scene.render.engine = 'BLENDER_WORKBENCH'\n"  # others take minutes without a GPU
            "shading = bpy.context.scene.display.shading\n"
            "shading.light, shading.color_type, shading.single_color = 'FLAT', 'SINGLE', (0, 0, 0)\n"
            "space.shading.type = 'RENDERED'\n" + stand + estimate
        )
        assert window.run(view + "result['type'] = space.shading.type")["type"] == "RENDERED"
        for other in (far, dark):
            assert np.abs(other - near).mean() < 12
        window.run(view + "space.shading.type = 'SOLID'\nbpy.ops.screen.region_quadview()")
        time.sleep(1.0)
        quarters = [
            shoot(
                "area = bpy.context.area\n"
                "regions = [region for region in area.regions if region.type == 'WINDOW']\n"
                f"with bpy.context.temp_override(region=regions[{quarter}]):\n    {estimate}"
            )
            for quarter in range(3)
        ]
    for one, other in ((0, 1), (1, 2), (0, 2)):
        assert np.abs(quarters[one] - quarters[other]).mean() > 2, "two quarters gave one picture"


def test_the_eyedropper_takes_the_bone_that_is_clicked(extension_zip: Path) -> None:
    with Window(extension_zip, url="ws://127.0.0.1:9", token="") as window:
        _open_tab(window)
        knee = window.run("""
            from bpy_extras.view3d_utils import location_3d_to_region_2d
            figure, space = bpy.context.object, bpy.context.space_data
            space.overlay.show_bones = figure.show_in_front = True
            figure.data.display_type = "STICK"
            knee = figure.pose.bones["L_Knee"]
            region = bpy.context.region
            place = location_3d_to_region_2d(
                region, space.region_3d, figure.matrix_world @ ((knee.head + knee.tail) / 2))
            result["at"] = [round(region.x + place.x), round(bpy.context.window.height - 1 - region.y - place.y)]
            bpy.ops.posellava.pick_bone("INVOKE_DEFAULT", joint="left_hip")
            """)["at"]
        time.sleep(2.0)  # until the bones show
        window.click_unseen(VIEWPORT)
        window.screenshot(OUT / "gui_eyedropper.png")
        kept = """
            figure = bpy.context.object
            result["map"], result["mode"] = figure.get("posellava_bone_map", ""), figure.mode
            """
        assert window.run(kept) == {"map": "", "mode": "POSE"}, "there is no bone, and it waits on"
        window.click_unseen((knee[0], knee[1]))
        time.sleep(2.0)
        taken = window.run(kept)
        assert '"left_hip": "L_Knee"' in taken["map"]
        assert taken["mode"] == "OBJECT"
        window.move(VIEWPORT)
        window.screenshot(OUT / "gui_picked.png")


def test_a_window_that_is_not_shown_gets_its_answer(
    extension_zip: Path, start_backend: Callable[..., Any]
) -> None:
    with _connected(extension_zip, start_backend("--delay", "3")) as window:
        window.run(ASK)
        window.wait_for(lambda state: state["running"])
        window.hide()
        window.wait_for(lambda state: state["degrees"] and not state["running"])


def test_what_the_user_does_while_the_model_works_loses_nothing(
    extension_zip: Path, start_backend: Callable[..., Any]
) -> None:
    slow = start_backend("--delay", "5")
    with _connected(extension_zip, slow) as window:
        window.run("bpy.context.scene.posellava.frames = 'RANGE'\nbpy.ops.ed.undo_push(message='Frames')")
        before = window.state

        def ask() -> None:
            window.run(ASK)
            window.wait_for(lambda state: state["running"])

        # Undo while waiting keeps what was chosen, and the answer still comes.
        ask()
        window.move(VIEWPORT)
        window.key("ctrl+z")
        window.wait_for(lambda state: state["degrees"] and not state["running"])
        assert window.run("result['it'] = bpy.context.scene.posellava.frames")["it"] == "RANGE"
        window.key("ctrl+z")
        window.wait_for(lambda state: state["keys"] == before["keys"])

        # Other modes, another frame.
        ask()
        window.run("bpy.ops.object.mode_set(mode='POSE'); bpy.context.scene.frame_set(30)")
        window.wait_for(lambda state: state["degrees"] and not state["running"])
        assert 10.0 in window.state["keys"]['pose.bones["L_Shoulder"].rotation_quaternion[0]']
        window.run("bpy.ops.object.mode_set(mode='OBJECT')")

        # A second window is closed in which the button was pressed.
        window.run("bpy.ops.wm.window_new()")
        window.run(
            "other = bpy.context.window_manager.windows[-1]\n"
            "other.screen.areas[0].type = 'VIEW_3D'\n"
            "area = other.screen.areas[0]\n"
            "region = next(region for region in area.regions if region.type == 'WINDOW')\n"
            f"with bpy.context.temp_override(window=other, area=area, region=region):\n    {ASK}"
        )
        window.wait_for(lambda state: state["running"])
        window.run(
            "with bpy.context.temp_override(window=bpy.context.window_manager.windows[-1]):\n"
            "    bpy.ops.wm.window_close()"
        )
        closed = window.wait_for(lambda state: not state["running"])
        assert "window in which the button was pressed was closed" in closed["error"]

        # The figure goes.
        ask()
        window.run("bpy.data.objects.remove(bpy.data.objects['SMPL Figure'])")
        gone = window.wait_for(lambda state: not state["running"])
        assert "was removed" in gone["error"]

        # Another file: nothing is told of the old one.
        window.run("bpy.ops.posellava.add_figure()")
        ask()
        window.run("bpy.ops.wm.read_homefile(app_template='')")
        new = window.wait_for(lambda state: not state["running"])
        time.sleep(6.0)  # the answer that nobody waits for any more
        assert (window.state["error"], window.state["keys"], new["notice"]) == ("", {}, "")
        assert "Traceback" not in window.log_so_far


def _open_words(window: Window) -> None:
    """Close the edit's options and open the subpanel in which the model speaks."""
    window.click(EDIT_OPTIONS)
    time.sleep(1.5)  # until the panels have slid to their places
    window.click_until(IN_WORDS, lambda state: "POSELLAVA_PT_chat" in state["longest_ms"])
    time.sleep(1.5)
    window.screenshot(OUT / "gui_in_words.png")


def _prompt(window: Window, prompt: str) -> None:
    """Fill the prompt's field by script, and wait until the button can be pressed."""
    window.run(f"bpy.context.scene.posellava.prompt = {prompt!r}\nbpy.context.area.tag_redraw()")
    window.wait_for(lambda state: not state["polled"].get("Paint Pose", "not yet"))
    time.sleep(1.5)


def _ask(window: Window, question: str, button: tuple[int, int]) -> None:
    """Fill the question's field by script and press its button, coming from elsewhere: one that the mouse rests on
    stays as it was drawn."""
    window.move(VIEWPORT)
    window.run(f"bpy.context.scene.posellava.question = {question!r}\nbpy.context.area.tag_redraw()")
    window.wait_for(lambda state: state["question"] == question and not state["polled"].get("Ask", "not yet"))
    time.sleep(0.5)
    window.screenshot(OUT / "gui_question.png")
    window.click_until(button, lambda state: state["running"])


def _undo_until(window: Window, condition: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    """Press ctrl+z, more than once where a click that seemed lost was repeated and did its work twice."""
    for _ in range(3):
        window.key("ctrl+z")
        try:
            return window.wait_for(condition, 10.0)
        except AssertionError:
            continue
    return window.wait_for(condition)


@contextlib.contextmanager
def _connected(extension_zip: Path, backend: Any, **how: Any) -> Iterator[Window]:
    """A window with the add-on's tab open, connected to the backend."""
    with Window(extension_zip, url=backend.url, token=backend.token, **how) as window:
        _open_tab(window)
        _connect(window)
        yield window


def test_the_first_minutes_take_no_terminal(whole_zip: Path) -> None:
    """An empty scene, no address: the figure by its button, a sentence, Edit Pose. The extension's own backend starts
    with that and ends with Blender, however Blender ends."""
    with Window(whole_zip, url="", token="") as window:
        _open_tab(window)
        window.run("for thing in list(bpy.data.objects): bpy.data.objects.remove(thing)")
        window.wait_for(lambda state: "No armature" in state["polled"]["Edit Pose"])
        time.sleep(1.5)
        window.screenshot(OUT / "gui_first.png")
        window.click_until(ADD_FIGURE_FIRST, lambda state: state["pose"])
        time.sleep(1.5)
        _type(window, INSTRUCTION_TEXT, INSTRUCTION_FIRST)
        window.click_until(EDIT_POSE_FIRST, lambda state: state["degrees"] and not state["running"])
        assert window.state["connection"] == "connected"
        time.sleep(1.5)
        window.screenshot(OUT / "gui_first_edit.png")
        module = "bl_ext.user_default.posellava.operators.local_backend"
        process = window.run(
            f"import importlib\nresult['pid'] = importlib.import_module({module!r})._backend._process.pid"
        )["pid"]
        assert Path(f"/proc/{process}").exists()
    deadline = time.monotonic() + 20
    while Path(f"/proc/{process}").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not Path(f"/proc/{process}").exists()


def _open_tab(window: Window) -> None:
    window.click_until(TAB, lambda state: "POSELLAVA_PT_main" in state["longest_ms"])


def _connect(window: Window) -> None:
    window.click_until(CONNECT, lambda state: state["connection"] != "disconnected")
    window.wait_for(lambda state: state["connection"] == "connected")


def _screenshot_of(window: Window, name: str, **shown: Any) -> None:
    """Wait until the panel has been drawn with what it should show, and keep a picture."""
    window.wait_for(lambda state: shown.items() <= state["shown"].items())
    time.sleep(1.5)  # from being drawn to being on the screen
    window.screenshot(OUT / name)


def _instruct(window: Window, instruction: str) -> dict[str, Any]:
    """Fill the instruction field by script; returns the state then."""
    window.run(f"bpy.context.scene.posellava.instruction = {instruction!r}\nbpy.context.area.tag_redraw()")
    state = window.wait_for(lambda state: state["instruction"] == instruction)
    window.wait_for(lambda state: not state["polled"].get("Edit Pose", "not drawn yet"))
    time.sleep(0.5)
    return state


def _type(window: Window, instruction: str, place: tuple[int, int] = INSTRUCTION) -> dict[str, Any]:
    """Type into the instruction field; returns the state then."""
    for _ in range(3):
        before = window.state["presses"]
        window.click(place)
        window.click_unseen(place)
        # While the field is being edited, it has the second press for itself.
        if window.state["presses"] == before + 1:
            window.key("ctrl+a")
            window.type(instruction)
            window.key("Return")
            return window.wait_for(lambda state: state["instruction"] == instruction)
        window.key("Escape")
    raise AssertionError("the instruction field cannot be clicked into")
