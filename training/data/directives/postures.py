# SPDX-License-Identifier: Apache-2.0
"""Postures of the whole body: what the builders are, and the kinds that ask for them.

A posture of the legs (sitting, kneeling, squatting, a lunge) leaves arms, head and trunk as they are and sets a
lying or strongly tilted body upright. A posture of the whole body sets every joint. A posture with a side is
written for the left one; where the words leave the side open, the left one is meant.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Final

import numpy as np

from blender_addon.contract.rotations import Array
from blender_addon.contract.skeleton import BODY_PARTS

from .kinds import Edit, KindFunction, kind
from .posed_body import FRONT, LEFT, UP, PosedBody, Side, angle_degrees, turn
from .reach import SIDES, arm_set, finish, forearm_set, hand_to, sided, sided_turn
from .spine import TRUNK, chain_set, head_set
from .stance import LEG_LENGTH, foot_level, leg_set

Builder = Callable[[PosedBody], PosedBody]

_UPRIGHT: Final = np.eye(3)
TILT_LIMIT: Final = 35.0
"""Degrees; a body tilted further is set upright before it sits, kneels or squats."""


# -- parts -------------------------------------------------------------------------------------------------


def legs_at_rest(body: PosedBody) -> PosedBody:
    """Both legs straight under the body."""
    for side in SIDES:
        body = leg_set(body, side, level=True, ankle=0.0, frame=_UPRIGHT)
    return body


def arms_at_rest(body: PosedBody) -> PosedBody:
    """Both arms hanging a little away from the body with soft elbows."""
    for side in SIDES:
        body = body.with_local(
            {
                f"{side}_collar": np.eye(3),
                f"{side}_shoulder": sided_turn(side, FRONT, -72.0),
                f"{side}_elbow": sided_turn(side, UP, -12.0),
                f"{side}_wrist": np.eye(3),
                f"{side}_hand": np.eye(3),
            }
        )
    return body


def standing(yaw: float = 0.0) -> PosedBody:
    """A neutral standing body: upright, arms hanging, head level."""
    return arms_at_rest(PosedBody(np.tile(np.eye(3), (24, 1, 1)), yaw))


def grounded(start: PosedBody) -> PosedBody:
    """The body with its pelvis set upright if it lies or leans strongly."""
    if angle_degrees(start.rot_of("pelvis")[:, 1], UP) <= TILT_LIMIT:
        return start
    return start.with_local({"pelvis": np.eye(3)})


def leg_at(
    body: PosedBody,
    side: Side,
    ankle: tuple[float, float, float],
    knee: tuple[float, float, float],
    foot: str | float,
) -> PosedBody:
    """The ankle at a place seen from the hip, the knee pushed towards a direction, both with x outward.

    ``foot`` is "level", "ball" (heel lifted), or the angle of the ankle.
    """
    target = body.at(f"{side}_hip") + sided(side, ankle)
    body = body.foot_at(side, target, sided(side, knee))
    if isinstance(foot, float):
        return body.with_local({f"{side}_ankle": turn(LEFT, foot), f"{side}_foot": np.eye(3)})
    body = foot_level(body, side, _UPRIGHT)
    if foot == "ball":
        body = body.turned_locally(f"{side}_ankle", turn(LEFT, 40.0))
        body = body.with_local({f"{side}_foot": turn(LEFT, -40.0)})
    return body


def leg_low(body: PosedBody, side: Side, knee: float, *, ahead: float = 0.06, out: float = 0.04) -> PosedBody:
    """The foot flat under the hip with the knee bent by ``knee`` degrees and pointing forward and a little out."""
    length = LEG_LENGTH * np.cos(np.radians(knee) / 2)
    height = -np.sqrt(max(0.01, length**2 - ahead**2 - out**2))
    return leg_at(body, side, (out, float(height), ahead), (0.25, 0.0, 1.0), "level")


def trunk_set(body: PosedBody, bend: float = 0.0, twist: float = 0.0, lean: float = 0.0) -> PosedBody:
    """The spine set to a bend forward, a twist and a lean to the left."""
    return chain_set(body, TRUNK, turn(FRONT, -lean) @ turn(LEFT, bend) @ turn(UP, twist))


def rooted(body: PosedBody, rotation: Array) -> PosedBody:
    """The pelvis set to a rotation (3, 3) in the upright frame."""
    return body.with_local({"pelvis": rotation})


def arms(body: PosedBody, direction: tuple[float, float, float], elbow: float = 0.0) -> PosedBody:
    """Both arms along a direction with x outward, the elbows bent."""
    for side in SIDES:
        body = arm_set(body, side, sided(side, direction), elbow)
    return body


def hands(
    body: PosedBody, place: Callable[[PosedBody, Side], Array], elbow: tuple[float, float, float]
) -> PosedBody:
    """Both hands at places, the elbows pushed towards a direction with x outward."""
    for side in SIDES:
        body = hand_to(body, side, place(body, side), sided(side, elbow))
    return body


def palms_on_floor(body: PosedBody) -> PosedBody:
    """The hands bent back, as under a body that rests on its arms."""
    return body.with_local({f"{side}_wrist": sided_turn(side, FRONT, 75.0) for side in SIDES})


def hands_on_hips(body: PosedBody) -> PosedBody:
    return hands(body, lambda f, s: f.rot_of("pelvis") @ sided(s, [0.17, 0.05, 0.05]), (1.0, 0.1, -0.5))


def hands_on_thighs(body: PosedBody) -> PosedBody:
    def place(f: PosedBody, side: Side) -> Array:
        thigh = f.segment(f"{side}_hip", f"{side}_knee")
        place: Array = f.at(f"{side}_hip") + 0.72 * thigh + 0.08 * f.rot_of(f"{side}_hip")[:, 2]
        return place

    return hands(body, place, (0.7, -0.3, -0.6))


def palms_together(body: PosedBody) -> PosedBody:
    """The hands together in front of the chest."""
    ahead = body.at("spine3") + body.rot_of("spine3") @ np.array([0.0, 0.08, 0.26])
    return hands(
        body, lambda f, s: ahead + f.rot_of("spine3") @ sided(s, [0.025, 0.0, 0.0]), (1.0, -0.6, 0.0)
    )


# -- postures of the legs ------------------------------------------------------------------------------------


def _both(move: Callable[[PosedBody, Side], PosedBody]) -> Builder:
    return lambda start: move(move(start, "left"), "right")


def _leg(**angles: float | bool) -> Callable[[PosedBody, Side], PosedBody]:
    return lambda body, side: leg_set(body, side, frame=_UPRIGHT, **angles)  # type: ignore[arg-type]


def _low(knee: float, **place: float) -> Callable[[PosedBody, Side], PosedBody]:
    return lambda body, side: leg_low(body, side, knee, **place)


def _sides(
    left: Callable[[PosedBody, Side], PosedBody], right: Callable[[PosedBody, Side], PosedBody]
) -> Builder:
    return lambda start: right(left(start, "left"), "right")


def _at(
    ankle: tuple[float, float, float], knee: tuple[float, float, float], foot: str | float
) -> Callable[[PosedBody, Side], PosedBody]:
    return lambda body, side: leg_at(body, side, ankle, knee, foot)


_STRAIGHT: Final = _leg(level=True)

LEG_POSTURES: Final[dict[str, Builder]] = {
    "stand": _both(_STRAIGHT),
    "sit": _both(_leg(flexion=90.0, horizontal_abduction=6.0, knee=90.0, level=True)),
    "sit_floor": _both(_leg(flexion=88.0, horizontal_abduction=4.0, knee=3.0, ankle=5.0)),
    "sit_straddle": _both(_leg(flexion=88.0, horizontal_abduction=38.0, knee=2.0, ankle=5.0)),
    "sit_knees_up": _both(_leg(flexion=122.0, horizontal_abduction=4.0, knee=112.0, level=True)),
    "cross_legged": _sides(
        _at((-0.15, -0.1, 0.31), (1.0, 0.1, 0.45), 25.0), _at((-0.15, -0.1, 0.22), (1.0, 0.1, 0.45), 25.0)
    ),
    "kneel": _both(_leg(flexion=0.0, knee=90.0, ankle=60.0)),
    "kneel_heels": _both(_leg(flexion=76.0, horizontal_abduction=5.0, knee=148.0, ankle=60.0)),
    "half_kneel": _sides(_leg(flexion=-4.0, knee=88.0, ankle=35.0), _leg(flexion=88.0, knee=88.0, level=True)),
    "half_squat": _both(_low(60.0)),
    "squat": _both(_low(105.0, ahead=0.09)),
    "deep_squat": _both(_low(138.0, ahead=0.08, out=0.09)),
    "horse": _both(_at((0.3, -0.5, 0.04), (1.0, 0.0, 0.7), "level")),
    "plie": _both(_at((0.06, -0.62, 0.0), (1.0, 0.0, 0.45), "level")),
    "lunge": _sides(
        _leg(flexion=80.0, knee=84.0, level=True), _at((0.0, -0.47, -0.6), (0.0, -0.3, 1.0), "ball")
    ),
    "deep_lunge": _sides(
        _leg(flexion=98.0, knee=96.0, level=True), _at((0.0, -0.33, -0.72), (0.0, -0.5, 1.0), "ball")
    ),
    "side_lunge": _sides(
        _at((0.34, -0.56, 0.04), (0.7, 0.0, 1.0), "level"), _leg(out=43.0, level=True)
    ),
    "reverse_lunge": _sides(
        _at((0.0, -0.47, -0.6), (0.0, -0.3, 1.0), "ball"), _leg(flexion=80.0, knee=84.0, level=True)
    ),
    "front_split": _sides(_leg(flexion=86.0, knee=0.0, ankle=40.0), _leg(flexion=-80.0, knee=0.0, ankle=45.0)),
    "side_split": _both(_leg(out=82.0, knee=0.0, ankle=20.0)),
    "pistol": _sides(_low(130.0, ahead=0.1), _leg(flexion=88.0, knee=3.0, ankle=5.0)),
    "tree": _sides(_STRAIGHT, _at((-0.12, -0.38, 0.06), (1.0, 0.0, 0.25), 35.0)),
    "stork": _sides(_STRAIGHT, _leg(flexion=88.0, knee=120.0, ankle=20.0)),
    "figure_four": _sides(
        _leg(flexion=90.0, knee=90.0, level=True), _at((-0.16, 0.04, 0.33), (1.0, 0.15, 0.4), 10.0)
    ),
    "weight_on": _sides(_STRAIGHT, _leg(flexion=16.0, out=5.0, twist=12.0, knee=30.0, ankle=18.0)),
    "first_position": _both(_leg(out=-2.0, twist=48.0, level=True)),
    "split_stance": _sides(_at((0.02, -0.8, 0.22), (0.1, 0.0, 1.0), "level"),
                           _at((0.02, -0.8, -0.2), (0.2, 0.0, 1.0), "level")),
}  # fmt: skip
"""Postures of the legs alone, on an upright pelvis. Those with a side are written for the left one: the knee on the
floor, the leg in front, the bent side, the standing leg."""


def crouched(start: PosedBody) -> PosedBody:
    """Knees deep and the trunk bent over them."""
    return trunk_set(_both(_low(112.0, ahead=0.1))(start), bend=40.0)


def leg_posture(name: str) -> Builder:
    """A posture of the legs on the start's own pelvis, trunk, arms and head."""
    build = LEG_POSTURES[name]
    return lambda start: build(grounded(start))


