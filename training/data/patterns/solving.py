# SPDX-License-Identifier: Apache-2.0
"""From constraints in words to what the solver is to reach. Legend: J = 24 joints, B poses, M constraints."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from blender_addon.contract.skeleton import NUM_JOINTS
from training.data.constraints.body import bodies
from training.data.constraints.measures import Instances
from training.data.constraints.solver import Problem, Want, solve

from .language import Constraint


def solve_from(local: Tensor, free: frozenset[int], asked: Sequence[Constraint]) -> tuple[Tensor, bool]:
    """(J, 3, 3) local rotations that meet constraints from a single start, and whether they do."""
    mask = torch.zeros(NUM_JOINTS, dtype=torch.bool)
    mask[list(free)] = True
    solution = solve([Problem(local, mask, wants_of([asked], local[None])[0])])
    return solution.local[0], bool(solution.met[0])


def values_of(rows: Sequence[int], asked: Sequence[Constraint], local: Tensor) -> Tensor:
    """(M,) what the measures of constraints are in the poses (B, J, 3, 3) in ``rows``."""
    body = bodies(local)
    return Instances(torch.tensor(rows), [one.measure for one in asked]).values(body.places, body.lowest)


def ranges(asked: Sequence[Constraint], now: Sequence[float]) -> list[tuple[float, float]]:
    """The ranges that constraints stand for, given what their measures are at the start."""
    found = []
    for one, value in zip(asked, now, strict=True):
        if one.relation == "is":
            found.append((one.low, one.high))
        elif one.relation == "keep":
            found.append((value, value))
        elif one.relation == "by":
            found.append((value + one.low, value + one.high))
        else:
            found.append((value * one.low, value * one.high))
    return found


def wants_of(asked: Sequence[Sequence[Constraint]], local: Tensor) -> list[list[Want]]:
    """What the solver is to reach for the constraints of each of the poses (B, J, 3, 3)."""
    flat = [one for some in asked for one in some]
    rows = [row for row, some in enumerate(asked) for _ in some]
    now = values_of(rows, flat, local).tolist() if flat else []
    wants: list[list[Want]] = [[] for _ in asked]
    for row, one, (low, high) in zip(rows, flat, ranges(flat, now), strict=True):
        wants[row].append(Want(one.measure, low, high, one.weight))
    return wants
