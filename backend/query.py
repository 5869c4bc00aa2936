# SPDX-License-Identifier: Apache-2.0
"""What is asked of an engine and what it answers, without the engine itself, so that nothing here needs torch.

May import blender_addon.contract.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from blender_addon.contract.kinematics import heading
from blender_addon.contract.messages import Request, Turn, View
from blender_addon.contract.rotations import axis_angle_to_matrix

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Query:
    """One question to the model.

    Attributes:
        task: one of the contract's TASKS.
        instruction: what the user typed.
        pose_aa: (24, 3) axis-angle, radians; the pose to adjust, to describe or to talk about.
        image: the picture that shows the pose, or the viewport.
        parts: names of BODY_PARTS that may move; None for all.
        strength: 0 keeps the start pose, 1 is the model's answer; joints turn along the shortest arc between.
        history: what was asked before and how it was answered, oldest first.
        view: where the camera is, as the body sees it; None when that is not known.
        turned: radians by which the pose's heading is turned from that of the pose that picture and view are of.
        variants: how many different poses are wished for.
    """

    task: str
    instruction: str
    pose_aa: npt.NDArray[np.float32] | None = None
    image: Image | None = None
    parts: frozenset[str] | None = None
    strength: float = 1.0
    history: tuple[Turn, ...] = ()
    view: View | None = None
    turned: float = 0.0
    variants: int = 1


@dataclass(frozen=True)
class Answer:
    """What the model answers to one query.

    Attributes:
        pose_aa: (24, 3) axis-angle, radians; None when it answers in words only and nothing is to move.
        text: its words.
        confidence: (24,) where the pose was read off a picture: about each joint's chance of lying within 10 cm of
            where it really is; None where there was nothing to read.
        variants_aa: (V, 24, 3), every pose that it offers, best first, the first being ``pose_aa``; None when there is
            no more than that one.
    """

    pose_aa: npt.NDArray[np.float32] | None
    text: str
    variants_aa: npt.NDArray[np.float32] | None = None
    confidence: npt.NDArray[np.float32] | None = None


OnWords = Callable[[int, str], bool]
"""Who listens while an engine speaks: told the place of a query and all that has been said to it so far, returns
whether anybody still waits for that answer; where nobody does, the engine may stop and answer anything."""


class Answerer(Protocol):
    """What the server and the batch command need of an engine; those of backend.engines are such.

    Attributes:
        name: of the model.
        tasks: what it does.
    """

    name: str
    tasks: tuple[str, ...]

    def answer(self, queries: Sequence[Query], on_words: OnWords | None = None) -> list[Answer]:
        """One answer per query, in order.

        Args:
            queries: what is asked.
            on_words: called between two steps of an answer that is said word by word (SPOKEN_TASKS), at least once for
                every word or so. The engine may be asked something else while it runs, on the same thread: what an
                answer keeps from step to step must be its own.
        """
        ...


def queries_of(request: Request, image: Image | None, start: int = 0, stop: int | None = None) -> list[Query]:
    """The queries ``start`` to ``stop`` of a request: one per pose, or a single one when it has no pose."""
    poses = list(request.poses) if len(request.poses) else [None]
    turned = [0.0]
    if len(request.poses):
        headings = heading(axis_angle_to_matrix(request.poses[:, 0].astype(np.float64)))
        turned = list(headings - headings[0])
    return [
        Query(
            task=request.task,
            instruction=request.instruction,
            pose_aa=pose,
            image=image,
            parts=request.parts,
            strength=request.strength,
            history=request.history,
            view=request.view,
            turned=float(angle),
            variants=request.variants,
        )
        for pose, angle in zip(poses[start:stop], turned[start:stop], strict=True)
    ]
