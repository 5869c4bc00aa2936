# SPDX-License-Identifier: Apache-2.0
"""Corrections: how to get from one pose to another, as an instructor would say it.

Each changed part gives options: where its end moved and how far, what its joint did, where it points or rests in the
end. A text tells one or a few of them, alike changes of both sides in one. Limbs are compared as if they had been
carried along by a trunk that moved, so that only what the limb itself has to do is told.

Legend: N pairs; S = 2 sides; P = 7 body parts, as in ``BODY_PARTS``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from blender_addon.contract.kinematics import forward_kinematics, mirror_pose
from blender_addon.contract.rotations import Array
from blender_addon.contract.skeleton import BODY_PARTS, JOINT_INDEX

from .facts import STRAIGHT, Categories, PoseFacts, pose_facts, postures
from .measures import Bodies, angles, head_angles, sides, trunk_angles, unit
from .rules import BOTH, LEFT, RIGHT, Draw, alternatives, load_rules, quick_draws

PARTS: Final = tuple(BODY_PARTS)
UPRIGHT: Final = 0.95
"""A trunk is upright whose cosine to the vertical is above this."""
CHANGED_RADIANS: Final = 0.02
"""A part changed whose joints turned more than this."""

Option = tuple[str, ...]
"""What can be told: how it is said, and the words' names. Equal options of two sides can be told as one."""

TOLD_ALREADY: Final = [0, 0, 1]
"""How many things a text tells of each of two limbs of which both have been told as one."""
LIMBS: Final = (("arm", "left_arm", "right_arm"), ("leg", "left_leg", "right_leg"))
_LIFTS: Final = ("raise_hand", "lower_hand", "raise_arm", "lower_arm")
_SIZES: Final = {
    "turn_body": "turn", "turn_head": "look", "twist_trunk": "twist", "trunk": "trunk", "elbow": "joint",
    "knee": "joint", "arm": "limb", "leg": "limb", "toe_out_leg": "size", "toe_in_leg": "size",
}  # fmt: skip
"""Which of the sizes a sentence is measured by, or all sentences of a part; ``size`` where it is none of them."""
_CARRIED: Final = [joint for part in ("root", "trunk") for joint in BODY_PARTS[part]]


@dataclass(frozen=True)
class Clause:
    """One thing to tell, and of whom."""

    option: Option
    who: int
    limb: str


@dataclass(frozen=True)
class Changes:
    """Pairs of poses, measured.

    Attributes:
        parts: (N, P) which parts changed.
        before: facts of the poses before, with the limbs carried along; the postures, told of pairs whose root moved,
            are the poses' own.
        after: facts of the poses after.
        numbers: for each measure its change, (N,) or (N, S) or (N, S, 3).
    """

    parts: npt.NDArray[np.bool_]
    before: PoseFacts
    after: PoseFacts
    numbers: Mapping[str, Array]


