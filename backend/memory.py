# SPDX-License-Identifier: Apache-2.0
"""Memory that is no longer used goes back to the system.

glibc keeps what was freed, for itself and in a heap for each thread: 90 MB after a model was loaded, and as much again
after a large batch. Other C libraries give it back by themselves, or cannot be told.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any, Final

_ARENA_MAX: Final = -8
"""M_ARENA_MAX in glibc's malloc.h."""
_MOST_HEAPS: Final = 2


def keep_few_heaps() -> None:
    """Let threads share their heaps; to be called before there are any."""
    if (set_option := _of_glibc("mallopt")) is not None:
        set_option(_ARENA_MAX, _MOST_HEAPS)


def give_back() -> None:
    """Give freed memory back; takes some milliseconds."""
    if (trim := _of_glibc("malloc_trim")) is not None:
        trim(0)


def _of_glibc(name: str) -> Any:
    """The function, None where the C library has none of that name."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
