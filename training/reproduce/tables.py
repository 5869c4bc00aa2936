# SPDX-License-Identifier: Apache-2.0
"""Measures the rows of a table: everyone on the same cases, with intervals, and the paper's claims on them.

Legend: N cases; poses (N, 24, 3) axis-angle, radians.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from backend.body.smplx_adapter import load_licensed_body
from backend.engines import SHIPPED_MODEL
from backend.engines.torch import TorchEngine
from backend.query import Answer, Query
from blender_addon.contract.rotations import Array
from blender_addon.contract.skeleton import NUM_JOINTS, PARENTS
from training.data.images import show_start
from training.data.pool import Poses
from training.data.samples import Sample
from training.evaluate.benchmarks import Benchmark, build_benchmark, pose_pool, read_benchmark
from training.evaluate.bootstrap import Bootstrap, Estimate
from training.evaluate.contestants import Answers, Baselines, mean_pose, query_of
from training.evaluate.embeddings import encoder_embeddings
from training.evaluate.scoring import Errors, PoseVectors, measure

from .contestants import ROSTER, Contestant, Sources, Training, answers_to, trained
from .paper import CLAIMS
from .wanted import Wanted

COLUMNS: Final = {
    "table2": ("drawn", "human36m", "3dpw"),
    "table3": ("posefix", "posepart"),
    "table4": ("generation",),
    "table5": ("posefix", "posepart"),
}
SUITES: Final = {"drawn": "estimation", "human36m": "estimation", "3dpw": "estimation"}
"""The suite of a column, where it is not its name."""
TRAINED: Final = {
    "table2": (),
    "table3": ("PoseFix", "ChatPose", "PoseLLaVA"),
    "table4": ("PoseScript", "ChatPose", "PoseLLaVA"),
    "table5": ("PoseFix only", "PosePart only", "PoseLLaVA"),
}
ROW: Final = {("table3", "PoseLLaVA"): "PoseLLaVA-Pose", ("table5", "PoseLLaVA"): "both"}
"""The row of a contestant, where it is not its name."""
FIGURES: Final = ("mpjpe", "pa_mpjpe", "r_at_1", "r_at_5", "r_at_10")


@dataclass(frozen=True)
class Order(Wanted):
    """One of PoseLLaVA's tables.

    Attributes:
        train: for each suite a data set to train on instead, such as PoseFix's.
        model: a trained PoseLLaVA to measure in the place of the small one.
        body: a licensed body whose joints are measured; also drawn.
    """

    train: Mapping[str, Path] = field(default_factory=dict)
    model: Path | None = None
    body: Path | None = None


@dataclass(frozen=True)
class Verdict:
    """A claim of the paper on our data: the ratio of the two errors with its interval; whether it is below 1; and
    whether it is as far below as the paper's.

    Each is ``held``, ``not held``, or ``open`` where the interval of 95 % has the bound in it.
    """

    better: str
    worse: str
    column: str
    paper_gain: float | None
    ratio: Estimate

    @property
    def held(self) -> str:
        """Of the order: whether the ratio is below 1."""
        return self._below(1.0)

    @property
    def gain_held(self) -> str | None:
        """Of the paper's share; None where the paper reports none."""
        return None if self.paper_gain is None else self._below(1 - self.paper_gain)

    def _below(self, bound: float) -> str:
        if self.ratio.high < bound:
            return "held"
        return "not held" if self.ratio.low > bound else "open"


@dataclass(frozen=True)
class Table:
    """A finished table: for each column and row the figures with intervals, the verdicts, and for each row that was
    trained the samples that it saw."""

    order: Order
    figures: dict[str, dict[str, dict[str, Estimate]]]
    verdicts: list[Verdict]
    fingerprints: dict[str, str]
    samples_seen: dict[str, int]


def reproduce(order: Order, say: Callable[[str], None]) -> Table:
    """Trains what is missing and measures the table.

    Raises:
        FileNotFoundError: a file that is named is missing.
        ValueError: a data set has no cases of its column, or a column is unknown.
        DrawingUnavailableError: pictures on a machine without OpenGL.
    """
    _check_use(order)
    shipped = TorchEngine.load(SHIPPED_MODEL)
    given = None if order.model is None else TorchEngine.load(order.model)
    offsets = None if order.body is None else rest_offsets(order.body)
    mean_aa = mean_pose(pose_pool(order.poses, "train"))
    trained_now = _contestants(order, say)
    players = {name: player for name, (player, _) in trained_now.items()}
    figures: dict[str, dict[str, dict[str, Estimate]]] = {}
    errors: dict[str, dict[str, Errors]] = {}
    fingerprints = {}
    for column in COLUMNS[order.table]:
        benchmark = _benchmark(order, column)
        if benchmark is None:
            continue
        say(f"{column}: {len(benchmark.samples)} cases")
        fingerprints[column] = benchmark.fingerprint
        rows = _answers(order, benchmark, players, shipped, given, mean_aa)
        spaces = [PoseVectors("", partial(encoder_embeddings, shipped, keep_heading=order.table == "table2"))]
        errors[column] = {
            row: measure(benchmark, answers, spaces, seed=order.effort.seed, offsets=offsets)
            for row, answers in rows.items()
        }
        bootstrap = Bootstrap(len(benchmark.samples), order.effort.seed)
        figures[column] = {
            row: {name: bootstrap.mean(of.values[name]) for name in FIGURES}
            for row, of in errors[column].items()
        }
    seen = {_row_of(order, name): samples for name, (_, samples) in trained_now.items()}
    return Table(order, figures, _verdicts(order, errors), fingerprints, seen)


