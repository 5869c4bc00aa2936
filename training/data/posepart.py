# SPDX-License-Identifier: Apache-2.0
"""PosePart and PoseFix-style triplets: a pose, another one, and the words that lead from the first to the second.

PosePart (PoseLLaVA, "PosePart Dataset Construction"): of two poses A and B, the body part that changed most is put
from B on A; the text tells of that part only. The other joints may get slight noise; the paper's released samples
show none, and so it is here unless it is asked for. PoseFix-style pairs differ in several parts, or altogether.

Legend: N triplets; P = 7 body parts, as in ``BODY_PARTS``. Poses (N, 24, 3) axis-angle, radians.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from blender_addon.contract.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from blender_addon.contract.skeleton import BODY_PARTS, JOINT_INDEX, NUM_JOINTS

from .captions.correction import Corrector
from .pool import PosePool, Poses, with_heading
from .samples import Sample

POSEPART_PARTS: Final[dict[str, tuple[int, ...]]] = {
    "left_arm": (16, 18, 20),
    "right_arm": (17, 19, 21),
    "left_leg": (1, 4, 7, 10),
    "right_leg": (2, 5, 8, 11),
    "trunk": (3, 6, 9),
    "head": (12, 15),
}
"""The paper's six parts, by joint."""

TYPICAL_CHANGE: Final = {
    "left_arm": 44.0, "right_arm": 44.0, "left_leg": 29.0, "right_leg": 29.0, "trunk": 11.0, "head": 24.0,
}  # fmt: skip
"""Mean rotation in degrees by which a joint of the part differs between two recorded poses. The paper leaves open
what "changed most" is; by plain rotation it would nearly always be an arm."""

MANY_PARTS: Final = (0.5, 0.3, 0.1, 0.1)
"""How often a PoseFix-style pair differs in two, three, four parts or altogether."""

MOST_IN_VAIN: Final = 20
"""Draws in a row without a pair whose difference can be told, after which there is none."""

_MASKS: Final = np.array(
    [[joint in joints for joint in range(NUM_JOINTS)] for joints in POSEPART_PARTS.values()]
)


@dataclass(frozen=True)
class PairSettings:
    """How triplets are made.

    Attributes:
        several: PoseFix-style pairs with several parts changed, instead of PosePart's one.
        noise_degrees: deviation of the noise on joints of other parts.
        partial_share: how often a part goes only some of the way from A to B, so that there are small changes too.
            The paper has none.
        related_share: how often B is from the same kind of motion as A, where poses are recorded.
        turn_share: how often a pair that differs altogether also turns on the spot.
    """

    several: bool = False
    noise_degrees: float = 0.0
    partial_share: float = 0.0
    related_share: float = 0.3
    turn_share: float = 0.5


@dataclass(frozen=True)
class Triplets:
    """Finished triplets.

    Attributes:
        before_aa: (N, 24, 3).
        after_aa: (N, 24, 3).
        texts: N instructions.
        parts: (N, P) which parts were put from B on A.
    """

    before_aa: Poses
    after_aa: Poses
    texts: list[str]
    parts: npt.NDArray[np.bool_]


