# SPDX-License-Identifier: Apache-2.0
"""What a model is taught to say of poses: few facts, each in one plain sentence, that can be read back and checked.

``Captioner`` words descriptions as people would, for a model that reads; this words them as one that speaks should:
the same fact always in the same words. A fact that the noise of ``rules.yaml`` could turn over is left out. Of two
poses it tells what holds of the second and did not of the first, whatever the noise, and where hands and feet went.

Legend: N poses; C columns, one for each code without sides, two (left, right) for each with sides.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

from .caption import LIMBS, ORDER, fact_words, posture_words
from .correction import PARTS, measure_changes
from .facts import PoseFacts, pose_facts
from .measures import Bodies
from .rules import BOTH, LEFT, RIGHT, load_rules

MOST_FACTS: Final = 4
LEAST_FACTS: Final = 2
LEAST_RARE: Final = 0.4
"""Beyond LEAST_FACTS only what holds in fewer than this share of poses is told."""
NOISY_LOOKS: Final = 3
"""A fact is told where it holds at each of so many looks with the rules' noise."""
NOTHING_CHANGED: Final = "hardly anything changed"
STRAIGHT_CODES: Final = {"arm": "arm", "thigh": "leg"}
"""Codes that are said otherwise of a straight limb."""

MOVED_METRES: Final = 0.12
BENT_DEGREES: Final = 25.0
MOVES: Final = {
    "hand_out": ("arm_move", 0, 1, "hand", "further out"), "hand_in": ("arm_move", 0, -1, "hand", "further in"),
    "hand_up": ("arm_move", 1, 1, "hand", "higher"), "hand_down": ("arm_move", 1, -1, "hand", "lower"),
    "hand_forward": ("arm_move", 2, 1, "hand", "further forward"),
    "hand_back": ("arm_move", 2, -1, "hand", "further back"),
    "foot_out": ("leg_move", 0, 1, "foot", "further out"), "foot_in": ("leg_move", 0, -1, "foot", "further in"),
    "foot_up": ("leg_move", 1, 1, "foot", "higher"), "foot_down": ("leg_move", 1, -1, "foot", "lower"),
    "foot_forward": ("leg_move", 2, 1, "foot", "further forward"),
    "foot_back": ("leg_move", 2, -1, "foot", "further back"),
    "elbow_bent": ("elbow", None, -1, "elbow", "more bent"),
    "elbow_straight": ("elbow", None, 1, "elbow", "straighter"),
    "knee_bent": ("knee", None, -1, "knee", "more bent"), "knee_straight": ("knee", None, 1, "knee", "straighter"),
}  # fmt: skip
"""Changes that are told by their direction: the number of ``measure_changes`` that says it, which of its axes, its
sign, what moved and how it now is. As there, a limb is compared as if a trunk that moved had carried it along."""
_END: Final = re.compile(r"[.!?]+\s*|\n+")


@dataclass(frozen=True)
class Fact:
    """Something that may hold of a pose, or of a pose against an earlier one.

    Attributes:
        code: a key of ``PoseFacts.codes``, or of MOVES.
        category: one of the code's names; empty for a move.
        who: LEFT, RIGHT or BOTH.
        straight: of an arm's or thigh's direction, whether the limb is straight.
    """

    code: str
    category: str
    who: int
    straight: bool = False


@dataclass(frozen=True)
class Verdict:
    """How many facts a text states, and how many of them hold."""

    stated: int
    right: int
    unread: int
    """Sentences that state no fact that is known."""


@cache
def sentence(fact: Fact) -> str:
    """The one sentence that states a fact, in lower case and without its stop."""
    if fact.code in MOVES:
        _, _, _, noun, how = MOVES[fact.code]
        if fact.who == BOTH:
            return f"both {'feet' if noun == 'foot' else noun + 's'} are {how}"
        return f"the {'left' if fact.who == LEFT else 'right'} {noun} is {how}"
    if fact.code in ("posture", "kneel"):
        words = f"the person is {posture_words(fact.code, fact.category, fact.who, 'ing')[0]}"
    else:
        said = fact_words(fact.code, fact.category, fact.who, fact.straight)
        words = f"{said.subject[0]} {said.verb} {said.predicate[0]}"
    return words.replace("{your}", "the").replace("the both", "both")


@cache
def _meanings() -> dict[str, tuple[Fact, ...]]:
    """For every sentence the facts that it may state."""
    facts = pose_facts(Bodies.of(np.zeros((1, 24, 3))))
    found: dict[str, tuple[Fact, ...]] = {}
    every = [Fact(code, "", who) for code in MOVES for who in (LEFT, RIGHT, BOTH)]
    for code in ORDER:
        sides: tuple[int, ...] = (LEFT,) if facts.codes[code].ndim == 1 else (LEFT, RIGHT, BOTH)
        sides = sides[:2] if code == "kneel" else sides
        for category in facts.names[code]:
            if category.startswith("none"):
                continue
            for who in sides:
                for straight in (False, True) if code in STRAIGHT_CODES else (False,):
                    every.append(Fact(code, category, who, straight))
    for fact in every:
        try:
            words = sentence(fact)
        except KeyError:  # a category that is never told
            continue
        found[words] = (*found.get(words, ()), fact)
    return found


