# SPDX-License-Identifier: Apache-2.0
"""From what a model says to answers: the heading put back, and what the user set: parts that may move, strength.

Nothing here looks at the words. Legend: Q queries, J = 24 joints.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from backend.prompt import Prompter
from backend.query import Answer, Query
from blender_addon.contract.kinematics import yaw_matrix
from blender_addon.contract.rotations import Array, axis_angle_to_matrix, matrix_to_axis_angle
from blender_addon.contract.skeleton import BODY_PARTS, NUM_JOINTS, STANDING_POSE

UNCHANGED_DEGREES: Final = 0.01
"""What turns less than this stays as it is."""
UNREAD_WORDS: Final = "The words were not read: this model tells the pose by the picture alone."


def answers_of(
    prompter: Prompter,
    queries: Sequence[Query],
    matrices: npt.ArrayLike,
    headings: npt.ArrayLike,
    first_logits: Sequence[npt.ArrayLike],
    *,
    in_view: bool = False,
) -> list[Answer]:
    """The answers to queries: poses, or words where the model would begin with words; then nothing moves.

    Args:
        prompter: knows the wording of fixed answers.
        queries: what was asked.
        matrices: (Q, J, 3, 3) what the model said, joints whose gate is closed at their initial rotation.
        headings: (Q,) radians, what was taken out of the poses.
        first_logits: (Q, 1 + V) for each what the model says of the first token of its possible answers, see
            ``Prompter.first_ids``.
        in_view: whether the poses stood as their cameras see them.
    """
    turned = np.array(matrices, dtype=np.float64)
    turned[:, 0] = yaw_matrix(headings) @ turned[:, 0]
    poses_aa = finish(queries, turned)
    answers = []
    for query, pose_aa, logits in zip(queries, poses_aa, first_logits, strict=True):
        words = prompter.in_words(query.task, logits, in_view=in_view)
        answers.append(Answer(pose_aa, _said(prompter, query)) if words is None else Answer(None, words))
    return answers


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
