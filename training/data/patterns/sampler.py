# SPDX-License-Identifier: Apache-2.0
"""Draws samples from the patterns: a start, what is asked, its solution, and the words, thousands at a time.

A third of the instructions are several patterns in a row that move different joints; many have turns before them, of
which some are what the last one can only be understood with. Only what was met is kept.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch

from backend.prompt import VERBAL_ANSWERS
from blender_addon.contract.messages import Turn
from blender_addon.contract.skeleton import STANDING_POSE
from training.data.directives.sampler import DirectiveSampler
from training.data.directives.slips import type_in
from training.data.samples import Sample
from training.data.starts import StartPoses

from .drafts import Asked, Draft, Outcome, State, solve_drafts, state_of
from .followups import Done, around, part_back, scaled, words_of
from .language import GROUPS, PatternError, Side, joints
from .loading import Pattern, default_patterns
from .numbers import LANGUAGES
from .saying import drawn, say
from .starts import Pose, StartPool, draw_poses
from .wrapping import in_a_row, in_language, wrapped

log = logging.getLogger(__name__)

POOL: Final = 2500
AT_ONCE: Final = 1536
"""Plans that are solved together: most of a step's time is the same for few."""
LEAST_AT_ONCE: Final = 128
FOLLOWUP_SHARE: Final = 0.26
JOINED_SHARE: Final = 0.28
"""Of instructions without turns before them."""
IN_LANGUAGES: Final = 0.12
"""Of those in a row."""
DESCRIBED_SHARE: Final = 0.1
"""Of the same: whole poses told at length."""
PARTS_KIND: Final = "described"
"""Of the patterns that descriptions are put together from."""
ALONE_KINDS: Final = ("terse", "long", "emotion", "speculate", "correction", "chatty", "sequence")
"""Those that are never one of several in a row."""
JOINED: Final = (0.5, 0.28, 0.15, 0.07)
"""How often two, three, four and five are joined."""
OF_DIRECTIVES: Final = 0.35
"""How often the turn before is a directive."""
SIDED_SHARE: Final = 0.5
"""How often the turn before is one that tells a side, so that the other side can follow."""
ANOTHER_TURN: Final = 0.35
LEAST_DEGREES: Final = 2.0
"""Of the joint that turns most; less is no edit."""
FORMS: Final[dict[str, float]] = {
    "scaled": 0.32, "other_side": 0.16, "wrong_side": 0.12, "first": 0.05, "part_back": 0.08, "next": 0.22,
    "instead": 0.05, "no_request": 0.035, "unclear": 0.025,
}  # fmt: skip
"""How often what follows any edit is of which form."""
KIND_FACTORS: Final[Mapping[str, float]] = {"nothing": 0.8, "language": 1.0, "followup": 1.0, "plain": 1.2}
"""How often kinds are drawn, beside the square root of how many sentences they have."""


_HER: Final = {"who": "she", "their": "her", "themself": "herself"}
_HIM: Final = {"who": "he", "their": "his", "themself": "himself"}
_THEM: Final = {"who": "[the person|the figure]", "their": "the", "themself": "the body"}
_PERSONS: Final = (
    {"first": "[a woman|the woman|a girl|the girl|a young woman|an old woman|a dancer|she|the nurse]", **_HER},
    {"first": "[a man|the man|a boy|the boy|an old man|a soldier|a player|he|the actor|the guard]", **_HIM},
    {"first": "[somebody|someone|a person|the person|the figure|the character|an athlete|a child]", **_THEM},
)  # fmt: skip


@dataclass(frozen=True)
class _Clause:
    """A pattern as it was drawn, with its words."""

    asked: Asked
    text: str
    imperative: bool


@dataclass(frozen=True)
class _Plan:
    """What is to be solved, with the turns before it."""

    draft: Draft
    clauses: Sequence[_Clause]
    kind: str
    history: tuple[Done, ...] = ()
    form: str = ""
    text: str | None = None


