# SPDX-License-Identifier: Apache-2.0
"""Build the Blender extension: ``python build_addon.py`` writes zips into ``dist/``.

One zip a platform holds the add-on and a backend of its own: the server, the small engine, the weights, and the wheels
that these need for the Pythons of Blender 4.2 to 5.3. One more, the slim one, holds the add-on alone, for those who
have a backend elsewhere. Blender's own builder and validator do the work; they come with the bpy package. Wheels are
fetched once into ``wheels/``. Imports nothing of the project, so that it runs before anything is installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import tomllib

ROOT: Final = Path(__file__).parent
ADDON: Final = ROOT / "blender_addon"
WHEELS: Final = ROOT / "wheels"
SERVER: Final = "server"
"""The folder of the extension that holds the backend."""
PYTHONS: Final = ("311", "313")
"""Of Blender 4.2 to 5.0, and from 5.1 on."""
PLATFORMS: Final = {
    "linux-x64": (
        "manylinux_2_28_x86_64",
        "manylinux_2_27_x86_64",
        "manylinux_2_17_x86_64",
        "manylinux2014_x86_64",
    ),
    "windows-x64": ("win_amd64",),
    "macos-arm64": ("macosx_14_0_arm64", "macosx_11_0_arm64"),
}
"""Blender's name of each platform, and what its wheels may be called."""
ENGINE_PACKAGES: Final = ("onnxruntime", "tokenizers", "pillow")
"""What the backend needs beside the standard library, Blender's numpy and the add-on's own websockets."""
BACKEND_FILES: Final = ("*.py", "server/*.py", "prompt/*.py", "engines/*.py")
"""Of ``backend/``: all that answers without torch, which .importlinter sees to, but for those below."""
NOT_CARRIED: Final = ("replicas.py", "engines/torch.py", "repaint.py", "painting.py", "paint_process.py")
"""What needs Ray or torch; imported only when it is asked for."""
WEIGHTS: Final = ("*.json", "*.onnx", "*.safetensors")


class BuildError(RuntimeError):
    """The extension cannot be built; the text says what to do."""


def build_slim(output: Path = ROOT / "dist") -> Path:
    """Build and validate the add-on without a backend; returns the zip.

    Raises:
        BuildError: Blender's builder is missing, a wheel cannot be fetched, or the extension is not valid.
    """
    blender_ext = _find_builder()
    manifest = tomllib.loads((ADDON / "blender_manifest.toml").read_text())
    output.mkdir(parents=True, exist_ok=True)
    target = output / f"{manifest['id']}-{manifest['version']}-slim.zip"
    with tempfile.TemporaryDirectory(prefix="posellava-build-") as folder:
        stage = _stage(Path(folder), manifest)
        _run(blender_ext, "build", "--source-dir", str(stage), "--output-filepath", str(target))
    _run(blender_ext, "validate", str(target))
    return target


def build(output: Path = ROOT / "dist", platforms: Sequence[str] | None = None) -> list[Path]:
    """Build and validate the extension with its own backend, a zip for each platform; returns the zips in order.

    Args:
        output: folder for the zips.
        platforms: some of PLATFORMS; None for this machine's.

    Raises:
        BuildError: as build_slim(), or this machine's platform is none of PLATFORMS.
    """
    blender_ext = _find_builder()
    platforms = [this_platform()] if platforms is None else platforms
    manifest = tomllib.loads((ADDON / "blender_manifest.toml").read_text())
    wheels = [wheel for each in platforms for wheel in _fetch_engine_wheels(each)]
    wheels = list(dict.fromkeys(wheels))
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="posellava-build-") as folder:
        stage = _stage(Path(folder), manifest)
        for wheel in wheels:
            shutil.copy(wheel, stage / "wheels")
        _copy_backend(stage / SERVER)
        file = stage / "blender_manifest.toml"
        entries = [*manifest["wheels"], *(f"./wheels/{wheel.name}" for wheel in wheels)]
        file.write_text(_with_backend(file.read_text(), entries, platforms))
        _run(
            blender_ext, "build", "--split-platforms", "--source-dir", str(stage), "--output-dir", str(output)
        )
    stem = f"{manifest['id']}-{manifest['version']}"
    zips = [output / f"{stem}-{each.replace('-', '_')}.zip" for each in platforms]
    for target in zips:
        _run(blender_ext, "validate", str(target))
    return zips


def this_platform() -> str:
    """Blender's name of the platform that this runs on."""
    system = {"Darwin": "macos"}.get(platform.system(), platform.system().lower())
    machine = {"x86_64": "x64", "AMD64": "x64", "aarch64": "arm64"}.get(
        platform.machine(), platform.machine()
    )
    name = f"{system}-{machine}"
    if name not in PLATFORMS:
        raise BuildError(
            f"There is no build with a backend for {name}, only for {', '.join(PLATFORMS)}: use the slim one."
        )
    return name


