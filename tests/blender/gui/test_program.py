# SPDX-License-Identifier: Apache-2.0
"""The command line in the real program, ``blender -b --command posellava``, where no window is open."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .window import DEBIAN, ROOT

pytestmark = [
    pytest.mark.gui,
    pytest.mark.skipif(not (DEBIAN / ".posellava-ready").exists(), reason="run it with: make test-gui"),
]

HANGS_SECONDS = 1000
"""Longer than anything here takes, on a machine that has other work too."""

INSTALL = """
import bpy, sys
folder = sys.argv[-1]
bpy.ops.extensions.package_install_files(
    filepath=folder + "/extension.zip", repo="user_default", enable_on_install=True)
bpy.ops.wm.save_userpref()
bpy.ops.wm.read_homefile(use_empty=True)
bpy.ops.posellava.add_figure()
camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
camera.location, camera.rotation_euler = (0, -18, 1), (1.5708, 0, 0)
bpy.context.collection.objects.link(camera)
bpy.context.scene.camera = camera
bpy.ops.wm.save_as_mainfile(filepath=folder + "/scene.blend")
"""
KEYS = """
import bpy, sys
print("KEYS", sum(len(curve.keyframe_points) for action in bpy.data.actions for curve in action.fcurves))
"""


class Program:
    """Blender in the Debian root, with the extension installed and a scene with a figure and a camera."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "resources").mkdir()

    def start(self, *arguments: str, url: str = "") -> subprocess.Popen[str]:
        """Start ``blender -b`` with these arguments, as a process group of its own."""
        environment = {
            "PATH": os.environ["PATH"], "HOME": str(self.folder), "LANG": "C.UTF-8", "TMPDIR": str(self.folder),
            "BLENDER_USER_RESOURCES": str(self.folder / "resources"), "POSELLAVA_URL": url,
            "LIBGL_ALWAYS_SOFTWARE": "1",
        }  # fmt: skip
        return subprocess.Popen(
            [str(ROOT / "scripts" / "in_debian_root.sh"), str(DEBIAN), "blender", "-b", *arguments],
            cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        )  # fmt: skip

    def run(self, *arguments: str, url: str = "") -> tuple[int, str]:
        """Run it to its end; the exit status and what it printed."""
        process = self.start(*arguments, url=url)
        try:
            out, _ = process.communicate(timeout=HANGS_SECONDS)
        finally:
            process.kill()
        return process.returncode, out

    def keys(self, file: Path) -> int:
        """How many keys a saved file has."""
        script = self.folder / "keys.py"
        script.write_text(KEYS)
        _, out = self.run(str(file), "--python", str(script))
        return int(next(line for line in out.splitlines() if line.startswith("KEYS ")).split()[1])


@pytest.fixture(scope="module")
def program(extension_zip: Path) -> Iterator[Program]:
    with tempfile.TemporaryDirectory(prefix="posellava-program-", dir="/tmp") as name:
        folder = Path(name)
        shutil.copy(extension_zip, folder / "extension.zip")
        (folder / "install.py").write_text(INSTALL)
        program = Program(folder)
        status, out = program.run("--factory-startup", "--python", str(folder / "install.py"), "--", name)
        assert (folder / "scene.blend").exists(), (status, out)
        yield program


def edit(program: Program, *options: str) -> list[str]:
    """The arguments of an edit of the scene."""
    scene = str(program.folder / "scene.blend")
    return [scene, "--command", "posellava", "edit", "--instruction", "raise it", *options]


def test_a_render_is_sent_where_there_is_no_window(
    program: Program, start_backend: Callable[..., Any], tmp_path: Path
) -> None:
    from PIL import Image

    saved, picture = program.folder / "viewed.blend", tmp_path / "picture.png"
    backend = start_backend("--picture", str(picture))
    status, out = program.run(*edit(program, "--send-view", "--save", str(saved)), url=backend.url)
    assert status == 0, out
    assert program.keys(saved) == 4
    assert len(Image.open(picture).convert("RGB").getcolors(1 << 20) or []) > 50, "the picture shows nothing"


def test_one_ctrl_c_ends_it_and_nothing_is_saved(
    program: Program, start_backend: Callable[..., Any], tmp_path: Path
) -> None:
    saved, asked = program.folder / "interrupted.blend", tmp_path / "asked.json"
    backend = start_backend("--delay", str(3 * HANGS_SECONDS), "--asked", str(asked))
    process = program.start(*edit(program, "--frames", "1:20", "--save", str(saved)), url=backend.url)
    deadline = time.monotonic() + HANGS_SECONDS
    while not asked.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert asked.exists(), "the request never came"
    os.killpg(process.pid, signal.SIGINT)
    out, _ = process.communicate(timeout=HANGS_SECONDS)  # the answer would come later still
    assert process.returncode == 130, out
    assert "Interrupted; nothing was saved." in out
    assert not saved.exists()
