# SPDX-License-Identifier: Apache-2.0
"""The built extension, installed into a Blender of its own, and backends for it to talk to."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import build_addon

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
INSTALL = """
import bpy, sys
bpy.ops.extensions.package_install_files(filepath=sys.argv[1], repo="user_default", enable_on_install=True)
"""


@dataclass(frozen=True)
class Backend:
    """A backend process of a test."""

    process: subprocess.Popen[str]
    url: str
    token: str


@pytest.fixture(scope="session")
def extension_zip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The zip that build_addon.py builds."""
    return build_addon.build(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="session")
def blender_resources(extension_zip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for BLENDER_USER_RESOURCES in which the extension is installed."""
    folder = tmp_path_factory.mktemp("blender")
    _run_python(["-c", INSTALL, str(extension_zip)], {"BLENDER_USER_RESOURCES": str(folder)})
    assert list(folder.rglob("posellava/blender_manifest.toml")), "the extension was not installed"
    return folder


@pytest.fixture
def in_blender(blender_resources: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """in_blender(script, **environment) -> the script's ``result``; see inside.py."""

    def run(script: str, **environment: str) -> dict[str, Any]:
        file = tmp_path / "script.py"
        file.write_text(textwrap.dedent(script))
        output = _run_python(
            [str(HERE / "inside.py"), str(file)],
            {"BLENDER_USER_RESOURCES": str(blender_resources), **environment},
        )
        lines = [line for line in output.splitlines() if line.startswith("RESULT ")]
        result: dict[str, Any] = json.loads(lines[-1].removeprefix("RESULT "))
        return result

    return run


@pytest.fixture
def start_backend() -> Iterator[Callable[..., Backend]]:
    """start_backend(*arguments) starts scripted_backend.py; it is stopped when the test ends."""
    processes: list[subprocess.Popen[str]] = []

    def start(*arguments: str, token: str = "") -> Backend:
        command = [sys.executable, str(HERE / "scripted_backend.py"), *arguments]
        return listen(command + (["--token", token] if token else []), processes, token)

    yield start
    for process in processes:
        process.terminate()
        process.wait(timeout=30)


def listen(command: list[str], processes: list[subprocess.Popen[str]], token: str = "") -> Backend:
    """Start a server and wait for its line ``listening URL [token=…]``."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    processes.append(process)
    assert process.stdout is not None
    line = process.stdout.readline()
    match = re.match(r"listening (ws://\S+)(?: token=(\S+))?", line)
    assert match, f"the backend did not start: {line!r}"
    return Backend(process, match[1], match[2] or token)


def _run_python(arguments: list[str], environment: dict[str, str]) -> str:
    """Run the interpreter with a limit, as Blender's module can hang at exit; returns what it printed."""
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
