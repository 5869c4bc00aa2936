# SPDX-License-Identifier: Apache-2.0
"""The least change of poses that meets ranges of measures, for hundreds of poses at a time.

Each step solves a damped Gauss-Newton problem (Levenberg 1944, Marquardt 1963) for small turns of all joints that may
move. Squared are: what measures lack to their ranges; the turn of each joint from the start, so that what need not
move stays; the distance from recorded poses (``prior``); what passes a joint's range; how deep arms are in the body.
Where a measure's range is not reached from the start, the arms and legs begin elsewhere and it is tried again.

Legend: B poses, J = 24 joints, of which F turn; D = 3 F turns (three a joint, in its own frame); M measures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Final, NamedTuple

import torch
from torch import Tensor

from backend.body.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from blender_addon.contract.skeleton import JOINT_INDEX, NUM_JOINTS

from .body import DESCENDANTS, PLACE_JOINTS, Bodies, bodies
from .measures import DEGREES, Instances, Measure, measure, wrapped
from .prior import FIRST, LAST, load_prior

ANGLE_SCALE: Final = 2.0
LENGTH_SCALE: Final = 0.01
"""Degrees and metres that count as one where a measure misses its range."""
MET_DEGREES: Final = 3.0
MET_METRES: Final = 0.02
"""By how much a measure may miss and still count as met."""
SLACK: Final = 0.2
"""Part of that by which it may miss at the start and nothing need turn."""
STEPS: Final = 16
CHANGE_WEIGHT: Final = 0.5
PRIOR_WEIGHT: Final = 0.004
LIMIT_WEIGHT: Final = 400.0
FIRST_DAMPING: Final = 1.0
LEAST_DAMPING: Final = 0.003
MOST_DAMPING: Final = 300.0
FROZEN: Final = 1e9
LEAST_TURN: Final = 0.012
"""Radians; a joint that turned less is given back its start."""
STILL_TURN: Final = 0.02
"""Radians; a pose whose joints turned by less in a step is done."""
NEVER: Final = NUM_JOINTS - 1
"""A joint that never turns: a hand."""
_SIZES: Final = (-1, 5, 10, 16, NUM_JOINTS)
"""How many joints turn in the problems that are solved together."""
FEW: Final = 100
"""Fewer problems are solved together with those that turn more joints."""
MOST_TURN: Final = 0.45
"""Radians that a joint turns in one step at most."""

# How unwillingly joints turn, beside each other: a limb's root before its ends, the spine's joints all a little.
_STIFFNESS: Final = {
    "pelvis": 5.0, "spine1": 2.0, "spine2": 2.0, "spine3": 2.0, "neck": 1.2, "head": 1.0, "left_collar": 6.0,
    "left_shoulder": 0.7, "left_elbow": 0.7, "left_wrist": 1.6, "left_hip": 0.8, "left_knee": 0.8, "left_ankle": 1.0,
    "left_foot": 8.0, "left_hand": 50.0,
}  # fmt: skip


Begin = Callable[[Tensor, Tensor], Tensor]
"""From the start (B, J, 3, 3) and what may turn (B, J): where to begin."""


def _stiffness() -> Tensor:
    values = torch.ones(NUM_JOINTS)
    for name, value in _STIFFNESS.items():
        values[JOINT_INDEX[name]] = value
        values[JOINT_INDEX[name.replace("left_", "right_")]] = value
    return values


_STIFF: Final = _stiffness()


@dataclass(frozen=True)
class Want:
    """A measure of the result and its range, in degrees or metres; ``weight`` 1 must be met, less is a wish."""

    measure: Measure
    low: float
    high: float
    weight: float = 1.0


@dataclass(frozen=True)
class Problem:
    """What is asked of one pose.

    Attributes:
        start: (J, 3, 3) local rotations, the root without heading: what the change is counted from.
        free: (J,) which joints may turn.
        wants: what the result is to be like.
    """

    start: Tensor
    free: Tensor
    wants: Sequence[Want]


@dataclass(frozen=True)
class Solution:
    """``local`` (B, J, 3, 3), equal to the start's where nothing turned, whether all is met (B,), and by how much each
    measure misses, in units of what counts as met, for each pose."""

    local: Tensor
    met: Tensor
    misses: list[list[float]]


_ARM_POINTS: Final = ("elbow", "fore", "wrist", "palm", "tips")
_HULL: Final = (("pelvis", "spine2", 0.125), ("spine2", "neck", 0.12), ("neck", "crown", 0.085))
_AVOIDED: Final = tuple(
    (measure("clear", f"{side}_{point}", a, b), radius, JOINT_INDEX[f"{name}_shoulder"])
    for side, name in (("L", "left"), ("R", "right"))
    for point in _ARM_POINTS
    for a, b, radius in _HULL
)
_AVOIDED_PLACES: Final = torch.tensor([one.places for one, _, _ in _AVOIDED])
_AVOIDED_RADII: Final = torch.tensor([radius for _, radius, _ in _AVOIDED])
_AVOID_WEIGHT: Final = 0.35


def solve(problems: Sequence[Problem], *, steps: int = STEPS) -> Solution:
    """Meets what is asked of each pose as nearly as it can."""
    start = torch.stack([problem.start for problem in problems]).float()
    local = start.clone()
    misses: list[list[float]] = [[] for _ in problems]
    for rows in _groups([int(problem.free.sum()) for problem in problems]):
        local[rows], found = _solved_at_first([problems[row] for row in rows], steps)
        for row, miss in zip(rows, found, strict=True):
            misses[row] = miss
    missing = [row for row, miss in enumerate(misses) if max(miss, default=0.0) > 1.0]
    if missing:
        _solve_otherwise(problems, missing, local, misses, steps)
    turned = matrix_to_axis_angle(start.transpose(-1, -2) @ local).norm(dim=-1)
    local = torch.where((turned > LEAST_TURN)[..., None, None], local, start)
    met = torch.tensor([max(miss, default=0.0) <= 1.0 for miss in misses])
    return Solution(local, met, misses)


def _groups(counts: Sequence[int]) -> list[list[int]]:
    """Problems that are solved together, by how many joints turn in each.

    The most of a group decide how large every step is, so they are to turn about as many; and every group costs much
    the same time however few are in it.
    """
    groups: list[list[int]] = []
    open_one: list[int] = []
    for low, high in pairwise(_SIZES):
        open_one += [row for row, count in enumerate(counts) if low < count <= high]
        if len(open_one) >= FEW:
            groups.append(open_one)
            open_one = []
    if open_one:
        groups.append(open_one)
    return groups


def _solved_at_first(problems: Sequence[Problem], steps: int) -> tuple[Tensor, list[list[float]]]:
    """Poses (B, J, 3, 3) as found from the starts, and by how much each measure misses; where all is met at the start
    nothing turns."""
    start, free = _laid_out(problems)
    wants = [problem.wants for problem in problems]
    local = start.clone()
    batch = _Batch(start, free, wants)
    misses = batch.by_pose(batch.excess(start))
    rows = [row for row, miss in enumerate(misses) if max(miss, default=0.0) > SLACK]
    if rows:
        wanted = [wants[row] for row in rows]
        local[rows], found = _searched(
            start[rows], free[rows], wanted, _unlocked(start[rows], free[rows]), steps
        )
        for row, miss in zip(rows, found, strict=True):
            misses[row] = miss
    return local, misses


def _solve_otherwise(
    problems: Sequence[Problem], rows: Sequence[int], local: Tensor, misses: list[list[float]], steps: int
) -> None:
    """Tries the problems in ``rows``, which were not met, from the other beginnings, all in one batch; what misses by
    less takes the place of what was found, until all is met."""
    start, free = _laid_out([problems[row] for row in rows])
    plain = _unlocked(start, free)
    tried, begun = [], []
    for begin in _OTHER_BEGINNINGS:
        local_there = begin(start, free)
        differs = torch.nonzero((local_there - plain).abs().amax((1, 2, 3)) > 0)[:, 0]
        tried += differs.tolist()
        begun.append(local_there[differs])
    if not tried:
        return
    wants = [problems[rows[place]].wants for place in tried]
    found, missed = _searched(start[tried], free[tried], wants, torch.cat(begun), steps)
    for number, place in enumerate(tried):
        row = rows[place]
        if max(misses[row]) > 1.0 and sum(missed[number]) < sum(misses[row]):
            misses[row] = missed[number]
            local[row] = found[number]


def _laid_out(problems: Sequence[Problem]) -> tuple[Tensor, Tensor]:
    start = torch.stack([problem.start for problem in problems]).float()
    return start, torch.stack([problem.free for problem in problems])


def _searched(
    start: Tensor, free: Tensor, wants: Sequence[Sequence[Want]], begin: Tensor, steps: int
) -> tuple[Tensor, list[list[float]]]:
    """The poses after some steps from ``begin``, and by how much each measure misses; those that still move go on for
    as many steps again."""
    batch = _Batch(start, free, wants)
    local, moving = batch.solved(begin, steps // 2, FIRST_DAMPING)
    rows = torch.nonzero(moving)[:, 0]
    if len(rows):
        rest = _Batch(start[rows], free[rows], [wants[row] for row in rows])
        local[rows], _ = rest.solved(local[rows], steps - steps // 2, FIRST_DAMPING / 10)
    return local, batch.by_pose(batch.excess(local))


@cache
def _whole_prior() -> tuple[Tensor, Tensor, Tensor]:
    """The least and the most of each joint's rotation vector, (J, 3), without end where there is no prior, and the
    precision (J, 3, J, 3)."""
    prior = load_prior()
    low, high = torch.full((NUM_JOINTS, 3), -torch.inf), torch.full((NUM_JOINTS, 3), torch.inf)
    low[FIRST:LAST], high[FIRST:LAST] = prior.low, prior.high
    precision = torch.zeros(NUM_JOINTS, 3, NUM_JOINTS, 3)
    n = LAST - FIRST
    precision[FIRST:LAST, :, FIRST:LAST, :] = prior.precision.reshape(n, 3, n, 3)
    return low, high, precision


class _Model(NamedTuple):
    """The sum of squares at poses ``local``, with its derivatives by turns of the joints."""

    merit: Tensor  # (B,)
    local: Tensor  # (B, J, 3, 3)
    hessian: Tensor  # (B, D, D)
    gradient: Tensor  # (B, D, 1)


class _Pull(NamedTuple):
    """Numbers of some poses that are squared: how they change with places on the body, and what they are now."""

    rows: Tensor  # (m,) which pose
    slots: Tensor  # (m,) which of its numbers
    places: Tensor  # (m, K)
    of_places: Tensor  # (m, K, 3)
    missing: Tensor  # (m,)


def _side_by_side(parts: Sequence[Tensor]) -> Tensor:
    """Tensors (m, K, ...) of several K as one, filled up with zeros."""
    most = max(part.shape[1] for part in parts)
    whole = parts[0].new_zeros(sum(map(len, parts)), most, *parts[0].shape[2:])
    first = 0
    for part in parts:
        whole[first : first + len(part), : part.shape[1]] = part
        first += len(part)
    return whole


class _Batch:
    """Problems laid side by side."""

    def __init__(self, start: Tensor, free: Tensor, wants: Sequence[Sequence[Want]]) -> None:
        self.free = free
        flat = [want for some in wants for want in some]
        rows = [row for row, some in enumerate(wants) for _ in some]
        self.rows = torch.tensor(rows, dtype=torch.long)
        self.slots = torch.tensor([slot for some in wants for slot in range(len(some))], dtype=torch.long)
        self.most = max((len(some) for some in wants), default=0)
        self.instances = Instances(self.rows, [want.measure for want in flat])
        self.places = torch.unique(torch.cat([self.instances.places, _AVOIDED_PLACES.flatten()]))
        self.low = torch.tensor([want.low for want in flat])
        self.high = torch.tensor([want.high for want in flat])
        weights = torch.tensor([want.weight for want in flat])
        self.counted = weights >= 1.0
        scale = torch.where(self.instances.is_angle, ANGLE_SCALE, LENGTH_SCALE)
        self.factor = weights.sqrt() / scale
        # The joints that turn, (B, F), those of a pose with fewer filled up with one that never does.
        width = max(1, int(free.sum(1).max()))
        self.joints = torch.where(free, torch.arange(NUM_JOINTS), NEVER).sort(1).values[:, :width]
        self.valid = self.joints != NEVER
        self.every = torch.arange(len(start))[:, None]
        self.start = start[self.every, self.joints]
        self.start_aa = matrix_to_axis_angle(self.start)
        self.stiffness = CHANGE_WEIGHT * _STIFF[self.joints]
        low, high, precision = _whole_prior()
        self.low_aa = torch.minimum(low[self.joints], self.start_aa)
        self.high_aa = torch.maximum(high[self.joints], self.start_aa)
        chosen = precision[self.joints[:, :, None], :, self.joints[:, None, :], :]  # (B, F, F, 3, 3)
        size = 3 * width
        self.precision = PRIOR_WEIGHT * chosen.transpose(2, 3).reshape(len(start), size, size)

    def residuals(self, values: Tensor) -> Tensor:
        """What each measure is above its range, or (negative) below it."""
        middle = (self.low + self.high) / 2
        centred = torch.where(
            self.instances.wraps & middle.isfinite(), middle + wrapped(values - middle), values
        )
        over, under = (centred - self.high).clamp(min=0), (centred - self.low).clamp(max=0)
        return over + under

    def excess(self, local: Tensor) -> Tensor:
        """(M,) by how much each measure misses its range, in units of what counts as met."""
        if not self.instances.count:
            return torch.zeros(0)
        body = bodies(local)
        missing = self.residuals(self.instances.values(body.places, body.lowest)).abs()
        unit = torch.where(self.instances.is_angle, MET_DEGREES, MET_METRES)
        return torch.where(self.counted, missing / unit, 0.0)

    def by_pose(self, excess: Tensor) -> list[list[float]]:
        """The misses of each pose's measures."""
        misses: list[list[float]] = [[] for _ in range(len(self.start))]
        for row, value in zip(self.rows.tolist(), excess.tolist(), strict=True):
            misses[row].append(value)
        return misses

    def solved(self, local: Tensor, steps: int, damping: float) -> tuple[Tensor, Tensor]:
        """The best of so many steps from ``local``, and which poses still moved in the last (B,).

        A step that makes a pose worse is taken back and damped.
        """
        best = self._model(local)
        damped = torch.full((len(local),), damping)
        moving = torch.ones(len(local), dtype=torch.bool)
        for _ in range(steps):
            delta = self._step(best, damped)
            moved = best.local.clone()
            moved[self.every, self.joints] = moved[self.every, self.joints] @ axis_angle_to_matrix(delta)
            model = self._model(moved)
            better = model.merit < best.merit
            moving = ~better | (delta.norm(dim=-1).amax(1) > STILL_TURN)
            damped = (damped * torch.where(better, 0.3, 5.0)).clamp(LEAST_DAMPING, MOST_DAMPING)
            best = _Model(
                torch.where(better, model.merit, best.merit),
                torch.where(better[:, None, None, None], model.local, best.local),
                torch.where(better[:, None, None], model.hessian, best.hessian),
                torch.where(better[:, None, None], model.gradient, best.gradient),
            )
        return best.local, moving

    def _step(self, model: _Model, damping: Tensor) -> Tensor:
        """(B, F, 3) turns that lessen the merit."""
        hessian = model.hessian.clone()
        lone = damping[:, None] + (~self.valid) * FROZEN
        hessian.diagonal(dim1=1, dim2=2).add_(lone.repeat_interleave(3, dim=1))
        factor, failed = torch.linalg.cholesky_ex(hessian)
        if failed.any():
            # So steep that rounding hides the damping: those poses get much more of it.
            rows = failed > 0
            scale = hessian[rows].diagonal(dim1=1, dim2=2).amax(1).clamp(max=FROZEN) * 1e-3
            hessian[rows] += scale[:, None, None] * torch.eye(hessian.shape[1])
            again, still = torch.linalg.cholesky_ex(hessian[rows])
            again[still > 0] = torch.eye(hessian.shape[1]) * FROZEN  # no step at all
            factor[rows] = again
        delta: Tensor = -torch.cholesky_solve(model.gradient, factor).reshape(len(hessian), -1, 3)
        longest = delta.norm(dim=-1).amax(1)
        delta *= (MOST_TURN / longest.clamp(min=MOST_TURN))[:, None, None]
        return delta

    def _model(self, local: Tensor) -> _Model:
        """What is squared, at these poses, and its first and (nearly) second derivatives by small turns."""
        body = bodies(local, self.places)
        count, width = self.joints.shape
        hessian = torch.zeros(count, width, 3, width, 3)
        gradient = torch.zeros(count, width, 3)
        merit = self._add_measures(body, hessian, gradient)
        # The turn from the start.
        own = local[self.every, self.joints]
        turned = matrix_to_axis_angle(self.start.transpose(-1, -2) @ own)
        jacobian = _inverse_right_jacobian(turned)
        weight = self.stiffness[..., None]
        gradient += weight * _times(jacobian, turned)
        block = weight[..., None] * (jacobian.transpose(-1, -2) @ jacobian)
        merit += (weight * turned.square()).sum((1, 2))
        # Ranges of the joints.
        aa = matrix_to_axis_angle(own)
        jacobian = _inverse_right_jacobian(aa)
        passed = (aa - self.high_aa).clamp(min=0) + (aa - self.low_aa).clamp(max=0)
        outside = (passed != 0).float() * LIMIT_WEIGHT
        gradient += _times(jacobian, outside * passed)
        block += jacobian.transpose(-1, -2) @ (outside[..., None] * jacobian)
        merit += LIMIT_WEIGHT * passed.square().sum((1, 2))
        hessian.diagonal(dim1=1, dim2=3).add_(block.permute(0, 2, 3, 1))
        # A change costs by the prior's measure, so that joints turn together as people's do; no pull to its mean,
        # which would turn what need not turn.
        away = (aa - self.start_aa).reshape(count, -1, 1)
        pulled = (self.precision @ away).reshape(count, width, 3)
        gradient += _times(jacobian, pulled)
        merit += (away.reshape(count, width, 3) * pulled).sum((1, 2))
        # The precision itself stands for its product with the Jacobians, which are near one.
        hessian += self.precision.reshape(hessian.shape)
        valid = self.valid.float()
        gradient = gradient * valid[..., None]
        hessian *= valid[:, :, None, None, None] * valid[:, None, None, :, None]
        return _Model(merit, local, hessian.reshape(count, 3 * width, -1), gradient.reshape(count, -1, 1))

    def _add_measures(self, body: Bodies, hessian: Tensor, gradient: Tensor) -> Tensor:
        """Adds what the measures and the depth of the arms in the body pull at; returns the sum of squares (B,)."""
        parts: list[_Pull] = []
        if self.instances.count:
            values, gradients = self.instances.gradients(body.places, body.lowest)
            residual = self.residuals(values)
            active = residual != 0
            for form, chosen, slots, of_places in gradients:
                keep = active[chosen]
                if not keep.any():
                    continue
                numbers, slots, of_places = chosen[keep], slots[keep], of_places[keep]
                rows, factor = self.rows[numbers], self.factor[numbers]
                parts.append(
                    _Pull(
                        rows,
                        self.slots[numbers],
                        slots,
                        of_places * factor[:, None, None],
                        residual[numbers] * factor,
                    )
                )
                aux = self.instances.aux[numbers]
                points = body.places[rows[:, None], slots]
                for across, of_across in enumerate(_across(form, points, aux, residual[numbers])):
                    place = self.slots[numbers] + (1 + across) * self.most
                    parts.append(
                        _Pull(
                            rows, place, slots, of_across * factor[:, None, None], torch.zeros(len(numbers))
                        )
                    )
        deep = self._deep(body)
        if deep is not None:
            parts.append(deep)
        if not parts:
            return torch.zeros(len(gradient))
        most = 3 * self.most + len(_AVOIDED)
        # First the measures' slots, then two each for what stiffens them, then the depths'.
        rows, slots = torch.cat([part.rows for part in parts]), torch.cat([part.slots for part in parts])
        used = torch.zeros(len(gradient), most, dtype=torch.bool)
        used[rows, slots] = True
        place = used.cumsum(1) - 1  # close the gaps
        width = int(used.sum(1).max())
        stacked = torch.zeros(len(gradient), width, gradient[0].numel())
        missing = torch.zeros(len(gradient), width)
        jacobian = jacobian_of_places(
            body, rows, _side_by_side([part.places for part in parts]),
            _side_by_side([part.of_places for part in parts]), self.joints[rows],
        )  # fmt: skip
        stacked[rows, place[rows, slots]] = jacobian.reshape(len(rows), -1)
        missing[rows, place[rows, slots]] = torch.cat([part.missing for part in parts])
        hessian += (stacked.transpose(1, 2) @ stacked).reshape(hessian.shape)
        gradient += (stacked.transpose(1, 2) @ missing[..., None]).reshape(gradient.shape)
        return missing.square().sum(1)

    def _deep(self, body: Bodies) -> _Pull | None:
        """Arms that are in the trunk or the head."""
        points = body.places[:, _AVOIDED_PLACES]  # (B, A, 3, 3)
        p, a, b = points.unbind(2)
        along = b - a
        share = ((p - a) * along).sum(-1) / along.square().sum(-1)
        away = p - a - share.clamp(0, 1)[..., None] * along
        distance = away.norm(dim=-1)
        depth = _AVOIDED_RADII - distance
        moves = self.free[:, [shoulder for _, _, shoulder in _AVOIDED]]
        rows, which = torch.nonzero((depth > 0) & moves, as_tuple=True)
        if not len(rows):
            return None
        out = away[rows, which] / distance[rows, which, None].clamp(min=1e-4)
        share = share[rows, which].clamp(0, 1)[:, None]
        of_places = torch.stack([out, -(1 - share) * out, -share * out], dim=1)
        factor = _AVOID_WEIGHT / LENGTH_SCALE
        return _Pull(
            rows,
            3 * self.most + which,
            _AVOIDED_PLACES[which],
            of_places * factor,
            -depth[rows, which] * factor,
        )


