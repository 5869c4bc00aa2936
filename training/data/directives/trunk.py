# SPDX-License-Identifier: Apache-2.0
"""The trunk: bending, leaning, twisting, arching, hunching and straightening up.

The move is spread over the three joints of the spine. Pelvis and legs stay, head and arms are carried along.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from .amounts import degrees, draw_amount
from .kinds import Edit, KindFunction, kind
from .posed_body import LEFT, PosedBody, turn
from .reach import finish
from .spine import TRUNK, chain_eased, trunk_angles, trunk_bent, trunk_leaned, trunk_twisted
from .stance import both_legs, standing_leg

_TWIST, _BEND, _LEAN = range(3)

# Limits of the whole spine, degrees.
FORWARD_LIMIT: Final = 90.0
BACK_LIMIT: Final = 42.0
SIDE_LIMIT: Final = 48.0
TWIST_LIMIT: Final = 65.0


def _by(
    move: Callable[[PosedBody, float], PosedBody], measure: int, sign: float, typical: float, limit: float, *,
    large: float = 1.7, slight: float = 0.4,
) -> KindFunction:  # fmt: skip
    """A kind that goes on in one direction from where the trunk is, by an amount."""

    def apply(rng: np.random.Generator, start: PosedBody) -> Edit | None:
        angle = sign * trunk_angles(start)[measure]
        amount = draw_amount(rng, typical, numbers=(5, limit), slight=slight, large=large)
        value = amount.value
        if angle + value > limit:
            if amount.group == "number" or limit - angle < 0.4 * value:
                return None
            value = limit - angle
        return finish(rng, start, move(start, sign * value), amount.slots)

    return apply


kind("trunk.bend_forward", family="trunk", weight=1.8)(
    _by(trunk_bent, _BEND, 1.0, 45.0, FORWARD_LIMIT)
)  # fmt: skip
kind("trunk.lean_forward", family="trunk", weight=1.4)(
    _by(trunk_bent, _BEND, 1.0, 22.0, FORWARD_LIMIT, slight=0.5)
)  # fmt: skip
kind("trunk.bend_back", family="trunk", weight=1.1)(_by(trunk_bent, _BEND, -1.0, 25.0, BACK_LIMIT, large=1.5))
kind("trunk.lean_back", family="trunk", weight=1.1)(
    _by(trunk_bent, _BEND, -1.0, 18.0, BACK_LIMIT, slight=0.5)
)
kind("trunk.bend_side", family="trunk", weight=1.5)(
    _by(trunk_leaned, _LEAN, 1.0, 28.0, SIDE_LIMIT, large=1.5)
)
kind("trunk.lean_side", family="trunk", weight=1.3)(
    _by(trunk_leaned, _LEAN, 1.0, 20.0, SIDE_LIMIT, slight=0.5)
)
kind("trunk.twist", family="trunk", weight=2.2)(_by(trunk_twisted, _TWIST, 1.0, 35.0, TWIST_LIMIT, large=1.6))


@kind("trunk.to_angle", family="trunk", weight=1.8)
def trunk_to_angle(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    twist, bend, lean = trunk_angles(start)
    variant = str(rng.choice(["forward", "back", "side", "twist"], p=[0.4, 0.1, 0.2, 0.3]))
    if variant == "forward":
        value, text = degrees(rng, 5, FORWARD_LIMIT)
        target = trunk_bent(start, value - bend)
    elif variant == "back":
        value, text = degrees(rng, 5, 40)
        target = trunk_bent(start, -value - bend)
    elif variant == "side":
        value, text = degrees(rng, 5, 45)
        target = trunk_leaned(start, value - lean)
    else:
        value, text = degrees(rng, 5, 60)
        target = trunk_twisted(start, value - twist)
    return finish(rng, start, target, {"angle": text}, variant, absolute=True)


@kind("trunk.fully", family="trunk", weight=0.9)
def trunk_fully(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    twist, bend, lean = trunk_angles(start)
    variant = str(rng.choice(["forward", "back", "side", "twist"], p=[0.35, 0.15, 0.2, 0.3]))
    target = {
        "forward": trunk_bent(start, FORWARD_LIMIT - bend),
        "back": trunk_bent(start, -40.0 - bend),
        "side": trunk_leaned(start, 45.0 - lean),
        "twist": trunk_twisted(start, 60.0 - twist),
    }[variant]
    return finish(rng, start, target, variant=variant, absolute=True)


@kind("trunk.bow", family="trunk", weight=0.9)
def trunk_bow(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    variant = str(rng.choice(["plain", "slight", "deep"], p=[0.5, 0.25, 0.25]))
    angle = {"plain": 45.0, "slight": 20.0, "deep": 80.0}[variant]
    bend = trunk_angles(start)[_BEND]
    if bend > angle - 12.0:
        return None
    straight = chain_eased(start, TRUNK, 1.0)
    return finish(rng, start, trunk_bent(straight, angle), variant=variant)


# Bends of the three joints of the spine, degrees forward, and how far "a bit" and "a lot" go.
LOW_KNEES: Final = 40.0
"""Who bends both knees by more degrees sits, kneels or squats."""

_SHAPES: Final = {
    "trunk.arch": (-14.0, -10.0, -6.0),
    "trunk.chest_out": (2.0, -7.0, -12.0),
    "trunk.hunch": (8.0, 14.0, 20.0),
}


def _shape(name: str) -> KindFunction:
    """A kind that adds a curve to the spine."""
    bends = _SHAPES[name]

    def apply(rng: np.random.Generator, start: PosedBody) -> Edit | None:
        amount = draw_amount(rng, 1.0, numbers=(5, 5), slight=0.5, large=1.5)
        if amount.group == "number":
            return None
        angle = trunk_angles(start)[_BEND] + sum(bends) * amount.value
        if not -BACK_LIMIT < angle < 75.0:
            return None
        target = start
        for joint, bend in zip(TRUNK, bends, strict=True):
            target = target.turned_locally(joint, turn(LEFT, bend * amount.value))
        return finish(rng, start, target, amount.slots)

    return apply


kind("trunk.arch", family="trunk", weight=0.9)(_shape("trunk.arch"))
kind("trunk.chest_out", family="trunk", weight=0.7)(_shape("trunk.chest_out"))
kind("trunk.hunch", family="trunk", weight=1.0)(_shape("trunk.hunch"))


@kind("trunk.straighten", family="trunk", weight=1.8)
def trunk_straighten(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    """The spine brought back to neutral, all of it or a part of the way."""
    twist, bend, lean = trunk_angles(start)
    most = max(abs(twist), abs(bend), abs(lean))
    amount = draw_amount(rng, 1.0, numbers=(5, 60))
    if amount.group == "number":
        if bend < amount.value:
            return None
        return finish(rng, start, trunk_bent(start, -amount.value), amount.slots)
    part = {"plain": 1.0, "slight": 0.35, "large": 0.75}[amount.group]
    if most < 12.0 and amount.group != "plain":
        return None
    return finish(rng, start, chain_eased(start, TRUNK, part), amount.slots, absolute=amount.group == "plain")


@kind("trunk.straighten_halfway", family="trunk", weight=0.4)
def trunk_straighten_halfway(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    if max(abs(angle) for angle in trunk_angles(start)) < 15.0:
        return None
    return finish(rng, start, chain_eased(start, TRUNK, 0.5))


@kind("trunk.stand_straight", family="trunk", weight=1.6)
def trunk_stand_straight(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    """The spine neutral, for whoever stands already: who sits or squats is to stand up."""
    if min(start.knee_flexion("left"), start.knee_flexion("right")) > LOW_KNEES:
        return None
    return finish(rng, start, chain_eased(start, TRUNK, 1.0), absolute=True)


@kind("trunk.stand_up", family="trunk", weight=20.0)
def trunk_stand_up(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    """From sitting, kneeling or squatting; arms and head stay."""
    if min(start.knee_flexion("left"), start.knee_flexion("right")) <= LOW_KNEES:
        return None
    upright = chain_eased(start.with_local({"pelvis": np.eye(3)}), TRUNK, 1.0)
    return finish(rng, start, both_legs(upright, standing_leg))


@kind("trunk.undo_one", family="trunk", weight=0.9)
def trunk_undo_one(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    """One of twist, bend and lean taken out, the others kept."""
    twist, bend, lean = trunk_angles(start)
    variant = str(rng.choice(["twist", "bend", "lean"], p=[0.5, 0.2, 0.3]))
    if abs({"twist": twist, "bend": bend, "lean": lean}[variant]) < 9.0:
        return None
    if variant == "twist":
        return finish(rng, start, trunk_twisted(start, -twist), variant=variant)
    if variant == "bend":
        return finish(
            rng, start, trunk_bent(start, -bend), variant="bend_forward" if bend > 0 else "bend_back"
        )
    if lean < 0:
        return None
    return finish(rng, start, trunk_leaned(start, -lean), variant=variant)


@kind("trunk.less", family="trunk", weight=0.8)
def trunk_less(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    """Less of a twist, bend or lean, by an amount, but not beyond straight."""
    twist, bend, lean = trunk_angles(start)
    variant = str(rng.choice(["twist", "bend", "lean"], p=[0.35, 0.4, 0.25]))
    angle = {"twist": twist, "bend": bend, "lean": lean}[variant]
    amount = draw_amount(rng, 0.5, numbers=(5, 45), slight=0.6, large=1.6)
    if angle < 14.0 or (amount.group == "number" and amount.value > angle):
        return None
    change = amount.value if amount.group == "number" else angle * amount.value
    move = {"twist": trunk_twisted, "bend": trunk_bent, "lean": trunk_leaned}[variant]
    return finish(rng, start, move(start, -change), amount.slots, variant)