def vocabulary() -> list[str]:
    """Every sentence that may be told, as it stands in a text."""
    return [_finished(words) for words in [*_meanings(), NOTHING_CHANGED]]


def read(text: str) -> list[tuple[Fact, ...]]:
    """For each sentence of a text the facts that it may state: none where it states nothing that is known."""
    parts = [part.strip().lower() for part in _END.split(text)]
    return [_meanings().get(part, ()) for part in parts if part]


class Teller:
    """Tells facts of poses in plain sentences.

    Args:
        poses: (N, 24, 3) axis-angle, radians: what is rare is counted in these, and told rather than what is common.
    """

    def __init__(self, poses: npt.ArrayLike) -> None:
        facts = pose_facts(Bodies.of(poses))
        self._share = {
            code: np.bincount(facts.codes[code].reshape(-1), minlength=len(facts.names[code]))
            / facts.codes[code].size
            for code in ORDER
        }
        self._redundant = load_rules()["redundant"]

    def describe(self, poses: npt.ArrayLike, rng: np.random.Generator) -> list[str]:
        """The facts of each pose (N, 24, 3) that say most, as a text."""
        bodies = Bodies.of(poses)
        exact, looks = pose_facts(bodies), [pose_facts(bodies, rng) for _ in range(NOISY_LOOKS)]
        return [_text(self._chosen(exact, looks, row, ())) for row in range(len(bodies))]

    def compare(self, before: npt.ArrayLike, after: npt.ArrayLike, rng: np.random.Generator) -> list[str]:
        """What changed from each pose to the other, both (N, 24, 3), as a text."""
        first, bodies = Bodies.of(before), Bodies.of(after)
        old = [pose_facts(first), *(pose_facts(first, rng) for _ in range(NOISY_LOOKS))]
        exact, looks = pose_facts(bodies), [pose_facts(bodies, rng) for _ in range(NOISY_LOOKS)]
        moves = moves_of(before, after, slack=1.25)
        texts = []
        for row in range(len(bodies)):
            facts = self._chosen(exact, looks, row, old)
            told = {(limb_of(fact), fact.who) for fact in facts}
            moved = [fact for fact in moves[row] if (limb_of(fact), fact.who) not in told]
            facts += moved[: max(0, MOST_FACTS - len(facts))]
            texts.append(_text(facts) if facts else _finished(NOTHING_CHANGED))
        return texts

    def _chosen(
        self, exact: PoseFacts, looks: Sequence[PoseFacts], row: int, old: Sequence[PoseFacts]
    ) -> list[Fact]:
        """The facts of one pose to tell, in order: the rarest, without what follows from others and what held at one of
        the looks at an ``old`` pose."""
        found: list[tuple[float, Fact]] = []
        for code in ORDER:
            values = np.atleast_1d(exact.codes[code][row])
            held: list[Fact] = []
            for side, value in enumerate(values.tolist()):
                name = exact.names[code][value]
                if name.startswith("none"):
                    continue
                if any(np.atleast_1d(look.codes[code][row])[side] != value for look in looks):
                    continue
                if any(np.atleast_1d(look.codes[code][row])[side] == value for look in old):
                    continue
                held.append(Fact(code, name, side, bool(_straight(exact, code, side)[row])))
            alike = len(held) == 2 and (held[0].category, held[0].straight) == (
                held[1].category,
                held[1].straight,
            )
            if alike and code != "kneel":
                held = [Fact(code, held[0].category, BOTH, held[0].straight)]
            for fact in held:
                rarity = float(self._share[code][exact.names[code].index(fact.category)])
                found.append((0.0 if code in ("posture", "kneel") else rarity, fact))
        found.sort(key=lambda pair: pair[0])
        chosen: list[Fact] = []
        for rarity, fact in found:
            if len(chosen) >= MOST_FACTS or (len(chosen) >= LEAST_FACTS and rarity > LEAST_RARE):
                break
            if not any(self._follows(fact, known) for known in chosen):
                chosen.append(fact)
        return sorted(chosen, key=lambda fact: (ORDER.index(fact.code), fact.who))

    def _follows(self, fact: Fact, known: Fact) -> bool:
        """Whether little is said by a fact once another is known."""
        if BOTH not in (fact.who, known.who) and limb_of(fact) in ("arm", "leg") and fact.who != known.who:
            return False
        return any(
            (rule["told"] == known.code and fact.code in rule["then"])
            or (rule["told"] == fact.code and known.code in rule["then"])
            for rule in self._redundant
        )


