# SPDX-License-Identifier: Apache-2.0
"""From numbers to categories: what can be said of poses, thousands at a time.

A code is an integer array, (N,) or with the two sides (N, S), whose numbers stand for names; 0 and every name that
begins with "none" say nothing. What the body does to its left or right (a lean, a turned head) is a sided code of
which at most one side says something.

Legend: N poses; S = 2 sides, left then right; K places, levels or named directions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from blender_addon.contract.rotations import Array
from blender_addon.contract.skeleton import JOINT_INDEX

from .measures import Bodies, floor_heights, head_angles, place_positions, sides, trunk_angles, unit
from .rules import load_rules

Code = npt.NDArray[np.int8]

POSTURES: Final = (
    "none", "standing", "half_squat", "squatting", "sitting", "sitting_floor", "kneeling", "all_fours", "plank",
    "lying_back", "lying_front", "upside_down", "bent_over", "stride",
)  # fmt: skip
SEGMENTS: Final = (
    ("thigh_tilt", "hip", "knee"), ("shin_tilt", "knee", "ankle"), ("upper_arm_tilt", "shoulder", "elbow"),
    ("forearm_tilt", "elbow", "wrist"),
)  # fmt: skip
"""Codes of how upright or level a segment is, and the joints that it goes between."""
KNEELS: Final = ("none", "one_knee", "lunge", "one_leg", "lying_side")


@dataclass(frozen=True)
class Directions:
    """Named directions: unit vectors (K, 3), x outward."""

    names: tuple[str, ...]
    vectors: Array

    @classmethod
    def of(cls, table: Mapping[str, Any]) -> Directions:
        """From a table of the rules."""
        return cls(
            ("none", *table), unit(np.array([entry["to"] for entry in table.values()], dtype=np.float64))
        )


class Categories:
    """Makes codes of bodies, by the rules' bounds, with noise or exactly.

    Args:
        rng: of the noise; None for none.
    """

    def __init__(self, rng: np.random.Generator | None = None) -> None:
        self.rules = load_rules()
        self.rng = rng

    def noisy(self, values: Array, width: float) -> Array:
        """``values`` with uniform noise of half that ``width``."""
        return values if self.rng is None else values + self.rng.uniform(-width, width, values.shape)

    def cut(self, values: Array, name: str, noise: str = "degrees") -> Code:
        """The number of the category of each value, by the bounds of that name."""
        bounds = self.rules["bounds"][name]["at"]
        return np.searchsorted(bounds, self.noisy(values, self.rules["noise"][noise])).astype(np.int8)

    def names(self, name: str) -> tuple[str, ...]:
        """The categories' names."""
        return tuple(self.rules["bounds"][name]["names"])

    def nearest(self, vectors: Array, directions: Directions) -> Code:
        """The named direction of each vector (..., 3): 1 and up, or 0 where none is near."""
        cosine = unit(vectors) @ directions.vectors.T
        best = cosine.argmax(axis=-1)
        angle = np.degrees(np.arccos(np.clip(cosine.max(axis=-1), -1, 1)))
        near = self.noisy(angle, self.rules["direction_noise"]) < self.rules["direction_reach"]
        return np.where(near, best + 1, 0).astype(np.int8)


def hand_places(categories: Categories, bodies: Bodies) -> tuple[Code, tuple[str, ...]]:
    """(N, S) the place on the body that each hand is at, and the places' names."""
    rules = categories.rules["places"]
    palms = bodies.pos[:, sides("hand")]
    # A place's closeness is its distance relative to how near counts.
    closeness = np.empty((len(bodies), 2, len(rules)))
    for index, rule in enumerate(rules.values()):
        places = place_positions(bodies, rule["joint"], rule["offset"])
        if rule.get("sides") == "other":
            places = places[:, ::-1]
        gap = places - palms
        closeness[:, :, index] = np.sqrt(np.einsum("nsi,nsi->ns", gap, gap)) / rule["within"]
    best = closeness.argmin(axis=-1)
    near = categories.noisy(closeness.min(axis=-1), 0.1) < 1.0
    return np.where(near, best + 1, 0).astype(np.int8), ("none", *rules)


