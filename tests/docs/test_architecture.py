# SPDX-License-Identifier: Apache-2.0
"""The docs name files and functions that are there, and docs/architecture.md the path that an edit really takes."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [
        *(page for page in ROOT.glob("*.md") if page.name != "CHANGELOG.md"),
        *(page for page in (ROOT / "docs").glob("*.md") if page.name != "log.md"),
    ]
)
"""Without those that tell of what was."""
PARTS = "backend|benchmarks|blender_addon|demo|docs|scripts|tests|training"
NAMED = re.compile(rf"`((?:{PARTS})/[\w/]+\.py):([\w.]+)`")
PLACE = re.compile(rf"`((?:{PARTS})/[\w./-]*)`")


@cache
def names_in(file: str) -> frozenset[str]:
    """What a file defines: functions, classes and what is in them, and names that are assigned."""
    found: set[str] = set()

    def look(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                found.add(prefix + node.name)
                if isinstance(node, ast.ClassDef):
                    look(node.body, f"{prefix}{node.name}.")
            targets = node.targets if isinstance(node, ast.Assign) else []
            targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
            found.update(prefix + target.id for target in targets if isinstance(target, ast.Name))

    look(ast.parse((ROOT / file).read_text("utf-8")).body, "")
    return frozenset(found)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_names_is_there(page: Path) -> None:
    text = page.read_text("utf-8")
    for place in PLACE.findall(text):
        if "NAME" not in place and "FILE" not in place and "KIND" not in place:
            assert (ROOT / place).exists(), f"{page.name} names {place}, which is not there"
    for file, name in NAMED.findall(text):
        assert (ROOT / file).is_file(), f"{page.name} names {file}, which is not there"
        assert name in names_in(file), f"{page.name} names {file}:{name}, which is not there"


def steps() -> list[str]:
    """The functions of the path of one edit, in the order of docs/architecture.md; classes stand for no call."""
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    path = text.split("## The path of one edit")[1].split("\n## ")[0]
    return [f"{file}:{name}" for file, name in NAMED.findall(path) if not name.split(".")[-1][0].isupper()]


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("bpy") is None, reason="this Python has no Blender module")
def test_an_edit_takes_the_path_that_the_map_shows() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.docs.follow_edit"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    called = done.stdout.splitlines()
    shown = steps()
    assert len(shown) > 10
    assert [step for step in shown if step not in called] == [], "the map shows what an edit does not call"
    assert sorted(shown, key=called.index) == shown, "the map shows another order than that of the calls"
