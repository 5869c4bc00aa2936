# SPDX-License-Identifier: Apache-2.0
"""Both engines side by side, and what the small one costs to install; a figure a line, with the engine's name.

- ``edit_ms``, ``edit_with_turns_ms``, ``estimate_ms``: one edit, one that has two before it, one picture, in the
  engine; p50.
- ``edit_under_load_ratio``: p50 of an edit beside two busy processes, over the one without.
- ``start_s``: from the start of ``posellava serve`` to its first answer; ``batch_250_s``: an edit of 250 poses there;
  ``rss_mb``: what the server holds in memory afterwards, idle.
- ``install_mb``: the files of ``pip install posellava``, weights included. ``zip_mb``: the extension's largest zip.
- ``first_edit_s``: in a fresh Blender without a window, from the zip to the first keyed edit.

The machine's load when the run began and ended is printed beside the figures: what else runs slows them down.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import numpy as np

import build_addon
from backend.body.pictures import draw_poses
from blender_addon.contract.address import Address
from blender_addon.contract.messages import Request
from blender_addon.contract.skeleton import STANDING_POSE
from blender_addon.session import Connection
from demo.run import BLENDER_SECONDS

ROOT: Final = Path(__file__).parents[1]
ENGINES: Final = ("onnx", "torch")
ROUNDS: Final = 60
BATCHES: Final = 5
POSES: Final = 250
PICTURE_SIZE: Final = 360
STARTS: Final = 3
REST_SECONDS: Final = 3.0
"""After which a server that nobody asks counts as idle."""

FIRST_EDIT: Final = """
import json, os, sys, time
import bpy
out = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # what Blender prints is no figure
bpy.ops.wm.read_factory_settings(use_empty=True)
began = time.perf_counter()
bpy.ops.extensions.package_install_files(filepath=sys.argv[1], repo="user_default", enable_on_install=True)
bpy.ops.posellava.add_figure()
bpy.ops.posellava.edit_pose(instruction="raise your left arm")
keyed = bpy.context.object.animation_data.action is not None
print(json.dumps(time.perf_counter() - began if keyed else -1.0), file=out, flush=True)
"""


def report(name: str, value: float, unit: str, **more: Any) -> None:
    """Print one."""
    print(json.dumps({"name": name, "value": round(value, 2), "unit": unit, **more}), flush=True)


def measure_engine(engine: str) -> None:
    """In the engine, without a server."""
    with tempfile.TemporaryDirectory(prefix="posellava-bench-") as folder:
        picture = Path(folder) / "figure.png"
        draw_poses(STANDING_POSE[None], PICTURE_SIZE)[0].save(picture)
        command = [sys.executable, "-m", "benchmarks._engine", engine, str(ROUNDS), str(picture)]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    times = json.loads(done.stdout.splitlines()[-1])
    report("edit_ms", times["edit_ms"], "ms", engine=engine)
    report(
        "edit_under_load_ratio", times["edit_under_load_ms"] / times["edit_ms"], "times", engine=engine,
        ms=round(times["edit_under_load_ms"], 1),
    )  # fmt: skip
    report("edit_with_turns_ms", times["edit_with_turns_ms"], "ms", engine=engine)
    report("estimate_ms", times["estimate_ms"], "ms", engine=engine)


def measure_server(engine: str) -> None:
    """Of ``posellava serve``."""
    rng = np.random.default_rng(0)
    poses = rng.normal(0, 0.3, (POSES, 24, 3)).astype(np.float32)
    starts, batches, memory = [], [], 0.0
    for _ in range(STARTS):
        began = time.perf_counter()
        command = [sys.executable, "-m", "backend.cli", "serve", "--port", "0", "--engine", engine]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                with Connection(Address.parse(server.stdout.readline())) as connection:
                    connection.ask(Request("first", "adjust", "raise the left arm", poses[:1]), timeout=120)
                    starts.append(time.perf_counter() - began)
                    for number in range(BATCHES):
                        began = time.perf_counter()
                        connection.ask(
                            Request(f"all-{number}", "adjust", "bend the knees", poses), timeout=120
                        )
                        batches.append(time.perf_counter() - began)
                    time.sleep(REST_SECONDS)
                    memory = resident_mb(server.pid)
            finally:
                server.terminate()
    report("start_s", statistics.median(starts), "s", engine=engine, starts=STARTS)
    report("batch_250_s", statistics.median(batches), "s", engine=engine, poses=POSES)
    report("rss_mb", memory, "MB", engine=engine)


def resident_mb(process: int) -> float:
    """What a process holds in memory, in MB (Linux)."""
    status = Path(f"/proc/{process}/status").read_text()
    (kilobytes,) = re.findall(r"VmRSS:\s+(\d+) kB", status)
    return int(kilobytes) / 1000


def needed(name: str, seen: set[str]) -> Iterator[metadata.Distribution]:
    """A distribution and those that it needs without extras."""
    key = re.sub(r"[-_.]+", "-", name).lower()
    if key in seen:
        return
    seen.add(key)
    try:
        distribution = metadata.distribution(name)
    except metadata.PackageNotFoundError:  # for another platform or Python
        return
    yield distribution
    for requirement in distribution.requires or ():
        wanted, _, condition = requirement.partition(";")
        if "extra" not in condition and (found := re.match(r"[\w.-]+", wanted)):
            yield from needed(found[0], seen)


def installed_mb() -> float:
    """The files of the project, weights included, and of what it needs."""
    total = 0
    for distribution in list(needed("posellava", set()))[1:]:
        for file in distribution.files or ():
            path = Path(str(distribution.locate_file(file)))
            total += path.stat().st_size if path.is_file() else 0
    for part in ("backend", "training", "blender_addon"):
        total += sum(file.stat().st_size for file in (ROOT / part).rglob("*") if file.is_file())
    return total / 1e6


def first_edit_seconds(extension: Path) -> float:
    """From the zip to the first keyed edit."""
    with tempfile.TemporaryDirectory(prefix="posellava-bench-") as folder:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("POSELLAVA_")}
        environment["BLENDER_USER_RESOURCES"] = folder
        command = [sys.executable, "-c", FIRST_EDIT, str(extension)]
        done = subprocess.run(
            command, env=environment, stdout=subprocess.PIPE, text=True, timeout=BLENDER_SECONDS, check=True
        )
    return float(done.stdout.splitlines()[-1])


def main() -> None:
    """Measure and print."""
    load = os.getloadavg()[0]
    for engine in ENGINES:
        measure_engine(engine)
        measure_server(engine)
    report("install_mb", installed_mb(), "MB")
    with tempfile.TemporaryDirectory(prefix="posellava-bench-") as folder:
        zips = build_addon.build(Path(folder), list(build_addon.PLATFORMS))
        sizes = {file.stem.rpartition("-")[2]: file.stat().st_size / 1e6 for file in zips}
        report("zip_mb", max(sizes.values()), "MB", largest=max(sizes, key=lambda name: sizes[name]))
        here = zips[list(build_addon.PLATFORMS).index(build_addon.this_platform())]
        report("first_edit_s", first_edit_seconds(here), "s")
    report("load_average", os.getloadavg()[0], "processes", before=round(load, 2))


if __name__ == "__main__":
    main()