# -- postures of the whole body ------------------------------------------------------------------------------


def _legs(body: PosedBody, name: str) -> PosedBody:
    return LEG_POSTURES[name](body)


def _line(
    body: PosedBody, *, flexion: float = 0.0, out: float = 1.0, knee: float = 0.0, ankle: float = 0.0
) -> PosedBody:
    """Both legs in line with the pelvis, however it is tilted."""
    frame = body.rot_of("pelvis")
    for side in SIDES:
        body = leg_set(body, side, flexion=flexion, out=out, knee=knee, ankle=ankle, frame=frame)
    return body


def t_pose(f: PosedBody) -> PosedBody:
    return PosedBody(np.tile(np.eye(3), (24, 1, 1)), f.yaw)


def a_pose(f: PosedBody) -> PosedBody:
    return arms(legs_at_rest(f), (1.0, -1.0, 0.0))


def attention(f: PosedBody) -> PosedBody:
    f = _both(_leg(out=-3.0, level=True))(f)
    return arms(f, (0.1, -1.0, 0.03))


def star(f: PosedBody) -> PosedBody:
    return arms(_both(_leg(out=24.0, level=True))(f), (1.0, 0.55, 0.0))


def plank(f: PosedBody) -> PosedBody:
    f = _line(rooted(f, turn(LEFT, 70.0)), ankle=-12.0)
    return head_set(palms_on_floor(arms(f, (0.05, -1.0, 0.0))), 0.0, -8.0)


