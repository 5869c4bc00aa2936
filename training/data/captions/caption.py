# SPDX-License-Identifier: Apache-2.0
"""Captions: selects facts of poses (rare ones kept, common ones skipped), joins them and says them in fluent text.

Legend: N poses; C columns: one for each code without sides, two (left, right) for each with sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

from blender_addon.contract.kinematics import mirror_pose

from .facts import PoseFacts, pose_facts
from .measures import Bodies
from .rules import BOTH, LEFT, RIGHT, Draw, alternatives, load_rules, quick_draws

Texts = tuple[str, ...]

ORDER: Final = (
    "posture", "kneel", "pitch", "lean", "twist", "stance", "ahead", "lifted", "crossed", "thigh", "thigh_tilt",
    "knee", "shin_tilt", "knee_higher", "knee_floor", "knees", "arm", "upper_arm_tilt", "elbow", "elbow_higher",
    "elbows", "forearm", "forearm_tilt", "hand_at", "hand_level", "hand_across", "hand_behind", "hand_higher",
    "hand_ahead", "hand_floor", "hands", "look", "turn", "tilt",
)  # fmt: skip
"""Facts in the order in which they are told."""

LIMBS: Final = {
    **dict.fromkeys(("pitch", "lean", "twist"), "trunk"),
    **dict.fromkeys(("look", "turn", "tilt"), "head"),
    **dict.fromkeys(("stance", "hands", "knees", "elbows", "joints"), ""),
    **dict.fromkeys(("ahead", "lifted", "crossed", "thigh", "thigh_tilt", "knee", "shin_tilt", "knee_higher",
                     "knee_floor"), "leg"),
    **dict.fromkeys(("arm", "upper_arm_tilt", "elbow", "elbow_higher", "forearm", "forearm_tilt", "hand_at",
                     "hand_level", "hand_across", "hand_behind", "hand_higher", "hand_ahead", "hand_floor"), "arm"),
}  # fmt: skip
"""The limb that a fact is about: facts of one limb and side share a sentence. Empty: of none in particular."""

FRAGMENTS_SHARE: Final = 0.25
ORDER_SHARE: Final = 0.12
"""How many captions are fragments ("standing, left arm raised") and how many are orders ("stand with ...")."""


@dataclass(frozen=True)
class Words:
    """How a fact is said of one side or of both.

    Attributes:
        subject: "the left elbow"; in a sentence that names the limb already "the elbow".
        again: the subject once the limb is known.
        verb: "is" or "are".
        predicate: "bent at a right angle".
    """

    subject: Texts
    again: Texts
    verb: str
    predicate: Texts


class Captioner:
    """Describes poses.

    Args:
        poses: (N, 24, 3) axis-angle, radians: what is common is counted in these.
    """

    def __init__(self, poses: npt.ArrayLike) -> None:
        self.rules = load_rules()
        facts = pose_facts(Bodies.of(poses))
        self._keep: dict[str, npt.NDArray[np.float64]] = {}
        self._rarity: dict[str, npt.NDArray[np.float64]] = {}
        selection = self.rules["selection"]
        for code in ORDER:
            counts = np.bincount(facts.codes[code].reshape(-1), minlength=len(facts.names[code]))
            share = counts / facts.codes[code].size
            keep = np.where(share > selection["common"], selection["common_share"], 1 - selection["skip"])
            keep[share < selection["rare"]] = 1.0
            keep[[name.startswith("none") for name in facts.names[code]]] = 0.0
            self._keep[code] = keep
            self._rarity[code] = -np.log(share + 1e-3)
        for code in ("posture", "kneel"):
            self._keep[code][1:] = 1.0
            self._rarity[code] += 5.0

    def describe(
        self, poses: npt.ArrayLike, rng: np.random.Generator, *, flipped: npt.ArrayLike | None = None
    ) -> list[str]:
        """A text for each pose.

        Args:
            poses: (N, 24, 3) axis-angle, radians.
            rng: of noise, selection and wording.
            flipped: (N,) poses to describe by their mirror image, with the words' sides swapped back: the sides
                are then told in the other order. None draws them.
        """
        poses = np.asarray(poses)
        flips = rng.random(len(poses)) < 0.5 if flipped is None else np.asarray(flipped)
        seen = np.where(flips[:, None, None], mirror_pose(poses), poses)
        facts = pose_facts(Bodies.of(seen), rng)
        chosen = self.select(facts, rng)
        draw = quick_draws(rng)
        return [self._text(row, flip, draw) for row, flip in zip(chosen, flips.tolist(), strict=True)]

    def select(self, facts: PoseFacts, rng: np.random.Generator) -> list[list[tuple[str, str, int, bool]]]:
        """The facts to tell of each pose, in order: code, category, whom, and whether the limb is straight."""
        size = len(facts.codes["posture"])
        selection = self.rules["selection"]
        told: dict[str, npt.NDArray[np.bool_]] = {}
        who: dict[str, npt.NDArray[np.int8]] = {}
        for code in ORDER:
            values = facts.codes[code]
            values = values[:, None] if values.ndim == 1 else values
            # One draw for both sides, so that what is alike is told of both or of neither.
            draw = rng.random((size, 1))
            keep = draw < self._keep[code][values]
            whom = np.broadcast_to(np.arange(values.shape[1], dtype=np.int8), values.shape).copy()
            if values.shape[1] == 2:
                alike = keep.all(axis=1) & (values[:, 0] == values[:, 1])
                if code in ("arm", "thigh"):
                    limb = facts.arm_straight if code == "arm" else facts.leg_straight
                    alike &= limb[:, 0] == limb[:, 1]
                alike &= rng.random(size) < selection["aggregate"]
                whom[alike, 0] = BOTH
                keep[alike, 1] = False
            told[code], who[code] = keep, whom
        self._drop_redundant(told, who, rng)
        columns = [(code, side) for code in ORDER for side in range(told[code].shape[1])]
        kept = np.stack([told[code][:, side] for code, side in columns], axis=1)
        values = np.stack([_column(facts.codes[code], side) for code, side in columns], axis=1)
        whom = np.stack([who[code][:, side] for code, side in columns], axis=1)
        # The budget goes to the rarest facts, more or less.
        score = np.stack([self._rarity[code][values[:, i]] for i, (code, _) in enumerate(columns)], axis=1)
        score = np.where(kept, score + rng.normal(0, 1.0, score.shape), -np.inf)
        rank = np.argsort(np.argsort(-score, axis=1), axis=1)
        budget = rng.choice(selection["facts"], size=size)
        kept &= rank < budget[:, None]
        rows, chosen = np.nonzero(kept)
        straight = {"arm": facts.arm_straight, "thigh": facts.leg_straight}
        flags = np.zeros(kept.shape, dtype=bool)
        for index, (code, side) in enumerate(columns):
            if code in straight:
                flags[:, index] = straight[code][:, side]
        out: list[list[tuple[str, str, int, bool]]] = [[] for _ in range(size)]
        for row, column, value, person, flag in zip(
            rows.tolist(),
            chosen.tolist(),
            values[rows, chosen].tolist(),
            whom[rows, chosen].tolist(),
            flags[rows, chosen].tolist(),
            strict=True,
        ):
            code = columns[column][0]
            out[row].append((code, facts.names[code][value], person, flag))
        return out

    def _drop_redundant(
        self,
        told: dict[str, npt.NDArray[np.bool_]],
        who: dict[str, npt.NDArray[np.int8]],
        rng: np.random.Generator,
    ) -> None:
        for rule in self.rules["redundant"]:
            cause = _by_side(told[rule["told"]], who[rule["told"]])
            for code in rule["then"]:
                drop = cause & (rng.random(len(cause)) >= rule["share"])[:, None]
                keep = told[code]
                if keep.shape[1] == 1:
                    keep &= ~drop.any(axis=1, keepdims=True)
                else:
                    # A fact of both sides is redundant only where it is for both.
                    both = (who[code][:, :1] == BOTH) & keep[:, :1]
                    keep &= ~np.where(both, drop.all(axis=1, keepdims=True), drop)

    def _text(self, facts: Sequence[tuple[str, str, int, bool]], flip: bool, random: Draw) -> str:
        posture: str | None = None
        form = random()
        style = "do" if form < ORDER_SHARE else "ing" if form < ORDER_SHARE + FRAGMENTS_SHARE else "does"
        people = self.rules["people"]
        person, possessive = people[int(random() * len(people))]
        if style == "do":
            possessive = "your"
        groups: list[tuple[tuple[str, int], list[tuple[str, str, int, bool]]]] = []
        for fact in self._shared(facts, random):
            code, category, who, _ = fact
            if flip and who != BOTH:
                who = RIGHT - who
            if code in ("posture", "kneel"):
                posture = _pick(posture_words(code, category, who, style), random)
                if style == "does" and random() < 0.35:
                    posture = "is " + _pick(posture_words(code, category, who, "ing"), random)
                continue
            limb = LIMBS[code] or code
            key = (limb, who if limb in ("arm", "leg") else LEFT)
            fact = (code, category, who, fact[3])
            for known, members in groups:
                if known == key:
                    members.append(fact)
                    break
            else:
                groups.append((key, [fact]))
        if len(groups) > 1 and random() < 0.3:
            turn = 1 + int(random() * (len(groups) - 1))
            groups = groups[turn:] + groups[:turn]
        clauses = [self._clause(members, random) for _, members in groups]
        text = _joined(posture, person, clauses, style, random)
        return _finished(text.replace("{your}", possessive), random)

    def _shared(
        self, facts: Sequence[tuple[str, str, int, bool]], random: Draw
    ) -> Sequence[tuple[str, str, int, bool]]:
        """The facts, with elbows and knees that are bent alike told in one."""
        joints = {(category, who) for code, category, who, _ in facts if code == "elbow"}
        alike = [
            (category, who)
            for code, category, who, _ in facts
            if code == "knee" and (category, who) in joints
        ]
        if not alike or random() >= self.rules["selection"]["aggregate"]:
            return facts
        return [
            ("joints", *fact[1:]) if fact[0] == "knee" and (fact[1], fact[2]) in alike else fact
            for fact in facts
            if fact[0] != "elbow" or (fact[1], fact[2]) not in alike
        ]

    def _clause(self, facts: Sequence[tuple[str, str, int, bool]], random: Draw) -> tuple[str, str]:
        """A limb's facts in one clause: with its verb, and as a phrase for after "with"."""
        code, category, who, straight = facts[0]
        words = fact_words(code, category, who, straight)
        subject, predicate = _pick(words.subject, random), _pick(words.predicate, random)
        tail = ""
        last = words.subject
        for index, (code, category, who, straight) in enumerate(facts[1:], start=2):
            further = fact_words(code, category, who, straight)
            joiner = " and " if index == len(facts) else ", "
            if further.subject == last:
                tail += joiner + _pick(further.predicate, random)
            else:
                tail += joiner + f"{_pick(further.again, random)} {_pick(further.predicate, random)}"
            last = further.subject
        return f"{subject} {words.verb} {predicate}{tail}", f"{subject} {predicate}{tail}"


