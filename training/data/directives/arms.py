# SPDX-License-Identifier: Apache-2.0
"""Whole arms: raising, lowering, absolute directions, swinging, heights, shapes of both arms, matching sides."""

from __future__ import annotations

from typing import Final

import numpy as np

from blender_addon.contract.rotations import Array

from .amounts import degrees, draw_amount
from .kinds import Edit, kind
from .limbs import Sides, on, one_and_both
from .posed_body import FOREARM, FRONT, LEFT, UP, UPPER_ARM, PosedBody, Side, angle_degrees, turn, unit
from .reach import (
    HANGING,
    HIGHEST,
    arm_line,
    arm_set,
    at_elevation,
    body_frame,
    both_arms,
    elevation,
    finish,
    forearm_set,
    lifted_to,
    lowered_to,
    mirrored_arm,
    sided,
    turned_towards,
)

_USUAL_LIFT: Final = 80.0
_LOWEST: Final = -84.0
_HALF_SHARE: Final = 0.12
_FULL_SHARE: Final = 0.2
_HAND_SHARE: Final = 0.2
"""How often somebody says the hand and means the arm."""
_OVERRUN: Final = 8.0
"""A number of degrees may run this far beyond the end of the range, where the arm stops."""

DIRECTIONS: Final[dict[str, tuple[tuple[float, float, float], float]]] = {
    "side": ((1.0, 0.0, 0.0), 3.0),
    "front": ((0.0, 0.0, 1.0), 3.0),
    "up": ((0.06, 1.0, 0.0), 3.0),
    "down": ((0.1, -1.0, 0.02), 2.0),
    "back": ((0.12, -0.6, -0.8), 1.2),
    "side_up": ((1.0, 1.0, 0.0), 1.0),
    "front_up": ((0.0, 1.0, 1.0), 0.8),
    "side_down": ((1.0, -1.0, 0.0), 1.0),
    "front_down": ((0.05, -1.0, 1.0), 0.8),
    "front_side": ((1.0, 0.0, 1.0), 0.7),
    "across": ((-0.8, 0.0, 0.6), 0.6),
}
"""Directions of a straight left arm in the upright frame, and how often each is asked for."""
_POINTS: Final[dict[str, tuple[tuple[float, float, float], float]]] = {
    "side": ((1.0, 0.0, 0.0), 1.0),
    "front": ((0.0, 0.0, 1.0), 1.0),
    "up": ((0.06, 1.0, 0.0), 1.0),
    "sky": ((0.0, 0.8, 0.6), 0.5),
    "floor": ((0.1, -0.8, 0.6), 0.7),
    "back": ((0.12, -0.6, -0.8), 0.4),
    "across": ((-0.87, 0.0, 0.5), 0.6),
}
_SHAPES: Final[dict[str, tuple[tuple[float, float, float], tuple[float, float, float] | None, float]]] = {
    "t": ((1.0, 0.0, 0.0), None, 2.0),
    "a": ((1.0, -1.0, 0.0), None, 1.5),
    "v": ((0.75, 1.0, 0.0), None, 1.0),
    "zombie": ((0.0, 0.0, 1.0), None, 0.6),
    "back_wings": ((0.55, -0.6, -0.58), None, 0.5),
    "goalpost": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), 1.2),
    "surrender": ((1.0, 0.25, 0.15), (0.1, 1.0, 0.1), 1.5),
    "biceps": ((1.0, 0.1, 0.1), (-0.35, 0.94, 0.0), 0.8),
    "w": ((0.75, -0.65, -0.1), (0.35, 0.94, 0.0), 0.5),
    "cradle": ((0.25, -0.95, 0.15), (-0.45, 0.0, 0.9), 0.4),
}
"""Upper arm and forearm (None: straight on) of shapes that both arms make."""


def _drawn(
    rng: np.random.Generator, table: dict[str, tuple[tuple[float, float, float], float]]
) -> tuple[str, Array]:
    names = list(table)
    weights = np.cumsum([table[name][1] for name in names])
    name = names[int(np.searchsorted(weights, rng.random() * weights[-1]))]
    return name, np.array(table[name][0])


def straight_arm(start: PosedBody, side: Side, direction: Array, flexion: float = 0.0) -> PosedBody:
    """The arm straight along ``direction``, which is written for the left side and the body's frame."""
    return arm_set(start, side, body_frame(start) @ sided(side, direction), flexion)


