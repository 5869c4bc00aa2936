# SPDX-License-Identifier: Apache-2.0
"""What the sentences about arms, elbows, hands and wrists ask for holds in their targets, measured on positions.

The measures stand alone: joint positions are worked out here with scipy from the rest offsets, so that a mistake in
the posed body's own kinematics or operators cannot hide itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache, partial

import numpy as np
import pytest

from blender_addon.contract.rotations import axis_angle_to_matrix
from blender_addon.contract.skeleton import BODY_PARTS, JOINT_INDEX
from training.data.directives import arms, elbows, hands, wrists  # noqa: F401  each registers its kinds
from training.data.directives.kinds import KINDS, Edit
from training.data.directives.posed_body import PosedBody
from training.data.directives.wording import default_wording, expand

from .scipy_chain import chain

FAMILIES = ("arm", "elbow", "hand", "wrist", "shoulder")
ARM_KINDS = [name for name, kind in KINDS.items() if kind.family in FAMILIES]
DRAWS = [10, pytest.param(200, marks=pytest.mark.slow)]
"""Draws a kind: a few each time, two hundred where there is time."""
LEFT, UP, FRONT = np.eye(3)


class Measured:
    """Positions and turns of a pose in its upright frame, found from the finished pose alone."""

    def __init__(self, pose_aa: np.ndarray) -> None:
        self.rotations, self.positions = chain(pose_aa, upright=True)

    def at(self, joint: str) -> np.ndarray:
        return self.positions[JOINT_INDEX[joint]]

    def to(self, start: str, end: str) -> np.ndarray:
        return self.at(end) - self.at(start)

    def inside(self, joint: str, frame: str) -> np.ndarray:
        """A joint's position in the frame of another."""
        return self.rotations[JOINT_INDEX[frame]].T @ (self.at(joint) - self.at(frame))

    def flexion(self, side: str) -> float:
        return angle(self.to(f"{side}_shoulder", f"{side}_elbow"), self.to(f"{side}_elbow", f"{side}_wrist"))

    def palm(self, side: str) -> np.ndarray:
        return -self.rotations[JOINT_INDEX[f"{side}_wrist"]][:, 1]


def angle(u: np.ndarray, v: np.ndarray) -> float:
    return float(np.degrees(np.arctan2(np.linalg.norm(np.cross(u, v)), u @ v)))


def random_start(rng: np.random.Generator) -> np.ndarray:
    """An upright body with arms, trunk and head anywhere within what people do."""
    pose = rng.normal(0, 0.12, (24, 3))
    pose[0] = [rng.normal(0, 0.15), rng.uniform(-3, 3), rng.normal(0, 0.1)]
    for side, sign in (("left", 1.0), ("right", -1.0)):
        lift, forward = rng.uniform(-80, 70), rng.uniform(-30, 80)
        swing = axis_angle_to_matrix([0, -sign * np.radians(forward), 0]) @ axis_angle_to_matrix(
            [0, 0, sign * np.radians(lift)]
        )
        posed = PosedBody.from_pose(pose).with_local({f"{side}_shoulder": swing})
        pose = posed.to_pose().astype(np.float64)
        pose[JOINT_INDEX[f"{side}_elbow"]] = [0, -sign * np.radians(rng.uniform(2, 115)), 0]
        pose[JOINT_INDEX[f"{side}_hip"]] = [-np.radians(rng.uniform(0, 100)), 0, 0]
        pose[JOINT_INDEX[f"{side}_knee"]] = [np.radians(rng.uniform(0, 110)), 0, 0]
    return pose.astype(np.float32)


@cache
def draws(name: str, count: int) -> list[tuple[np.ndarray, Edit]]:
    rng = np.random.default_rng(sum(map(ord, name)))
    found: list[tuple[np.ndarray, Edit]] = []
    for _ in range(count * 30):
        pose = random_start(rng)
        edit = KINDS[name].apply(rng, PosedBody.from_pose(pose))
        if edit is not None:
            found.append((pose, edit))
            if len(found) == count:
                return found
    return found


def told_number(edit: Edit) -> float | None:
    """The number of degrees or metres that the words tell in digits."""
    text = edit.slots.get("degrees") or edit.slots.get("distance") or edit.slots.get("amount", "")
    found = re.search(r"(\d+(?:\.\d+)?)\s*(°|deg|cm|\[centi|m\b|in)", text)
    if not found:
        return None
    value, unit = float(found.group(1)), found.group(2)
    return value * {"cm": 0.01, "[centi": 0.01, "in": 0.0254}.get(unit, 1.0)