def _by_side(keep: npt.NDArray[np.bool_], who: npt.NDArray[np.int8]) -> npt.NDArray[np.bool_]:
    """(N, 2) which sides a told fact is about; one without sides is about both."""
    if keep.shape[1] == 1:
        return np.repeat(keep, 2, axis=1)
    sides: npt.NDArray[np.bool_] = keep | (keep[:, :1] & (who[:, :1] == BOTH))
    return sides


def _column(code: npt.NDArray[np.int8], side: int) -> npt.NDArray[np.int8]:
    return code if code.ndim == 1 else code[:, side]


def _pick(texts: Texts, random: Draw) -> str:
    return texts[int(random() * len(texts))]


def _joined(
    posture: str | None, person: str, clauses: list[tuple[str, str]], style: str, random: Draw
) -> str:
    """The posture and the clauses in one text."""
    phrases = [short for _, short in clauses]
    if style == "ing":
        named = random() < 0.5 and " " in person
        lead = f"{person} {posture}" if named and posture is not None else posture
        parts = ([] if lead is None else [lead]) + phrases
        return ", ".join(parts) if len(parts) > 1 and random() < 0.6 else _with(parts)
    if style == "do":
        if posture is None:
            return "have " + _listed(phrases)
        return _with([posture, *phrases])
    lead = f"{person} {posture}" if posture is not None else None
    if lead is None:
        if random() < 0.3:
            return f"{person} has {_listed(phrases)}"
        sentences = [full for full, _ in clauses]
    elif random() < 0.5 and clauses:
        count = 1 + int(random() * min(3, len(clauses)))
        sentences = [_with([lead, *phrases[:count]])] + [full for full, _ in clauses[count:]]
    else:
        sentences = [lead] + [full for full, _ in clauses]
    text = sentences[0]
    for sentence in sentences[1:]:
        draw = random()
        if draw < 0.62:
            text += ". " + sentence
        elif draw < 0.8:
            text += ", and " + sentence
        else:
            text += ", " + sentence
    return text