def push_up(f: PosedBody) -> PosedBody:
    f = _line(rooted(f, turn(LEFT, 82.0)), ankle=-10.0)
    f = hands(f, lambda g, s: g.at(f"{s}_shoulder") + sided(s, [0.08, -0.24, -0.05]), (0.8, 0.6, -0.7))
    return head_set(palms_on_floor(f), 0.0, -8.0)


def all_fours(f: PosedBody) -> PosedBody:
    f = _both(_leg(flexion=0.0, knee=90.0, ankle=60.0))(rooted(f, turn(LEFT, 84.0)))
    return head_set(palms_on_floor(arms(f, (0.03, -1.0, 0.0))), 0.0, -12.0)


def down_dog(f: PosedBody) -> PosedBody:
    f = _both(_leg(flexion=-28.0, level=True))(rooted(f, turn(LEFT, 132.0)))
    return palms_on_floor(arms(f, (0.1, -0.62, 0.78)))


def cobra(f: PosedBody) -> PosedBody:
    f = trunk_set(_line(rooted(f, turn(LEFT, 84.0)), ankle=60.0), bend=-38.0)
    f = hands(f, lambda g, s: g.at(f"{s}_shoulder") + sided(s, [0.02, -0.46, 0.06]), (0.2, 0.0, -1.0))
    return head_set(palms_on_floor(f), 0.0, -18.0)


