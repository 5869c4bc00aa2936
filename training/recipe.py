# SPDX-License-Identifier: Apache-2.0
"""The whole of ``mini`` in one command: poses in, an exported and evaluated model out.

    python -m training.recipe [--poses FILE] [--output FOLDER] [--minutes M] [--share S] [--quick]

Data is built, the stages are trained and exported one after the other, the model is given other answers to offer,
weights for words about the camera, a head that hears when nothing is asked and a voice, and it is measured. Sizes come
from ``configs/mini_recipe.yaml``, everything else from the stages' own configurations. What is done is not done again:
after an interruption the same command goes on, within a stage from its newest checkpoint.

May import the rest of training and backend.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any, Final

from backend.arguments import above_zero, positive
from backend.exits import INTERRUPTED, exit_status
from backend.graph_files import VARIANTS_GRAPH, VIEW_GRAPH
from backend.prompt.speech import SPEECH_FILE
from training.data.build import run as build_shards
from training.data.registry import SOURCES, Build, Split
from training.run_lock import run_lock
from training.stages.settings import (
    ModelSettings,
    RunSettings,
    TrainSettings,
    load_settings,
    parse,
    read_yaml,
    save_settings,
)

CONFIGS: Final = Path(__file__).parent / "configs"
STEPS: Final = ("stage1", "stage2", "stage3")
"""The stages, by the names of their configurations."""
VIEW: Final = "view"
"""The step that teaches words about the camera, by the name of its data, its minutes and its part of the model."""
SPEECH: Final = "speech"
"""The step that teaches the voice, by the names of its minutes and of its folder."""
SUITES: Final = ("posepart", "posefix", "generation", "estimation")
BATCH: Final = 32
"""Handwritten instructions to one call of the model."""
ENDLESS: Final = 1_000_000
"""Steps of a stage that ends by its time."""
SECONDS_TO_STOP: Final = 300
"""How long the processes of a stage may take to end their step and to write a checkpoint, before they are killed."""


class RecipeStopped(Exception):  # noqa: N818 - it tells of an event
    """The recipe ended before its end; the sentence says what to do."""


@dataclass(frozen=True)
class DataSize:
    """A folder of shards; see ``training.data.registry.Build``. Training goes on without an ``optional`` one."""

    source: str
    count: int
    seed: int
    split: Split = "train"
    shard_size: int = 4096
    optional: bool = False


@dataclass(frozen=True)
class Recipe:
    """Sizes of a run.

    Attributes:
        minutes: time budget of each of STEPS, where 0 takes its own number of steps, of VIEW and of SPEECH.
        processes: of training, which share out a stage's batch and threads; more than one are started by torchrun.
        data: folders of shards by name.
        evaluation_cases: of each suite of ``posellava eval``.
        run: further changes to every stage, by name of a field of ``RunSettings``.
        validation_samples: at most so many.
        variant_samples, variant_steps: of ``training.variants``, which comes after the stages.
        view_sentences, view_steps: of the head of ``training.view``, which comes then.
        view_weight_steps: of its weights; None for as many as its minutes allow.
        wish_sentences, wish_steps, wish_held_out: of ``training.wish``, which follows.
        speech_steps: of each lesson of the voice, which comes last; None for as many as its minutes allow.
    """

    minutes: dict[str, float]
    processes: int
    data: dict[str, DataSize]
    evaluation_cases: int
    run: dict[str, Any]
    validation_samples: int = ENDLESS
    variant_samples: int = 24576
    variant_steps: int = 1500
    view_sentences: int = 16000
    view_steps: int = 3000
    view_weight_steps: int | None = None
    wish_sentences: int = 10000
    wish_steps: int = 3000
    wish_held_out: int = 2000
    speech_steps: int | None = None


def load_recipe(*, minutes: float | None = None, share: float = 1.0, quick: bool = False) -> Recipe:
    """The recipe of ``mini``.

    Args:
        minutes: of training altogether, shared out among the steps as the recipe does.
        share: of the training samples to build.
        quick: a few samples and steps, to see that everything runs.
    """
    values = {"run": {}, **read_yaml(CONFIGS / "mini_recipe.yaml")}
    recipe: Recipe = parse(Recipe, values, "mini_recipe.yaml")
    if quick:
        return replace(
            recipe,
            minutes=dict.fromkeys(STEPS, 0.0) | {VIEW: 1.0, SPEECH: 1.0},
            processes=1,
            data={name: replace(size, count=16, shard_size=16) for name, size in recipe.data.items()},
            evaluation_cases=4,
            run={"steps": 2, "micro_batch": 4, "log_steps": 1},
            validation_samples=4,
            variant_samples=16,
            variant_steps=2,
            view_sentences=48,
            view_steps=4,
            view_weight_steps=2,
            wish_sentences=48,
            wish_steps=4,
            wish_held_out=48,
            speech_steps=2,
        )
    if minutes is not None:
        factor = minutes / sum(recipe.minutes.values())
        recipe = replace(recipe, minutes={step: factor * m for step, m in recipe.minutes.items()})
    sizes = {
        name: replace(size, count=max(1, round(size.count * share))) if size.split == "train" else size
        for name, size in recipe.data.items()
    }
    return replace(recipe, data=sizes)


def run(recipe: Recipe, output: Path, *, poses: Path | None, workers: int) -> None:
    """Goes through the recipe.

    Args:
        recipe: its sizes.
        output: where everything goes: ``data``, a folder for each stage, ``model`` and ``evaluation``.
        poses: a file or folder of poses in any supported format; None for constructed ones.
        workers: processes that build data.

    Raises:
        RecipeStopped: training was asked to stop, or one of its processes failed.
        FileNotFoundError, ValueError: from the steps, or another process is at work in ``output``; the sentence says
            what to do.
    """
    if poses is None:
        _say("no poses given (POSES=FILE): everything is trained and measured on constructed poses")
    with run_lock(output):
        _run(recipe, output, poses, workers)


def _run(recipe: Recipe, output: Path, poses: Path | None, workers: int) -> None:
    for name, size in recipe.data.items():
        _build(name, size, output / "data" / name, poses, workers)
    for step in STEPS:
        model = output / "model" if step == STEPS[-1] else _next_start(step, output)
        _train(step, step_settings(recipe, step, output), recipe.processes, model)
    _give_variants(recipe, output / "model", output / "data")
    _give_view(recipe, output / "model", output / "data", keep=output / "view.pt")
    _give_wish(recipe, output / "model", output / "data")
    _give_speech(recipe, output / "model", poses, output / SPEECH)
    _evaluate(output / "model", output / "evaluation", poses, recipe.evaluation_cases)
    _say(
        f"done: {output / 'model'} (posellava serve --model {output / 'model'}), measured in {output / 'evaluation'}"
    )


def step_settings(recipe: Recipe, step: str, output: Path) -> TrainSettings:
    """The configuration of one of STEPS with the recipe's sizes, and its paths under ``output``."""
    settings = load_settings(CONFIGS / f"mini_{step}.yaml")
    values = {**vars(settings.run), **recipe.run}
    if recipe.minutes[step] > 0:
        values |= {"max_minutes": recipe.minutes[step], "steps": ENDLESS}
    values["micro_batch"] //= recipe.processes
    values["threads"] = max(1, values["threads"] // recipe.processes)
    data = settings.data
    sources = {
        name: replace(source, path=under(source.path, output))
        for name, source in data.sources.items()
        if not _is_left_out(recipe.data.get(name), under(source.path, output))
    }
    return replace(
        settings,
        output=under(settings.output, output),
        model=ModelSettings(
            under(settings.model.start, output), settings.model.fresh, settings.model.changes
        ),
        data=replace(
            data,
            sources=sources,
            validation=None if data.validation is None else under(data.validation, output),
            validation_samples=min(data.validation_samples, recipe.validation_samples),
            feature_cache=None if data.feature_cache is None else under(data.feature_cache, output),
        ),
        run=RunSettings(**values),
    )


def _is_left_out(size: DataSize | None, folder: Path) -> bool:
    return size is not None and size.optional and not any(folder.glob("shard-*.npz"))


def under(path: Path, output: Path) -> Path:
    """A path of the stages' configurations under another folder than ``runs``."""
    if path.parts[:2] == ("runs", "data"):
        return output.joinpath("data", *path.parts[2:])
    if path.parts[:2] == ("runs", "mini"):
        return output.joinpath(*path.parts[2:])
    return path


def _next_start(step: str, output: Path) -> Path:
    following = STEPS[STEPS.index(step) + 1]
    return under(load_settings(CONFIGS / f"mini_{following}.yaml").model.start, output)


def _say(sentence: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {sentence}", flush=True)


def _build(name: str, size: DataSize, folder: Path, poses: Path | None, workers: int) -> None:
    build = Build(
        size.source,
        folder,
        size.count,
        seed=size.seed,
        poses=poses if "poses" in SOURCES[size.source].uses else None,
        split=size.split,
        shard_size=size.shard_size,
    )
    shards = -(-size.count // size.shard_size)
    try:
        for done in build_shards(build, workers=1 if size.optional else min(workers, shards)):
            _say(f"data: {done} of {shards * size.shard_size} samples of {name}")
    except ValueError as error:
        if not size.optional:
            raise
        _say(f"data: {name} left out: {error}")


def _train(step: str, settings: TrainSettings, processes: int, model: Path) -> None:
    """Trains a step to its end and exports it to ``model``; that folder says that the step is done."""
    from training.stages.export import export

    if (model / "config.json").is_file():
        _say(f"{step}: {model} is there already")
        return
    if not _is_finished(settings):
        budget = settings.run.max_minutes
        _say(f"{step}: " + (f"{budget:.0f} minutes" if budget > 0 else f"{settings.run.steps} steps"))
        settings.output.mkdir(parents=True, exist_ok=True)
        config = settings.output.with_suffix(".yaml")
        save_settings(settings, config)
        _run_stage(settings, config, processes)
        if not _is_finished(settings):
            raise RecipeStopped(f"{step} was stopped; the same command goes on from its newest checkpoint")
    # What only stage 1 needs does not ship.
    name = export(settings.output, model, lean=step == STEPS[-1])
    _say(f"{step}: exported {name} to {model}")


def _give_variants(recipe: Recipe, model: Path, data: Path) -> None:
    from training.variants import give_variants

    if (model / VARIANTS_GRAPH).is_file():
        _say(f"variants: {model} has some already")
        return
    size = {"count": recipe.variant_samples, "steps": recipe.variant_steps}
    for sentence in give_variants(model, model, data, **size, seed=0):
        _say(f"variants: {sentence}")


def _give_view(recipe: Recipe, model: Path, data: Path, *, keep: Path) -> None:
    """Teaches the model words about the camera; what was learnt before a stop is in ``keep`` until it is done."""
    from training.view import give_view

    if (model / VIEW_GRAPH).is_file():
        _say(f"view: {model} knows words about the camera already")
        return
    sentences = give_view(
        model,
        model,
        data,
        seconds=60 * recipe.minutes[VIEW],
        weight_steps=recipe.view_weight_steps,
        keep=keep,
        count=recipe.view_sentences,
        steps=recipe.view_steps,
    )
    for sentence in sentences:
        _say(f"view: {sentence}")
    keep.unlink()


def _give_wish(recipe: Recipe, model: Path, data: Path) -> None:
    """Teaches the model to hear when nothing is asked."""
    from training.wish import give_wish

    if json.loads((model / "config.json").read_text(encoding="utf-8")).get("wish_width"):
        _say(f"wish: {model} hears already when nothing is asked")
        return
    sizes = {
        "count": recipe.wish_sentences,
        "steps": recipe.wish_steps,
        "held_out": recipe.wish_held_out,
    }
    for sentence in give_wish(model, model, data, **sizes):
        _say(f"wish: {sentence}")


def _give_speech(recipe: Recipe, model: Path, poses: Path | None, output: Path) -> None:
    """Teaches the model a voice; after a stop it goes on from the checkpoint in ``output``."""
    from training.added_part import write_with_voice
    from training.speech.teaching import load_speech_settings, train_speech

    if (model / SPEECH_FILE).is_file():
        _say(f"speech: {model} speaks already")
        return
    usual = load_speech_settings(CONFIGS / "mini_speech.yaml")
    share = recipe.minutes[SPEECH] / (usual.reader_minutes + usual.minutes)
    settings = replace(
        usual,
        model=model,
        poses=poses,
        output=output,
        reader_minutes=share * usual.reader_minutes,
        minutes=share * usual.minutes,
        steps=recipe.speech_steps,
    )
    train_speech(settings, resume=True, report=lambda progress: _say(f"speech: {progress}"))
    write_with_voice(model, model, output)


def _run_stage(settings: TrainSettings, config: Path, processes: int) -> None:
    if processes == 1:
        from training.stages.loop import train

        train(settings, resume=True)
        return
    launcher = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc_per_node={processes}",
        f"--shutdown-timeout={SECONDS_TO_STOP}",
    ]
    stage = ["-m", "training", "train", settings.stage, "--config", str(config), "--resume"]
    with subprocess.Popen(
        [*launcher, *stage], env={**os.environ, "OMP_NUM_THREADS": str(settings.run.threads)}
    ) as child:
        asked = False

        def pass_on(number: int, frame: FrameType | None) -> None:
            nonlocal asked
            asked = True
            if number == signal.SIGTERM:  # A Ctrl-C reaches the whole group of processes by itself.
                child.send_signal(number)

        previous = {number: signal.signal(number, pass_on) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            status = child.wait()
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
    if status != 0 and not asked:
        raise RecipeStopped(f"{settings.stage} ended with status {status}; what it said above tells why")


def _is_finished(settings: TrainSettings) -> bool:
    """Whether the newest checkpoint of a stage is at the end of its schedule."""
    from training.stages.checkpoints import Checkpoints
    from training.stages.schedule import Schedule

    folder = settings.output / "checkpoints"
    names = Checkpoints(folder, settings.run.keep).names()
    if not names:
        return False
    progress = json.loads((folder / names[-1] / "progress.json").read_text(encoding="utf-8"))
    schedule = Schedule(settings.run.steps, 60 * settings.run.max_minutes, settings.optimiser)
    return schedule.progress(progress["step"], progress["elapsed"]) >= 1.0


def _evaluate(model: Path, folder: Path, poses: Path | None, count: int) -> None:
    """The papers' suites and the instructions with geometric checks, each as JSON."""
    from training.evaluate.cli import evaluate

    folder.mkdir(parents=True, exist_ok=True)
    for suite in SUITES:
        report = folder / f"{suite}.json"
        if report.is_file():
            continue
        _say(f"evaluation: {suite}")
        arguments = ["--suite", suite, "--model", str(model), "--count", str(count), "--json", str(report)]
        arguments += ["--sheet", str(folder / f"{suite}.png")]
        arguments += [] if poses is None else ["--poses", str(poses)]
        if evaluate(arguments):
            raise RecipeStopped(f"the suite {suite} could not be run")
    _say("evaluation: handwritten instructions, from constructed poses")
    _score_instructions(model, folder)


def _score_instructions(model: Path, folder: Path) -> None:
    from dataclasses import asdict

    from backend.engines import load_engine
    from backend.query import Query
    from training.evaluate.cases.build import build
    from training.evaluate.instructions import judge, summarise, table

    engine = load_engine(model)
    # Of like lengths side by side: a batch is padded to its longest.
    cases = sorted(build(), key=lambda case: len(case["instruction"]))
    outcomes = []
    for start in range(0, len(cases), BATCH):
        asked = cases[start : start + BATCH]
        queries = [Query(case["task"], case["instruction"], case.get("pose")) for case in asked]
        for case, answer in zip(asked, engine.answer(queries), strict=True):
            # An answer in words leaves the pose as it is.
            outcomes.append(judge(case, case.get("pose") if answer.pose_aa is None else answer.pose_aa))
    rates = summarise(outcomes)
    print(table({name: rate for name, rate in rates.items() if name in ("all", "adjust", "generate")}))
    values = {name: asdict(rate) for name, rate in rates.items()}
    (folder / "instructions.json").write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    from backend.body.draw import DrawingUnavailableError
    from training.stages.checkpoints import TrainingStopped
    from training.stages.launch import leave_processes

    parser = argparse.ArgumentParser(
        prog="python -m training.recipe", description="Train mini from poses to model."
    )
    parser.add_argument(
        "--poses", type=Path, help="a file or folder of poses; without one they are constructed"
    )
    parser.add_argument("--output", type=Path, default=Path("runs/train-mini"), help="(default: %(default)s)")
    parser.add_argument("--minutes", type=above_zero, help="of training altogether (default: the recipe's)")
    parser.add_argument(
        "--share", type=above_zero, default=1.0, help="of the training samples (default: all)"
    )
    parser.add_argument(
        "--workers", type=positive, default=2, help="processes that build data (default: %(default)s)"
    )
    parser.add_argument("--quick", action="store_true", help="a few samples and steps: does it run?")
    arguments = parser.parse_args(argv)

    def work() -> None:
        if arguments.poses is not None and not arguments.poses.exists():
            raise FileNotFoundError(f"no poses in {arguments.poses}")
        recipe = load_recipe(minutes=arguments.minutes, share=arguments.share, quick=arguments.quick)
        run(recipe, arguments.output, poses=arguments.poses, workers=arguments.workers)

    try:
        return exit_status("train-mini", work, RecipeStopped, TrainingStopped, DrawingUnavailableError)
    except KeyboardInterrupt:
        print("train-mini: stopped; the same command goes on", file=sys.stderr)
        return INTERRUPTED
    finally:
        leave_processes()


if __name__ == "__main__":
    raise SystemExit(main())
