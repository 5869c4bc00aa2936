# SPDX-License-Identifier: Apache-2.0
"""``posellava eval --suite rpe``: poses of people whom words tell, in drawn scenes of several (ChatPose's RPE).

Beside the errors stands whether the right one was taken: the answer is nearer to the pose of the one who is meant than
to those of all others in the picture. Words in the place of a pose count as the wrong one; what is scored
for them is told to ``judge``.

Legend: N questions, P figures of a scene; poses (24, 3) axis-angle, radians, heading 0 facing the camera.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from backend.query import Answer, Answerer, Query
from training.data.pool import PosePool
from training.data.scenes.telling import KINDS, Question, Telling

from .bootstrap import Bootstrap, Estimate
from .metrics import mpjpe, mpjre, pa_mpjpe

Poses = npt.NDArray[np.float32]
ALL: Final = "averaged"
FIGURES: Final = {"mpjpe": "MPJPE, mm", "pa_mpjpe": "PA-MPJPE, mm", "mpjre": "MPJRE, deg"}


@dataclass(frozen=True)
class Case:
    """A question about a picture, and the poses (P, 24, 3) of those who are in it."""

    question: Question
    picture: Image.Image
    poses_aa: Poses

    @property
    def target_aa(self) -> Poses:
        """(24, 3) of the one who is meant."""
        target: Poses = self.poses_aa[self.question.who]
        return target

    def without_words(self) -> Case:
        """The same question with nothing said of who is meant."""
        return replace(self, question=Question(self.question.kind, "", self.question.who))


@dataclass(frozen=True)
class Judged:
    """Of one kind of question, or of all: how many there are, how many were answered with a pose, the share that took
    the right one, and the mean errors."""

    questions: int
    answered: int
    right: Estimate
    errors: Mapping[str, Estimate]


def draw_cases(pool: PosePool, count: int, seed: int) -> list[Case]:
    """At least ``count`` questions about scenes, each scene with one of every kind that it allows.

    Raises:
        DrawingUnavailableError: the machine has no OpenGL.
    """
    telling, rng = Telling(pool), np.random.default_rng(seed)
    cases: list[Case] = []
    while len(cases) < count:
        scene, questions = telling.draw(rng)
        picture = Image.fromarray(scene.picture)
        poses = np.stack([figure.pose_aa for figure in scene.figures]).astype(np.float32)
        cases += [Case(question, picture, poses) for question in questions]
    return cases


def ask(
    engine: Answerer,
    cases: Sequence[Case],
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Answer]:
    """An answer to each question."""
    answers: list[Answer] = []
    for case in cases:
        answers += engine.answer([Query("estimate", case.question.words, image=case.picture)])
        on_progress(len(answers), len(cases))
    return answers


def is_right(answer: Answer, case: Case) -> bool:
    """Whether an answer is of the one who is meant rather than of another."""
    if answer.pose_aa is None:
        return False
    errors = mpjpe(np.repeat(answer.pose_aa[None], len(case.poses_aa), axis=0), case.poses_aa)
    return int(errors.argmin()) == case.question.who


def judge(
    cases: Sequence[Case], answers: Sequence[Answer], instead_aa: Poses, *, seed: int
) -> dict[str, Judged]:
    """By kind, and of all. ``instead_aa`` (24, 3) is scored where there was no pose, so that a model that does not
    answer is no better than one that always answers so."""
    kinds = np.array([case.question.kind for case in cases])
    right = np.array([is_right(answer, case) for answer, case in zip(answers, cases, strict=True)])
    given = np.array([answer.pose_aa is not None for answer in answers])
    poses = np.stack([instead_aa if answer.pose_aa is None else answer.pose_aa for answer in answers])
    targets = np.stack([case.target_aa for case in cases])
    errors = {
        "mpjpe": mpjpe(poses, targets), "pa_mpjpe": pa_mpjpe(poses, targets), "mpjre": mpjre(poses, targets)
    }  # fmt: skip
    found = {}
    for kind in (*KINDS, ALL):
        rows = kinds == kind if kind != ALL else np.ones(len(kinds), dtype=bool)
        if not rows.any():
            continue
        bootstrap = Bootstrap(int(rows.sum()), seed)
        found[kind] = Judged(
            questions=int(rows.sum()),
            answered=int((rows & given).sum()),
            right=bootstrap.mean(100.0 * right[rows]),
            errors={name: bootstrap.mean(values[rows]) for name, values in errors.items()},
        )
    return found


def reasoning_table(judged: Mapping[str, Judged]) -> str:
    """As lines of text, with intervals of 95 %."""
    names = list(FIGURES)
    lines = [
        f"{'told by':12s}{'questions':>10s}{'a pose':>8s}{'the right one, %':>22s}"
        + "".join(f"{FIGURES[name]:>24s}" for name in names)
    ]
    for kind, one in judged.items():
        cells = "".join(f"{one.errors[name].told():>24s}" for name in names)
        lines.append(f"{kind:12s}{one.questions:10d}{one.answered:8d}{one.right.told():>22s}{cells}")
    return "\n".join(lines)


def reasoning_json(judged: Mapping[str, Judged], about: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON: for each kind its counts, and each figure with its interval."""
    return {
        **about,
        "kinds": {
            kind: {
                "questions": one.questions,
                "answered": one.answered,
                "right": [one.right.value, one.right.low, one.right.high],
                **{name: [each.value, each.low, each.high] for name, each in one.errors.items()},
            }
            for kind, one in judged.items()
        },
    }
