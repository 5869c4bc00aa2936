# SPDX-License-Identifier: Apache-2.0
"""Teaches a voice's two readers to see the captioner's facts in poses, before it learns to say them.

Every pose is a new one and its labels come from the rules with their noise: so a chance near 1 says that a fact holds,
and that it would still hold of a pose that differs a little. What changed is what holds of the second pose and not of
the first, and the moves of hands and feet.

Legend: N poses or pairs, J = 24 joints, K facts, K' changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from backend.body.rotations import matrix_to_rot6d
from backend.model.fact_reader import pose_numbers
from backend.model.speech import TaughtVoice
from backend.prompt import NUM_POSE_TOKENS
from blender_addon.contract.kinematics import heading, yaw_matrix
from blender_addon.contract.rotations import axis_angle_to_matrix
from training.data.captions.caption import ORDER
from training.data.captions.facts import PoseFacts, pose_facts
from training.data.captions.measures import Bodies
from training.data.captions.spoken import MOVES, move_sizes

from .samples import SpeechSampler

TURNED_SHARE: Final = 0.2
"""How many pairs face different ways: a figure may have turned between two frames."""
MOVE_SLACK: Final = (1.0, 1.4)
"""A move is labelled where it is larger than what counts, times a number drawn from here: the noise of moves."""

Columns = list[tuple[str, int, tuple[int, ...]]]


def columns_of() -> Columns:
    """Code, side and the numbers of its categories that say something, in the order of the facts."""
    facts = pose_facts(Bodies.of(np.zeros((1, 24, 3))))
    found: Columns = []
    for code in ORDER:
        told = tuple(n for n, name in enumerate(facts.names[code]) if not name.startswith("none"))
        found += [(code, side, told) for side in range(facts.codes[code][0].size)]
    return found


COLUMNS: Final = columns_of()
NUM_FACTS: Final = sum(len(numbers) for _, _, numbers in COLUMNS)


def packed(sizes: Sequence[int], tokens: int = NUM_POSE_TOKENS) -> tuple[int, ...]:
    """How many facts each token tells of, where groups of facts stay together, in order, and the tokens are as even as
    can be; some may have none."""
    for most in range(1, sum(sizes) + 1):
        filled = [0]
        for size in sizes:
            if filled[-1] and filled[-1] + size > most:
                filled.append(0)
            filled[-1] += size
        if len(filled) <= tokens:
            break
    return (*filled, *(0,) * (tokens - len(filled)))


def slots() -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Of each token of a pose and of a pair how many facts it tells of."""
    sizes = [len(numbers) for _, _, numbers in COLUMNS]
    return packed([*sizes, 2, 2]), packed([*sizes, *(2,) * len(MOVES)])


def fact_labels(facts: PoseFacts) -> npt.NDArray[np.bool_]:
    """(N, K) which facts hold: those of COLUMNS, then whether each arm and each leg is straight."""
    return np.concatenate([_held(facts), facts.arm_straight, facts.leg_straight], axis=1)


def change_labels(
    before: PoseFacts, after: PoseFacts, sizes: npt.NDArray[np.float64], slack: npt.ArrayLike
) -> npt.NDArray[np.bool_]:
    """(N, K') which facts hold of the pose after and not of the one before, and which moves are large enough."""
    moved = sizes >= np.asarray(slack).reshape(-1, 1, 1)
    return np.concatenate([_held(after) & ~_held(before), moved.reshape(len(moved), -1)], axis=1)


def _held(facts: PoseFacts) -> npt.NDArray[np.bool_]:
    held = [
        facts.codes[code].reshape(len(facts.arm_straight), -1)[:, side, None] == np.array(numbers)
        for code, side, numbers in COLUMNS
    ]
    return np.concatenate(held, axis=1)


def numbers_of(poses_aa: npt.ArrayLike, yaw: npt.ArrayLike | None = None) -> Tensor:
    """What the readers are given of poses (N, J, 3): of each without its heading, or turned back by ``yaw`` (N,)."""
    local = axis_angle_to_matrix(poses_aa)
    turn = heading(local[:, 0]) if yaw is None else np.asarray(yaw)
    local[:, 0] = yaw_matrix(-turn) @ local[:, 0]
    with torch.no_grad():
        return pose_numbers(matrix_to_rot6d(torch.from_numpy(local).float()))


@dataclass(frozen=True)
class Lesson:
    """Pairs of poses.

    Attributes:
        numbers: (N, 2, F) what the reader of poses is given of each pose.
        holds: (N, 2, K) its labels.
        paired: (N, 2 * F) what the reader of changes is given.
        changed: (N, K') its labels.
    """

    numbers: Tensor
    holds: Tensor
    paired: Tensor
    changed: Tensor

    def __len__(self) -> int:
        return len(self.changed)

    def batches(self, size: int) -> list[Lesson]:
        """Parts of so many pairs."""
        whole = (self.numbers, self.holds, self.paired, self.changed)
        return [Lesson(*parts) for parts in zip(*(torch.split(one, size) for one in whole), strict=True)]


def draw_lesson(sampler: SpeechSampler, rng: np.random.Generator, count: int) -> Lesson:
    """``count`` pairs in random order."""
    before, after = sampler.pairs(rng, count)
    yaw = heading(axis_angle_to_matrix(after[:, 0]))
    turned = yaw + np.where(rng.random(count) < TURNED_SHARE, rng.uniform(-np.pi, np.pi, count), 0.0)
    now, then = numbers_of(after), numbers_of(before, turned)
    first, second = pose_facts(Bodies.of(before), rng), pose_facts(Bodies.of(after), rng)
    changed = change_labels(first, second, move_sizes(before, after), rng.uniform(*MOVE_SLACK, count))
    order = torch.from_numpy(rng.permutation(count))
    return Lesson(
        torch.stack([numbers_of(before), now], dim=1)[order],
        torch.from_numpy(np.stack([fact_labels(first), fact_labels(second)], axis=1))[order],
        torch.cat([then, now], dim=1)[order],
        torch.from_numpy(changed)[order],
    )


def reading_loss(voice: TaughtVoice, lesson: Lesson) -> Tensor:
    """Mean surprise at the labels, summed over the facts of a pose and of a pair."""
    numbers, holds = lesson.numbers.flatten(0, 1), lesson.holds.flatten(0, 1)
    losses = [
        functional.binary_cross_entropy_with_logits(reader(given), wanted.float()) * wanted.shape[1]
        for reader, given, wanted in (
            (voice.facts, numbers, holds),
            (voice.changes, lesson.paired, lesson.changed),
        )
    ]
    return losses[0] + losses[1]