def _times(jacobian: Tensor, vector: Tensor) -> Tensor:
    """(..., 3) transposed matrices (..., 3, 3) times vectors (..., 3)."""
    product: Tensor = (jacobian.transpose(-1, -2) @ vector[..., None]).squeeze(-1)
    return product


def _across(form: str, points: Tensor, aux: Tensor, residual: Tensor) -> list[Tensor]:
    """Gradients (m, K, 3) of what has no residual but stiffens a step: the curvature of a length or an angle.

    Near zero a length is the tip of a cone, and its gradient alone says nothing of steps to the side. The curvature of
    half the squared residual r of a length |v| is r / |v| across v; of an angle it is r / tan of it, across its plane.
    """
    gradients = torch.zeros_like(points)
    if form == "length":
        line = points[:, 1] - points[:, 0]
        length = line.norm(dim=-1).clamp(min=1e-4)
        along = line / length[:, None]
        first = torch.nn.functional.normalize(torch.linalg.cross(along, along.roll(1, -1) + 0.3), dim=-1)
        size = (residual / length).clamp(0, 1).sqrt()[:, None]
        both = []
        for direction in (first, torch.linalg.cross(along, first)):
            gradients = torch.zeros_like(points)
            gradients[:, 1], gradients[:, 0] = size * direction, -size * direction
            both.append(gradients)
        return both
    if form not in ("to_axis", "between"):
        return []
    u = points[:, 1] - points[:, 0]
    v = points[:, 3] - points[:, 2] if form == "between" else aux[:, :3]
    normal = torch.linalg.cross(u, v)
    sine = normal.norm(dim=-1)
    normal = normal / sine.clamp(min=1e-6)[:, None]
    angle = torch.atan2(sine, (u * v).sum(-1)).clamp(min=1e-3)
    size = (residual.deg2rad() / torch.tan(angle)).clamp(0, 1).sqrt()[:, None] * DEGREES
    change = size * normal / u.norm(dim=-1).clamp(min=1e-4)[:, None]
    gradients[:, 1], gradients[:, 0] = change, -change
    if form == "between":
        change = size * normal / v.norm(dim=-1).clamp(min=1e-4)[:, None]
        gradients[:, 3], gradients[:, 2] = -change, change
    return [gradients]


