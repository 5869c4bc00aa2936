# SPDX-License-Identifier: Apache-2.0
"""Legs, knees and feet: raising, swinging, bending, stepping, stance.

Every kind is written for the left leg. An edit of one leg leaves the other leg and the root as they are, so the
foot's height over the floor follows from the pose.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from .amounts import Amount, degrees, distance, draw_amount
from .kinds import Edit, KindFunction, kind
from .posed_body import FRONT, LEFT, UP, PosedBody, Side, turn
from .reach import body_frame, finish, sided_turn
from .stance import (
    HIP_LIMIT,
    KNEE_LIMIT,
    LEG_LENGTH,
    ankle_in_frame,
    both_legs,
    foot_level,
    foot_moved,
    foot_placed,
    hip_abduction,
    hip_flexion,
    hip_swung,
    leg_folded,
    leg_set,
    standing_leg,
    thigh_in_frame,
    thigh_lowered,
)

_L: Final[Side] = "left"
_R: Final[Side] = "right"

# Swing of the leg: axis and sign of the turn at the hip, where a plain request takes it, how far it can go.
_SWINGS: Final = {
    "forward": (LEFT, -1.0, 50.0, 100.0),
    "side": (FRONT, 1.0, 45.0, 85.0),
    "back": (LEFT, 1.0, 32.0, 50.0),
}


def _swing_angle(start: PosedBody, way: str) -> float:
    """How far the left thigh is swung in a direction, degrees."""
    if way == "side":
        return hip_abduction(start, _L)
    return hip_flexion(start, _L) * (1.0 if way == "forward" else -1.0)


def _swung_to(start: PosedBody, way: str, angle: float) -> PosedBody:
    """The straight left leg at an angle from the vertical in a direction."""
    if way == "side":
        return leg_set(start, _L, out=angle)
    return leg_set(start, _L, flexion=angle if way == "forward" else -angle)


def _swing(
    rng: np.random.Generator,
    start: PosedBody,
    way: str,
    typical: float | None = None,
    *,
    rising: bool = False,
) -> Edit | None:
    """``rising``: a leg that hangs behind is swung past the vertical first, so that "a bit" does raise it."""
    axis, sign, usual, limit = _SWINGS[way]
    usual = usual if typical is None else typical
    angle = _swing_angle(start, way)
    amount = draw_amount(rng, usual, numbers=(5, limit), slight=18.0 / usual, large=1.55)
    if amount.group in ("plain", "large"):
        if angle > limit - 15.0:
            return None
        wanted = min(limit, max(amount.value, angle + (20.0 if way != "back" else 12.0)))
        return finish(rng, start, _swung_to(start, way, wanted), amount.slots)
    value = amount.value
    if rising and amount.group == "slight":
        _, y, z = ankle_in_frame(start, _L)
        value += max(0.0, float(np.degrees(np.arctan2(-z, -y))))
    if thigh_in_frame(start, _L)[1] > -0.25 or angle + value > limit + 5.0:
        return None
    return finish(rng, start, hip_swung(start, _L, axis, sign * value), amount.slots)


@kind("leg.raise", family="leg", weight=1.6)
def leg_raise(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    out = hip_abduction(start, _L)
    sideways = out > 30.0 and out > abs(hip_flexion(start, _L))
    way, typical = ("side", None) if sideways else ("forward", 60.0)
    return _swing(rng, start, way, typical, rising=not sideways)


@kind("leg.forward", family="leg", weight=1.2)
def leg_forward(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    return _swing(rng, start, "forward")


@kind("leg.side", family="leg", weight=1.4)
def leg_side(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    return _swing(rng, start, "side")


@kind("leg.back", family="leg", weight=1.2)
def leg_back(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    return _swing(rng, start, "back")


@kind("leg.in", family="leg", weight=0.5)
def leg_in(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    out = hip_abduction(start, _L)
    if thigh_in_frame(start, _L)[1] > -0.25 or out < -15.0:
        return None
    amount = draw_amount(rng, 25.0, numbers=(5, 50))
    if out - amount.value < -32.0:
        return None
    return finish(rng, start, hip_swung(start, _L, FRONT, -amount.value), amount.slots)


@kind("leg.higher", family="leg", weight=0.8)
def leg_higher(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    out, flexion = hip_abduction(start, _L), hip_flexion(start, _L)
    way = "side" if out > 25.0 and out > abs(flexion) else "back" if flexion < -12.0 else "forward"
    angle = _swing_angle(start, way)
    axis, sign, _, limit = _SWINGS[way]
    if angle < 12.0 or thigh_in_frame(start, _L)[1] > 0.3:
        return None
    amount = draw_amount(rng, 22.0, numbers=(5, 60), slight=0.5)
    if angle + amount.value > limit + 5.0:
        return None
    return finish(rng, start, hip_swung(start, _L, axis, sign * amount.value), amount.slots)


def _is_raised(start: PosedBody, side: Side) -> bool:
    other: Side = "right" if side == "left" else "left"
    off = max(hip_flexion(start, side), hip_abduction(start, side), -1.3 * hip_flexion(start, side))
    higher = ankle_in_frame(start, side)[1] - ankle_in_frame(start, other)[1]
    return off > 35.0 or higher > 0.12


@kind("leg.lower", family="leg", weight=1.2)
def leg_lower(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    if not _is_raised(start, _L):
        return None
    amount = draw_amount(rng, 25.0, numbers=(5, 60), slight=0.6, large=1.6)
    if amount.group == "plain":
        return finish(rng, start, standing_leg(start, _L), amount.slots)
    away = float(np.degrees(np.arccos(np.clip(-thigh_in_frame(start, _L)[1], -1.0, 1.0))))
    if amount.value > away:
        return None
    return finish(rng, start, thigh_lowered(start, _L, amount.value), amount.slots)


@kind("leg.lower_halfway", family="leg", weight=0.4)
def leg_lower_halfway(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    away = float(np.degrees(np.arccos(np.clip(-thigh_in_frame(start, _L)[1], -1.0, 1.0))))
    if not _is_raised(start, _L) or away < 25.0:
        return None
    target = thigh_lowered(start, _L, away / 2)
    return finish(rng, start, target.knee_bent_to(_L, start.knee_flexion(_L) / 2))


@kind("leg.down", family="leg", weight=1.5)
def leg_down(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    """The foot back on the floor: under its hip and level with the other foot if that stands.

    Beside a knee that is bent a little the leg is set down almost straight, a few centimetres lower.
    """
    if not _is_raised(start, _L):
        return None
    if not _stands_on(start, _R):
        return finish(rng, start, standing_leg(start, _L))
    other = (body_frame(start).T @ (start.at("right_ankle") - start.at("left_hip")))[1]
    if other < -LEG_LENGTH * np.cos(np.radians(30.0)):
        other = min(other, -LEG_LENGTH * np.cos(np.radians(16.0)))
    if other < -0.6:
        target = standing_leg(start, _L)
        if other > -LEG_LENGTH + 0.01:
            target = foot_level(foot_placed(target, _L, [0.03, other, 0.0]), _L)
        return finish(rng, start, target)
    return finish(rng, start, standing_leg(start, _L))


@kind("leg.to_angle", family="leg", weight=1.6)
def leg_to_angle(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    way = str(rng.choice(["forward", "side", "back"], p=[0.45, 0.4, 0.15]))
    value, text = degrees(rng, 10, {"forward": 100, "side": 80, "back": 45}[way])
    return finish(rng, start, _swung_to(start, way, value), {"angle": text}, way, absolute=True)


@kind("leg.horizontal", family="leg", weight=0.7)
def leg_horizontal(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    way = "forward" if rng.random() < 0.6 else "side"
    return finish(
        rng, start, _swung_to(start, way, 90.0 if way == "forward" else 85.0), variant=way, absolute=True
    )


@kind("leg.kick", family="leg", weight=1.0)
def leg_kick(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    way = str(rng.choice(["forward", "side", "back"], p=[0.5, 0.3, 0.2]))
    angle = {"forward": 75.0, "side": 65.0, "back": 45.0}[way]
    return finish(rng, start, _swung_to(start, way, angle), variant=way, absolute=True)


@kind("leg.stand_on", family="leg", weight=0.9)
def leg_stand_on(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    """On the left leg alone: it stands straight, the right knee is lifted."""
    target = leg_set(standing_leg(start, _L), _R, flexion=65.0, knee=85.0)
    return finish(rng, start, target, absolute=True)


# -- knees -------------------------------------------------------------------------------------------------


@kind("knee.raise", family="leg", weight=1.8)
def knee_raise(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    flexion = hip_flexion(start, _L)
    amount = draw_amount(rng, 90.0, numbers=(5, 100), slight=0.28, large=1.25)
    if amount.group in ("plain", "large"):
        if flexion > HIP_LIMIT - 15.0:
            return None
        wanted = min(HIP_LIMIT - 5.0, max(amount.value, flexion + 25.0))
        return finish(rng, start, leg_set(start, _L, flexion=wanted, knee=min(wanted, 100.0)), amount.slots)
    if flexion + amount.value > HIP_LIMIT or thigh_in_frame(start, _L)[1] > 0.3:
        return None
    target = hip_swung(start, _L, LEFT, -amount.value)
    # The shank goes on hanging as it does, so that the foot is not swung forward.
    knee = min(start.knee_flexion(_L) + amount.value, 120.0)
    return finish(rng, start, target.knee_bent_to(_L, knee), amount.slots)


@kind("knee.raise_distance", family="leg", weight=0.4)
def knee_raise_distance(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    x, y, z = thigh_in_frame(start, _L)
    rise, text = distance(rng, 0.03, 0.4)
    height = y + rise / 0.416
    if z < -0.3 or abs(x) > 0.4 or height > 0.35:
        return None
    reach = np.sqrt(1.0 - x**2)
    flexion = float(np.degrees(np.arctan2(np.sqrt(max(0.0, reach**2 - height**2)), -height)))
    change = flexion - hip_flexion(start, _L)
    if change < 3.0:
        return None
    target = hip_swung(start, _L, LEFT, -change)
    knee = min(start.knee_flexion(_L) + change, 120.0)
    return finish(rng, start, target.knee_bent_to(_L, knee), {"distance": text})


@kind("knee.to_chest", family="leg", weight=0.5)
def knee_to_chest(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    return finish(rng, start, leg_set(start, _L, flexion=HIP_LIMIT, knee=130.0), absolute=True)


@kind("knee.thigh_horizontal", family="leg", weight=0.5)
def knee_thigh_horizontal(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    return finish(rng, start, leg_set(start, _L, flexion=90.0, knee=90.0), absolute=True)


@kind("knee.bend", family="knee", weight=2.0)
def knee_bend(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    bend = start.knee_flexion(_L)
    amount = draw_amount(rng, 50.0, numbers=(5, 120), slight=0.36)
    wanted = _bent(bend, amount)
    return None if wanted is None else finish(rng, start, start.knee_bent_to(_L, wanted), amount.slots)


def _bent(bend: float, amount: Amount) -> float | None:
    """The knee's bend after bending by an amount, or None where that is too far."""
    wanted = bend + amount.value
    if wanted <= KNEE_LIMIT - 5.0:
        return wanted
    if amount.group == "number" or bend > KNEE_LIMIT - 25.0:
        return None
    return KNEE_LIMIT - 5.0


