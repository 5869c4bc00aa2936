# SPDX-License-Identifier: Apache-2.0
"""From what a model says to answers: words or a pose, the heading put back, what the user set (parts that may move,
strength), and of the other answers those that can be told apart.

Legend: Q queries, J = 24 joints.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from backend.prompt import Prompter
from backend.query import Answer, Query
from blender_addon.contract.kinematics import yaw_matrix
from blender_addon.contract.rotations import (
    Array,
    axis_angle_to_matrix,
    geodesic_degrees,
    matrix_to_axis_angle,
)
from blender_addon.contract.skeleton import BODY_PARTS, NUM_JOINTS, STANDING_POSE

UNCHANGED_DEGREES: Final = 0.01
"""What turns less than this stays as it is."""
UNREAD_WORDS: Final = "The words were not read: this model tells the pose by the picture alone."
DIFFERENT_DEGREES: Final = 8.0
"""Two answers are two where some joint turns by so much between them."""
Pose = npt.NDArray[np.float32]


def answers_of(
    prompter: Prompter,
    queries: Sequence[Query],
    matrices: npt.ArrayLike,
    headings: npt.ArrayLike,
    first_logits: Sequence[npt.ArrayLike],
    variants: npt.ArrayLike | None = None,
    *,
    in_view: bool = False,
    view_logits: Sequence[float | None] | None = None,
    wish_logits: Sequence[float | None] | None = None,
) -> list[Answer]:
    """The answers to queries: poses, or words where the model would begin with words; then nothing moves.

    Args:
        prompter: knows the wording of fixed answers.
        queries: what was asked.
        matrices: (Q, J, 3, 3) what the model said, joints whose gate is closed at their initial rotation.
        headings: (Q,) radians, what was taken out of the poses.
        first_logits: (Q, 1 + V) for each what the model says of the first token of its possible answers, see
            ``Prompter.first_ids``.
        variants: (Q, K, J, 3, 3) other poses that the model offers, best first; None where it offers none.
        in_view: whether the poses stood as their cameras see them.
        view_logits: (Q,) how surely the words of each are tied to the camera, where the model tells it apart.
        wish_logits: (Q,) how surely they ask for nothing, where it has a head for that. After earlier turns it is not
            heard: what they leave open the words alone do not tell.
    """
    poses_aa = finish(queries, _turned(matrices, headings))
    others_aa = np.zeros((len(queries), 0, NUM_JOINTS, 3), dtype=np.float32)
    if variants is not None:
        each = np.moveaxis(np.asarray(variants), 1, 0)
        others_aa = np.stack([finish(queries, _turned(one, headings)) for one in each], axis=1)
    answers = []
    untold = [None] * len(queries)
    tied = untold if view_logits is None else view_logits
    nothing = untold if wish_logits is None else wish_logits
    for query, pose_aa, others, logits, view, wish in zip(
        queries, poses_aa, others_aa, first_logits, tied, nothing, strict=True
    ):
        words = prompter.in_words(
            query.task,
            logits,
            in_view=in_view,
            view_logit=view,
            wish_logit=None if query.history else wish,
        )
        if words is not None:
            answers.append(Answer(None, words))
            continue
        offered = different(pose_aa, others, query.variants)
        answers.append(
            Answer(pose_aa, _said(prompter, query), np.stack(offered) if len(offered) > 1 else None)
        )
    return answers


def of_texts(logits: npt.NDArray[np.float32], asked: npt.NDArray[np.int64]) -> list[float | None]:
    """What is said of texts (T,) for the samples whose instructions they are (B,); None for those without one."""
    return [None if number < 0 else float(logits[number]) for number in asked]


def different(pose_aa: Pose, others_aa: npt.NDArray[np.float32], count: int) -> list[Pose]:
    """A pose (J, 3) and those of others (K, J, 3) that can be told from it and from each other, ``count`` at most."""
    offered = [pose_aa]
    for other in others_aa:
        if len(offered) >= count:
            break
        apart = geodesic_degrees(axis_angle_to_matrix(other), axis_angle_to_matrix(np.stack(offered)))
        if (apart.max(axis=-1) >= DIFFERENT_DEGREES).all():
            offered.append(other)
    return offered


def _turned(matrices: npt.ArrayLike, headings: npt.ArrayLike) -> Array:
    """(Q, J, 3, 3) with the headings (Q,) put back."""
    turned = np.array(matrices, dtype=np.float64)
    turned[:, 0] = yaw_matrix(headings) @ turned[:, 0]
    return turned


def _said(prompter: Prompter, query: Query) -> str:
    """The words of an answer with a pose; an instruction that the model does not read is not passed over in silence."""
    if prompter.unread([query]):
        return UNREAD_WORDS
    return prompter.words(query.task)


def finish(queries: Sequence[Query], matrices: Array) -> npt.NDArray[np.float32]:
    """What the user set, applied to the model's answers: parts that may move, strength, exact stillness.

    Joints that stay keep the numbers they came with, to the last bit.

    Args:
        queries: what was asked.
        matrices: (Q, J, 3, 3) local rotations.

    Returns:
        (Q, J, 3) axis-angle, radians.
    """
    starts_aa = np.stack([STANDING_POSE if query.pose_aa is None else query.pose_aa for query in queries])
    starts = axis_angle_to_matrix(starts_aa)
    turns_aa = matrix_to_axis_angle(starts.swapaxes(-1, -2) @ matrices)
    strengths = np.array([query.strength for query in queries])
    ends = starts @ axis_angle_to_matrix(strengths[:, None, None] * turns_aa)
    ends = np.where((strengths == 1.0)[:, None, None, None], matrices, ends)
    moves = np.linalg.norm(turns_aa, axis=-1) > np.radians(UNCHANGED_DEGREES)
    moves &= np.stack([_may_move(query.parts) for query in queries])
    return np.where(moves[..., None], matrix_to_axis_angle(ends), starts_aa).astype(np.float32)


def _may_move(parts: frozenset[str] | None) -> npt.NDArray[np.bool_]:
    """(J,) true for the joints of the named parts, for every joint where none is named."""
    mask = np.full(NUM_JOINTS, parts is None)
    for part in parts or ():
        mask[list(BODY_PARTS[part])] = True
    return mask
