# SPDX-License-Identifier: Apache-2.0
"""``posellava eval`` and ``posellava train-retrieval``: arguments in, exit status out.

A problem that the user can mend ends as one sentence on standard error and status 1.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from backend.arguments import at_least_two, positive
from backend.exits import exit_status
from training.data.frames import FRAMES
from training.data.options import add_body, add_start
from training.writing import require_apart, writing_to

if TYPE_CHECKING:
    from backend.engines.torch import TorchEngine

SUITES: Final = ("posepart", "posefix", "generation", "spg", "estimation")
"""Those of benchmarks; OTHER_SUITES are further down."""
VALIDATION_CASES: Final = 1000
"""Poses with descriptions on which a new retrieval model is tried."""


def evaluate(argv: Sequence[str]) -> int:
    """``posellava eval``: measure a model on a benchmark built from poses."""
    parser = argparse.ArgumentParser(
        prog="posellava eval",
        description="Measure a model on a benchmark, beside leaving the pose as it is and the mean pose.",
    )
    parser.add_argument("--suite", choices=[*SUITES, *OTHER_SUITES], required=True)
    parser.add_argument(
        "--poses",
        type=Path,
        metavar="POSES",
        help="a file or folder of poses: their val split, or where they have none train or test (default: constructed)",
    )
    parser.add_argument(
        "--samples",
        type=Path,
        metavar="DATA",
        help="a data set whose samples are the cases instead, such as a released test: a folder of shards that "
        "'posellava data build' made, or a file in the paper's JSON form",
    )
    add_start(parser, "edits")
    add_body(parser, "those pictures")
    parser.add_argument(
        "--frame",
        choices=FRAMES,
        help="of --samples, a JSON file: which way is up in its poses; camera: +y down (default: recognised)",
    )
    parser.add_argument(
        "--model", type=Path, metavar="FOLDER", help="a saved model (default: the one that ships)"
    )
    parser.add_argument(
        "--before",
        type=Path,
        metavar="FOLDER",
        help="for the suite conversations: the model as it was before it learnt poses, such as a published LLaVA",
    )
    parser.add_argument(
        "--retrieval", type=Path, metavar="FOLDER", help="a model of train-retrieval, for recall by words"
    )
    parser.add_argument(
        "--cases",
        type=Path,
        metavar="FILE.jsonl",
        help="edits for the suite robustness, as training.evaluate.instructions scores them (default: the "
        "handwritten ones)",
    )
    parser.add_argument("--count", type=at_least_two, default=1000, help="cases (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the cases (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    parser.add_argument(
        "--sheet", type=Path, metavar="FILE.png", help="draw the best, median and worst answers here"
    )
    parser.add_argument("--device", default="cpu", help="torch device (default: %(default)s)")
    parser.add_argument("--threads", type=positive, metavar="N", help="CPU threads (default: torch's choice)")
    parser.add_argument("--batch-size", type=positive, default=64, metavar="N", help="(default: %(default)s)")
    return _run("eval", partial(_evaluate, parser.parse_args(argv)))


def train_retrieval(argv: Sequence[str]) -> int:
    """``posellava train-retrieval``: train the model that finds poses by words, for ``eval --retrieval``."""
    parser = argparse.ArgumentParser(
        prog="posellava train-retrieval",
        description="Train the retrieval model of 'posellava eval' on poses and the project's descriptions of them, or "
        "on the texts of a data set.",
    )
    parser.add_argument(
        "--samples",
        type=Path,
        metavar="DATA",
        help="descriptions with poses to train on instead, such as PoseScript's: a folder of shards or a JSON file",
    )
    parser.add_argument(
        "--validation",
        type=Path,
        metavar="DATA",
        help="others to try the model on (default: the project's own)",
    )
    parser.add_argument(
        "--poses", type=Path, metavar="FILE.npz", help="poses (their train split); else they are constructed"
    )
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="where the model goes")
    parser.add_argument("--steps", type=positive, default=2000, help="batches of 128 (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=positive, metavar="N", help="CPU threads (default: torch's choice)")
    return _run("train-retrieval", partial(_train_retrieval, parser.parse_args(argv)))


def _run(command: str, work: Callable[[], None]) -> int:
    from backend.body.draw import DrawingUnavailableError

    return exit_status(f"posellava {command}", work, DrawingUnavailableError)


def _evaluate(arguments: argparse.Namespace) -> None:
    # Asked before the work is done, not after it.
    if arguments.cases is not None and arguments.suite != "robustness":
        raise ValueError(f"the suite {arguments.suite} takes --samples, not --cases: leave --cases out")
    if arguments.frame is not None and (arguments.samples is None or not arguments.samples.is_file()):
        raise ValueError("--frame is of --samples, a JSON file: leave it out")
    if arguments.start != "pose" and (arguments.suite not in SUITES or arguments.samples is not None):
        raise ValueError("--start is for cases that are built here, of posepart and posefix: leave it out")
    if arguments.body is not None and arguments.start == "pose":
        raise ValueError("--body draws the starts of edits: give --start image or both")
    if arguments.before is not None and arguments.suite != "conversations":
        raise ValueError("--before is of the suite conversations: leave it out")
    for path in (arguments.json, arguments.sheet):
        require_apart(path, arguments.samples, arguments.poses, arguments.cases)
    for path in (arguments.json, arguments.sheet):
        if path is not None and not path.absolute().parent.is_dir():
            raise FileNotFoundError(f"there is no folder {path.parent} for {path.name}; make it first")
    OTHER_SUITES.get(arguments.suite, _measure_benchmark)(arguments)


def _load_engine(arguments: argparse.Namespace) -> TorchEngine:
    from backend.engines import SHIPPED_MODEL
    from backend.engines.torch import TorchEngine

    return TorchEngine.load(
        arguments.model or SHIPPED_MODEL, device=arguments.device, threads=arguments.threads
    )


def _refuse_unused(arguments: argparse.Namespace, cases: str) -> None:
    """Raises ValueError for options of the other suites; ``cases`` says where this one's come from."""
    if not (arguments.sheet is arguments.retrieval is arguments.samples is None):
        raise ValueError(
            f"the suite {arguments.suite} draws no sheet, knows no recall and {cases}: leave the options out"
        )