def jacobian_of_places(
    body: Bodies, rows: Tensor, slots: Tensor, of_places: Tensor, turning: Tensor
) -> Tensor:
    """(m, F, 3) what small turns of joints in their own frames change.

    Args:
        body: the poses.
        rows: (m,) which pose each is of.
        slots: (m, K) places.
        of_places: (m, K, 3) gradients by the positions of these places.
        turning: (m, F) the joints that turn.
    """
    count = len(slots)
    joints = PLACE_JOINTS[slots]  # (m, K, 2)
    wrench = torch.zeros(count * NUM_JOINTS, 6)  # force and moment about the pelvis
    first = torch.arange(0, count * NUM_JOINTS, NUM_JOINTS)[:, None]
    for half in (0, 1):
        places = body.halves[half][rows[:, None], slots]
        both = torch.cat([of_places, torch.linalg.cross(places, of_places)], dim=-1) / 2
        wrench.index_add_(0, (first + joints[..., half]).flatten(), both.flatten(0, 1))
    # (m, F, J) @ (m, J, 6)
    carried = DESCENDANTS[turning] @ wrench.reshape(count, NUM_JOINTS, 6)
    force, moment = carried[..., :3], carried[..., 3:]
    about = moment - torch.linalg.cross(body.pos[rows[:, None], turning], force)
    turns: Tensor = (body.rot[rows[:, None], turning].transpose(-1, -2) @ about[..., None]).squeeze(-1)
    return turns


