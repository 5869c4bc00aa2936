# SPDX-License-Identifier: Apache-2.0
"""One evaluation from beginning to end: the cases, everyone's answers, their errors and the report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from backend.engines.torch import TorchEngine
from training.data.frames import Frame
from training.data.images import StartGiven

from .benchmarks import Benchmark, build_benchmark, pose_pool, read_benchmark
from .bootstrap import Bootstrap
from .contestants import Answers, ask, copy_answers, mean_answers, mean_pose, model_answers
from .embeddings import encoder_embeddings
from .report import Report
from .retrieval import RetrievalModel
from .scoring import POOL, Errors, PoseVectors, by_kind, figures, measure, measure_targets
from .sharpness import REAL_POSES, VARIANTS, Sharpness, of_all_offered


@dataclass(frozen=True)
class Evaluation:
    """What to evaluate.

    Attributes:
        suite: a name in ``benchmarks.SUITES``.
        poses: a pose file: cases come from its ``val`` split, the mean pose from ``train``; None for constructed poses.
        count: cases; of a data set, at most.
        seed: of the cases, the pools of retrieval and the resamples.
        batch_size: queries that the model answers at once.
        samples: a folder of shards or a file of a data set whose samples are the cases instead; None to build them.
        frame: the world of such a file's poses; None to recognise it.
        start: what edits start from: the pose, a picture of it or both.
        body: a licensed body to draw pictures with; None for the neutral one.
    """

    suite: str
    poses: Path | None
    count: int
    seed: int = 0
    batch_size: int = 64
    samples: Path | None = None
    frame: Frame | None = None
    start: StartGiven = "pose"
    body: Path | None = None


@dataclass(frozen=True)
class Outcome:
    """The report and, for pictures, what it was made of."""

    report: Report
    benchmark: Benchmark
    answers: dict[str, Answers]
    errors: dict[str, Errors]


def evaluate(
    evaluation: Evaluation,
    engine: TorchEngine,
    retrieval: RetrievalModel | None,
    on_progress: Callable[[int, int], None],
) -> Outcome:
    """Runs an evaluation.

    Args:
        evaluation: what to evaluate.
        engine: the model to be measured.
        retrieval: a trained retrieval model; without one there is no recall by it.
        on_progress: called with the number of cases answered and of all.

    Raises:
        FileNotFoundError: no such pose file or data set.
        ValueError: it is no pose file, the data set has no cases for the suite, or the model does not know the task.
        DrawingUnavailableError: ``estimation`` on a machine without OpenGL.
    """
    pool, size = pose_pool(evaluation.poses), {"count": evaluation.count, "seed": evaluation.seed}
    if evaluation.samples is None:
        benchmark = build_benchmark(
            evaluation.suite, pool, **size, start=evaluation.start, body=evaluation.body
        )
    else:
        benchmark = read_benchmark(evaluation.suite, evaluation.samples, pool, **size, frame=evaluation.frame)
    samples = benchmark.samples
    replies = []
    given = evaluation.start if evaluation.samples is None and evaluation.start != "pose" else None
    variants = VARIANTS if evaluation.suite == "generation" else 1
    for batch in ask(engine, samples, batch_size=evaluation.batch_size, given=given, variants=variants):
        replies += batch
        on_progress(len(replies), len(samples))
    copy = copy_answers(samples)
    real = pose_pool(evaluation.poses, "train")
    middle = mean_pose(real)
    mean = mean_answers(samples, middle)
    answers = {
        "model": model_answers(
            replies,
            benchmark.targets_aa,
            copy,
            mean,
            declines=bool(engine.processor.prompter.verbal_answers),
            variants=variants,
        ),
        "copy": copy,
        "mean_pose": mean,
    }
    keep_heading = evaluation.suite == "estimation"
    spaces = [PoseVectors("", partial(encoder_embeddings, engine, keep_heading=keep_heading))]
    if retrieval is not None:
        texts = retrieval.embed_texts(benchmark.descriptions)
        spaces.append(PoseVectors("retrieval_", retrieval.embed_poses, texts))
    errors = {name: measure(benchmark, one, spaces, seed=evaluation.seed) for name, one in answers.items()}
    if variants > 1:
        sharpness = Sharpness(real.draw(np.random.default_rng(evaluation.seed), REAL_POSES), middle)
        for name, one in answers.items():
            errors[name].values.update(sharpness.measure(one.poses_aa))
        errors["model"].values.update(of_all_offered(answers["model"], benchmark.targets_aa))
        truth = Errors(sharpness.measure(benchmark.targets_aa))
    bootstrap = Bootstrap(len(samples), evaluation.seed)
    contestants = {name: figures(one, bootstrap, errors["copy"]) for name, one in errors.items()}
    if variants > 1:
        contestants["target"] = figures(truth, bootstrap, errors["copy"])
    if retrieval is not None:
        ceiling = measure_targets(benchmark, spaces[1], seed=evaluation.seed)
        contestants["target"] = {
            **contestants.get("target", {}),
            **figures(ceiling, bootstrap, errors["copy"]),
        }
    about = {
        "suite": evaluation.suite,
        "cases": len(samples),
        "seed": evaluation.seed,
        "pool": min(POOL, len(samples)),
        "fingerprint": benchmark.fingerprint,
        "poses": _name_of_cases(evaluation),
        "model_name": engine.name,
        **({} if evaluation.start == "pose" else {"start": evaluation.start}),
    }
    return Outcome(Report(about, contestants, by_kind(benchmark, errors)), benchmark, answers, errors)


def _name_of_cases(evaluation: Evaluation) -> str:
    source = evaluation.samples or evaluation.poses
    return "constructed poses" if source is None else source.name
