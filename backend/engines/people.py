# SPDX-License-Identifier: Apache-2.0
"""Who is to be seen in a picture: one whole person, or a sentence that says why no pose can be read off it.

The pose reader finds joints in any picture, even of nobody. How far apart each joint might be (``spread``, the
logarithm of a standard deviation in 32nds of what it looks at) tells: of whole figures it is small everywhere, of half
a figure large in the limbs that are missing, of two figures large in all that they both have. Where it is large, parts
of the picture are looked at by themselves: figures stand side by side. Limits were set on drawn pictures
(``posellava eval --suite pictures``).

Legend: N pictures, J = 24 joints.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from blender_addon.contract.kinematics import heading
from blender_addon.contract.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from blender_addon.contract.skeleton import JOINT_INDEX

Floats = npt.NDArray[np.float32]


class Seen(NamedTuple):
    """What the pose reader sees: ``matrices`` (N, J, 3, 3), the poses with headings relative to the camera; ``spread``
    (N, J) of its second look; ``places`` (N, J, 2) and ``first_spread`` (N, J) of its first, as shares of a square in
    which the picture lies in the middle."""

    matrices: npt.NDArray[np.float64]
    spread: Floats
    places: Floats
    first_spread: Floats


Look = Callable[[Sequence[Image.Image]], Seen]


@dataclass(frozen=True)
class Person:
    """One who is seen: ``pose_aa`` (J, 3) with the heading relative to the camera, ``confidence`` (J,), about each
    joint's chance of lying within 10 cm of where it really is, whether it took the words to tell who is meant, and a
    sentence where not all of the body is seen well."""

    pose_aa: Floats
    confidence: Floats
    is_named: bool = False
    caution: str = ""

    @property
    def heading(self) -> float:
        """Radians, 0 facing the camera."""
        return float(heading(axis_angle_to_matrix(self.pose_aa[0].astype(np.float64))))


NOBODY: Final = "I see nobody in this picture."
DOUBTFUL: Final = "Not all of the body is to be seen well: check the limbs."
PART: Final = "I see no whole body in this picture: choose one that shows all of it."
SEVERAL: Final = "I see {count} people in this picture: say which one, such as 'the person on the left'."

MOST_DOUBT: Final = 0.95
"""Of a limb group's mean spread; of whole figures one in a hundred is above it, of halves and pairs nearly all."""
MOST_DOUBT_WITH_CAUTION: Final = 1.15
"""Where no other figure is found: what is read is then given with a word of caution."""
MOST_DOUBT_IN_PART: Final = 0.6
"""The same of a part of the picture: half a figure seems whole the sooner, the more parts are looked at."""
NOBODYS_DOUBT: Final = 1.25
"""Of the mean spread of all joints: pictures of nobody are above it."""
_GROUPS: Final = tuple(
    np.array([JOINT_INDEX[name] for name in names])
    for names in (
        ("left_knee", "right_knee", "left_ankle", "right_ankle", "left_foot", "right_foot"),
        ("neck", "head", "left_shoulder", "right_shoulder", "left_elbow", "right_elbow"),
    )
)
_BODY: Final = 22
"""Joints that a picture shows: all but the hands, which carry nothing."""
_WINDOWS: Final = ((0.0, 0.5), (0.25, 0.75), (0.5, 1.0), (0.0, 0.4), (0.3, 0.7), (0.6, 1.0))
"""Parts of a picture's width in which a figure may stand by itself."""
_SAME: Final = 0.3
"""Two boxes that share this much of what they cover are of one figure."""
_CONFIDENCE: Final = (1.73, -2.08)
"""A logistic function of the spread, fitted on 420 drawn pictures of whole and half figures."""
_PERSON: Final = (
    r"\b(?:one|person|man|woman|guy|girl|boy|lady|figure|character|dancer|player|child|kid|body)\b"
)
_AT: Final = r"[^.,;]{0,20}\b(?:on|at|to|in) the (?:far )?"
_PLACES: Final = {
    name: re.compile(rf"{_PERSON}{_AT}{place}\b|\b{place}(?:most|-hand)? {_PERSON}")
    for name, place in (("left", "left"), ("right", "right"), ("middle", "(?:middle|centre|center)"))
}
"""Words for a person beside words for a place: the left arm of somebody is no place."""