def _inverse_right_jacobian(aa: Tensor) -> Tensor:
    """(..., 3, 3): d log(exp(aa) exp(d)) / d d at zero (Chirikjian 2012, "Stochastic Models", section 10.3)."""
    x, y, z = aa.unbind(-1)
    zero = torch.zeros_like(x)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).reshape(*aa.shape[:-1], 3, 3)
    squared = aa.square().sum(-1).clamp(max=9.6)
    small = squared < 1e-4
    angle = torch.where(small, torch.ones_like(squared), squared).sqrt()
    factor = 1 / angle.square() - (1 + angle.cos()) / (2 * angle * angle.sin())
    factor = torch.where(small, torch.full_like(squared, 1 / 12), factor)
    inverse: Tensor = torch.eye(3) + skew / 2 + factor[..., None, None] * (skew @ skew)
    return inverse


_HINGES: Final = {
    "left_elbow": (0.0, -1.0, 0.0), "right_elbow": (0.0, 1.0, 0.0),
    "left_knee": (1.0, 0.0, 0.0), "right_knee": (1.0, 0.0, 0.0),
}  # fmt: skip
_SOFT: Final = 0.12


def _unlocked(start: Tensor, free: Tensor) -> Tensor:
    """The start with straight elbows and knees bent a little: from dead straight no measure says which way."""
    local = start.clone()
    aa = matrix_to_axis_angle(start)
    for name, axis in _HINGES.items():
        joint = JOINT_INDEX[name]
        straight = (aa[:, joint].norm(dim=-1) < _SOFT) & free[:, joint]
        local[straight, joint] = axis_angle_to_matrix(_SOFT * torch.tensor(axis))
    return local