def changed_parts(before_aa: npt.ArrayLike, after_aa: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """(N, P) which parts of poses (N, 24, 3) differ."""
    gap = np.abs(np.asarray(before_aa) - np.asarray(after_aa)).max(axis=2) > CHANGED_RADIANS
    return np.stack([gap[:, list(joints)].any(axis=1) for joints in BODY_PARTS.values()], axis=1)


def measure_changes(
    before_aa: npt.ArrayLike,
    after_aa: npt.ArrayLike,
    parts: npt.NDArray[np.bool_],
    rng: np.random.Generator | None = None,
) -> Changes:
    """Measures pairs of poses (N, 24, 3); only the ``parts`` (N, P) that changed are looked at later."""
    first, after = Bodies.of(before_aa), Bodies.of(after_aa)
    carried = first
    moved = parts[:, [PARTS.index("root"), PARTS.index("trunk")]].any(axis=1)
    if moved.any():
        local = first.local.copy()
        local[:, _CARRIED] = after.local[:, _CARRIED]
        rot, pos = forward_kinematics(local)
        carried = Bodies(local, rot, pos, after.frame, after.yaw)
    numbers: dict[str, Array] = {}
    arm = after.sided("shoulder", "wrist"), carried.sided("shoulder", "wrist")
    upper = after.sided("shoulder", "elbow"), carried.sided("shoulder", "elbow")
    fore = after.sided("elbow", "wrist"), carried.sided("elbow", "wrist")
    leg = after.sided("hip", "ankle"), carried.sided("hip", "ankle")
    thigh = after.sided("hip", "knee"), carried.sided("hip", "knee")
    foot = after.sided("ankle", "foot"), carried.sided("ankle", "foot")
    numbers["arm_move"], numbers["leg_move"] = arm[0] - arm[1], leg[0] - leg[1]
    numbers["arm_gap"], numbers["leg_gap"] = (
        _gap(after, end) - _gap(carried, end) for end in ("wrist", "ankle")
    )
    numbers["arm_turned"] = angles(*upper)
    numbers["arm_rise"] = _elevation(upper[0]) - _elevation(upper[1])
    numbers["fore_turned"] = angles(*fore)
    numbers["leg_turned"] = angles(*thigh)
    numbers["leg_rise"] = _elevation(thigh[0]) - _elevation(thigh[1])
    numbers["elbow"] = after.bend("elbow", "shoulder", "wrist") - carried.bend("elbow", "shoulder", "wrist")
    numbers["knee"] = after.bend("knee", "hip", "ankle") - carried.bend("knee", "hip", "ankle")
    numbers["ankle"] = after.bend("ankle", "knee", "foot") - carried.bend("ankle", "knee", "foot")
    numbers["toe_out"] = np.degrees(
        np.arctan2(foot[0][..., 0], foot[0][..., 2]) - np.arctan2(foot[1][..., 0], foot[1][..., 2])
    )
    for name, start, end in zip(
        ("pitch", "lean", "twist"), trunk_angles(first), trunk_angles(after), strict=True
    ):
        numbers[name], numbers[f"{name}_end"] = end - start, end
    for name, start, end in zip(
        ("look", "turn", "tilt"), head_angles(carried), head_angles(after), strict=True
    ):
        numbers[name], numbers[f"{name}_end"] = end - start, end
    numbers["tipped"] = angles(first.rot[:, 0, :, 1], after.rot[:, 0, :, 1])
    numbers["upright"] = unit(after.pos[:, JOINT_INDEX["neck"]])[:, 1]
    numbers["yaw"] = np.degrees(np.arctan2(np.sin(after.yaw - first.yaw), np.cos(after.yaw - first.yaw)))
    before = pose_facts(carried)
    if parts[:, PARTS.index("root")].any():
        # The root is carried, and it is what lies down: the posture before is the first pose's own.
        posture, kneel = postures(Categories(), first)
        before = replace(before, codes={**before.codes, "posture": posture, "kneel": kneel})
    return Changes(parts, before, pose_facts(after, rng), numbers)


def _gap(bodies: Bodies, joint: str) -> Array:
    """(N,) distance of a joint's left and right one."""
    distance: Array = np.linalg.norm(bodies.pos[:, sides(joint)[0]] - bodies.pos[:, sides(joint)[1]], axis=-1)
    return distance


def _elevation(vectors: Array) -> Array:
    degrees: Array = np.degrees(np.arcsin(np.clip(unit(vectors)[..., 1], -1, 1)))
    return degrees


class Corrector:
    """Words instructions that lead from one pose to another."""

    def __init__(self) -> None:
        self.rules = load_rules()["changes"]

    def instruct(
        self,
        before_aa: npt.ArrayLike,
        after_aa: npt.ArrayLike,
        rng: np.random.Generator,
        *,
        parts: npt.NDArray[np.bool_] | None = None,
        flipped: npt.ArrayLike | None = None,
    ) -> list[str | None]:
        """An instruction for each pair; None where nothing changed that can be told.

        Args:
            before_aa: (N, 24, 3) axis-angle, radians.
            after_aa: (N, 24, 3).
            rng: of noise, selection and wording.
            parts: (N, P) parts to tell of; the ones that changed, where not given.
            flipped: (N,) pairs to look at in the mirror, as for captions; drawn where not given.
        """
        before_aa, after_aa = np.asarray(before_aa), np.asarray(after_aa)
        flips = rng.random(len(before_aa)) < 0.5 if flipped is None else np.asarray(flipped)
        parts = changed_parts(before_aa, after_aa) if parts is None else parts
        mirrored_parts = parts[:, [PARTS.index(_other(name)) for name in PARTS]]
        flip = flips[:, None, None]
        changes = measure_changes(
            np.where(flip, mirror_pose(before_aa), before_aa),
            np.where(flip, mirror_pose(after_aa), after_aa),
            np.where(flips[:, None], mirrored_parts, parts),
            rng,
        )
        rows = _Rows(changes)
        draw = quick_draws(rng)
        return [self._text(rows.row(index), flip, draw) for index, flip in enumerate(flips.tolist())]

    # -- what can be told --------------------------------------------------------------------------------

    def _amount(
        self, value: float, least: float, sizes: list[float], random: Draw, unit: str
    ) -> tuple[str, str]:
        """The size of a change in words: the kind of amount, and the number where it is one."""
        value = abs(value)
        blurred = value * (1 + self.rules["size_noise"] * (2 * random() - 1))
        if random() < self.rules["number_share"] and value >= 1.5 * least:
            return unit, _round_number(value, unit, random())
        return ("slightly" if blurred < sizes[0] else "far" if blurred >= sizes[1] else "plain"), ""

    def _by(
        self, sentence: str, value: float, random: Draw, kind: str = "degrees", *, ends: bool = True
    ) -> Option:
        """A change by its size; one that does not come to its end (``ends``) is told as a part of the way."""
        rules = self.rules
        if kind == "metres":
            name, least = "lift" if sentence in _LIFTS else "metres", rules["least_metres"]
        else:
            name, least = (
                _SIZES.get(sentence, _SIZES.get(sentence.split("_")[1], "size")),
                rules["least_degrees"],
            )
        amount, number = self._amount(value, least, rules["sizes"][name], random, kind)
        return ("by", sentence, "partly" if amount == "plain" and not ends else amount, number)

    def _limb_options(self, row: _Row, limb: str, side: int, random: Draw) -> list[tuple[float, Option]]:
        """Weighted options of an arm or leg."""
        rules = self.rules
        options: list[tuple[float, Option]] = []
        move = row.vector(f"{limb}_move", side)
        turned, rise = row.number(f"{limb}_turned", side), row.number(f"{limb}_rise", side)
        joint = "elbow" if limb == "arm" else "knee"
        straight = row.after(joint, side) >= STRAIGHT
        verb = "raise" if move[1] > 0.08 else "lower" if move[1] < -0.08 else "move"
        if limb == "arm":
            place = row.name("hand_at", side)
            if place != "none" and row.after("hand_at", side) != row.before("hand_at", side):
                options.append((5.0, ("place", place)))
            level = row.name("hand_level", side)
            if level != "none" and row.after("hand_level", side) != row.before("hand_level", side):
                options.append((1.2, ("level", verb, level)))
            direction = row.name("forearm", side)
            if direction != "none" and row.number("fore_turned", side) >= rules["forearm_least"]:
                options.append((0.8, ("forearm", direction)))
        code = "arm" if limb == "arm" else "thigh"
        direction = row.name(code, side)
        if direction != "none" and turned >= rules["aim_least"]:
            verb = "move" if verb == "raise" and "down" in direction else verb
            options.append((3.0, ("aim", code, "straight" if straight else "bent", verb, direction)))
        if abs(rise) >= rules["aim_least"] and turned - abs(rise) < 8:
            sentence = f"{'raise' if rise > 0 else 'lower'}_{limb}"
            options.append((1.0, self._by(sentence, rise, random, ends=rise > 0 or "down" in direction)))
        names = (("in", "out"), ("lower", "raise"), ("back", "forward"))
        sizes = [abs(value) for value in move]
        axis = sizes.index(max(sizes))
        if sizes[axis] >= rules["least_metres"]:
            end = "hand" if limb == "arm" else "foot"
            is_low = axis != 1 or move[axis] > 0 or "down" in direction
            option = self._by(
                f"{names[axis][move[axis] > 0]}_{end}", move[axis], random, "metres", ends=is_low
            )
            # The whole limb moved where it is not the joint alone that brought its end there.
            if turned >= rules["aim_least"] and option[2] != "metres" and random() < 0.5:
                option = ("by", f"{names[axis][move[axis] > 0]}_{limb}", *option[2:])
            options.append((2.5, option))
        bend = row.number(joint, side)
        if abs(bend) >= rules["joint_least"]:
            options.append((2.0, self._joint_option(row, joint, side, bend, random)))
        if limb == "leg":
            ankle, toe = row.number("ankle", side), row.number("toe_out", side)
            if abs(ankle) >= rules["foot_least"]:
                options.append((0.6, self._by("point_toes" if ankle > 0 else "flex_toes", ankle, random)))
            if max(sizes) < 0.1 and rules["foot_least"] <= abs(toe) < 120:
                options.append((0.6, self._by("toe_out_leg" if toe > 0 else "toe_in_leg", toe, random)))
        # What changed more is told rather.
        where, bent = rules["salience"]
        salience = {"where": (turned / where) ** 2, joint: (bend / bent) ** 2}
        return [(weight * salience.get(_topic(option), 1.0) + 1e-6, option) for weight, option in options]

    def _joint_option(self, row: _Row, joint: str, side: int, bend: float, random: Draw) -> Option:
        name = row.name(joint, side)
        if random() < self.rules["absolute_share"] and row.after(joint, side) != row.before(joint, side):
            return ("to", f"to_{joint}", name, "straighten" if bend > 0 else "bend")
        sentence = f"{'straighten' if bend > 0 else 'bend'}_{joint}"
        return self._by(sentence, bend, random, ends=bend < 0 or name == "straight")

    def _trunk_clauses(self, row: _Row, random: Draw) -> list[tuple[float, Clause]]:
        least = self.rules["least_degrees"]
        found: list[tuple[float, Clause]] = []
        pitch, end = row.number("pitch"), row.number("pitch_end")
        if abs(pitch) >= least:
            straightens = end > self.rules["straighten_end"]
            sentence = "forward_trunk" if pitch > 0 else "straighten_trunk" if straightens else "back_trunk"
            ends = sentence != "straighten_trunk" or end < self.rules["upright_end"]
            found.append((abs(pitch), Clause(self._by(sentence, pitch, random, ends=ends), LEFT, "trunk")))
            leans = max(abs(end), abs(row.number("lean_end"))) > self.rules["upright_end"]
            if not leans and row.number("upright") > UPRIGHT and random() < 0.5:
                found[-1] = (abs(pitch), Clause(("say", "to_trunk_upright"), LEFT, "trunk"))
        for code, sentence in (("lean", "side_trunk"), ("twist", "twist_trunk")):
            change = row.number(code)
            if abs(change) >= least:
                who = LEFT if change > 0 else RIGHT
                found.append((abs(change), Clause(self._by(sentence, change, random), who, "trunk")))
        return found

    def _head_clauses(self, row: _Row, random: Draw) -> list[tuple[float, Clause]]:
        least = self.rules["least_degrees"]
        found: list[tuple[float, Clause]] = []
        look, turn, tilt = row.number("look"), row.number("turn"), row.number("tilt")
        ends = [abs(row.number(f"{name}_end")) for name in ("look", "turn", "tilt")]
        largest = max(abs(look), abs(turn), abs(tilt))
        if max(ends) < self.rules["head_end"] and largest >= least and random() < 0.7:
            return [(largest, Clause(("say", "to_head_straight"), LEFT, "head"))]
        if abs(look) >= least:
            sentence = "up_head" if look > 0 else "down_head"
            found.append((abs(look), Clause(self._by(sentence, look, random), LEFT, "head")))
        for change, sentence in ((turn, "turn_head"), (tilt, "tilt_head")):
            if abs(change) >= least:
                who = LEFT if change > 0 else RIGHT
                found.append((abs(change), Clause(self._by(sentence, change, random), who, "head")))
        return found

    # -- what is told ------------------------------------------------------------------------------------

    def _clauses(self, row: _Row, random: Draw) -> list[Clause]:
        parts = row.parts
        counts = self.rules["clauses"]["alone" if sum(parts.values()) == 1 else "among"]
        found: list[list[Clause]] = []
        if parts["root"]:
            found.append(self._root_clauses(row, random))
        if parts["trunk"] or parts["root"]:
            found.append(_largest(self._trunk_clauses(row, random), counts, random))
        for limb, left, right in LIMBS:
            both = parts[left] and parts[right]
            options = [
                self._limb_options(row, limb, side, random) if parts[name] else []
                for side, name in enumerate((left, right))
            ]
            each = counts
            gap = row.number(f"{limb}_gap") if both else 0.0
            if abs(gap) >= self.rules["gap_least"] and random() < self.rules["gap_share"]:
                option = self._by(f"{'apart' if gap > 0 else 'together'}_{limb}", gap, random, "metres")
                found.append([Clause(option, BOTH, "gap")])
            if both and random() < load_rules()["selection"]["aggregate"]:
                others = {option for _, option in options[1]}
                shared = [pair for pair in options[0] if pair[1] in others]
                if shared:
                    told = _draw_options(shared, counts, random)
                    found.append([Clause(option, BOTH, limb) for option in told])
                    drop = {_topic(option) for option in told}
                    options = [[pair for pair in one if _topic(pair[1]) not in drop] for one in options]
                    each = TOLD_ALREADY
            for side in (LEFT, RIGHT):
                told = _draw_options(options[side], each, random)
                found.append([Clause(option, side, limb) for option in told])
        if parts["head"]:
            found.append(_largest(self._head_clauses(row, random), counts, random))
        found = [clauses for clauses in found if clauses]
        if len(found) > 1 and random() < 0.5:
            turn = 1 + int(random() * (len(found) - 1))
            found = found[turn:] + found[:turn]
        return [clause for clauses in found for clause in clauses]

    def _root_clauses(self, row: _Row, random: Draw) -> list[Clause]:
        found: list[Clause] = []
        yaw = row.number("yaw")
        if abs(yaw) > 150 and random() < 0.6:
            found.append(Clause(("say", "turn_around"), LEFT, "body"))
        elif abs(yaw) >= self.rules["turn_least"]:
            who = LEFT if yaw > 0 else RIGHT
            found.append(Clause(self._by("turn_body", yaw, random), who, "body"))
        if row.parts["left_leg"] and row.parts["right_leg"]:
            for code in ("posture", "kneel"):
                for side in (LEFT,) if code == "posture" else (LEFT, RIGHT):
                    name = row.name(code, side)
                    if name != "none" and row.after(code, side) != row.before(code, side):
                        found.append(Clause(("posture", code, name), side, "body"))
        return found

    def _falls_untold(self, row: _Row, clauses: list[Clause]) -> bool:
        """Whether the whole body lies down, gets up or turns over without a posture that says so."""
        tips = row.parts["root"] and row.number("tipped") > self.rules["tipped_most"]
        return tips and not any(clause.option[0] == "posture" for clause in clauses)

    def _text(self, row: _Row, flip: bool, random: Draw) -> str | None:
        clauses = self._clauses(row, random)
        if not clauses or self._falls_untold(row, clauses):
            return None
        text, known, stop, where = "", ("", LEFT), False, False
        joiners = self.rules["joiners"]
        for clause in clauses:
            who = RIGHT - clause.who if flip and clause.who != BOTH else clause.who
            short = known == (clause.limb, who) and not stop
            option, joiner = clause.option, joiners[int(random() * len(joiners))]
            if option[0] == "to" and short and where and random() < self.rules["with_share"]:
                # "Raise the left arm to the side with the elbow bent at a right angle."
                option, joiner = ("with", option[1].removeprefix("to_"), option[2]), " "
            number = option[-1] if option[0] == "by" else ""
            choices = clause_words(option[:-1] if option[0] == "by" else option, who, short)
            words = choices[int(random() * len(choices))]
            if number:
                words = words.replace("{n}", number)
            text += joiner + words if text else words
            stop = joiner.startswith(".") and text != words
            known, where = (clause.limb, who), _topic(option) == "where"
        if random() < self.rules["opener_share"] and not text.startswith(("{your}", "the ", "both ")):
            openers = self.rules["openers"]
            text = openers[int(random() * len(openers))] + text
        text = text.replace("{your}", "your" if random() < 0.75 else "the")
        if random() < 0.7:
            text = ". ".join(part[:1].upper() + part[1:] for part in text.split(". "))
        stops = self.rules["stop"]
        return text + str(stops[int(random() * len(stops))])


@cache
def clause_words(option: Option, who: int, short: bool) -> tuple[str, ...]:
    """Every way to say an option; a number stays as ``{n}``."""
    rules = load_rules()
    changes, facts = rules["changes"], rules["facts"]
    says = changes["says"]
    kind = option[0]
    if kind == "by":
        return alternatives(says[option[1]], who, short=short, amount=changes["amounts"][option[2]])
    if kind == "to":
        if option[2] == "straight":
            return alternatives(says[option[1]]["straight"], who, short=short)
        return alternatives(says[option[1]][option[3]], who, short=short, **changes["joint_ends"][option[2]])
    if kind == "with":
        end = facts[option[1]]["says"][option[2]]
        return alternatives(f"with {{same:{option[1]}}} {end}", who, short=short)
    if kind == "say":
        return alternatives(says[option[1]], who, short=short)
    if kind == "place":
        places = facts["hand_at"]
        place = places["both" if who == BOTH and option[1] in places["both"] else "says"][option[1]]
        return alternatives(says["to_place"], who, short=short, place=place)
    if kind == "level":
        return alternatives(
            says["to_level"][option[1]], who, short=short, level=facts["hand_level"]["says"][option[2]]
        )
    if kind == "forearm":
        return alternatives(says["to_forearm"], who, short=short, to=facts["forearm"]["says"][option[1]])
    if kind == "posture":
        return alternatives(rules["posture_facts"][option[1]][option[2]]["do"], who)
    _, code, form, verb, direction = option
    if direction == "down" and (form == "straight" or code == "thigh"):
        return alternatives(says[f"to_{code}_down"], who, short=short)
    noun = {"arm": ("arm", "upper_arm_or_arm"), "thigh": ("leg", "thigh_or_knee")}[code][form == "bent"]
    return alternatives(
        says[f"to_{code}"][verb], who, short=short, limb=f"{{same:{noun}}}", to=facts[code]["says"][direction]
    )


def _topic(option: Option) -> str:
    """What an option is about, so that one thing is not told twice."""
    kind = option[0]
    if kind in ("place", "level", "aim"):
        return "where"
    if kind == "by":
        verb, *rest = option[1].split("_")
        return "where" if verb in ("raise", "lower", "forward", "back", "out", "in") else rest[0]
    if kind == "to":
        return option[1].split("_")[1]
    return kind


def _draw_options(options: list[tuple[float, Option]], counts: list[int], random: Draw) -> list[Option]:
    """A few options, each about something else; the joint's after where the limb goes."""
    count = counts[int(random() * len(counts))]
    told: list[Option] = []
    left = list(options)
    while left and len(told) < count:
        option = _weighted(left, random)
        told.append(option)
        topic = _topic(option)
        left = [pair for pair in left if _topic(pair[1]) != topic]
        if option[0] == "place":
            left = [pair for pair in left if _topic(pair[1]) != "forearm"]
    return told


def _weighted(options: list[tuple[float, Option]], random: Draw) -> Option:
    mark = random() * sum(weight for weight, _ in options)
    for weight, option in options:
        mark -= weight
        if mark <= 0:
            return option
    return options[-1][1]


def _largest(found: list[tuple[float, Clause]], counts: list[int], random: Draw) -> list[Clause]:
    """The clauses of the largest changes."""
    count = max(1, counts[int(random() * len(counts))])
    return [clause for _, clause in sorted(found, key=lambda pair: -pair[0])[:count]]


def _round_number(value: float, unit: str, draw: float) -> str:
    step = 5 if unit == "metres" or draw < 0.5 or value < 25 else 10
    scaled = value * 100 if unit == "metres" else value
    return str(max(step, round(scaled / step) * step))


def _other(part: str) -> str:
    if part.startswith("left_"):
        return "right_" + part.removeprefix("left_")
    return "left_" + part.removeprefix("right_") if part.startswith("right_") else part


class _Table:
    """Arrays (N, ...) side by side as plain rows of numbers: Python reads lists faster, and few of them at that."""

    def __init__(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        self.start: dict[str, int] = {}
        width = 0
        for name, values in arrays.items():
            self.start[name] = width
            width += values[0].size if len(values) else 1
        self.rows = np.concatenate(
            [values.reshape(len(values), -1) for values in arrays.values()], axis=1
        ).tolist()


class _Rows:
    """Changes, to be read pair by pair."""

    def __init__(self, changes: Changes) -> None:
        self.names = changes.after.names
        self.parts = changes.parts.tolist()
        self.numbers = _Table(changes.numbers)
        self.codes_after = _Table(changes.after.codes)
        self.codes_before = _Table(changes.before.codes)

    def row(self, index: int) -> _Row:
        return _Row(self, index)


class _Row:
    """One pair."""

    def __init__(self, rows: _Rows, index: int) -> None:
        self.names = rows.names
        self.parts = dict(zip(PARTS, rows.parts[index], strict=True))
        self._columns = rows.numbers.start, rows.codes_after.start
        self._numbers = rows.numbers.rows[index]
        self._after, self._before = rows.codes_after.rows[index], rows.codes_before.rows[index]

    def number(self, name: str, side: int = LEFT) -> float:
        value: float = self._numbers[self._columns[0][name] + side]
        return value

    def vector(self, name: str, side: int) -> list[float]:
        start = self._columns[0][name] + 3 * side
        vector: list[float] = self._numbers[start : start + 3]
        return vector

    def after(self, code: str, side: int = LEFT) -> int:
        value: int = self._after[self._columns[1][code] + side]
        return value

    def before(self, code: str, side: int = LEFT) -> int:
        value: int = self._before[self._columns[1][code] + side]
        return value

    def name(self, code: str, side: int = LEFT) -> str:
        name = self.names[code][self.after(code, side)]
        return "none" if name.startswith("none") else name
