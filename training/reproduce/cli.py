# SPDX-License-Identifier: Apache-2.0
"""``posellava reproduce table2|table3|table4|table5``: arguments in, exit status out. ChatPose's tables have
arguments of their own, see ``chatpose_cli``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from backend.arguments import above_zero, at_least_two, positive
from training.run_lock import run_lock

from .chatpose_cli import TABLES as CHATPOSE_TABLES
from .chatpose_cli import reproduce_chatpose
from .named import named

TABLES: Final = ("table2", "table3", "table4", "table5")
OUTPUT: Final = Path("runs/tables")
LONGEST: Final = 5.0
"""Minutes of a core for a contestant."""
QUICK_STEPS: Final = 3
QUICK_CASES: Final = 6


def reproduce(argv: Sequence[str]) -> int:
    """``posellava reproduce``: one of the paper's tables, on the project's own data or on licensed data."""
    if argv and argv[0] in CHATPOSE_TABLES:
        return reproduce_chatpose(argv)
    parser = argparse.ArgumentParser(
        prog="posellava reproduce",
        description="Make one of the paper's tables: contestants trained here, measured on the same cases.",
        epilog="Contestants are kept in the output folder: the tables share one set.",
    )
    parser.add_argument("table", choices=TABLES)
    parser.add_argument(
        "--output", type=Path, default=OUTPUT, metavar="FOLDER",
        help="where the tables go, and the contestants that they share (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--poses", type=Path, metavar="POSES", help="poses to make data of (default: constructed ones)"
    )
    parser.add_argument(
        "--count", type=at_least_two, default=300, help="cases a column (default: %(default)s)"
    )
    parser.add_argument(
        "--minutes",
        type=above_zero,
        default=2.0,
        help=f"of a core that each contestant trains, at most {LONGEST:g} (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--threads", type=positive, metavar="N", default=1,
        help="CPU threads that measure; a contestant trains on one core (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--processes",
        type=positive,
        metavar="N",
        default=2,
        help="contestants trained at a time (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--train", nargs="+", default=[], metavar="SUITE=DATA",
        help="samples to train on instead, of generation, posefix or posepart: a folder of shards or a JSON file",
    )  # fmt: skip
    parser.add_argument(
        "--test", nargs="+", default=[], metavar="COLUMN=DATA",
        help="a data set whose samples are a column's cases, such as posefix=…, human36m=… or 3dpw=…",
    )  # fmt: skip
    parser.add_argument("--model", type=Path, metavar="FOLDER", help="a trained PoseLLaVA for its rows")
    parser.add_argument(
        "--body", type=Path, metavar="FILE", help="measure the joints of a licensed SMPL body"
    )
    parser.add_argument(
        "--quick", action="store_true", help="a few steps and cases, to see that everything runs"
    )
    arguments = parser.parse_args(argv)
    if arguments.minutes > LONGEST:
        parser.error(f"--minutes: {LONGEST:g} at most")
    from backend.body.draw import DrawingUnavailableError

    try:
        with run_lock(arguments.output):
            return _run(arguments)
    except (ValueError, OSError, DrawingUnavailableError) as error:
        print(f"posellava reproduce: {error}", file=sys.stderr)
        return 1


def _run(arguments: argparse.Namespace) -> int:
    import torch

    from .contestants import NEVER, Effort
    from .report import markdown, write
    from .tables import Order
    from .tables import reproduce as make

    train, test = named(arguments.train), named(arguments.test)
    torch.set_num_threads(arguments.threads)
    if arguments.poses is None:
        print("no --poses: every pose of the project's own data is constructed", file=sys.stderr)
    quick = arguments.quick
    effort = Effort(arguments.minutes, QUICK_STEPS if quick else NEVER, arguments.seed)
    order = Order(
        arguments.table, arguments.output, arguments.poses, QUICK_CASES if quick else arguments.count, effort, train,
        test, arguments.model, arguments.body, arguments.processes,
    )  # fmt: skip
    start = time.monotonic()
    table = make(order, lambda sentence: print(sentence, file=sys.stderr, flush=True))
    paths = write(table)
    print(markdown(table))
    print(f"{', '.join(map(str, paths))}: {(time.monotonic() - start) / 60:.1f} minutes", file=sys.stderr)
    return 0
