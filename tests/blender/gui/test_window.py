# SPDX-License-Identifier: Apache-2.0
"""The add-on in a real Blender window, used with mouse and keyboard. Screenshots go to out/.

Places are those of Blender 4.3's default layout at 1280 x 800; a picture of each stage is in out/ after a run.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
CANCEL = (909, 248)
SEND_VIEWPORT = (888, 357)
VIEWPORT = (250, 620)
INSTRUCTION_TEXT = "raise your left arm to shoulder height"
MOST_BLOCKING_MS = 10.0


def test_a_typed_instruction_moves_the_figure_and_one_undo_takes_it_back(
    extension_zip: Path, shipped_backend: Any
) -> None:
    with Window(extension_zip, url=shipped_backend.url, token=shipped_backend.token) as window:
        _open_and_connect(window)
        window.screenshot(OUT / "gui_connected.png")
        before = _type_and_press(window, INSTRUCTION_TEXT)
        after = window.wait_for(lambda state: state["degrees"] and not state["running"])
        window.move(VIEWPORT)
        _screenshot_of(window, "gui_edited.png", done=True)
        assert after["error"] == ""
        assert after["degrees"]["left_shoulder"] > 20
        assert 10.0 in after["keys"]['pose.bones["L_Shoulder"].rotation_quaternion[0]']

        window.key("ctrl+z")
        undone = window.wait_for(lambda state: state["keys"] == before["keys"])
        assert undone["pose"] == before["pose"]
        assert undone["instruction"] == INSTRUCTION_TEXT
        window.key("ctrl+shift+z")
        window.wait_for(lambda state: state["keys"] == after["keys"])
        assert "Traceback" not in window.log_so_far
        longest = window.state["longest_ms"]
    assert {"invoke", "modal", "connect"} <= longest.keys()
    assert max(longest.values()) <= MOST_BLOCKING_MS, longest


def test_a_request_can_be_cancelled_while_the_window_stays_usable(
    extension_zip: Path, start_backend: Callable[..., Any]
) -> None:
    backend = start_backend("--delay", "60")
    with Window(extension_zip, url=backend.url, token="") as window:
        _open_and_connect(window)
        before = _type_and_press(window, "raise the left arm")
        window.wait_for(lambda state: state["running"])
        window.move(VIEWPORT)
        window.key("n")  # the window answers: N closes the sidebar and opens it again
        window.key("n")
        _screenshot_of(window, "gui_running.png", sent=True)
        assert window.state["running"]
        window.click(CANCEL)
        after = window.wait_for(lambda state: not state["running"])
        assert after["error"] == "Cancelled; nothing was changed."
        assert after["keys"] == before["keys"]


def test_a_killed_backend_is_reported_and_the_connection_comes_back_by_itself(
    extension_zip: Path, start_backend: Callable[..., Any]
) -> None:
    backend = start_backend("--delay", "60")
    with Window(extension_zip, url=backend.url, token="") as window:
        _open_and_connect(window)
        before = _type_and_press(window, "raise the left arm")
        window.wait_for(lambda state: state["running"])
        backend.process.kill()
        after = window.wait_for(lambda state: state["error"])
        window.move(VIEWPORT)
        _screenshot_of(window, "gui_lost.png", error=after["error"])
        assert "Nothing was changed" in after["error"]
        assert after["keys"] == before["keys"]
        assert after["connection"] == "connecting"
        start_backend("--port", backend.url.rpartition(":")[2])
        window.wait_for(lambda state: state["connection"] == "connected", 60.0)


def test_the_viewport_is_sent_as_a_picture(
    extension_zip: Path, start_backend: Callable[..., Any], tmp_path: Path
) -> None:
    from PIL import Image

    picture = tmp_path / "viewport.png"
    backend = start_backend("--picture", str(picture))
    with Window(extension_zip, url=backend.url, token="") as window:
        _open_and_connect(window)
        window.click(SEND_VIEWPORT)
        _type_and_press(window, "raise the left arm")
        after = window.wait_for(lambda state: state["degrees"] and not state["running"])
    assert after["apart_ms"]["draw"] > 0
    assert max(after["longest_ms"].values()) <= MOST_BLOCKING_MS, after["longest_ms"]
    sent = Image.open(picture).convert("RGB")
    assert sent.size == (336, 336)
    assert len(sent.getcolors(1 << 20) or []) > 50, "the picture shows nothing"


def _open_and_connect(window: Window) -> None:
    """Open the add-on's tab and press Connect. A click is repeated when Blender was still busy starting."""
    for _ in range(10):
        window.click(TAB)
        time.sleep(1.0)
        if "POSELLAVA_PT_main" in window.state["longest_ms"]:
            break
    window.click(CONNECT)
    window.wait_for(lambda state: state["connection"] == "connected")
    time.sleep(0.5)


def _screenshot_of(window: Window, name: str, **shown: Any) -> None:
    """Wait until the panel has been drawn with what it should show, and keep a picture."""
    window.wait_for(lambda state: shown.items() <= state["shown"].items())
    time.sleep(1.5)  # from being drawn to being on the screen
    window.screenshot(OUT / name)


def _type_and_press(window: Window, instruction: str) -> dict[str, Any]:
    """Type into the instruction field and press Edit Pose; returns the state before the press."""
    window.click(INSTRUCTION, times=2)
    window.type(instruction)
    window.key("Return")
    before = window.wait_for(lambda state: state["instruction"] == instruction)
    time.sleep(0.5)
    window.click(EDIT_POSE)
    return before
