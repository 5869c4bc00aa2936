# SPDX-License-Identifier: Apache-2.0
"""ChatPose's tables 1 to 3 on own data (Feng et al. 2024): recall of what is generated from descriptions and from
situations, poses of people whom words tell, and estimation; beside the paper's numbers.

For recall a retrieval model is trained in the run for each column, on descriptions, and on descriptions and training's
situations, as ChatPose trains it anew for its speculative benchmark. Who generates is trained as for PoseLLaVA's tables
(``contestants``) and kept with them; ``mini`` is the model that ships, which knows training's situations but none of
those that are asked.

Legend: N cases; poses (N, 24, 3) axis-angle, radians.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from backend.engines import SHIPPED_MODEL
from backend.engines.torch import TorchEngine
from backend.query import Answer
from training.data.actions.situations import SituationSampler
from training.data.captions.sampler import CaptionSampler
from training.data.pool import PosePool
from training.data.samples import Sample
from training.evaluate.benchmarks import SUITES, Benchmark, build_benchmark, pose_pool, read_benchmark
from training.evaluate.bootstrap import Bootstrap, Estimate
from training.evaluate.contestants import Answers, Baselines, mean_pose, query_of
from training.evaluate.reasoning import Case, ask, draw_cases, judge
from training.evaluate.retrieval import RetrievalModel
from training.evaluate.scoring import Errors, PoseVectors, measure, measure_targets
from training.evaluate.train_retrieval import RetrievalSettings, TextSampler, new_model, train_retrieval

from .chatpose_paper import ESTIMATION, REASONING, RECALLS, Row
from .contestants import Sources, Training, answers_to, trained
from .report import cells, write_texts
from .wanted import Wanted

COLUMNS: Final = {
    "chatpose1": ("generation", "spg"),
    "chatpose2": ("rpe",),
    "chatpose3": ("3dpw", "human36m"),
}
"""What may be measured on a data set in the place of own data, or beside it."""
TRAINED: Final = ("PoseScript", "ChatPose")
RETRIEVAL_STEPS: Final = 400
RECALL_AT: Final = (5, 10, 20)
FIGURES: Final = ("mpjpe", "pa_mpjpe", "mpjre")
SITUATION_SHARE: Final = 0.5
COMPARABLE: Final = (
    "Comparable within a table: all rows answer the same cases. Not comparable with the paper's numbers, which stand "
    "beside them for their order: its poses, words and pictures are others and its models have 13 billion weights. "
    "MPJRE is in degrees here, in the paper the distance of rotations times 100."
)


@dataclass(frozen=True)
class Order(Wanted):
    """One of ChatPose's tables.

    Attributes:
        retrieval_steps: of each retrieval model.
    """

    retrieval_steps: int = RETRIEVAL_STEPS


@dataclass(frozen=True)
class Table:
    """A finished table: for each column its rows, and for each row its figures with intervals."""

    order: Order
    columns: dict[str, dict[str, dict[str, Estimate]]]
    cases: dict[str, int]


class _Mixed:
    """Descriptions and situations, for a retrieval model that is to know both."""

    def __init__(self, pool: PosePool) -> None:
        self._captions, self._situations = CaptionSampler(pool), SituationSampler()

    def draw_many(self, rng: np.random.Generator, count: int) -> list[Sample]:
        """``count`` samples in random order, SITUATION_SHARE of them situations."""
        asked = round(SITUATION_SHARE * count)
        found = [
            *self._captions.draw_many(rng, count - asked),
            *(self._situations.draw(rng) for _ in range(asked)),
        ]
        return [found[row] for row in rng.permutation(count)]


def reproduce(order: Order, say: Callable[[str], None]) -> Table:
    """Trains what is missing and measures the table.

    Raises:
        FileNotFoundError: a file that is named is missing.
        ValueError: a data set has no cases of its column, or a column is unknown.
        DrawingUnavailableError: pictures on a machine without OpenGL.
    """
    unknown = sorted(set(order.test) - set(COLUMNS[order.table]))
    if unknown:
        raise ValueError(
            f"{order.table} has no column {unknown[0]} to read; it has {', '.join(COLUMNS[order.table])}"
        )
    makers = {"chatpose1": _generation, "chatpose2": _reasoning, "chatpose3": _estimation}
    return makers[order.table](order, say)


def _generation(order: Order, say: Callable[[str], None]) -> Table:
    """Table 1: recall of poses by words and of words by poses."""
    engine, pool = TorchEngine.load(SHIPPED_MODEL), pose_pool(order.poses, "train")
    training = Training(Sources(order.poses, {}), order.effort, order.output / "contestants")
    players = trained(TRAINED, training, processes=order.processes, say=say)
    samplers: dict[str, TextSampler] = {"generation": CaptionSampler(pool), "spg": _Mixed(pool)}
    columns, cases = {}, {}
    for column, sampler in samplers.items():
        say(f"{column}: a retrieval model, {order.retrieval_steps} steps")
        retrieval = new_model(sampler, order.effort.seed)
        settings = RetrievalSettings(steps=order.retrieval_steps, seed=order.effort.seed)
        for _ in train_retrieval(retrieval, sampler, settings):
            pass
        benchmark = _cases(order, column)
        samples, cases[column] = benchmark.samples, len(benchmark.samples)
        baselines = Baselines.of(samples, mean_pose(pool))
        rows = {"standing pose": baselines.copy}
        for name, (player, _) in players.items():
            rows[name] = baselines.scored(answers_to(player.answer, samples), benchmark.targets_aa)
        rows["mini"] = baselines.scored(_by_model(engine, samples), benchmark.targets_aa)
        columns[column] = _recalls(order, benchmark, rows, retrieval)
    return Table(order, columns, cases)


def _recalls(
    order: Order, benchmark: Benchmark, rows: Mapping[str, Answers], retrieval: RetrievalModel
) -> dict[str, dict[str, Estimate]]:
    space = PoseVectors("", retrieval.embed_poses, retrieval.embed_texts(benchmark.descriptions))
    seed, bootstrap = order.effort.seed, Bootstrap(len(benchmark.samples), order.effort.seed)
    errors = {row: measure(benchmark, answers, [space], seed=seed) for row, answers in rows.items()}
    errors["true poses"] = measure_targets(benchmark, space, seed=seed)
    return {row: _figures(one, bootstrap) for row, one in errors.items()}


def _reasoning(order: Order, say: Callable[[str], None]) -> Table:
    """Table 2: poses of people whom words tell."""
    engine, seed = TorchEngine.load(SHIPPED_MODEL), order.effort.seed
    instead = mean_pose(pose_pool(order.poses, "train"))
    cases = draw_cases(pose_pool(order.poses), order.count, seed)
    say(f"{len(cases)} questions about drawn scenes")
    rows = {
        "mean pose": [Answer(instead, "") for _ in cases],
        "mini, words unread": _unread(engine, cases),
        "mini": ask(engine, cases),
    }
    columns: dict[str, dict[str, dict[str, Estimate]]] = {}
    counts = {}
    for row, answers in rows.items():
        for kind, one in judge(cases, answers, instead, seed=seed).items():
            columns.setdefault(kind, {})[row] = {"right": one.right, **one.errors}
            counts[kind] = one.questions
    if "rpe" in order.test:
        say("photographs of several people")
        columns["photographs"], counts["photographs"] = _estimated(order, "rpe", engine)
    return Table(order, columns, counts)


def _unread(engine: TorchEngine, cases: Sequence[Case]) -> list[Answer]:
    """As estimation without words answers: a whole picture, whoever is meant."""
    looked: dict[int, Answer] = {}
    for case in cases:
        if id(case.picture) not in looked:
            [looked[id(case.picture)]] = ask(engine, [case.without_words()])
    return [looked[id(case.picture)] for case in cases]


def _estimation(order: Order, say: Callable[[str], None]) -> Table:
    """Table 3: estimation."""
    engine = TorchEngine.load(SHIPPED_MODEL)
    columns, cases = {}, {}
    for column in ("drawn", *(name for name in ("3dpw", "human36m") if name in order.test)):
        say(f"{column}: estimation")
        columns[column], cases[column] = _estimated(order, column, engine)
    return Table(order, columns, cases)


def _estimated(order: Order, column: str, engine: TorchEngine) -> tuple[dict[str, dict[str, Estimate]], int]:
    benchmark = _cases(order, column)
    samples = benchmark.samples
    baselines = Baselines.of(samples, mean_pose(pose_pool(order.poses, "train")))
    rows = {
        "standing pose": baselines.copy,
        "mean pose": baselines.mean,
        "mini": baselines.scored(_by_model(engine, samples), benchmark.targets_aa),
    }
    bootstrap = Bootstrap(len(samples), order.effort.seed)
    found = {
        row: _figures(measure(benchmark, answers, [], seed=order.effort.seed), bootstrap)
        for row, answers in rows.items()
    }
    return found, len(samples)


def _cases(order: Order, column: str) -> Benchmark:
    suite = column if column in SUITES else "estimation"
    pool, count, seed = pose_pool(order.poses), order.count, order.effort.seed
    if column in order.test:
        return read_benchmark(suite, order.test[column], pool, count=count, seed=seed)
    return build_benchmark(suite, pool, count=count, seed=seed)


def _by_model(engine: TorchEngine, samples: Sequence[Sample]) -> list[Answer]:
    return answers_to(lambda some: engine.answer([query_of(one) for one in some]), samples)


def _figures(errors: Errors, bootstrap: Bootstrap) -> dict[str, Estimate]:
    return {name: bootstrap.mean(values) for name, values in errors.values.items()}


TITLES: Final = {
    "chatpose1": "ChatPose, table 1: generation from descriptions and from situations",
    "chatpose2": "ChatPose, table 2: reasoning-based estimation",
    "chatpose3": "ChatPose, table 3: estimation",
}


def markdown(table: Table) -> str:
    """The table with intervals of 95 %, the paper's numbers beside it."""
    order = table.order
    lines = [f"## {TITLES[order.table]}", ""]
    for column, rows in table.columns.items():
        source = order.test.get("rpe" if column == "photographs" else column) or order.poses
        of = "constructed poses" if source is None else source.name
        lines += [
            f"`{column}`: {table.cases[column]} cases from {of}, seed {order.effort.seed}; mm, degrees and %",
            "",
        ]
        lines += (
            _recall_rows(column, rows)
            if order.table == "chatpose1"
            else _error_rows(order.table, column, rows)
        )
        lines.append("")
    for column in ("3dpw", "human36m") if order.table == "chatpose3" else ():
        if column not in table.columns:
            lines += [f"`{column}`: the paper alone, for this run was given no such data", ""]
            lines += [*_error_rows(order.table, column, {}), ""]
    return "\n".join([*lines, COMPARABLE, ""])