def sides_of(name: str) -> tuple[str, ...]:
    first = name.split("_")[0]
    return ("left", "right") if first.endswith("s") else ("left",)


Check = Callable[[Measured, Measured, Edit, str], None]
"""Asserts on the pose before and after, the edit and the side (left or right)."""


def outward(side: str) -> np.ndarray:
    return LEFT if side == "left" else -LEFT


def arm(pose: Measured, side: str) -> np.ndarray:
    return pose.to(f"{side}_shoulder", f"{side}_wrist")


def rises(
    before: Measured, after: Measured, edit: Edit, side: str, joint: str = "wrist", sign: float = 1
) -> None:
    assert sign * (after.at(f"{side}_{joint}")[1] - before.at(f"{side}_{joint}")[1]) > 0.0


def whole_arm_height(pose: Measured, side: str) -> float:
    line = pose.to(f"{side}_shoulder", f"{side}_elbow") + arm(pose, side)
    return 90.0 - angle(line, UP)


def raise_(before: Measured, after: Measured, edit: Edit, side: str) -> None:
    if edit.variant == "full":
        assert angle(arm(after, side), UP) < 8
        return
    risen = whole_arm_height(after, side) - whole_arm_height(before, side)
    number = told_number(edit)
    assert risen > 4
    if number is not None:
        assert risen == pytest.approx(number, abs=9)
    if edit.variant in ("", "hand") and whole_arm_height(before, side) < -60:
        assert after.at(f"{side}_wrist")[1] > before.at(f"{side}_wrist")[1] + 0.2


def lower(before: Measured, after: Measured, edit: Edit, side: str) -> None:
    if edit.variant in ("", "hand") and not edit.slots["amount"] and not edit.slots.get("pre"):
        assert angle(arm(after, side), -UP) < 15
        return
    fallen = whole_arm_height(before, side) - whole_arm_height(after, side)
    assert fallen > 4
    if (number := told_number(edit)) is not None:
        assert fallen == pytest.approx(number, abs=9)


def lift_in_plane(before: Measured, after: Measured, edit: Edit, side: str, plane: str) -> None:
    number = told_number(edit)
    risen = whole_arm_height(after, side) - whole_arm_height(before, side)
    assert risen > 4
    if number is not None:
        assert risen == pytest.approx(number, abs=9)
    across = np.cross(outward(side) if plane == "side" else FRONT, UP)
    line = after.to(f"{side}_shoulder", f"{side}_elbow") + arm(after, side)
    assert abs(angle(line, across) - 90) < 1


def direct(before: Measured, after: Measured, edit: Edit, side: str) -> None:
    out, down = outward(side), -UP
    wanted = {
        "side": out, "front": FRONT, "up": UP, "down": down, "side_up": out + UP, "front_up": FRONT + UP,
        "side_down": out + down, "front_down": FRONT + down, "front_side": FRONT + out,
        "back": -FRONT, "across": -out,
    }[edit.variant]  # fmt: skip
    assert angle(arm(after, side), wanted) < (42 if edit.variant in ("back", "across") else 8)
    assert after.flexion(side) < 2 or edit.target is not None


def at_angle(before: Measured, after: Measured, edit: Edit, side: str) -> None:
    if (number := told_number(edit)) is not None:
        assert angle(arm(after, side), -UP) == pytest.approx(number, abs=5)
    plane = UP if edit.variant == "side" else outward(side)
    assert abs(arm(after, side) @ (FRONT if edit.variant == "side" else plane)) < 0.05


def point(before: Measured, after: Measured, edit: Edit, side: str) -> None:
    wanted = {
        "side": LEFT, "front": FRONT, "up": UP, "sky": UP + 0.7 * FRONT, "floor": FRONT - 1.3 * UP,
        "back": -FRONT, "across": -LEFT,
    }[edit.variant]  # fmt: skip
    assert angle(arm(after, side), wanted) < 42


