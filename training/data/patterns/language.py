# SPDX-License-Identifier: Apache-2.0
"""The notation of constraints in pattern files: what the words of one line mean.

A line is ``measure places… operator value``::

    flex S_elbow = 90            an angle or a length to reach
    dist L_hand R_hand in 0.2..0.4   a range; an end may be left open (``0.2..``)
    rel S_wrist S_shoulder y >= 0.1  at least; also <=
    pos S_hand y += 0.1          a change from the start; also -=
    pos S_hand y by 0.1..0.3     a change within a range
    dist L_hand R_hand *= 0.5    a share of what it is at the start
    toes S keep                  as it is at the start

Before it may stand ``each`` (once with S for the left side and once for the right), ``soft`` (a wish that may be
missed) and ``wish`` (a wish that is dropped where it cannot be measured). A name of ``terms.yaml`` stands for several
lines. ``S_`` and ``O_`` are the side that is spoken of and the other one; ``{n}`` is a number that was drawn, and
values may be sums and products: ``pos S_hand x += {n}*{sign}`` (``{sign}`` is 1 for the left side, -1 for the right).
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Literal

from blender_addon.contract.skeleton import BODY_PARTS
from training.data.constraints.measures import Measure, UnknownMeasureError, measure
from training.data.constraints.points import JOINT_OF
from training.yaml_file import read_yaml

TERMS_FILE: Final = Path(__file__).with_name("terms.yaml")
SOFT_WEIGHT: Final = 0.1

Side = Literal["L", "R"]
Relation = Literal["is", "by", "times", "keep"]

_OTHER: Final[dict[Side, Side]] = {"L": "R", "R": "L"}
_SIDE_TOKEN: Final = re.compile(r"\b([SO])(?=_|\b)")
_VALUE_SLOT: Final = re.compile(r"\{(\w+)\}")
_OPERATORS: Final = ("=", "in", "<=", ">=", "+=", "-=", "by", "*=", "keep")
_ARITHMETIC: Final[dict[type[ast.operator], Callable[[float, float], float]]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
}  # fmt: skip

GROUPS: Final[dict[str, tuple[int, ...]]] = {
    "root": BODY_PARTS["root"],
    "trunk": BODY_PARTS["trunk"],
    "head": BODY_PARTS["head"],
    "L_arm": BODY_PARTS["left_arm"][:4],
    "R_arm": BODY_PARTS["right_arm"][:4],
    "arms": BODY_PARTS["left_arm"][:4] + BODY_PARTS["right_arm"][:4],
    "L_leg": BODY_PARTS["left_leg"],
    "R_leg": BODY_PARTS["right_leg"],
    "legs": BODY_PARTS["left_leg"] + BODY_PARTS["right_leg"],
}
"""What a pattern may move, by name; the hands' own joints carry nothing and never move."""
GROUPS["upper"] = GROUPS["trunk"] + GROUPS["head"] + GROUPS["arms"]
GROUPS["lower"] = GROUPS["root"] + GROUPS["legs"]
GROUPS["all"] = GROUPS["upper"] + GROUPS["lower"]


class PatternError(ValueError):
    """A pattern that says what cannot be understood."""


@dataclass(frozen=True)
class Constraint:
    """One line, bound to a side and numbers: the measure, and its range as it is told.

    ``relation`` says what ``low`` and ``high`` are: the value itself, a change, a factor of the start's value, or
    (keep) nothing.
    """

    measure: Measure
    relation: Relation
    low: float
    high: float
    weight: float


def bound(text: str, side: Side) -> str:
    """``S_`` and ``O_`` (and S and O alone) as the side and the other one."""
    return _SIDE_TOKEN.sub(lambda match: side if match.group(1) == "S" else _OTHER[side], text)


def number(text: str, values: Mapping[str, float]) -> float:
    """The value of a sum or product with ``{slots}``.

    Raises:
        PatternError: it is none, or has a slot that was not drawn.
    """

    def fill(match: re.Match[str]) -> str:
        if match.group(1) not in values:
            raise PatternError(f"{{{match.group(1)}}} stands in a value and is not drawn")
        return f"({values[match.group(1)]!r})"

    filled = _VALUE_SLOT.sub(fill, text)
    try:
        return _evaluate(ast.parse(filled.strip(), mode="eval").body)
    except (SyntaxError, KeyError, ZeroDivisionError) as error:
        raise PatternError(f"{text!r} is no number") from error


