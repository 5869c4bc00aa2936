# SPDX-License-Identifier: Apache-2.0
"""Descriptions of a pose to make from nothing: a posture, what the limbs and the head do, and a sentence for it.

Parts that are not mentioned are as in a neutral standing body. There are three forms: a composed description
("A person sits with both hands on the thighs, looking down"), the name of a posture, and a directive that is
carried out on the neutral body ("raise both arms").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, partial
from typing import Final

import numpy as np

from training.data.samples import Sample

from .hands import PLACES, crossing, hand_at
from .posed_body import PosedBody, Side
from .postures import (
    LEG_POSTURES,
    SIDED_POSTURES,
    WHOLE_POSTURES,
    crouched,
    hands_on_thighs,
    palms_together,
    standing,
    trunk_set,
    whole_posture,
)
from .reach import SIDES, arm_set, forearm_set, sided
from .sampler import DirectiveSampler
from .slips import type_in
from .spine import head_set
from .stance import leg_set
from .wording import default_wording, expand

FORM_SHARES: Final = (0.66, 0.16, 0.18)
"""How often a description is composed, the name of a posture, or a directive on the neutral body."""

ArmBuilder = Callable[[PosedBody, Side], PosedBody]
Table = Mapping[str, str]


def _arm(direction: tuple[float, float, float], elbow: float = 0.0) -> ArmBuilder:
    return lambda body, side: arm_set(body, side, sided(side, direction), elbow)


def _forearm(upper: tuple[float, float, float], fore: tuple[float, float, float]) -> ArmBuilder:
    def build(body: PosedBody, side: Side) -> PosedBody:
        body = arm_set(body, side, sided(side, upper))
        return forearm_set(body, side, sided(side, fore)) or body

    return build


def _hand(place: str) -> ArmBuilder:
    return partial(hand_at, place=PLACES[place])


def _hanging(body: PosedBody, side: Side) -> PosedBody:
    """As in the neutral body, or straight down from a trunk that is bent."""
    if body.rot_of("spine3")[1, 1] > 0.93:
        return body
    return arm_set(body, side, sided(side, [0.12, -1.0, 0.05]), 10.0)


ARM_STATES: Final[dict[str, tuple[float, ArmBuilder]]] = {
    "down": (1.6, _hanging),
    "up": (2.4, _arm((0.04, 1.0, 0.0))),
    "side": (2.4, _arm((1.0, 0.0, 0.0))),
    "front": (2.4, _arm((0.0, 0.0, 1.0))),
    "up_diagonal": (1.0, _arm((0.8, 0.8, 0.0))),
    "down_diagonal": (0.7, _arm((0.75, -0.75, 0.0))),
    "front_up": (0.8, _arm((0.0, 0.75, 0.75))),
    "front_down": (0.7, _arm((0.05, -0.75, 0.75))),
    "back": (0.7, _arm((0.15, -0.8, -0.6))),
    "elbow_bent": (1.4, _forearm((0.1, -1.0, 0.02), (0.0, 0.0, 1.0))),
    "goalpost": (0.9, _forearm((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))),
    "hip": (1.6, _hand("hip")),
    "head": (1.2, _hand("head")),
    "chest": (0.9, _hand("chest")),
    "stomach": (0.8, _hand("stomach")),
    "behind_back": (1.0, _hand("behind_back")),
    "behind_head": (0.9, _hand("behind_head")),
    "front_chest": (0.7, _hand("front_chest")),
    "wave": (0.7, _hand("wave")),
    "chin": (0.5, _hand("chin")),
    "own_shoulder": (0.5, _hand("own_shoulder")),
    "ear": (0.4, _hand("ear")),
    "forehead": (0.5, _hand("forehead")),
    "face": (0.5, _hand("face")),
    "mouth": (0.4, _hand("mouth")),
    "behind_neck": (0.4, _hand("behind_neck")),
    "above_head": (0.5, _hand("above_head")),
    "lower_back": (0.5, _hand("lower_back")),
    "guard": (0.5, _hand("guard")),
    "stop": (0.4, _hand("stop")),
    "elbow_side": (0.6, _forearm((1.0, 0.0, 0.0), (0.0, 0.0, 1.0))),
    "forearm_up": (0.7, _forearm((0.1, -1.0, 0.05), (0.0, 0.8, 0.6))),
}  # fmt: skip

BOTH_STATES: Final[dict[str, tuple[float, Callable[[PosedBody], PosedBody]]]] = {
    "thighs": (1.0, hands_on_thighs),
    "prayer": (1.0, palms_together),
    "folded": (2.2, lambda body: crossing(body, "folded") or body),
    "hug": (0.5, lambda body: crossing(body, "hug") or body),
}
"""What only two arms do together."""

SEATED: Final = frozenset(
    {"sit", "sit_floor", "sit_straddle", "sit_knees_up", "cross_legged", "kneel_heels", "horse", "half_squat"}
)
"""Postures of the legs in which hands reach the thighs."""

BASES: Final[dict[str, float]] = {
    "stand": 9.0, "sit": 2.4, "sit_floor": 0.8, "sit_straddle": 0.3, "sit_knees_up": 0.4, "cross_legged": 1.0,
    "kneel": 1.6, "kneel_heels": 0.8, "half_kneel": 1.6, "half_squat": 0.6, "squat": 1.6, "deep_squat": 1.0,
    "crouch": 0.8, "horse": 0.4, "lunge": 1.4, "side_lunge": 0.5, "split_stance": 0.8, "first_position": 0.2,
    "figure_four": 0.3, "tree": 0.3, "front_split": 0.2, "side_split": 0.2, "one_leg": 0.7, "wide": 1.0,
    "together": 0.4, "tiptoe": 0.5, "crossed": 0.4, "leg_front": 0.9, "leg_side": 0.9, "leg_back": 0.8,
    "knee_up": 1.2, "knee_back": 0.7, "knees_soft": 0.7,
    "deep_lunge": 0.5, "plie": 0.3, "weight_on": 0.5, "pistol": 0.2, "sit_crossed": 0.8, "stride": 0.9, "knee_out": 0.3,
    "pigeon_toed": 0.2, "leg_front_low": 0.5,
}  # fmt: skip


def _own_legs(body: PosedBody, name: str) -> PosedBody:
    """Postures of standing legs that only descriptions have."""
    upright = np.eye(3)
    if name in ("wide", "together"):
        for side in SIDES:
            body = leg_set(body, side, out=20.0 if name == "wide" else -3.0, level=True, frame=upright)
        return body
    if name in ("tiptoe", "knees_soft"):
        knee = 0.0 if name == "tiptoe" else 38.0
        for side in SIDES:
            body = leg_set(body, side, flexion=knee / 2, knee=knee, ankle=38.0 if name == "tiptoe" else None,
                             level=name != "tiptoe", frame=upright)  # fmt: skip
        return body
    if name == "sit_crossed":
        sitting = LEG_POSTURES["sit"](body)
        return leg_set(
            sitting, "left", flexion=104.0, out=0.0, horizontal_abduction=-16.0, knee=95.0, frame=upright
        )
    if name == "stride":
        body = leg_set(body, "left", flexion=26.0, knee=6.0, ankle=-4.0, frame=upright)
        return leg_set(body, "right", flexion=-20.0, knee=14.0, ankle=25.0, frame=upright)
    if name == "pigeon_toed":
        for side in SIDES:
            body = leg_set(body, side, twist=-25.0, out=3.0, level=True, frame=upright)
        return body
    body = LEG_POSTURES["stand"](body)
    angles: dict[str, dict[str, float]] = {
        "one_leg": {"flexion": 65.0, "knee": 85.0, "ankle": 15.0},
        "crossed": {"flexion": 9.0, "out": -11.0},
        "leg_front": {"flexion": 55.0},
        "leg_side": {"out": 45.0},
        "leg_back": {"flexion": -35.0, "ankle": 20.0},
        "knee_up": {"flexion": 90.0, "knee": 90.0, "ankle": 10.0},
        "knee_back": {"knee": 95.0, "ankle": 20.0},
        "knee_out": {"flexion": 62.0, "horizontal_abduction": 60.0, "knee": 80.0, "ankle": 15.0},
        "leg_front_low": {"flexion": 28.0},
    }
    # "On one leg" names the standing leg, the others the leg that moves.
    moving: Side = "right" if name == "one_leg" else "left"
    return leg_set(body, moving, frame=upright, **angles[name])  # type: ignore[arg-type]


@cache
def base_body(name: str) -> PosedBody:
    """The neutral body in a posture of the legs."""
    body = standing()
    if name == "crouch":
        return crouched(body)
    return LEG_POSTURES[name](body) if name in LEG_POSTURES else _own_legs(body, name)


# Trunk: degrees of bend forward, twist and lean to the left; head: yaw to the left, pitch down, roll to the left.
TRUNKS: Final[dict[str, tuple[float, tuple[float, float, float]]]] = {
    "lean_forward": (1.0, (24.0, 0.0, 0.0)), "bend_forward": (1.2, (55.0, 0.0, 0.0)),
    "lean_back": (0.7, (-22.0, 0.0, 0.0)), "lean_side": (1.0, (0.0, 0.0, 25.0)), "twist": (1.1, (0.0, 38.0, 0.0)),
}  # fmt: skip
HEADS: Final[dict[str, tuple[float, tuple[float, float, float]]]] = {
    "straight": (0.6, (0.0, 0.0, 0.0)), "left": (2.0, (50.0, 0.0, 0.0)), "down": (1.5, (0.0, 35.0, 0.0)),
    "up": (1.4, (0.0, -32.0, 0.0)), "tilt": (0.9, (0.0, 0.0, 25.0)),
}  # fmt: skip

_SUBJECTS: Final = (
    ("a person", "is", "their"), ("a person", "is", "the"), ("the person", "is", "the"), ("someone", "is", "the"),
    ("a man", "is", "his"), ("a woman", "is", "her"), ("the body", "is", "the"), ("the character", "is", "the"),
    ("he", "is", "his"), ("she", "is", "her"), ("they", "are", "their"), ("a character", "is", "the"),
    ("a human", "is", "the"), ("the model", "is", "the"), ("a girl", "is", "her"), ("a guy", "is", "his"),
    ("one person", "is", "the"), ("an actor", "is", "his"), ("a human body", "is", "the"),
)  # fmt: skip
_PRONOUNS: Final = ("he", "she", "they")
_VERBS: Final = {
    "stand": ("stands", "standing"), "sit": ("sits", "sitting"), "kneel": ("kneels", "kneeling"),
    "squat": ("squats", "squatting"), "crouch": ("crouches", "crouching"), "lunge": ("lunges", "lunging"),
    "balance": ("balances", "balancing"), "do": ("does", "doing"), "hold": ("holds", "holding"),
    "look": ("looks", "looking"), "lean": ("leans", "leaning"), "bend": ("bends", "bending"),
    "twist": ("twists", "twisting"), "raise": ("raises", "raising"), "lift": ("lifts", "lifting"),
    "keep": ("keeps", "keeping"), "hang": ("hangs", "hanging"), "rest": ("rests", "resting"),
    "point": ("points", "pointing"), "reach": ("reaches", "reaching"), "tilt": ("tilts", "tilting"),
    "turn": ("turns", "turning"), "touch": ("touches", "touching"), "wave": ("waves", "waving"),
}  # fmt: skip


def _pick(rng: np.random.Generator, weights: Mapping[str, float]) -> str:
    mass = np.cumsum(list(weights.values()))
    return list(weights)[int(np.searchsorted(mass, rng.random() * mass[-1], side="right"))]


class _Words:
    """The words of one description: who, whose, in which form of the verbs, and which side is called left."""

    def __init__(self, rng: np.random.Generator, mirrored: bool) -> None:
        self.rng = rng
        self.subject, be, possessive = _SUBJECTS[rng.integers(len(_SUBJECTS))]
        left, right = ("right", "left") if mirrored else ("left", "right")
        self.plain = {"poss": possessive, "L": left, "R": right}
        plural = be == "are"
        self.finite = {verb: verb if plural else form for verb, (form, _) in _VERBS.items()}
        self.progressive = {verb: f"{be} {form}" for verb, (_, form) in _VERBS.items()}
        self.participle = {verb: form for verb, (_, form) in _VERBS.items()}

    def say(self, name: str, verbs: Table, *, side: Side | None = None, clause: bool = False) -> str:
        """One wording of a part.

        With ``clause`` a limb is the subject of its own sentence ("the left arm is raised"), else the object of
        "with" ("the left arm raised").
        """
        left, right = self.plain["L"], self.plain["R"]
        table = {**default_wording().words[f"describe.{name}"], **self.plain, **verbs}
        table |= {"S": right if side == "right" else left, "O": left if side == "right" else right}
        for verb, (form, participle) in _VERBS.items():
            table |= {
                f"it_{verb}": form if clause else participle,
                f"they_{verb}": verb if clause else participle,
            }
        table |= {"is": "is" if clause else "", "are": "are" if clause else ""}
        pool = default_wording().kinds[f"describe.{name}"]["say"]
        return expand(self.rng, pool[self.rng.integers(len(pool))], table)


def _compose(rng: np.random.Generator) -> tuple[str, PosedBody, str]:
    """A description, its body and the name of its posture."""
    mirrored = bool(rng.random() < 0.5)
    words = _Words(rng, mirrored)
    base = _pick(rng, BASES)
    body = base_body(base)
    limbs: list[tuple[str, Side | None]] = []
    adverbials: list[str] = []
    if base != "crouch" and rng.random() < 0.22:
        trunk = _pick(rng, {name: weight for name, (weight, _) in TRUNKS.items()})
        bend, twist, lean = TRUNKS[trunk][1]
        body = trunk_set(body, bend, twist, lean)
        adverbials.append(f"trunk/{trunk}")
    if rng.random() < 0.3:
        head = _pick(rng, {name: weight for name, (weight, _) in HEADS.items()})
        body = head_set(body, *HEADS[head][1])
        adverbials.append(f"head/{head}")
    body = _with_arms(rng, body, base, limbs)
    text = _sentence(rng, words, base, limbs, adverbials)
    return text, body.mirrored() if mirrored else body, base


def _with_arms(
    rng: np.random.Generator, body: PosedBody, base: str, limbs: list[tuple[str, Side | None]]
) -> PosedBody:
    form = rng.random()
    weights = {name: weight for name, (weight, _) in ARM_STATES.items()}
    if form < 0.2:
        return body
    if form < 0.62:
        both = weights | {name: weight for name, (weight, _) in BOTH_STATES.items()}
        both["thighs"] = 4.0 if base in SEATED else 0.0
        name = _pick(rng, both)
        limbs.append((f"arms/{name}", None))
        if name in BOTH_STATES:
            return BOTH_STATES[name][1](body)
        for side in SIDES:
            body = _both_hands(name)(body, side)
        return body
    sides = SIDES if form < 0.86 else SIDES[:1] if rng.random() < 0.5 else SIDES[1:]
    for side in sides:
        name = _pick(rng, weights)
        limbs.append((f"arm/{name}", side))
        body = ARM_STATES[name][1](body, side)
    return body


def _both_hands(name: str) -> ArmBuilder:
    """The builder for one of two arms that do the same: hands at one place lie side by side."""
    place = PLACES.get(name)
    if place is None or place.both is None:
        return ARM_STATES[name][1]
    return partial(hand_at, place=place, of_two=True)


def _sentence(
    rng: np.random.Generator,
    words: _Words,
    base: str,
    limbs: list[tuple[str, Side | None]],
    adverbials: list[str],
) -> str:
    """One of the shapes that descriptions have: one sentence, several, or fragments."""
    shape = rng.random()
    rng.shuffle(limbs)  # type: ignore[arg-type]
    if shape < 0.26:  # terse fragments
        parts = [words.say(f"base/{base}", words.participle)]
        parts += [words.say(name, words.participle, side=side) for name, side in limbs]
        parts += [words.say(name, words.participle) for name in adverbials]
        if rng.random() < 0.12 and base == "stand" and len(parts) > 1:
            parts = parts[1:]
        return (", " if rng.random() < 0.75 else "; ").join(parts)
    verbs = words.finite if rng.random() < 0.55 else words.progressive
    lead = words.say(
        f"base/{base}", words.participle if shape < 0.38 and words.subject not in _PRONOUNS else verbs
    )
    text = f"{words.subject} {lead}"
    if shape > 0.8 and limbs:  # several sentences
        text += "."
        for name, side in limbs:
            text += f" {_capital(words.say(name, words.participle, side=side, clause=True))}."
        if adverbials:
            pronoun = words.subject if words.subject in _PRONOUNS else rng.choice(["the person", "they"])
            plural = {verb: verb if pronoun == "they" else form for verb, (form, _) in _VERBS.items()}
            text += (
                " "
                + _capital(f"{pronoun} " + " and ".join(words.say(name, plural) for name in adverbials))
                + "."
            )
        return text[:-1]
    ahead = adverbials[:1] if rng.random() < 0.3 else []
    after = adverbials[len(ahead) :]
    text += "".join(f" {words.say(name, words.participle)}" for name in ahead)
    if limbs:
        texts = [words.say(name, words.participle, side=side) for name, side in limbs]
        if len(limbs) == 2 and rng.random() < 0.3:
            name, side = limbs[1]
            link = str(rng.choice(["while", "and", "whereas", "; meanwhile"]))
            text += f" with {texts[0]} {link} {words.say(name, words.participle, side=side, clause=True)}"
        else:
            joint = str(rng.choice([" with ", " with ", ", with ", ", "]))
            text += joint + str(rng.choice([" and ", " and ", ", ", " and with "])).join(texts)
    if after:
        texts = [words.say(name, words.participle) for name in after]
        text += str(rng.choice([", ", ", ", " and ", " while "])) + " and ".join(texts)
    return text


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _named(rng: np.random.Generator) -> tuple[str, PosedBody, str]:
    """The name of a posture of the whole body."""
    names = [*WHOLE_POSTURES, *SIDED_POSTURES]
    name = names[rng.integers(len(names))]
    body = whole_posture(name)(standing())
    mirrored = name in SIDED_POSTURES and bool(rng.random() < 0.5)
    wording = name
    if name in SIDED_POSTURES and rng.random() < 0.4:
        wording, mirrored = f"{name}_any", False
    text, imperative = default_wording().clause(rng, f"posture.{wording}", {}, mirrored=mirrored)
    if not imperative and rng.random() < 0.5:
        subject = _SUBJECTS[rng.integers(len(_SUBJECTS))][0]
        text = f"{subject}, {text}" if rng.random() < 0.6 else f"{subject}: {text}"
    return text, body.mirrored() if mirrored else body, name


class DescriptionSampler:
    """Draws descriptions with the pose that they ask for, task ``generate``."""

    def __init__(self) -> None:
        neutral = standing().to_pose()
        self._directives = DirectiveSampler(lambda _: neutral.copy())

    def draw(self, rng: np.random.Generator) -> Sample:
        """One description and its pose, heading zero."""
        form = int(np.searchsorted(np.cumsum(FORM_SHARES), rng.random() * sum(FORM_SHARES)))
        if form == 2:
            sample = self._directives.draw(rng)
            return replace(sample, task="generate", kind=f"describe.{sample.kind}", pose_aa=None)
        text, body, name = _compose(rng) if form == 0 else _named(rng)
        return Sample(
            id="",
            task="generate",
            kind=f"describe.{name}",
            instruction=type_in(rng, text),
            target_aa=body.to_pose(),
        )