def shifts(
    before: Measured, after: Measured, edit: Edit, side: str, way: Callable[[str], np.ndarray]
) -> None:
    change = 0.0
    for pose, sign in ((after, 1), (before, -1)):
        change += sign * angle(pose.to(f"{side}_shoulder", f"{side}_elbow") + arm(pose, side), way(side))
    turned = angle(
        before.to(f"{side}_shoulder", f"{side}_elbow") + arm(before, side),
        after.to(f"{side}_shoulder", f"{side}_elbow") + arm(after, side),
    )
    assert change < 0
    assert turned > 3.0
    if (number := told_number(edit)) is not None:
        assert turned == pytest.approx(number, abs=9)


def inwards(before: Measured, after: Measured, edit: Edit, side: str) -> None:
    assert (arm(after, side) + after.to(f"{side}_shoulder", f"{side}_elbow")) @ outward(side) < (
        arm(before, side) + before.to(f"{side}_shoulder", f"{side}_elbow")
    ) @ outward(side)


def level(before: Measured, after: Measured, edit: Edit, side: str) -> None:
    head, hip = after.at("head")[1], after.at("left_hip")[1]
    low, high = {
        "shoulder": (after.at("left_shoulder")[1] - 0.12, after.at("left_shoulder")[1] + 0.12),
        "chest": (after.at("spine3")[1] - 0.02, after.at("spine3")[1] + 0.1),
        "head": (head + 0.05, head + 0.15), "chin": (head - 0.06, head + 0.04),
        "hip": (hip - 0.1, hip + 0.15), "waist": (after.at("spine1")[1] - 0.04, after.at("spine1")[1] + 0.04),
    }[edit.slots["height"].strip("{}").removeprefix("at_")]  # fmt: skip
    assert low < after.at(f"{side}_wrist")[1] < high


def rotate(before: Measured, after: Measured, edit: Edit, side: str) -> None:
    np.testing.assert_allclose(after.at(f"{side}_elbow"), before.at(f"{side}_elbow"), atol=1e-4)
    if before.flexion(side) < 20:
        return
    axis = before.to(f"{side}_shoulder", f"{side}_elbow")
    swept = (
        np.cross(before.to(f"{side}_elbow", f"{side}_wrist"), after.to(f"{side}_elbow", f"{side}_wrist"))
        @ axis
    )
    # Outwards is left-handed about the way from the left shoulder to the elbow.
    assert swept * (1 if side == "left" else -1) * (-1 if edit.variant == "out" else 1) > -1e-6


def shape(before: Measured, after: Measured, edit: Edit, side: str) -> None:
    upper, fore = after.to(f"{side}_shoulder", f"{side}_elbow"), after.to(f"{side}_elbow", f"{side}_wrist")
    out = outward(side)
    if edit.variant == "t":
        assert angle(arm(after, side), out) < 2
    elif edit.variant == "goalpost":
        assert angle(upper, out) < 2
        assert angle(fore, UP) < 2
    elif edit.variant == "surrender":
        assert after.at(f"{side}_wrist")[1] > after.at("head")[1] - 0.1
    elif edit.variant == "zombie":
        assert angle(arm(after, side), FRONT) < 2
    elif edit.variant == "a":
        assert angle(arm(after, side), out - UP) < 2
    elif edit.variant == "v":
        assert angle(arm(after, side), out + UP) < 10
    elif edit.variant == "biceps":
        assert after.flexion(side) > 90
    elif edit.variant == "cradle":
        assert fore @ out < 0
        assert fore @ FRONT > 0


def match(before: Measured, after: Measured, edit: Edit, side: str) -> None:
    mirrored = before.inside("right_hand", "spine3") * [-1, 1, 1]
    np.testing.assert_allclose(after.inside("left_hand", "spine3"), mirrored, atol=1e-3)


def swap(before: Measured, after: Measured, edit: Edit, side: str) -> None:
    other = "right" if side == "left" else "left"
    mirrored = before.inside(f"{other}_hand", "spine3") * [-1, 1, 1]
    np.testing.assert_allclose(after.inside(f"{side}_hand", "spine3"), mirrored, atol=1e-3)


def one_up_one_down(before: Measured, after: Measured, edit: Edit, side: str) -> None:
    assert angle(arm(after, "left"), UP) < 8
    assert angle(arm(after, "right"), -UP) < 8


def only_elbow_bends(before: Measured, after: Measured, edit: Edit, side: str) -> None:
    np.testing.assert_array_equal(after.at(f"{side}_elbow").round(5), before.at(f"{side}_elbow").round(5))