def floor_superman(f: PosedBody) -> PosedBody:
    f = trunk_set(_line(rooted(f, turn(LEFT, 90.0)), flexion=-12.0, ankle=45.0), bend=-25.0)
    return head_set(arms(f, (0.2, 0.35, 1.0)), 0.0, -20.0)


def flying(f: PosedBody) -> PosedBody:
    f = _line(rooted(f, turn(LEFT, 76.0)), ankle=45.0)
    return head_set(arms(f, (0.2, 0.25, 1.0)), 0.0, -40.0)


def bridge(f: PosedBody) -> PosedBody:
    f = rooted(f, turn(LEFT, -112.0))
    f = _both(_leg(flexion=98.0, knee=98.0, level=True))(f)
    return head_set(arms(f, (0.3, -0.35, 1.0)), 0.0, 18.0)


def childs_pose(f: PosedBody) -> PosedBody:
    f = trunk_set(_legs(rooted(f, turn(LEFT, 55.0)), "kneel_heels"), bend=45.0)
    return head_set(arms(f, (0.15, -0.25, 1.0)), 0.0, 12.0)


def lie_back(f: PosedBody) -> PosedBody:
    f = _line(rooted(f, turn(LEFT, -90.0)), out=5.0, ankle=25.0)
    return arms(f, (0.22, 0.0, 1.0))


def lie_front(f: PosedBody) -> PosedBody:
    f = _line(rooted(f, turn(LEFT, 90.0)), out=5.0, ankle=60.0)
    return arms(f, (0.22, 0.0, -1.0))


def lie_side(f: PosedBody) -> PosedBody:
    """On the left side."""
    f = _line(rooted(f, turn(FRONT, -90.0)), flexion=28.0, knee=42.0, ankle=20.0)
    f = arm_set(f, "left", [0.35, -0.05, 1.0], 70.0)
    return arm_set(f, "right", [-0.75, 0.15, 0.6], 40.0)


def fetal(f: PosedBody) -> PosedBody:
    """Curled up on the left side."""
    f = trunk_set(_line(rooted(f, turn(FRONT, -90.0)), flexion=108.0, knee=125.0, ankle=20.0), bend=40.0)
    f = arm_set(f, "left", [-0.55, -0.05, 0.85], 120.0)
    return head_set(arm_set(f, "right", [-0.6, 0.1, 0.8], 115.0), 0.0, 35.0)


def handstand(f: PosedBody) -> PosedBody:
    f = _line(rooted(f, turn(FRONT, 180.0)), ankle=45.0)
    return head_set(palms_on_floor(arms(f, (-0.05, -1.0, 0.0))), 0.0, -20.0)


