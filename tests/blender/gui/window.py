# SPDX-License-Identifier: Apache-2.0
"""A real Blender window under Xvfb, used with mouse and keyboard.

Blender 4.3 comes from the Debian root that scripts/debian_root.sh makes; Xvfb and xdotool run outside of it. Mounts
are made in a mount namespace of Blender's own, so that nothing is left behind.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[2]
DEBIAN: Final = ROOT / ".cache" / "debian13"
WIDTH, HEIGHT = 1280, 800
READY_SECONDS: Final = 300.0
EFFECT_SECONDS: Final = 60.0
"""How long an effect may take to show on a busy machine; a test goes on as soon as it is there."""
ENTER_ROOT: Final = """
mount --bind /proc "$0/proc" && mount --rbind /dev "$0/dev" && exec chroot "$0" "$@"
"""


class Window:
    """Blender with the extension installed and connected to nothing; a context manager."""

    def __init__(self, extension: Path, *, url: str, token: str, gpu_backend: str = "opengl") -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="posellava-gui-", dir=DEBIAN / "tmp"))
        shutil.copy(extension, self.folder / "extension.zip")
        shutil.copy(HERE / "setup_window.py", self.folder)
        self._inside = Path("/tmp") / self.folder.name
        self._gpu_backend = gpu_backend
        self._environment = {"POSELLAVA_URL": url, "POSELLAVA_TOKEN": token, "FOLDER": str(self._inside)}

    def __enter__(self) -> Window:
        reader, writer = os.pipe()
        self._xvfb = subprocess.Popen(
            ["Xvfb", "-displayfd", str(writer), "-screen", "0", f"{WIDTH}x{HEIGHT}x24", "-nolisten", "tcp",
             "+extension", "GLX"],
            pass_fds=[writer], stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(writer)
        with os.fdopen(reader) as pipe:
            self._display = f":{pipe.readline().strip()}"
        (self.folder / "resources").mkdir()
        environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(self._inside), "LANG": "C.UTF-8",
            "DISPLAY": self._display, "TMPDIR": str(self._inside), "XDG_RUNTIME_DIR": str(self._inside),
            "LIBGL_ALWAYS_SOFTWARE": "1", "BLENDER_USER_RESOURCES": str(self._inside / "resources"),
            **self._environment,
        }  # fmt: skip
        blender = [
            "blender", "--gpu-backend", self._gpu_backend, "--factory-startup", "-noaudio", "--no-window-focus",
            "--window-geometry", "0", "0", str(WIDTH), str(HEIGHT), "--python", str(self._inside / "setup_window.py"),
        ]  # fmt: skip
        self._log = (self.folder / "blender.log").open("w")
        self._blender = subprocess.Popen(
            ["unshare", "--mount", "bash", "-c", ENTER_ROOT, str(DEBIAN), *blender],
            env=environment, stdout=self._log, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            self.wait_for(lambda state: state["ready"], READY_SECONDS)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        self._blender.kill()
        self._blender.wait()
        self._xvfb.terminate()
        self._xvfb.wait()
        self._log.close()
        shutil.rmtree(self.folder)

    @property
    def log_so_far(self) -> str:
        """What Blender printed."""
        return (self.folder / "blender.log").read_text()

    @property
    def state(self) -> dict[str, Any]:
        """What setup_window.py last wrote about Blender."""
        try:
            found: dict[str, Any] = json.loads((self.folder / "state.json").read_text())
        except FileNotFoundError:
            return {"ready": False}
        return found

    def wait_for(
        self, condition: Callable[[dict[str, Any]], Any], seconds: float = EFFECT_SECONDS
    ) -> dict[str, Any]:
        """Wait until the state fulfils the condition."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert self._blender.poll() is None, self.log_so_far
            state = self.state
            if condition(state):
                return state
            time.sleep(0.1)
        raise AssertionError(f"not within {seconds:g} s; state: {self.state}\n{self.log_so_far}")

    def do(self, *arguments: str) -> None:
        """Run xdotool."""
        subprocess.run(["xdotool", *arguments], env=os.environ | {"DISPLAY": self._display}, check=True)

    def move(self, place: tuple[int, int]) -> None:
        """Move the mouse. Returns when Blender knows where it is: only then does a press find the button."""
        for aside in (3, 2, 1, 0):
            self.do("mousemove", str(place[0] + aside), str(place[1]))
            time.sleep(0.05)
        self.wait_for(lambda state: max(abs(a - b) for a, b in zip(state["mouse"], place, strict=True)) <= 2)
        time.sleep(0.3)

    def click_unseen(self, place: tuple[int, int]) -> None:
        """Click where something may have all events for itself, so that none can be waited for."""
        self.do("mousemove", str(place[0]), str(place[1]))
        self._press()
        time.sleep(1.0)

    def _press(self) -> None:
        self.do("mousedown", "1")
        time.sleep(0.06)
        self.do("mouseup", "1")

    def click(self, place: tuple[int, int]) -> None:
        """Click with the left button, as a hand does: the button stays down for a moment. Returns when Blender has had
        the press."""
        before = self.state["presses"]
        self.move(place)
        self._press()
        self.wait_for(lambda state: state["presses"] > before)
        time.sleep(0.3)

    def click_until(
        self,
        place: tuple[int, int],
        condition: Callable[[dict[str, Any]], Any],
        seconds: float = EFFECT_SECONDS,
    ) -> dict[str, Any]:
        """Click, and wait for what the click does. Once more where it did nothing: a press can arrive while Blender
        draws the button anew."""
        self.click(place)
        try:
            return self.wait_for(condition, seconds)
        except AssertionError:
            self.click(place)
            return self.wait_for(condition, seconds)

    def run(self, script: str, seconds: float = EFFECT_SECONDS) -> dict[str, Any]:
        """Run a script in Blender, in the viewport's context; returns its ``result``."""
        answer = self.folder / "result.json"
        answer.unlink(missing_ok=True)
        partial = self.folder / "script.part"
        partial.write_text(textwrap.dedent(script))
        partial.replace(self.folder / "script.py")
        deadline = time.monotonic() + seconds
        while not answer.exists():
            assert self._blender.poll() is None, self.log_so_far
            assert time.monotonic() < deadline, f"the script did not end; {self.log_so_far}"
            time.sleep(0.1)
        result: dict[str, Any] = json.loads(answer.read_text())
        assert "error" not in result, result["error"]
        return result

    def key(self, name: str) -> None:
        """Press a key or a combination such as ctrl+z."""
        self.do("key", "--delay", "60", name)
        time.sleep(0.4)

    def hide(self) -> None:
        """Take the window off the screen, as minimising it does."""
        self.do("search", "--onlyvisible", "--class", "Blender", "windowunmap", "%@")

    def type(self, text: str) -> None:
        """Type a text."""
        self.do("type", "--delay", "40", text)
        time.sleep(0.4)

    def screenshot(self, target: Path) -> None:
        """Save what the screen shows."""
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        subprocess.run(["scrot", "-o", str(target)], env=os.environ | {"DISPLAY": self._display}, check=True)
