# SPDX-License-Identifier: Apache-2.0
"""What is asked of a pose in one turn, and its solution: many at a time.

A draft is a start pose and the patterns that are asked of it together, each bound to a side and to numbers. What
their ``set`` says is done first; then one problem is made of all their constraints. Changes and shares are counted from
the pose before. Legend: J = 24 joints; ``local`` (J, 3, 3) without heading; ``yaw`` radians.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from blender_addon.contract.kinematics import MIN_HORIZONTAL_FACING, heading, yaw_matrix
from blender_addon.contract.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from blender_addon.contract.skeleton import MIRROR, NUM_JOINTS
from training.data.constraints.measures import measure, wrapped
from training.data.constraints.solver import Problem, Want, solve

from .language import GROUPS, Constraint, PatternError, Side, constraints, joints, number, with_sign
from .loading import Pattern
from .postures import mirrored, posture
from .solving import ranges, values_of, wants_of
from .starts import Pose


@dataclass(frozen=True)
class Asked:
    """A pattern with its side and the numbers that were drawn."""

    pattern: Pattern
    side: Side
    values: Mapping[str, float]

    def numbers(self) -> dict[str, float]:
        """What values of constraints may name."""
        return with_sign(self.values, self.side)

    def constraints(self) -> list[Constraint]:
        """What its ``want`` asks for."""
        return [one for line in self.pattern.want for one in constraints(line, self.side, self.numbers())]

    def free(self) -> frozenset[int]:
        """The joints that constraints may turn."""
        return joints(self.pattern.move, self.side)


@dataclass(frozen=True)
class State:
    """A pose: ``pose_aa`` (J, 3) as it is given, and the same without its heading."""

    pose_aa: Pose
    local: Tensor
    yaw: float


@dataclass(frozen=True)
class Draft:
    """What is asked of ``start`` at once; ``before`` is the pose before the last turn, where there was one.

    ``in_view``: poses stand as a camera sees them (heading 0 faces it, +x is the right of the picture), and what is
    asked is measured in that frame instead of the body's own.
    """

    start: State
    asked: Sequence[Asked]
    before: State | None = None
    in_view: bool = False


@dataclass(frozen=True)
class Outcome:
    """The pose that a draft asks for, whether all of it is met, and the joints that may differ from the start."""

    state: State
    met: bool
    may_move: frozenset[int]

    def moved(self, start: State) -> npt.NDArray[np.bool_]:
        """(J,) which joints turned."""
        moved: npt.NDArray[np.bool_] = np.abs(self.state.pose_aa - start.pose_aa).max(-1) > 0
        return moved


def solve_drafts(drafts: Sequence[Draft]) -> list[Outcome]:
    """The outcome of each draft."""
    begins = [_set(draft) for draft in drafts]
    asked = [[one for part in draft.asked for one in part.constraints()] for draft in drafts]
    wants = wants_of(asked, torch.stack([_measured(draft, draft.start.local) for draft in drafts]))
    problems = []
    for draft, (local, turned, _), some in zip(drafts, begins, wants, strict=True):
        free = torch.zeros(NUM_JOINTS, dtype=torch.bool)
        free[list(frozenset[int]().union(*(part.free() for part in draft.asked if part.pattern.want)))] = True
        if free[0] and not _lies(local):
            # What is told in the body's frame is solved in the start's: a body that tilts does not turn.
            facing = float(np.degrees(draft.start.yaw + turned)) if draft.in_view else 0.0
            some = [*some, Want(_HEADING, facing, facing)]
        problems.append(Problem(_measured(draft, local, turned), free, some))
    solution = solve(problems)
    outcomes = []
    for row, (draft, (_, turned, touched)) in enumerate(zip(drafts, begins, strict=True)):
        free_joints = frozenset(torch.nonzero(problems[row].free)[:, 0].tolist())
        solved = solution.local[row]
        if draft.in_view:
            solved = _turned(solved, -draft.start.yaw - turned) if 0 in free_joints else solved.clone()
            if 0 not in free_joints:
                solved[0] = begins[row][0][0]
        outcomes.append(
            Outcome(
                new_state(draft.start, solved, draft.start.yaw + turned),
                bool(solution.met[row]),
                free_joints | touched,
            )
        )
    return outcomes


def _measured(draft: Draft, local: Tensor, turned: float = 0.0) -> Tensor:
    """Local rotations without heading in the frame that a draft is measured in; ``turned``: by how much the body is."""
    return _turned(local, draft.start.yaw + turned) if draft.in_view else local


def _turned(local: Tensor, yaw: float) -> Tensor:
    """Local rotations (J, 3, 3) with the whole body turned by ``yaw`` radians."""
    local = local.clone()
    local[0] = torch.tensor(yaw_matrix(yaw), dtype=local.dtype) @ local[0]
    return local


def in_view(state: State) -> Tensor:
    """(J, 3, 3) local rotations of a pose with its heading, for measuring as the camera sees it."""
    return _turned(state.local, state.yaw)


_HEADING: Final = measure("azim", "pelvis", "pelvis.z")


def _lies(local: Tensor) -> bool:
    """Whether the pelvis (of local rotations (J, 3, 3)) faces so nearly up or down that it has no heading."""
    return float(local[0, 0, 2] ** 2 + local[0, 2, 2] ** 2) < MIN_HORIZONTAL_FACING**2


def state_of(pose_aa: Pose) -> State:
    """A pose (24, 3) with and without its heading."""
    local = axis_angle_to_matrix(np.asarray(pose_aa, dtype=np.float64))
    yaw = float(heading(local[0]))
    local[0] = yaw_matrix(-yaw) @ local[0]
    return State(np.asarray(pose_aa, dtype=np.float32), torch.tensor(local, dtype=torch.float32), yaw)


def new_state(start: State, local: Tensor, yaw: float) -> State:
    """The new pose; joints that are as they were keep their very numbers."""
    same = (local - start.local).abs().amax((-1, -2)) < 1e-6
    if abs(yaw - start.yaw) > 1e-6:
        same[0] = False
    turned = local.double().numpy().copy()
    turned[0] = yaw_matrix(yaw) @ turned[0]
    pose = matrix_to_axis_angle(turned).astype(np.float32)
    return State(np.where(same.numpy()[:, None], start.pose_aa, pose), local, yaw)


def holds(asked: Sequence[Constraint], before: Tensor, after: Tensor, *, slack: float = 1.0) -> list[bool]:
    """Whether each constraint holds of ``after`` (J, 3, 3), changes being counted from ``before``.

    ``slack`` is in units of 10 degrees and 5 centimetres, as people differ in what they call done.
    """
    if not asked:
        return []
    now = values_of([0] * len(asked), asked, before[None]).tolist()
    then = values_of([0] * len(asked), asked, after[None])
    told = torch.tensor(ranges(asked, now))
    middle = told.mean(1)
    is_angle = torch.tensor([one.measure.is_angle for one in asked])
    centred = torch.where(is_angle & middle.isfinite(), middle + wrapped(then - middle), then)
    missing = torch.maximum(told[:, 0] - centred, centred - told[:, 1])
    return (missing <= slack * torch.where(is_angle, 10.0, 0.05)).tolist()


# -- what is set before ---------------------------------------------------------------------------------------


def _set(draft: Draft) -> tuple[Tensor, float, frozenset[int]]:
    """The start after what is set, by how much it turned (radians), and the joints that were set."""
    local, turned, touched = draft.start.local.clone(), 0.0, set[int]()
    for part in draft.asked:
        for line in part.pattern.set:
            local, by, chosen = _done(line, part, draft, local)
            turned += by
            touched |= chosen
    return local, turned, frozenset(touched)


def _done(line: str, part: Asked, draft: Draft, local: Tensor) -> tuple[Tensor, float, set[int]]:
    action, *rest = line.split()
    if action == "turn":
        return local, float(np.radians(number(" ".join(rest), part.numbers()))), {0}
    if action == "face":
        if not draft.in_view:
            raise PatternError(f"{line!r}: only what is asked as a camera sees it can face a direction")
        goal = number(rest[0], part.numbers()) - float(np.degrees(draft.start.yaw))
        share = float(rest[1]) if len(rest) > 1 else 1.0
        return local, float(np.radians(share * ((goal + 180.0) % 360.0 - 180.0))), {0}
    if action == "pose":
        chosen = _groups(" ".join(rest[1:]) or "all", part.side)
        return _taken(local, posture(rest[0], part.side), chosen), 0.0, chosen
    chosen = _groups(" ".join(rest) or "all", part.side)
    if action == "rest":
        return _taken(local, posture("standing"), chosen), 0.0, chosen
    if action == "zero":
        return _taken(local, torch.eye(3).expand(NUM_JOINTS, 3, 3), chosen), 0.0, chosen
    if action in ("mirror", "swap"):
        if action == "swap":
            chosen |= {MIRROR[joint] for joint in chosen}
        return _taken(local, mirrored(local), chosen), 0.0, chosen
    if action == "back":
        if draft.before is None:
            raise PatternError(f"{line!r}: there is nothing to go back to without first:")
        by = draft.before.yaw - draft.start.yaw if 0 in chosen else 0.0
        return _taken(local, draft.before.local, chosen), by, chosen
    raise PatternError(f"set: {line!r} is none of turn, face, pose, rest, zero, mirror, swap, back")


def _groups(words: str, side: Side) -> set[int]:
    return set(joints(words, side)) & set(GROUPS["all"])


def _taken(local: Tensor, source: Tensor, chosen: set[int]) -> Tensor:
    local = local.clone()
    rows = sorted(chosen)
    local[rows] = source[rows]
    return local