def side_plank(f: PosedBody) -> PosedBody:
    """On the left arm."""
    f = _line(rooted(f, turn(FRONT, -64.0)), out=0.0)
    return arm_set(arm_set(f, "left", [0.0, -1.0, 0.0]), "right", [0.0, 1.0, 0.0])


def boat(f: PosedBody) -> PosedBody:
    f = _both(_leg(flexion=128.0, knee=0.0, ankle=30.0))(rooted(f, turn(LEFT, -42.0)))
    return arms(f, (0.05, 0.05, 1.0))


def warrior_one(f: PosedBody) -> PosedBody:
    f = leg_set(f, "left", flexion=75.0, knee=78.0, level=True, frame=_UPRIGHT)
    f = leg_set(f, "right", flexion=-50.0, twist=30.0, level=True, frame=_UPRIGHT)
    return arms(f, (0.12, 1.0, 0.05))


def warrior_two(f: PosedBody) -> PosedBody:
    f = leg_set(f, "left", flexion=74.0, horizontal_abduction=75.0, knee=76.0, level=True, frame=_UPRIGHT)
    f = leg_set(f, "right", out=50.0, level=True, frame=_UPRIGHT)
    return head_set(arms(f, (1.0, 0.0, 0.0)), 75.0, 0.0)


def warrior_three(f: PosedBody) -> PosedBody:
    """Standing on the left leg."""
    f = leg_set(rooted(f, turn(LEFT, 78.0)), "left", level=True, frame=_UPRIGHT)
    f = leg_set(f, "right", flexion=-84.0, ankle=10.0, frame=_UPRIGHT)
    return head_set(arms(f, (0.15, 0.22, 1.0)), 0.0, -20.0)


def triangle(f: PosedBody) -> PosedBody:
    """Bent to the left."""
    f = trunk_set(_both(_leg(out=32.0, level=True))(rooted(f, turn(FRONT, -12.0))), lean=46.0)
    return arm_set(arm_set(f, "left", [0.0, -1.0, 0.0]), "right", [0.0, 1.0, 0.0])


def chair(f: PosedBody) -> PosedBody:
    return arms(trunk_set(_both(_low(85.0, ahead=0.1))(f), bend=28.0), (0.1, 0.95, 0.5))


def goddess(f: PosedBody) -> PosedBody:
    f = arms(_legs(f, "horse"), (1.0, 0.0, 0.0))
    for side in SIDES:
        f = forearm_set(f, side, UP) or f
    return f


def tree(f: PosedBody) -> PosedBody:
    return palms_together(_legs(f, "tree"))


def tree_high(f: PosedBody) -> PosedBody:
    f = _legs(f, "tree")
    return hands(f, lambda g, s: g.at("head") + sided(s, [0.03, 0.5, 0.0]), (1.0, 0.2, 0.1))


def meditation(f: PosedBody) -> PosedBody:
    f = _legs(f, "cross_legged")
    return hands(f, lambda g, s: g.at(f"{s}_knee") + sided(s, [-0.02, 0.07, 0.0]), (0.8, -0.5, -0.4))


def praying(f: PosedBody) -> PosedBody:
    return head_set(palms_together(_legs(f, "kneel")), 0.0, 28.0)


def hug_knees(f: PosedBody) -> PosedBody:
    f = trunk_set(_legs(f, "sit_knees_up"), bend=28.0)
    shins = np.mean([f.at(f"{side}_{joint}") for side in SIDES for joint in ("knee", "ankle")], axis=0)
    return hands(f, lambda g, s: shins + sided(s, [0.04, 0.08, 0.12]), (1.0, -0.3, 0.0))


def fighting(f: PosedBody) -> PosedBody:
    """Left foot and left hand in front."""
    f = leg_at(f, "left", (0.05, -0.76, 0.2), (0.2, 0.0, 1.0), "level")
    f = leg_at(f, "right", (0.1, -0.76, -0.22), (0.5, 0.0, 1.0), "level")
    f = head_set(trunk_set(f, bend=8.0, twist=-22.0), 22.0, 6.0)
    chin = f.at("head")
    f = hand_to(f, "left", chin + np.array([0.08, -0.02, 0.36]), np.array([0.35, -1.0, 0.0]))
    return hand_to(f, "right", chin + np.array([-0.1, -0.06, 0.2]), np.array([-0.5, -1.0, 0.0]))


