# SPDX-License-Identifier: Apache-2.0
"""The other arm or leg: what is asked where exactly one arm or one leg is clearly posed.

The posed limb tells which one "the other" is. What begins something ("raise the other arm") is asked of the limb
that rests, what ends something ("lower the other leg") of the posed one. Such requests use the sentences of the kinds
of one limb; doing the same, doing it instead, and doing it too have sentences of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from . import arms, elbows, hands, legs, postures, wrists  # noqa: F401  the kinds that are asked of the other limb
from .arms import straight_arm
from .kinds import KINDS, Edit, KindFunction, kind
from .posed_body import LEFT, UP, PosedBody, Side, angle_degrees
from .reach import HANGING, arm_line, both_arms, elevation, finish, mirrored_arm, sided
from .stance import standing_leg, thigh_in_frame

ARM_BEGINS: Final = {
    "arm_raise": 3.0, "arm_lift_sideways": 0.8, "arm_lift_forwards": 0.8, "arm_direct": 5.0, "arm_angle": 1.0,
    "arm_forwards": 0.6, "arm_outwards": 0.8, "arm_level": 1.2, "elbow_bend": 2.0, "elbow_to": 1.2,
    "forearm_direct": 1.2, "hand_place": 6.0, "hand_shift": 1.2, "palm_turn": 0.8, "wrist_bend": 0.6,
    "hand_on_leg": 0.5,
}  # fmt: skip
ARM_ENDS: Final = {"arm_lower": 2.0, "wrist_straighten": 0.3}
LEG_BEGINS: Final = {
    "leg.raise": 1.6, "leg.forward": 1.0, "leg.side": 1.2, "leg.back": 1.0, "leg.to_angle": 0.6, "leg.kick": 0.5,
    "leg.horizontal": 0.4, "knee.raise": 1.4, "knee.bend": 2.0, "knee.bend_to": 0.8, "knee.heel_to_seat": 0.3,
    "foot.forward": 0.8, "foot.back": 0.8, "foot.out": 0.7, "foot.up": 0.6, "foot.turn_out": 0.4,
}  # fmt: skip
LEG_ENDS: Final = {"leg.lower": 1.2, "leg.down": 1.2}


def _arm_hangs(start: PosedBody, side: Side) -> bool:
    return elevation(arm_line(start, side)) < -58.0 and start.elbow_flexion(side) < 35.0


def _arm_is_posed(start: PosedBody, side: Side) -> bool:
    return elevation(arm_line(start, side)) > -48.0 or start.elbow_flexion(side) > 50.0


def _arm_is_out(start: PosedBody, side: Side) -> bool:
    """As in a T-pose."""
    upper = start.segment(f"{side}_shoulder", f"{side}_elbow")
    return angle_degrees(upper, sided(side, LEFT)) < 14.0 and start.elbow_flexion(side) < 14.0


def arm_rests_beside_posed(start: PosedBody, resting: Side, posed: Side) -> bool:
    """Whether one arm is clearly posed while the other hangs, or sticks out in an otherwise untouched T-pose."""
    if not _arm_is_posed(start, posed):
        return False
    return _arm_hangs(start, resting) or (_arm_is_out(start, resting) and not _arm_is_out(start, posed))


def _thigh_off(start: PosedBody, side: Side) -> float:
    """Degrees between the thigh and straight down the pelvis."""
    return angle_degrees(thigh_in_frame(start, side), -UP)


def leg_rests_beside_posed(start: PosedBody, resting: Side, posed: Side) -> bool:
    """Whether one leg is clearly posed while the other is straight under the body."""
    rests = _thigh_off(start, resting) < 15.0 and start.knee_flexion(resting) < 18.0
    return rests and (_thigh_off(start, posed) > 22.0 or start.knee_flexion(posed) > 30.0)


_SIDES: Final[tuple[tuple[Side, Side], ...]] = (("left", "right"), ("right", "left"))


def one_limb_is_posed(start: PosedBody) -> bool:
    """Whether there is a limb that "the other arm" or "the other leg" means."""
    return any(
        rests(start, resting, posed)
        for rests in (arm_rests_beside_posed, leg_rests_beside_posed)
        for resting, posed in _SIDES
    )


def _asked(name: str, *, leg: bool, begins: bool) -> KindFunction:
    """The kind ``name``, which moves the left limb, where the left one is the other one."""
    rests = leg_rests_beside_posed if leg else arm_rests_beside_posed

    def apply(rng: np.random.Generator, start: PosedBody) -> Edit | None:
        if not (rests(start, "left", "right") if begins else rests(start, "right", "left")):
            return None
        edit = KINDS[name].apply(rng, start)
        if (
            edit is None
            or edit.target is start
            or (begins and edit.variant == "down" and name == "arm_direct")
        ):
            return None
        return edit

    return apply


for _table, _leg, _begins in (
    (ARM_BEGINS, False, True), (ARM_ENDS, False, False), (LEG_BEGINS, True, True), (LEG_ENDS, True, False),
):  # fmt: skip
    for _name, _weight in _table.items():
        kind(f"other.{_name}", family="other", weight=_weight, borrows=_name)(
            _asked(_name, leg=_leg, begins=_begins)
        )


# -- the same, instead, too ----------------------------------------------------------------------------------


@kind("other.arm_same", family="other", weight=14.0)
def _arm_same(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    """The resting left arm made the mirror image of the posed right one, which stays."""
    if not arm_rests_beside_posed(start, "left", "right"):
        return None
    return finish(rng, start, mirrored_arm(start, "left", start))


def _where_left_leg_rests(name: str) -> KindFunction:
    """The kind ``name``, where the right leg is posed and the left one is not."""

    def apply(rng: np.random.Generator, start: PosedBody) -> Edit | None:
        return KINDS[name].apply(rng, start) if leg_rests_beside_posed(start, "left", "right") else None

    return apply


kind("other.leg_same", family="other", weight=9.0)(_where_left_leg_rests("leg.match"))


@kind("other.arm_instead", family="other", weight=5.0)
def _arm_instead(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    """The left arm takes over what the right one does, and the right one rests as the left one did."""
    if not arm_rests_beside_posed(start, "left", "right"):
        return None
    return finish(rng, start, both_arms(start, lambda side: mirrored_arm(start, side, start)))


kind("other.leg_instead", family="other", weight=3.5)(_where_left_leg_rests("mirror.legs"))


@kind("other.arm_down_too", family="other", weight=3.0)
def _arm_down_too(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    """One arm hangs already: the other one too."""
    if not (arm_rests_beside_posed(start, "right", "left") and _arm_hangs(start, "right")):
        return None
    return finish(rng, start, straight_arm(start, "left", HANGING, 10.0))


@kind("other.leg_down_too", family="other", weight=2.0)
def _leg_down_too(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    if not leg_rests_beside_posed(start, "right", "left"):
        return None
    return finish(rng, start, standing_leg(start, "left"))


def _bent_as_the_right(
    flexion: Callable[[PosedBody, Side], float], bent_to: Callable[[PosedBody, Side, float], PosedBody]
) -> KindFunction:
    """The left elbow or knee bent as far as the right one; the upper arm or the thigh stays."""

    def apply(rng: np.random.Generator, start: PosedBody) -> Edit | None:
        bend = flexion(start, "right")
        if bend < 35.0 or flexion(start, "left") > bend - 20.0:
            return None
        return finish(rng, start, bent_to(start, "left", min(bend, 145.0)))

    return apply


kind("other.elbow_same", family="other", weight=2.0)(
    _bent_as_the_right(PosedBody.elbow_flexion, PosedBody.elbow_bent_to)
)
kind("other.knee_same", family="other", weight=2.0)(
    _bent_as_the_right(PosedBody.knee_flexion, PosedBody.knee_bent_to)
)