def bend(before: Measured, after: Measured, edit: Edit, side: str) -> None:
    only_elbow_bends(before, after, edit, side)
    change = after.flexion(side) - before.flexion(side)
    if edit.variant == "full":
        assert after.flexion(side) > 140
    elif edit.variant == "half":
        assert 60 < after.flexion(side) < 90
    elif edit.variant == "":
        assert change > 20 or after.flexion(side) > 140
        assert after.flexion(side) > 85
    elif (number := told_number(edit)) is not None:
        assert change == pytest.approx(number, abs=9)
    else:
        assert change > 4


def elbow_to(before: Measured, after: Measured, edit: Edit, side: str) -> None:
    only_elbow_bends(before, after, edit, side)
    number = 90.0 if edit.variant == "right" else told_number(edit)
    if number is not None:
        assert after.flexion(side) == pytest.approx(number, abs=4)


def forearm(before: Measured, after: Measured, edit: Edit, side: str) -> None:
    fore = after.to(f"{side}_elbow", f"{side}_wrist")
    np.testing.assert_allclose(after.at(f"{side}_elbow"), before.at(f"{side}_elbow"), atol=1e-4)
    if edit.variant == "level":
        assert abs(angle(fore, UP) - 90) < 9
        return
    out = outward(side)
    wanted = {"up": UP, "front": FRONT, "down": -UP, "across": 0.45 * FRONT - 0.9 * out, "out": out}[
        edit.variant
    ]
    assert angle(fore, wanted) < 9


def elbow_height(before: Measured, after: Measured, edit: Edit, side: str) -> None:
    rises(before, after, edit, side, "elbow", 1 if edit.variant == "up" else -1)
    assert after.flexion(side) == pytest.approx(before.flexion(side), abs=0.5)


def flare(before: Measured, after: Measured, edit: Edit, side: str) -> None:
    assert (after.at(f"{side}_elbow") - before.at(f"{side}_elbow")) @ outward(side) > 0.005


TOUCH = {
    "hip": ("{side}_hip", 0.25), "waist": ("spine1", 0.25), "stomach": ("spine1", 0.2), "chest": ("spine3", 0.2),
    "heart": ("spine3", 0.2), "ribs": ("spine2", 0.22), "crotch": ("pelvis", 0.2), "buttock": ("pelvis", 0.21),
    "pocket": ("{side}_hip", 0.16), "behind_back": ("spine1", 0.2), "lower_back": ("spine1", 0.2),
    "behind_head": ("head", 0.18), "behind_neck": ("neck", 0.2), "head": ("head", 0.24),
    "side_of_head": ("head", 0.2), "ear": ("head", 0.2), "forehead": ("head", 0.22), "face": ("head", 0.22),
    "eyes": ("head", 0.22), "nose": ("head", 0.2), "mouth": ("head", 0.2), "chin": ("head", 0.2),
    "cheek": ("head", 0.2), "temple": ("head", 0.2), "throat": ("neck", 0.2), "salute": ("head", 0.22),
    "own_shoulder": ("{side}_shoulder", 0.25), "other_shoulder": ("{other}_shoulder", 0.22),
    "other_upper_arm": ("spine3", 0.3), "visor": ("head", 0.26), "phone": ("head", 0.2), "drink": ("head", 0.25),
    "above_head": ("head", 0.5), "beside_head": ("head", 0.35), "front_stomach": ("spine1", 0.35),
    "front_chest": ("spine3", 0.4), "front_face": ("head", 0.35), "guard": ("head", 0.35),
    "shield": ("head", 0.32),
}  # fmt: skip
"""Joints within reach of which, in metres, a hand joint must come."""
IN_FRONT = {
    "stomach", "chest", "heart", "crotch", "forehead", "face", "eyes", "nose", "mouth", "chin", "throat",
    "front_stomach", "front_chest", "front_face", "guard", "shield", "drink", "handshake", "offer", "stop",
}  # fmt: skip
BEHIND = {"behind_back", "lower_back", "behind_head", "behind_neck", "buttock"}