def _with(parts: list[str]) -> str:
    """The first part, "with" the others."""
    if len(parts) < 2:
        return "".join(parts)
    return f"{parts[0]} with {_listed(parts[1:])}"


def _listed(parts: list[str]) -> str:
    """The parts with "and" before the last."""
    return parts[-1] if len(parts) < 2 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _finished(text: str, random: Draw) -> str:
    """Capitals and a full stop, as most people write them."""
    if random() < 0.75:
        text = ". ".join(part[:1].upper() + part[1:] for part in text.split(". "))
    return text + "." if random() < 0.7 else text


@cache
def posture_words(code: str, category: str, who: int, style: str) -> Texts:
    """How a posture is said: ``ing``, ``does`` or ``do``."""
    return alternatives(load_rules()["posture_facts"][code][category][style], who)


@cache
def fact_words(code: str, category: str, who: int, straight: bool) -> Words:
    """How a fact is said. ``straight``: the arm or leg is, so that it points somewhere as a whole."""
    rules = load_rules()
    rule = rules["facts"][code]
    name = rule["straight_subject"] if straight and "straight_subject" in rule else rule["subject"]
    subject = rules["subjects"][name]
    both = who == BOTH
    said = rule["says"][category]
    if both and category in rule.get("both", {}):
        predicate = alternatives(rule["both"][category], who)
    elif category in rule.get("hanging", {}):
        predicate = alternatives(rule["hanging"][category], who)
    elif "form" in rule:
        predicate = alternatives(rule["form" if straight else "bent_form"], who, to=said)
    else:
        predicate = alternatives(said, who)
    one = alternatives(subject["one"], who)
    plural = both or subject.get("plural", False)
    again = subject.get("again_both" if both else "again", None)
    return Words(
        subject=alternatives(subject["both"], who) if both and "both" in subject else one,
        again=one if again is None else (f"the {again}",),
        verb="are" if plural else "is",
        predicate=predicate,
    )
