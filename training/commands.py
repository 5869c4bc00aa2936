# SPDX-License-Identifier: Apache-2.0
"""``posellava data``, ``train`` and ``export``: arguments in, exit status out.

A problem that the user can mend ends as one sentence on standard error and status 1.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path


def data(argv: Sequence[str]) -> int:
    """``posellava data``: build shards, and count what is in them."""
    parser = argparse.ArgumentParser(prog="posellava data", description="Make and inspect training data.")
    actions = parser.add_subparsers(dest="action", required=True)
    build = actions.add_parser(
        "build", help="draw samples into shards for training; goes on where it stopped"
    )
    build.add_argument("source", help="what to draw, such as directives")
    build.add_argument("--output", type=Path, required=True, help="folder of the shards")
    build.add_argument("--count", type=int, required=True, help="samples")
    build.add_argument("--seed", type=int, default=0)
    build.add_argument("--poses", type=Path, help="pose file; without one the poses are constructed")
    build.add_argument(
        "--split", choices=["train", "val"], default="train", help="which part of the pose file"
    )
    build.add_argument("--workers", type=int, default=1, help="processes")
    build.add_argument("--shard-size", type=int, default=4096, help="samples in a shard")
    build.set_defaults(run=_build)
    kinds = actions.add_parser("kinds", help="count the kinds of samples in a folder of shards")
    kinds.add_argument("folder", type=Path)
    kinds.set_defaults(run=_kinds)
    arguments = parser.parse_args(argv)
    try:
        arguments.run(arguments)
    except (ValueError, OSError) as error:
        return _failed("data", error)
    return 0


def _build(arguments: argparse.Namespace) -> None:
    from training.data.build import Build, run

    build = Build(
        arguments.source,
        arguments.output,
        arguments.count,
        seed=arguments.seed,
        poses=arguments.poses,
        split=arguments.split,
        shard_size=arguments.shard_size,
    )
    if build.poses is None:
        print("no --poses: every pose is constructed")
    start = time.monotonic()
    before: int | None = None
    for done in run(build, workers=arguments.workers):
        before = done if before is None else before
        rate = f", {(done - before) / (time.monotonic() - start):.0f} a second" if done > before else ""
        print(f"{done} samples in {build.folder}{rate}", flush=True)


def _kinds(arguments: argparse.Namespace) -> None:
    from training.data.build import count_kinds

    for kind, count in count_kinds(arguments.folder).most_common():
        print(f"{count:8d}  {kind}")


def train(argv: Sequence[str]) -> int:
    """``posellava train stage1|stage2|stage3``: run one stage; also under ``deepspeed`` and ``torchrun``."""
    parser = argparse.ArgumentParser(prog="posellava train", description="Train one stage of PoseLLaVA.")
    parser.add_argument("stage", choices=["stage1", "stage2", "stage3"])
    parser.add_argument(
        "--config", type=Path, required=True, help="a YAML file, such as those in training/configs"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="overlay a value, such as run.steps=500",
    )
    parser.add_argument(
        "--max-minutes", type=float, help="time budget; the learning rate then follows the clock"
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on from the newest checkpoint, if there is one"
    )
    parser.add_argument("--local_rank", type=int, help=argparse.SUPPRESS)  # DeepSpeed's launcher adds it.
    arguments = parser.parse_args(argv)
    from training.stages.checkpoints import TrainingStopped
    from training.stages.launch import leave_processes
    from training.stages.loop import train as run_stage
    from training.stages.settings import load_settings

    changes = list(arguments.set)
    if arguments.max_minutes is not None:
        changes.append(f"run.max_minutes={arguments.max_minutes}")
    try:
        settings = load_settings(arguments.config, changes)
        if settings.stage != arguments.stage:
            raise ValueError(f"{arguments.config} configures {settings.stage}, not {arguments.stage}")
        run_stage(settings, resume=arguments.resume)
    except (ValueError, FileNotFoundError, TrainingStopped) as error:
        return _failed("train", error)
    finally:
        leave_processes()
    return 0


def export(argv: Sequence[str]) -> int:
    """``posellava export``: make a finished model, or an adapter, of a run's checkpoint."""
    parser = argparse.ArgumentParser(prog="posellava export", description="Make a model of a training run.")
    parser.add_argument("run", type=Path, help="the run's output folder")
    parser.add_argument("output", type=Path, help="the folder to write")
    parser.add_argument("--checkpoint", default="best", help="best, latest or a name (default: %(default)s)")
    parser.add_argument("--dtype", choices=["float32", "float16", "bfloat16"], default="float16")
    parser.add_argument(
        "--adapter", action="store_true", help="only what was trained, to be loaded on its base"
    )
    arguments = parser.parse_args(argv)
    from training.stages.export import export as export_model
    from training.stages.export import export_adapter

    try:
        if arguments.adapter:
            name = export_adapter(arguments.run, arguments.output, checkpoint=arguments.checkpoint)
        else:
            name = export_model(
                arguments.run, arguments.output, checkpoint=arguments.checkpoint, dtype=arguments.dtype
            )
    except (ValueError, FileNotFoundError) as error:
        return _failed("export", error)
    print(f"{arguments.output}: {name} of {arguments.run}")
    return 0


def _failed(command: str, error: Exception) -> int:
    print(f"posellava {command}: {error}", file=sys.stderr)
    return 1
