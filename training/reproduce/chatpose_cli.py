# SPDX-License-Identifier: Apache-2.0
"""``posellava reproduce chatpose1|chatpose2|chatpose3``: arguments in, exit status out."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from backend.arguments import above_zero, at_least_two, positive

from .named import named

TABLES: Final = ("chatpose1", "chatpose2", "chatpose3")
COLUMNS: Final = {
    "chatpose1": ("generation", "spg"),
    "chatpose2": ("rpe",),
    "chatpose3": ("3dpw", "human36m"),
}
"""What may be measured on a data set instead of, or beside, own data."""
OUTPUT: Final = Path("runs/tables")
QUICK: Final = 6


def reproduce_chatpose(argv: Sequence[str]) -> int:
    """One of ChatPose's tables."""
    parser = argparse.ArgumentParser(
        prog="posellava reproduce",
        description="Make one of ChatPose's tables: 1 generation from descriptions and situations, 2 reasoning-based "
        "estimation, 3 estimation.",
    )
    parser.add_argument("table", choices=TABLES)
    parser.add_argument(
        "--output",
        type=Path,
        default=OUTPUT,
        metavar="FOLDER",
        help="where the table goes (default: %(default)s)",
    )
    parser.add_argument("--poses", type=Path, help="poses to make data of (default: constructed ones)")
    parser.add_argument(
        "--count", type=at_least_two, default=200, help="cases a column (default: %(default)s)"
    )
    parser.add_argument(
        "--minutes",
        type=above_zero,
        default=2.0,
        help="of a core that each contestant trains (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=positive, metavar="N", default=1)
    parser.add_argument("--processes", type=positive, metavar="N", default=2)
    parser.add_argument(
        "--test", nargs="+", default=[], metavar="COLUMN=DATA",
        help="data sets whose samples are the cases: spg=…, rpe=… (photographs), 3dpw=…, human36m=…",
    )  # fmt: skip
    parser.add_argument(
        "--quick", action="store_true", help="a few steps and cases, to see that everything runs"
    )
    arguments = parser.parse_args(argv)
    from backend.body.draw import DrawingUnavailableError

    try:
        return _run(arguments)
    except (ValueError, OSError, DrawingUnavailableError) as error:
        print(f"posellava reproduce: {error}", file=sys.stderr)
        return 1


def _run(arguments: argparse.Namespace) -> int:
    import torch

    from .chatpose import Order, markdown, reproduce, write
    from .contestants import NEVER, Effort

    test = named(arguments.test)
    unknown = sorted(set(test) - set(COLUMNS[arguments.table]))
    if unknown:
        raise ValueError(
            f"{arguments.table} has no column {unknown[0]} to read; it has {', '.join(COLUMNS[arguments.table])}"
        )
    arguments.output.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(arguments.threads)
    quick = arguments.quick
    order = Order(
        arguments.table,
        arguments.output,
        arguments.poses,
        QUICK if quick else arguments.count,
        Effort(arguments.minutes, QUICK if quick else NEVER, arguments.seed),
        retrieval_steps=QUICK if quick else 400,
        test=test,
        processes=1 if quick else arguments.processes,
    )
    start = time.monotonic()
    table = reproduce(order, lambda sentence: print(sentence, file=sys.stderr, flush=True))
    paths = write(table)
    print(markdown(table))
    print(f"{', '.join(map(str, paths))}: {(time.monotonic() - start) / 60:.1f} minutes", file=sys.stderr)
    return 0
