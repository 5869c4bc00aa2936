# SPDX-License-Identifier: Apache-2.0
"""Directives of the other arm or leg: which limb is meant, what it does, and that their sentences name no side.

What a borrowed kind asks for is checked with that kind; here, on positions worked out with scipy, that it is asked of
the right limb."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest

from blender_addon.contract.skeleton import BODY_PARTS, JOINT_INDEX
from training.data.directives import others
from training.data.directives.kinds import KINDS, Edit
from training.data.directives.posed_body import PosedBody
from training.data.directives.sampler import DirectiveSampler, Mix
from training.data.starts import StartPoses, one_limb_posed, standing

from .scipy_chain import chain

OTHER_KINDS = [kind.name for kind in KINDS.values() if kind.family == "other"]
SIDE_WORDS = re.compile(r"\b(left|right(?! (angle|next))|l|r)\b", re.IGNORECASE)


class Limbs:
    """Positions of a pose in its own upright frame."""

    def __init__(self, pose_aa: npt.NDArray[np.float32]) -> None:
        self.rot, self.pos = chain(pose_aa, upright=True)

    def off_rest(self, side: str, limb: str) -> float:
        """Degrees between the whole limb, shoulder to wrist or hip to ankle, and straight down."""
        top, end = ("shoulder", "wrist") if limb == "arm" else ("hip", "ankle")
        line = self.pos[JOINT_INDEX[f"{side}_{end}"]] - self.pos[JOINT_INDEX[f"{side}_{top}"]]
        return float(np.degrees(np.arccos(-line[1] / np.linalg.norm(line))))

    def bend(self, side: str, *joints: str) -> float:
        a, b, c = (self.pos[JOINT_INDEX[f"{side}_{joint}"]] for joint in joints)
        u, v = b - a, c - b
        return float(np.degrees(np.arctan2(np.linalg.norm(np.cross(u, v)), u @ v)))

    def across(self, side: str, joint: str) -> npt.NDArray[np.float64]:
        """A joint's position in the frame of what its limb hangs from, the chest or the pelvis, with x outward."""
        base = "pelvis" if joint in ("knee", "ankle", "foot") else "spine3"
        away = self.pos[JOINT_INDEX[f"{side}_{joint}"]] - self.pos[JOINT_INDEX[base]]
        position: npt.NDArray[np.float64] = self.rot[JOINT_INDEX[base]].T @ away
        return position * ([1, 1, 1] if side == "left" else [-1, 1, 1])


def limb_of(name: str) -> str:
    return "leg" if re.search(r"\b(leg|knee|foot)", name.removeprefix("other.")) else "arm"


@cache
def draws(name: str) -> list[tuple[npt.NDArray[np.float32], Edit]]:
    """Edits from starts with one limb posed."""
    rng = np.random.default_rng(sum(map(ord, name)))
    found = []
    for _ in range(500):
        posed = PosedBody.from_pose(one_limb_posed(rng, standing(rng)))
        pose = (posed.mirrored() if rng.random() < 0.5 else posed).to_pose()
        edit = KINDS[name].apply(rng, PosedBody.from_pose(pose))
        if edit is not None:
            found.append((pose, edit))
            if len(found) == 8:
                break
    return found


def mirrors(before: Limbs, after: Limbs, *joints: str) -> None:
    """Each left joint of the target is where the right one of the start is, seen in the mirror."""
    for joint in joints:
        np.testing.assert_allclose(after.across("left", joint), before.across("right", joint), atol=0.02)


def arm_same(before: Limbs, after: Limbs) -> None:
    mirrors(before, after, "elbow", "wrist", "hand")


def leg_same(before: Limbs, after: Limbs) -> None:
    mirrors(before, after, "knee", "ankle", "foot")


def arm_instead(before: Limbs, after: Limbs) -> None:
    mirrors(before, after, "elbow", "wrist")
    for joint in ("elbow", "wrist"):
        np.testing.assert_allclose(after.across("right", joint), before.across("left", joint), atol=0.02)


def leg_instead(before: Limbs, after: Limbs) -> None:
    mirrors(before, after, "knee", "ankle")
    for joint in ("knee", "ankle"):
        np.testing.assert_allclose(after.across("right", joint), before.across("left", joint), atol=0.02)


