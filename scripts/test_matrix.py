# SPDX-License-Identifier: Apache-2.0
"""Run the add-on's headless tests in every Blender that it supports: ``make test-matrix``.

    .venv/bin/python scripts/test_matrix.py [VERSION …]

Each Blender is a bpy module in an environment of its own under ``.cache/matrix``, with the Python and the numpy that
this Blender ships. The tests of the rig and of every armature run in there; those of the extension run in ``.venv``
and start that environment's Python as their Blender. A Python that is missing is looked for in pyenv's and uv's
folders, and last in the Debian 13 root that ``make setup-gui`` makes. What cannot be had is named as skipped.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
CACHE: Final = ROOT / ".cache" / "matrix"
DEBIAN: Final = ROOT / ".cache" / "debian13"
LIMIT_SECONDS: Final = 5400
"""Of a Blender's tests, on a machine that has other work too."""
EXTENSION: Final = "tests/blender/extension"
SCENES: Final = "tests/blender/scenes"
ALWAYS_HERE: Final = ("test_local_backend.py", "test_package.py")
"""Of the extension's tests, those that run in this environment's own Blender whichever is chosen: its zips, and its
backend as a process."""
INSIDE: Final = ("tests/blender/rig", "tests/blender/rigs")


@dataclass(frozen=True)
class Blender:
    """A release of Blender as a Python module.

    Attributes:
        name: what its users call it.
        bpy: version of the module.
        python: the Python that it runs.
        numpy: the numpy that it ships, as pip's requirement.
    """

    name: str
    bpy: str
    python: str
    numpy: str


BLENDERS: Final = (
    Blender("4.2 LTS", "4.2.23", "3.11", "numpy==1.24.*"),
    Blender("4.5 LTS", "4.5.15", "3.11", "numpy==1.26.*"),
    Blender("5.0", "5.0.1", "3.11", "numpy==1.26.*"),
    Blender("5.2 LTS", "5.2.3", "3.13", "numpy==2.*"),
    Blender("5.3", "5.3.0", "3.13", "numpy==2.*"),
)
"""A new release of Blender is a new line."""


class UnavailableError(Exception):
    """This Blender cannot be had on this machine; the text says why."""


def prepare(blender: Blender) -> list[str]:
    """The command that runs a script in this Blender, set up if it is not yet.

    Raises:
        UnavailableError: there is no such Python, or no such module for this machine.
    """
    requirements = [f"bpy=={blender.bpy}", blender.numpy, "pytest", "pytest-timeout", "scipy"]
    python = find_python(blender.python)
    if python is not None:
        environment = CACHE / blender.bpy
        inside = environment / "bin" / "python"
        if not (environment / ".ready").exists():
            shutil.rmtree(environment, ignore_errors=True)
            _run([python, "-m", "venv", str(environment)], "no virtual environment can be made")
            _run([str(inside), "-m", "pip", "install", "--quiet", *requirements], "pip cannot install it")
            (environment / ".ready").touch()
        return [str(inside)]
    if not (DEBIAN / f"usr/bin/python{blender.python}").exists() or os.getuid() != 0:
        raise UnavailableError(
            f"there is no Python {blender.python}; install one, or run 'make setup-gui' as root"
        )
    packages = CACHE / f"{blender.bpy}-debian"
    if not (packages / ".ready").exists():
        shutil.rmtree(packages, ignore_errors=True)
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(packages)]
        install += ["--python-version", blender.python, "--implementation", "cp", "--only-binary=:all:"]
        install += ["--ignore-requires-python"]  # pip means its own Python
        _run(
            [*install, *_platforms(), *requirements], "pip cannot fetch it for the Python of the Debian root"
        )
        (packages / ".ready").touch()
    enter = [str(ROOT / "scripts" / "in_debian_root.sh"), str(DEBIAN)]
    return [*enter, f"PYTHONPATH={packages}:{ROOT}", f"python{blender.python}"]


def find_python(version: str) -> str | None:
    """A Python of this version that can make virtual environments: of the PATH, of pyenv or of uv."""
    candidates = [shutil.which(f"python{version}")]
    for folder in (Path.home() / ".pyenv/versions", Path.home() / ".local/share/uv/python"):
        candidates += [str(found) for found in sorted(folder.glob(f"*{version}*/bin/python{version}"))]
    for candidate in candidates:
        if candidate is not None:
            check = "import ensurepip, sys; assert '%d.%d' % sys.version_info[:2] == sys.argv[1]"
            done = subprocess.run([candidate, "-c", check, version], capture_output=True, check=False)
            if done.returncode == 0:
                return candidate
    return None


def _platforms() -> list[str]:
    """Options for pip that name every kind of wheel that the Debian root runs."""
    machine = os.uname().machine
    return [word for minor in range(17, 42) for word in ("--platform", f"manylinux_2_{minor}_{machine}")]


def _run(command: list[str], trouble: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no reason given"]
        raise UnavailableError(f"{trouble} ({lines[-1]})")


def test(blender: Blender, command: Sequence[str]) -> str:
    """Run the tests in this Blender; whether they passed, and the last lines that pytest prints."""
    print(f"--- Blender {blender.name} (bpy {blender.bpy})", flush=True)
    options = ["-m", "pytest", "--quiet", "--timeout", "1200"]
    # Their own fixtures alone: those above belong to the backend, which is not in there.
    inside = [[*command, *options, "--confcutdir", folder, folder] for folder in INSIDE]
    left_out = [f"--ignore={EXTENSION}/{file}" for file in ALWAYS_HERE]
    around = [sys.executable, *options, *left_out, "--numprocesses", "2", EXTENSION, SCENES]
    results = [
        *(_watch(tests, {"PYTHONPATH": str(ROOT)}) for tests in inside),
        _watch(around, {"POSELLAVA_BLENDER": shlex.join(command)}),
    ]
    return (
        f"{'passed' if all(ok for ok, _ in results) else 'FAILED'}: {'; '.join(last for _, last in results)}"
    )


def _watch(command: Sequence[str], environment: dict[str, str]) -> tuple[bool, str]:
    """Run a command and show what it prints; whether it succeeded, and its last line."""
    process = subprocess.Popen(
        ["timeout", "--signal=KILL", str(LIMIT_SECONDS), *command],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    last = ""
    for line in process.stdout:
        print(line, end="", flush=True)
        last = line.strip() or last
    return process.wait() == 0, last


def main(names: list[str]) -> int:
    """Test the Blenders named, or all; 1 where one failed or none could be had."""
    results: dict[str, str] = {}
    for blender in BLENDERS:
        if names and not {blender.name, blender.bpy, blender.name.split()[0]} & set(names):
            continue
        label = f"Blender {blender.name} (bpy {blender.bpy}, Python {blender.python})"
        try:
            results[label] = test(blender, prepare(blender))
        except UnavailableError as error:
            results[label] = f"skipped: {error}"
    print("\n".join(f"{label}: {result}" for label, result in results.items()))
    failed = any(result.startswith("FAILED") for result in results.values())
    return int(failed or not any(result.startswith("passed") for result in results.values()))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
