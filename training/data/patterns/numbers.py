# SPDX-License-Identifier: Apache-2.0
"""The numbers in a sentence: what may be drawn, and how it is said.

A pattern's ``draw`` names each: ``10..40 cm``, ``5..90 deg``, ``0.2..0.8 share`` (half, a third, 40 %), ``amount 20
deg`` (a bit, nothing, a lot: 0.4, 1 and 1.7 times 20), or a table of words with their values.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import numpy as np

from training.data.directives.amounts import LARGE, SLIGHT, degrees, distance

from .language import PatternError

DrawSpec = str | Mapping[str, float]

_RANGE: Final = re.compile(r"(-?[\d.]+)\s*\.\.\s*(-?[\d.]+)\s*(cm|deg|share)")
_AMOUNT: Final = re.compile(r"amount\s+([\d.]+)\s*(cm|deg|share)")
_UNITS: Final[dict[str, dict[str, str]]] = {
    "de": {"cm": "[cm|cm|Zentimeter]", "deg": "[Grad|Grad|°]", "share": "[%|Prozent]"},
    "fr": {"cm": "[cm|cm|centimètres]", "deg": "[degrés|degrés|°]", "share": "[%|pour cent]"},
    "es": {"cm": "[cm|cm|centímetros]", "deg": "[grados|grados|°]", "share": "[%|por ciento]"},
    "pt": {"cm": "[cm|cm|centímetros]", "deg": "[graus|graus|°]", "share": "[%|por cento]"},
    "it": {"cm": "[cm|cm|centimetri]", "deg": "[gradi|gradi|°]", "share": "[%|per cento]"},
}  # fmt: skip
_ROUND: Final = {
    "cm": (3, 4, 5, 6, 8, 10, 12, 15, 18, 20, 25, 30, 35, 40, 45, 50, 60, 70, 80),
    "deg": (5, 10, 12, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 65, 70, 75, 80, 90, 100, 110, 120, 135, 150, 160, 180),
    "share": (10, 20, 25, 30, 40, 50, 60, 70, 75, 80, 90),
}  # fmt: skip
_SHARES: Final[dict[float, str]] = {
    1 / 10: "[a tenth|10 percent|10 %|10%]", 1 / 5: "[a fifth|one fifth|20 percent|20%|20 %]",
    1 / 4: "[a quarter|one quarter|a fourth|25 percent|25%|25 %|1/4]",
    1 / 3: "[a third|a third|one third|1/3|33%]", 2 / 5: "[two fifths|40 percent|40%|40 %]",
    1 / 2: "[half|half|half|one half|50 percent|50%|50 %|1/2]", 3 / 5: "[three fifths|60 percent|60%|60 %]",
    2 / 3: "[two thirds|two thirds|2/3]", 3 / 4: "[three quarters|three fourths|75 percent|75%|75 %|3/4]",
    4 / 5: "[four fifths|80 percent|80%]",
}  # fmt: skip
SLIGHTLY: Final = (
    "[a bit|a bit|a little|a little|slightly|somewhat|a touch|a tad|a little bit|a smidge|just a little|"
    "a fraction|a notch|ever so slightly|a hair|a wee bit|a trifle|gently]"
)
STRONGLY: Final = (
    "[a lot|a lot|much|a good deal|far|considerably|significantly|a great deal|quite a bit|well|by a lot|a ton|"
    "loads]"
)
_WORDS: Final[dict[str, tuple[str, str]]] = {
    "en": (SLIGHTLY, STRONGLY),
    "de": ("[etwas|ein bisschen|ein wenig|leicht|minimal]", "[viel|deutlich|stark|erheblich|ein ganzes Stück]"),
    "fr": ("[un peu|légèrement|un petit peu|un tantinet]", "[beaucoup|nettement|fortement]"),
    "es": ("[un poco|ligeramente|un poquito|algo]", "[mucho|bastante|considerablemente]"),
    "pt": ("[um pouco|ligeiramente|um pouquinho|de leve]", "[muito|bastante|consideravelmente]"),
    "it": ("[un po'|leggermente|un pochino|appena]", "[molto|parecchio|decisamente]"),
}  # fmt: skip
_PLAIN_SHARE, _SLIGHT_SHARE = 0.45, 0.35
LANGUAGES: Final = tuple(_WORDS)


def draw(rng: np.random.Generator, spec: DrawSpec, language: str = "en") -> tuple[float, str]:
    """A value (degrees, metres or a share) and its words.

    Raises:
        PatternError: nothing is drawn that way.
    """
    if isinstance(spec, Mapping):
        words = list(spec)
        chosen = words[rng.integers(len(words))]
        return float(spec[chosen]), str(chosen)
    if match := _RANGE.fullmatch(spec.strip()):
        low, high, unit = float(match.group(1)), float(match.group(2)), match.group(3)
        return _in_range(rng, low, high, unit, language)
    if match := _AMOUNT.fullmatch(spec.strip()):
        usual = float(match.group(1)) * (0.01 if match.group(2) == "cm" else 1.0)
        slightly, strongly = _WORDS[language]
        form = rng.random()
        if form < _PLAIN_SHARE:
            return usual, ""
        if form < _PLAIN_SHARE + _SLIGHT_SHARE:
            return usual * SLIGHT, slightly
        return usual * LARGE, strongly
    raise PatternError(
        f"{spec!r} cannot be drawn: write 10..40 cm, 5..90 deg, 0.2..0.8 share, amount 20 deg, or a table of words"
    )


def _in_range(
    rng: np.random.Generator, low: float, high: float, unit: str, language: str
) -> tuple[float, str]:
    if language == "en":
        if unit == "share":
            known = [value for value in _SHARES if low - 1e-6 <= value <= high + 1e-6]
            value = known[rng.integers(len(known))]
            return value, _SHARES[value]
        if unit == "deg":
            return degrees(rng, low, high)
        return distance(rng, low / 100, high / 100)
    scale = {"share": 100.0, "deg": 1.0, "cm": 1.0}[unit]
    known = [one for one in _ROUND[unit] if low * scale <= one <= high * scale]
    if not known:
        raise PatternError(f"no round number between {low} and {high} {unit}")
    value = known[rng.integers(len(known))]
    return value / (100.0 if unit != "deg" else 1.0), f"{value} {_UNITS[language][unit]}"
