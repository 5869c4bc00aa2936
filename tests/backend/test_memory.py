# SPDX-License-Identifier: Apache-2.0
"""Memory that threads have freed goes back to the system, however they took it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from backend.memory import _of_glibc

REPOSITORY = Path(__file__).parents[2]
SCRIPT = """
import threading
from pathlib import Path
from backend.memory import give_back, reuse
reuse()
import numpy as np

def resident_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) / 256

both_there = threading.Barrier(2)

def take_and_free():
    both_there.wait()
    blocks = [np.ones(2**17, np.uint8) for _ in range(240)]  # 30 MB, in pieces that a heap holds
    both_there.wait()
    blocks.clear()
    both_there.wait()

def round():
    threads = [threading.Thread(target=take_and_free) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

before = resident_mb()
round()
kept = resident_mb() - before
give_back()
print(kept, resident_mb() - before)
"""


@pytest.mark.skipif(_of_glibc("malloc_trim") is None, reason="another C library decides for itself")
def test_what_threads_freed_is_kept_for_the_next_batch_and_goes_back_when_there_is_none() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    kept, left = map(float, done.stdout.split())
    assert kept > 40
    assert left < 4