def _about(arguments: argparse.Namespace, engine: TorchEngine) -> dict[str, Any]:
    """What a suite that has cases of its own was asked, and of whom."""
    return {"suite": arguments.suite, "seed": arguments.seed, "model_name": engine.name}


def _write_json(arguments: argparse.Namespace, record: Mapping[str, Any]) -> None:
    """Writes the figures where they are wanted."""
    if arguments.json is not None:
        with writing_to(arguments.json):
            arguments.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _measure_robustness(arguments: argparse.Namespace) -> None:
    from .cases.build import build
    from .instructions import read_jsonl
    from .robustness import Answering, measure_robustness, robustness_json, robustness_table

    _refuse_unused(arguments, "takes --cases, not --samples")
    cases = build(arguments.poses) if arguments.cases is None else read_jsonl(arguments.cases)
    edits = [case for case in cases if "pose" in case][: arguments.count]
    engine = _load_engine(arguments)
    answering = Answering(engine, arguments.batch_size, lambda done: _show_progress(done, None))
    findings = measure_robustness(edits, answering, arguments.seed)
    about = {
        "suite": arguments.suite,
        "cases": len(edits),
        "seed": arguments.seed,
        "source": "the handwritten cases" if arguments.cases is None else arguments.cases.name,
        "model_name": engine.name,
    }
    print(robustness_table(findings, about, arguments.seed))
    _write_json(arguments, robustness_json(findings, about, arguments.seed))


def _measure_view(arguments: argparse.Namespace) -> None:
    from .cases.build import build
    from .view import measure_view, view_json, view_table

    _refuse_unused(arguments, "has cases of its own")
    engine = _load_engine(arguments)
    others = [case for case in build(arguments.poses) if "pose" in case][: arguments.count]
    report = measure_view(
        engine, others, batch_size=arguments.batch_size, seed=arguments.seed, on_progress=_show_progress
    )
    print(view_table(report))
    _write_json(arguments, view_json(report, _about(arguments, engine)))


def _measure_pictures(arguments: argparse.Namespace) -> None:
    import numpy as np

    from .benchmarks import pose_pool
    from .honesty import draw_cases, honesty_json, honesty_table, measure_honesty

    _refuse_unused(arguments, "draws its own cases")
    engine = _load_engine(arguments)
    rng, pool = np.random.default_rng(arguments.seed), pose_pool(arguments.poses)
    cases = draw_cases(rng, lambda rng: pool.draw(rng, 1)[0], arguments.count)
    report = measure_honesty(engine, cases)
    print(honesty_table(report))
    _write_json(arguments, honesty_json(report, _about(arguments, engine)))


def _measure_reasoning(arguments: argparse.Namespace) -> None:
    from .benchmarks import pose_pool
    from .contestants import mean_pose
    from .reasoning import ask, draw_cases, judge, reasoning_json, reasoning_table

    _refuse_unused(arguments, "draws its own cases")
    engine = _load_engine(arguments)
    cases = draw_cases(pose_pool(arguments.poses), arguments.count, arguments.seed)
    instead = mean_pose(pose_pool(arguments.poses, "train"))
    judged = judge(cases, ask(engine, cases, _show_progress), instead, seed=arguments.seed)
    print(reasoning_table(judged))
    _write_json(arguments, reasoning_json(judged, _about(arguments, engine)))


