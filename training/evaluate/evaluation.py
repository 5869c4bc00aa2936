# SPDX-License-Identifier: Apache-2.0
"""One evaluation from beginning to end: the cases, everyone's answers, their errors and the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from backend.engines.torch import TorchEngine
from training.data.frames import Frame
from training.data.images import StartGiven

from .benchmarks import Benchmark, build_benchmark, pose_pool, read_benchmark
from .bootstrap import Bootstrap, Estimate
from .contestants import Answers, Baselines, Poses, ask, mean_pose
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

    @property
    def variants(self) -> int:
        """How many answers the model is to offer to each case."""
        return VARIANTS if self.suite == "generation" else 1


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
    benchmark = _benchmark(evaluation)
    real = pose_pool(evaluation.poses, "train")
    mean_aa = mean_pose(real)
    answers = _answers(evaluation, benchmark, engine, mean_aa, on_progress)
    spaces = _spaces(evaluation, benchmark, engine, retrieval)
    errors = {name: measure(benchmark, one, spaces, seed=evaluation.seed) for name, one in answers.items()}
    of_targets: list[Errors] = []
    if evaluation.variants > 1:
        sharpness = Sharpness(real.draw(np.random.default_rng(evaluation.seed), REAL_POSES), mean_aa)
        for name, one in answers.items():
            errors[name].values.update(sharpness.measure(one.poses_aa))
        errors["model"].values.update(of_all_offered(answers["model"], benchmark.targets_aa))
        of_targets.append(Errors(sharpness.measure(benchmark.targets_aa)))
    if retrieval is not None:
        of_targets.append(measure_targets(benchmark, spaces[-1], seed=evaluation.seed))
    report = Report(
        _about(evaluation, benchmark, engine),
        _contestants(evaluation, benchmark, errors, of_targets),
        by_kind(benchmark, errors),
    )
    return Outcome(report, benchmark, answers, errors)


def _benchmark(evaluation: Evaluation) -> Benchmark:
    """The cases: built, or those of a data set."""
    pool, size = pose_pool(evaluation.poses), {"count": evaluation.count, "seed": evaluation.seed}
    if evaluation.samples is None:
        return build_benchmark(evaluation.suite, pool, **size, start=evaluation.start, body=evaluation.body)
    return read_benchmark(evaluation.suite, evaluation.samples, pool, **size, frame=evaluation.frame)


def _answers(
    evaluation: Evaluation,
    benchmark: Benchmark,
    engine: TorchEngine,
    mean_aa: Poses,
    on_progress: Callable[[int, int], None],
) -> dict[str, Answers]:
    """The model's and those of the baselines."""
    samples, replies = benchmark.samples, []
    given = evaluation.start if evaluation.samples is None and evaluation.start != "pose" else None
    for batch in ask(
        engine, samples, batch_size=evaluation.batch_size, given=given, variants=evaluation.variants
    ):
        replies += batch
        on_progress(len(replies), len(samples))
    baselines = Baselines.of(samples, mean_aa)
    model = baselines.scored(
        replies,
        benchmark.targets_aa,
        declines=bool(engine.processor.prompter.verbal_answers),
        variants=evaluation.variants,
    )
    return {"model": model, "copy": baselines.copy, "mean_pose": baselines.mean}


def _spaces(
    evaluation: Evaluation, benchmark: Benchmark, engine: TorchEngine, retrieval: RetrievalModel | None
) -> list[PoseVectors]:
    """The ways to compare poses: the model's encoder, and behind it the retrieval model where there is one."""
    keep_heading = evaluation.suite == "estimation"
    spaces = [PoseVectors("", partial(encoder_embeddings, engine, keep_heading=keep_heading))]
    if retrieval is not None:
        texts = retrieval.embed_texts(benchmark.descriptions)
        spaces.append(PoseVectors("retrieval_", retrieval.embed_poses, texts))
    return spaces


def _contestants(
    evaluation: Evaluation, benchmark: Benchmark, errors: Mapping[str, Errors], of_targets: Sequence[Errors]
) -> dict[str, dict[str, Estimate]]:
    """The figures of everyone who answers, and what the targets themselves would reach where that is known."""
    bootstrap = Bootstrap(len(benchmark.samples), evaluation.seed)
    contestants = {name: figures(one, bootstrap, errors["copy"]) for name, one in errors.items()}
    for one in of_targets:
        contestants.setdefault("target", {}).update(figures(one, bootstrap, errors["copy"]))
    return contestants


def _about(evaluation: Evaluation, benchmark: Benchmark, engine: TorchEngine) -> dict[str, Any]:
    """What the report says of itself."""
    cases = len(benchmark.samples)
    return {
        "suite": evaluation.suite,
        "cases": cases,
        "seed": evaluation.seed,
        "pool": min(POOL, cases),
        "fingerprint": benchmark.fingerprint,
        "poses": _name_of_cases(evaluation),
        "model_name": engine.name,
        **({} if evaluation.start == "pose" else {"start": evaluation.start}),
    }


def _name_of_cases(evaluation: Evaluation) -> str:
    source = evaluation.samples or evaluation.poses
    return "constructed poses" if source is None else source.name
