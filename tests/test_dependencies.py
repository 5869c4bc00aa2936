# SPDX-License-Identifier: Apache-2.0
"""Dependencies point one way: training, backend, blender_addon.contract. (What the add-on may import is tested with its
package.)"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def imported(file: Path) -> Iterator[str]:
    """The absolute names of the modules that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield f"{node.module}.{node.names[0].name}"


def test_the_backend_knows_the_contract_and_nothing_else_of_the_project() -> None:
    files = sorted((ROOT / "backend").rglob("*.py"))
    assert files
    for file in files:
        for name in imported(file):
            assert name.split(".")[0] not in {"training", "tests", "demo", "bpy"}, (file, name)
            # The bare package holds no code; it only says where the neutral body's file is.
            is_other_part = name.startswith("blender_addon.") and not name.startswith(
                "blender_addon.contract"
            )
            assert not is_other_part, (file, name)


@pytest.mark.parametrize("module", ["blender_addon", "blender_addon.contract.codec", "blender_addon.session"])
def test_these_parts_of_the_addon_are_imported_without_blender(module: str) -> None:
    script = f"import sys; sys.modules['bpy'] = None; import {module}"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