@one_and_both("arm_raise", "arms_raise", family="arm", weight=5.0)
def _raise(rng: np.random.Generator, start: PosedBody, sides: Sides) -> Edit | None:
    share = rng.random()
    if share < _FULL_SHARE:
        target = on(start, sides, lambda side: straight_arm(start, side, np.array(DIRECTIONS["up"][0])))
        return finish(rng, start, target, variant="full", absolute=True)
    heights = {side: elevation(arm_line(start, side)) for side in sides}
    if max(heights.values()) > HIGHEST - 15.0:
        return None
    if share < _FULL_SHARE + _HALF_SHARE:
        target = on(start, sides, lambda side: lifted_to(start, side, (heights[side] + HIGHEST) / 2))
        return finish(rng, start, target, variant="half")
    amount = draw_amount(rng, _USUAL_LIFT, numbers=(5, 150), slight=0.24, large=1.6)
    if amount.group == "number" and max(heights.values()) + amount.value > HIGHEST + _OVERRUN:
        return None
    target = on(start, sides, lambda side: lifted_to(start, side, min(heights[side] + amount.value, HIGHEST)))
    by_hand = "hand" if len(sides) == 1 and rng.random() < _HAND_SHARE else ""
    return finish(rng, start, target, amount.slots, by_hand if amount.group == "plain" else "by")


@one_and_both("arm_lower", "arms_lower", family="arm", weight=4.5)
def _lower(rng: np.random.Generator, start: PosedBody, sides: Sides) -> Edit | None:
    heights = {side: elevation(arm_line(start, side)) for side in sides}
    if rng.random() < _HALF_SHARE:
        if min(heights.values()) < -40.0:
            return None
        target = on(start, sides, lambda side: lowered_to(start, side, (heights[side] + _LOWEST) / 2))
        return finish(rng, start, target, variant="half")
    amount = draw_amount(rng, 80.0, numbers=(5, 150), slight=0.24, large=0.85)
    if amount.group == "plain":
        target = on(start, sides, lambda side: straight_arm(start, side, HANGING, 10.0))
        if max(heights.values()) < -70.0:
            return None
        by_hand = "hand" if rng.random() < _HAND_SHARE else ""
        return finish(rng, start, target, {**amount.slots, "amount": ""}, by_hand)
    if min(heights.values()) < -65.0:
        return None
    if amount.group == "number" and min(heights.values()) - amount.value < _LOWEST - _OVERRUN:
        return None
    target = on(
        start, sides, lambda side: lowered_to(start, side, max(heights[side] - amount.value, _LOWEST))
    )
    return finish(rng, start, target, amount.slots)


@one_and_both("arm_lift_sideways", "arms_lift_sideways", family="arm", weight=1.2)
def _lift_sideways(rng: np.random.Generator, start: PosedBody, sides: Sides) -> Edit | None:
    return _lift_in_plane(rng, start, sides, LEFT)


@one_and_both("arm_lift_forwards", "arms_lift_forwards", family="arm", weight=1.0)
def _lift_forwards(rng: np.random.Generator, start: PosedBody, sides: Sides) -> Edit | None:
    return _lift_in_plane(rng, start, sides, FRONT)


def _lift_in_plane(rng: np.random.Generator, start: PosedBody, sides: Sides, towards: Array) -> Edit | None:
    """By an amount in the plane of ``towards``, from an arm that hangs or points that way already."""
    amount = draw_amount(rng, 45.0, numbers=(5, 150), slight=0.4, large=1.8)
    if amount.group == "plain":
        return None
    lines = {side: arm_line(start, side) for side in sides}
    heights = {side: elevation(line) for side, line in lines.items()}
    limit = HIGHEST + _OVERRUN if amount.group == "number" else 60.0
    if max(heights.values()) + amount.value > limit:
        return None
    for side, line in lines.items():
        if heights[side] > -60.0 and angle_degrees(line * [1.0, 0.0, 1.0], sided(side, towards)) > 40.0:
            return None
    target = on(
        start,
        sides,
        lambda side: lifted_to(start, side, min(heights[side] + amount.value, HIGHEST), sided(side, towards)),
    )
    return finish(rng, start, target, amount.slots)


@one_and_both("arm_direct", "arms_direct", family="arm", weight=8.0)
def _direct(rng: np.random.Generator, start: PosedBody, sides: Sides) -> Edit | None:
    name, direction = _drawn(rng, DIRECTIONS)
    if name == "across" and len(sides) == 2:
        return None
    target = on(start, sides, lambda side: straight_arm(start, side, direction))
    return finish(rng, start, target, variant=name, absolute=True)


