# SPDX-License-Identifier: Apache-2.0
"""``posellava eval --suite robustness``: what should make no difference to an answer, and how much it does.

Wording, heading and mirroring are compared with the answer to the plain instruction, by the joint that differs most.
Nonsense is compared with the start pose; sentences written by hand that ask for nothing are to be answered in words
alone. Instructions with an angle or a length are compared with it. A model that never moves passes all but these, so
how far the plain answers move is told as well.

Legend: N answers; poses (24, 3) axis-angle, radians.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from backend.query import Answer, Answerer, Query
from blender_addon.contract.kinematics import mirror_pose, yaw_matrix
from blender_addon.contract.rotations import Array, axis_angle_to_matrix, matrix_to_axis_angle

from .amounts import AmountCase
from .angles import draw_angle_cases
from .bootstrap import Bootstrap, Estimate
from .cases.nothing import read_nothing
from .instructions import Case
from .lengths import draw_length_cases
from .metrics import joint_degrees
from .wording import NONSENSE, mirror_words, rewordings

Pose = npt.NDArray[np.float32]

NONSENSE_STARTS: Final = 40
CASES_OF_A_KIND: Final = 20
"""Of angles and of lengths."""
POSE_FOR_NOTHING_DEGREES: Final = 180.0
"""What counts where the model gave a pose and words were right."""


@dataclass(frozen=True)
class Finding:
    """How much something changed the answers.

    Attributes:
        name: what was tried.
        errors: (N,) degrees: the largest difference of a joint, or the error of an angle; of a length, centimetres.
        limit: below which an answer is good.
    """

    name: str
    errors: Array
    limit: float

    def estimates(self, seed: int) -> dict[str, Estimate]:
        """The share within the limit, in per cent, the median and the 95th percentile."""
        bootstrap = Bootstrap(len(self.errors), seed)
        return {
            "within": bootstrap.mean(100.0 * (self.errors < self.limit)),
            "median": bootstrap.percentile(self.errors[:, None], 50),
            "p95": bootstrap.percentile(self.errors[:, None], 95),
        }


class Answering:
    """Asks a model for edits, a batch at a time.

    Args:
        engine: the model.
        batch_size: edits to one call.
        on_progress: called with the number of edits answered so far.
    """

    def __init__(self, engine: Answerer, batch_size: int, on_progress: Callable[[int], None]) -> None:
        self._engine, self._batch_size, self._on_progress = engine, batch_size, on_progress
        self._done = 0

    def __call__(self, instructions: Sequence[str], poses: Sequence[Pose]) -> list[Pose]:
        """The poses that are answered, in order; an answer in words leaves the pose as it is."""
        replies = self.replies(instructions, poses)
        return [
            pose if one.pose_aa is None else one.pose_aa for pose, one in zip(poses, replies, strict=True)
        ]

    def replies(self, instructions: Sequence[str], poses: Sequence[Pose]) -> list[Answer]:
        """The answers, in order."""
        queries = [Query("adjust", words, pose) for words, pose in zip(instructions, poses, strict=True)]
        answers: list[Answer] = []
        for start in range(0, len(queries), self._batch_size):
            answers += self._engine.answer(queries[start : start + self._batch_size])
            self._on_progress(self._done + len(answers))
        self._done += len(answers)
        return answers


def largest_difference(first: Pose, second: Pose) -> float:
    """Degrees between two poses at the joint that differs most."""
    return float(joint_degrees(first[None], second[None]).max())


def turned(pose_aa: Pose, yaw: float) -> Pose:
    """The pose turned by ``yaw`` radians about the vertical."""
    pose = pose_aa.copy()
    pose[0] = matrix_to_axis_angle(yaw_matrix(yaw) @ axis_angle_to_matrix(pose[0]))
    return pose


def measure_robustness(cases: Sequence[Case], answer: Answering, seed: int) -> list[Finding]:
    """All findings on the edits among the cases.

    Raises:
        ValueError: no case has a start pose.
    """
    rng = np.random.default_rng(seed)
    edits = [case for case in cases if "pose" in case]
    if not edits:
        raise ValueError("no case has a start pose; give cases of the task adjust")
    words = [str(case["instruction"]) for case in edits]
    starts = [np.asarray(case["pose"], dtype=np.float32).reshape(-1, 3) for case in edits]
    plain = answer(words, starts)
    moved = _differences(plain, starts)
    return [
        Finding("the plain answers move", moved, np.inf),
        *_wordings(words, starts, plain, answer, rng),
        _headings(words, starts, plain, answer, rng),
        _mirrored(words, starts, plain, answer),
        *_nonsense(starts, answer, rng),
        *_amounts("angle", draw_angle_cases(rng, starts, CASES_OF_A_KIND), answer, 7.0),
        *_amounts("cm", draw_length_cases(rng, starts, CASES_OF_A_KIND), answer, 5.0),
        *_nothing(starts, answer, rng),
    ]


def _differences(first: Sequence[Pose], second: Sequence[Pose]) -> Array:
    return np.array([largest_difference(a, b) for a, b in zip(first, second, strict=True)])


def _wordings(
    words: list[str],
    starts: list[Pose],
    plain: list[Pose],
    answer: Answering,
    rng: np.random.Generator,
) -> list[Finding]:
    changed = [rewordings(one, rng) for one in words]
    found = []
    for name in dict.fromkeys(name for one in changed for name in one):
        rows = [row for row, one in enumerate(changed) if name in one]
        answers = answer([changed[row][name] for row in rows], [starts[row] for row in rows])
        found.append(Finding(name, _differences(answers, [plain[row] for row in rows]), 5.0))
    return [*found, Finding("all these wordings", np.concatenate([one.errors for one in found]), 5.0)]


def _headings(
    words: list[str],
    starts: list[Pose],
    plain: list[Pose],
    answer: Answering,
    rng: np.random.Generator,
) -> Finding:
    yaws = rng.uniform(-np.pi, np.pi, len(starts))
    answers = answer(words, [turned(pose, yaw) for pose, yaw in zip(starts, yaws, strict=True)])
    back = [turned(one, -yaw) for one, yaw in zip(answers, yaws, strict=True)]
    return Finding("another heading", _differences(back, plain), 1.0)


def _mirrored(words: list[str], starts: list[Pose], plain: list[Pose], answer: Answering) -> Finding:
    answers = answer([mirror_words(one) for one in words], [mirror(pose) for pose in starts])
    back = [mirror(one) for one in answers]
    return Finding("mirrored words and pose", _differences(back, plain), 3.0)


def mirror(pose_aa: Pose) -> Pose:
    """The pose in the mirror."""
    return mirror_pose(pose_aa).astype(np.float32)


def _nonsense(starts: list[Pose], answer: Answering, rng: np.random.Generator) -> list[Finding]:
    chosen = [starts[row] for row in rng.permutation(len(starts))[:NONSENSE_STARTS]]
    return [
        Finding(f"nonsense: {text!r}", _differences(answer([text] * len(chosen), chosen), chosen), 1.0)
        for text in NONSENSE
    ]


def _amounts(name: str, cases: Sequence[AmountCase], answer: Answering, limit: float) -> list[Finding]:
    answers = answer([case.instruction for case in cases], [case.pose_aa for case in cases])
    errors = np.array([case.error(one) for case, one in zip(cases, answers, strict=True)])
    kinds = np.array([case.kind for case in cases])
    found = [
        Finding(f"{name}: {kind}", errors[kinds == kind], limit) for kind in dict.fromkeys(kinds.tolist())
    ]
    return [*found, Finding(f"{name}: all", errors, limit)]


def _nothing(starts: list[Pose], answer: Answering, rng: np.random.Generator) -> list[Finding]:
    """Each sentence asked of a pose; unmoved counts with words alone."""
    found, everyone = [], []
    for kind, sentences in read_nothing().items():
        chosen = [starts[row] for row in rng.integers(len(starts), size=len(sentences))]
        replies = answer.replies(sentences, chosen)
        errors = np.array([0.0 if one.pose_aa is None else POSE_FOR_NOTHING_DEGREES for one in replies])
        found.append(Finding(f"asks for nothing: {kind}", errors, 1.0))
        everyone.append(errors)
    return [*found, Finding("asks for nothing: all", np.concatenate(everyone), 1.0)]


def robustness_json(findings: Sequence[Finding], about: dict[str, Any], seed: int) -> dict[str, Any]:
    """``{"findings": {name: {"cases", "limit", "within", "median", "p95", "intervals"}}}``; shares in per cent."""
    record: dict[str, Any] = {}
    for finding in findings:
        estimates = finding.estimates(seed)
        record[finding.name] = {
            "cases": len(finding.errors),
            "limit": None if np.isinf(finding.limit) else finding.limit,
            **{name: one.value for name, one in estimates.items()},
            "intervals": {name: [one.low, one.high] for name, one in estimates.items()},
        }
    return {**about, "findings": record}


def robustness_table(findings: Sequence[Finding], about: dict[str, Any], seed: int) -> str:
    """The findings as lines of text, with intervals of 95 %."""
    lines = [
        f"robustness: {about['cases']} edits from {about['source']}, seed {seed}; {about['model_name']}",
        f"{'largest difference of a joint, degrees; cm':44s}{'cases':>6s}{'within limit, %':>30s}"
        f"{'median':>22s}{'95th percentile':>18s}",
    ]
    for finding in findings:
        one = finding.estimates(seed)
        within, median = one["within"], one["median"]
        share = ""
        if not np.isinf(finding.limit):
            share = f"< {finding.limit:.0f}: {within.told()}"
        lines.append(
            f"{finding.name:44s}{len(finding.errors):6d}{share:>30s}{median.told(2):>22s}{one['p95'].value:18.2f}"
        )
    return "\n".join(lines)
