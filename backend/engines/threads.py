# SPDX-License-Identifier: Apache-2.0
"""How many CPU threads help, and that they sleep while they wait.

Threads that spin while they wait for each other are a little quicker on an idle machine and many times slower on a busy
one, which a machine that runs Blender is.
"""

from __future__ import annotations

import os
from typing import Final

MOST_THREADS: Final = 4
"""More do not make an edit of one pose quicker."""
_PASSIVE: Final = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}


def usable_threads() -> int:
    """As many as this process may use, up to as many as help."""
    if hasattr(os, "sched_getaffinity"):
        return min(MOST_THREADS, len(os.sched_getaffinity(0)))
    return min(MOST_THREADS, os.cpu_count() or 1)


def keep_threads_from_spinning() -> None:
    """To be called before an OpenMP library is loaded, which torch does; what the user's environment says stands."""
    for name, value in _PASSIVE.items():
        os.environ.setdefault(name, value)
