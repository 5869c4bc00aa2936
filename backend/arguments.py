# SPDX-License-Identifier: Apache-2.0
"""Types of command-line arguments, of this folder's commands and training's. Imports the standard library only."""

from __future__ import annotations

import argparse


def positive(text: str) -> int:
    """A whole number from 1. Raises argparse.ArgumentTypeError; ValueError for what is no number."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number


def at_least_two(text: str) -> int:
    """A whole number from 2. Raises as positive() does."""
    number = int(text)
    if number < 2:
        raise argparse.ArgumentTypeError(f"{text} is too few; give 2 or more")
    return number


def above_zero(text: str) -> float:
    """A number above 0. Raises as positive() does."""
    number = float(text)
    if not number > 0:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return number


def share(text: str) -> float:
    """A number above 0, at most 1. Raises as positive() does."""
    number = float(text)
    if not 0 < number <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most 1")
    return number
