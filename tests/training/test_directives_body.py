# SPDX-License-Identifier: Apache-2.0
"""What every directive of legs, trunk, head, root and postures asks for holds in its target.

The measures stand alone: joint positions are worked out here with scipy from the rest offsets, so that a mistake in
the posed body's own kinematics or operators cannot hide itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest
from scipy.spatial.transform import Rotation

from blender_addon.contract.skeleton import BODY_PARTS, JOINT_INDEX
from training.data.directives import head, legs, postures, root, trunk
from training.data.directives.amounts import Amount, draw_amount
from training.data.directives.descriptions import DescriptionSampler
from training.data.directives.kinds import KINDS, Kind
from training.data.directives.posed_body import PosedBody
from training.data.directives.wording import default_wording

from .scipy_chain import chain, heading

DRAWS = [10, pytest.param(200, marks=pytest.mark.slow)]
"""Draws a kind: a few each time, two hundred where there is time."""
FAMILIES = ("leg", "knee", "trunk", "head", "root", "posture", "mirror", "nothing")
MODULES = (legs, trunk, head, root)


class Body:
    """Joint positions and rotations of a pose whose heading has been taken out, and what is measured on them."""

    def __init__(self, pose_aa: npt.NDArray[np.float32]) -> None:
        self.yaw = np.degrees(heading(Rotation.from_rotvec(pose_aa[0].astype(np.float64)).as_matrix()))
        self.rot, self.pos = chain(pose_aa, upright=True)

    def at(self, joint: str) -> npt.NDArray[np.float64]:
        return self.pos[JOINT_INDEX[joint]]

    def seg(self, a: str, b: str) -> npt.NDArray[np.float64]:
        return self.at(b) - self.at(a)

    def knee(self, side: str) -> float:
        return _angle(self.seg(f"{side}_hip", f"{side}_knee"), self.seg(f"{side}_knee", f"{side}_ankle"))

    def swing(self, side: str = "left") -> tuple[float, float]:
        """How far the thigh is in front of the vertical and outward of it, degrees."""
        x, y, z = self.seg(f"{side}_hip", f"{side}_knee")
        return np.degrees(np.arctan2(z, -y)), np.degrees(np.arctan2(x if side == "left" else -x, -y))

    def ankle(self, side: str = "left") -> npt.NDArray[np.float64]:
        return self.at(f"{side}_ankle")

    def relative(self, joint: str, parent: str) -> npt.NDArray[np.float64]:
        return self.rot[JOINT_INDEX[parent]].T @ self.rot[JOINT_INDEX[joint]]

    def trunk(self) -> tuple[float, float, float]:
        r = self.relative("spine3", "pelvis")
        return (np.degrees(np.arctan2(r[0, 2], r[2, 2])), np.degrees(np.arctan2(r[2, 1], r[1, 1])),
                np.degrees(np.arctan2(r[0, 1], r[1, 1])))  # fmt: skip

    def head(self) -> tuple[float, float, float]:
        r = self.relative("head", "spine3")
        return (np.degrees(np.arctan2(r[0, 2], r[2, 2])),
                np.degrees(np.arctan2(-r[1, 2], np.hypot(r[0, 2], r[2, 2]))),
                np.degrees(np.arctan2(r[0, 1], r[1, 1])))  # fmt: skip

    def toes(self, side: str = "left") -> float:
        """Where the toes point, degrees outward."""
        x, _, z = self.seg(f"{side}_ankle", f"{side}_foot")
        return float(np.degrees(np.arctan2(x if side == "left" else -x, z)))

    def toes_down(self, side: str = "left") -> float:
        shank = self.seg(f"{side}_knee", f"{side}_ankle")
        return 90.0 - _angle(shank, self.rot[JOINT_INDEX[f"{side}_ankle"]][:, 2])

    def sole_tilt(self, side: str = "left") -> float:
        return _angle(self.rot[JOINT_INDEX[f"{side}_ankle"]][:, 1], [0.0, 1.0, 0.0])

    def low(self) -> float:
        return float(-self.pos[:, 1].min())


def _angle(u: npt.ArrayLike, v: npt.ArrayLike) -> float:
    u, v = np.asarray(u, float), np.asarray(v, float)
    return float(np.degrees(np.arctan2(np.linalg.norm(np.cross(u, v)), u @ v)))


@dataclass
class Case:
    """One draw: before, after, how much was asked for (where the kind draws an amount), the words."""

    b: Body
    a: Body
    amount: Amount | None
    variant: str
    slots: dict[str, str]

    @property
    def told(self) -> float | None:
        """The number that the words tell, in degrees or metres."""
        return self.amount.value if self.amount is not None and self.amount.group == "number" else None

    def grew(self, before: float, after: float, least: float, tolerance: float) -> bool:
        """Whether a measure grew by the number told, or else at least a little (less for "slightly")."""
        change = (after - before + 180.0) % 360.0 - 180.0 if tolerance >= 1 else after - before
        if self.told is not None:
            return bool(abs(change - self.told) < tolerance)
        slight = self.amount is not None and self.amount.group == "slight"
        return bool(change > (0.3 if slight else 1.0) * least)


def _way(c: Case) -> str:
    return c.variant.split("_")[0]


def _stands(b: Body, side: str) -> bool:
    return b.knee(side) < 2.0 and _angle(b.seg(f"{side}_hip", f"{side}_ankle"), [0, -1, 0]) < 4.0


def _leg_direction(c: Case, axis: npt.ArrayLike, tolerance: float) -> bool:
    return _angle(c.a.seg("left_hip", "left_ankle"), axis) < tolerance and c.a.knee("left") < 2.0


def _is_number(c: Case) -> float:
    """The angle in the words, where it is in digits."""
    digits = "".join(ch for ch in c.slots["angle"] if ch.isdigit())
    return float(digits) if digits else float("nan")


def _told_angle(c: Case, value: float, tolerance: float = 2.0) -> bool:
    number = _is_number(c)
    return bool(np.isnan(number) or abs(value - number) < tolerance)


def _gap(b: Body) -> float:
    return float(b.at("left_ankle")[0] - b.at("right_ankle")[0])


def _ahead(b: Body) -> float:
    return float(b.at("left_ankle")[2] - b.at("right_ankle")[2])


def _further(step: int, sign: float, least: float) -> Callable[[Case], bool]:
    return lambda c: c.grew(sign * c.b.ankle()[step], sign * c.a.ankle()[step], least, 0.06)


_SWING = {"forward": lambda b: b.swing()[0], "side": lambda b: b.swing()[1], "back": lambda b: -b.swing()[0]}
_DIRECTIONS = {"forward": [0, 0, 1], "side": [1, 0, 0], "back": [0, 0, -1]}


def _raised(c: Case) -> bool:
    higher = max(c.a.ankle()[1] - c.b.ankle()[1], c.a.at("left_knee")[1] - c.b.at("left_knee")[1])
    return bool(higher > 0.01 or c.told is not None)


def _foot_turn(c: Case, side: str) -> float:
    """Turn of the foot outward about the line from ankle to hip, or about the shank of a bent leg."""
    joint = JOINT_INDEX[f"{side}_ankle"]
    turn = Rotation.from_matrix(c.a.rot[joint] @ c.b.rot[joint].T).as_rotvec(degrees=True)
    top = "knee" if c.b.knee(side) > 50 else "hip"
    outward = float(turn @ c.b.seg(f"{side}_ankle", f"{side}_{top}"))
    return outward if side == "left" else -outward


CHECKS: dict[str, Callable[[Case], bool]] = {
    "leg.raise": _raised,
    "leg.forward": lambda c: c.grew(c.b.swing()[0], c.a.swing()[0], 10, 1.5),
    "leg.side": lambda c: c.grew(c.b.swing()[1], c.a.swing()[1], 10, 1.5),
    "leg.back": lambda c: c.grew(-c.b.swing()[0], -c.a.swing()[0], 8, 1.5),
    "leg.in": lambda c: c.grew(-c.b.swing()[1], -c.a.swing()[1], 8, 1.5),
    "leg.higher": lambda c: c.a.at("left_knee")[1] > c.b.at("left_knee")[1],
    "leg.lower": lambda c: _angle(c.a.seg("left_hip", "left_knee"), [0, -1, 0])
    < _angle(c.b.seg("left_hip", "left_knee"), [0, -1, 0]) + 2.5,
    "leg.lower_halfway": lambda c: c.a.at("left_knee")[1] < c.b.at("left_knee")[1],
    "leg.down": lambda c: c.a.sole_tilt() < 1.0 and abs(c.a.ankle()[2] - c.a.at("left_hip")[2]) < 0.06
    and c.a.ankle()[1] < c.a.ankle("right")[1] + 0.02 and (c.a.knee("left") < 35 or c.a.ankle("right")[1] > -0.81),
    "leg.to_angle": lambda c: _told_angle(c, _SWING[c.variant](c.a)) and c.a.knee("left") < 1.0,
    "leg.horizontal": lambda c: _leg_direction(c, _DIRECTIONS[c.variant], 7.0),
    "leg.kick": lambda c: _SWING[c.variant](c.a) > 40 and c.a.knee("left") < 1.0,
    "leg.stand_on": lambda c: _stands(c.a, "left") and c.a.ankle("right")[1] > c.a.ankle()[1] + 0.2,
    "leg.match": lambda c: np.allclose(c.a.relative("left_knee", "pelvis") * _FLIP,
                                       c.a.relative("right_knee", "pelvis"), atol=1e-4),
    "knee.raise": lambda c: c.grew(c.b.swing()[0], c.a.swing()[0], 20, 1.5)
    or c.a.at("left_knee")[1] > c.b.at("left_knee")[1] + 0.1,
    "knee.raise_distance": lambda c: c.a.at("left_knee")[1] > c.b.at("left_knee")[1] + 0.01,
    "knee.to_chest": lambda c: c.a.swing()[0] > 115 and c.a.knee("left") > 110,
    "knee.thigh_horizontal": lambda c: abs(c.a.swing()[0] - 90) < 2 and abs(c.a.knee("left") - 90) < 1,
    "knee.bend": lambda c: c.grew(c.b.knee("left"), c.a.knee("left"), 20, 1.0),
    "knee.bend_to": lambda c: _told_angle(c, c.a.knee("left"), 0.6),
    "knee.bend_halfway": lambda c: c.a.knee("left") > c.b.knee("left") + 10,
    "knee.heel_to_seat": lambda c: np.linalg.norm(c.a.seg("left_hip", "left_ankle")) < 0.32,
    "knees.bend": lambda c: all(c.grew(c.b.knee(s), c.a.knee(s), 15, 1.0)
                                and _angle(c.b.seg(f"{s}_hip", f"{s}_ankle"), c.a.seg(f"{s}_hip", f"{s}_ankle")) < 1
                                for s in SIDES),
    "knees.bend_to": lambda c: all(_told_angle(c, c.a.knee(s), 0.6) or "right" in c.slots["angle"] for s in SIDES),
    "knees.straighten": lambda c: c.a.knee("left") + c.a.knee("right") < c.b.knee("left") + c.b.knee("right") - 3
    and (c.amount.group != "plain" or max(c.a.knee("left"), c.a.knee("right")) < 13),
    "knees.apart": lambda c: np.linalg.norm(c.a.seg("left_knee", "right_knee"))
    > np.linalg.norm(c.b.seg("left_knee", "right_knee")) + 0.01,
    "knees.closer": lambda c: np.linalg.norm(c.a.seg("left_knee", "right_knee"))
    < np.linalg.norm(c.b.seg("left_knee", "right_knee")) - 0.01,
    "foot.forward": _further(2, 1, 0.1), "foot.back": _further(2, -1, 0.1), "foot.out": _further(0, 1, 0.1),
    "foot.in": _further(0, -1, 0.08), "foot.up": _further(1, 1, 0.1), "foot.lower": _further(1, -1, 0.08),
    "foot.in_front_of_other": lambda c: _ahead(c.a) > 0.2,
    "foot.behind_other": lambda c: _ahead(c.a) < -0.2,
    "foot.beside_other": lambda c: abs(_ahead(c.a)) < 0.08 and 0.08 < _gap(c.a) < 0.3,
    "step": lambda c: {"forward": _ahead(c.a) > 0.25, "back": _ahead(c.a) < -0.25, "side": _gap(c.a) > 0.4}[c.variant],
    "step.any": lambda c: abs(_ahead(c.a)) > 0.25,
    "feet.apart": lambda c: c.grew(_gap(c.b), _gap(c.a), 0.15, 0.05),
    "feet.closer": lambda c: c.grew(-_gap(c.b), -_gap(c.a), 0.02, 0.05),
    "feet.width": lambda c: abs(_ahead(c.a)) < 0.03 and {
        "together": _gap(c.a) < 0.12, "hip": 0.12 < _gap(c.a) < 0.25, "shoulder": 0.3 < _gap(c.a) < 0.45,
        "wide": _gap(c.a) > 0.6, "number": True}[c.variant],
    "legs.cross": lambda c: _gap(c.a) < 0.0 or c.a.at("left_knee")[0] < c.a.at("left_hip")[0] - 0.05,
    "legs.cross_any": lambda c: _gap(c.a) < 0.0 or c.a.at("left_knee")[0] < c.a.at("left_hip")[0] - 0.05,
    "legs.uncross": lambda c: _gap(c.a) > 0.1,
    "foot.turn_out": lambda c: _foot_turn(c, "left") > 0,
    "foot.turn_in": lambda c: _foot_turn(c, "left") < 0,
    "feet.turn_out": lambda c: all(_foot_turn(c, s) > 0 for s in SIDES),
    "feet.turn_in": lambda c: all(_foot_turn(c, s) < 0 for s in SIDES),
    "hip.turn_out": lambda c: _hip_turn(c) > 3, "hip.turn_in": lambda c: _hip_turn(c) < -3,
    "ankle.point": lambda c: c.grew(c.b.toes_down(), c.a.toes_down(), 8, 8.0),
    "ankle.flex": lambda c: c.grew(-c.b.toes_down(), -c.a.toes_down(), 8, 8.0),
    "ankles.point": lambda c: all(c.grew(c.b.toes_down(s), c.a.toes_down(s), 8, 8.0) for s in SIDES),
    "ankles.flex": lambda c: all(c.grew(-c.b.toes_down(s), -c.a.toes_down(s), 8, 8.0) for s in SIDES),
    "feet.tiptoe": lambda c: all(abs(c.a.sole_tilt(s) - 40) < 1 for s in SIDES),
    "foot.heel_up": lambda c: abs(c.a.sole_tilt() - 40) < 1,
    "foot.flat": lambda c: c.a.sole_tilt() < 0.5,
    "feet.flat": lambda c: all(c.a.sole_tilt(s) < 0.5 for s in SIDES),
    "legs.stand": lambda c: all(_stands(c.a, s) for s in SIDES),
    "trunk.bend_forward": lambda c: c.grew(c.b.trunk()[1], c.a.trunk()[1], 15, 1.0),
    "trunk.lean_forward": lambda c: c.grew(c.b.trunk()[1], c.a.trunk()[1], 8, 1.0),
    "trunk.bend_back": lambda c: c.grew(-c.b.trunk()[1], -c.a.trunk()[1], 8, 1.0),
    "trunk.lean_back": lambda c: c.grew(-c.b.trunk()[1], -c.a.trunk()[1], 6, 1.0),
    "trunk.bend_side": lambda c: c.grew(c.b.trunk()[2], c.a.trunk()[2], 10, 1.0),
    "trunk.lean_side": lambda c: c.grew(c.b.trunk()[2], c.a.trunk()[2], 7, 1.0),
    "trunk.twist": lambda c: c.grew(c.b.trunk()[0], c.a.trunk()[0], 12, 1.0),
    "trunk.to_angle": lambda c: _told_angle(
        c, {"forward": c.a.trunk()[1], "back": -c.a.trunk()[1], "side": c.a.trunk()[2],
            "twist": c.a.trunk()[0]}[c.variant], 1.0),
    "trunk.fully": lambda c: {"forward": c.a.trunk()[1] > 80, "back": c.a.trunk()[1] < -35, "side": c.a.trunk()[2] > 40,
                              "twist": c.a.trunk()[0] > 55}[c.variant],
    "trunk.bow": lambda c: c.a.trunk()[1] > 15,
    "trunk.arch": lambda c: c.a.trunk()[1] < c.b.trunk()[1] - 8,
    "trunk.chest_out": lambda c: c.a.trunk()[1] < c.b.trunk()[1] - 5,
    "trunk.hunch": lambda c: c.a.trunk()[1] > c.b.trunk()[1] + 12,
    "trunk.straighten": lambda c: (c.amount.group != "plain" or max(map(abs, c.a.trunk())) < 1.0)
    and _trunk_angle(c.a) < _trunk_angle(c.b) + (180 if c.told else 0.1),
    "trunk.straighten_halfway": lambda c: _trunk_angle(c.a) < 0.75 * _trunk_angle(c.b),
    "trunk.stand_up": lambda c: max(map(abs, c.a.trunk())) < 1.0
    and min(c.b.knee("left"), c.b.knee("right")) > 40 > 8 > max(c.a.knee("left"), c.a.knee("right")),
    "trunk.stand_straight": lambda c: max(map(abs, c.a.trunk())) < 1.0,
    "trunk.undo_one": lambda c: abs(c.a.trunk()[{"twist": 0, "bend": 1, "lean": 2}[_way(c)]]) < 0.5,
    "trunk.less": lambda c: -1 < c.a.trunk()[_T[c.variant]] < c.b.trunk()[_T[c.variant]],
    "head.turn": lambda c: c.grew(c.b.head()[0], c.a.head()[0], 15, 1.0),
    "head.down": lambda c: c.grew(c.b.head()[1], c.a.head()[1], 10, 1.0),
    "head.up": lambda c: c.grew(-c.b.head()[1], -c.a.head()[1], 10, 1.0),
    "head.tilt": lambda c: c.grew(c.b.head()[2], c.a.head()[2], 8, 1.0),
    "head.fully": lambda c: _head_way(c, c.variant) > {"turn": 75, "down": 50, "up": 50, "tilt": 40}[c.variant],
    "head.to_angle": lambda c: _told_angle(c, _head_way(c, c.variant), 1.0),
    "head.over_shoulder": lambda c: c.a.head()[0] > 70,
    "head.straight": lambda c: max(map(abs, c.a.head())) < 0.5,
    "head.straight_partly": lambda c: _head_angle(c.a) < 0.8 * _head_angle(c.b),
    "head.undo_one": lambda c: abs(c.a.head()[{"turn": 0, "down": 1, "up": 1, "tilt": 2}[c.variant]]) < 0.5,
    "head.diagonal": lambda c: c.a.head()[0] > 35 and (c.a.head()[1] < -20) == (c.variant == "up"),
    "head.other_way": lambda c: abs(c.a.head()[0] + c.b.head()[0]) < 0.5,
    "head.look_at": lambda c: _gaze_misses(c) < max(20.0, 0.75 * _gaze_misses(c, before=True)) or _at_limit(c),
    "head.look_at_place": lambda c: abs(c.a.head()[0]) < 1 and (c.a.head()[1] > 40) == (c.variant == "floor"),
    "head.chin": lambda c: (c.a.relative("neck", "spine3")[2, 1] > c.b.relative("neck", "spine3")[2, 1])
    == (c.variant == "forward"),
    "head.tuck": lambda c: c.a.head()[1] > 40,
    "root.turn": lambda c: c.grew(c.b.yaw, c.a.yaw, 20, 1.0) or (c.amount.value > 170 and abs(_turned(c)) > 169),
    "root.turn_fraction": lambda c: abs(
        _turned(c) - {"quarter": 90, "eighth": 45, "three_quarter": -90}[c.variant]) < 0.1,
    "root.turn_around": lambda c: abs(abs(_turned(c)) - 180) < 0.1,
    "root.tilt": lambda c: {"forward": c.a.rot[0][2, 1] > c.b.rot[0][2, 1],
                            "back": c.a.rot[0][2, 1] < c.b.rot[0][2, 1],
                            "side": c.a.rot[0][0, 1] > c.b.rot[0][0, 1]}[c.variant],
    "root.upright": lambda c: c.a.rot[0][1, 1] > 0.9999,
}  # fmt: skip

SIDES = ("left", "right")
_T = {"twist": 0, "bend": 1, "lean": 2}
_FLIP = np.array([[1, -1, -1], [-1, 1, 1], [-1, 1, 1]])
_GAZED = {
    "hand": ("left_hand",), "elbow": ("left_elbow",), "knee": ("left_knee",), "foot": ("left_foot",),
    "hands": ("left_hand", "right_hand"), "feet": ("left_foot", "right_foot"), "knees": ("left_knee", "right_knee"),
    "stomach": ("spine1",),
}  # fmt: skip


def _hip_turn(c: Case) -> float:
    """Turn of the thigh about itself, degrees outward."""
    turn = Rotation.from_matrix(c.b.rot[1].T @ c.a.rot[1]).as_rotvec(degrees=True)
    return float(turn[1])


def _trunk_angle(b: Body) -> float:
    return float(np.degrees(Rotation.from_matrix(b.relative("spine3", "pelvis")).magnitude()))


def _head_angle(b: Body) -> float:
    return float(np.degrees(Rotation.from_matrix(b.relative("head", "spine3")).magnitude()))


def _head_way(c: Case, way: str) -> float:
    yaw, pitch, roll = c.a.head()
    return {"turn": yaw, "down": pitch, "up": -pitch, "tilt": roll}[way]


def _gaze_misses(c: Case, before: bool = False) -> float:
    body = c.b if before else c.a
    goal = np.mean([body.at(joint) for joint in _GAZED[c.variant]], axis=0)
    eyes = body.at("head") + body.rot[15] @ [0.0, 0.06, 0.08]
    return _angle(body.rot[15][:, 2], goal - eyes)


def _at_limit(c: Case) -> bool:
    yaw, pitch, _ = c.a.head()
    return abs(yaw) > 79 or pitch > 57 or pitch < -54


def _turned(c: Case) -> float:
    return float((c.a.yaw - c.b.yaw + 180.0) % 360.0 - 180.0)


def _posture(c: Case, name: str) -> bool:
    """The features by which people tell a posture."""
    a = c.a
    up = a.rot[0][1, 1]
    knees = (a.knee("left"), a.knee("right"))
    hips = (a.swing("left")[0], a.swing("right")[0])
    features: dict[str, bool] = {
        "sit": min(knees) > 80 and min(hips) > 80 and up > 0.8,
        "sit_floor": max(knees) < 10 and min(hips) > 80,
        "sit_straddle": max(knees) < 10 and a.at("left_ankle")[0] - a.at("right_ankle")[0] > 0.8,
        "sit_knees_up": min(knees) > 100 and min(hips) > 110,
        "cross_legged": a.at("left_ankle")[0] < a.at("right_ankle")[0] and min(knees) > 100,
        "kneel": all(abs(k - 90) < 2 and abs(h) < 3 for k, h in zip(knees, hips, strict=True)),
        "kneel_heels": min(knees) > 140,
        "half_kneel": abs(hips[0]) < 10 and hips[1] > 80 and knees[0] > 60 and knees[1] > 50
        and a.at("right_ankle")[2] - a.at("left_ankle")[2] > 0.15,
        "half_squat": all(40 < k < 75 for k in knees), "squat": min(knees) > 90, "deep_squat": min(knees) > 130,
        "crouch": min(knees) > 90 and a.trunk()[1] > 30,
        "horse": min(knees) > 60 and _gap(a) > 0.6, "plie": min(knees) > 60,
        "lunge": hips[0] > 70 and knees[0] > 70 and hips[1] < 10 and _ahead(a) > 0.5,
        "deep_lunge": hips[0] > 85 and _ahead(a) > 0.8,
        "reverse_lunge": hips[1] > 70 and _ahead(a) < -0.5,
        "side_lunge": knees[0] > 50 and knees[1] < 3 and _gap(a) > 0.8,
        "front_split": hips[0] > 80 and hips[1] < -70, "side_split": _gap(a) > 1.4,
        "pistol": knees[0] > 120 and knees[1] < 10 and hips[1] > 80,
        "stork": _stands(a, "left") and hips[1] > 80,
        "figure_four": hips[0] > 80 and abs(a.at("right_ankle")[0] - a.at("left_knee")[0]) < 0.15,
        "weight_on": _stands(a, "left") and knees[1] > 20,
        "split_stance": _ahead(a) > 0.3, "first_position": all(a.toes(s) > 40 for s in SIDES),
        "neutral": all(_stands(a, s) and _angle(a.seg(f"{s}_shoulder", f"{s}_elbow"), [0, -1, 0]) < 25 for s in SIDES),
        "t_pose": all(_angle(a.seg(f"{s}_shoulder", f"{s}_wrist"), [x, 0, 0]) < 1
                      for s, x in zip(SIDES, (1, -1), strict=True)),
        "a_pose": all(abs(_angle(a.seg(f"{s}_shoulder", f"{s}_wrist"), [0, -1, 0]) - 45) < 2 for s in SIDES),
        "attention": all(_angle(a.seg(f"{s}_shoulder", f"{s}_wrist"), [0, -1, 0]) < 10 for s in SIDES),
        "star": _gap(a) > 0.7 and a.at("left_wrist")[1] > a.at("head")[1],
        "plank": 0.2 < up < 0.6 and _hands_low(a), "push_up": up < 0.3 and a.at("left_hand")[1] < -0.1,
        "all_fours": up < 0.3 and _hands_low(a) and all(abs(k - 90) < 2 for k in knees),
        "down_dog": up < 0 and max(knees) < 2, "cobra": up < 0.3 and a.trunk()[1] < -30,
        "floor_superman": up < 0.1 and a.at("left_hand")[1] > 0.1, "flying": up < 0.4,
        "bridge": up < 0 and min(knees) > 80, "childs_pose": min(knees) > 140,
        "lie_back": abs(up) < 0.01 and a.rot[0][1, 2] > 0.99,
        "lie_front": abs(up) < 0.01 and a.rot[0][1, 2] < -0.99,
        "lie_side": abs(up) < 0.01 and a.rot[0][1, 0] < -0.99,
        "fetal": a.rot[0][1, 0] < -0.99 and min(knees) > 110,
        "handstand": up < -0.99 and max(knees) < 2, "cartwheel": up < -0.99,
        "side_plank": a.at("left_hand")[1] < -0.1 and a.at("right_hand")[1] > 0.3, "boat": hips[0] > 110,
        "chair": min(knees) > 70 and a.at("left_hand")[1] > a.at("head")[1],
        "goddess": min(knees) > 60 and a.at("left_hand")[1] > a.at("left_elbow")[1] + 0.2,
        "meditation": np.linalg.norm(a.seg("left_hand", "left_knee")) < 0.15,
        "praying": np.linalg.norm(a.seg("left_hand", "right_hand")) < 0.1 and abs(knees[0] - 90) < 2,
        "hug_knees": a.at("left_hand")[2] > 0.2 and np.linalg.norm(a.seg("left_hand", "right_hand")) < 0.2,
        "jumping": a.at("left_hand")[1] > a.at("head")[1] and min(knees) > 50, "tuck_jump": min(knees) > 110,
        "superhero": np.linalg.norm(a.seg("left_hip", "left_wrist")) < 0.32, "sumo": _gap(a) > 0.6,
        "ballet_low": a.at("left_hand")[2] > 0.2, "ballet_high": a.at("left_hand")[1] > a.at("head")[1] + 0.2,
        "zombie": _angle(a.seg("left_shoulder", "left_wrist"), [0, 0, 1]) < 10,
        "cheering": a.at("left_hand")[1] > a.at("head")[1], "ski": min(knees) > 70 and a.trunk()[1] > 35,
        "warrior_one": hips[0] > 70 and knees[1] < 2 and a.at("left_hand")[1] > a.at("head")[1],
        "warrior_two": a.head()[0] > 70 and a.at("left_ankle")[0] > 0.3 and knees[1] < 2,
        "warrior_three": up < 0.3 and _stands(a, "left"), "triangle": a.trunk()[2] > 40,
        "tree": _stands(a, "left") and np.linalg.norm(a.seg("left_hand", "right_hand")) < 0.1,
        "tree_high": _stands(a, "left") and a.at("left_hand")[1] > a.at("head")[1] + 0.3,
        "fighting": _ahead(a) > 0.3 and a.at("left_hand")[2] > a.at("right_hand")[2],
        "punch": a.at("left_hand")[2] > 0.45 and _ahead(a) > 0.3,
        "running": hips[0] > 60 and hips[1] < -15 and a.at("right_elbow")[2] > a.at("left_elbow")[2] + 0.3,
        "walking": hips[0] > 20 and hips[1] < -15 and a.at("right_hand")[2] > a.at("left_hand")[2] + 0.2,
        "thinker": np.linalg.norm(a.seg("left_hand", "head")) < 0.2 and min(hips) > 80,
        "arabesque": _stands(a, "left") and hips[1] < -60,
        "archer": _angle(a.seg("left_shoulder", "left_wrist"), [1, 0, 0]) < 5 and a.head()[0] > 60,
        "curtsy": _ahead(a) < -0.2 and min(knees) > 30, "surfing": _gap(a) > 0.5 and a.head()[0] > 40,
    }  # fmt: skip
    return bool(features[name])


def _hands_low(a: Body) -> bool:
    return bool(a.at("left_hand")[1] < -0.1 and a.at("right_hand")[1] < -0.1)


_LEG = {"left": BODY_PARTS["left_leg"], "right": BODY_PARTS["right_leg"]}
_BOTH_LEGS = (*_LEG["left"], *_LEG["right"])
_LEG_POSTURES = {"sit", *postures.SIDED_LEG_POSTURES, *postures.LEG_POSTURES} - {"tree", "stand"}


def allowed(name: str) -> tuple[int, ...]:
    """Joints that a kind may move."""
    group, _, rest = name.partition(".")
    if name in ("leg.stand_on", "step.any", "legs.stand", "legs.uncross", "mirror.legs") or group in (
        "knees",
        "feet",
        "ankles",
    ):
        return _BOTH_LEGS
    if group in ("leg", "knee", "foot", "ankle", "hip", "step", "legs"):
        return _LEG["left"]
    if group == "trunk":
        return BODY_PARTS["trunk"] + ((0, *_BOTH_LEGS) if name == "trunk.stand_up" else ())
    if group in ("head", "root"):
        return BODY_PARTS[group]
    if name == "mirror.upper":
        return tuple(j for part in ("left_arm", "right_arm", "trunk", "head") for j in BODY_PARTS[part])
    if group == "posture":
        plain = rest.removesuffix("_any")
        if plain == "crouch":
            return (0, *_BOTH_LEGS, *BODY_PARTS["trunk"])
        return (0, *_BOTH_LEGS) if plain in _LEG_POSTURES else tuple(range(24))
    return tuple(range(24)) if name == "mirror.whole" else ()


def start_pose(rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """A neutral body, a posture of the legs, or either of them with every joint turned at random."""
    posed = postures.standing(rng.uniform(-np.pi, np.pi))
    if rng.random() < 0.35:
        names = [
            "sit",
            "half_squat",
            "squat",
            "lunge",
            "side_lunge",
            "stork",
            "split_stance",
            "weight_on",
            "horse",
        ]
        posed = postures.LEG_POSTURES[names[rng.integers(len(names))]](posed)
        if rng.random() < 0.5:
            posed = PosedBody(posed.mirrored().local, posed.yaw)
    pose = posed.to_pose()
    if rng.random() < 0.75:
        noise = rng.normal(size=(24, 3)) * 0.16
        noise[[4, 5]] = 0.0
        noise[0] *= 0.6
        turned = Rotation.from_rotvec(pose.astype(np.float64)) * Rotation.from_rotvec(noise)
        bent = turned.as_rotvec()
        bent[[4, 5], 0] = np.abs(bent[[4, 5], 0] + rng.uniform(0.0, 1.2, size=2))
        pose = bent.astype(np.float32)
    return pose


@pytest.fixture(scope="module")
def starts() -> list[tuple[PosedBody, Body]]:
    """Start poses that all kinds share."""
    rng = np.random.default_rng(3)
    poses = [start_pose(rng) for _ in range(300)]
    return [(PosedBody.from_pose(pose), Body(pose)) for pose in poses]


Starts = list[tuple[PosedBody, Body]]
BODY_KINDS = [kind for kind in KINDS.values() if kind.family in FAMILIES]


@pytest.fixture
def amounts(monkeypatch: pytest.MonkeyPatch) -> list[Amount]:
    """The amounts that kinds draw, as they are drawn."""
    drawn: list[Amount] = []

    def record(*arguments: object, **options: object) -> Amount:
        amount = draw_amount(*arguments, **options)  # type: ignore[arg-type]
        drawn.append(amount)
        return amount

    for module in MODULES:
        monkeypatch.setattr(module, "draw_amount", record)
    return drawn


def test_every_kind_of_the_body_is_checked() -> None:
    unchecked = {kind.name for kind in BODY_KINDS if kind.family not in ("posture", "mirror", "nothing")}
    assert set(CHECKS) == unchecked


@pytest.mark.parametrize("draws", DRAWS)
@pytest.mark.parametrize("kind", BODY_KINDS, ids=lambda kind: kind.name)
def test_the_geometry_asked_for_holds_and_nothing_else_moves(
    kind: Kind, draws: int, amounts: list[Amount], starts: Starts
) -> None:
    rng = np.random.default_rng(7)
    made = failed = 0
    words: set[str] = set()
    plain = kind.name.partition(".")[2].removesuffix("_any")
    for _ in range(4 * draws):
        if made == draws:
            break
        start, before = starts[rng.integers(len(starts))]
        amounts.clear()
        edit = kind.apply(rng, start)
        if edit is None:
            continue
        made += 1
        moved = np.flatnonzero(np.any(edit.target.local != start.local, axis=(1, 2)))
        may = set(allowed(kind.name))
        assert set(moved) <= may, f"{kind.name} moved {sorted(set(moved) - may)}"
        if kind.family != "root":
            assert edit.target.yaw == start.yaw
        text, _ = default_wording().clause(
            rng, f"{kind.name}/{edit.variant}" if edit.variant else kind.name, edit.slots, mirrored=False
        )
        words.add(text)
        if edit.target is start:
            continue  # nothing asked, or an absolute request that is satisfied already
        case = Case(
            before,
            Body(edit.target.to_pose()),
            amounts[-1] if amounts else None,
            edit.variant,
            dict(edit.slots),
        )
        if kind.family == "posture":
            failed += not _posture(case, plain)
        elif kind.name in CHECKS:
            failed += not CHECKS[kind.name](case)
        else:
            assert kind.family in ("mirror", "nothing"), f"{kind.name} is checked nowhere"
    assert made >= draws / 20, f"{kind.name} made sense in {made} of {4 * draws} draws"
    assert failed <= 0.01 * made, f"{kind.name}: what was asked for does not hold in {failed} of {made}"
    assert len(words) >= min(4, made / 5)


BENDS_AT_MOST = {
    "ankle": 85.0,
    "knee": 172.0,
    "hip": 165.0,
    "elbow": 172.0,
    "wrist": 100.0,
    "neck": 70.0,
    "head": 85.0,
}
"""Degrees by which a joint turns out of the T-pose, generously."""


@pytest.mark.parametrize(
    "kind", [kind for kind in BODY_KINDS if kind.family == "posture"], ids=lambda kind: kind.name
)
def test_postures_bend_no_joint_further_than_a_body_can(kind: Kind, starts: Starts) -> None:
    rng = np.random.default_rng(11)
    for start, _ in starts[:20]:
        edit = kind.apply(rng, start)
        if edit is None:
            continue
        turned = np.degrees(Rotation.from_matrix(edit.target.local).magnitude())
        changed = np.any(edit.target.local != start.local, axis=(1, 2))
        for name, most in BENDS_AT_MOST.items():
            for joint in (JOINT_INDEX.get(f"{side}{name}") for side in ("", "left_", "right_")):
                if joint is not None and changed[joint]:
                    assert turned[joint] <= most, (
                        f"{kind.name} turns joint {joint} by {turned[joint]:.0f} degrees"
                    )


@pytest.mark.parametrize("kind", [kind for kind in BODY_KINDS if kind.mirrored], ids=lambda kind: kind.name)
def test_mirrored_words_name_the_other_sides(kind: Kind, starts: Starts) -> None:
    swapped = {"left": "right", "right": "left", "L": "R", "R": "L", "clockwise": "counter-clockwise",
               "counter-clockwise": "clockwise"}  # fmt: skip
    for seed in range(12):
        edit = kind.apply(np.random.default_rng(seed), starts[seed][0])
        if edit is None:
            continue
        name = f"{kind.name}/{edit.variant}" if edit.variant else kind.name
        # The same draws with the sides changed over: the same sentence but for the names of the sides.
        first, second = (
            default_wording().clause(np.random.default_rng(seed), name, edit.slots, mirrored=mirrored)[0]
            for mirrored in (False, True)
        )
        words = list(zip(re.findall(r"[\w-]+", first), re.findall(r"[\w-]+", second), strict=True))
        assert all(word == other or swapped.get(word) == other for word, other in words)


def test_sentences_name_sides_by_slots_alone() -> None:
    families = {kind.name for kind in BODY_KINDS if kind.family != "mirror"}
    for name, forms in default_wording().kinds.items():
        for sentence in (*forms.get("do", ()), *forms.get("say", ())):
            if name.partition("/")[0] in families:
                # "right" is left out: it also names an angle.
                assert not re.search(r"\b(left|clockwise)\b", re.sub(r"\{\w+\}", "", sentence)), (
                    f"{name}: {sentence}"
                )


def test_mirroring_swaps_the_positions_of_the_sides(starts: Starts) -> None:
    rng = np.random.default_rng(2)
    start, before = starts[0]
    edit = KINDS["mirror.whole"].apply(rng, start)
    assert edit is not None
    after = Body(edit.target.to_pose())
    for joint in ("hand", "ankle", "knee"):
        np.testing.assert_allclose(
            after.at(f"left_{joint}") * [-1, 1, 1], before.at(f"right_{joint}"), atol=1e-5
        )


def test_nothing_leaves_the_pose_as_it_is() -> None:
    rng = np.random.default_rng(0)
    pose = start_pose(rng)
    for name in ("nothing.stay", "nothing.letters", "nothing.nonsense"):
        edit = KINDS[name].apply(rng, PosedBody.from_pose(pose))
        assert edit is not None
        np.testing.assert_allclose(edit.target.to_pose(), pose, atol=1e-5)


@pytest.mark.slow
def test_descriptions_are_varied_and_their_poses_have_what_they_name() -> None:
    sampler, rng = DescriptionSampler(), np.random.default_rng(5)
    texts = set()
    checked = 0
    for _ in range(600):
        sample = sampler.draw(rng)
        texts.add(sample.instruction)
        assert sample.task == "generate"
        assert sample.pose_aa is None
        if sample.reply is not None:  # what describes no pose is answered in words
            assert sample.target_aa is None
            continue
        assert sample.target_aa is not None
        assert sample.target_aa.shape == (24, 3)
        body = Body(sample.target_aa)
        text = sample.instruction.lower()
        for side, other in (("left", "right"), ("right", "left")):
            if f"{side} hand on the head" in text:
                checked += 1
                assert np.linalg.norm(body.seg(f"{side}_hand", "head")) < 0.3
            if sample.kind == "describe.knee_up" and (
                f"{side} knee raised" in text or f"{side} knee lifted" in text
            ):
                checked += 1
                assert body.swing(side)[0] > 80
                assert body.swing(other)[0] < 10
        if sample.kind == "describe.sit":
            checked += 1
            assert min(body.knee("left"), body.knee("right")) > 75
            assert body.seg("left_hip", "left_knee")[2] > 0.3
        if "looking to the left" in text and sample.kind == "describe.stand":
            checked += 1
            assert body.head()[0] > 40
    assert len(texts) > 550
    assert checked > 20