class PairSampler:
    """Makes triplets from a pool of poses."""

    def __init__(self, pool: PosePool, settings: PairSettings | None = None) -> None:
        self.pool = pool
        self.settings = PairSettings() if settings is None else settings
        self.corrector = Corrector()

    def triplets(self, rng: np.random.Generator, count: int) -> Triplets:
        """``count`` triplets; pairs whose difference cannot be told are drawn anew.

        Raises:
            ValueError: hardly any pair of the poses differs in a way that can be told.
        """
        found: list[Triplets] = []
        missing = count
        in_vain = 0
        while missing:
            drawn = self._attempt(rng, missing + missing // 16 + 1)
            take = min(missing, len(drawn.texts))
            found.append(
                Triplets(
                    drawn.before_aa[:take], drawn.after_aa[:take], drawn.texts[:take], drawn.parts[:take]
                )
            )
            missing -= take
            in_vain = 0 if take else in_vain + 1
            if in_vain == MOST_IN_VAIN:
                raise ValueError(
                    "the poses are all alike: no two of them differ in a way that can be told in words; give others"
                )
        return Triplets(
            np.concatenate([one.before_aa for one in found]),
            np.concatenate([one.after_aa for one in found]),
            [text for one in found for text in one.texts],
            np.concatenate([one.parts for one in found]),
        )

    def draw_many(self, rng: np.random.Generator, count: int) -> list[Sample]:
        """``count`` samples of the task ``adjust``."""
        made = self.triplets(rng, count)
        nudged = self.settings.partial_share == 1.0
        kind = "posefix" if self.settings.several else "nudge" if nudged else "posepart"
        return [
            Sample("", "adjust", kind, text, pose_aa=before, target_aa=after)
            for text, before, after in zip(made.texts, made.before_aa, made.after_aa, strict=True)
        ]

    def draw(self, rng: np.random.Generator) -> Sample:
        """One sample; many at a time are far faster."""
        return self.draw_many(rng, 1)[0]

    def _attempt(self, rng: np.random.Generator, count: int) -> Triplets:
        first, after, parts = self.pairs(rng, count)
        texts = self.corrector.instruct(first, after, rng, parts=parts)
        good = [row for row, text in enumerate(texts) if text is not None]
        return Triplets(first[good], after[good], [text for text in texts if text is not None], parts[good])

    def pairs(self, rng: np.random.Generator, count: int) -> tuple[Poses, Poses, npt.NDArray[np.bool_]]:
        """``count`` poses, the same with parts of others put on them, and which parts (N, P), without words."""
        settings = self.settings
        first, second = self.pool.draw_pairs(rng, count, related_share=settings.related_share)
        yaw = rng.uniform(-np.pi, np.pi, count)
        first = with_heading(first, yaw)
        moved = self._choose_parts(rng, first, second)
        joints = (moved[:, :, None] & _MASKS).any(axis=1)
        if settings.several:
            whole = moved.all(axis=1)
            joints[whole] = True
            turn = np.where(rng.random(count) < settings.turn_share, rng.uniform(-np.pi, np.pi, count), 0.0)
            second = with_heading(second, yaw + turn)
        # The hand joints are not part of the data.
        joints[:, [JOINT_INDEX["left_hand"], JOINT_INDEX["right_hand"]]] = False
        after = np.where(joints[:, :, None], second, first)
        part_way = np.flatnonzero(rng.random(count) < settings.partial_share)
        share = rng.uniform(0.25, 0.9, len(part_way))
        after[part_way] = _between(first[part_way], second[part_way], share, joints[part_way])
        if settings.noise_degrees:
            noise = np.radians(settings.noise_degrees) * rng.normal(size=first.shape)
            noise[:, [0, JOINT_INDEX["left_hand"], JOINT_INDEX["right_hand"]]] = 0.0
            after = np.where(joints[:, :, None], after, after + noise).astype(np.float32)
        parts = np.stack([joints[:, list(members)].any(axis=1) for members in BODY_PARTS.values()], axis=1)
        return first, after, parts

    def _choose_parts(self, rng: np.random.Generator, first: Poses, second: Poses) -> npt.NDArray[np.bool_]:
        """(N, 6) which of ``POSEPART_PARTS`` to take from the second pose."""
        same = np.einsum("njab,njab->nj", axis_angle_to_matrix(first), axis_angle_to_matrix(second))
        gap = np.degrees(np.arccos(np.clip((same - 1) / 2, -1, 1)))
        change = np.stack(
            [
                gap[:, list(joints)].mean(axis=1) / TYPICAL_CHANGE[name]
                for name, joints in POSEPART_PARTS.items()
            ],
            axis=1,
        )
        if self.settings.several:
            change = change * rng.uniform(0.3, 1.0, change.shape)
            number = 2 + np.searchsorted(np.cumsum(MANY_PARTS), rng.random(len(first)))
            number[number > 4] = len(POSEPART_PARTS)
        else:
            number = np.ones(len(first), dtype=np.int64)
        rank = np.argsort(np.argsort(-change, axis=1), axis=1)
        chosen: npt.NDArray[np.bool_] = rank < number[:, None]
        return chosen


def _between(
    first: Poses, second: Poses, share: npt.NDArray[np.float64], joints: npt.NDArray[np.bool_]
) -> Poses:
    """Poses whose chosen joints (N, 24) went the given share (N,) of the shortest turn."""
    start, end = axis_angle_to_matrix(first), axis_angle_to_matrix(second)
    step = matrix_to_axis_angle(np.swapaxes(start, -1, -2) @ end) * share[:, None, None]
    between = matrix_to_axis_angle(start @ axis_angle_to_matrix(step))
    return np.where(joints[:, :, None], between, first).astype(np.float32)