def _stage(folder: Path, manifest: dict[str, Any]) -> Path:
    """The add-on with its own wheels, in a folder to build from."""
    stage = folder / str(manifest["id"])
    shutil.copytree(ADDON, stage, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    (stage / "wheels").mkdir()
    for entry in manifest["wheels"]:
        shutil.copy(_fetch_pure_wheel(Path(entry).name), stage / "wheels")
    return stage


def _copy_backend(target: Path) -> None:
    """The backend's files and the weights, with their licence."""
    backend = ROOT / "backend"
    left_out = {backend / name for name in NOT_CARRIED}
    files = [f for pattern in BACKEND_FILES for f in sorted(backend.glob(pattern)) if f not in left_out]
    files += [file for pattern in WEIGHTS for file in sorted((backend / "weights" / "mini").glob(pattern))]
    for file in files:
        copy = target / "backend" / file.relative_to(backend)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, copy)
    shutil.copy(ROOT / "LICENSE", target / "LICENSE")


def _with_backend(manifest: str, wheels: Sequence[str], platforms: Sequence[str]) -> str:
    """The manifest with these wheels, for these platforms, and with the licence of the backend beside the add-on's."""
    listed = ",\n".join(f'    "{wheel}"' for wheel in wheels)
    names = ", ".join(f'"{name}"' for name in platforms)
    manifest = re.sub(
        r"wheels = \[.*?\]", lambda _: f"wheels = [\n{listed},\n]\nplatforms = [{names}]", manifest
    )
    return manifest.replace(
        'license = ["SPDX:GPL-3.0-or-later"]', 'license = ["SPDX:GPL-3.0-or-later", "SPDX:Apache-2.0"]'
    )


def _find_builder() -> Path:
    spec = importlib.util.find_spec("bpy")
    if spec is None or spec.origin is None:
        raise BuildError(
            "The extension is built by Blender's own tool, which comes with the bpy package, and there is none for "
            "Python 3.12: run 'make setup' where 'python3.11' or 'python3.13' is installed, then try again."
        )
    found = sorted(Path(spec.origin).parent.glob("*/scripts/addons_core/bl_pkg/cli/blender_ext.py"))
    if not found:
        raise BuildError(
            f"The bpy package in {Path(spec.origin).parent} has no blender_ext.py; use bpy 4.2 or later."
        )
    return found[-1]


def _fetch_pure_wheel(name: str) -> Path:
    """A wheel of pure Python, downloaded where it is not there yet."""
    package, version = name.split("-")[:2]
    if not (WHEELS / name).exists():
        _download(f"{package}=={version}", ["any"], PYTHONS[0], "py", "none")
    if not (WHEELS / name).exists():
        raise BuildError(f"{name} cannot be fetched; connect to the network or put it into {WHEELS}.")
    return WHEELS / name


def _fetch_engine_wheels(name: str) -> list[Path]:
    """The wheels that the backend needs on a platform, downloaded where they are not there yet."""
    pinned = dict(
        line.split("==") for line in (ROOT / "requirements.lock").read_text().splitlines() if "==" in line
    )
    found = []
    for package in ENGINE_PACKAGES:
        for python in PYTHONS:
            wheel = _wheel_there(package, pinned[package], name, python)
            said = ""
            if wheel is None:
                said = _download(f"{package}=={pinned[package]}", PLATFORMS[name], python, "cp", None)
                wheel = _wheel_there(package, pinned[package], name, python)
            if wheel is None:
                raise BuildError(
                    f"{package} {pinned[package]} for Python {python} on {name} cannot be fetched; connect to the "
                    f"network or put it into {WHEELS}.\n{said}".strip()
                )
            found.append(wheel)
    return found


def _wheel_there(package: str, version: str, name: str, python: str) -> Path | None:
    """The wheel of a package for a platform and a Python, or for every Python from an earlier one on (abi3)."""
    for wheel in sorted(WHEELS.glob(f"{package}-{version}-*.whl")):
        _, _, tag, abi, built_for = wheel.stem.split("-")
        fits_python = abi in (f"cp{python}", "abi3") and int(tag.removeprefix("cp")) <= int(python)
        if fits_python and set(built_for.split(".")) & set(PLATFORMS[name]):
            return wheel
    return None


def _download(
    requirement: str, platforms: Sequence[str], python: str, implementation: str, abi: str | None
) -> str:
    """Have pip download one wheel; returns what it says where it fails."""
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:",
        *(word for each in platforms for word in ("--platform", each)),
        "--python-version", python, "--implementation", implementation, *(["--abi", abi] if abi else []),
        "--dest", str(WHEELS), requirement,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stderr.strip() if done.returncode else ""


def _run(blender_ext: Path, *arguments: str) -> None:
    command = [sys.executable, str(blender_ext), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"Blender's extension tool refused: {(done.stdout + done.stderr).strip()}")


def main() -> int:
    """Build, and print where the zips are."""
    parser = argparse.ArgumentParser(description="Build the Blender extension.")
    parser.add_argument("--output", type=Path, default=ROOT / "dist", help="folder for the zips")
    parser.add_argument(
        "--platform",
        action="append",
        choices=[*PLATFORMS, "slim"],
        help="build for this one; may be repeated (default: all, and the slim one)",
    )
    options = parser.parse_args()
    wanted = options.platform or [*PLATFORMS, "slim"]
    try:
        names = [name for name in wanted if name != "slim"]
        zips = build(options.output, names) if names else []
        if "slim" in wanted:
            zips.append(build_slim(options.output))
    except BuildError as error:
        print(f"build_addon: {error}", file=sys.stderr)
        return 1
    for target in zips:
        print(f"{target} {target.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