@dataclass(frozen=True)
class Case:
    """A sample with what is asked in it, for measuring: the constraints can be tried on any answer."""

    sample: Sample
    asked: Asked
    start: State
    may_move: frozenset[int]


class PatternSampler:
    """Draws samples.

    Args:
        starts: where recorded and edited poses come from.
        patterns: the project's own by default.
        held_out: draw from the sentences that are never trained on instead.
    """

    def __init__(
        self, starts: StartPoses, patterns: Sequence[Pattern] | None = None, *, held_out: bool = False
    ) -> None:
        torch.set_num_threads(1)
        self.failures: Counter[str] = Counter()
        """How often a pattern could not be worked out, by its name."""
        self._starts = starts
        self._held_out = held_out
        every = default_patterns() if patterns is None else patterns
        self._patterns = [one for one in every if one.usable(held_out=held_out)]
        if not self._patterns:
            raise PatternError("there are no patterns to draw from")
        single = [one for one in self._patterns if one.first is None]
        self._single = Weighted([one for one in single if one.kind != PARTS_KIND], held_out)
        self._parts = [one for one in single if one.kind == PARTS_KIND]
        self._joinable = {
            imperative: Weighted(
                [one for one in single if can_be_joined(one, imperative, held_out)], held_out
            )
            for imperative in (True, False)
        }
        self._joinable_in = {
            language: Weighted(
                [one for one in single if can_be_joined(one, True, held_out, language)], held_out
            )
            for language in LANGUAGES
            if language != "en"
        }
        self._asked = Weighted(
            [one for one in single if one.reply is None and one.task != "generate"], held_out
        )
        sided = [one for one in self._asked.patterns if one.says_side and one.lang == "en"]
        self._sided = Weighted(sided, held_out)
        self._following = Weighted([one for one in self._patterns if one.first is not None], held_out)
        self._directives = DirectiveSampler(starts)

    def draw_many(self, rng: np.random.Generator, count: int) -> list[Sample]:
        """``count`` samples."""
        pool = StartPool(draw_poses(rng, min(POOL, max(600, count // 2)), self._starts))
        samples: list[Sample] = []
        plans: list[_Plan] = []
        while len(samples) < count:
            # What follows an earlier turn is solved together with first turns.
            plans += self._begun(rng, pool, min(AT_ONCE, max(LEAST_AT_ONCE, count - len(samples))), samples)
            plans = self._gone_on(rng, plans, samples)
        while plans:
            plans = self._gone_on(rng, plans, samples)
        order = rng.permutation(len(samples))
        return [samples[row] for row in order[:count]]

    def cases(self, rng: np.random.Generator, count: int) -> list[Case]:
        """Single sentences, plainly said, with what is asked in them; fewer than ``count`` where few are met."""
        pool = StartPool(draw_poses(rng, POOL, self._starts))
        of_turns = len(self._following.patterns) / len(self._patterns)
        firsts = [self._own_turn(rng, pool) for _ in range(int(of_turns * count))]
        plans = [self._single_plan(rng, pool) for _ in range(count - len(firsts))]
        found = []
        for plan, outcome in self._solved([plan for plan in firsts if plan is not None]):
            samples: list[Sample] = []
            following: list[_Plan] = []
            self._go_on(rng, self._done(rng, plan, outcome), plan, samples, following)
            found += [Case(one, plan.clauses[1].asked, outcome.state, frozenset()) for one in samples]
            plans += following
        for plan, outcome in self._solved([plan for plan in plans if isinstance(plan, _Plan)]):
            [clause] = plan.clauses
            sample = replace(self._sample(rng, plan, outcome), instruction=clause.text)
            found.append(Case(sample, clause.asked, plan.draft.start, outcome.may_move))
        for one in plans:
            if isinstance(one, tuple):
                sample, asked = one
                state = state_of(STANDING_POSE if sample.pose_aa is None else sample.pose_aa)
                found.append(Case(sample, asked, state, frozenset()))
        return found

    # -- rounds ------------------------------------------------------------------------------------------------

    def _begun(
        self, rng: np.random.Generator, pool: StartPool, count: int, samples: list[Sample]
    ) -> list[_Plan]:
        """Plans of what nothing was asked before; where nothing need be solved, a sample at once."""
        plans: list[_Plan] = []
        for _ in range(count):
            draw = rng.random()
            plan: _Plan | tuple[Sample, Asked] | None
            if draw < FOLLOWUP_SHARE:
                plan = self._first_turn(rng, pool, samples)
            elif rng.random() < DESCRIBED_SHARE and self._parts:
                plan = self._described_plan(rng)
            elif rng.random() < JOINED_SHARE:
                plan = self._joined_plan(rng, pool)
            else:
                plan = self._single_plan(rng, pool)
            if isinstance(plan, tuple):
                samples.append(_typed(rng, plan[0]))
            elif plan is not None:
                plans.append(plan)
        return plans

    def _gone_on(
        self, rng: np.random.Generator, plans: Sequence[_Plan], samples: list[Sample]
    ) -> list[_Plan]:
        """Solves plans, adds their samples, and returns plans of what is asked next."""
        following: list[_Plan] = []
        for plan, outcome in self._solved(plans):
            if plan.form == "first_turn":
                self._go_on(rng, self._done(rng, plan, outcome), plan, samples, following)
                continue
            samples.append(self._sample(rng, plan, outcome))
            if plan.history and len(plan.history) < 3 and rng.random() < ANOTHER_TURN:
                self._go_on(rng, self._done(rng, plan, outcome), plan, samples, following)
        return following

    def _solved(self, plans: Sequence[_Plan]) -> list[tuple[_Plan, Outcome]]:
        """The plans that are met and move something."""
        found = []
        for first in range(0, len(plans), AT_ONCE):
            some = plans[first : first + AT_ONCE]
            for plan, outcome in zip(some, self._outcomes(some), strict=True):
                if outcome is None or not np.isfinite(outcome.state.pose_aa).all():
                    continue
                # A turn is asked of the pose that the one before it left, wherever its own draft begins.
                now = plan.history[-1].state if plan.history else plan.draft.start
                if outcome.met and is_a_move(now, outcome.state):
                    found.append((plan, outcome))
        return found

    def _outcomes(self, plans: Sequence[_Plan]) -> list[Outcome | None]:
        """What comes of plans; None, and counted in ``failures``, for one that cannot be worked out."""
        try:
            return [*solve_drafts([plan.draft for plan in plans])]
        except (ValueError, RuntimeError, ArithmeticError) as error:
            if len(plans) == 1:
                name = plans[0].clauses[0].asked.pattern.name
                self.failures[name] += 1
                log.warning("left out: %s (%s)", name, str(error).splitlines()[0])
                return [None]
        half = len(plans) // 2
        return self._outcomes(plans[:half]) + self._outcomes(plans[half:])

    # -- what is asked -------------------------------------------------------------------------------------------

    def _clause(
        self,
        rng: np.random.Generator,
        pattern: Pattern,
        side: Side,
        *,
        imperative: bool | None = None,
        names: Mapping[str, str] | None = None,
    ) -> _Clause:
        usable = pattern.usable(held_out=self._held_out)
        if imperative is not None:
            usable = [one for one in usable if one.imperative == imperative]
        sentence = usable[rng.integers(len(usable))]
        values, words = drawn(rng, pattern)
        return _Clause(
            Asked(pattern, side, values),
            say(rng, pattern, sentence.text, side, {**words, **(names or {})}),
            sentence.imperative,
        )

    def _single_plan(self, rng: np.random.Generator, pool: StartPool) -> _Plan | tuple[Sample, Asked] | None:
        pattern = self._single.draw(rng)
        assert pattern is not None
        side = side_of(rng, pattern)
        clause = self._clause(rng, pattern, side)
        from_words = pattern.task == "generate" or (pattern.task == "both" and rng.random() < 0.5)
        if from_words:
            draft = Draft(state_of(STANDING_POSE), [clause.asked])
            return _Plan(draft, [clause], f"pattern.{pattern.kind}", form="generate")
        rows = pool.meeting(pattern.when, side)
        if not len(rows):
            return None
        start = state_at(pool, int(rows[rng.integers(len(rows))]))
        if pattern.reply is not None:
            return _reply(f"pattern.{pattern.kind}", clause.text, start.pose_aa, pattern.reply), clause.asked
        return _Plan(Draft(start, [clause.asked]), [clause], f"pattern.{pattern.kind}")

    def _joined_plan(self, rng: np.random.Generator, pool: StartPool) -> _Plan | None:
        imperative = bool(rng.random() < 0.65)
        joinable = self._joinable[imperative]
        if rng.random() < IN_LANGUAGES:
            imperative = True
            joinable = self._joinable_in[str(rng.choice(list(self._joinable_in)))]
        count = 2 + int(np.searchsorted(np.cumsum(JOINED), rng.random()))
        clauses: list[_Clause] = []
        moved: set[int] = set()
        rows = np.arange(len(pool))
        for _ in range(4 * count):
            pattern = joinable.draw(rng)
            if pattern is None:
                return None
            side = side_of(rng, pattern)
            moves = moved_by(pattern, side)
            if moves & moved or any(clause.asked.pattern is pattern for clause in clauses):
                continue
            left = np.intersect1d(rows, pool.meeting(pattern.when, side))
            if not len(left):
                continue
            clauses.append(self._clause(rng, pattern, side, imperative=imperative))
            moved |= moves
            rows = left
            if len(clauses) == count:
                break
        if len(clauses) < 2:
            return None
        draft = Draft(
            state_at(pool, int(rows[rng.integers(len(rows))])), [clause.asked for clause in clauses]
        )
        return _Plan(draft, clauses, "pattern.joined")

    def _described_plan(self, rng: np.random.Generator) -> _Plan | None:
        """A whole pose from words alone: what the legs do, and then two to five other parts of the body."""
        count = int(rng.integers(3, 7))
        person = _PERSONS[rng.integers(len(_PERSONS))]
        weights = np.cumsum([one.weight for one in self._parts])
        clauses: list[_Clause] = []
        moved: set[int] = set()
        for _ in range(60):
            at = int(np.searchsorted(weights, rng.random() * weights[-1], side="right"))
            pattern = self._parts[min(at, len(self._parts) - 1)]
            side = side_of(rng, pattern)
            moves = moved_by(pattern, side)
            if moves & moved or (0 not in moves and not clauses):
                continue
            names = dict(person, who=person["first"] if not clauses else person["who"])
            clauses.append(self._clause(rng, pattern, side, names=names))
            moved |= moves
            if len(clauses) == count:
                break
        draft = Draft(state_of(STANDING_POSE), [clause.asked for clause in clauses])
        return _Plan(draft, clauses, "pattern.described", form="generate", text=_told(rng, clauses))

    # -- turns ---------------------------------------------------------------------------------------------------

    def _first_turn(self, rng: np.random.Generator, pool: StartPool, samples: list[Sample]) -> _Plan | None:
        """A turn that others are to follow; one that is a directive is followed at once where it can be."""
        if self._following.patterns and rng.random() < self._own_share():
            return self._own_turn(rng, pool)
        if rng.random() < OF_DIRECTIVES:
            sample = self._directives.draw(rng)
            if sample.pose_aa is None or sample.target_aa is None or sample.kind.startswith("nothing"):
                return None
            start, state = state_of(sample.pose_aa), state_of(sample.target_aa)
            if not is_a_move(start, state):
                return None
            done = Done(sample.instruction, start, state, changes=False, side=None)
            following: list[_Plan] = []
            self._go_on(rng, done, None, samples, following)
            return following[0] if following else None
        pattern = (self._sided if rng.random() < SIDED_SHARE else self._asked).draw(rng)
        if pattern is None:
            return None
        side = side_of(rng, pattern)
        rows = pool.meeting(pattern.when, side)
        if not len(rows):
            return None
        clause = self._clause(rng, pattern, side)
        draft = Draft(state_at(pool, int(rows[rng.integers(len(rows))])), [clause.asked])
        return _Plan(draft, [clause], f"pattern.{pattern.kind}", form="first_turn")

    def _own_turn(self, rng: np.random.Generator, pool: StartPool) -> _Plan | None:
        """The first turn of a pattern that is written with the turn before it."""
        pattern = self._following.draw(rng)
        if pattern is None or pattern.first is None:
            return None
        side = side_of(rng, pattern)
        rows = pool.meeting(pattern.first.when, side)
        if not len(rows):
            return None
        clause = _plain_clause(rng, pattern.first, side)
        draft = Draft(state_at(pool, int(rows[rng.integers(len(rows))])), [clause.asked])
        then = self._clause(rng, pattern, side)
        return _Plan(draft, [clause, then], "pattern.followup", form="first_turn")

    def _own_share(self) -> float:
        """How often a follow-up is one that is written with the turn before it."""
        return min(0.5, 0.05 + 0.004 * sum(len(one.sentences) for one in self._following.patterns))

    def _done(self, rng: np.random.Generator, plan: _Plan, outcome: Outcome) -> Done:
        clause = plan.clauses[0]
        pattern = clause.asked.pattern
        text = plan.text if plan.text is not None else type_in(rng, clause.text, slip_share=0.05)
        told = clause.asked.constraints()
        changes = pattern.reply is None and (
            any(one.relation in ("by", "times") for one in told)
            or any(line.startswith("turn") for line in pattern.set)
        )
        side = clause.asked.side if pattern.says_side and len(plan.clauses) == 1 else None
        return Done(text, plan.draft.start, outcome.state, changes, side)

    def _go_on(
        self,
        rng: np.random.Generator,
        last: Done,
        plan: _Plan | None,
        samples: list[Sample],
        following: list[_Plan],
    ) -> None:
        """What follows a turn: a sample where nothing need be solved, else a plan."""
        history = (*(() if plan is None else plan.history), last)
        if plan is not None and plan.form == "first_turn" and len(plan.clauses) == 2:
            clause = plan.clauses[1]
            pattern = clause.asked.pattern
            if pattern.reply is not None:
                samples.append(
                    _with_history(
                        _typed(rng, _reply(plan.kind, clause.text, last.state.pose_aa, pattern.reply)),
                        history,
                    )
                )
            elif _meets(last.state, pattern.when, clause.asked.side):
                draft = Draft(last.state, [clause.asked], before=last.start)
                following.append(_Plan(draft, [clause], plan.kind, history, "own"))
            return
        form = str(rng.choice(list(FORMS), p=np.array(list(FORMS.values())) / sum(FORMS.values())))
        kind = f"followup.{form}"
        if form in ("no_request", "unclear"):
            text = type_in(rng, words_of(rng, form))
            samples.append(_with_history(_reply(kind, text, last.state.pose_aa, form), history))
        elif form in ("scaled", "part_back"):
            found = scaled(rng, last) if form == "scaled" else part_back(rng, last)
            if found is not None and is_a_move(last.state, found[1]):
                samples.append(
                    _turn_sample(kind, type_in(rng, found[0], slip_share=0.08), last, found[1], history)
                )
        elif form == "first":
            if len(history) >= 2 and is_a_move(last.state, history[0].start):
                text = type_in(rng, words_of(rng, form), slip_share=0.08)
                samples.append(_turn_sample(kind, text, last, history[0].start, history))
        elif form in ("other_side", "wrong_side"):
            self._on_other_side(rng, form, last, plan, history, following)
        else:
            self._next(rng, form, last, history, following)

    def _on_other_side(
        self,
        rng: np.random.Generator,
        form: str,
        last: Done,
        plan: _Plan | None,
        history: tuple[Done, ...],
        following: list[_Plan],
    ) -> None:
        if plan is None or last.side is None:
            return
        asked = plan.clauses[0].asked
        other: Side = "R" if asked.side == "L" else "L"
        if any(line.startswith("back") for line in asked.pattern.set):
            return  # on the other side nothing was done that could be taken back
        again = replace(asked, side=other)
        start = last.state if form == "other_side" else last.start
        if not _meets(start, asked.pattern.when, other) or 0 in moved_by(asked.pattern, other):
            return
        text = type_in(rng, words_of(rng, form, asked.side), slip_share=0.08)
        following.append(
            _Plan(Draft(start, [again]), [plan.clauses[0]], f"followup.{form}", history, form, text)
        )

    def _next(
        self,
        rng: np.random.Generator,
        form: str,
        last: Done,
        history: tuple[Done, ...],
        following: list[_Plan],
    ) -> None:
        for _ in range(6):
            pattern = self._joinable[True].draw(rng)
            if pattern is None:
                return
            side = side_of(rng, pattern)
            start = last.state if form == "next" else last.start
            if _meets(start, pattern.when, side):
                clause = self._clause(rng, pattern, side, imperative=True)
                text = type_in(rng, around(rng, form, clause.text), slip_share=0.08)
                plan = _Plan(Draft(start, [clause.asked]), [clause], f"followup.{form}", history, form, text)
                following.append(plan)
                return

    # -- samples -------------------------------------------------------------------------------------------------

    def _sample(self, rng: np.random.Generator, plan: _Plan, outcome: Outcome) -> Sample:
        text = plan.text
        if text is None:
            one = plan.clauses[0]
            pattern = one.asked.pattern
            is_plain = pattern.alone or bool(plan.history)
            unmoved = ~outcome.moved(plan.draft.start)
            if pattern.lang != "en" and not is_plain:
                text = in_language(rng, [clause.text for clause in plan.clauses], pattern.lang)
            elif is_plain:
                text = type_in(rng, one.text, slip_share=0.08)
            else:
                row = [clause.text for clause in plan.clauses]
                text = wrapped(
                    rng,
                    in_a_row(rng, row),
                    imperative=one.imperative and plan.form != "generate",
                    side=one.asked.side if len(row) == 1 and pattern.says_side else None,
                    unmoved=unmoved,
                )
        if plan.form == "generate":
            target = outcome.state.pose_aa
            return Sample("", "generate", plan.kind, text, target_aa=target)
        if plan.history:
            return _turn_sample(plan.kind, text, plan.history[-1], outcome.state, plan.history)
        return Sample(
            "", "adjust", plan.kind, text, pose_aa=plan.draft.start.pose_aa, target_aa=outcome.state.pose_aa
        )


class Weighted:
    """Patterns that are drawn: a kind first, then one of it, both the oftener the more sentences they have."""

    def __init__(self, patterns: Sequence[Pattern], held_out: bool) -> None:
        self.patterns = list(patterns)
        kinds: dict[str, float] = {}
        for one in self.patterns:
            kinds[one.kind] = kinds.get(one.kind, 0.0) + len(one.usable(held_out=held_out))
        weights = [one.weight * len(one.usable(held_out=held_out)) ** 0.7 for one in self.patterns]
        totals = {
            kind: sum(w for w, one in zip(weights, self.patterns, strict=True) if one.kind == kind)
            for kind in kinds
        }
        share = {kind: KIND_FACTORS.get(kind, 1.0) * count**0.5 for kind, count in kinds.items()}
        mass = [w / totals[one.kind] * share[one.kind] for w, one in zip(weights, self.patterns, strict=True)]
        self._cumulative = np.cumsum(mass)

    def draw(self, rng: np.random.Generator) -> Pattern | None:
        """One of the patterns; None where there are none."""
        if not self.patterns:
            return None
        at = np.searchsorted(self._cumulative, rng.random() * self._cumulative[-1], side="right")
        return self.patterns[min(int(at), len(self.patterns) - 1)]


def _told(rng: np.random.Generator, clauses: Sequence[_Clause]) -> str:
    """Clauses as sentences: some with a full stop, some with a comma or "and" between them."""
    text = clauses[0].text
    for clause in clauses[1:]:
        ends = rng.random() < 0.6
        text += ". " if ends else (", " if rng.random() < 0.5 else " and ")
        text += clause.text[:1].upper() + clause.text[1:] if ends else clause.text
    return type_in(rng, text, slip_share=0.05)


def can_be_joined(pattern: Pattern, imperative: bool, held_out: bool, language: str = "en") -> bool:
    usable = [one for one in pattern.usable(held_out=held_out) if one.imperative == imperative]
    is_edit = pattern.reply is None and pattern.first is None and pattern.task != "generate"
    is_plain = not pattern.alone and pattern.lang == language and pattern.kind not in ALONE_KINDS
    return bool(usable) and is_edit and is_plain


def side_of(rng: np.random.Generator, pattern: Pattern) -> Side:
    return "R" if pattern.sided and rng.random() < 0.5 else "L"


def moved_by(pattern: Pattern, side: Side) -> frozenset[int]:
    """The joints that a pattern may turn or sets."""
    moved = set(joints(pattern.move, side))
    for line in pattern.set:
        action, *rest = line.split()
        if action in ("turn", "face"):
            moved.add(0)
        else:
            groups = rest[1:] if action == "pose" else rest
            moved |= set(joints(" ".join(groups), side) if groups else GROUPS["all"])
    return frozenset(moved)


def state_at(pool: StartPool, row: int) -> State:
    return State(pool.poses[row], pool.local[row], float(pool.yaw[row]))


def _meets(state: State, conditions: Sequence[str], side: Side) -> bool:
    return bool(len(StartPool(state.pose_aa[None]).meeting(conditions, side)))


def is_a_move(before: State, after: State) -> bool:
    """Whether a joint turns by as much as an edit does; two turns of half a circle are none."""
    if np.array_equal(before.pose_aa, after.pose_aa):
        return False
    turn = before.local.transpose(-1, -2) @ after.local
    cosine = ((turn.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2).clamp(-1, 1)
    return bool(cosine.acos().max() > np.radians(LEAST_DEGREES)) or abs(before.yaw - after.yaw) > np.radians(
        LEAST_DEGREES
    )


def _plain_clause(rng: np.random.Generator, pattern: Pattern, side: Side) -> _Clause:
    """Any of its sentences, held out or not: the turn before is not what is learnt."""
    sentence = pattern.sentences[rng.integers(len(pattern.sentences))]
    values, words = drawn(rng, pattern)
    return _Clause(
        Asked(pattern, side, values), say(rng, pattern, sentence.text, side, words), sentence.imperative
    )


def _reply(kind: str, text: str, pose: Pose, reply: str) -> Sample:
    return Sample("", "adjust", kind, text, pose_aa=pose, reply=VERBAL_ANSWERS[reply])


def _typed(rng: np.random.Generator, sample: Sample) -> Sample:
    return replace(sample, instruction=type_in(rng, sample.instruction, slip_share=0.08))


def _turn_sample(kind: str, text: str, last: Done, target: State, history: tuple[Done, ...]) -> Sample:
    sample = Sample("", "adjust", kind, text, pose_aa=last.state.pose_aa, target_aa=target.pose_aa)
    return _with_history(sample, history)


def _with_history(sample: Sample, history: Sequence[Done]) -> Sample:
    return replace(sample, history=tuple(Turn(done.text, done.start.pose_aa) for done in history))