def place(before: Measured, after: Measured, edit: Edit, side: str) -> None:
    name = edit.variant
    if name in ("on", "near"):
        name = edit.slots["place"].strip("{}").split("_at_")[1]
    if name in TOUCH:
        joint, reach = TOUCH[name]
        joint = joint.format(side=side, other="right" if side == "left" else "left")
        assert np.linalg.norm(after.to(joint, f"{side}_hand")) < reach
    frame = hands.PLACES[name].joint
    if name in IN_FRONT:
        assert after.inside(f"{side}_hand", frame)[2] > 0.08
    if name in BEHIND:
        assert after.inside(f"{side}_hand", frame)[2] < -0.08
    if name == "above_head":
        assert after.inside(f"{side}_hand", "head")[1] > 0.3
    skull = after.inside(f"{side}_hand", "head") - [0.0, 0.08, 0.02]
    assert np.linalg.norm(skull) > 0.09
    assert after.flexion(side) < 151


def together(before: Measured, after: Measured, edit: Edit, side: str) -> None:
    gap = np.linalg.norm(after.to("left_hand", "right_hand"))
    if edit.variant.startswith("together") or edit.variant in ("prayer", "clap", "heart_sign"):
        assert 0.06 < gap < 0.14
    else:
        assert gap > 0.2
    if edit.variant in ("together_chest", "prayer", "clap", "ball", "wheel"):
        assert after.inside("left_hand", "spine3")[2] > 0.12
    if edit.variant == "together_overhead":
        assert after.inside("left_hand", "head")[1] > 0.3
    if edit.variant == "together_behind":
        assert after.inside("left_hand", "pelvis")[2] < -0.1


def meet(before: Measured, after: Measured, edit: Edit, side: str) -> None:
    assert np.linalg.norm(after.to("left_hand", "right_hand")) < 0.13


def apart(before: Measured, after: Measured, edit: Edit, side: str) -> None:
    old, new = (np.linalg.norm(pose.to("left_hand", "right_hand")) for pose in (before, after))
    if edit.variant == "shoulder_width":
        assert 0.25 < new < 0.55
    elif edit.variant == "to":
        if (number := told_number(edit)) is not None:
            assert new == pytest.approx(number, abs=0.04)
    else:
        assert new > old if edit.variant == "farther" else new < old


def shift(before: Measured, after: Measured, edit: Edit, side: str) -> None:
    out = outward(side)
    way = {"forward": FRONT, "backward": -FRONT, "up": UP, "down": -UP, "out": out, "in": -out}[edit.variant]
    moved = after.at(f"{side}_wrist") - before.at(f"{side}_wrist")
    assert moved @ way > 0.02
    assert angle(moved, way) < 25
    if (number := told_number(edit)) is not None:
        assert moved @ way == pytest.approx(number, abs=0.03)


def shift_sideways(before: Measured, after: Measured, edit: Edit, side: str) -> None:
    assert (after.at(f"{side}_wrist") - before.at(f"{side}_wrist")) @ LEFT > 0.02


def crossed(before: Measured, after: Measured, edit: Edit, side: str) -> None:
    assert after.inside(f"{side}_hand", "spine3") @ outward(side) < -0.07
    assert after.inside(f"{side}_hand", "spine3")[2] > 0.1


def on_leg(before: Measured, after: Measured, edit: Edit, side: str) -> None:
    hip, knee = after.at(f"{side}_hip"), after.at(f"{side}_knee")
    hand = after.at(f"{side}_hand")
    along = np.clip((hand - hip) @ (knee - hip) / ((knee - hip) @ (knee - hip)), 0, 1)
    distance = {
        "thigh": np.linalg.norm(hand - hip - along * (knee - hip)),
        "knee": np.linalg.norm(hand - knee),
        "shin": np.linalg.norm(hand - (knee + after.at(f"{side}_ankle")) / 2),
        "ankle": np.linalg.norm(hand - after.at(f"{side}_ankle")),
        "foot": np.linalg.norm(hand - after.at(f"{side}_foot")),
    }[edit.variant]
    assert distance < 0.13


def on_other_arm(before: Measured, after: Measured, edit: Edit, side: str) -> None:
    assert np.linalg.norm(after.to("left_hand", f"right_{edit.variant}")) < 0.08 + 0.1


def palm(before: Measured, after: Measured, edit: Edit, side: str) -> None:
    out = outward(side)
    way = {"up": UP, "down": -UP, "front": FRONT, "back": -FRONT, "in": -out, "out": out}[edit.variant]
    assert after.palm(side) @ way > before.palm(side) @ way - 0.02
    np.testing.assert_allclose(after.at(f"{side}_wrist"), before.at(f"{side}_wrist"), atol=1e-4)
    fore = after.to(f"{side}_elbow", f"{side}_wrist")
    fore, facing = fore / np.linalg.norm(fore), after.palm(side)
    assert angle(facing - facing @ fore * fore, way - way @ fore * fore) < 3


