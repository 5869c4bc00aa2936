# SPDX-License-Identifier: Apache-2.0
"""Wrists, forearm twist and palms, and the shoulder girdle: shrugging, shoulders forwards and back."""

from __future__ import annotations

from typing import Final

import numpy as np

from blender_addon.contract.rotations import Array, shortest_turn

from .amounts import draw_amount
from .kinds import Edit
from .limbs import Sides, on, one_and_both
from .posed_body import FRONT, LEFT, UP, PosedBody, Side, angle_degrees, turn, unit
from .reach import body_frame, finish, sided, sided_turn

_WRIST_LIMIT: Final = 75.0
_DEVIATION_LIMIT: Final = 42.0
_OVERRUN: Final = 8.0
_COLLAR_LIMIT: Final = 32.0
_PALM: Final = -UP
"""The way a palm faces in the T-pose, in the hand's own frame."""
_PALM_DIRECTIONS: Final[dict[str, tuple[float, float, float]]] = {
    "up": (0.0, 1.0, 0.0),
    "down": (0.0, -1.0, 0.0),
    "front": (0.0, 0.0, 1.0),
    "back": (0.0, 0.0, -1.0),
    "in": (-1.0, 0.0, 0.0),
    "out": (1.0, 0.0, 0.0),
}


def forearm_twisted(start: PosedBody, side: Side, degrees: float) -> PosedBody:
    """The hand turned about the forearm by ``degrees`` (right-handed about the way to the hand).

    Half of the turn is the forearm's, half the wrist's, as skin follows best.
    """
    along = unit(start.segment(f"{side}_elbow", f"{side}_wrist"))
    half = turn(along, degrees / 2)
    return start.turned(f"{side}_elbow", half).turned(f"{side}_wrist", half)


@one_and_both("palm_turn", "palms_turn", family="wrist", weight=3.2, both_share=0.5)
def _palm(rng: np.random.Generator, start: PosedBody, sides: Sides) -> Edit | None:
    """The palm made to face a direction as nearly as a turn of the forearm can."""
    name = list(_PALM_DIRECTIONS)[rng.integers(len(_PALM_DIRECTIONS))]
    frame = body_frame(start)
    angles = {side: _palm_angle(start, side, frame @ sided(side, _PALM_DIRECTIONS[name])) for side in sides}
    if any(angle is None for angle in angles.values()):
        return None
    target = on(start, sides, lambda side: forearm_twisted(start, side, angles[side] or 0.0))
    return finish(rng, start, target, variant=name, absolute=True)


def _palm_angle(start: PosedBody, side: Side, direction: Array) -> float | None:
    """Turn about the forearm that brings the palm to ``direction``; None where the forearm points along it."""
    along = unit(start.segment(f"{side}_elbow", f"{side}_wrist"))
    palm = start.rot_of(f"{side}_wrist") @ _PALM
    palm = palm - (palm @ along) * along
    goal = direction - (direction @ along) * along
    if np.linalg.norm(goal) < 0.5 or np.linalg.norm(palm) < 0.3:
        return None
    return float(np.degrees(np.arctan2(np.cross(palm, goal) @ along, palm @ goal)))


@one_and_both("forearm_twist", "forearms_twist", family="wrist", weight=2.6)
def _twist(rng: np.random.Generator, start: PosedBody, sides: Sides) -> Edit | None:
    """Pronation (the palm turns inwards and down) or supination (outwards and up) by an amount."""
    pronate = bool(rng.random() < 0.5)
    amount = draw_amount(rng, 60.0, numbers=(10, 120), slight=0.35, large=1.6)
    # Pronation turns the thumb of a left hand from up to its right: right-handed about the way to the hand.
    angle = amount.value * (1.0 if pronate else -1.0)
    target = on(start, sides, lambda side: forearm_twisted(start, side, angle if side == "left" else -angle))
    return finish(rng, start, target, amount.slots, "in" if pronate else "out")


@one_and_both("wrist_bend", "wrists_bend", family="wrist", weight=3.0)
def _wrist(rng: np.random.Generator, start: PosedBody, sides: Sides) -> Edit | None:
    flex = bool(rng.random() < 0.5)
    amount = draw_amount(rng, 40.0, numbers=(5, 75), slight=0.4, large=1.5)
    change = amount.value if flex else -amount.value
    bends = {side: _wrist_flexion(start, side) for side in sides}
    if max(abs(bends[side] + change) for side in sides) > _WRIST_LIMIT + 8.0:
        return None
    axis = (0.0, 0.0, -1.0)
    target = on(
        start,
        sides,
        lambda side: start.with_local(
            {f"{side}_wrist": sided_turn(side, axis, change) @ start.rot_of(f"{side}_elbow").T
             @ start.rot_of(f"{side}_wrist")}
        ),
    )  # fmt: skip
    return finish(rng, start, target, amount.slots, "in" if flex else "out")


def _wrist_flexion(start: PosedBody, side: Side) -> float:
    """Angle of the hand towards the palm relative to the forearm, degrees."""
    local = start.rot_of(f"{side}_elbow").T @ start.rot_of(f"{side}_wrist")
    hand = sided(side, local @ sided(side, LEFT))
    return float(np.degrees(np.arctan2(-hand[1], hand[0])))


