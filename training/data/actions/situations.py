# SPDX-License-Identifier: Apache-2.0
"""What somebody is in: everyday situations, asked for without a word on the pose, with postures that fit them.

``situations.yaml`` holds the table. A posture there is put together from the same blocks as a description: legs or a
whole posture, trunk, head, and arms in a state or with a hand at a place. Several postures may fit a situation; one
is drawn, loosened a little, and mirrored in half of the cases, as no sentence names a side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from blender_addon.contract.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from blender_addon.contract.skeleton import JOINT_INDEX
from training.data.directives.descriptions import ARM_STATES, BOTH_STATES, base_body
from training.data.directives.hands import PLACES, hand_at
from training.data.directives.posed_body import PosedBody, Side
from training.data.directives.postures import standing, trunk_set, whole_posture
from training.data.directives.reach import SIDES
from training.data.directives.slips import type_in
from training.data.directives.spine import head_set
from training.data.directives.wording import expand
from training.data.samples import Pose, Sample
from training.yaml_file import read_yaml

SITUATIONS_FILE: Final = Path(__file__).with_name("situations.yaml")
WHOLE_SENTENCE_SHARE: Final = 0.4
"""How often a situation that has sentences of its own is told in one of them."""
LOOSE_DEGREES: Final = 2.5
"""Deviation of what is added to the joints below, so that a posture is not always the very same."""
_LOOSE: Final = [
    JOINT_INDEX[name]
    for name in ("spine1", "spine2", "spine3", "neck", "head", "left_shoulder", "right_shoulder", "left_wrist",
                 "right_wrist")
]  # fmt: skip


@cache
def load_situations(file: Path = SITUATIONS_FILE) -> Mapping[str, Any]:
    """The table of a file: ``situations``, and ``frames``, which is training's where it has none."""
    table: Mapping[str, Any] = read_yaml(file)
    return table if "frames" in table else {**load_situations(), **table}


def build_posture(spec: Mapping[str, Any]) -> PosedBody:
    """The body of one posture of the table.

    Args:
        spec: ``legs`` or ``posture`` (a name), and perhaps ``trunk`` (degrees forward, twisted to the left, leaning
            to the left), ``head`` (degrees turned to the left, lowered, tilted to the left) and ``arms``: one name for
            both, or a name for each, left first.

    Raises:
        KeyError: a name that does not exist.
    """
    body = whole_posture(spec["posture"])(standing()) if "posture" in spec else base_body(spec["legs"])
    if "trunk" in spec:
        body = trunk_set(body, *map(float, spec["trunk"]))
    if "head" in spec:
        body = head_set(body, *map(float, spec["head"]))
    arms = spec.get("arms")
    if isinstance(arms, str):
        if arms in BOTH_STATES:
            return BOTH_STATES[arms][1](body)
        for side in SIDES:
            body = _arm(body, side, arms, both=True)
    elif arms is not None:
        for side, name in zip(SIDES, arms, strict=True):
            body = _arm(body, side, name, both=False)
    return body


def _arm(body: PosedBody, side: Side, name: str, *, both: bool) -> PosedBody:
    if name not in PLACES:
        return ARM_STATES[name][1](body, side)
    return hand_at(body, side, PLACES[name], of_two=both)


def situation_text(rng: np.random.Generator, situation: Mapping[str, Any]) -> str:
    """A sentence that puts somebody into the situation, or asks how one would pose in it."""
    own: Sequence[str] = situation.get("says", ())
    if own and rng.random() < WHOLE_SENTENCE_SHARE:
        return type_in(rng, expand(rng, own[rng.integers(len(own))], {}))
    frames = load_situations()["frames"]
    words = {"doing": f"[{'|'.join(situation['doing'])}]"}
    return type_in(rng, expand(rng, frames[rng.integers(len(frames))], words))


@cache
def _postures(file: Path, name: str) -> tuple[PosedBody, ...]:
    return tuple(build_posture(spec) for spec in load_situations(file)["situations"][name]["postures"])


class SituationSampler:
    """Draws situations with a pose that fits, task ``generate``.

    Args:
        file: the table.
    """

    def __init__(self, file: Path = SITUATIONS_FILE) -> None:
        self._file = file
        self._situations = load_situations(file)["situations"]
        self._names = list(self._situations)

    def draw(self, rng: np.random.Generator) -> Sample:
        """One situation and its pose, heading zero."""
        name = self._names[rng.integers(len(self._names))]
        postures = _postures(self._file, name)
        body = postures[rng.integers(len(postures))]
        if rng.random() < 0.5:
            body = body.mirrored()
        text = situation_text(rng, self._situations[name])
        return Sample("", "generate", f"situation.{name}", text, target_aa=loosened(rng, body.to_pose()))


def loosened(rng: np.random.Generator, pose: Pose) -> Pose:
    """The pose (24, 3) with its trunk, head, shoulders and wrists turned by LOOSE_DEGREES or so."""
    slack = axis_angle_to_matrix(np.radians(LOOSE_DEGREES) * rng.normal(size=(len(_LOOSE), 3)))
    loosened = pose.copy()
    loosened[_LOOSE] = matrix_to_axis_angle(axis_angle_to_matrix(pose[_LOOSE]) @ slack)
    return loosened