def punch(f: PosedBody) -> PosedBody:
    """The left arm punches forward."""
    f = leg_at(f, "left", (0.04, -0.73, 0.3), (0.2, 0.0, 1.0), "level")
    f = leg_at(f, "right", (0.06, -0.73, -0.35), (0.4, 0.0, 1.0), "ball")
    f = arm_set(trunk_set(f, bend=8.0, twist=-18.0), "left", [-0.05, 0.02, 1.0])
    f = head_set(f, 18.0, 4.0)
    return hand_to(f, "right", f.at("head") + np.array([-0.1, -0.1, 0.18]), np.array([-0.5, -1.0, 0.0]))


def _stride(f: PosedBody, ahead: dict[str, float], behind: dict[str, float]) -> PosedBody:
    f = leg_set(f, "left", frame=_UPRIGHT, **ahead)  # type: ignore[arg-type]
    return leg_set(f, "right", frame=_UPRIGHT, **behind)  # type: ignore[arg-type]


def running(f: PosedBody) -> PosedBody:
    """The left leg in front, the right arm with it."""
    f = _stride(
        f, {"flexion": 68.0, "knee": 88.0, "ankle": 5.0}, {"flexion": -24.0, "knee": 28.0, "ankle": 38.0}
    )
    f = trunk_set(f, bend=14.0, twist=-8.0)
    f = arm_set(f, "right", sided("right", [0.2, -0.75, 0.6]), 95.0)
    return arm_set(f, "left", [0.3, -0.7, -0.7], 95.0)


def walking(f: PosedBody) -> PosedBody:
    """The left leg in front, the right arm with it."""
    f = _stride(
        f, {"flexion": 26.0, "knee": 6.0, "ankle": -4.0}, {"flexion": -20.0, "knee": 14.0, "ankle": 25.0}
    )
    f = arm_set(f, "right", sided("right", [0.1, -0.95, 0.38]), 18.0)
    return arm_set(f, "left", [0.13, -0.95, -0.32], 10.0)


def jumping(f: PosedBody) -> PosedBody:
    f = _both(_leg(flexion=30.0, knee=68.0, ankle=38.0))(f)
    return arms(f, (0.4, 1.0, 0.1))


def tuck_jump(f: PosedBody) -> PosedBody:
    f = trunk_set(_both(_leg(flexion=108.0, knee=122.0, ankle=25.0))(f), bend=18.0)
    return arms(f, (0.2, -0.25, 1.0))


def superhero(f: PosedBody) -> PosedBody:
    f = trunk_set(_both(_leg(out=14.0, level=True))(f), bend=-8.0)
    return hands_on_hips(head_set(f, 0.0, -6.0))


def thinker(f: PosedBody) -> PosedBody:
    """Sitting, the left fist under the chin."""
    f = head_set(trunk_set(_legs(f, "sit"), bend=42.0), 0.0, 18.0)
    f = hand_to(f, "left", f.at("head") + np.array([0.0, -0.08, 0.13]), np.array([0.2, -1.0, 0.2]))
    knee = f.at("right_hip") + 0.8 * f.segment("right_hip", "right_knee") + 0.07 * UP
    return hand_to(f, "right", knee, np.array([-0.8, -0.2, -0.5]))


def arabesque(f: PosedBody) -> PosedBody:
    """Standing on the left leg."""
    f = leg_set(rooted(f, turn(LEFT, 28.0)), "left", level=True, frame=_UPRIGHT)
    f = leg_set(f, "right", flexion=-78.0, twist=15.0, ankle=48.0, frame=_UPRIGHT)
    f = head_set(trunk_set(f, bend=-20.0), 0.0, -6.0)
    f = arm_set(f, "left", [0.12, 0.3, 1.0])
    return arm_set(f, "right", sided("right", [1.0, 0.1, -0.35]))


def ballet_low(f: PosedBody) -> PosedBody:
    f = _legs(f, "first_position")
    return hands(f, lambda g, s: np.array([0.0, 0.06, 0.3]) + sided(s, [0.06, 0.0, 0.0]), (1.0, 0.15, 0.1))