def _check_use(order: Order) -> None:
    """Raises ValueError for what the table would not use."""
    unknown = sorted(set(order.test) - set(COLUMNS[order.table]))
    if unknown:
        raise ValueError(
            f"{order.table} has no column {unknown[0]}; it has {', '.join(COLUMNS[order.table])}"
        )
    seen = {suite for name in TRAINED[order.table] for suite in ROSTER[name].data}
    for suite in order.train:
        if not seen:
            raise ValueError(f"--train {suite}: nobody is trained for {order.table}")
        if suite not in seen:
            raise ValueError(f"--train {suite}: {order.table} is trained on {', '.join(sorted(seen))}")
    if order.model is not None and order.table == "table5":
        raise ValueError("--model: table5 compares what a model is trained on, and so trains its own")


def rest_offsets(body: Path) -> Array:
    """(J, 3) from each joint's parent to it, metres, of a licensed body at rest."""
    licensed = load_licensed_body(body)
    joints = (licensed.joint_regressor @ licensed.vertices)[:NUM_JOINTS].double().numpy()
    offsets: Array = joints - joints[[max(parent, 0) for parent in PARENTS]]
    return offsets


def _contestants(order: Order, say: Callable[[str], None]) -> dict[str, tuple[Contestant, int]]:
    names = [name for name in TRAINED[order.table] if name != "PoseLLaVA" or order.model is None]
    training = Training(Sources(order.poses, order.train), order.effort, order.output / "contestants")
    return trained(names, training, processes=order.processes, say=say)


def _row_of(order: Order, contestant: str) -> str:
    return ROW.get((order.table, contestant), contestant)


def _benchmark(order: Order, column: str) -> Benchmark | None:
    """The column's cases, edits with pictures of their starts; None for a data set that is not given."""
    suite, pool = SUITES.get(column, column), pose_pool(order.poses)
    if column in order.test:
        benchmark = read_benchmark(suite, order.test[column], pool, count=order.count, seed=order.effort.seed)
    elif column in ("human36m", "3dpw"):
        return None
    else:
        benchmark = build_benchmark(suite, pool, count=order.count, seed=order.effort.seed)
    if order.table != "table3":
        return benchmark
    views = np.random.default_rng((order.effort.seed, 1))
    shown = [
        sample if sample.pose_aa is None else show_start(views, sample, "both", body_file=order.body)
        for sample in benchmark.samples
    ]
    return replace(benchmark, samples=shown)


def _answers(
    order: Order, benchmark: Benchmark, players: dict[str, Contestant], shipped: TorchEngine,
    given: TorchEngine | None, mean_aa: Poses,
) -> dict[str, Answers]:  # fmt: skip
    samples = benchmark.samples
    baselines = Baselines.of(samples, mean_aa)
    left_alone = "copy" if order.table in ("table3", "table5") else "standing pose"
    rows = {left_alone: baselines.copy, "mean pose": baselines.mean}

    def add(row: str, replies: list[Answer]) -> None:
        rows[row] = baselines.scored(replies, benchmark.targets_aa)

    for name, player in players.items():
        add(_row_of(order, name), answers_to(player.answer, samples))
    if order.table == "table2" or (given is not None and order.table == "table4"):
        engine = given or shipped
        add("PoseLLaVA", answers_to(lambda some: engine.answer([query_of(one) for one in some]), samples))
    if order.table == "table3":
        if given is not None:
            for row, what in (("PoseLLaVA-Pose", "pose"), ("PoseLLaVA-Image", "image")):
                queries = partial(_queries, given, what)
                add(row, answers_to(queries, samples))
        elif all(sample.image is not None for sample in samples):
            seen = answers_to(lambda some: shipped.answer([_what_is_seen(one) for one in some]), samples)
            add("PoseLLaVA-Image", edited_as_seen(players["PoseLLaVA"].answer, samples, seen))
    return rows


def edited_as_seen(
    answer: Callable[[Sequence[Sample]], list[Answer]], samples: Sequence[Sample], seen: Sequence[Answer]
) -> list[Answer]:
    """The edits of the poses that were seen; where a picture got words alone, these are the answer."""
    found = list(seen)
    rows = [row for row, reply in enumerate(seen) if reply.pose_aa is not None]
    starts = [replace(samples[row], pose_aa=seen[row].pose_aa) for row in rows]
    for row, reply in zip(rows, answers_to(answer, starts), strict=True):
        found[row] = reply
    return found


def _queries(engine: TorchEngine, what: str, samples: list[Sample]) -> list[Answer]:
    return engine.answer([query_of(one, "image" if what == "image" else "pose") for one in samples])


def _what_is_seen(sample: Sample) -> Query:
    return query_of(replace(sample, task="estimate", instruction="", pose_aa=None))


def _verdicts(order: Order, errors: dict[str, dict[str, Errors]]) -> list[Verdict]:
    found = []
    for claim in CLAIMS[order.table]:
        rows = errors.get(claim.column, {})
        if claim.better in rows and claim.worse in rows:
            one, other = (rows[row].values["mpjpe"] for row in (claim.better, claim.worse))
            ratio = Bootstrap(len(one), order.effort.seed).ratio(one, other)
            found.append(Verdict(claim.better, claim.worse, claim.column, claim.gain(order.table), ratio))
    return found
