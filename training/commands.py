# SPDX-License-Identifier: Apache-2.0
"""Training's commands of ``posellava``: arguments in, exit status out.

A problem that the user can mend ends as one sentence on standard error and status 1. What takes long to import is
imported once the arguments are right.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from backend.arguments import positive, share
from backend.exits import exit_status

from .benchmark.cli import benchmark
from .evaluate.cli import evaluate, train_retrieval
from .reproduce.cli import reproduce
from .speech.cli import measure_speech, train_speech

__all__ = [
    "benchmark", "convert", "data", "evaluate", "export", "graphs", "measure_speech", "reproduce", "train",
    "train_retrieval", "train_speech",
]  # fmt: skip


def data(argv: Sequence[str]) -> int:
    """``posellava data``: build, show and count training data."""
    from training.data.cli import data as run

    return run(argv)


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
    parser.add_argument(
        "--estimate-memory",
        type=positive,
        metavar="GPUS",
        help="print what each of so many GPUs would need with ZeRO 1 to 3, and train nothing",
    )
    arguments = parser.parse_args(argv)
    from training.stages.checkpoints import TrainingStopped
    from training.stages.launch import leave_processes
    from training.stages.loop import train as run_stage
    from training.stages.settings import load_settings

    changes = list(arguments.set)
    if arguments.max_minutes is not None:
        changes.append(f"run.max_minutes={arguments.max_minutes}")

    def work() -> None:
        settings = load_settings(arguments.config, changes)
        if settings.stage != arguments.stage:
            raise ValueError(f"{arguments.config} configures {settings.stage}, not {arguments.stage}")
        if arguments.estimate_memory is not None:
            from training.stages.memory import table

            print(table(settings, arguments.estimate_memory))
        else:
            run_stage(settings, resume=arguments.resume)

    try:
        return exit_status("posellava train", work, TrainingStopped)
    finally:
        leave_processes()


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
    parser.add_argument(
        "--lean", action="store_true", help="without the parts that no prompt needs, the text encoder in int8"
    )
    parser.add_argument(
        "--share",
        type=share,
        default=1.0,
        help="how far to go from the weights the run started with to the checkpoint's (default: all the way)",
    )
    parser.add_argument(
        "--as-trained",
        nargs="+",
        default=[],
        metavar="NAME",
        help="with --share: weights whose names begin so are the checkpoint's all the same",
    )
    arguments = parser.parse_args(argv)
    if arguments.adapter and arguments.share < 1:
        parser.error("--share is for whole models: an adapter holds what was trained as it is")
    if arguments.as_trained and arguments.share == 1:
        parser.error("--as-trained makes a difference with a --share below 1 only")
    from training.stages.export import export as export_model
    from training.stages.export import export_adapter

    def work() -> None:
        if arguments.adapter:
            name = export_adapter(arguments.run, arguments.output, checkpoint=arguments.checkpoint)
        else:
            name = export_model(
                arguments.run,
                arguments.output,
                checkpoint=arguments.checkpoint,
                dtype=arguments.dtype,
                share=arguments.share,
                as_trained=arguments.as_trained,
                lean=arguments.lean,
            )
        print(f"{arguments.output}: {name} of {arguments.run}")

    return exit_status("posellava export", work)


def graphs(argv: Sequence[str]) -> int:
    """``posellava graphs``: write the ONNX graphs of a model beside its weights, as ``export`` does."""
    parser = argparse.ArgumentParser(
        prog="posellava graphs", description="Write the ONNX graphs of a saved model beside its weights."
    )
    parser.add_argument("model", type=Path, help="the model's folder")
    arguments = parser.parse_args(argv)
    from backend.model.graphs import write_graphs

    def work() -> None:
        if not (arguments.model / "config.json").is_file():
            raise FileNotFoundError(
                f"no model in {arguments.model}: expected config.json and its weights there"
            )
        write_graphs(arguments.model)
        print(f"{arguments.model}: ONNX graphs")

    return exit_status("posellava graphs", work)


def convert(argv: Sequence[str]) -> int:
    """``posellava convert``: make a model of the paper's released checkpoint."""
    parser = argparse.ArgumentParser(
        prog="posellava convert",
        description="Make a model of the checkpoint that the paper's authors released.",
    )
    parser.add_argument("release", type=Path, help="the downloaded folder: config.json, weights, tokenizer")
    parser.add_argument("output", type=Path, help="the folder to write")
    parser.add_argument("--dtype", choices=["float32", "float16", "bfloat16"], default="bfloat16")
    arguments = parser.parse_args(argv)
    from training.stages.released import convert as convert_release

    def work() -> None:
        convert_release(arguments.release, arguments.output, dtype=arguments.dtype)
        print(f"{arguments.output}: the release in {arguments.release}")

    return exit_status("posellava convert", work)