def _recall_rows(column: str, rows: Mapping[str, Mapping[str, Estimate]]) -> list[str]:
    heads = [f"{way} at {' / '.join(map(str, RECALL_AT))}" for way in ("R^P2T", "R^T2P")]
    lines = [
        f"| | {heads[0]} | {heads[1]} | MPJPE | PA-MPJPE | MPJRE | paper: R^P2T | R^T2P |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row, figures in rows.items():
        recalls = [
            " / ".join(f"{figures[f'{way}_r_at_{k}'].value:.1f}" for k in RECALL_AT) for way in ("p2t", "t2p")
        ]
        errors = [_cell(figures.get(name)) for name in FIGURES]
        reported = [_reported(one) for one in RECALLS[column].get(row, ((), ()))]
        lines.append(f"| {row} | " + " | ".join([*recalls, *errors, *reported]) + " |")
    return lines


def _error_rows(name: str, column: str, rows: Mapping[str, Mapping[str, Estimate]]) -> list[str]:
    paper = REASONING if name == "chatpose2" else ESTIMATION
    is_told = any("right" in figures for figures in rows.values())
    heads = [
        *(["the right one"] if is_told else []),
        "MPJPE",
        "PA-MPJPE",
        "MPJRE",
        "paper: MPJPE / PA / MPJRE x 100",
    ]
    lines = ["| | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for row, figures in rows.items():
        right = [_cell(figures["right"])] if is_told else []
        lines.append(
            f"| {row} | " + " | ".join([*right, *(_cell(figures[each]) for each in FIGURES), ""]) + " |"
        )
    lines += [
        f"| {row} |{' |' * (len(heads) - 1)} {_reported(columns[column])} |"
        for row, columns in paper.items()
        if column in columns
    ]
    return lines


def _cell(estimate: Estimate | None) -> str:
    return "" if estimate is None else estimate.told()


def _reported(values: Row) -> str:
    return " / ".join("-" if value is None else f"{value:g}" for value in values)


def as_json(table: Table) -> dict[str, Any]:
    """``{"table", "cases", "columns": {column: {row: {figure: [value, low, high]}}}, …}``."""
    return {
        "table": table.order.table,
        "poses": None if table.order.poses is None else table.order.poses.name,
        "seed": table.order.effort.seed,
        "minutes": table.order.effort.minutes,
        "cases": table.cases,
        "columns": {column: cells(rows) for column, rows in table.columns.items()},
    }


def write(table: Table) -> list[Path]:
    """Writes Markdown and JSON into the order's folder; returns their paths."""
    return write_texts(table.order.output / table.order.table, markdown(table), as_json(table))
