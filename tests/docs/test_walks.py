# SPDX-License-Identifier: Apache-2.0
"""Somebody who follows "Where to add" of docs/architecture.md gets there: three of its lists, each as a patch that
applies to a copy of the tree, touches only what the list names, and passes its tests.

A patch that no longer applies tells that the list may be out of date too: mend both. To change one, apply it to a clean
checkout, edit, and write ``git diff -U1`` over it.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WALKS = Path(__file__).parent / "walks"
PARTS = ("backend", "blender_addon", "docs", "tests", "training")
LEFT_OUT = shutil.ignore_patterns("__pycache__", "weights", "images", "*.npz.partial")

walks = pytest.mark.parametrize(
    ("name", "heading", "tests"),
    [
        (
            "rig",
            "### Add a rig",
            [
                "tests/blender/rigs/test_table.py",
                "tests/blender/rigs/test_humanoids.py",
                "-k",
                "table or second_life",
            ],
        ),
        ("task", "### Add a task", ["tests/test_gesture.py"]),
        (
            "message_field",
            "### Add a message field",
            [
                "tests/contract/test_program.py",
                "tests/contract/test_messages.py",
                "tests/contract/test_frames.py",
            ],
        ),
    ],
    ids=["rig", "task", "message field"],
)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("bpy") is None, reason="this Python has no Blender module")
@walks
def test_the_list_leads_there(tmp_path: Path, name: str, heading: str, tests: list[str]) -> None:
    for part in PARTS:
        shutil.copytree(ROOT / part, tmp_path / part, ignore=LEFT_OUT)
    for file in ("pyproject.toml", "build_addon.py"):
        shutil.copy(ROOT / file, tmp_path)
    run(tmp_path, "git", "apply", "-C1", WALKS / f"{name}.patch")
    run(tmp_path, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests)


@walks
def test_the_list_names_what_is_touched(name: str, heading: str, tests: list[str]) -> None:
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    told = re.split(r"\n##+ ", page.split(f"{heading}\n")[1])[0]
    patch = (WALKS / f"{name}.patch").read_text("utf-8")
    for part in patch.split("diff --git ")[1:]:
        file = part.split(" b/")[1].split("\n")[0]
        if "new file mode" not in part:
            inside = file.removeprefix("blender_addon/")
            assert f"`{file}" in told or f"`{inside}" in told, f"{heading} does not name {file}"


def run(folder: Path, *command: str | Path) -> None:
    """Run a command there; its output is shown where it fails."""
    done = subprocess.run(
        list(map(str, command)), cwd=folder, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
