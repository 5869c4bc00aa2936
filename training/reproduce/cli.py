# SPDX-License-Identifier: Apache-2.0
"""``posellava reproduce TABLE``, PoseLLaVA's table2 to table5 or ChatPose's chatpose1 to chatpose3: arguments in, exit
status out."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from backend.arguments import above_zero, at_least_two, positive
from backend.exits import exit_status
from training.run_lock import run_lock

TABLES: Final = ("table2", "table3", "table4", "table5")
CHATPOSE_TABLES: Final = ("chatpose1", "chatpose2", "chatpose3")
OUTPUT: Final = Path("runs/tables")
LONGEST: Final = 5.0
"""Minutes of a core for a contestant."""
QUICK_STEPS: Final = 3
QUICK_CASES: Final = 6


def reproduce(argv: Sequence[str]) -> int:
    """``posellava reproduce``: one of the papers' tables, on the project's own data or on licensed data."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.minutes > LONGEST:
        parser.error(f"--minutes: {LONGEST:g} at most")
    from backend.body.draw import DrawingUnavailableError

    def work() -> None:
        with run_lock(arguments.output):
            _run(arguments)

    return exit_status("posellava reproduce", work, DrawingUnavailableError)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="posellava reproduce",
        description="Make one of PoseLLaVA's tables 2 to 5 or of ChatPose's tables 1 to 3: contestants trained here, "
        "measured on the same cases.",
        epilog="Contestants are kept in the output folder: the tables share one set.",
    )
    parser.add_argument("table", choices=(*TABLES, *CHATPOSE_TABLES))
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
        help="a data set whose samples are a column's cases, such as posefix=…, spg=…, rpe=… (photographs), "
        "human36m=… or 3dpw=…",
    )  # fmt: skip
    parser.add_argument("--model", type=Path, metavar="FOLDER", help="a trained PoseLLaVA for its rows")
    parser.add_argument(
        "--body", type=Path, metavar="FILE", help="measure the joints of a licensed SMPL body"
    )
    parser.add_argument(
        "--quick", action="store_true", help="a few steps and cases, to see that everything runs"
    )
    return parser


def _run(arguments: argparse.Namespace) -> None:
    import torch

    torch.set_num_threads(arguments.threads)
    if arguments.poses is None:
        print("no --poses: every pose of the project's own data is constructed", file=sys.stderr)
    start = time.monotonic()
    text, paths = (_chatpose if arguments.table in CHATPOSE_TABLES else _posellava)(arguments)
    print(text)
    print(f"{', '.join(map(str, paths))}: {(time.monotonic() - start) / 60:.1f} minutes", file=sys.stderr)


def _posellava(arguments: argparse.Namespace) -> tuple[str, list[Path]]:
    """One of PoseLLaVA's tables as Markdown, and the files that it is in."""
    from .report import markdown, write
    from .tables import Order
    from .tables import reproduce as make

    order = Order(
        **_wanted(arguments), train=_named(arguments.train), model=arguments.model, body=arguments.body
    )
    table = make(order, _say)
    return markdown(table), write(table)


def _chatpose(arguments: argparse.Namespace) -> tuple[str, list[Path]]:
    """One of ChatPose's tables as Markdown, and the files that it is in."""
    from .chatpose import RETRIEVAL_STEPS, Order, markdown, write
    from .chatpose import reproduce as make

    if arguments.train or arguments.model is not None or arguments.body is not None:
        raise ValueError(f"{arguments.table} takes no --train, --model or --body: leave them out")
    order = Order(**_wanted(arguments), retrieval_steps=QUICK_STEPS if arguments.quick else RETRIEVAL_STEPS)
    table = make(order, _say)
    return markdown(table), write(table)


def _wanted(arguments: argparse.Namespace) -> dict[str, Any]:
    """What every table is ordered by."""
    from .contestants import NEVER, Effort

    return {
        "table": arguments.table,
        "output": arguments.output,
        "poses": arguments.poses,
        "count": QUICK_CASES if arguments.quick else arguments.count,
        "effort": Effort(arguments.minutes, QUICK_STEPS if arguments.quick else NEVER, arguments.seed),
        "test": _named(arguments.test),
        "processes": arguments.processes,
    }


def _named(given: Sequence[str]) -> dict[str, Path]:
    """``NAME=PATH`` words of the command line as a table. Raises ValueError and FileNotFoundError."""
    found = {}
    for word in given:
        name, equals, path = word.partition("=")
        if not equals:
            raise ValueError(f"write {word} as NAME=PATH, such as posefix=data/posefix-test")
        if not Path(path).exists():
            raise FileNotFoundError(f"there is nothing at {path}, which is to be {name}")
        found[name] = Path(path)
    return found


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)