def wrist_levels(categories: Categories, bodies: Bodies) -> tuple[Code, tuple[str, ...]]:
    """(N, S) what each wrist is level with, and the levels' names."""
    rules = categories.rules["levels"]
    heights = bodies.in_frame(bodies.pos)[:, :, 1]
    wrists = categories.noisy(heights[:, sides("wrist")], categories.rules["noise"]["metres"])
    code = np.zeros(wrists.shape, dtype=np.int8)
    for number, rule in reversed(list(enumerate(rules.values(), start=1))):
        joint = rule["joint"]
        level = (
            heights[:, JOINT_INDEX[joint]] if joint in JOINT_INDEX else heights[:, sides(joint)].mean(axis=1)
        )
        above = wrists - (level + rule["above"])[:, None]
        code[(above > 0) if np.isinf(rule["within"]) else (np.abs(above) < rule["within"])] = number
    return code, ("none", *rules)


def one_side(values: Array) -> Array:
    """(N,) signed numbers, positive to the left, as (N, S) numbers of the side they go to."""
    return np.stack([values, -values], axis=1)


def postures(categories: Categories, bodies: Bodies) -> tuple[Code, Code]:
    """(N,) codes into ``POSTURES`` and (N, S) codes into ``KNEELS``; at most one of them says something."""
    rules = categories.rules["postures"]
    height = floor_heights(bodies, categories.rules["skin"])
    contact = rules["contact"]
    up = unit(bodies.pos[:, JOINT_INDEX["neck"]])[:, 1]
    chest = bodies.rot[:, JOINT_INDEX["spine3"]]
    facing, left_up = chest[:, 1, 2], chest[:, 1, 0]
    foot = np.minimum(height["foot"], height["ankle"])
    knee_bend = bodies.bend("knee", "hip", "ankle")
    pelvis = height["pelvis"]
    feet = bodies.in_frame(bodies.pos[:, sides("ankle")])
    thigh_rise = np.degrees(np.arcsin(np.clip(unit(bodies.sided("hip", "knee"))[:, :, 1], -1, 1)))
    hands_down = (height["hand"] < contact).all(axis=1)
    feet_down = (foot < contact).all(axis=1)
    knee_down = height["knee"] < rules["knee_contact"]
    knees_down = knee_down.all(axis=1)
    propped = hands_down & (height["shoulder"].mean(axis=1) > rules["propped"])
    apart = np.hypot(feet[:, 0, 0] - feet[:, 1, 0], feet[:, 0, 2] - feet[:, 1, 2])
    ahead = np.abs(feet[:, 0, 2] - feet[:, 1, 2])
    tall = up > rules["upright"]
    low = (up < rules["lying_up"]) & (bodies.rot[:, 0, 1, 1] < rules["lying_up"])
    low &= pelvis < rules["lying_height"]
    straight = knee_bend > rules["straight_knee"]

    one_knee = knee_down & (foot[:, ::-1] < contact) & (height["knee"][:, ::-1] > 0.25)
    one_knee &= (knee_bend[:, ::-1] < 125) & (up > 0.5)[:, None] & (pelvis > 0.2)[:, None]
    lunge = (knee_bend < rules["lunge_knee"]) & (knee_bend[:, ::-1] > rules["lunge_knee"])
    lunge &= (feet[:, :, 2] > feet[:, ::-1, 2] + 0.35) & (apart > rules["lunge_feet"])[:, None]
    lunge &= (up > 0.5)[:, None] & (foot < contact) & ~knee_down[:, ::-1]
    one_leg = (foot < contact) & (foot[:, ::-1] > rules["one_leg"]) & straight & tall[:, None]
    sided = np.zeros(one_knee.shape, dtype=np.int8)
    for number, holds in (
        (3, one_leg),
        (2, lunge),
        (1, one_knee),
        (4, low[:, None] & (one_side(-left_up) > 0.6)),
    ):
        sided[holds] = number

    sitting = (np.abs(thigh_rise) < rules["thigh_level"]).all(axis=1) & (up > 0.6)
    sitting &= feet[:, :, 2].mean(axis=1) > rules["sit_forward"]
    sitting &= ((knee_bend > 60) & (knee_bend < 130)).all(axis=1)
    bent = (knee_bend < rules["half_squat_knee"]).all(axis=1)
    conditions = {
        "plank": propped & feet_down & ~knees_down & (facing < -0.5) & (pelvis < 0.6) & straight.all(axis=1),
        "all_fours": propped & knees_down & (facing < -0.4),
        "lying_back": low & (facing > rules["facing"]),
        "lying_front": low & (facing < -rules["facing"]),
        "upside_down": (up < -0.6) & (height["hand"] < 0.15).any(axis=1),
        "sitting_floor": (pelvis < rules["sit_floor"]) & (up > 0.6) & ~knees_down,
        "kneeling": knees_down & (knee_bend < 125).all(axis=1) & (up > 0.5),
        "sitting": sitting,
        "squatting": (knee_bend < rules["squat_knee"]).all(axis=1) & feet_down & (up > 0.3) & (pelvis < 0.65),
        "half_squat": bent & feet_down & (up > 0.5),
        "bent_over": straight.all(axis=1) & feet_down & (up < 0.55),
        "stride": straight.all(axis=1) & tall & (ahead > rules["stride"]),
        "standing": straight.all(axis=1) & tall & (ahead < 0.3),
    }
    whole = np.zeros(len(bodies), dtype=np.int8)
    for name, holds in reversed(conditions.items()):
        whole[holds] = POSTURES.index(name)
    # A posture of the whole body says more than a leg's, but for one knee, a lunge and a side.
    whole[(sided > 0).any(axis=1)] = 0
    return whole, sided