def person_in(image: Image.Image, words: str, look: Look, seen: Seen | None = None) -> Person | str:
    """The one whole person in a picture, or the one whom the words name where there are several; else a sentence.

    Args:
        image: the picture.
        words: what is asked of it.
        look: the pose reader.
        seen: what it sees in the whole picture (N = 1), where it has looked already.
    """
    seen = look([image]) if seen is None else seen
    if doubts(seen)[0] <= MOST_DOUBT:
        return _person(seen, 0)
    windows = [_cut(image, *part) for part in _WINDOWS]
    parts = look(windows)
    people = _people(image, windows, parts)
    if not people and doubts(seen)[0] <= MOST_DOUBT_WITH_CAUTION:
        return replace(_person(seen, 0), caution=DOUBTFUL)
    if not people:
        least = min(seen.spread[0, :_BODY].mean(), seen.first_spread[0, :_BODY].mean())
        return NOBODY if least > NOBODYS_DOUBT else PART
    if len(people) > 1:
        named = _named(words, len(people))
        return (
            SEVERAL.format(count=len(people)) if named is None else _person(parts, people[named], named=True)
        )
    return _person(parts, people[0])


def doubts(seen: Seen) -> npt.NDArray[np.float64]:
    """(N,) the mean spread of the limbs that are seen worst, in the worse of both looks."""
    looks = (seen.spread, seen.first_spread)
    groups = [spread[:, group].mean(axis=1) for spread in looks for group in _GROUPS]
    worst: npt.NDArray[np.float64] = np.stack(groups).astype(np.float64).max(axis=0)
    return worst


def confidence_of(spread: Floats) -> Floats:
    """(..., J) from the spread of each joint."""
    bias, slope = _CONFIDENCE
    return np.asarray(1 / (1 + np.exp(-(bias + slope * spread))), dtype=np.float32)


def _person(seen: Seen, row: int, *, named: bool = False) -> Person:
    pose_aa = matrix_to_axis_angle(seen.matrices[row]).astype(np.float32)
    return Person(pose_aa, confidence_of(seen.spread[row]), named)


def _cut(image: Image.Image, start: float, end: float) -> Image.Image:
    return image.crop((round(start * image.width), 0, max(round(end * image.width), 1), image.height))


def _people(image: Image.Image, windows: Sequence[Image.Image], seen: Seen) -> list[int]:
    """The windows that show a whole figure, one for each figure, from left to right."""
    found: list[tuple[int, npt.NDArray[np.float64]]] = []
    for row in np.argsort(doubts(seen)):
        if doubts(seen)[row] > MOST_DOUBT_IN_PART:
            break
        box = _box(image, windows[row], _WINDOWS[row][0], seen.places[row])
        if all(_shared(box, other) < _SAME for _, other in found):
            found.append((int(row), box))
    return [row for row, box in sorted(found, key=lambda each: float(each[1][0] + each[1][2]))]


def _box(image: Image.Image, window: Image.Image, start: float, places: Floats) -> npt.NDArray[np.float64]:
    """(4,) the least and the most x and y of the joints, in pixels of the picture."""
    side = max(window.size)
    pixels = (places[:_BODY] - 0.5) * side + np.array(window.size) / 2 + (start * image.width, 0.0)
    box: npt.NDArray[np.float64] = np.concatenate([pixels.min(axis=0), pixels.max(axis=0)]).astype(np.float64)
    return box


def _shared(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float:
    """By how much two boxes cover the same, as a share of the smaller one."""
    both = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    least = min(float(np.prod(each[2:] - each[:2])) for each in (one, other))
    return float(np.prod(np.maximum(both, 0.0))) / max(least, 1.0)


def _named(words: str, count: int) -> int | None:
    """Which of so many people, from left to right, the words name."""
    named = [place for place, pattern in _PLACES.items() if pattern.search(words.lower())]
    if len(named) != 1:
        return None
    return {"left": 0, "right": count - 1, "middle": count // 2}[named[0]]
