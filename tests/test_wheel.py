# SPDX-License-Identifier: Apache-2.0
"""``pip install posellava``: the wheel in an environment of its own, without torch, answers and stays small."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MOST_MEGABYTES = 300


def run(*command: str | Path, folder: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        list(map(str, command)), cwd=folder, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.full
def test_the_wheel_answers_in_an_empty_environment(tmp_path: Path) -> None:
    run(
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        tmp_path,
        ROOT,
        folder=tmp_path,
    )
    (wheel,) = tmp_path.glob("posellava-*.whl")
    home = tmp_path / "venv"
    venv.create(home, with_pip=True)
    scripts = home / ("Scripts" if sys.platform == "win32" else "bin")
    lock = ROOT / "requirements.lock"
    run(scripts / "python", "-m", "pip", "install", "--quiet", "--constraint", lock, wheel, folder=tmp_path)
    installed = {each["name"] for each in json.loads(
        run(scripts / "python", "-m", "pip", "list", "--format", "json", folder=tmp_path)
    )}  # fmt: skip
    assert "onnxruntime" in installed
    assert not installed & {"torch", "transformers", "scipy", "safetensors"}

    (tmp_path / "in.jsonl").write_text('{"id": 1, "task": "generate", "instruction": "a person who sits"}\n')
    run(scripts / "posellava", "batch", "in.jsonl", "out.jsonl", folder=tmp_path)
    assert '"pose"' in (tmp_path / "out.jsonl").read_text()
    info = json.loads(run(scripts / "posellava", "info", "--json", folder=tmp_path))
    assert info["engine"] == "onnx"

    own = [file for file in home.rglob("*") if file.is_file() and not file.is_symlink()]
    pip = [file for file in own if {"pip", "setuptools"} & set(file.parts)]
    assert (sum(f.stat().st_size for f in own) - sum(f.stat().st_size for f in pip)) / 1e6 < MOST_MEGABYTES
