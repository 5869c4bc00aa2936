# SPDX-License-Identifier: Apache-2.0
"""How a command ends, this folder's and training's alike: its exit status, and the sentence for what a user can mend.

Imports the standard library only.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Final

FAILED: Final = 1
USAGE: Final = 2
"""The exit status of a command line that cannot be read, as argparse has it."""
INTERRUPTED: Final = 130
"""The exit status after Ctrl-C, as shells have it."""


def exit_status(command: str, work: Callable[[], object], *problems: type[Exception]) -> int:
    """Does ``work()``: 0. OSError, ValueError and ``problems`` are told on standard error, and the status is 1."""
    told: tuple[type[Exception], ...] = (OSError, ValueError, *problems)
    try:
        work()
    except told as error:
        print(f"{command}: {error}", file=sys.stderr)
        return FAILED
    return 0


def print_each(sentences: Iterable[str]) -> None:
    """Says what a long work reports, each sentence as it comes."""
    for sentence in sentences:
        print(sentence, flush=True)