@dataclass(frozen=True)
class PoseFacts:
    """What holds of poses.

    Attributes:
        codes: for each fact its code, (N,) or (N, S).
        names: for each fact its categories' names.
        arm_straight: (N, S) whether "the arm" points somewhere, rather than only the upper arm.
        leg_straight: (N, S) and the same of "the leg" and the thigh.
    """

    codes: Mapping[str, Code]
    names: Mapping[str, tuple[str, ...]]
    arm_straight: npt.NDArray[np.bool_]
    leg_straight: npt.NDArray[np.bool_]


UPWARD, FORWARD = 1, 2
"""Axes of what is seen in a body's frame."""
STRAIGHT: Final = 4
"""Elbows and knees from this category on ("slight") make a straight limb."""


def pose_facts(bodies: Bodies, rng: np.random.Generator | None = None) -> PoseFacts:
    """Every code of the bodies; with noise where a generator is given."""
    found = _Found(Categories(rng), bodies)
    # The noise is drawn in this order: in another one the same seed would tell other facts.
    whole, kneel = postures(found.categories, bodies)
    found.tell("posture", whole, POSTURES)
    found.tell("kneel", kneel, KNEELS)
    _trunk_and_head(found)
    _feet_and_knees(found)
    _bends_and_tilts(found)
    arm_straight, leg_straight = _directions(found)
    _hands(found)
    _elbows(found)
    return PoseFacts(found.codes, found.names, arm_straight, leg_straight)


class _Found:
    """What has been found of bodies so far: for each fact its code and its categories' names.

    Attributes:
        joints: (N, J, 3) the bodies' joints, outward-left, up and forward.
    """

    def __init__(self, categories: Categories, bodies: Bodies) -> None:
        self.categories, self.bodies = categories, bodies
        self.joints = bodies.in_frame(bodies.pos)
        self.codes: dict[str, Code] = {}
        self.names: dict[str, tuple[str, ...]] = {}

    def tell(self, name: str, code: Code, names: tuple[str, ...]) -> None:
        """A fact by its code."""
        self.codes[name], self.names[name] = code, names

    def cut(self, name: str, values: Array, bounds: str | None = None, noise: str = "degrees") -> None:
        """A fact by numbers and the bounds between its categories, those of its own name or of ``bounds``."""
        bounds = bounds or name
        self.tell(name, self.categories.cut(values, bounds, noise), self.categories.names(bounds))

    def sided(self, joint: str) -> Array:
        """(N, S, 3) the left and the right joint of that name."""
        return self.joints[:, sides(joint)]


def _trunk_and_head(found: _Found) -> None:
    pitch, lean, twist = trunk_angles(found.bodies)
    found.cut("pitch", pitch)
    found.cut("lean", one_side(lean))
    found.cut("twist", one_side(twist))
    look, turn, tilt = head_angles(found.bodies)
    found.cut("look", look)
    found.cut("turn", one_side(turn))
    found.cut("tilt", one_side(tilt))


