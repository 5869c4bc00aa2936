# SPDX-License-Identifier: Apache-2.0
"""The head: looking, turning, nodding and tilting, spread over neck and head. Nothing else moves."""

from __future__ import annotations

from typing import Final

import numpy as np

from blender_addon.contract.rotations import Array

from .amounts import degrees, draw_amount
from .kinds import Edit, KindFunction, kind
from .posed_body import LEFT, PosedBody, turn, unit
from .reach import finish
from .spine import HEAD, chain_eased, head_angles, head_pitched, head_rolled, head_set, head_turned

# Limits of neck and head together, degrees.
YAW_LIMIT: Final = 80.0
DOWN_LIMIT: Final = 58.0
UP_LIMIT: Final = 55.0
ROLL_LIMIT: Final = 45.0

_MOVES: Final = {
    "turn": (head_turned, 0, 1.0, YAW_LIMIT),
    "down": (head_pitched, 1, 1.0, DOWN_LIMIT),
    "up": (head_pitched, 1, -1.0, UP_LIMIT),
    "tilt": (head_rolled, 2, 1.0, ROLL_LIMIT),
}


def _towards(way: str, typical: float, slight: float, large: float) -> KindFunction:
    """A kind that moves the head one way: to a usual angle where no amount is told, else by the amount.

    A head that is there already goes on by a third of the usual angle.
    """
    move, measure, sign, limit = _MOVES[way]

    def apply(rng: np.random.Generator, start: PosedBody) -> Edit | None:
        angle = sign * head_angles(start)[measure]
        amount = draw_amount(rng, typical, numbers=(5, limit), slight=slight, large=large)
        if amount.group in ("plain", "large"):
            wanted = min(limit, max(amount.value, angle + typical / 2.5))
            if wanted - angle < typical / 3:
                return None
            return finish(rng, start, move(start, sign * (wanted - angle)), amount.slots)
        if angle + amount.value > limit + 2.0:
            return None
        return finish(rng, start, move(start, sign * amount.value), amount.slots)

    return apply


kind("head.turn", family="head", weight=2.4)(_towards("turn", 50.0, 0.35, 1.5))
kind("head.down", family="head", weight=2.0)(_towards("down", 35.0, 0.4, 1.5))
kind("head.up", family="head", weight=1.9)(_towards("up", 32.0, 0.4, 1.5))
kind("head.tilt", family="head", weight=1.7)(_towards("tilt", 25.0, 0.45, 1.6))