def arm_down(before: Limbs, after: Limbs) -> None:
    assert after.off_rest("left", "arm") < 25


def leg_down(before: Limbs, after: Limbs) -> None:
    assert after.off_rest("left", "leg") < 15
    assert after.bend("left", "hip", "knee", "ankle") < 10


def elbow_same(before: Limbs, after: Limbs) -> None:
    joints = ("shoulder", "elbow", "wrist")
    assert after.bend("left", *joints) == pytest.approx(min(145.0, before.bend("right", *joints)), abs=1)


def knee_same(before: Limbs, after: Limbs) -> None:
    joints = ("hip", "knee", "ankle")
    assert after.bend("left", *joints) == pytest.approx(min(145.0, before.bend("right", *joints)), abs=3)


def asked_of_resting(before: Limbs, after: Limbs, *, limb: str) -> None:
    """The left limb, which is moved, was the one at rest."""
    joints = ("shoulder", "elbow", "wrist") if limb == "arm" else ("hip", "knee", "ankle")
    straight = before.bend("left", *joints) < 36
    assert straight
    if limb == "leg":
        assert before.off_rest("left", limb) < 30


def asked_of_posed(before: Limbs, after: Limbs, *, limb: str) -> None:
    joints = ("shoulder", "elbow", "wrist") if limb == "arm" else ("hip", "knee", "ankle")
    assert max(before.off_rest("left", limb), before.bend("left", *joints)) > 20


OWN: dict[str, Callable[[Limbs, Limbs], None]] = {
    "other.arm_same": arm_same, "other.leg_same": leg_same, "other.arm_instead": arm_instead,
    "other.leg_instead": leg_instead, "other.arm_down_too": arm_down, "other.leg_down_too": leg_down,
    "other.elbow_same": elbow_same, "other.knee_same": knee_same,
}  # fmt: skip
BEGINS = {*others.ARM_BEGINS, *others.LEG_BEGINS}
ENDS = {*others.ARM_ENDS, *others.LEG_ENDS}


def test_every_kind_of_the_other_limb_is_checked() -> None:
    assert set(OTHER_KINDS) == {*OWN, *(f"other.{name}" for name in BEGINS | ENDS)}


@pytest.mark.parametrize("name", OTHER_KINDS)
def test_the_other_limb_does_what_is_asked(name: str) -> None:
    found = draws(name)
    assert found, f"{name} made no sense from any start"
    limb = limb_of(name)
    moving = set(BODY_PARTS[f"left_{limb}"])
    if name.endswith("_instead"):
        moving |= set(BODY_PARTS[f"right_{limb}"])
    still = [joint for joint in range(24) if joint not in moving]
    for pose, edit in found:
        start = PosedBody.from_pose(pose)
        np.testing.assert_allclose(edit.target.local[still], start.local[still], atol=1e-9)
        before, after = Limbs(pose), Limbs(edit.target.to_pose())
        if name in OWN:
            OWN[name](before, after)
        elif name.removeprefix("other.") in BEGINS:
            asked_of_resting(before, after, limb=limb)
        else:
            asked_of_posed(before, after, limb=limb)


def test_sentences_of_the_other_limb_name_no_side() -> None:
    sampler = DirectiveSampler(StartPoses(None), Mix(slip_share=0.0))
    rng, checked = np.random.default_rng(0), 0
    for name in OTHER_KINDS:
        for pose, _ in draws(name):
            sample = sampler.draw_kind(rng, pose, name)
            if sample is not None:
                assert not SIDE_WORDS.search(sample.instruction), sample.instruction
                checked += 1
    assert checked > 80


def test_nothing_is_asked_of_the_other_limb_where_none_is_posed() -> None:
    rng = np.random.default_rng(0)
    t_pose = PosedBody.from_pose(np.zeros((24, 3)))
    assert not others.one_limb_is_posed(t_pose)
    for name in OTHER_KINDS:
        assert KINDS[name].apply(rng, t_pose) is None


def test_starts_have_one_limb_posed_often_enough() -> None:
    rng, starts = np.random.default_rng(0), StartPoses(None)
    share = np.mean([others.one_limb_is_posed(PosedBody.from_pose(starts(rng))) for _ in range(200)])
    assert share > 0.2
