# SPDX-License-Identifier: Apache-2.0
"""Hands: to places on and around the body, to each other, and by a distance.

Places are written for the left hand of the neutral body in the frame of the joint that they belong to, so that
they follow a bent or twisted trunk. Sources of the surfaces: the trunk is taken as 24 to 28 cm deep and 30 cm wide,
the skull as a ball of 10 cm radius, 8 cm above and 2 cm in front of the head joint.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from blender_addon.contract.rotations import Array

from .amounts import distance, draw_amount
from .kinds import Edit, kind
from .limbs import Sides, on, one_and_both
from .posed_body import FRONT, LEFT, UP, UPPER_ARM, PosedBody, Side, unit
from .reach import (
    SIDES,
    body_frame,
    both_arms,
    finish,
    hand_reaches,
    hand_to,
    inside_body,
    joint_at,
    sided,
)

_OUT_DOWN: Final = (0.7, -0.7, -0.15)
_OUT: Final = (1.0, -0.15, -0.25)
_OUT_BACK: Final = (0.75, -0.1, -0.65)
_DOWN: Final = (0.35, -0.9, -0.1)


@dataclass(frozen=True)
class Place:
    """Where a hand goes.

    Attributes:
        joint: the joint in whose frame the place stands.
        point: for the left hand, metres.
        elbow: the way the left elbow is pushed, in the chest's frame.
        weight: how often it is drawn.
        both: the point for each of two hands, where it differs; None where two hands do not go there.
        both_weight: how often it is drawn for both hands.
    """

    joint: str
    point: tuple[float, float, float]
    elbow: tuple[float, float, float]
    weight: float = 1.0
    both: tuple[float, float, float] | None = None
    both_weight: float = 0.0


PLACES: Final[dict[str, Place]] = {
    # on the trunk
    "hip": Place("pelvis", (0.18, 0.08, 0.03), _OUT_BACK, 2.0, (0.18, 0.08, 0.03), 3.0),
    "waist": Place("spine1", (0.18, 0.05, 0.02), _OUT_BACK, 0.6, (0.18, 0.05, 0.02), 0.6),
    "stomach": Place("spine1", (0.02, 0.0, 0.15), _OUT_DOWN, 1.2, (0.06, 0.0, 0.15), 1.2),
    "chest": Place("spine3", (0.02, 0.05, 0.15), _OUT_DOWN, 1.2, (0.07, 0.05, 0.15), 0.7),
    "heart": Place("spine3", (0.05, 0.04, 0.15), _OUT_DOWN, 0.8, None),
    "ribs": Place("spine2", (0.15, 0.0, 0.08), _OUT_BACK, 0.3, (0.15, 0.0, 0.08), 0.2),
    "crotch": Place("pelvis", (0.02, -0.1, 0.14), _OUT, 0.3, (0.04, -0.1, 0.14), 0.4),
    "buttock": Place("pelvis", (0.1, -0.06, -0.14), _OUT_BACK, 0.5, (0.1, -0.06, -0.14), 0.4),
    "pocket": Place("pelvis", (0.18, -0.05, 0.06), _OUT_BACK, 0.5, (0.18, -0.05, 0.06), 1.0),
    # behind
    "behind_back": Place("spine1", (0.03, 0.02, -0.16), _OUT_BACK, 1.6, (0.06, 0.0, -0.16), 1.6),
    "lower_back": Place("pelvis", (0.06, 0.08, -0.14), _OUT_BACK, 0.8, (0.07, 0.08, -0.14), 0.6),
    "behind_head": Place("head", (0.03, 0.07, -0.12), _OUT, 1.0, (0.05, 0.07, -0.12), 1.6),
    "behind_neck": Place("head", (0.03, -0.03, -0.1), _OUT, 0.7, (0.05, -0.03, -0.1), 0.7),
    # on the head
    "head": Place("head", (0.04, 0.2, 0.02), _OUT, 2.0, (0.05, 0.2, 0.02), 1.6),
    "side_of_head": Place("head", (0.115, 0.09, 0.01), _OUT, 0.8, (0.115, 0.09, 0.01), 0.8),
    "ear": Place("head", (0.105, 0.05, 0.01), _OUT, 0.8, (0.105, 0.05, 0.01), 1.0),
    "forehead": Place("head", (0.02, 0.13, 0.13), _OUT, 1.0, (0.05, 0.13, 0.12), 0.4),
    "face": Place("head", (0.02, 0.06, 0.16), _OUT_DOWN, 1.0, (0.045, 0.06, 0.155), 1.2),
    "eyes": Place("head", (0.03, 0.09, 0.15), _OUT_DOWN, 0.6, (0.045, 0.09, 0.145), 0.9),
    "nose": Place("head", (0.01, 0.05, 0.155), _OUT_DOWN, 0.6, None),
    "mouth": Place("head", (0.015, 0.015, 0.15), _OUT_DOWN, 0.8, (0.04, 0.015, 0.145), 0.5),
    "chin": Place("head", (0.015, -0.025, 0.13), _DOWN, 1.0, (0.04, -0.025, 0.13), 0.4),
    "cheek": Place("head", (0.085, 0.04, 0.1), _OUT_DOWN, 0.7, (0.085, 0.04, 0.1), 0.7),
    "temple": Place("head", (0.1, 0.1, 0.07), _OUT, 0.6, (0.1, 0.1, 0.07), 0.4),
    "throat": Place("neck", (0.02, 0.03, 0.11), _OUT_DOWN, 0.4, (0.05, 0.03, 0.1), 0.3),
    "salute": Place("head", (0.095, 0.12, 0.1), _OUT, 0.9, None),
    # shoulders and arms
    "own_shoulder": Place("spine3", (0.18, 0.2, 0.08), (0.5, 0.1, 0.85), 0.9, (0.18, 0.2, 0.08), 1.0),
    "other_shoulder": Place("spine3", (-0.17, 0.17, 0.1), (0.3, -0.75, 0.6), 1.2, None),
    "other_upper_arm": Place("spine3", (-0.22, 0.02, 0.1), (0.5, -0.8, 0.3), 0.7, None),
    # in front, above, beside
    "front_stomach": Place("spine1", (0.05, 0.0, 0.26), _OUT_DOWN, 1.0, (0.09, 0.0, 0.25), 1.4),
    "front_chest": Place("spine3", (0.07, 0.04, 0.3), _OUT_DOWN, 1.0, (0.11, 0.04, 0.3), 1.4),
    "front_face": Place("head", (0.04, 0.06, 0.28), _OUT_DOWN, 1.0, (0.08, 0.06, 0.27), 1.0),
    "front_shoulder": Place("spine3", (0.19, 0.14, 0.32), _DOWN, 0.5, (0.19, 0.14, 0.32), 0.5),
    "front_hips": Place("pelvis", (0.08, -0.05, 0.26), _OUT_DOWN, 0.5, (0.1, -0.05, 0.26), 0.5),
    "above_head": Place("head", (0.08, 0.42, 0.02), _OUT, 1.6, (0.12, 0.42, 0.02), 1.6),
    "beside_head": Place("head", (0.28, 0.1, 0.04), _OUT_DOWN, 0.9, (0.28, 0.1, 0.04), 0.9),
    "beside_shoulder": Place("spine3", (0.42, 0.16, 0.06), _DOWN, 0.4, (0.42, 0.16, 0.06), 0.4),
    "beside_hip": Place("pelvis", (0.32, 0.0, 0.03), _OUT_BACK, 0.5, (0.32, 0.0, 0.03), 0.4),
    "wave": Place("spine3", (0.42, 0.4, 0.12), (0.6, -0.8, 0.0), 1.2, (0.42, 0.4, 0.12), 0.4),
    "handshake": Place("spine1", (0.1, 0.1, 0.46), (0.3, -0.9, -0.3), 0.8, None),
    "offer": Place("spine2", (0.16, 0.02, 0.46), (0.3, -0.9, -0.3), 0.6, (0.16, 0.02, 0.46), 0.6),
    "stop": Place("spine3", (0.14, 0.16, 0.5), (0.5, -0.85, 0.0), 0.7, (0.16, 0.16, 0.5), 0.7),
    "guard": Place("head", (0.09, -0.03, 0.22), (0.35, -0.95, 0.2), 0.6, (0.09, -0.03, 0.22), 1.8),
    "shield": Place("head", (0.02, 0.12, 0.24), (0.75, -0.1, 0.65), 0.5, (0.06, 0.12, 0.24), 0.8),
    "visor": Place("head", (0.045, 0.15, 0.16), _OUT, 0.6, None),
    "phone": Place("head", (0.115, 0.02, 0.05), (0.7, -0.7, 0.3), 0.7, None),
    "drink": Place("head", (0.02, 0.0, 0.2), _OUT_DOWN, 0.5, None),
    "shelf": Place("spine3", (0.2, 0.5, 0.3), (0.6, -0.7, 0.2), 0.6, (0.18, 0.5, 0.3), 0.5),
    "low": Place("pelvis", (0.17, -0.02, 0.36), (0.6, -0.4, -0.5), 0.5, (0.16, -0.02, 0.36), 0.4),
}

_NEAR: Final = frozenset(
    {
        "front_stomach", "front_chest", "front_face", "front_shoulder", "front_hips", "above_head", "beside_head",
        "beside_shoulder", "beside_hip", "behind_back", "behind_head",
    }
)  # fmt: skip
"""Places beside the body that are not touched."""
_GESTURES: Final = frozenset(
    {
        "salute", "wave", "handshake", "offer", "stop", "guard", "shield", "visor", "phone", "drink", "shelf", "low",
        "pocket",
    }
)  # fmt: skip
"""Places with sentences of their own."""
_IDIOMS: Final[dict[int, frozenset[str]]] = {
    1: frozenset({"heart", "forehead", "chin", "behind_back", "mouth", "other_shoulder", "hip", "ear"}),
    2: frozenset({"hip", "behind_back", "behind_head", "ear", "eyes", "face", "head", "above_head"}),
}
"""Places that some sentences ask for without naming them, for one hand and for two."""
_IDIOM_SHARE: Final = 0.3

_TWO_HANDS: Final[dict[str, tuple[Place, float]]] = {
    "together_chest": (Place("spine3", (0.05, 0.03, 0.28), _OUT_DOWN), 2.0),
    "together_stomach": (Place("spine1", (0.05, 0.02, 0.26), _OUT_DOWN), 1.2),
    "together_face": (Place("head", (0.05, 0.04, 0.28), _OUT_DOWN), 0.5),
    "together_overhead": (Place("head", (0.05, 0.45, 0.03), _OUT), 1.2),
    "together_waist": (Place("pelvis", (0.05, 0.0, 0.22), _OUT_DOWN), 0.5),
    "together_behind": (Place("pelvis", (0.04, 0.02, -0.16), _OUT_BACK), 1.2),
    "prayer": (Place("spine3", (0.04, 0.08, 0.2), _OUT), 1.2),
    "clap": (Place("spine3", (0.04, 0.04, 0.34), _OUT_DOWN), 0.8),
    "box": (Place("spine1", (0.19, 0.08, 0.38), (0.5, -0.85, -0.3)), 1.0),
    "ball": (Place("spine3", (0.13, 0.0, 0.32), _OUT_DOWN), 0.5),
    "wheel": (Place("spine3", (0.17, 0.02, 0.42), _OUT_DOWN), 0.5),
    "box_overhead": (Place("head", (0.19, 0.4, 0.06), _OUT), 0.5),
    "keyboard": (Place("spine1", (0.13, 0.06, 0.36), (0.4, -0.9, -0.3)), 0.5),
    "push": (Place("spine3", (0.16, 0.1, 0.5), _OUT_DOWN), 0.6),
    "heart_sign": (Place("spine3", (0.045, 0.1, 0.3), _OUT), 0.3),
    "pull_bar": (Place("head", (0.3, 0.36, 0.06), _OUT), 0.4),
}


def place_of(start: PosedBody, side: Side, joint: str, point: tuple[float, float, float]) -> Array:
    """A place (3,), written for the left side in the frame of ``joint``, in the upright frame."""
    return start.at(joint) + start.rot_of(joint) @ sided(side, point)


def hand_at(start: PosedBody, side: Side, place: Place, *, of_two: bool = False) -> PosedBody:
    """The hand brought to a place, or towards one beyond its reach; ``of_two``: the other hand goes there too."""
    elbow = start.rot_of("spine3") @ sided(side, place.elbow)
    return hand_to(start, side, _goal(start, side, place, of_two=of_two), elbow)


def _goal(start: PosedBody, side: Side, place: Place, *, of_two: bool) -> Array:
    point = place.both if of_two and place.both is not None else place.point
    return place_of(start, side, place.joint, point)


def _placed(start: PosedBody, side: Side, place: Place, *, of_two: bool) -> PosedBody | None:
    if not hand_reaches(start, side, _goal(start, side, place, of_two=of_two), 0.03):
        return None
    return hand_at(start, side, place, of_two=of_two)


def _draw_name(rng: np.random.Generator, names: list[str], weights: list[float]) -> str:
    mass = np.cumsum(weights)
    return names[int(np.searchsorted(mass, rng.random() * mass[-1]))]


_ONE_NAMES: Final = list(PLACES)
_ONE_WEIGHTS: Final = [place.weight for place in PLACES.values()]
_BOTH_NAMES: Final = [name for name, place in PLACES.items() if place.both is not None]
_BOTH_WEIGHTS: Final = [PLACES[name].both_weight for name in _BOTH_NAMES]


@one_and_both("hand_place", "hands_place", family="hand", weight=16.0, both_share=0.42)
def _place(rng: np.random.Generator, start: PosedBody, sides: Sides) -> Edit | None:
    names, weights = (_ONE_NAMES, _ONE_WEIGHTS) if len(sides) == 1 else (_BOTH_NAMES, _BOTH_WEIGHTS)
    name = _draw_name(rng, names, weights)
    target = on(start, sides, lambda side: _placed(start, side, PLACES[name], of_two=len(sides) == 2))
    if name in _GESTURES or (name in _IDIOMS[len(sides)] and rng.random() < _IDIOM_SHARE):
        return finish(rng, start, target, variant=name, absolute=True)
    number = "one" if len(sides) == 1 else "two"
    slots = {"place": f"{{{number}_at_{name}}}", "thing": f"{{{number}_{name}}}"}
    return finish(rng, start, target, slots, "near" if name in _NEAR else "on", absolute=True)


@kind("hands_together", family="hand", weight=6.0)
def _together(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    name = _draw_name(rng, list(_TWO_HANDS), [weight for _, weight in _TWO_HANDS.values()])
    place = _TWO_HANDS[name][0]
    target = both_arms(start, lambda side: _placed(start, side, place, of_two=False))
    return finish(rng, start, target, variant=name, absolute=True)


@kind("hands_meet", family="hand", weight=1.8)
def _meet(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    """The hands brought to each other halfway, in front of the body."""
    chest = start.rot_of("spine3")
    middle = (start.at("left_hand") + start.at("right_hand")) / 2
    in_front = chest.T @ (middle - start.at("spine2"))
    in_front[0] = np.clip(in_front[0], -0.15, 0.15)
    in_front[2] = max(in_front[2], 0.24)
    middle = start.at("spine2") + chest @ in_front
    if not all(hand_reaches(start, side, middle, -0.03) for side in SIDES):
        return None
    across = chest @ LEFT * 0.05
    target = both_arms(
        start,
        lambda side: hand_to(
            start, side, middle + sided(side, [1, 1, 1])[0] * across, chest @ sided(side, _OUT_DOWN)
        ),
    )
    return finish(rng, start, target, absolute=True)


@kind("hands_apart", family="hand", weight=6.0)
def _apart(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    """The hands moved apart or closer along the line between them, by an amount or to a distance."""
    chest = start.rot_of("spine3")
    line = start.segment("right_hand", "left_hand")
    gap = float(np.linalg.norm(line))
    axis = unit(line)
    if gap < 0.12 or axis @ chest[:, 0] < 0.3:
        axis = chest[:, 0]
    form = rng.random()
    slots: dict[str, str] = {}
    if form < 0.3:
        if rng.random() < 0.45:
            new, variant = 0.4, "shoulder_width"
        else:
            new, text = distance(rng, 0.1, 0.6)
            variant, slots = "to", {"distance": text}
    else:
        wider = bool(rng.random() < 0.55)
        amount = draw_amount(rng, 0.22, numbers=(0.05, 0.4), unit="metres", slight=0.4, large=1.8)
        new = gap + amount.value * (1.0 if wider else -1.0)
        variant, slots = ("farther" if wider else "closer"), dict(amount.slots)
        if new < 0.06 or new > 1.5:
            return None
    middle = (start.at("left_hand") + start.at("right_hand")) / 2
    goals = {"left": middle + axis * new / 2, "right": middle - axis * new / 2}
    target = both_arms(
        start, lambda side: _shifted(start, side, "hand", goals[side] - start.at(f"{side}_hand"))
    )
    return finish(rng, start, target, slots, variant, absolute=variant in ("to", "shoulder_width"))


def _shifted(start: PosedBody, side: Side, joint: str, shift: Array) -> PosedBody | None:
    """The wrist or hand moved by ``shift`` (3,) with the smallest move of the arm.

    None out of reach or into the body.
    """
    goal = start.at(f"{side}_{joint}") + shift
    shoulder, elbow = start.at(f"{side}_shoulder"), start.at(f"{side}_elbow")
    longest = UPPER_ARM + float(np.linalg.norm(start.at(f"{side}_{joint}") - elbow))
    if np.linalg.norm(goal - shoulder) > longest + 0.01 or inside_body(start, goal):
        return None
    return joint_at(start, side, joint, goal)


_SHIFTS: Final[dict[str, tuple[float, float, float]]] = {
    "forward": (0.0, 0.0, 1.0),
    "backward": (0.0, 0.0, -1.0),
    "up": (0.0, 1.0, 0.0),
    "down": (0.0, -1.0, 0.0),
    "out": (1.0, 0.0, 0.0),
    "in": (-1.0, 0.0, 0.0),
}


@one_and_both("hand_shift", "hands_shift", family="hand", weight=5.0, both_share=0.25)
def _shift(rng: np.random.Generator, start: PosedBody, sides: Sides) -> Edit | None:
    name = list(_SHIFTS)[rng.integers(len(_SHIFTS))]
    amount = draw_amount(rng, 0.2, numbers=(0.03, 0.4), unit="metres", slight=0.4, large=1.7)
    if amount.group == "plain" and name in ("up", "down"):
        return None  # "raise your hand" lifts the arm
    frame = body_frame(start)
    target = on(
        start,
        sides,
        lambda side: _shifted(start, side, "wrist", frame @ sided(side, _SHIFTS[name]) * amount.value),
    )
    return finish(rng, start, target, amount.slots, name)


@kind("hands_shift_sideways", family="hand", weight=0.7)
def _shift_sideways(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    """Both hands the same way, to the body's left."""
    amount = draw_amount(rng, 0.2, numbers=(0.03, 0.35), unit="metres", slight=0.4, large=1.6)
    shift = body_frame(start) @ LEFT * amount.value
    return finish(
        rng, start, both_arms(start, lambda side: _shifted(start, side, "wrist", shift)), amount.slots
    )


