# SPDX-License-Identifier: Apache-2.0
"""The extension's own backend: started by the first edit, private, and gone with Blender. The extension is installed
with its wheels, as a user does it; of the project nothing but the zip is used."""

from __future__ import annotations

import errno
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
import tomllib

import build_addon

from .conftest import Run, installed, run_python, script_runner
from .scripts import CAMERA, InBlender

HERE = Path(__file__).parent
PREPARE = """
import importlib, os, sys
bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.ops.preferences.addon_enable(module=addon.__name__)
part = lambda name: importlib.import_module(f"{addon.__name__}.{name}")
local, backend = part("operators.local_backend"), part("operators.backend")
activity = part("operators.activity").activity
bpy.ops.posellava.add_figure()
def edit(words="raise your left arm"):
    bpy.ops.posellava.edit_pose(instruction=words)
    return activity.outcome.report.keys
def said(call):
    try:
        call()
    except RuntimeError as error:
        return str(error)
"""


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages as Blender has them: bpy with numpy, and none of the project's."""
    folder = tmp_path_factory.mktemp("bare")
    here = Path(importlib.util.find_spec("bpy").origin).parents[1]
    for name in ("bpy", "numpy", "numpy.libs"):
        if (here / name).exists():
            (folder / name).symlink_to(here / name)
    return folder


@pytest.fixture(scope="session")
def run_bare(bare: Path) -> Run:
    """Runs Blender's module without this environment's packages, but for those in ``bare``."""

    def run(arguments: list[str], environment: dict[str, str]) -> str:
        return run_python(arguments, {"PYTHONPATH": str(bare), **environment}, [sys.executable, "-S"])

    return run