def _measure_conversations(arguments: argparse.Namespace) -> None:
    from .conversations import (
        compared,
        conversations_json,
        conversations_table,
        held_out,
        load_speaker,
        respond_to,
    )

    if arguments.model is None or arguments.samples is None:
        raise ValueError(
            "the suite conversations needs a model that converses, --model, and held-out conversations, --samples"
        )
    if not (arguments.sheet is arguments.retrieval is arguments.poses is None):
        raise ValueError("the suite conversations knows neither poses nor sheets: leave the options out")
    samples = held_out(arguments.samples, arguments.count, arguments.frame)
    where = {"device": arguments.device, "threads": arguments.threads}
    before = None
    if arguments.before is not None:
        before = respond_to(load_speaker(arguments.before, **where), samples, _show_progress)
    engine = load_speaker(arguments.model, **where)
    after = respond_to(engine, samples, _show_progress)
    figures = compared(before, after, seed=arguments.seed)
    about = {
        "suite": arguments.suite,
        "cases": len(samples),
        "questions": sum(map(len, after.answers)),
        "seed": arguments.seed,
        "source": arguments.samples.name,
        "model_name": engine.name,
        "before": None if arguments.before is None else arguments.before.name,
    }
    print(conversations_table(figures, about))
    _write_json(arguments, conversations_json(figures, about, samples, before, after))


def _measure_benchmark(arguments: argparse.Namespace) -> None:
    from .evaluation import Evaluation, evaluate
    from .pictures import extremes_sheet
    from .report import as_json, as_table
    from .retrieval import RetrievalModel

    retrieval = None if arguments.retrieval is None else RetrievalModel.load(arguments.retrieval)
    engine = _load_engine(arguments)
    evaluation = Evaluation(
        arguments.suite,
        arguments.poses,
        arguments.count,
        arguments.seed,
        arguments.batch_size,
        arguments.samples,
        arguments.frame,
        arguments.start,
        arguments.body,
    )
    if arguments.poses is None:
        which = "every pose is" if arguments.samples is None else "the mean is of poses that are"
        print(f"no --poses: {which} constructed", file=sys.stderr)
    outcome = evaluate(evaluation, engine, retrieval, _show_progress)
    unread = engine.processor.prompter.unread(outcome.benchmark.samples)
    if unread:
        print(
            f"{unread} of {len(outcome.benchmark.samples)} questions have words that {engine.name} does not read: it "
            "tells the pose by the picture alone",
            file=sys.stderr,
        )
    print(as_table(outcome.report))
    _write_json(arguments, as_json(outcome.report))
    if arguments.sheet is not None:
        model = outcome.answers["model"]
        extremes_sheet(
            outcome.benchmark,
            model.poses_aa,
            model.failed,
            outcome.errors["model"].values["mpjpe"],
            outcome.errors["copy"].values["mpjpe"],
            arguments.sheet,
        )


OTHER_SUITES: Final[Mapping[str, Callable[[argparse.Namespace], None]]] = {
    "robustness": _measure_robustness,
    "view": _measure_view,
    "pictures": _measure_pictures,
    "rpe": _measure_reasoning,
    "conversations": _measure_conversations,
}
"""What measures each suite that is no benchmark."""


def _show_progress(done: int, total: int | None) -> None:
    """A counter that stays on its line, for someone who watches."""
    if sys.stderr.isatty():
        of = "" if total is None else f" of {total}"
        print(f"\r{done}{of} answered", end="\n" if done == total else "", file=sys.stderr, flush=True)


def _train_retrieval(arguments: argparse.Namespace) -> None:
    import torch

    from training.data.captions.sampler import CaptionSampler

    from .benchmarks import pose_pool
    from .train_retrieval import (
        DatasetTexts,
        RetrievalSettings,
        TextSampler,
        new_model,
        recall,
        train_retrieval,
    )

    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    if arguments.poses is None and (arguments.samples is None or arguments.validation is None):
        print("no --poses: every pose that is described here is constructed", file=sys.stderr)
    sampler: TextSampler
    if arguments.samples is None:
        sampler = CaptionSampler(pose_pool(arguments.poses, "train"))
    else:
        sampler = DatasetTexts(arguments.samples)
    model = new_model(sampler, arguments.seed)
    start = time.monotonic()
    settings = RetrievalSettings(steps=arguments.steps, seed=arguments.seed)
    for progress in train_retrieval(model, sampler, settings):
        left = (time.monotonic() - start) * (settings.steps / progress.step - 1)
        print(
            f"step {progress.step} of {settings.steps}, loss {progress.loss:.3f}, {left / 60:.1f} min left",
            flush=True,
        )
    with writing_to(arguments.output):
        model.save(arguments.output)
    if arguments.validation is None:
        tried: TextSampler = CaptionSampler(pose_pool(arguments.poses))
        count = VALIDATION_CASES
    else:
        tried = DatasetTexts(arguments.validation)
        count = min(VALIDATION_CASES, len(tried.samples))
    figures = recall(model, tried, count=count)
    print(f"{arguments.output}: " + ", ".join(f"{name} {value:.1f} %" for name, value in figures.items()))
