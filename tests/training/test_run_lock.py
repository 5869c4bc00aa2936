# SPDX-License-Identifier: Apache-2.0
"""Two processes do not write to one folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from training import recipe
from training.data.build import run
from training.data.registry import Build
from training.run_lock import run_lock
from training.stages.loop import train
from training.stages.settings import load_settings

from .conftest import write_yaml

HOLDER = """
import sys
from pathlib import Path
from training.run_lock import run_lock
with run_lock(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


@contextmanager
def locked_elsewhere(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """The folder is locked by a process of its own while the block lasts, or until that is killed."""
    command = [sys.executable, "-c", HOLDER, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        yield holder
        holder.kill()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder that another process has locked."""
    with locked_elsewhere(tmp_path / "run"):
        yield tmp_path / "run"


def test_a_locked_folder_is_refused_until_it_is_let_go(tmp_path: Path) -> None:
    with (
        run_lock(tmp_path),
        pytest.raises(ValueError, match="another process is writing to"),
        run_lock(tmp_path),
    ):
        pass
    with run_lock(tmp_path):
        pass


def test_a_process_that_is_killed_leaves_no_lock(tmp_path: Path) -> None:
    with locked_elsewhere(tmp_path) as holder:
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
    with run_lock(tmp_path):
        pass


def test_a_run_does_not_train_where_another_process_trains(folder: Path, stage3: dict[str, Any]) -> None:
    config = write_yaml(folder.parent / "config.yaml", stage3 | {"output": str(folder)})
    with pytest.raises(ValueError, match="another process is writing to"):
        train(load_settings(config))
    assert not list(folder.iterdir())


def test_a_build_does_not_write_where_another_process_builds(folder: Path) -> None:
    with pytest.raises(ValueError, match="another process is writing to"):
        list(run(Build("descriptions", folder, count=2)))
    assert not list(folder.iterdir())


def test_the_recipe_does_not_start_where_another_is_at_work(folder: Path) -> None:
    with pytest.raises(ValueError, match="another process is writing to"):
        recipe.run(recipe.load_recipe(quick=True), folder, poses=None, workers=1)
    assert not list(folder.iterdir())
