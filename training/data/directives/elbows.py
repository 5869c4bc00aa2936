# SPDX-License-Identifier: Apache-2.0
"""Elbows: bending and straightening, where the forearm points, and moving the elbow itself."""

from __future__ import annotations

from typing import Final

import numpy as np

from blender_addon.contract.rotations import Array, shortest_turn

from .amounts import degrees, draw_amount
from .kinds import Edit
from .limbs import Sides, on, one_and_both
from .posed_body import FRONT, LEFT, UP, PosedBody, Side, angle_degrees, turn, unit
from .reach import ELBOW_LIMIT, at_elevation, body_frame, elevation, finish, forearm_set, lift_azimuth, sided

_BENT: Final = 90.0
"""Degrees to which an elbow is bent where no amount is told; one that is bent further already closes by the next."""
_BEND_STEP: Final = 35.0
_CLOSED: Final = 145.0
_OVERRUN: Final = 8.0
_FOREARMS: Final[dict[str, tuple[float, float, float]]] = {
    "up": (0.0, 1.0, 0.0),
    "front": (0.0, 0.0, 1.0),
    "down": (0.0, -1.0, 0.0),
    "across": (-0.9, 0.0, 0.45),
    "out": (1.0, 0.0, 0.0),
    "level": (0.0, 0.0, 0.0),
}
"""Where a left forearm is pointed; ``level`` is horizontal over the way that it points already."""


def _bends(start: PosedBody, sides: Sides) -> dict[Side, float]:
    return {side: start.elbow_flexion(side) for side in sides}


@one_and_both("elbow_bend", "elbows_bend", family="elbow", weight=4.5)
def _bend(rng: np.random.Generator, start: PosedBody, sides: Sides) -> Edit | None:
    bends = _bends(start, sides)
    form = rng.random()
    if form < 0.1:
        return finish(rng, start, on(start, sides, lambda s: start.elbow_bent_to(s, _CLOSED)), variant="full")
    if form < 0.16:
        return finish(rng, start, on(start, sides, lambda s: start.elbow_bent_to(s, 75.0)), variant="half")
    amount = draw_amount(rng, _BEND_STEP, numbers=(5, 140), slight=0.55, large=1.8)
    if max(bends.values()) > 125.0:
        return None
    if amount.group == "number" and max(bends.values()) + amount.value > ELBOW_LIMIT + _OVERRUN:
        return None
    floors = {"plain": _BENT, "large": 120.0}
    floor = floors.get(amount.group, 0.0)
    top = ELBOW_LIMIT if amount.group == "number" else _CLOSED
    target = on(
        start, sides, lambda s: start.elbow_bent_to(s, float(np.clip(bends[s] + amount.value, floor, top)))
    )
    return finish(rng, start, target, amount.slots, "" if amount.group == "plain" else "by")


@one_and_both("elbow_to", "elbows_to", family="elbow", weight=2.6)
def _to(rng: np.random.Generator, start: PosedBody, sides: Sides) -> Edit | None:
    if rng.random() < 0.3:
        value, text, variant = 90.0, "", "right"
    else:
        value, text = degrees(rng, 10, 145)
        variant = ""
    target = on(start, sides, lambda s: start.elbow_bent_to(s, value))
    return finish(rng, start, target, {"degrees": text}, variant, absolute=True)


@one_and_both("forearm_direct", "forearms_direct", family="elbow", weight=3.6)
def _forearm(rng: np.random.Generator, start: PosedBody, sides: Sides) -> Edit | None:
    name = str(rng.choice(["up", "up", "front", "front", "level", "down", "across", "out"]))
    frame = body_frame(start)

    def aimed(side: Side) -> PosedBody | None:
        if name == "level":
            fore = unit(start.segment(f"{side}_elbow", f"{side}_wrist")) * [1.0, 0.0, 1.0]
            direction = unit(fore + max(0.0, 0.4 - float(np.linalg.norm(fore))) * FRONT)
        else:
            direction = frame @ sided(side, _FOREARMS[name])
        return forearm_set(start, side, direction)

    return finish(rng, start, on(start, sides, aimed), variant=name, absolute=True)


def _upper(start: PosedBody, side: Side) -> Array:
    return unit(start.segment(f"{side}_shoulder", f"{side}_elbow"))


def _elbow_at(start: PosedBody, side: Side, degrees_up: float) -> PosedBody:
    """The upper arm turned to an elevation in the plane in which it is lifted."""
    upper = _upper(start, side)
    azimuth = lift_azimuth(side, upper)
    return start.turned(
        f"{side}_shoulder", shortest_turn(upper, at_elevation(azimuth, degrees_up), np.cross(azimuth, UP))
    )


@one_and_both("elbow_raise", "elbows_raise", family="elbow", weight=1.6)
def _raise(rng: np.random.Generator, start: PosedBody, sides: Sides) -> Edit | None:
    up = bool(rng.random() < 0.6)
    amount = draw_amount(rng, 45.0, numbers=(5, 90), slight=0.4, large=1.7)
    heights = {side: elevation(_upper(start, side)) for side in sides}
    room = 60.0 - max(heights.values()) if up else min(heights.values()) + 84.0
    if room < 12.0 or (amount.group == "number" and amount.value > room + _OVERRUN):
        return None
    change = min(amount.value, room) * (1.0 if up else -1.0)
    target = on(start, sides, lambda s: _elbow_at(start, s, heights[s] + change))
    return finish(rng, start, target, amount.slots, "up" if up else "down")


@one_and_both("elbow_flare", "elbows_flare", family="elbow", weight=1.2, both_share=0.55)
def _flare(rng: np.random.Generator, start: PosedBody, sides: Sides) -> Edit | None:
    """The elbow moved away from the body, sideways."""
    amount = draw_amount(rng, 35.0, numbers=(10, 70), slight=0.4, large=1.6)
    room = min(angle_degrees(_upper(start, side), sided(side, LEFT)) for side in sides)
    if room < 15.0 or (amount.group == "number" and amount.value > room + _OVERRUN):
        return None

    def moved(side: Side) -> PosedBody:
        axis = np.cross(_upper(start, side), sided(side, LEFT))
        return start.turned(f"{side}_shoulder", turn(axis, min(amount.value, room)))

    return finish(rng, start, on(start, sides, moved), amount.slots)