@one_and_both("wrist_straighten", "wrists_straighten", family="wrist", weight=1.4)
def _wrist_straight(rng: np.random.Generator, start: PosedBody, sides: Sides) -> Edit | None:
    target = on(start, sides, lambda side: start.with_local({f"{side}_wrist": np.eye(3)}))
    return finish(rng, start, target, absolute=True)


@one_and_both("wrist_side", "wrists_side", family="wrist", weight=1.2)
def _wrist_sideways(rng: np.random.Generator, start: PosedBody, sides: Sides) -> Edit | None:
    """The hand tilted in its own plane, towards the thumb or the little finger."""
    thumb = bool(rng.random() < 0.5)
    amount = draw_amount(rng, 22.0, numbers=(5, 40), slight=0.4, large=1.5)
    change = amount.value if thumb else -amount.value
    angles = {side: _wrist_deviation(start, side) for side in sides}
    if max(abs(angles[side] + change) for side in sides) > _DEVIATION_LIMIT:
        return None
    # The thumb of the T-pose's hand points forward.
    target = on(
        start, sides, lambda side: start.turned_locally(f"{side}_wrist", sided_turn(side, UP, -change))
    )
    return finish(rng, start, target, amount.slots, "thumb" if thumb else "little")


def _wrist_deviation(start: PosedBody, side: Side) -> float:
    """Angle of the hand towards the thumb's side relative to the forearm, degrees."""
    local = start.rot_of(f"{side}_elbow").T @ start.rot_of(f"{side}_wrist")
    hand = sided(side, local @ sided(side, LEFT))
    return float(np.degrees(np.arctan2(hand[2], hand[0])))


@one_and_both("hand_direct", "hands_direct", family="wrist", weight=1.4)
def _hand_direct(rng: np.random.Generator, start: PosedBody, sides: Sides) -> Edit | None:
    """The fingers pointed up, down or forwards by the wrist alone."""
    name = str(rng.choice(["up", "down", "front"]))
    direction = body_frame(start) @ np.array(_PALM_DIRECTIONS[name])
    for side in sides:
        if angle_degrees(start.segment(f"{side}_elbow", f"{side}_wrist"), direction) > 82.0 + _OVERRUN:
            return None

    def pointed(side: Side) -> PosedBody:
        hand = start.segment(f"{side}_wrist", f"{side}_hand")
        return start.turned(f"{side}_wrist", shortest_turn(hand, direction))

    return finish(rng, start, on(start, sides, pointed), variant=name, absolute=True)


def _collar_turned(start: PosedBody, side: Side, rotation: Array) -> PosedBody:
    """The collar turned while the arm keeps pointing where it points."""
    upper = start.rot_of(f"{side}_shoulder")
    return start.turned(f"{side}_collar", rotation).with_global(f"{side}_shoulder", upper)


@one_and_both("shoulder_move", "shoulders_move", family="shoulder", weight=2.4, both_share=0.55)
def _shoulder(rng: np.random.Generator, start: PosedBody, sides: Sides) -> Edit | None:
    """The shoulder raised, lowered, brought forwards or pulled back by the collar."""
    name = str(rng.choice(["up", "up", "down", "front", "back"]))
    amount = draw_amount(rng, 20.0, numbers=(5, 30), slight=0.45, large=1.5)
    axis, sign = {"up": (FRONT, 1.0), "down": (FRONT, -0.6), "front": (UP, -1.0), "back": (UP, 1.0)}[name]
    angle = amount.value * (np.sign(sign) if amount.group == "number" else sign)
    if any(not _collar_has_room(start, side, name, abs(angle)) for side in sides):
        return None
    chest = start.rot_of("spine3")
    target = on(
        start,
        sides,
        lambda side: _collar_turned(start, side, chest @ sided_turn(side, axis, angle) @ chest.T),
    )
    return finish(rng, start, target, amount.slots, name)


def _collar_has_room(start: PosedBody, side: Side, way: str, degrees: float) -> bool:
    chest = start.rot_of("spine3")
    local = sided(side, chest.T @ start.segment(f"{side}_collar", f"{side}_shoulder"))
    raised = float(np.degrees(np.arctan2(local[1], local[0]))) - 15.3
    forward = float(np.degrees(np.arctan2(local[2], local[0])))
    now = {"up": raised, "down": -raised, "front": forward, "back": -forward}[way]
    return now + degrees < _COLLAR_LIMIT


@one_and_both("shoulder_relax", "shoulders_relax", family="shoulder", weight=0.9, both_share=0.7)
def _relax(rng: np.random.Generator, start: PosedBody, sides: Sides) -> Edit | None:
    def relaxed(side: Side) -> PosedBody:
        upper = start.rot_of(f"{side}_shoulder")
        return start.with_local({f"{side}_collar": np.eye(3)}).with_global(f"{side}_shoulder", upper)

    return finish(rng, start, on(start, sides, relaxed), absolute=True)