def _feet_and_knees(found: _Found) -> None:
    ankles, knees = found.sided("ankle"), found.sided("knee")
    found.cut("stance", np.abs(ankles[:, 0, 0] - ankles[:, 1, 0]), noise="metres")
    found.cut("ahead", _more_than_other(ankles, FORWARD), noise="metres")
    heights = floor_heights(found.bodies, found.categories.rules["skin"])
    found.cut("lifted", np.minimum(heights["foot"], heights["ankle"]), noise="metres")
    found.cut("knee_floor", heights["knee"], "contact", "metres")
    found.cut("hand_floor", heights["hand"], "contact", "metres")
    across = np.where(ankles[:, :, 2] + knees[:, :, 2] >= ankles[:, ::-1, 2] + knees[:, ::-1, 2], 1.0, 0.0)
    found.cut("crossed", across * (ankles[:, 1, 0] - ankles[:, 0, 0])[:, None], "crossing", "metres")
    found.cut("knees", _distance(knees), noise="metres")
    found.cut("knee_higher", _more_than_other(knees, UPWARD), "higher", "metres")


def _bends_and_tilts(found: _Found) -> None:
    bodies = found.bodies
    found.cut("knee", bodies.bend("knee", "hip", "ankle"))
    found.cut("elbow", bodies.bend("elbow", "shoulder", "wrist"))
    for code, start, end in SEGMENTS:
        along = unit(bodies.pos[:, sides(end)] - bodies.pos[:, sides(start)])[:, :, 1]
        found.cut(code, np.degrees(np.arccos(np.clip(np.abs(along), 0, 1))), "verticality")


def _directions(found: _Found) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Where limbs point; (N, S) whether that goes for the whole arm, and for the whole leg."""
    bodies, nearest, rules = found.bodies, found.categories.nearest, found.categories.rules
    arm_straight, leg_straight = found.codes["elbow"] >= STRAIGHT, found.codes["knee"] >= STRAIGHT
    arms = Directions.of(rules["arm_directions"])
    upper, whole = bodies.sided("shoulder", "elbow"), bodies.sided("shoulder", "wrist")
    found.tell("arm", nearest(np.where(arm_straight[..., None], whole, upper), arms), arms.names)
    forearms = Directions.of(rules["forearm_directions"])
    forearm = nearest(bodies.sided("elbow", "wrist"), forearms)
    forearm[arm_straight] = 0
    found.tell("forearm", forearm, forearms.names)
    thighs = Directions.of(rules["thigh_directions"])
    found.tell("thigh", nearest(bodies.sided("hip", "knee"), thighs), thighs.names)
    return arm_straight, leg_straight


def _hands(found: _Found) -> None:
    found.tell("hand_at", *hand_places(found.categories, found.bodies))
    found.tell("hand_level", *wrist_levels(found.categories, found.bodies))
    wrists = found.sided("wrist")
    chest = found.joints[:, JOINT_INDEX["spine3"]][:, None]
    outward = np.array([1.0, -1.0])
    found.cut("hand_across", -(wrists[..., 0] - chest[..., 0]) * outward, "crossing", "metres")
    waist = found.joints[:, JOINT_INDEX["spine1"]][:, None]
    found.cut("hand_behind", waist[..., 2] - wrists[..., 2], "behind", "metres")
    found.cut("hand_higher", _more_than_other(wrists, UPWARD), "higher", "metres")
    found.cut("hand_ahead", _more_than_other(wrists, FORWARD), "ahead", "metres")
    found.cut("hands", _distance(wrists), noise="metres")


def _elbows(found: _Found) -> None:
    elbows = found.sided("elbow")
    found.cut("elbow_higher", _more_than_other(elbows, UPWARD), "higher", "metres")
    found.cut("elbows", _distance(elbows), noise="metres")


def _more_than_other(pairs: Array, axis: int) -> Array:
    """(N, S) by how much more of that axis each of pairs (N, S, 3) has than the one of the other side."""
    more: Array = pairs[:, :, axis] - pairs[:, ::-1, axis]
    return more


def _distance(pairs: Array) -> Array:
    """(N,) how far the left one of pairs (N, S, 3) is from the right one."""
    gap = pairs[:, 0] - pairs[:, 1]
    distance: Array = np.sqrt(np.einsum("ni,ni->n", gap, gap))
    return distance
