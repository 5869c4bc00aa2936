# SPDX-License-Identifier: Apache-2.0
"""Stopping a build or the recipe from outside leaves no process behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from training.stages.training_log import read_metrics

from .conftest import write_yaml

REPOSITORY = Path(__file__).parents[2]
PATIENCE = 240.0
"""Seconds; on a busy machine the processes take long to start."""


def descendants(process: int) -> set[int]:
    """A process's children, and theirs."""
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text(encoding="utf-8").split()
    except OSError:
        return set()
    return {found for child in map(int, children) for found in {child, *descendants(child)}}


def is_running(process: int) -> bool:
    """Whether it is there and no zombie."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def wait_until(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"still waiting until {what}"
        time.sleep(0.1)


def start(*arguments: str) -> subprocess.Popen[str]:
    """Python with these arguments, in a session of its own, so that a Ctrl-C can be sent to its group alone."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def stop(process: subprocess.Popen[str], number: signal.Signals, started: set[int]) -> str:
    """Signals the process, or its group as Ctrl-C does, and waits until those that it started are gone; its output."""
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    said, _ = process.communicate(timeout=PATIENCE)
    wait_until(lambda: not any(map(is_running, started)), "the processes that it started are gone")
    return said


def kill(processes: set[int]) -> None:
    for process in filter(is_running, processes):
        os.kill(process, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_build_that_is_stopped_takes_its_workers_along(tmp_path: Path, number: signal.Signals) -> None:
    arguments = [
        "-m",
        "training",
        "data",
        "build",
        "situations",
        "--output",
        str(tmp_path),
        "--count",
        "1000000",
    ]
    build = start(*arguments, "--shard-size", "8", "--workers", "2")
    started: set[int] = set()
    try:
        wait_until(lambda: list(tmp_path.glob("shard-*.npz")), "the first shard is there")
        started = descendants(build.pid)
        assert len(started) >= 2
        said = stop(build, number, started)
        assert "Traceback" not in said
        if number == signal.SIGINT:
            assert "goes on with the same command" in said
            assert build.returncode == 130
    finally:
        kill({build.pid, *started})


STAGE = """
import sys
from pathlib import Path
from training.recipe import RecipeStopped, _train
from training.stages.settings import load_settings
try:
    _train("stage3", load_settings(Path(sys.argv[1])), 2, Path(sys.argv[2]))
except RecipeStopped as stopped:
    print(stopped)
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stage_of_several_processes_that_is_stopped_writes_its_checkpoint_and_ends_them(
    tmp_path: Path, stage3: dict[str, Any], number: signal.Signals
) -> None:
    stage3["run"] |= {"steps": 1_000_000, "checkpoint_steps": 1_000_000, "micro_batch": 2}
    config = write_yaml(tmp_path / "config.yaml", stage3)
    recipe = start("-c", STAGE, str(config), str(tmp_path / "model"))
    started: set[int] = set()
    try:
        wait_until(lambda: read_metrics(tmp_path / "run" / "metrics.jsonl"), "the first step is done")
        started = descendants(recipe.pid)
        assert len(started) >= 3  # the launcher and its two
        said = stop(recipe, number, started)
        assert "the same command goes on from its newest checkpoint" in said
        assert list((tmp_path / "run" / "checkpoints").glob("step-*/progress.json"))
        assert not (tmp_path / "model").exists()
    finally:
        kill({recipe.pid, *started})
