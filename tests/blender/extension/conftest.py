# SPDX-License-Identifier: Apache-2.0
"""The extension, installed into a headless Blender of its own."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
INSTALL = """
import bpy, sys
bpy.ops.extensions.package_install_files(filepath=sys.argv[1], repo="user_default", enable_on_install=True)
"""


@pytest.fixture(scope="session")
def blender_resources(extension_zip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for BLENDER_USER_RESOURCES in which the extension is installed."""
    folder = tmp_path_factory.mktemp("blender")
    _run_python(["-c", INSTALL, str(extension_zip)], {"BLENDER_USER_RESOURCES": str(folder)})
    assert list(folder.rglob("posellava/blender_manifest.toml")), "the extension was not installed"
    return folder


@pytest.fixture
def run_blender() -> Callable[[list[str], dict[str, str]], str]:
    """run_blender(arguments, environment) -> what a Python with Blender's module printed."""
    return _run_python


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
        return result_of(output)

    return run


def result_of(output: str) -> dict[str, Any]:
    """The ``result`` that inside.py printed."""
    lines = [line for line in output.splitlines() if line.startswith("RESULT ")]
    result: dict[str, Any] = json.loads(lines[-1].removeprefix("RESULT "))
    return result


def _run_python(arguments: list[str], environment: dict[str, str]) -> str:
    """Run a Python with Blender's module, with a limit, as that can hang at exit; returns what it printed.

    $POSELLAVA_BLENDER is the command of another one; see scripts/test_matrix.py.
    """
    python = shlex.split(os.environ.get("POSELLAVA_BLENDER", "")) or [sys.executable]
    done = subprocess.run(
        [*python, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
