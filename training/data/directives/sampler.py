# SPDX-License-Identifier: Apache-2.0
"""Draws finished directives: a start pose, a sentence as somebody would type it, and the pose it asks for.

A sentence is one clause or a compound of up to three that move different joints; it may say what else is to stay,
be wrapped into a request, and carry the slips of typing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from backend.prompt import VERBAL_ANSWERS
from training.data.samples import Sample

from . import arms, elbows, hands, head, legs, postures, root, trunk, wrists  # noqa: F401  each registers its kinds
from .framing import PART_NAMES, POLITELY, REQUESTS, THANKS, still_parts, with_keep
from .kinds import KINDS, Edit, Kind, kinds_by_name
from .others import one_limb_is_posed
from .posed_body import PosedBody
from .slips import SLIP_SHARE, type_in
from .wording import Wording, default_wording

DrawStart = Callable[[np.random.Generator], npt.NDArray[np.float32]]
"""Draws a start pose (24, 3) axis-angle, radians."""

TRIES: Final = 60


@dataclass(frozen=True)
class Mix:
    """What is drawn how often.

    Attributes:
        clause_counts: shares of sentences of one, two and three clauses.
        other_share: share of "the other arm" or leg among sentences for starts in which one limb is posed.
        keep_share: share that says what else is to stay.
        request_share: share that is wrapped into a request.
        polite_share: share of all sentences that say please.
        slip_share: share with slips of typing.
        families: factors on the weights of families of kinds; 1 where a family is not named.
        kinds: further factors on the weights of single kinds.
    """

    clause_counts: tuple[float, float, float] = (0.56, 0.30, 0.14)
    other_share: float = 0.3
    keep_share: float = 0.14
    request_share: float = 0.16
    polite_share: float = 0.10
    slip_share: float = SLIP_SHARE
    families: Mapping[str, float] = field(default_factory=dict)
    kinds: Mapping[str, float] = field(default_factory=dict)

    def weight(self, kind: Kind) -> float:
        """How often the kind is drawn, beside the others' weights."""
        return kind.weight * self.families.get(kind.family, 1.0) * self.kinds.get(kind.name, 1.0)


LEARNT_LAST: Final = {
    "hands_meet": 3.0, "hands_on_leg": 3.0, "hand_on_leg": 2.5, "hand_on_other_arm": 2.0, "hands_direct": 2.5,
    "hand_direct": 2.5, "hand_shift": 1.3, "hands_shift": 2.0, "hands_shift_sideways": 2.0, "hands_apart": 1.2,
    "forearm_direct": 2.0, "forearms_direct": 2.0, "palm_turn": 1.3, "palms_turn": 1.3, "arm_level": 1.5,
    "arms_level": 2.0, "arm_raise": 1.4, "arms_raise": 1.8, "arms_lower": 1.4, "arm_lift_forwards": 1.8,
    "arms_lift_forwards": 1.8, "arm_lift_sideways": 1.5, "arm_inwards": 1.5, "arms_inwards": 1.8, "arm_match": 1.7,
    "arms_swap": 1.5, "arm_angle": 1.5, "elbows_raise": 1.8, "leg.down": 2.5, "leg.lower": 1.7, "foot.lower": 2.5,
    "foot.behind_other": 1.8, "feet.width": 1.6, "feet.tiptoe": 2.0, "feet.flat": 1.7, "knees.straighten": 1.5,
    "legs.uncross": 2.0, "step.any": 1.5, "head.other_way": 2.0, "mirror.whole": 1.5, "mirror.upper": 2.5,
    "mirror.legs": 1.5,
}  # fmt: skip
"""How much oftener than by their weights kinds are drawn that a model of 700,000 samples answers rightly two times in
three at most (docs/log.md): two hands that meet, hands on the legs, where hands and forearms point, mirroring."""

