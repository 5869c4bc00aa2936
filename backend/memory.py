# SPDX-License-Identifier: Apache-2.0
"""Memory is used again while there is work, and goes back to the system when there is none.

glibc keeps what was freed in a heap for each thread: 90 MB after a model was loaded, and as much again after a large
batch. Only the first heap can be made to give all of it back: of another the top stays, 15 to 30 MB more of it after
one batch than after the next, which looks like a leak. So there is one heap. Other C libraries decide for themselves,
or cannot be told.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any, Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
"""As glibc's malloc.h numbers them."""
_HEAPS: Final = 1
_LARGEST_OF_A_HEAP: Final = 32 << 20
"""Bytes; glibc allows no more."""
_MOST_KEPT: Final = 512 << 20
"""Bytes that are free, until ``give_back``."""


def reuse() -> None:
    """Keep freed memory for the next batch, in one heap; to be called before there are threads.

    As glibc is, each large block is asked of the system anew, of which a batch of 32 edits is an eighth slower.
    """
    if (set_option := _of_glibc("mallopt")) is not None:
        set_option(_M_ARENA_MAX, _HEAPS)
        set_option(_M_MMAP_THRESHOLD, _LARGEST_OF_A_HEAP)
        set_option(_M_TRIM_THRESHOLD, _MOST_KEPT)


def give_back() -> None:
    """Give freed memory back; takes some milliseconds."""
    if (trim := _of_glibc("malloc_trim")) is not None:
        trim(0)


def _of_glibc(name: str) -> Any:
    """The function, None where the C library has none of that name."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
