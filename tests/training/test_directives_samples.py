# SPDX-License-Identifier: Apache-2.0
"""What holds for directives of every kind: each is checked somewhere, mirrors with its words, tells its amount, and
stays within what joints can do. Nothing here reads a sentence but for the names of its sides."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest
from scipy.spatial.transform import Rotation

from blender_addon.contract.skeleton import BODY_PARTS, JOINT_INDEX, MIRROR
from training.data.directives.kinds import KINDS
from training.data.directives.sampler import DirectiveSampler, Mix
from training.data.directives.wording import default_wording
from training.data.starts import StartPoses

from .scipy_chain import chain

Pose = npt.NDArray[np.float32]

ARM_FAMILIES = {"arm", "elbow", "hand", "wrist", "shoulder"}
BODY_FAMILIES = {"leg", "knee", "trunk", "head", "root", "posture", "mirror", "nothing"}
OTHER_FAMILIES = {"other"}
LEFT_JOINTS = {*BODY_PARTS["left_arm"], *BODY_PARTS["left_leg"]}
RIGHT_JOINTS = {*BODY_PARTS["right_arm"], *BODY_PARTS["right_leg"]}
OTHER = {"left": "right", "right": "left", "l": "r", "r": "l", "clockwise": "anticlockwise",
         "anticlockwise": "clockwise"}  # fmt: skip


@pytest.fixture(scope="module")
def sampler() -> DirectiveSampler:
    return DirectiveSampler(StartPoses(None), Mix(slip_share=0.0))


def seen_in_mirror(pose_aa: Pose) -> npt.NDArray[np.float64]:
    """(24, 3, 3) rotations of the pose on the other side of the plane x = 0."""
    mirrored = pose_aa[list(MIRROR)] * [1.0, -1.0, -1.0]
    return Rotation.from_rotvec(mirrored.astype(np.float64)).as_matrix()


@cache
def start_and_mirrored(seed: int) -> tuple[Pose, Pose]:
    """A start pose, and the same on the other side of the plane x = 0."""
    start = StartPoses(None)(np.random.default_rng((seed, 1)))
    return start, (start[list(MIRROR)] * np.array([1, -1, -1])).astype(np.float32)


class FirstDrawFlipped(np.random.Generator):
    """A generator whose first number between 0 and 1 is taken from the other end: the side changes, nothing else."""

    flipped = False

    def random(self, *arguments: object, **options: object) -> float:  # type: ignore[override]
        number = super().random(*arguments, **options)  # type: ignore[call-overload]
        if not self.flipped:
            self.flipped = True
            return 1.0 - float(number)
        return number  # type: ignore[no-any-return]


def test_a_mix_draws_single_kinds_more_often() -> None:
    rng = np.random.default_rng(5)
    mix = Mix(clause_counts=(1.0, 0.0, 0.0), other_share=0.0, kinds={"hands_together": 1e6})
    often = DirectiveSampler(StartPoses(None), mix)
    assert {often.draw(rng).kind for _ in range(10)} == {"hands_together"}


def test_a_mix_that_names_an_unknown_kind_is_told() -> None:
    with pytest.raises(ValueError, match="hands_juggle"):
        DirectiveSampler(StartPoses(None), Mix(kinds={"hands_juggle": 2.0}))


def test_what_a_seed_draws_does_not_depend_on_which_kinds_were_registered_first() -> None:
    def sentences() -> list[str]:
        sampler = DirectiveSampler(StartPoses(None))
        return [sampler.draw(np.random.default_rng(seed)).instruction for seed in range(20)]

    before = sentences()
    registered = list(KINDS.items())
    try:
        KINDS.clear()
        KINDS.update(reversed(registered))
        assert sentences() == before
    finally:
        KINDS.clear()
        KINDS.update(registered)


def test_every_family_of_kinds_has_a_file_of_checks() -> None:
    assert {kind.family for kind in KINDS.values()} == ARM_FAMILIES | BODY_FAMILIES | OTHER_FAMILIES


@pytest.mark.parametrize("name", [kind.name for kind in KINDS.values() if kind.mirrored])
def test_a_mirrored_sample_mirrors_both_words_and_pose(name: str, sampler: DirectiveSampler) -> None:
    compared = 0
    for seed in range(200):
        start, mirrored_start = start_and_mirrored(seed)
        one = sampler.draw_kind(np.random.default_rng(seed), start, name)
        if one is None:
            continue
        other = sampler.draw_kind(
            FirstDrawFlipped(np.random.default_rng(seed).bit_generator), mirrored_start, name
        )
        assert other is not None
        assert one.target_aa is not None
        assert other.target_aa is not None
        expected, found = (
            seen_in_mirror(one.target_aa),
            Rotation.from_rotvec(other.target_aa.astype(np.float64)).as_matrix(),
        )
        np.testing.assert_allclose(found, expected, atol=2e-4)
        pairs = zip(words(one.instruction), words(other.instruction), strict=True)
        assert all(names_the_other_side(*pair) for pair in pairs), (one.instruction, other.instruction)
        compared += 1
        if compared == 4:
            return
    assert compared, f"{name} made no sense from any start"


def words(text: str) -> list[str]:
    """The words in lower case; "left and right" and "left to right" are both sides whichever comes first, and the L of
    "an L shape" is a letter."""
    text = re.sub(r"\bleft (and|to) (the )?right\b", "both", text.lower())
    text = re.sub(r"\b(an|letter) l\b", "letter", text)
    return re.findall(r"[\w']+", text.replace("counter-clockwise", "anticlockwise"))


def names_the_other_side(word: str, other: str) -> bool:
    """Whether the second word is the first in a mirror. "right" may be no side ("a right angle"), "left" is one."""
    if "right" in (word, other) or "r" in (word, other):
        return other in (word, OTHER[word])
    return other == OTHER.get(word, word)


def _moved(before: Pose, after: Pose) -> set[int]:
    turns = Rotation.from_rotvec(before).inv() * Rotation.from_rotvec(after)
    return set(np.flatnonzero(turns.magnitude() > np.radians(1.0)).tolist())


@pytest.mark.slow
def test_a_sentence_that_names_one_side_moves_no_limb_of_the_other(sampler: DirectiveSampler) -> None:
    """Kinds of one limb, as finished samples, whatever else their sentences say."""
    one_limb = [
        kind.name
        for kind in KINDS.values()
        if kind.family in {"arm", "elbow", "wrist", "shoulder", "knee"}
        and re.match(r"(arm|elbow|forearm|wrist|palm|shoulder|knee)[_.]", kind.name)
        and kind.name != "arm_one_up_one_down"
    ]
    assert len(one_limb) > 25
    rng = np.random.default_rng(4)
    checked = 0
    for name in one_limb:
        for _ in range(6):
            sample = sampler.draw_kind(rng, sampler.draw_start(rng), name)
            if sample is None or sample.pose_aa is None or sample.target_aa is None:
                continue
            words = {
                word.lower() for word in re.findall(r"\w+", sample.instruction.replace("right angle", ""))
            }
            left, right = bool(words & {"left", "l"}), bool(words & {"right", "r"})
            if left == right:
                continue
            checked += 1
            moved = _moved(sample.pose_aa, sample.target_aa)
            assert moved <= (LEFT_JOINTS if left else RIGHT_JOINTS), sample.instruction
    assert checked > 80


def amount_words() -> Iterator[tuple[str, dict[str, str], str]]:
    """Slots as kinds with amounts fill them where an amount is told, and the mark that must show."""
    yield (
        "before the verb",
        {"pre": "MARK", "amount": "", "comp": "MARK"},
        "MARK|slight|bit|little|touch|tad|small|smidge|somewhat",
    )
    yield "after the object", {"pre": "", "amount": "MARK", "comp": "MARK"}, "MARK"


def kinds_with_amounts() -> dict[str, dict[str, str]]:
    """Kinds and variants that say how far, and the slots of one draw."""
    rng, starts = np.random.default_rng(0), StartPoses(None)
    from training.data.directives.posed_body import PosedBody

    found = {}
    bodies = [PosedBody.from_pose(starts(rng)) for _ in range(12)]
    for kind in KINDS.values():
        if kind.borrows:
            continue
        for body in bodies:
            edit = kind.apply(rng, body)
            if edit is not None and (
                edit.slots.get("pre") or edit.slots.get("amount", "")[1:2] not in ("", "m")
            ):
                found[f"{kind.name}/{edit.variant}" if edit.variant else kind.name] = dict(edit.slots)
    return found


@pytest.mark.slow
def test_no_sentence_swallows_the_amount_that_was_drawn() -> None:
    """Without this "raise the arm slightly" and "raise the arm" could be one sentence with two targets."""
    wording, rng = default_wording(), np.random.default_rng(0)
    kinds = kinds_with_amounts()
    assert len(kinds) > 60
    for name, slots in kinds.items():
        for case, words, mark in amount_words():
            for _ in range(25):
                text, _ = wording.clause(rng, name, slots | words, mirrored=False)
                assert re.search(mark, text), f"{name}, amount {case}: {text}"


def test_nothing_is_said_to_stay_where_the_whole_body_turns() -> None:
    families = {kind.family: 0.0 for kind in KINDS.values()} | {"root": 1.0}
    turns = Mix((1.0, 0.0, 0.0), other_share=0.0, keep_share=1.0, slip_share=0.0, families=families)
    sampler, rng = DirectiveSampler(StartPoses(None), turns), np.random.default_rng(3)
    for _ in range(40):
        said = sampler.draw(rng).instruction.lower()
        assert not re.search(r"\b(keep|keeping|leave|rest|else|unchanged|still)\b", said), said


def _angle(u: npt.NDArray[np.float64], v: npt.NDArray[np.float64]) -> float:
    return float(np.degrees(np.arctan2(np.linalg.norm(np.cross(u, v)), u @ v)))


def _bend(positions: npt.NDArray[np.float64], *joints: str) -> float:
    top, middle, end = (positions[JOINT_INDEX[joint]] for joint in joints)
    return _angle(middle - top, end - middle)


def _ahead_of_thigh(pose_aa: npt.NDArray[np.float32], side: str) -> float:
    """How far ahead of its thigh a shank points, as a share of its length."""
    knee = Rotation.from_rotvec(pose_aa[JOINT_INDEX[f"{side}_knee"]].astype(np.float64))
    return float(knee.apply([0.0, -1.0, 0.0])[2])


@pytest.mark.slow
def test_targets_stay_within_what_joints_can_do(sampler: DirectiveSampler) -> None:
    """Of the joints that an edit turned: elbows and knees close to 150 degrees and knees bend one way only; head and
    trunk, as wholes, and hips and feet turn no further than people's."""
    rng = np.random.default_rng(8)
    for _ in range(500):
        sample = sampler.draw(rng)
        assert sample.pose_aa is not None
        if sample.target_aa is None:
            assert sample.kind.startswith("nothing.")
            continue
        moved = _moved(sample.pose_aa, sample.target_aa)
        local = Rotation.from_rotvec(sample.target_aa.astype(np.float64)).as_matrix()
        _, pos = chain(sample.target_aa)
        where = f"{sample.kind}: {sample.instruction}"
        for side in ("left", "right"):
            if JOINT_INDEX[f"{side}_elbow"] in moved:
                assert _bend(pos, f"{side}_shoulder", f"{side}_elbow", f"{side}_wrist") < 152, where
            if JOINT_INDEX[f"{side}_knee"] in moved:
                assert _bend(pos, f"{side}_hip", f"{side}_knee", f"{side}_ankle") < 152, where
                # The shank is carried backwards: it does not point ahead of the thigh, or no more than it did in the
                # recorded start, whose legs may be mirrored.
                most = max(0.05, *(_ahead_of_thigh(sample.pose_aa, one) + 0.01 for one in ("left", "right")))
                assert _ahead_of_thigh(sample.target_aa, side) < most, where
            if JOINT_INDEX[f"{side}_ankle"] in moved:
                toes = local[JOINT_INDEX[f"{side}_ankle"]] @ [0.0, 0.0, 1.0]
                assert abs(np.degrees(np.arcsin(np.clip(toes[1], -1, 1)))) < 85, where
        for group, most in ((("neck", "head"), 110.0), (("spine1", "spine2", "spine3"), 115.0)):
            if {JOINT_INDEX[joint] for joint in group} & moved:
                whole = np.linalg.multi_dot([np.eye(3), *(local[JOINT_INDEX[joint]] for joint in group)])
                before = Rotation.from_rotvec(sample.pose_aa.astype(np.float64)).as_matrix()
                start = np.linalg.multi_dot([np.eye(3), *(before[JOINT_INDEX[joint]] for joint in group)])
                angle = np.degrees(Rotation.from_matrix(whole).magnitude())
                assert angle < max(most, np.degrees(Rotation.from_matrix(start).magnitude()) + 1), where
