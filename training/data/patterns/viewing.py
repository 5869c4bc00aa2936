# SPDX-License-Identifier: Apache-2.0
"""Sentences about the camera: their patterns, and the samples that are drawn from them.

``in_view/*.yaml`` have the format of the other patterns (``loading``), but all that they measure is measured as the
camera sees the body: a heading of 0 faces the camera, +z (``front``) comes towards it, +x (``left``) is the right of
the picture. Beside what stands there:

- ``{P}`` is a side of the picture, said as "left" or "right"; a pattern with it stands for two. ``PX`` is the axis
  towards that side, and ``{p}`` in a number -1 for the left and 1 for the right of the picture.
- ``{pitch}`` in a number is how many degrees the camera is above the body's level.
- ``set: face 90`` turns the body, however it stood, to 90 degrees; ``face 0 0.5`` half of the way there.

Without a view nobody can do what such a sentence says: the answer is then that it is not known where the camera is.
Other sentences are asked in the same form of prompt, so that it alone means nothing. May import what ``sampler`` may.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from backend.prompt import VERBAL_ANSWERS, VIEW_ANSWER
from blender_addon.contract.kinematics import yaw_matrix
from blender_addon.contract.messages import Turn, View
from blender_addon.contract.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from training.data.directives.slips import type_in
from training.data.directives.wording import expand
from training.data.samples import Sample
from training.data.starts import StartPoses
from training.yaml_file import read_yaml

from .drafts import Asked, Draft, Outcome, State, solve_drafts
from .language import Side
from .loading import Pattern, default_patterns, load_patterns, read_file
from .sampler import PatternSampler, Weighted, can_be_joined, is_a_move, moved_by, side_of, state_at
from .saying import drawn, say
from .starts import Pose, StartPool, draw_poses
from .wrapping import in_a_row, wrapped

IN_VIEW: Final = Path(__file__).with_name("in_view")
WORDS_FILE: Final = Path(__file__).with_name("view_words.yaml")
SYNONYMS_FILE: Final = Path(__file__).with_name("synonyms.yaml")
VARIED_SHARE, SYNONYM_SHARE = 0.4, 0.35
"""Of the sentences about the camera: some of their words are others; of these sentences' words that have synonyms."""
SEEN_SHARE, UNSEEN_SHARE = 0.45, 0.2
"""Of the samples: sentences about the camera with the view, and without it; the others are any sentences, with one."""
TOWARDS_SHARE: Final = 0.5
"""Of the starts that more or less face the camera; the others face anywhere."""
JOINED_SHARE, TURN_SHARE = 0.22, 0.12
"""Of the sentences about the camera: joined with another wish, and with a turn before."""
SAYINGS: Final = 2
"""Of each wish that was met with the view: solving takes longer than saying."""
POOL: Final = 2500
_SIDES: Final = (("left", "right", "-1"), ("right", "left", "1"))
"""Of the picture: its name, the body's axis that points there when it faces the camera, its sign along +x."""


@dataclass(frozen=True)
class ViewPlan:
    """What is asked of one pose as a camera sees it.

    Attributes:
        asked: what is asked in the camera's frame, of ``start``.
        text: the words; where a wish of the other kind stands beside it, both.
        start: the pose, in the camera's frame.
        pitch: the camera's, degrees.
        numbers: the words of the numbers that were drawn.
        before: a wish in the body's own frame and its words, done first; None for none.
        follows: whether that wish was the turn before, instead of standing in the same instruction.
        imperative: whether the words can be wrapped.
    """

    asked: Asked
    text: str
    start: State
    pitch: float
    numbers: Mapping[str, str]
    before: tuple[Asked, str] | None = None
    follows: bool = False
    imperative: bool = False


@dataclass(frozen=True)
class Viewed:
    """A plan that was met: the sample with its view, what is asked in it, and its start."""

    sample: Sample
    plan: ViewPlan
    outcome: Outcome


@cache
def view_patterns() -> tuple[Pattern, ...]:
    """The project's own sentences about the camera, read once.

    Raises:
        PatternError: a file is not as it should be.
    """
    return tuple(load_patterns(IN_VIEW, read_view_file))


def read_view_file(name: str, path: Path) -> tuple[list[Pattern], list[str]]:
    """The patterns of a file, one for each side of the picture where they name it; its faults in a sentence each."""
    return read_file(f"view.{name}", path, _for_both_sides)


def varied(rng: np.random.Generator, text: str) -> str:
    """A sentence with some of its words changed for synonyms; most stay as they are."""
    if rng.random() >= VARIED_SHARE:
        return text
    pattern, synonyms = _synonyms()

    def other(match: re.Match[str]) -> str:
        return expand(rng, synonyms[match[0]], {}) if rng.random() < SYNONYM_SHARE else match[0]

    return pattern.sub(other, text)


@cache
def _synonyms() -> tuple[re.Pattern[str], Mapping[str, str]]:
    """What finds the words that have synonyms, the longest first, and these."""
    synonyms: Mapping[str, str] = read_yaml(SYNONYMS_FILE)
    words = sorted(synonyms, key=len, reverse=True)
    return re.compile(rf"\b({'|'.join(map(re.escape, words))})\b"), synonyms