def ballet_high(f: PosedBody) -> PosedBody:
    f = _legs(f, "first_position")
    return hands(f, lambda g, s: g.at("head") + sided(s, [0.08, 0.36, 0.12]), (1.0, 0.1, 0.2))


def archer(f: PosedBody) -> PosedBody:
    """The left arm holds the bow."""
    f = head_set(_both(_leg(out=12.0, level=True))(f), 72.0, 0.0)
    f = arm_set(f, "left", [1.0, 0.04, 0.0])
    return hand_to(f, "right", f.at("head") + np.array([0.03, -0.06, 0.12]), sided("right", [1.0, 0.25, 0.0]))


def zombie(f: PosedBody) -> PosedBody:
    f = head_set(trunk_set(legs_at_rest(f), bend=10.0), 0.0, -4.0)
    return arms(f, (0.1, 0.0, 1.0))


def cheering(f: PosedBody) -> PosedBody:
    return head_set(arms(_both(_leg(out=8.0, level=True))(f), (0.55, 1.0, 0.05)), 0.0, -14.0)


def curtsy(f: PosedBody) -> PosedBody:
    """The left leg behind."""
    f = leg_at(f, "right", (0.0, -0.7, 0.06), (0.15, 0.0, 1.0), "level")
    f = leg_at(f, "left", (-0.2, -0.66, -0.26), (0.2, 0.0, 1.0), "ball")
    return head_set(arms(trunk_set(f, bend=12.0), (0.75, -0.85, 0.1), 20.0), 0.0, 16.0)


def sumo(f: PosedBody) -> PosedBody:
    return hands_on_thighs(trunk_set(_legs(f, "horse"), bend=22.0))


def ski(f: PosedBody) -> PosedBody:
    f = trunk_set(_both(_low(85.0, ahead=0.02))(f), bend=42.0)
    return head_set(arms(f, (0.1, -0.6, 0.8), 60.0), 0.0, -28.0)


def surfing(f: PosedBody) -> PosedBody:
    """The left side leads."""
    f = leg_at(f, "left", (0.26, -0.6, 0.0), (0.8, 0.0, 0.8), "level")
    f = leg_at(f, "right", (0.26, -0.6, 0.0), (0.5, 0.0, 1.0), "level")
    f = head_set(trunk_set(f, bend=18.0, twist=15.0), 50.0, 0.0)
    return arms(f, (1.0, 0.05, 0.25), 15.0)


def cartwheel(f: PosedBody) -> PosedBody:
    """Upside down with legs and arms spread."""
    f = _line(rooted(f, turn(FRONT, 180.0)), out=38.0, ankle=40.0)
    return palms_on_floor(arms(f, (-0.45, -1.0, 0.0)))


WHOLE_POSTURES: Final[dict[str, Builder]] = {
    "neutral": legs_at_rest, "t_pose": t_pose, "a_pose": a_pose, "attention": attention, "star": star,
    "plank": plank, "push_up": push_up, "all_fours": all_fours, "down_dog": down_dog, "cobra": cobra,
    "floor_superman": floor_superman, "flying": flying, "bridge": bridge, "childs_pose": childs_pose,
    "lie_back": lie_back, "lie_front": lie_front, "handstand": handstand, "boat": boat, "chair": chair,
    "goddess": goddess, "meditation": meditation, "praying": praying, "hug_knees": hug_knees, "jumping": jumping,
    "tuck_jump": tuck_jump, "superhero": superhero, "ballet_low": ballet_low, "ballet_high": ballet_high,
    "zombie": zombie, "cheering": cheering, "sumo": sumo, "ski": ski, "cartwheel": cartwheel,
}  # fmt: skip
"""Postures of the whole body without a side, built on the neutral standing body."""

SIDED_POSTURES: Final[dict[str, Builder]] = {
    "lie_side": lie_side, "fetal": fetal, "side_plank": side_plank, "warrior_one": warrior_one,
    "warrior_two": warrior_two, "warrior_three": warrior_three, "triangle": triangle, "tree": tree,
    "tree_high": tree_high, "fighting": fighting, "punch": punch, "running": running, "walking": walking,
    "thinker": thinker, "arabesque": arabesque, "archer": archer, "curtsy": curtsy, "surfing": surfing,
}  # fmt: skip
"""Postures of the whole body with a side, written for the left one."""

