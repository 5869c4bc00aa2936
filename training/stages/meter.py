# SPDX-License-Identifier: Apache-2.0
"""What a run measures of itself between two lines of its log: losses, speed, memory."""

from __future__ import annotations

import resource
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch

_PAGES: Final = Path("/proc/self/statm")


class Meter:
    """Means since the last reading."""

    def __init__(self) -> None:
        self._restart()

    def _restart(self) -> None:
        self._sums: dict[str, float] = {}
        self._steps = 0
        self._samples = 0
        self._tokens = 0
        self._of_tasks: dict[str, tuple[float, float]] = {}
        self._since = time.monotonic()

    def add(
        self,
        terms: Mapping[str, float],
        samples: int,
        tokens: int,
        of_tasks: Mapping[str, tuple[float, float]],
    ) -> None:
        """One step.

        Args:
            terms: its losses.
            samples: how many samples it saw.
            tokens: how many places of the language model they took.
            of_tasks: by name the sum of a task's losses and of how many poses or tokens they are.
        """
        for name, value in terms.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        for name, (total, count) in of_tasks.items():
            before = self._of_tasks.get(name, (0.0, 0.0))
            self._of_tasks[name] = (before[0] + total, before[1] + count)
        self._steps += 1
        self._samples += samples
        self._tokens += tokens

    def read(self) -> dict[str, float]:
        """The means, of each task over its own poses and tokens, and samples and tokens a second; starts anew."""
        values = {name: value / self._steps for name, value in self._sums.items()}
        values |= {name: total / count for name, (total, count) in self._of_tasks.items() if count}
        seconds = time.monotonic() - self._since
        values["samples_per_s"] = self._samples / seconds
        if self._tokens:
            values["tokens_per_s"] = self._tokens / seconds
        self._restart()
        return values


def memory_gb(device: torch.device) -> float:
    """GB: on a GPU the most that was allocated since the last call, otherwise what the process holds now."""
    if device.type == "cuda":
        most = torch.cuda.max_memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        return most / 1e9
    if _PAGES.is_file():
        return int(_PAGES.read_text().split()[1]) * resource.getpagesize() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
