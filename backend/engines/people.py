# SPDX-License-Identifier: Apache-2.0
"""Who is to be seen in a picture: one whole person, or a sentence that says why no pose can be read off it.

The pose reader finds joints in any picture, even of nobody. How far apart each joint might be (``spread``, the
logarithm of a standard deviation in 32nds of what it looks at) tells: of whole figures it is small everywhere, of half
a figure large in the limbs that are missing, of two figures large in all that they both have. Where it is large, parts
of the picture are looked at by themselves: figures stand side by side. So they are, more of them and less strictly,
where words tell somebody, who then is somewhere (``meant`` has who it is). Limits were set on drawn pictures
(``posellava eval --suite pictures`` and ``--suite rpe``).

Legend: N pictures, J = 24 joints.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from blender_addon.contract.kinematics import heading
from blender_addon.contract.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from blender_addon.contract.skeleton import JOINT_INDEX

from .meant import Imagine, Shown, by_words, tells_somebody

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
_CLOSE_WINDOWS: Final = tuple(
    (start / 10, start / 10 + width) for width in (0.4, 0.5) for start in range(11 - round(10 * width))
)
"""The same where words tell somebody."""
MOST_DOUBT_IN_PART_OF_TOLD: Final = 1.15
_SAME: Final = 0.3
"""Two boxes that share this much of what they cover are of one figure."""
_CONFIDENCE: Final = (1.73, -2.08)
"""A logistic function of the spread, fitted on 420 drawn pictures of whole and half figures."""


def person_in(
    image: Image.Image, words: str, look: Look, seen: Seen | None = None, imagine: Imagine | None = None
) -> Person | str:
    """The one whole person in a picture, or the one whom the words name where there are several; else a sentence.

    Args:
        image: the picture.
        words: what is asked of it.
        look: the pose reader.
        seen: what it sees in the whole picture (N = 1), where it has looked already.
        imagine: what the model makes of words for what somebody does; None where they are of something else.
    """
    seen = look([image]) if seen is None else seen
    is_sure = bool(doubts(seen)[0] <= MOST_DOUBT)
    told = tells_somebody(words, does=imagine is not None)
    if is_sure and not told:
        return _person(seen, 0)
    people = _people(image, look, seen, is_sure=is_sure, told=told)
    if not people and doubts(seen)[0] <= MOST_DOUBT_WITH_CAUTION:
        return replace(_person(seen, 0), caution=DOUBTFUL)
    if not people:
        least = min(seen.spread[0, :_BODY].mean(), seen.first_spread[0, :_BODY].mean())
        return NOBODY if least > NOBODYS_DOUBT else PART
    if len(people) == 1:
        return people[0].person
    shown = [Shown(one.person.pose_aa, one.pixels) for one in people]
    number = by_words(words, shown, np.asarray(image.convert("RGB")), imagine)
    return (
        SEVERAL.format(count=len(people)) if number is None else replace(people[number].person, is_named=True)
    )


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


class _Found(NamedTuple):
    """A person, and in which pixels of the picture the joints (J, 2) are."""

    person: Person
    pixels: npt.NDArray[np.float64]

    @property
    def box(self) -> npt.NDArray[np.float64]:
        """(4,) the least and the most x and y of the joints."""
        body = self.pixels[:_BODY]
        return np.concatenate([body.min(axis=0), body.max(axis=0)])


def _person(seen: Seen, row: int) -> Person:
    pose_aa = matrix_to_axis_angle(seen.matrices[row]).astype(np.float32)
    return Person(pose_aa, confidence_of(seen.spread[row]))


def _people(image: Image.Image, look: Look, seen: Seen, *, is_sure: bool, told: bool) -> list[_Found]:
    """Those who are seen whole in parts of a picture, from left to right, each once. Where words tell somebody, one who
    is seen in the whole picture, where it is sure of one, is there too; others are whoever stands beside."""
    found = [_Found(_person(seen, 0), _pixels(image, image, 0.0, seen.places[0]))] if is_sure else []
    parts = _CLOSE_WINDOWS if told else _WINDOWS
    windows = [_cut(image, *part) for part in parts]
    in_parts = look(windows)
    doubt = doubts(in_parts)
    for row in np.argsort(doubt):
        if doubt[row] > (MOST_DOUBT_IN_PART_OF_TOLD if told else MOST_DOUBT_IN_PART):
            break
        pixels = _pixels(image, windows[row], parts[row][0], in_parts.places[row])
        one = _Found(_person(in_parts, int(row)), pixels)
        if all(_shared(one.box, other.box) < _SAME for other in found):
            found.append(one)
    return sorted(found, key=lambda one: float(one.box[0] + one.box[2]))


def _cut(image: Image.Image, start: float, end: float) -> Image.Image:
    return image.crop((round(start * image.width), 0, max(round(end * image.width), 1), image.height))


def _pixels(image: Image.Image, window: Image.Image, start: float, places: Floats) -> npt.NDArray[np.float64]:
    """(J, 2) where the joints that are seen in a window are in the picture."""
    inside: npt.NDArray[np.float64] = (places.astype(np.float64) - 0.5) * max(window.size) + np.array(
        window.size
    ) / 2
    inside[:, 0] += start * image.width
    return inside


def _shared(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float:
    """By how much two boxes cover the same, as a share of the smaller one."""
    both = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    least = min(float(np.prod(each[2:] - each[:2])) for each in (one, other))
    return float(np.prod(np.maximum(both, 0.0))) / max(least, 1.0)
