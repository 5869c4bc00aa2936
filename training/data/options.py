# SPDX-License-Identifier: Apache-2.0
"""Options that the commands on data and on measuring have in common."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_start(parser: argparse._ActionsContainer, of: str) -> None:
    """``--start``: what these samples or cases begin with."""
    parser.add_argument(
        "--start",
        choices=["pose", "image", "both"],
        default="pose",
        help=f"what {of} start from: the pose, a drawn picture of it, or both (default: %(default)s)",
    )


def add_body(parser: argparse._ActionsContainer, of: str) -> None:
    """``--body``: a licensed body to draw with in the place of the project's own."""
    parser.add_argument(
        "--body",
        type=Path,
        metavar="FILE",
        help=f"a licensed body to draw {of} with, such as SMPL_NEUTRAL.npz or .pkl; without it our neutral body",
    )