@kind("head.fully", family="head", weight=1.0)
def head_fully(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    variant = str(rng.choice(["turn", "down", "up", "tilt"], p=[0.4, 0.25, 0.2, 0.15]))
    move, measure, sign, limit = _MOVES[variant]
    angle = sign * head_angles(start)[measure]
    return finish(rng, start, move(start, sign * (limit - angle)), variant=variant, absolute=True)


@kind("head.to_angle", family="head", weight=1.6)
def head_to_angle(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    variant = str(rng.choice(["turn", "down", "up", "tilt"], p=[0.45, 0.2, 0.15, 0.2]))
    move, measure, sign, limit = _MOVES[variant]
    value, text = degrees(rng, 5, limit)
    angle = sign * head_angles(start)[measure]
    return finish(rng, start, move(start, sign * (value - angle)), {"angle": text}, variant, absolute=True)


@kind("head.over_shoulder", family="head", weight=0.8)
def head_over_shoulder(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    return finish(rng, start, head_set(start, YAW_LIMIT, 8.0), absolute=True)


@kind("head.straight", family="head", weight=2.8)
def head_straight(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    return finish(rng, start, chain_eased(start, HEAD, 1.0), absolute=True)


@kind("head.straight_partly", family="head", weight=0.4)
def head_straight_partly(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    if max(abs(angle) for angle in head_angles(start)) < 15.0:
        return None
    return finish(rng, start, chain_eased(start, HEAD, 0.5))


@kind("head.undo_one", family="head", weight=1.0)
def head_undo_one(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    """One of turn, nod and tilt taken out, the others kept."""
    yaw, pitch, roll = head_angles(start)
    variant = str(rng.choice(["turn", "pitch", "tilt"]))
    if variant == "turn":
        return finish(rng, start, head_turned(start, -yaw), variant=variant) if abs(yaw) > 10.0 else None
    if variant == "pitch":
        if abs(pitch) < 10.0:
            return None
        return finish(rng, start, head_pitched(start, -pitch), variant="down" if pitch > 0 else "up")
    return finish(rng, start, head_rolled(start, -roll), variant=variant) if abs(roll) > 8.0 else None


@kind("head.diagonal", family="head", weight=1.0)
def head_diagonal(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    variant = "up" if rng.random() < 0.5 else "down"
    target = head_set(start, 45.0, -28.0 if variant == "up" else 32.0)
    return finish(rng, start, target, variant=variant, absolute=True)


@kind("head.other_way", family="head", weight=0.4)
def head_other_way(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    yaw = head_angles(start)[0]
    return finish(rng, start, head_turned(start, -2.0 * yaw)) if abs(yaw) > 18.0 else None


_POINTS: Final = {
    "hand": ("left_hand",),
    "elbow": ("left_elbow",),
    "knee": ("left_knee",),
    "foot": ("left_foot",),
    "hands": ("left_hand", "right_hand"),
    "feet": ("left_foot", "right_foot"),
    "knees": ("left_knee", "right_knee"),
    "stomach": ("spine1", "spine1"),
}
_EYES: Final = np.array([0.0, 0.06, 0.08])


def gaze(start: PosedBody, direction: Array) -> PosedBody | None:
    """The head turned so that it faces along ``direction`` (3,) without a tilt, as far as it goes."""
    ahead = start.rot_of("spine3").T @ unit(direction)
    yaw = float(np.degrees(np.arctan2(ahead[0], ahead[2])))
    pitch = float(np.degrees(np.arctan2(-ahead[1], np.hypot(ahead[0], ahead[2]))))
    if abs(yaw) > YAW_LIMIT + 45.0:
        return None
    return head_set(
        start, float(np.clip(yaw, -YAW_LIMIT, YAW_LIMIT)), float(np.clip(pitch, -UP_LIMIT, DOWN_LIMIT))
    )


@kind("head.look_at", family="head", weight=1.6)
def head_look_at(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    variant = str(rng.choice(list(_POINTS), p=[0.34, 0.07, 0.12, 0.17, 0.1, 0.14, 0.03, 0.03]))
    point = np.mean([start.at(joint) for joint in _POINTS[variant]], axis=0)
    if variant == "stomach":
        point = point + start.rot_of("spine1")[:, 2] * 0.12
    direction = point - (start.at("head") + start.rot_of("head") @ _EYES)
    if np.linalg.norm(direction) < 0.12:
        return None
    return finish(rng, start, gaze(start, direction), variant=variant)


@kind("head.look_at_place", family="head", weight=1.0)
def head_look_at_place(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    variant = "floor" if rng.random() < 0.5 else "ceiling"
    target = head_set(start, 0.0, 45.0 if variant == "floor" else -45.0)
    return finish(rng, start, target, variant=variant, absolute=True)


@kind("head.chin", family="head", weight=0.7)
def head_chin(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    """The head pushed forward or drawn back: the neck pitches one way, the head the other."""
    variant = "forward" if rng.random() < 0.5 else "back"
    angle = 20.0 if variant == "forward" else -14.0
    target = start.turned_locally("neck", turn(LEFT, angle)).turned_locally("head", turn(LEFT, -angle))
    return finish(rng, start, target, variant=variant)


@kind("head.tuck", family="head", weight=0.6)
def head_tuck(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    yaw = head_angles(start)[0]
    return finish(rng, start, head_set(start, yaw if abs(yaw) > 25.0 else 0.0, 48.0), absolute=True)