SIDED_LEG_POSTURES: Final = (
    "half_kneel", "lunge", "deep_lunge", "side_lunge", "reverse_lunge", "front_split", "pistol", "stork",
    "figure_four", "weight_on", "split_stance",
)  # fmt: skip
_PLAIN_LEG_POSTURES: Final = {
    "sit": 3.0, "sit_floor": 1.0, "sit_straddle": 0.4, "sit_knees_up": 0.4, "cross_legged": 1.1, "kneel": 1.5,
    "kneel_heels": 0.8, "half_squat": 0.9, "squat": 2.2, "deep_squat": 1.1, "horse": 0.6, "plie": 0.3,
    "side_split": 0.3, "first_position": 0.3,
}  # fmt: skip
_WEIGHTS: Final = {
    "neutral": 2.6, "t_pose": 1.6, "a_pose": 0.9, "attention": 0.8, "lie_back": 1.0, "lie_front": 0.8, "star": 0.6,
    "all_fours": 0.7, "plank": 0.6, "half_kneel": 1.0, "lunge": 1.2, "superhero": 0.5, "running": 0.6, "walking": 0.6,
    "jumping": 0.6, "fighting": 0.6,
}  # fmt: skip
_RARE: Final = 0.3


def _apply(build: Builder) -> KindFunction:
    def apply(rng: np.random.Generator, start: PosedBody) -> Edit | None:
        return finish(rng, start, build(start), absolute=True)

    return apply


def whole_posture(name: str) -> Builder:
    """A posture of the whole body; only the heading is the start's."""
    build = cache(lambda: (WHOLE_POSTURES | SIDED_POSTURES)[name](standing()).local)
    return lambda start: PosedBody(build().copy(), start.yaw)


for _name, _weight in _PLAIN_LEG_POSTURES.items():
    # Crossed shins have a side that the words do not tell.
    kind(f"posture.{_name}", family="posture", weight=_weight, mirrored=_name != "cross_legged")(
        _apply(leg_posture(_name))
    )
for _name in WHOLE_POSTURES:
    kind(
        f"posture.{_name}",
        family="posture",
        weight=_WEIGHTS.get(_name, _RARE),
        mirrored=_name != "meditation",
    )(_apply(whole_posture(_name)))
for _name in (*SIDED_POSTURES, *SIDED_LEG_POSTURES):
    _function = _apply(whole_posture(_name) if _name in SIDED_POSTURES else leg_posture(_name))
    kind(f"posture.{_name}", family="posture", weight=_WEIGHTS.get(_name, _RARE))(_function)
    if _name not in ("weight_on", "figure_four"):
        kind(
            f"posture.{_name}_any", family="posture", weight=0.7 * _WEIGHTS.get(_name, _RARE), mirrored=False
        )(_function)
kind("posture.crouch", family="posture", weight=1.0)(_apply(lambda start: crouched(grounded(start))))


# -- mirroring and staying -----------------------------------------------------------------------------------


@kind("mirror.whole", family="mirror", weight=1.2)
def mirror_whole(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    return finish(rng, start, PosedBody(start.mirrored().local, start.yaw))


def _swap(parts: tuple[str, ...]) -> KindFunction:
    joints = [joint for part in parts for joint in BODY_PARTS[part]]

    def apply(rng: np.random.Generator, start: PosedBody) -> Edit | None:
        local = start.local.copy()
        local[joints] = start.mirrored().local[joints]
        return finish(rng, start, PosedBody(local, start.yaw))

    return apply


kind("mirror.legs", family="mirror", weight=0.6)(_swap(("left_leg", "right_leg")))
kind("mirror.upper", family="mirror", weight=0.25)(_swap(("left_arm", "right_arm", "trunk", "head")))

_LETTERS: Final = "aabcdeeefghiijklmnoopqrsttuuvwxyz"


@kind("nothing.stay", family="nothing", weight=2.4)
def stay(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    return Edit(start)


@kind("nothing.letters", family="nothing", weight=1.75)
def letters(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    words = [
        "".join(rng.choice(list(_LETTERS), size=int(rng.integers(1, 9))))
        for _ in range(int(rng.integers(1, 4)))
    ]
    return Edit(start, {"letters": " ".join(words)})


@kind("nothing.nonsense", family="nothing", weight=3.25)
def nonsense(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    return Edit(start)
