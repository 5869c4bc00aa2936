# SPDX-License-Identifier: Apache-2.0
"""Which part may import which is said in .importlinter, and checked by ``make lint``. Here: that breaking it is told,
and that what is said to need no Blender is imported without it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

import build_addon

ROOT = Path(__file__).parents[1]
PARTS = ("blender_addon", "backend", "training")


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    linter = Path(sys.executable).with_name("lint-imports")
    return subprocess.run([linter, "--no-cache"], cwd=folder, capture_output=True, text=True)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project's Python, which keeps the rules."""
    folder = tmp_path_factory.mktemp("sources")
    for part in PARTS:
        for file in (ROOT / part).rglob("*.py"):
            copy = folder / file.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, copy)
    shutil.copy(ROOT / ".importlinter", folder)
    done = lint_imports(folder)
    assert done.returncode == 0, done.stdout
    return folder


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("backend/query.py", "import training.run_lock"),
        ("backend/query.py", "from blender_addon.rig import convert"),
        ("blender_addon/contract/limits.py", "import bpy"),
        ("backend/engines/onnx.py", "import torch"),
        ("blender_addon/contract/skeleton.py", "from . import limits"),
    ],
    ids=["upwards", "beside the contract", "Blender", "torch", "a circle"],
)
def test_an_import_that_breaks_a_rule_is_told(sources: Path, file: str, line: str) -> None:
    source = sources / file
    as_it_was = source.read_text()
    source.write_text(f"{as_it_was}\n{line}\n")
    done = lint_imports(sources)
    source.write_text(as_it_was)
    assert done.returncode == 1
    assert file.removesuffix(".py").replace("/", ".") in done.stdout or "cycles" in done.stdout


def test_the_extension_carries_all_that_its_backend_imports() -> None:
    imports = grimp.build_graph("backend", exclude_type_checking_imports=True)
    left_out = {f"backend.{name.removesuffix('.py').replace('/', '.')}" for name in build_addon.NOT_CARRIED}
    needed, found = {"backend.cli", "backend.serve", "backend.engines.onnx"}, set[str]()
    while needed:
        found.add(module := needed.pop())
        needed |= imports.find_modules_directly_imported_by(module) - found - left_out
    backend = ROOT / "backend"
    carried = {file for pattern in build_addon.BACKEND_FILES for file in backend.glob(pattern)}
    for module in sorted(found):
        place = ROOT / module.replace(".", "/")
        assert carried & {place.with_suffix(".py"), place / "__init__.py"}, (
            f"{module} is not in the extension"
        )


@pytest.mark.parametrize("module", ["blender_addon", "blender_addon.contract.codec", "blender_addon.session"])
def test_these_parts_of_the_addon_are_imported_without_blender(module: str) -> None:
    script = f"import sys; sys.modules['bpy'] = None; import {module}"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
