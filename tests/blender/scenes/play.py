# SPDX-License-Identifier: Apache-2.0
"""Plays the table of scenes in a Blender process of its own, against the backend that does as it is told."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
SECONDS = 900
"""Blender's module can hang when the process ends; then it is killed."""


def play(extension: Path, *names: str) -> dict[str, str]:
    """The fault of each scene by its name, empty where all holds.

    $POSELLAVA_BLENDER is the command of another Python with Blender's module; see scripts/test_matrix.py.

    Args:
        extension: the built zip.
        names: scenes to play; none for all.
    """
    python = shlex.split(os.environ.get("POSELLAVA_BLENDER", "")) or [sys.executable]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    backend = subprocess.Popen(
        [sys.executable, str(HERE / "obedient_backend.py")],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment,
    )
    try:
        assert backend.stdout is not None
        url = backend.stdout.readline().split()[1]
        with tempfile.TemporaryDirectory(prefix="posellava-scenes-") as folder:
            done = subprocess.run(
                [*python, str(HERE / "inside.py"), str(extension), *names],
                env={**os.environ, "BLENDER_USER_RESOURCES": folder, "URL": url},
                capture_output=True,
                text=True,
                timeout=SECONDS,
                check=False,
            )
    finally:
        backend.terminate()
        backend.wait(timeout=30)
    lines = [line.removeprefix("SCENE ") for line in done.stdout.splitlines() if line.startswith("SCENE ")]
    faults = {one["name"]: one["fault"] for one in map(json.loads, lines)}
    if done.returncode:
        faults["the process"] = done.stdout[-2000:] + done.stderr[-4000:]
    return faults