@pytest.fixture(scope="session")
def blender_resources(whole_zip: Path, run_bare: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the extension and its wheels are installed; the folder's name is not a simple one."""
    return installed(run_bare, whole_zip, tmp_path_factory.mktemp("mein Ordner é"))


@pytest.fixture
def in_blender(blender_resources: Path, run_bare: Run, tmp_path: Path) -> InBlender:
    """in_blender(script, **environment) -> the script's ``result``; see inside.py."""
    return script_runner(run_bare, blender_resources, tmp_path)


def test_the_zip_holds_the_backend_and_what_it_needs_and_nothing_of_training(whole_zip: Path) -> None:
    with zipfile.ZipFile(whole_zip) as file:
        names = set(file.namelist())
        manifest = tomllib.loads(file.read("blender_manifest.toml").decode())
    wheels = [Path(name).name for name in names if name.endswith(".whl")]
    assert sorted(f"./wheels/{wheel}" for wheel in wheels) == sorted(manifest["wheels"])
    for package in ("onnxruntime", "pillow"):
        assert sum(wheel.startswith(package) for wheel in wheels) == 2  # of Python 3.11 and 3.13
    for package in ("tokenizers", "websockets"):
        assert sum(wheel.startswith(package) for wheel in wheels) == 1
    assert {"server/backend/cli.py", "server/backend/engines/onnx.py", "server/LICENSE"} <= names
    assert {f"server/backend/weights/mini/{name}" for name in ("answer.onnx", "picture.onnx")} <= names
    assert not [name for name in names if "torch" in name or name.startswith("server/backend/model/")]
    assert manifest["platforms"] == [build_addon.this_platform()]
    assert whole_zip.stat().st_size < 120e6


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    return state != "Z"


def ends(process: int, seconds: float = 15.0) -> bool:
    deadline = time.monotonic() + seconds
    while alive(process) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not alive(process)


@pytest.mark.slow
def test_the_first_edit_starts_it_and_it_ends_with_blender(in_blender: InBlender) -> None:
    result = in_blender(
        PREPARE
        + """
result["online"] = bpy.app.online_access
result["before"] = local.status().state.value
result["keys"] = edit()
result["state"] = local.status().state.value
result["model"] = backend.status().welcome.model
result["pid"] = local._backend._process.pid
result["imported"] = sorted({"backend", "onnxruntime", "tokenizers"} & set(sys.modules))
url = backend.connection(bpy.context).address.url
again = edit("bend the right elbow")
result["same"] = again > 0 and url == backend.connection(bpy.context).address.url
result["loopback"] = url.startswith("ws://127.0.0.1:")
"""
    )
    assert result["online"] is False
    assert (result["before"], result["state"]) == ("stopped", "ready")
    assert result["keys"] > 0
    assert result["model"] == "posellava-mini"
    assert result["imported"] == []
    assert result["same"]
    assert result["loopback"]
    assert ends(result["pid"])


@pytest.mark.slow
def test_it_reads_pictures_and_says_that_it_paints_none(in_blender: InBlender) -> None:
    result = in_blender(
        PREPARE
        + CAMERA
        + """
look_from(0, -4, 0.9)
bpy.ops.posellava.estimate_pose(picture="VIEWPORT")
result["estimated"] = activity.outcome.report is not None
bpy.ops.posellava.edit_pose(instruction="raise your left arm", send_view=True)
result["keys"] = activity.outcome.report.keys
result["painting"] = said(lambda: bpy.ops.posellava.paint_pose(prompt="a dancer"))
"""
    )
    assert result["estimated"]
    assert result["keys"] > 0
    assert "paints no pictures" in result["painting"]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_its_path_is_its_own_and_its_secret_is_in_no_one_elses_sight(in_blender: InBlender) -> None:
    result = in_blender(
        PREPARE
        + """
edit()
process = local._backend._process.pid
secret = backend.connection(bpy.context).address.token
for name in ("cmdline", "environ"):
    result[name] = secret.encode() in open(f"/proc/{process}/{name}", "rb").read()
result["length"] = len(secret)
result["log"] = [secret in file.read_text() for file in __import__("pathlib").Path(local._log_file()).parent.glob("*")]
maps = open(f"/proc/{process}/maps").read()
result["torch"] = "libtorch" in maps
result["onnxruntime"] = "onnxruntime" in maps
""",
        POSELLAVA_TOKEN="of the environment",
    )
    assert not result["cmdline"]
    assert not result["environ"]
    assert not any(result["log"])
    assert result["length"] > 30
    assert result["onnxruntime"]
    assert not result["torch"]


@pytest.mark.slow
def test_it_ends_when_blender_is_killed(blender_resources: Path, bare: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        PREPARE
        + "edit()\nprint('PID', local._backend._process.pid, flush=True)\nimport time; time.sleep(60)\n"
    )
    environment = {**os.environ, "BLENDER_USER_RESOURCES": str(blender_resources), "PYTHONPATH": str(bare)}
    command = [sys.executable, "-S", str(HERE / "inside.py"), str(script)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as blender:
        assert blender.stdout is not None
        process = next(int(line.split()[1]) for line in blender.stdout if line.startswith("PID"))
        assert alive(process)
        blender.kill()
    assert ends(process)


@pytest.mark.slow
def test_killed_it_is_said_and_the_next_edit_starts_it_anew(in_blender: InBlender) -> None:
    result = in_blender(
        PREPARE
        + f"""
import time
edit()
first = local._backend._process.pid
os.kill(first, {int(signal.SIGKILL)})
deadline = time.monotonic() + 10
while local.status().state.value == "ready" and time.monotonic() < deadline:
    time.sleep(0.02)
result["status"] = [local.status().state.value, local.status().sentence]
result["keys"] = edit("lower your left arm")
result["other"] = local._backend._process.pid != first
bpy.ops.posellava.stop_local_backend()
result["stopped"] = local.status().state.value
"""
    )
    assert result["status"][0] == "failed"
    assert "ended unexpectedly" in result["status"][1]
    assert "Start Local Backend" in result["status"][1]
    assert result["keys"] > 0
    assert result["other"]
    assert result["stopped"] == "stopped"


@pytest.mark.slow
def test_two_blenders_have_their_own(in_blender: InBlender, blender_resources: Path) -> None:
    result = in_blender(
        PREPARE
        + """
import json, subprocess, tempfile
edit()
other = tempfile.NamedTemporaryFile("w", suffix=".py", delete=False)
other.write(os.environ["OTHER"])
other.close()
subprocess.run([sys.executable, "-S", os.environ["INSIDE"], other.name], check=True)
result["keys"] = edit("bend the left elbow")
""",
        OTHER=PREPARE + "edit()\n",
        INSIDE=str(HERE / "inside.py"),
    )
    assert result["keys"] > 0


DAMAGES = {
    "weights": ("server/backend/weights/mini/model-00001-of-00002.safetensors", "is damaged"),
    "graph": ("server/backend/weights/mini/answer.onnx", "is damaged"),
    "server": ("server/backend/server/server.py", "could not start"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", [*DAMAGES, "wheel", "slim"])
def test_what_is_broken_is_said_in_one_sentence(
    name: str, in_blender: InBlender, blender_resources: Path, tmp_path: Path
) -> None:
    """Damage done to a copy of what is installed."""
    copy = shutil.copytree(blender_resources, tmp_path / "copy")
    if name in DAMAGES:
        file, expected = DAMAGES[name]
        (damaged,) = copy.rglob(f"posellava/{file}")
        damaged.write_bytes(b"x" + damaged.read_bytes()[:1000])
    elif name == "wheel":
        for there in [*copy.rglob("site-packages/onnxruntime*"), *copy.rglob("wheels/onnxruntime*")]:
            shutil.rmtree(there) if there.is_dir() else there.unlink()
        expected = "has no onnxruntime for Python"
    else:
        (folder,) = copy.rglob("posellava/server")
        shutil.rmtree(folder)
        expected = "slim extension"
    result = in_blender(
        PREPARE + 'result["said"] = said(edit)\nresult["lines"] = local.status().lines',
        BLENDER_USER_RESOURCES=str(copy),
    )
    assert expected in result["said"]
    assert "Traceback" not in result["said"]
    if name == "server":
        assert any("Error" in line for line in result["lines"])


@pytest.mark.slow
def test_killed_in_mid_request_nothing_is_keyed_and_the_next_edit_starts_it_anew(
    in_blender: InBlender,
) -> None:
    """It is halted before the request, so that the request is surely under way when it is killed."""
    result = in_blender(
        PREPARE
        + f"""
import threading, time
edit()
first = local._backend._process.pid
poses = lambda: [tuple(bone.matrix_basis.to_quaternion()) for bone in bpy.context.object.pose.bones]
keys = lambda: sum(len(curve.keyframe_points) for curve in all_curves())
before = poses(), keys()
os.kill(first, {int(signal.SIGSTOP)})
def kill():
    while activity.handle is None:
        time.sleep(0.01)
    time.sleep(0.2)
    os.kill(first, {int(signal.SIGKILL)})
threading.Thread(target=kill, daemon=True).start()
result["said"] = said(lambda: edit("bend your right knee by 90 degrees"))
result["kept"] = (poses(), keys()) == before
result["keys"] = edit("bend your right knee by 90 degrees")
result["other"] = local._backend._process.pid != first
"""
    )
    assert "backend" in result["said"]
    assert "Traceback" not in result["said"]
    assert result["kept"]
    assert result["keys"] > 0
    assert result["other"]


@pytest.mark.slow
def test_without_permission_to_write_its_log_it_works_all_the_same(in_blender: InBlender) -> None:
    result = in_blender(
        PREPARE
        + """
import pathlib
local._log_file = lambda: pathlib.Path("/proc/no/such/backend.log")
result["keys"] = edit()
"""
    )
    assert result["keys"] > 0


@pytest.mark.slow
@pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0,
    reason="root mounts a folder so that nobody can write into it",
)
def test_in_a_folder_that_cannot_be_written_it_works_all_the_same(
    in_blender: InBlender, blender_resources: Path, tmp_path: Path
) -> None:
    """As where an administrator installed it for everybody."""
    copy = shutil.copytree(blender_resources, tmp_path / "copy")
    extensions = copy / "extensions"
    subprocess.run(["mount", "--bind", extensions, extensions], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", extensions], check=True)
        result = in_blender(
            PREPARE
            + """
try:
    open(os.path.join(os.path.dirname(addon.__file__), "x"), "w")
except OSError as error:
    result["error"] = error.errno
result["keys"] = edit()
""",
            BLENDER_USER_RESOURCES=str(copy),
        )
    finally:
        subprocess.run(["umount", extensions], check=True)
    assert result["error"] == errno.EROFS
    assert result["keys"] > 0


@pytest.mark.slow
def test_another_backend_is_one_address_away(in_blender: InBlender, start_backend: Any) -> None:
    other = start_backend(token="secret")
    result = in_blender(
        PREPARE
        + """
preferences = bpy.context.preferences.addons[addon.__name__].preferences
preferences.url, preferences.token = os.environ["URL"], "secret"
edit()
result["state"] = local.status().state.value
result["url"] = backend.connection(bpy.context).address.url
preferences.url = ""
result["keys"] = edit()
result["model"] = backend.status().welcome.model
result["token"] = preferences.token
""",
        URL=other.url,
    )
    assert (result["state"], result["url"]) == ("stopped", other.url)
    assert result["keys"] > 0
    assert result["model"] == "posellava-mini"
    assert result["token"] == "secret"