EVERYTHING: Final = Mix(
    families={"posture": 0.7, "mirror": 1.8, "wrist": 1.2, "hand": 1.15, "arm": 1.15}, kinds=LEARNT_LAST
)
"""Postures are many and learnt early; hands, wrists and mirroring are learnt last."""
BASICS: Final = Mix(
    clause_counts=(0.82, 0.16, 0.02),
    other_share=0.2,
    keep_share=0.08,
    request_share=0.12,
    slip_share=0.12,
    families={
        "arm": 1.3, "elbow": 1.3, "knee": 1.3, "head": 1.3, "trunk": 1.2, "root": 1.8, "leg": 0.8, "hand": 0.8,
        "posture": 0.25, "wrist": 0.6, "shoulder": 0.3, "mirror": 0.3,
    },
)  # fmt: skip
"""What animators ask most, in plain sentences: an earlier lesson than everything at once."""

_JOINERS: Final = (" and ", " and ", " and ", ", ", ", and ", ", then ", " then ", " and also ", " + ", "; ", ". ",
                   " while you ", " & ", " and then ", " as well as ")  # fmt: skip
_PLAIN_JOINERS: Final = (", ", " and ", ". ", "; ", " + ", ", and ")

_LEFT_ALONE: Final = 2
"""Of how many parts "the rest" consists at least."""
_REPLIES: Final = {"nothing.stay": "already", "nothing.letters": "unclear", "nothing.nonsense": "no_request"}
"""What is answered in words, and nothing moves."""
MOVED_RADIANS: Final = 1e-3


@dataclass(frozen=True)
class Clause:
    """One drawn directive, in the start pose's own left and right."""

    kind: Kind
    target: PosedBody
    text: str
    imperative: bool


