# SPDX-License-Identifier: Apache-2.0
"""Build the Blender extension: ``python build_addon.py`` writes ``dist/posellava-VERSION.zip``.

Blender's own builder and validator do the work; they come with the bpy package. The websockets wheel is fetched once
into ``wheels/``. Imports nothing of the project, so that it runs before anything is installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import tomllib

ROOT: Final = Path(__file__).parent
ADDON: Final = ROOT / "blender_addon"
WHEELS: Final = ROOT / "wheels"
PYTHON_VERSION: Final = "311"
"""Python whose pure wheels are taken; they serve every Blender from 4.2 on."""


class BuildError(RuntimeError):
    """The extension cannot be built; the text says what to do."""


def build(output: Path = ROOT / "dist") -> Path:
    """Build and validate the extension; returns the zip.

    Raises:
        BuildError: Blender's builder is missing, the wheel cannot be fetched, or the extension is not valid.
    """
    blender_ext = _find_builder()
    manifest = tomllib.loads((ADDON / "blender_manifest.toml").read_text())
    output.mkdir(parents=True, exist_ok=True)
    target = output / f"{manifest['id']}-{manifest['version']}.zip"
    with tempfile.TemporaryDirectory(prefix="posellava-build-") as folder:
        stage = Path(folder) / manifest["id"]
        shutil.copytree(ADDON, stage, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
        (stage / "wheels").mkdir()
        for wheel in _fetch_wheels(manifest):
            shutil.copy(wheel, stage / "wheels")
        _run(blender_ext, "build", "--source-dir", str(stage), "--output-filepath", str(target))
    _run(blender_ext, "validate", str(target))
    return target


def _find_builder() -> Path:
    spec = importlib.util.find_spec("bpy")
    if spec is None or spec.origin is None:
        raise BuildError(
            "The extension is built by Blender's own tool, which comes with the bpy package: "
            "run 'make setup' and then '.venv/bin/python build_addon.py'."
        )
    found = sorted(Path(spec.origin).parent.glob("*/scripts/addons_core/bl_pkg/cli/blender_ext.py"))
    if not found:
        raise BuildError(
            f"The bpy package in {Path(spec.origin).parent} has no blender_ext.py; use bpy 4.2 or later."
        )
    return found[-1]


def _fetch_wheels(manifest: dict[str, Any]) -> list[Path]:
    """The wheels that the manifest names, downloaded where they are not there yet."""
    wheels = [WHEELS / Path(entry).name for entry in manifest["wheels"]]
    for wheel in wheels:
        if wheel.exists():
            continue
        name, version = wheel.name.split("-")[:2]
        command = [
            sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:",
            "--platform", "any", "--python-version", PYTHON_VERSION, "--implementation", "py", "--abi", "none",
            "--dest", str(WHEELS), f"{name}=={version}",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if not wheel.exists():
            raise BuildError(
                f"{wheel.name} cannot be fetched; connect to the network or put it into {WHEELS}.\n"
                f"{done.stderr.strip()}"
            )
    return wheels


def _run(blender_ext: Path, *arguments: str) -> None:
    command = [sys.executable, str(blender_ext), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"Blender's extension tool refused: {(done.stdout + done.stderr).strip()}")


def main() -> int:
    """Build, and print where the zip is."""
    parser = argparse.ArgumentParser(description="Build the Blender extension.")
    parser.add_argument("--output", type=Path, default=ROOT / "dist", help="folder for the zip")
    try:
        target = build(parser.parse_args().output)
    except BuildError as error:
        print(f"build_addon: {error}", file=sys.stderr)
        return 1
    print(target)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
