# SPDX-License-Identifier: Apache-2.0
"""Times one engine in a process of its own: ``python -m benchmarks._engine onnx ROUNDS FIGURE.png`` prints JSON."""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from backend.engines import load_engine
from backend.query import Query
from blender_addon.contract.messages import Turn

WARM_UP: Final = 5
BUSY_PROCESSES: Final = 2
TURNS: Final = 2
INSTRUCTIONS: Final = (
    "raise your left arm",
    "bend the right elbow by 60 degrees",
    "turn your head to the left",
    "put both hands on the hips and look at the floor",
)


@contextlib.contextmanager
def busy_processes() -> Iterator[None]:
    """Processes that each take a processor for themselves, as far as they get one."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(BUSY_PROCESSES)]
    try:
        time.sleep(0.5)
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def median_ms(call: Callable[[int], object], rounds: int) -> float:
    """The median of so many calls, after a few that do not count."""
    times = []
    for number in range(WARM_UP + rounds):
        began = time.perf_counter()
        call(number)
        times.append(1000 * (time.perf_counter() - began))
    return statistics.median(times[WARM_UP:])


def main(name: str, rounds: int, figure: Path) -> None:
    """Load, measure, print; ``figure`` is a picture of one whole figure."""
    engine = load_engine(engine=name)
    rng = np.random.default_rng(0)
    pose = rng.normal(0, 0.3, (24, 3)).astype(np.float32)
    turns = tuple(
        Turn(words, rng.normal(0, 0.3, (24, 3)).astype(np.float32)) for words in INSTRUCTIONS[:TURNS]
    )
    picture = Image.open(figure).convert("RGB")

    def edit(number: int) -> None:
        engine.answer([Query("adjust", INSTRUCTIONS[number % len(INSTRUCTIONS)], pose)])

    def further_edit(number: int) -> None:
        engine.answer([Query("adjust", INSTRUCTIONS[number % len(INSTRUCTIONS)], pose, history=turns)])

    def estimate(number: int) -> None:
        engine.answer([Query("estimate", "", image=picture)])

    figures = {
        "edit_ms": median_ms(edit, rounds),
        "edit_with_turns_ms": median_ms(further_edit, rounds),
        "estimate_ms": median_ms(estimate, max(rounds // 4, 1)),
    }
    with busy_processes():
        figures["edit_under_load_ms"] = median_ms(edit, rounds)
    print(json.dumps(figures))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
