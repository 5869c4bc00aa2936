# SPDX-License-Identifier: Apache-2.0
"""What is said after an edit, and the pose that it asks for: more and less of it, back, the other side, a part of it.

``followups.yaml`` has the words. What is asked here is a function of the poses before and after the last edit, so
that it follows any pattern and any directive.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from backend.body.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from blender_addon.contract.skeleton import BODY_PARTS
from training.data.constraints.prior import FIRST, LAST, load_prior
from training.data.directives.wording import expand
from training.yaml_file import read_yaml

from .drafts import State, new_state
from .language import Side

FOLLOWUPS_FILE: Final = Path(__file__).with_name("followups.yaml")
_SIDES: Final[dict[Side, dict[str, str]]] = {
    "L": {"S": "left", "O": "right"},
    "R": {"S": "right", "O": "left"},
}
_PARTS: Final = {
    **{name: frozenset(BODY_PARTS[name]) for name in ("head", "trunk", "left_arm", "right_arm")},
    "arms": frozenset(BODY_PARTS["left_arm"] + BODY_PARTS["right_arm"]),
    "legs": frozenset(BODY_PARTS["left_leg"] + BODY_PARTS["right_leg"]),
}


@dataclass(frozen=True)
class Done:
    """A turn that was carried out.

    Attributes:
        text: what was typed.
        start: the pose before.
        state: the pose after.
        changes: whether it can be done again or to a higher degree: it told a change, not where to end.
        side: the one side that it was of; None where it was of none or both.
    """

    text: str
    start: State
    state: State
    changes: bool
    side: Side | None

    def moved(self) -> npt.NDArray[np.bool_]:
        """(24,) the joints that it turned."""
        moved: npt.NDArray[np.bool_] = (self.state.pose_aa != self.start.pose_aa).any(-1)
        return moved


@cache
def followup_words() -> Mapping[str, Any]:
    """The table of words."""
    words: Mapping[str, Any] = read_yaml(FOLLOWUPS_FILE)
    return words


def words_of(rng: np.random.Generator, name: str, side: Side | None = None) -> str:
    """One of the sentences of a list of the table; ``{S}`` is the side of the last turn."""
    options = followup_words()[name]
    table = _SIDES[side] if side is not None else {}
    usable = [text for text in options if side is not None or ("{S}" not in text and "{O}" not in text)]
    return expand(rng, usable[rng.integers(len(usable))], table)


def around(rng: np.random.Generator, name: str, text: str) -> str:
    """A clause in one of the frames of a list of the table."""
    options = followup_words()[name]
    return expand(rng, options[rng.integers(len(options))].replace("{}", "{it}"), {"it": text})


def scaled(rng: np.random.Generator, last: Done) -> tuple[str, State] | None:
    """More or less of the last change, or none of it; None where no more of it fits the joints' ranges."""
    rows = [row for row in followup_words()["scaled"] if last.changes or row.get("of") != "changes"]
    row = rows[rng.integers(len(rows))]
    text = expand(rng, row["say"][rng.integers(len(row["say"]))], {})
    if row["scale"] == 0.0:
        return text, last.start
    state = part_of_change(last, float(row["scale"]))
    if row["scale"] > 1 and _turned(state, last.state) < 0.3 * _turned(last.state, last.start):
        return None
    return text, state


def _turned(one: State, other: State) -> float:
    angle = matrix_to_axis_angle(other.local.transpose(-1, -2) @ one.local).norm(dim=-1).max()
    return float(angle) + abs(one.yaw - other.yaw)


def part_of_change(last: Done, scale: float) -> State:
    """The pose after so much of the last change: each joint along its turn, within its range."""
    before, after = last.start.local, last.state.local
    turn = matrix_to_axis_angle(before.transpose(-1, -2) @ after)
    local = before @ axis_angle_to_matrix(scale * turn)
    if scale > 1:
        prior = load_prior()
        now = matrix_to_axis_angle(after[FIRST:LAST])
        aa = matrix_to_axis_angle(local[FIRST:LAST])
        within = aa.clamp(torch.minimum(prior.low, now), torch.maximum(prior.high, now))
        local[FIRST:LAST] = axis_angle_to_matrix(within)
    still = torch.tensor(~last.moved())
    local[still] = after[still]
    yaw = last.start.yaw + scale * (last.state.yaw - last.start.yaw)
    return new_state(last.state, local, yaw)


def part_back(rng: np.random.Generator, last: Done) -> tuple[str, State] | None:
    """One part goes back and the rest of the change stays; None where only one part moved."""
    moved = frozenset(np.flatnonzero(last.moved()).tolist())
    parts = [name for name, joints in _PARTS.items() if joints & moved and moved - joints]
    if not parts:
        return None
    name = parts[rng.integers(len(parts))]
    names = followup_words()["parts"][name]
    part = names[rng.integers(len(names))]
    is_many = part.split()[-1] in ("arms", "legs", "feet")
    options = followup_words()["part_back"]
    slots = {"part": part, "it_is": "[they were|they were before]" if is_many else "[it was|it was before]"}
    text = expand(rng, options[rng.integers(len(options))], slots)
    local = last.state.local.clone()
    rows = sorted(_PARTS[name])
    local[rows] = last.start.local[rows]
    state = new_state(last.state, local, last.state.yaw)
    pose = state.pose_aa.copy()
    pose[rows] = last.start.pose_aa[rows]
    return text, State(pose, local, last.state.yaw)