@one_and_both("arm_angle", "arms_angle", family="arm", weight=1.6)
def _angle(rng: np.random.Generator, start: PosedBody, sides: Sides) -> Edit | None:
    forwards = bool(rng.random() < 0.35)
    angle, text = degrees(rng, 15, 165)
    direction = at_elevation(FRONT if forwards else LEFT, angle - 90.0)
    target = on(start, sides, lambda side: straight_arm(start, side, direction))
    return finish(rng, start, target, {"degrees": text}, "front" if forwards else "side", absolute=True)


@kind("arm_point", family="arm", weight=1.8)
def _point(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    name, direction = _drawn(rng, _POINTS)
    return finish(rng, start, straight_arm(start, "left", direction), variant=name, absolute=True)


@one_and_both("arm_forwards", "arms_forwards", family="arm", weight=1.6)
def _forwards(rng: np.random.Generator, start: PosedBody, sides: Sides) -> Edit | None:
    return _towards(rng, start, sides, FRONT, via=-UP, closest=0.0)


@one_and_both("arm_backwards", "arms_backwards", family="arm", weight=1.6)
def _backwards(rng: np.random.Generator, start: PosedBody, sides: Sides) -> Edit | None:
    return _towards(rng, start, sides, -FRONT, via=-UP + 0.3 * LEFT, closest=42.0)


@one_and_both("arm_outwards", "arms_outwards", family="arm", weight=1.8, both_share=0.5)
def _outwards(rng: np.random.Generator, start: PosedBody, sides: Sides) -> Edit | None:
    return _towards(rng, start, sides, LEFT, via=FRONT, closest=0.0, typical=28.0, apart=False)


@one_and_both("arm_inwards", "arms_inwards", family="arm", weight=1.6, both_share=0.45)
def _inwards(rng: np.random.Generator, start: PosedBody, sides: Sides) -> Edit | None:
    """Towards the middle of the body: an arm in front goes across it, one at the side comes closer to it."""
    amount = draw_amount(rng, 28.0, numbers=(5, 60), slight=0.4, large=1.6)
    towards, away = {}, {}
    for side in sides:
        line = sided(side, arm_line(start, side))
        inner = np.array([-0.55, line[1], 0.6]) if line[2] > 0.45 else np.array([0.1, line[1], line[2]])
        if line[0] < 0.1 and line[2] <= 0.45:
            return None
        towards[side] = sided(side, unit(inner))
        away[side] = angle_degrees(arm_line(start, side), towards[side])
    room = min(away.values())
    if room < 8.0 or (amount.group == "number" and amount.value > room + _OVERRUN):
        return None
    target = on(start, sides, lambda side: turned_towards(start, side, towards[side], amount.value, UP))
    return finish(rng, start, target, amount.slots)


def _towards(
    rng: np.random.Generator,
    start: PosedBody,
    sides: Sides,
    direction: Array,
    *,
    via: Array,
    closest: float,
    typical: float = 38.0,
    apart: bool = True,
) -> Edit | None:
    """Turned at the shoulder towards ``direction`` by an amount; ``closest`` is how near it a shoulder gets.

    ``apart``: amounts have sentences apart from those that tell none.
    """
    amount = draw_amount(rng, typical, numbers=(5, 90), slight=0.4, large=1.7)
    frame = body_frame(start)
    goals = {side: frame @ sided(side, direction) for side in sides}
    room = {side: angle_degrees(arm_line(start, side), goals[side]) - closest for side in sides}
    least = min(room.values())
    if least < 8.0 or (amount.group == "number" and amount.value > least + _OVERRUN):
        return None
    target = on(
        start,
        sides,
        lambda side: turned_towards(
            start, side, goals[side], min(amount.value, room[side]), sided(side, via)
        ),
    )
    if target is None:
        return None
    if any(angle_degrees(arm_line(target, side), goals[side]) >= closest + room[side] for side in sides):
        return None  # the way round by ``via`` brought an arm that was nearly there no nearer
    variant = "by" if apart and amount.group != "plain" else ""
    return finish(rng, start, target, amount.slots, variant)


def _heights(start: PosedBody) -> dict[str, float]:
    """Heights of landmarks of the body in the upright frame, metres from the pelvis."""
    head = start.at("head")[1]
    shoulder = (start.at("left_shoulder")[1] + start.at("right_shoulder")[1]) / 2
    return {
        "shoulder": shoulder,
        "chest": start.at("spine3")[1] + 0.04,
        "head": head + 0.1,
        "chin": head - 0.01,
        "hip": (start.at("left_hip")[1] + start.at("right_hip")[1]) / 2 + 0.02,
        "waist": start.at("spine1")[1],
    }


@one_and_both("arm_level", "arms_level", family="arm", weight=3.0)
def _level(rng: np.random.Generator, start: PosedBody, sides: Sides) -> Edit | None:
    """The wrist brought to a height by turning the whole arm at the shoulder; the elbow opens if it has to."""
    name = str(rng.choice(["shoulder", "shoulder", "chest", "head", "chin", "hip", "waist"]))
    height = _heights(start)[name]
    moves = {}
    for side in sides:
        moved = _wrist_to_height(start, side, height)
        if moved is None:
            return None
        moves[side] = moved
    current = [start.at(f"{side}_wrist")[1] for side in sides]
    verb = "{arm_lift}" if max(current) < height else "{arm_sink}" if min(current) > height else "{arm_bring}"
    return finish(
        rng,
        start,
        on(start, sides, moves.__getitem__),
        {"height": f"{{at_{name}}}", "verb": verb},
        absolute=True,
    )


def _wrist_to_height(start: PosedBody, side: Side, height: float) -> PosedBody | None:
    rise = height - start.at(f"{side}_shoulder")[1]
    length = float(np.linalg.norm(start.segment(f"{side}_shoulder", f"{side}_wrist")))
    needed = abs(rise) / 0.97
    if needed > UPPER_ARM + FOREARM - 0.002:
        return None
    if length < needed:
        cosine = (needed**2 - UPPER_ARM**2 - FOREARM**2) / (2 * UPPER_ARM * FOREARM)
        start = start.elbow_bent_to(side, float(np.degrees(np.arccos(np.clip(cosine, -1, 1)))))
        length = needed
    wrist = unit(start.segment(f"{side}_shoulder", f"{side}_wrist"))
    to_go = float(np.degrees(np.arcsin(np.clip(rise / length, -1, 1)))) - elevation(wrist)
    # The arm's middle line turns in a vertical plane; its elevation is adjusted until the wrist's is right.
    for _ in range(4):
        line = elevation(arm_line(start, side)) + to_go
        start = lifted_to(start, side, float(np.clip(line, -88.0, 88.0)))
        wrist = start.segment(f"{side}_shoulder", f"{side}_wrist")
        to_go = float(np.degrees(np.arcsin(np.clip(rise / length, -1, 1)))) - elevation(wrist)
        if abs(to_go) < 1.5:
            return start
    return start if abs(to_go) < 4.0 else None


@one_and_both("arm_rotate", "arms_rotate", family="arm", weight=1.5)
def _rotate(rng: np.random.Generator, start: PosedBody, sides: Sides) -> Edit | None:
    """The upper arm turned about its own length; outwards brings the forearm of a bent arm up or out."""
    outwards = bool(rng.random() < 0.5)
    amount = draw_amount(rng, 35.0, numbers=(10, 90), slight=0.4, large=1.6)
    angle = -amount.value if outwards else amount.value
    target = on(
        start,
        sides,
        # Turns about the x axis keep their sign in the mirror.
        lambda side: start.turned_locally(f"{side}_shoulder", turn(LEFT, angle)),
    )
    return finish(rng, start, target, amount.slots, "out" if outwards else "in")


@kind("arms_shape", family="arm", weight=4.0)
def _shape(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    names = list(_SHAPES)
    weights = np.cumsum([_SHAPES[name][2] for name in names])
    name = names[int(np.searchsorted(weights, rng.random() * weights[-1]))]
    upper, fore, _ = _SHAPES[name]
    frame = body_frame(start)

    def posed(side: Side) -> PosedBody | None:
        arm = straight_arm(start, side, np.array(upper))
        return arm if fore is None else forearm_set(arm, side, frame @ sided(side, fore))

    return finish(rng, start, both_arms(start, posed), variant=name, absolute=True)


@kind("arm_match", family="arm", weight=1.2)
def _match(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    return finish(rng, start, mirrored_arm(start, "left", start))


@kind("arms_swap", family="arm", weight=0.6)
def _swap(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    return finish(rng, start, both_arms(start, lambda side: mirrored_arm(start, side, start)))


@kind("arm_one_up_one_down", family="arm", weight=0.6)
def _one_up_one_down(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    directions = {"left": np.array(DIRECTIONS["up"][0]), "right": HANGING}
    target = both_arms(start, lambda side: straight_arm(start, side, directions[side]))
    return finish(rng, start, target, absolute=True)