def _begin(turns: Mapping[str, tuple[float, float, float]]) -> Begin:
    """A beginning with some joints, where they may turn, at rotation vectors in degrees; both sides alike."""

    def begin(start: Tensor, free: Tensor) -> Tensor:
        local = _unlocked(start, free)
        for name, (x, y, z) in turns.items():
            for joint_name, aa in ((name, (x, y, z)), (name.replace("left_", "right_"), (x, -y, -z))):
                joint = JOINT_INDEX[joint_name]
                rows = free[:, joint]
                local[rows, joint] = axis_angle_to_matrix(torch.deg2rad(torch.tensor(aa)))
        return local

    return begin


_OTHER_BEGINNINGS: Final = (
    # Forearms in front of the body; hands beside the head; arms a little behind; deep knees.
    _begin({"left_shoulder": (20.0, -30.0, -50.0), "left_elbow": (0.0, -80.0, 0.0), "left_wrist": (0, 0, 0)}),
    _begin({"left_shoulder": (-20.0, -30.0, 35.0), "left_elbow": (0.0, -110.0, 0.0), "left_wrist": (0, 0, 0)}),
    _begin(
        {
            "left_shoulder": (-30.0, 30.0, -60.0), "left_elbow": (0.0, -60.0, 0.0), "left_wrist": (0, 0, 0),
            "left_hip": (-70.0, 0.0, 10.0), "left_knee": (80.0, 0.0, 0.0),
        }
    ),
)  # fmt: skip
