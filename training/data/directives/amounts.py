# SPDX-License-Identifier: Apache-2.0
"""How much: numbers of degrees and centimetres with their wording, and the groups slight, plain and large.

The adverbs themselves stand in ``wording/amounts.yaml``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

SLIGHT: Final = 0.4
"""'a bit' is this part of the move that is made where no amount is told."""
LARGE: Final = 1.7
"""'a lot' is this multiple of it."""
_GROUP_WEIGHTS: Final = {"plain": 0.38, "slight": 0.18, "large": 0.11, "number": 0.33}

_ROUND_DEGREES: Final = {
    5: 2, 10: 5, 15: 5, 20: 6, 25: 4, 30: 8, 35: 2, 40: 4, 45: 8, 50: 3, 55: 1, 60: 6, 65: 1, 70: 3, 75: 2,
    80: 2, 90: 9, 100: 2, 110: 1, 120: 3, 130: 1, 135: 2, 140: 1, 150: 2, 160: 1, 170: 1, 180: 3,
}  # fmt: skip
_ODD_DEGREES: Final = 0.07
_ROUND_CENTIMETRES: Final = {
    2: 1,
    3: 1,
    5: 4,
    8: 2,
    10: 8,
    12: 2,
    15: 5,
    20: 7,
    25: 4,
    30: 5,
    35: 1,
    40: 3,
    50: 3,
    60: 1,
}
_INCHES: Final = {1: 1, 2: 3, 3: 3, 4: 4, 5: 2, 6: 4, 8: 3, 10: 2, 12: 2}
_METRES_PER_INCH: Final = 0.0254

_ONES: Final = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS: Final = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_ABOUT: Final = ("about", "around", "roughly", "approximately", "approx.", "some")

Group = Literal["plain", "slight", "large", "number"]


@dataclass(frozen=True)
class Amount:
    """How far a move goes.

    Attributes:
        value: degrees or metres.
        group: how it is told; ``plain`` is not told at all.
        slots: the words. A sentence uses ``{pre}`` before the verb and ``{amount}`` after the object
            (at most one of the two has words), or ``{comp}`` alone before a comparative ("{comp} higher").
    """

    value: float
    group: Group
    slots: Mapping[str, str]


def spelled(number: int) -> str:
    """A number from 0 to 199 in words, such as "forty-five"."""
    if number >= 100:
        rest = number - 100
        return "a hundred" if not rest else f"a hundred and {spelled(rest)}"
    if number < 20:
        return _ONES[number]
    tens, ones = divmod(number, 10)
    return _TENS[tens] + (f"-{_ONES[ones]}" if ones else "")


def _draw(rng: np.random.Generator, weights: Mapping[int, float], low: float, high: float) -> int:
    values = [value for value in weights if low <= value <= high]
    mass = np.cumsum([weights[value] for value in values])
    return values[int(np.searchsorted(mass, rng.random() * mass[-1], side="right"))]


def _worded(rng: np.random.Generator, text: str) -> str:
    return f"{_ABOUT[rng.integers(len(_ABOUT))]} {text}" if rng.random() < 0.07 else text


def degrees(rng: np.random.Generator, low: float = 5, high: float = 180) -> tuple[float, str]:
    """An angle between ``low`` and ``high`` degrees, mostly a round one, and its wording."""
    number = _draw(rng, _ROUND_DEGREES, low, high)
    if rng.random() < _ODD_DEGREES:
        number = int(rng.integers(int(low), int(high) + 1))
    return float(number), degrees_text(rng, number)


def degrees_text(rng: np.random.Generator, number: int) -> str:
    """One wording of an angle in whole degrees (0 to 199)."""
    form = rng.random()
    if form < 0.17:
        return _worded(rng, f"{spelled(number)} degrees")
    if form < 0.30:
        return _worded(rng, f"{number}°")
    if form < 0.40:
        return _worded(rng, f"{number} deg")
    if form < 0.43:
        return f"{number}deg"
    if form < 0.46:
        return f"{number} degree"
    return _worded(rng, f"{number} degrees")


def distance(rng: np.random.Generator, low: float = 0.02, high: float = 0.6) -> tuple[float, str]:
    """A distance between ``low`` and ``high`` metres (0.05 to 0.1 must lie within) and its wording."""
    form = rng.random()
    if form < 0.2:
        inches = _draw(rng, _INCHES, low / _METRES_PER_INCH, high / _METRES_PER_INCH)
        if inches == 12 and rng.random() < 0.6:
            text = "a foot" if rng.random() < 0.7 else "one foot"
        else:
            name = spelled(inches) if rng.random() < 0.35 else str(inches)
            unit = "inch" if inches == 1 else "inches"
            text = f"{name} {unit if rng.random() < 0.8 else 'in.'}"
        return inches * _METRES_PER_INCH, _worded(rng, text)
    centimetres = _draw(rng, _ROUND_CENTIMETRES, low * 100, high * 100)
    if centimetres == 50 and form > 0.75:
        return 0.5, "half a [metre|meter]"
    if form < 0.35:
        text = f"{spelled(centimetres)} [centimetres|centimeters]"
    elif form < 0.5:
        text = f"{centimetres} [centimetres|centimeters]"
    elif form < 0.56:
        text = f"0.{centimetres:02d} m".replace("0 m", " m")
    else:
        text = f"{centimetres} cm" if form < 0.9 else f"{centimetres}cm"
    return centimetres / 100, _worded(rng, text)


def draw_amount(
    rng: np.random.Generator,
    typical: float,
    *,
    numbers: tuple[float, float],
    unit: Literal["degrees", "metres"] = "degrees",
    slight: float = SLIGHT,
    large: float = LARGE,
) -> Amount:
    """How far to go: as usual, slightly, a lot, or by a number.

    Args:
        typical: what is done where no amount is told, in degrees or metres.
        numbers: the least and the most that may be asked for as a number.
        unit: of ``typical`` and ``numbers``.
        slight: factor for "a bit".
        large: factor for "a lot".
    """
    draw = rng.random()
    if draw < _GROUP_WEIGHTS["plain"]:
        amount = "{moderately}" if rng.random() < 0.05 else ""
        return Amount(typical, "plain", {"pre": "", "amount": amount, "comp": ""})
    draw -= _GROUP_WEIGHTS["plain"]
    if draw < _GROUP_WEIGHTS["slight"]:
        pre, amount = ("{slightly}", "") if rng.random() < 0.3 else ("", "{a_bit}")
        return Amount(typical * slight, "slight", {"pre": pre, "amount": amount, "comp": "{bit}"})
    draw -= _GROUP_WEIGHTS["slight"]
    if draw < _GROUP_WEIGHTS["large"]:
        return Amount(typical * large, "large", {"pre": "", "amount": "{a_lot}", "comp": "{much}"})
    value, text = degrees(rng, *numbers) if unit == "degrees" else distance(rng, *numbers)
    return Amount(value, "number", {"pre": "", "amount": f"[by|by|] {text}", "comp": text})