def _for_both_sides(data: Any) -> Any:
    if not isinstance(data, Mapping) or not isinstance(data.get("patterns"), list):
        return data
    words = {**_words(), **data.get("words", {})}
    patterns = [one for each in data["patterns"] for one in _both_sides(each, words)]
    return {**data, "words": words, "patterns": patterns}


@cache
def _words() -> Mapping[str, str]:
    words: Mapping[str, str] = read_yaml(WORDS_FILE)
    return words


def _both_sides(entry: Any, words: Mapping[str, str]) -> list[Any]:
    named = [key for key, text in words.items() if "{P}" in text]
    told = json.dumps(entry)
    if not any(mark in told for mark in ("{P}", "{p}", "PX", *(f"{{{key}}}" for key in named))):
        return [entry]
    while any(f"{{{key}}}" in told for key in named):
        for key in named:
            told = told.replace(f"{{{key}}}", words[key])
    return [
        json.loads(told.replace("{P}", side).replace("PX", axis).replace("{p}", f"({sign})"))
        for side, axis, sign in _SIDES
    ]


class ViewSampler:
    """Draws samples.

    Args:
        starts: where recorded and edited poses come from.
        held_out: draw from the sentences that are never trained on instead.
    """

    def __init__(self, starts: StartPoses, *, held_out: bool = False) -> None:
        self._starts = starts
        self._held_out = held_out
        self._others = PatternSampler(starts, held_out=held_out)
        usable = [one for one in view_patterns() if one.usable(held_out=held_out)]
        self._patterns = Weighted(usable, held_out)
        joinable = [
            one
            for one in default_patterns()
            if one.usable(held_out=held_out, imperative=True) and can_be_joined(one, True, held_out)
        ]
        self._joinable = Weighted(joinable, held_out)

    def draw_many(self, rng: np.random.Generator, count: int) -> list[Sample]:
        """``count`` samples."""
        about = rng.random(count)
        seen, unseen = int((about < SEEN_SHARE).sum()), int((about >= 1 - UNSEEN_SHARE).sum())
        samples = [
            self._sample(rng, said)
            for one in self.viewed(rng, math.ceil(seen / SAYINGS))
            for said in (one, *(self._reworded(rng, one) for _ in range(SAYINGS - 1)))
        ][:seen]
        samples += [
            replace(
                self._sample(rng, one), view=None, target_aa=None, reply=VERBAL_ANSWERS[VIEW_ANSWER],
                kind=f"{one.plan.asked.pattern.kind}.unseen",
            )
            for one in self.viewed(rng, unseen)
        ]  # fmt: skip
        others: list[Sample] = []
        while len(others) < count - len(samples):
            drawn_others = self._others.draw_many(rng, max(64, count - len(samples) - len(others)))
            others += [one for one in drawn_others if one.task == "adjust" and one.pose_aa is not None]
        for one in others[: count - len(samples)]:
            view = View(float(rng.uniform(-np.pi, np.pi)), float(np.radians(_draw_pitch(rng))))
            samples.append(replace(one, view=view, kind=f"{one.kind}.in_view"))
        return [samples[row] for row in rng.permutation(len(samples))]

    def viewed(self, rng: np.random.Generator, count: int, *, plain: bool = False) -> list[Viewed]:
        """``count`` sentences about the camera that are met and move something; ``plain``: each by itself."""
        if not count:
            return []
        pool = StartPool(
            _facing(rng, draw_poses(rng, min(POOL, max(600, count)), self._starts)), in_view=True
        )
        found: list[Viewed] = []
        while len(found) < count:
            plans = [self._plan(rng, pool, plain=plain) for _ in range(max(64, count - len(found)))]
            found += self._solved([plan for plan in plans if plan is not None])
        return found[:count]

    def _plan(self, rng: np.random.Generator, pool: StartPool, *, plain: bool) -> ViewPlan | None:
        pattern = self._patterns.draw(rng)
        assert pattern is not None
        side = side_of(rng, pattern)
        rows = pool.meeting(pattern.when, side)
        if not len(rows):
            return None
        start = state_at(pool, int(rows[rng.integers(len(rows))]))
        pitch = _draw_pitch(rng)
        values, numbers = drawn(rng, pattern)
        asked = Asked(pattern, side, {**values, "pitch": pitch})
        text, imperative = self._said(rng, asked, numbers)
        plan = ViewPlan(asked, text, start, pitch, numbers, imperative=imperative)
        if plain or rng.random() >= JOINED_SHARE + TURN_SHARE:
            return plan
        follows = rng.random() < TURN_SHARE / (JOINED_SHARE + TURN_SHARE)
        before = self._other_wish(rng, plan)
        if before is None or not (follows or plan.imperative):
            return plan
        return replace(plan, before=before, follows=follows)

    def _said(
        self, rng: np.random.Generator, asked: Asked, numbers: Mapping[str, str], *, imperative: bool = False
    ) -> tuple[str, bool]:
        """One way of saying it, and whether that can be wrapped; ``imperative``: only one that can."""
        usable = asked.pattern.usable(held_out=self._held_out, imperative=imperative)
        sentence = usable[rng.integers(len(usable))]
        text = say(rng, asked.pattern, sentence.text, asked.side, numbers)
        return varied(rng, text), sentence.imperative

    def _reworded(self, rng: np.random.Generator, viewed: Viewed) -> Viewed:
        """The same in other words."""
        plan = viewed.plan
        joined = plan.before is not None and not plan.follows
        text, imperative = self._said(rng, plan.asked, plan.numbers, imperative=joined)
        return replace(viewed, plan=replace(plan, text=text, imperative=imperative))

    def _other_wish(self, rng: np.random.Generator, plan: ViewPlan) -> tuple[Asked, str] | None:
        """Another wish that the start can be asked, of joints that the plan does not turn."""
        own = StartPool(plan.start.pose_aa[None])
        taken = moved_by(plan.asked.pattern, plan.asked.side)
        for _ in range(4):
            pattern = self._joinable.draw(rng)
            if pattern is None:
                return None
            side = side_of(rng, pattern)
            moves = moved_by(pattern, side)
            if moves & taken or 0 in moves or not len(own.meeting(pattern.when, side)):
                continue
            usable = pattern.usable(held_out=self._held_out, imperative=True)
            sentence = usable[rng.integers(len(usable))]
            values, words = drawn(rng, pattern)
            return Asked(pattern, side, values), say(rng, pattern, sentence.text, side, words)
        return None

    def _solved(self, plans: Sequence[ViewPlan]) -> list[Viewed]:
        firsts = [plan for plan in plans if plan.before is not None]
        drafts = [Draft(plan.start, [plan.before[0]]) for plan in firsts if plan.before is not None]
        between = {
            id(plan): outcome
            for plan, outcome in zip(firsts, solve_drafts(drafts) if drafts else [], strict=True)
            if outcome.met and is_a_move(plan.start, outcome.state)
        }
        ready = [plan for plan in plans if plan.before is None or id(plan) in between]
        if not ready:
            return []
        states = [plan.start if plan.before is None else between[id(plan)].state for plan in ready]
        outcomes = solve_drafts(
            [Draft(state, [plan.asked], in_view=True) for plan, state in zip(ready, states, strict=True)]
        )
        found = []
        for plan, state, outcome in zip(ready, states, outcomes, strict=True):
            if not outcome.met or not is_a_move(state, outcome.state):
                continue
            if not np.isfinite(outcome.state.pose_aa).all():
                continue
            asked_of = state if plan.follows else plan.start
            history = (Turn(plan.before[1], plan.start.pose_aa),) if plan.before and plan.follows else ()
            sample = Sample(
                "", "adjust", plan.asked.pattern.kind, plan.text, asked_of.pose_aa, outcome.state.pose_aa,
                history=history, view=View(-asked_of.yaw, float(np.radians(plan.pitch))),
            )  # fmt: skip
            found.append(Viewed(sample, plan, outcome))
        return found

    def _sample(self, rng: np.random.Generator, viewed: Viewed) -> Sample:
        """The sample with its words as people type them."""
        plan, sample = viewed.plan, viewed.sample
        assert sample.pose_aa is not None
        row = [plan.text]
        if plan.before is not None and not plan.follows:
            row.insert(int(rng.integers(2)), plan.before[1])
        pattern = plan.asked.pattern
        text = in_a_row(rng, row)
        if pattern.lang != "en" or sample.history:
            return replace(sample, instruction=type_in(rng, text, slip_share=0.08))
        moved = np.abs(viewed.outcome.state.pose_aa - sample.pose_aa).max(-1) > 0
        side: Side | None = plan.asked.side if len(row) == 1 and pattern.says_side else None
        return replace(
            sample,
            instruction=wrapped(rng, text, imperative=plan.imperative, side=side, unmoved=~moved),
        )


def _facing(rng: np.random.Generator, poses: Pose) -> Pose:
    """The poses (N, J, 3) with headings of their own: half of them more or less towards +z."""
    count = len(poses)
    goal = np.where(
        rng.random(count) < TOWARDS_SHARE,
        rng.normal(0, np.radians(40), count),
        rng.uniform(-np.pi, np.pi, count),
    )
    root = axis_angle_to_matrix(poses[:, 0].astype(np.float64))
    yaw = StartPool(poses).yaw
    turned = poses.copy()
    turned[:, 0] = matrix_to_axis_angle(yaw_matrix(goal - yaw) @ root)
    return turned


def _draw_pitch(rng: np.random.Generator) -> float:
    """Degrees that the camera is above the body's level: mostly level or somewhat above, as viewports are."""
    form = rng.random()
    if form < 0.35:
        return float(rng.normal(0, 2))
    return float(rng.uniform(0, 45) if form < 0.85 else rng.uniform(-35, 0))