def twist(before: Measured, after: Measured, edit: Edit, side: str) -> None:
    np.testing.assert_allclose(after.at(f"{side}_wrist"), before.at(f"{side}_wrist"), atol=1e-4)
    fore = after.to(f"{side}_elbow", f"{side}_wrist")
    swept = np.cross(before.palm(side), after.palm(side)) @ fore
    assert swept * (1 if side == "left" else -1) * (1 if edit.variant == "in" else -1) > 0


def wrist_bend(before: Measured, after: Measured, edit: Edit, side: str) -> None:
    towards_palm = after.to(f"{side}_wrist", f"{side}_hand") @ before.palm(side)
    assert towards_palm > 0.005 if edit.variant == "in" else towards_palm < -0.005


def wrist_side(before: Measured, after: Measured, edit: Edit, side: str) -> None:
    thumb = before.rotations[JOINT_INDEX[f"{side}_wrist"]][:, 2]
    moved = after.to(f"{side}_wrist", f"{side}_hand") - before.to(f"{side}_wrist", f"{side}_hand")
    assert moved @ thumb > 0.003 if edit.variant == "thumb" else moved @ thumb < -0.003
    if (number := told_number(edit)) is not None:
        hand = [pose.to(f"{side}_wrist", f"{side}_hand") for pose in (before, after)]
        assert angle(*hand) == pytest.approx(number, abs=1.0 + 0.06 * number)


def hand_direct(before: Measured, after: Measured, edit: Edit, side: str) -> None:
    way = {"up": UP, "down": -UP, "front": FRONT}[edit.variant]
    assert angle(after.to(f"{side}_wrist", f"{side}_hand"), way) < 2
    np.testing.assert_allclose(after.at(f"{side}_wrist"), before.at(f"{side}_wrist"), atol=1e-4)


def wrist_straight(before: Measured, after: Measured, edit: Edit, side: str) -> None:
    assert angle(after.to(f"{side}_elbow", f"{side}_wrist"), after.to(f"{side}_wrist", f"{side}_hand")) < 1


def shoulder(before: Measured, after: Measured, edit: Edit, side: str) -> None:
    moved = after.inside(f"{side}_shoulder", "spine3") - before.inside(f"{side}_shoulder", "spine3")
    way = {"up": UP, "down": -UP, "front": FRONT, "back": -FRONT}[edit.variant]
    assert moved @ way > 0.004
    upper = [pose.to(f"{side}_shoulder", f"{side}_elbow") for pose in (before, after)]
    assert angle(upper[0], upper[1]) < 0.1


def shoulder_relaxed(before: Measured, after: Measured, edit: Edit, side: str) -> None:
    np.testing.assert_allclose(after.inside(f"{side}_shoulder", "spine3")[1], 0.145, atol=0.01)


_PAIRS: dict[tuple[str, str], Check] = {
    ("arm_raise", "arms_raise"): raise_,
    ("arm_lower", "arms_lower"): lower,
    ("arm_lift_sideways", "arms_lift_sideways"): partial(lift_in_plane, plane="side"),
    ("arm_lift_forwards", "arms_lift_forwards"): partial(lift_in_plane, plane="front"),
    ("arm_direct", "arms_direct"): direct,
    ("arm_angle", "arms_angle"): at_angle,
    ("arm_forwards", "arms_forwards"): partial(shifts, way=lambda side: FRONT),
    ("arm_backwards", "arms_backwards"): partial(shifts, way=lambda side: -FRONT),
    ("arm_outwards", "arms_outwards"): partial(shifts, way=outward),
    ("arm_inwards", "arms_inwards"): inwards,
    ("arm_level", "arms_level"): level,
    ("arm_rotate", "arms_rotate"): rotate,
    ("elbow_bend", "elbows_bend"): bend,
    ("elbow_to", "elbows_to"): elbow_to,
    ("forearm_direct", "forearms_direct"): forearm,
    ("elbow_raise", "elbows_raise"): elbow_height,
    ("elbow_flare", "elbows_flare"): flare,
    ("hand_place", "hands_place"): place,
    ("hand_shift", "hands_shift"): shift,
    ("hand_on_leg", "hands_on_leg"): on_leg,
    ("palm_turn", "palms_turn"): palm,
    ("forearm_twist", "forearms_twist"): twist,
    ("wrist_bend", "wrists_bend"): wrist_bend,
    ("wrist_side", "wrists_side"): wrist_side,
    ("hand_direct", "hands_direct"): hand_direct,
    ("wrist_straighten", "wrists_straighten"): wrist_straight,
    ("shoulder_move", "shoulders_move"): shoulder,
    ("shoulder_relax", "shoulders_relax"): shoulder_relaxed,
}
CHECKS: dict[str, Check] = {name: check for names, check in _PAIRS.items() for name in names} | {
    "arm_point": point,
    "arms_shape": shape,
    "arm_match": match,
    "arms_swap": swap,
    "arm_one_up_one_down": one_up_one_down,
    "hands_together": together,
    "hands_meet": meet,
    "hands_apart": apart,
    "hands_shift_sideways": shift_sideways,
    "arms_crossed": crossed,
    "hand_on_other_arm": on_other_arm,
}