_CROSSINGS: Final = {
    "folded": ((-0.13, -0.06, 0.15), (-0.13, -0.03, 0.21)),
    "hug": ((-0.17, 0.12, 0.11), (-0.17, 0.09, 0.15)),
    "x": ((-0.1, 0.14, 0.2), (-0.1, 0.14, 0.25)),
}
"""Where the lower and the upper of two crossed hands lie."""


def crossing(start: PosedBody, name: str) -> PosedBody | None:
    """Both hands brought to the other side; the arm whose hand is further forward lies on top."""
    near, far = _CROSSINGS[name]
    chest = start.rot_of("spine3")
    ahead = {side: float(chest[:, 2] @ start.at(f"{side}_hand")) for side in SIDES}
    top = "left" if ahead["left"] >= ahead["right"] else "right"

    def crossed(side: Side) -> PosedBody:
        goal = place_of(start, side, "spine3", far if side == top else near)
        return hand_to(start, side, goal, chest @ sided(side, (0.55, -0.8, 0.15)))

    return both_arms(start, crossed)


@kind("arms_crossed", family="hand", weight=3.0)
def _crossed(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    name = _draw_name(rng, ["folded", "hug", "x"], [3.0, 1.0, 0.7])
    return finish(rng, start, crossing(start, name), variant=name, absolute=True)


@one_and_both("hand_on_leg", "hands_on_leg", family="hand", weight=2.0, both_share=0.6)
def _on_leg(rng: np.random.Generator, start: PosedBody, sides: Sides) -> Edit | None:
    """On the thigh, the knee, the shin, the ankle or the toes, where the arm reaches without moving the trunk."""
    name = _draw_name(rng, ["thigh", "knee", "shin", "ankle", "foot"], [2.0, 2.0, 0.8, 0.8, 0.8])
    goals = {side: _leg_place(start, side, name) for side in sides}
    if not all(hand_reaches(start, side, goal, 0.02) for side, goal in goals.items()):
        return None
    chest = start.rot_of("spine3")
    target = on(
        start, sides, lambda side: hand_to(start, side, goals[side], chest @ sided(side, (0.8, -0.2, -0.4)))
    )
    return finish(rng, start, target, variant=name, absolute=True)


def _leg_place(start: PosedBody, side: Side, name: str) -> Array:
    hip, knee, ankle = (start.at(f"{side}_{joint}") for joint in ("hip", "knee", "ankle"))
    front = start.rot_of(f"{side}_hip") @ FRONT
    shin_front = start.rot_of(f"{side}_knee") @ FRONT
    places: dict[str, Array] = {
        "thigh": hip + 0.55 * (knee - hip) + 0.09 * front,
        "knee": knee + 0.075 * unit(front + shin_front + 0.2 * (hip - knee)),
        "shin": (knee + ankle) / 2 + 0.07 * shin_front,
        "ankle": ankle + 0.06 * shin_front + 0.04 * UP,
        "foot": start.at(f"{side}_foot") + 0.04 * UP,
    }
    if name == "thigh" and not hand_reaches(start, side, places["thigh"]):
        places["thigh"] = hip + 0.3 * (knee - hip) + 0.09 * front
    return places[name]


@kind("hand_on_other_arm", family="hand", weight=0.8)
def _on_other_arm(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    """The left hand to the right elbow or wrist, where it is within reach."""
    part = "elbow" if rng.random() < 0.5 else "wrist"
    chest = start.rot_of("spine3")
    goal = start.at(f"right_{part}") + chest @ [0.03, 0.04, 0.03]
    if not hand_reaches(start, "left", goal) or inside_body(start, goal):
        return None
    target = hand_to(start, "left", goal, chest @ np.array(_OUT_DOWN))
    return finish(rng, start, target, variant=part, absolute=True)