def _evaluate(node: ast.expr) -> float:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return float(node.value)
    if isinstance(node, ast.BinOp):
        return _ARITHMETIC[type(node.op)](_evaluate(node.left), _evaluate(node.right))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_evaluate(node.operand)
    raise SyntaxError("only numbers, + - * / and brackets")


@cache
def terms() -> Mapping[str, list[str]]:
    """Names for several lines; $1, $2 … are what stands behind the name."""
    table: Mapping[str, list[str]] = read_yaml(TERMS_FILE)
    return table


def with_sign(values: Mapping[str, float], side: Side) -> dict[str, float]:
    """Values and ``sign``: 1 for the left side, -1 for the right."""
    return {**values, "sign": 1.0 if side == "L" else -1.0}


def constraints(line: str, side: Side, values: Mapping[str, float]) -> list[Constraint]:
    """What a line asks for.

    Raises:
        PatternError: it cannot be understood.
    """
    if "{" not in line:
        return [*_fixed(line, side)]
    return _read(line, side, with_sign(values, side))


@cache
def _fixed(line: str, side: Side) -> tuple[Constraint, ...]:
    """A line in which nothing is drawn; read once, as most are asked thousands of times."""
    return tuple(_read(line, side, with_sign({}, side)))


def _read(line: str, side: Side, values: Mapping[str, float]) -> list[Constraint]:
    words = line.split()
    if not words:
        raise PatternError("an empty constraint")
    if words[0] == "each":
        rest = " ".join(words[1:])
        return [one for each in ("L", "R") for one in constraints(bound(rest, each), side, values)]
    if words[0] in ("soft", "wish"):
        try:
            made = constraints(" ".join(words[1:]), side, values)
        except PatternError:
            if words[0] == "soft":
                raise
            return []
        return [Constraint(c.measure, c.relation, c.low, c.high, SOFT_WEIGHT) for c in made]
    if words[0] in terms():
        lines = []
        for template in terms()[words[0]]:
            for place, argument in enumerate(words[1:], start=1):
                template = template.replace(f"${place}", argument)
            if re.search(r"\$\d", template):
                raise PatternError(f"{line!r}: {words[0]} needs more words behind it")
            lines.append(template)
        return [one for template in lines for one in constraints(template, side, values)]
    return [_constraint(bound(line, side), values)]


def _constraint(line: str, values: Mapping[str, float]) -> Constraint:
    words = line.split()
    at = next((place for place, word in enumerate(words) if word in _OPERATORS), None)
    if at is None:
        raise PatternError(f"{line!r} has no operator: one of {' '.join(_OPERATORS)} with spaces around it")
    try:
        what = measure(words[0], *words[1:at])
    except UnknownMeasureError as error:
        raise PatternError(f"{line!r}: {error}") from error
    sign, told = words[at], " ".join(words[at + 1 :])
    if sign == "keep":
        return Constraint(what, "keep", 0.0, 0.0, 1.0)
    if sign in ("in", "by"):
        low, dots, high = told.partition("..")
        if not dots:
            raise PatternError(f"{line!r}: a range is written low..high")
        ends = (
            number(low, values) if low.strip() else -math.inf,
            number(high, values) if high.strip() else math.inf,
        )
        if ends[0] > ends[1]:
            raise PatternError(f"{line!r}: the range is upside down")
        return Constraint(what, "is" if sign == "in" else "by", *ends, 1.0)
    value = number(told, values)
    if sign == "<=":
        return Constraint(what, "is", -math.inf, value, 1.0)
    if sign == ">=":
        return Constraint(what, "is", value, math.inf, 1.0)
    if sign == "*=":
        return Constraint(what, "times", value, value, 1.0)
    if sign == "-=":
        return Constraint(what, "by", -value, -value, 1.0)
    return Constraint(what, "by" if sign == "+=" else "is", value, value, 1.0)


def joints(words: str, side: Side) -> frozenset[int]:
    """The joints of groups and joints by name, such as "S_arm trunk head".

    Raises:
        PatternError: an unknown name.
    """
    found: set[int] = set()
    for word in bound(words, side).split():
        if word in GROUPS:
            found.update(GROUPS[word])
        elif word in JOINT_OF:
            found.add(JOINT_OF[word])
        else:
            raise PatternError(f"{word!r} is no group and no joint; groups are {', '.join(GROUPS)}")
    return frozenset(found)