def test_every_kind_of_the_arms_is_checked() -> None:
    assert set(CHECKS) == set(ARM_KINDS)


@pytest.mark.parametrize("count", DRAWS)
@pytest.mark.parametrize("name", ARM_KINDS)
def test_target_holds_what_the_sentence_asks_for(name: str, count: int) -> None:
    found = draws(name, count)
    assert len(found) >= count * 0.9
    for pose, edit in found:
        before, after = Measured(pose), Measured(edit.target.to_pose())
        satisfied = bool(np.array_equal(edit.target.local, PosedBody.from_pose(pose).local))
        for side in sides_of(name):
            if not satisfied:
                CHECKS[name](before, after, edit, side)


@pytest.mark.parametrize("name", ARM_KINDS)
def test_joints_that_the_sentence_leaves_out_keep_their_very_numbers(name: str) -> None:
    moving = set(BODY_PARTS["left_arm"])
    if len(sides_of(name)) == 2 or name == "arm_one_up_one_down":
        moving |= set(BODY_PARTS["right_arm"])
    still = [joint for joint in range(24) if joint not in moving]
    for pose, edit in draws(name, 10):
        start = PosedBody.from_pose(pose)
        np.testing.assert_array_equal(edit.target.local[still], start.local[still])
        assert edit.target.yaw == start.yaw


@pytest.mark.parametrize("name", ARM_KINDS)
def test_same_start_and_words_give_the_same_target(name: str) -> None:
    rng = np.random.default_rng(7)
    pose = random_start(rng)
    seen: dict[tuple[object, ...], np.ndarray] = {}
    for _ in range(60):
        edit = KINDS[name].apply(rng, PosedBody.from_pose(pose))
        if edit is None or (
            told_number(edit) is None and re.search(r"\d|\w{3,} (deg|inch|\[|cm|foot)", str(edit.slots))
        ):
            continue
        amounts = {
            k: v for k, v in edit.slots.items() if k in ("comp", "degrees", "distance", "place", "height")
        }
        key = (edit.variant, *sorted(amounts.items()))
        if key in seen:
            np.testing.assert_allclose(edit.target.local, seen[key], atol=1e-9)
        seen[key] = edit.target.local


@pytest.mark.parametrize("name", ARM_KINDS)
def test_every_wording_expands_to_many_distinct_sentences(name: str) -> None:
    wording, rng = default_wording(), np.random.default_rng(3)
    found = draws(name, 40)
    variants = {edit.variant for _, edit in found}
    for variant in variants:
        slots = next(edit.slots for _, edit in found if edit.variant == variant)
        entry = wording.kinds[f"{name}/{variant}" if variant else name]
        sentences = set()
        for _ in range(60):
            full = f"{name}/{variant}" if variant else name
            sentences.add(wording.clause(rng, full, slots, mirrored=False)[0])
        assert len(sentences) > 12, (name, variant)
        for text in [*entry.get("do", []), *entry.get("say", [])]:
            words = {
                **wording.words[full],
                **slots,
                "L": "left",
                "R": "right",
                "Li": "L",
                "Ri": "R",
                "your": "your",
            }
            assert expand(rng, text, words)
