# SPDX-License-Identifier: Apache-2.0
"""The built extension, and backends for it to talk to: one whose answers are foreseeable, and the shipped one."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import build_addon

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

collect_ignore_glob = [] if importlib.util.find_spec("bpy") else ["*"]
"""Python 3.12 has no Blender module: what runs inside Blender is left out."""


STARTS_BLENDER = {"in_blender", "run_blender", "extension_zip", "whole_zip", "blender_resources"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What starts a Blender of its own is slow."""
    for item in items:
        if STARTS_BLENDER & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)


@dataclass(frozen=True)
class Backend:
    """A backend process of a test."""

    process: subprocess.Popen[str]
    url: str
    token: str


@pytest.fixture(scope="session")
def extension_zip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The slim zip that build_addon.py builds: the add-on without a backend of its own."""
    return build_addon.build_slim(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="session")
def whole_zip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The zip for this platform, with a backend of its own."""
    return build_addon.build(tmp_path_factory.mktemp("whole"))[0]


@pytest.fixture
def start_backend() -> Iterator[Callable[..., Backend]]:
    """start_backend(*arguments) starts scripted_backend.py; it is stopped when the test ends."""
    processes: list[subprocess.Popen[str]] = []

    def start(*arguments: str, token: str = "") -> Backend:
        command = [sys.executable, str(HERE / "scripted_backend.py"), *arguments]
        return _listen(command + (["--token", token] if token else []), processes, token)

    yield start
    for process in processes:
        process.terminate()
        process.wait(timeout=30)


@pytest.fixture(scope="session")
def shipped_backend() -> Iterator[Backend]:
    """``posellava serve`` with the model that ships."""
    if not (ROOT / "backend" / "weights" / "mini" / "config.json").exists():
        pytest.skip("no weights have been trained yet")
    with serving() as backend:
        yield backend


@contextlib.contextmanager
def serving(*arguments: str) -> Iterator[Backend]:
    """``posellava serve`` on a free port."""
    processes: list[subprocess.Popen[str]] = []
    command = [str(Path(sys.executable).parent / "posellava"), "serve", "--port", "0", *arguments]
    try:
        yield _listen(command, processes, "")
    finally:
        processes[0].terminate()
        processes[0].wait(timeout=30)


def _listen(command: list[str], processes: list[subprocess.Popen[str]], token: str) -> Backend:
    """Start a server and wait for its line ``listening URL [token=…]``."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("POSELLAVA_TOKEN", None)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment)
    processes.append(process)
    assert process.stdout is not None
    line = process.stdout.readline()
    match = re.match(r"listening (ws://\S+)(?: token=(\S+))?", line)
    assert match, f"the backend did not start: {line!r}"
    return Backend(process, match[1], match[2] or token)