def moves_of(before: npt.ArrayLike, after: npt.ArrayLike, *, slack: float = 1.0) -> list[list[Fact]]:
    """For each pair of poses (N, 24, 3) its moves, the largest first; ``slack`` times as large as counts."""
    every = move_sizes(before, after)
    found: list[list[tuple[float, Fact]]] = [[] for _ in range(len(every))]
    for code, sizes in zip(MOVES, every.swapaxes(0, 1), strict=True):
        for row, both in enumerate((sizes >= slack).tolist()):
            if all(both):
                found[row].append((float(sizes[row].max()), Fact(code, "", BOTH)))
            for side in (LEFT, RIGHT):
                if both[side] and not all(both):
                    found[row].append((float(sizes[row, side]), Fact(code, "", side)))
    return [[fact for _, fact in sorted(row, key=lambda pair: -pair[0])] for row in found]


def move_sizes(before: npt.ArrayLike, after: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """(N, MOVES, 2) how large each side's moves are between poses (N, 24, 3); what counts as one is 1 or more."""
    changes = measure_changes(before, after, np.ones((len(np.asarray(before)), len(PARTS)), dtype=bool))
    sizes = []
    for name, axis, sign, _, _ in MOVES.values():
        values = changes.numbers[name]
        values = sign * (values if axis is None else values[:, :, axis])
        sizes.append(values / (BENT_DEGREES if axis is None else MOVED_METRES))
    return np.stack(sizes, axis=1)


def limb_of(fact: Fact) -> str:
    """The limb that a fact is about."""
    if fact.code in MOVES:
        return "arm" if MOVES[fact.code][0] in ("arm_move", "elbow") else "leg"
    return LIMBS.get(fact.code, fact.code)


def judge_description(text: str, pose: npt.NDArray[np.float32]) -> Verdict:
    """How many facts a text states of a pose (24, 3), and how many of them hold by the rules, without noise. That
    something has changed holds of no pose by itself."""
    facts = pose_facts(Bodies.of(pose[None]))
    return _judged(text, lambda fact: bool(_holding(facts, fact)[0]))


def facts_that_hold(text: str, facts: PoseFacts) -> npt.NDArray[np.int64]:
    """(N,) how many of the facts that a text states hold of each of many poses."""
    count = np.zeros(len(facts.arm_straight), dtype=np.int64)
    for meanings in read(text):
        if meanings:
            count += np.any([_holding(facts, fact) for fact in meanings], axis=0)
    return count


def judge_difference(text: str, before: npt.NDArray[np.float32], after: npt.NDArray[np.float32]) -> Verdict:
    """The same of what a text says has changed between two poses (24, 3): what held before is no change."""
    old, new = pose_facts(Bodies.of(before[None])), pose_facts(Bodies.of(after[None]))
    moves = moves_of(before[None], after[None])[0]
    wide = {
        (fact.code, side) for fact in moves for side in ((LEFT, RIGHT) if fact.who == BOTH else (fact.who,))
    }

    def holds(fact: Fact) -> bool:
        if fact.code in MOVES:
            return all((fact.code, side) in wide for side in _sides(fact))
        return bool(_holding(new, fact)[0] and not _holding(old, fact)[0])

    if text.strip().rstrip(".").lower() == NOTHING_CHANGED:
        return Verdict(1, int(not moves), 0)
    return _judged(text, holds)


def _judged(text: str, holds: Callable[[Fact], bool]) -> Verdict:
    sentences = read(text)
    known = [meanings for meanings in sentences if meanings]
    right = sum(any(holds(fact) for fact in meanings) for meanings in known)
    return Verdict(len(known), right, len(sentences) - len(known))


def _holding(facts: PoseFacts, fact: Fact) -> npt.NDArray[np.bool_]:
    """(N,) of which poses a fact holds; a move of none."""
    size = len(facts.arm_straight)
    if fact.code in MOVES:
        return np.zeros(size, dtype=bool)
    values = facts.codes[fact.code].reshape(size, -1)
    sides = range(values.shape[1]) if fact.who == BOTH else (fact.who,)
    number = facts.names[fact.code].index(fact.category)
    found: npt.NDArray[np.bool_] = np.all(
        [
            (values[:, side] == number) & (_straight(facts, fact.code, side) == fact.straight)
            for side in sides
        ],
        axis=0,
    )
    return found


def _sides(fact: Fact) -> tuple[int, ...]:
    return (LEFT, RIGHT) if fact.who == BOTH else (fact.who,)


def _straight(facts: PoseFacts, code: str, side: int) -> npt.NDArray[np.bool_]:
    """(N,) whether the limb is straight whose direction a code tells; False of other codes."""
    if code == "arm":
        return facts.arm_straight[:, side]
    return facts.leg_straight[:, side] if code == "thigh" else np.zeros(len(facts.leg_straight), dtype=bool)


def _text(facts: Sequence[Fact]) -> str:
    return " ".join(_finished(sentence(fact)) for fact in facts)


def _finished(words: str) -> str:
    return words[:1].upper() + words[1:] + "."