def _unbent(bend: float, amount: Amount) -> float | None:
    """The knee's bend after straightening by an amount, or None where there is nothing to straighten."""
    if bend < 12.0:
        return None
    if amount.group == "plain":
        return 0.0
    if amount.group == "slight":
        return bend - min(0.5 * bend, amount.value)
    if amount.group == "large":
        return 0.2 * bend
    return None if amount.value > bend + 1.0 else max(0.0, bend - amount.value)


@kind("knee.bend_to", family="knee", weight=1.2)
def knee_bend_to(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    value, text = degrees(rng, 10, 140)
    variant = "bend" if value > start.knee_flexion(_L) else "open"
    return finish(rng, start, start.knee_bent_to(_L, value), {"angle": text}, variant, absolute=True)


@kind("knee.bend_halfway", family="knee", weight=0.4)
def knee_bend_halfway(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    bend = start.knee_flexion(_L)
    return None if bend > 100.0 else finish(rng, start, start.knee_bent_to(_L, (bend + 140.0) / 2))


@kind("knee.heel_to_seat", family="knee", weight=0.5)
def knee_heel_to_seat(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    return finish(rng, start, leg_set(start, _L, flexion=0.0, knee=140.0), absolute=True)


@kind("knees.bend", family="knee", weight=1.8)
def knees_bend(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    amount = draw_amount(rng, 50.0, numbers=(5, 120), slight=0.36)

    def bend(body: PosedBody, side: Side) -> PosedBody | None:
        wanted = _bent(body.knee_flexion(side), amount)
        return None if wanted is None else leg_folded(body, side, wanted)

    return finish(rng, start, both_legs(start, bend), amount.slots)


@kind("knees.bend_to", family="knee", weight=0.8)
def knees_bend_to(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    value, text = degrees(rng, 10, 135)
    if rng.random() < 0.25:
        value, text = 90.0, "[a right angle|right angles|a 90 degree angle|90]"
    return finish(
        rng, start, both_legs(start, lambda body, side: leg_folded(body, side, value)), {"angle": text},
        absolute=True,
    )  # fmt: skip


def _stands_on(start: PosedBody, side: Side) -> bool:
    """Whether the foot is roughly below its hip, so that straightening the leg lifts the body."""
    x, y, z = ankle_in_frame(start, side)
    return bool(y < 0 and np.hypot(x, z) < 0.5 * -y)


@kind("knees.straighten", family="knee", weight=1.6)
def knees_straighten(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    """Standing legs straighten along the line from hip to foot, so that the body rises; others at the knee."""
    amount = draw_amount(rng, 50.0, numbers=(5, 120), slight=0.36)
    standing = _stands_on(start, _L) and _stands_on(start, _R)
    if max(start.knee_flexion(_L), start.knee_flexion(_R)) < 15.0:
        return None

    def straighten(body: PosedBody, side: Side) -> PosedBody | None:
        bend = body.knee_flexion(side)
        wanted = _unbent(bend, amount)
        if wanted is None:
            return None if amount.group == "number" else body
        return leg_folded(body, side, wanted) if standing else body.knee_bent_to(side, wanted)

    return finish(rng, start, both_legs(start, straighten), amount.slots)


@kind("knees.apart", family="leg", weight=0.5)
def knees_apart(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    """The thighs turned outward about the vertical (sitting) or swung outward (standing)."""
    amount = draw_amount(rng, 18.0, numbers=(5, 40))
    return finish(rng, start, both_legs(start, lambda f, s: _thigh_opened(f, s, amount.value)), amount.slots)


@kind("knees.closer", family="leg", weight=0.4)
def knees_closer(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    gap = float(np.linalg.norm(start.at("left_knee") - start.at("right_knee")))
    amount = draw_amount(rng, 0.25, numbers=(5, 30), slight=0.4)
    if gap < 0.3:
        return None
    closing = {"slight": 7.0, "plain": 16.0, "large": 24.0}.get(amount.group)
    if closing is None:
        return None
    target = both_legs(start, lambda f, s: _thigh_opened(f, s, -closing))
    if target is None or (target.at("left_knee") - target.at("right_knee")) @ target.rot[0][:, 0] < 0.06:
        return None
    return finish(rng, start, target, amount.slots)


def _thigh_opened(start: PosedBody, side: Side, angle: float) -> PosedBody:
    """The thigh turned outward by an angle about the axis across it in the plane of the body's front."""
    thigh = thigh_in_frame(start, side)
    upright = abs(thigh[1]) > 0.6
    return hip_swung(start, side, FRONT if upright else UP, angle)


# -- feet --------------------------------------------------------------------------------------------------


def _foot_step(direction: tuple[float, float, float], typical: float = 0.25) -> KindFunction:
    """A kind that moves the left foot along the floor, or straight up, by an amount."""

    def move(rng: np.random.Generator, start: PosedBody) -> Edit | None:
        amount = draw_amount(rng, typical, numbers=(0.03, 0.45), unit="metres", slight=0.36, large=1.6)
        step = np.array(direction) * amount.value
        place = ankle_in_frame(start, _L) + step
        if np.hypot(place[0], place[2]) > 0.62 or not -LEG_LENGTH - 0.15 < place[1] < -0.1:
            return None
        if direction[0] < 0 and place[0] < -0.3:
            return None
        return finish(rng, start, foot_moved(start, _L, step), amount.slots)

    return move


kind("foot.forward", family="leg", weight=1.4)(_foot_step((0, 0, 1)))
kind("foot.back", family="leg", weight=1.4)(_foot_step((0, 0, -1)))
kind("foot.out", family="leg", weight=1.3)(_foot_step((1, 0, 0), 0.22))
kind("foot.in", family="leg", weight=0.9)(_foot_step((-1, 0, 0), 0.18))
kind("foot.up", family="leg", weight=1.1)(_foot_step((0, 1, 0)))


@kind("foot.lower", family="leg", weight=0.6)
def foot_lower(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    x, y, z = ankle_in_frame(start, _L)
    amount = draw_amount(rng, 0.2, numbers=(0.03, 0.4), unit="metres", slight=0.4, large=1.6)
    lowest = -np.sqrt(max(0.0, LEG_LENGTH**2 - x**2 - z**2)) + 0.003
    if y - amount.value < lowest or not _is_raised(start, _L):
        return None
    return finish(rng, start, foot_moved(start, _L, [0, -amount.value, 0]), amount.slots)


def _beside(start: PosedBody, offset: tuple[float, float]) -> PosedBody | None:
    """The left ankle beside the right one: ``offset`` metres outward and ahead of it, as low as it."""
    frame = body_frame(start)
    other = frame.T @ (start.at("right_ankle") - start.at("left_hip"))
    place = [other[0] + offset[0], other[1], other[2] + offset[1]]
    if other[1] > -0.45 or np.hypot(place[0], place[2]) > 0.65:
        return None
    moved = foot_placed(start, _L, place)
    return foot_level(moved, _L)


@kind("foot.in_front_of_other", family="leg", weight=0.7)
def foot_in_front(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    return finish(rng, start, _beside(start, (0.04, 0.3)), absolute=True)


@kind("foot.behind_other", family="leg", weight=0.6)
def foot_behind(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    return finish(rng, start, _beside(start, (0.04, -0.3)), absolute=True)


@kind("foot.beside_other", family="leg", weight=0.6)
def foot_beside(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    return finish(rng, start, _beside(start, (0.16, 0.0)), absolute=True)


def _is_upright(start: PosedBody) -> bool:
    """Nobody steps who lies or stands on the hands."""
    return bool(start.rot_of("pelvis")[1, 1] > 0.5)


_STEPS: Final = {"forward": (0.17, 0.38), "back": (0.17, -0.36), "side": (0.5, 0.0)}


@kind("step", family="leg", weight=1.6)
def step(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    """The left foot is set down ahead of, behind or beside the right one; the right leg stays."""
    way = str(rng.choice(["forward", "back", "side"], p=[0.45, 0.3, 0.25]))
    target = _beside(start, _STEPS[way]) if _is_upright(start) else None
    if target is None:
        return None
    # A step goes on from where the foot is: a foot that is there already is set a little further.
    change = ankle_in_frame(target, _L) - ankle_in_frame(start, _L)
    if change @ {"forward": FRONT, "back": -FRONT, "side": LEFT}[way] < 0.12:
        return None
    return finish(rng, start, target, variant=way)


@kind("step.any", family="leg", weight=0.8, mirrored=False)
def step_any(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    """A step whose foot the words leave open: the one further from the goal, the left one in doubt."""
    way = "forward" if rng.random() < 0.65 else "back"
    ahead = (body_frame(start).T @ (start.at("left_ankle") - start.at("right_ankle")))[2]
    right = ahead > 0.04 if way == "forward" else ahead < -0.04
    target = _beside(start.mirrored() if right else start, _STEPS[way]) if _is_upright(start) else None
    if target is None:
        return None
    target = PosedBody(target.mirrored().local, start.yaw) if right else target
    return finish(rng, start, target, variant=way)


# -- stance ------------------------------------------------------------------------------------------------


def _gap(start: PosedBody) -> float:
    """How far apart the ankles are sideways, metres."""
    return float((body_frame(start).T @ (start.at("left_ankle") - start.at("right_ankle")))[0])


def _widened(start: PosedBody, change: float) -> PosedBody | None:
    if not -0.05 < _gap(start) + change < 1.15:
        return None
    for side in (_L, _R):
        x, y, z = ankle_in_frame(start, side)
        if np.hypot(x + change / 2, z) > 0.68 or y > -0.2:
            return None
    return both_legs(start, lambda body, side: foot_moved(body, side, [change / 2, 0, 0]))


@kind("feet.apart", family="leg", weight=3.0)
def feet_apart(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    amount = draw_amount(rng, 0.38, numbers=(0.05, 0.6), unit="metres", slight=0.4, large=1.6)
    return finish(rng, start, _widened(start, amount.value), amount.slots)


@kind("feet.closer", family="leg", weight=2.2)
def feet_closer(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    gap = _gap(start)
    if gap < 0.24:
        return None
    amount = draw_amount(rng, 0.25, numbers=(0.05, 0.5), unit="metres", slight=0.4)
    if amount.group == "number" and gap - amount.value < 0.03:
        return None
    nearest = {"plain": 0.16, "number": 0.03}.get(amount.group, 0.1)
    change = min(amount.value, gap - nearest)
    return finish(rng, start, _widened(start, -change), amount.slots) if change > 0.03 else None


def _stance(start: PosedBody, gap: float) -> PosedBody | None:
    """Both feet on one line across, ``gap`` metres apart, as low as the lower one is."""
    low = min(ankle_in_frame(start, _L)[1], ankle_in_frame(start, _R)[1])
    if low > -0.3:
        return None
    ahead = (ankle_in_frame(start, _L)[2] + ankle_in_frame(start, _R)[2]) / 2
    if abs(ahead) > 0.45:
        return None
    out = gap / 2 - 0.086
    return both_legs(start, lambda f, s: foot_level(foot_placed(f, s, [out, low, ahead]), s))


@kind("feet.width", family="leg", weight=2.4)
def feet_width(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    variant = str(
        rng.choice(["together", "hip", "shoulder", "wide", "number"], p=[0.3, 0.1, 0.18, 0.14, 0.28])
    )
    slots = {}
    gap = {"together": 0.09, "hip": 0.18, "shoulder": 0.38, "wide": 0.75}.get(variant, 0.0)
    if variant == "number":
        gap, text = distance(rng, 0.05, 0.8)
        slots = {"distance": text}
    return finish(rng, start, _stance(start, gap), slots, variant, absolute=True)


def _crossed(start: PosedBody) -> PosedBody | None:
    """The left leg crossed in front of or, for a sitting body, over the right one."""
    flexion = hip_flexion(start, _R)
    if flexion > 55.0:
        return leg_set(
            start, _L, flexion=min(flexion + 16.0, HIP_LIMIT), out=0.0, horizontal_abduction=-16.0, knee=95.0
        )
    target = _beside(start, (-0.11, 0.14))
    if target is None:
        return None
    return target


@kind("legs.cross", family="leg", weight=0.8)
def legs_cross(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    return finish(rng, start, _crossed(start), absolute=True)


@kind("legs.cross_any", family="leg", weight=0.5, mirrored=False)
def legs_cross_any(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    return finish(rng, start, _crossed(start), absolute=True)


@kind("legs.uncross", family="leg", weight=0.4)
def legs_uncross(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    if _gap(start) > 0.0:
        return None
    return finish(rng, start, both_legs(start, _uncrossed))


def _uncrossed(start: PosedBody, side: Side) -> PosedBody:
    flexion = hip_flexion(start, side)
    if flexion > 55.0:
        return leg_set(start, side, flexion=90.0, knee=90.0, level=True)
    return standing_leg(start, side)


# -- turning feet and thighs -------------------------------------------------------------------------------


def _foot_turned(start: PosedBody, side: Side, angle: float) -> PosedBody:
    """The toes turned outward: at the hip for a leg that is nearly straight, else at the ankle."""
    if start.knee_flexion(side) < 50.0:
        axis = start.segment(f"{side}_ankle", f"{side}_hip")
        return start.turned(f"{side}_hip", turn(axis, angle if side == "left" else -angle))
    return start.turned_locally(f"{side}_ankle", sided_turn(side, UP, min(max(angle, -40.0), 40.0)))


def _turning(sign: float, *, both: bool) -> KindFunction:
    def apply(rng: np.random.Generator, start: PosedBody) -> Edit | None:
        amount = draw_amount(rng, 30.0, numbers=(5, 45), large=1.5)
        if both:
            target = both_legs(start, lambda f, s: _foot_turned(f, s, sign * amount.value))
            return finish(rng, start, target, amount.slots)
        return finish(rng, start, _foot_turned(start, _L, sign * amount.value), amount.slots)

    return apply


kind("foot.turn_out", family="leg", weight=0.7)(_turning(1.0, both=False))
kind("foot.turn_in", family="leg", weight=0.6)(_turning(-1.0, both=False))
kind("feet.turn_out", family="leg", weight=0.5)(_turning(1.0, both=True))
kind("feet.turn_in", family="leg", weight=0.5)(_turning(-1.0, both=True))


def _hip_turning(sign: float) -> KindFunction:
    def apply(rng: np.random.Generator, start: PosedBody) -> Edit | None:
        amount = draw_amount(rng, 30.0, numbers=(5, 45), large=1.5)
        return finish(
            rng, start, start.turned_locally("left_hip", turn(UP, sign * amount.value)), amount.slots
        )

    return apply


kind("hip.turn_out", family="leg", weight=0.6)(_hip_turning(1.0))
kind("hip.turn_in", family="leg", weight=0.5)(_hip_turning(-1.0))


# -- ankles ------------------------------------------------------------------------------------------------


def _toes_down(start: PosedBody, side: Side) -> float:
    """Angle of the foot down from a right angle with the shank, degrees."""
    shank = start.rot_of(f"{side}_knee").T @ start.rot_of(f"{side}_ankle") @ FRONT
    return float(np.degrees(np.arctan2(-shank[1], np.hypot(shank[0], shank[2]))))


def _ankle_kind(sign: float, typical: float, limit: float, *, both: bool) -> KindFunction:
    """Pointing the toes (sign 1) or pulling them up (sign -1)."""

    def moved(body: PosedBody, side: Side, amount: Amount) -> PosedBody | None:
        angle = sign * _toes_down(body, side)
        if amount.group in ("plain", "large"):
            wanted = max(amount.value, angle + 12.0)
            return (
                None
                if angle > limit - 8.0
                else body.with_local({f"{side}_ankle": turn(LEFT, sign * min(wanted, limit))})
            )
        if angle + amount.value > limit:
            return None
        return body.turned_locally(f"{side}_ankle", turn(LEFT, sign * amount.value))

    def apply(rng: np.random.Generator, start: PosedBody) -> Edit | None:
        amount = draw_amount(rng, typical, numbers=(5, limit), slight=0.4, large=1.4)
        if both:
            return finish(rng, start, both_legs(start, lambda f, s: moved(f, s, amount)), amount.slots)
        return finish(rng, start, moved(start, _L, amount), amount.slots)

    return apply


kind("ankle.point", family="leg", weight=0.8)(_ankle_kind(1.0, 40.0, 60.0, both=False))
kind("ankle.flex", family="leg", weight=0.7)(_ankle_kind(-1.0, 20.0, 32.0, both=False))
kind("ankles.point", family="leg", weight=0.5)(_ankle_kind(1.0, 40.0, 60.0, both=True))
kind("ankles.flex", family="leg", weight=0.5)(_ankle_kind(-1.0, 20.0, 32.0, both=True))


def _heel_lifted(start: PosedBody, side: Side) -> PosedBody:
    """On the ball of the foot: the sole at 40 degrees, the toes level."""
    level = foot_level(start, side)
    return level.turned_locally(f"{side}_ankle", turn(LEFT, 40.0)).with_local(
        {f"{side}_foot": turn(LEFT, -40.0)}
    )


def _held_so(move: Callable[[PosedBody, Side], PosedBody | None], *, both: bool) -> KindFunction:
    """The left leg or both brought to where the move always ends, whatever they did."""

    def apply(rng: np.random.Generator, start: PosedBody) -> Edit | None:
        return finish(rng, start, both_legs(start, move) if both else move(start, _L), absolute=True)

    return apply


kind("feet.tiptoe", family="leg", weight=0.9)(_held_so(_heel_lifted, both=True))
kind("foot.heel_up", family="leg", weight=0.5)(_held_so(_heel_lifted, both=False))


@kind("foot.flat", family="leg", weight=0.5)
def foot_flat(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    if thigh_in_frame(start, _L)[1] > 0.5:
        return None
    return finish(rng, start, foot_level(start, _L), absolute=True)


@kind("feet.flat", family="leg", weight=0.5)
def feet_flat(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    if max(thigh_in_frame(start, _L)[1], thigh_in_frame(start, _R)[1]) > 0.5:
        return None
    return finish(rng, start, both_legs(start, foot_level), absolute=True)


kind("legs.stand", family="leg", weight=1.0)(_held_so(standing_leg, both=True))


@kind("leg.match", family="leg", weight=0.4)
def leg_match(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    """The left leg made the mirror image of the right one."""
    flip = np.diag([-1.0, 1.0, 1.0])
    changes = {
        f"left_{part}": flip @ start.local[joint] @ flip
        for part, joint in (("hip", 2), ("knee", 5), ("ankle", 8), ("foot", 11))
    }
    return finish(rng, start, start.with_local(changes))
