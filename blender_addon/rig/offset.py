# SPDX-License-Identifier: GPL-3.0-or-later
"""Carrying a change from some frames to others, and letting it come and go at the edges of a range. Pure numpy.

An absolute instruction given to every frame of a walk ("crouch") would make a statue. Carried over instead, the change
of one frame turns every frame alike, and the walk goes on below it.

Legend: N frames, R frames of reference, J = 24 joints; rotations are local, (..., 3, 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..contract.rotations import Array, axis_angle_to_matrix, matrix_to_axis_angle


@dataclass(frozen=True)
class Blend:
    """How a change comes and goes at the ends of a range.

    Attributes:
        into: frames at the beginning over which it comes.
        out: frames at the end over which it goes.
        smooth: with an ease at both ends of them; otherwise in even steps.
    """

    into: int = 0
    out: int = 0
    smooth: bool = True


def blend_weights(frames: Sequence[float], blend: Blend) -> Array:
    """How much of the change (N,), 0 to 1, there is at ascending frames: 0 just before the first and just after the
    last of them, 1 from ``blend.into`` frames after the first until ``blend.out`` frames before the last. Where the
    range is too short for both, they share it, so that the change arrives."""
    times = np.asarray(frames, dtype=np.float64)
    share = min(1.0, (times[-1] - times[0]) / max(blend.into + blend.out, 1))
    come = np.clip((times - times[0] + 1) / (share * blend.into + 1), 0.0, 1.0)
    go = np.clip((times[-1] - times + 1) / (share * blend.out + 1), 0.0, 1.0)
    if blend.smooth:
        come, go = (part * part * (3 - 2 * part) for part in (come, go))
    return np.asarray(come * go)


def towards(start: Array, end: Array, share: Array) -> Array:
    """The rotations (N, J, 3, 3) at ``share`` (N,) of the shortest way from ``start`` to ``end``."""
    way = matrix_to_axis_angle(end @ np.swapaxes(start, -1, -2))
    moved = axis_angle_to_matrix(share[:, None, None] * way) @ start
    # All the way is the end itself, to the bit.
    return np.asarray(np.where((share == 1.0)[:, None, None, None], end, moved))


def carry(
    before: Array, frames: Sequence[float], asked: Array, answered: Array, references: Sequence[float]
) -> Array:
    """The poses ``before`` (N, J, 3, 3), changed as the poses of reference were.

    The change of a joint is the turn from the rotation it had to the one it was given, seen from its parent, so that
    an arm raised sideways is raised sideways wherever it swings. Between two references the change goes over from one
    to the other, before the first and after the last it stays.

    Args:
        before: local rotations at ``frames``.
        asked: (R, J, 3, 3) local rotations at the references.
        answered: (R, J, 3, 3) what the model made of them.
        references: (R,) their frames, ascending.
    """
    change = answered @ np.swapaxes(asked, -1, -2)
    place = np.interp(frames, references, np.arange(len(references)))
    first = np.floor(place).astype(int)
    last = np.minimum(first + 1, len(references) - 1)
    return np.asarray(towards(change[first], change[last], place - first) @ before)
