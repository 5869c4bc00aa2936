# SPDX-License-Identifier: Apache-2.0
"""What a run uses, for its log: memory of the card, or of the process where there is none."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Final

import torch

_PAGES: Final = Path("/proc/self/statm")


def memory_gb(device: torch.device) -> float:
    """GB: on a GPU the most that was allocated since the last call, otherwise what the process holds now."""
    if device.type == "cuda":
        most = torch.cuda.max_memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        return most / 1e9
    if _PAGES.is_file():
        return int(_PAGES.read_text().split()[1]) * resource.getpagesize() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
