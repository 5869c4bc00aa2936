# SPDX-License-Identifier: Apache-2.0
"""One process at a time in a folder that grows, a run's or a build's: two would mix what they write.

May import nothing of the project.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Makes the folder where it is missing, and keeps other processes that lock it out until the block ends.

    The lock ends with the process, however that ends: nothing is left to clean up.

    Raises:
        ValueError: another process has locked it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"another process is writing to {folder}: wait until it has ended, or choose another folder"
            ) from None
        yield
    finally:
        os.close(descriptor)