class DirectiveSampler:
    """Draws directives from any start poses.

    Args:
        draw_start: where start poses come from.
        mix: what is drawn how often.
        wording: the sentences; the project's own by default.
    """

    def __init__(
        self,
        draw_start: DrawStart,
        mix: Mix = EVERYTHING,
        *,
        wording: Wording | None = None,
    ) -> None:
        self.draw_start = draw_start
        self.wording = default_wording() if wording is None else wording
        self.mix = mix
        self.kinds = [kind for kind in kinds_by_name() if kind.family != "other"]
        unknown = sorted(set(mix.kinds) - set(KINDS))
        if unknown:
            raise ValueError(f"the mix names directive kinds that there are not: {', '.join(unknown)}")
        weights = np.array([mix.weight(kind) for kind in self.kinds])
        self._cumulative = np.cumsum(weights / weights.sum())
        self.others = [kind for kind in kinds_by_name() if kind.family == "other"]
        weights = np.array([kind.weight for kind in self.others])
        self._cumulative_others = np.cumsum(weights / weights.sum())

    def draw(self, rng: np.random.Generator) -> Sample:
        """One sample, task ``adjust``; its kind is the kind of its first clause, or ``compound``."""
        start_aa = self.draw_start(rng)
        start = PosedBody.from_pose(start_aa)
        of_other = rng.random() < self.mix.other_share and one_limb_is_posed(start)
        first = self._clause(rng, start, self._draw_other if of_other else self._draw_kind)
        count = 1 + int(np.searchsorted(np.cumsum(self.mix.clause_counts), rng.random()))
        clauses = [first] if first.kind.family == "nothing" else self._joined(rng, start, first, count)
        target = clauses[-1].target
        unmoved = ~_moved(start, target)
        reply = None
        if first.kind.name in _REPLIES:
            reply = VERBAL_ANSWERS[_REPLIES[first.kind.name]]
        # Joints that no clause touched keep their very numbers.
        target_aa = np.where(unmoved[:, None], start_aa, target.to_pose())
        return Sample(
            id="",
            task="adjust",
            kind=first.kind.name if len(clauses) == 1 else "compound",
            instruction=type_in(
                rng, self._sentence(rng, clauses, still_parts(unmoved)), slip_share=self.mix.slip_share
            ),
            pose_aa=start_aa,
            target_aa=target_aa if reply is None else None,
            reply=reply,
        )

    def draw_kind(
        self, rng: np.random.Generator, start_aa: npt.NDArray[np.float32], name: str
    ) -> Sample | None:
        """One plain clause of a given kind from a given start, or None where it makes no sense there."""
        clause = self._try(rng, PosedBody.from_pose(start_aa), KINDS[name], imperative=False)
        if clause is None:
            return None
        return Sample(
            id="",
            task="adjust",
            kind=name,
            instruction=clause.text,
            pose_aa=start_aa,
            target_aa=clause.target.to_pose(),
        )

    def _draw_kind(self, rng: np.random.Generator) -> Kind:
        return self.kinds[int(np.searchsorted(self._cumulative, rng.random()))]

    def _draw_other(self, rng: np.random.Generator) -> Kind:
        return self.others[int(np.searchsorted(self._cumulative_others, rng.random()))]

    def _try(
        self, rng: np.random.Generator, start: PosedBody, kind: Kind, *, imperative: bool
    ) -> Clause | None:
        mirrored = kind.mirrored and bool(rng.random() < 0.5)
        edit: Edit | None = kind.apply(rng, start.mirrored() if mirrored else start)
        if edit is None:
            return None
        name = kind.borrows or kind.name
        if edit.variant:
            name = f"{name}/{edit.variant}"
        if kind.borrows:
            said = self.wording.clause_of_other(rng, name, edit.slots, imperative=imperative)
        else:
            said = self.wording.clause(rng, name, edit.slots, mirrored=mirrored, imperative=imperative)
        if said is None:
            return None
        text, is_imperative = said
        return Clause(kind, edit.target.mirrored() if mirrored else edit.target, text, is_imperative)

    def _clause(
        self, rng: np.random.Generator, start: PosedBody, draw_kind: Callable[[np.random.Generator], Kind]
    ) -> Clause:
        for _ in range(TRIES):
            clause = self._try(rng, start, draw_kind(rng), imperative=False)
            if clause is not None:
                return clause
        raise RuntimeError(f"no directive made sense in {TRIES} draws; is the start pose a human pose?")

    def _joined(self, rng: np.random.Generator, start: PosedBody, first: Clause, count: int) -> list[Clause]:
        """``first`` and up to ``count - 1`` further clauses, each of which moves joints that no other moved."""
        clauses = [first]
        moved = _moved(start, first.target)
        for _ in range(6 * (count - 1)):
            if len(clauses) == count:
                break
            before = clauses[-1].target
            clause = self._try(rng, before, self._draw_kind(rng), imperative=clauses[0].imperative)
            if (
                clause is None
                or clause.kind.family in ("nothing", "mirror")
                or clause.kind.name == first.kind.name
            ):
                continue
            now = _moved(before, clause.target)
            if now.any() and not (now & moved).any() and clause.imperative == clauses[0].imperative:
                clauses.append(clause)
                moved |= now
        return clauses

    def _sentence(self, rng: np.random.Generator, clauses: list[Clause], still: set[str]) -> str:
        imperative = all(clause.imperative for clause in clauses)
        joiners = _JOINERS if imperative else _PLAIN_JOINERS
        text = clauses[0].text
        for clause in clauses[1:]:
            text += joiners[rng.integers(len(joiners))] + clause.text
        if imperative and clauses[0].kind.family != "nothing":
            if _leaves_something(clauses, still) and rng.random() < self.mix.keep_share:
                text = with_keep(rng, text, still)
            elif rng.random() < self.mix.request_share:
                text = REQUESTS[rng.integers(len(REQUESTS))].replace("{}", text)
        if rng.random() < self.mix.polite_share:
            polite = POLITELY + THANKS if imperative else THANKS
            text = polite[rng.integers(len(polite))].replace("{}", text)
        return text


def _leaves_something(clauses: list[Clause], still: set[str]) -> bool:
    """Whether it makes sense to say what is to stay: not where the whole body turns or nearly all of it moves."""
    turns = any(clause.kind.family == "root" for clause in clauses)
    return len(clauses) < 3 and not turns and len(still.intersection(PART_NAMES)) >= _LEFT_ALONE


def _moved(before: PosedBody, after: PosedBody) -> npt.NDArray[np.bool_]:
    """(24,) joints whose local rotation differs; the root's also where the heading does."""
    moved: npt.NDArray[np.bool_] = np.abs(after.local - before.local).max(axis=(1, 2)) > MOVED_RADIANS
    moved[0] |= abs(after.yaw - before.yaw) > MOVED_RADIANS
    return moved
