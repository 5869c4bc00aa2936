# SPDX-License-Identifier: Apache-2.0
"""The extension, installed into a headless Blender of its own."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from .scripts import FIGURE, InBlender, OnFigure

HERE = Path(__file__).parent
INSTALL = """
import bpy, sys
bpy.ops.extensions.package_install_files(filepath=sys.argv[1], repo="user_default", enable_on_install=True)
"""


HANGS_SECONDS = 1000
"""Of a script in Blender, on a machine that has other work too."""

Run = Callable[[list[str], dict[str, str]], str]
"""Runs a Python with Blender's module, of these arguments and environment; returns what it printed."""


@pytest.fixture(scope="session")
def blender_resources(extension_zip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for BLENDER_USER_RESOURCES in which the extension is installed."""
    return installed(run_python, extension_zip, tmp_path_factory.mktemp("blender"))


@pytest.fixture
def run_blender() -> Run:
    """run_blender(arguments, environment) -> what a Python with Blender's module printed."""
    return run_python


@pytest.fixture
def in_blender(blender_resources: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """in_blender(script, **environment) -> the script's ``result``; see inside.py."""
    return script_runner(run_python, blender_resources, tmp_path)


@pytest.fixture
def on_figure(in_blender: InBlender, start_backend: Callable[..., Any]) -> OnFigure:
    """Runs scripts one after the other on the SMPL figure, connected to scripted_backend.py with these arguments."""

    def run(*scripts: str, backend: Sequence[str] = (), **environment: str) -> dict[str, Any]:
        return in_blender(FIGURE + "".join(scripts), URL=start_backend(*backend).url, **environment)

    return run


def installed(run: Run, extension: Path, folder: Path) -> Path:
    """The folder, with the extension installed in it."""
    run(["-c", INSTALL, str(extension)], {"BLENDER_USER_RESOURCES": str(folder)})
    assert list(folder.rglob("posellava/blender_manifest.toml")), "the extension was not installed"
    return folder


def script_runner(run: Run, resources: Path, folder: Path) -> Callable[..., dict[str, Any]]:
    """What runs a script in a Blender with the extension and returns its ``result``; see inside.py."""

    def run_script(script: str, **environment: str) -> dict[str, Any]:
        file = folder / "script.py"
        file.write_text(textwrap.dedent(script))
        output = run(
            [str(HERE / "inside.py"), str(file)], {"BLENDER_USER_RESOURCES": str(resources), **environment}
        )
        lines = [line for line in output.splitlines() if line.startswith("RESULT ")]
        result: dict[str, Any] = json.loads(lines[-1].removeprefix("RESULT "))
        return result

    return run_script


def run_python(arguments: list[str], environment: dict[str, str], python: Sequence[str] = ()) -> str:
    """Run a Python with Blender's module, with a limit, as that can hang at exit; returns what it printed.

    Without ``python`` it is $POSELLAVA_BLENDER's, see scripts/test_matrix.py, or this one.
    """
    command = list(python) or shlex.split(os.environ.get("POSELLAVA_BLENDER", "")) or [sys.executable]
    done = subprocess.run(
        [*command, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=HANGS_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
