# SPDX-License-Identifier: Apache-2.0
"""Who of several people in a picture is meant by words: by the place, the clothes, the size, or what somebody does.

Places, colours and sizes are compared among those who are seen: the reddest shirt is the red one. What somebody does is
left to the model: it is asked for the pose that the words describe, and who is nearest to it is meant.

Legend: P people from left to right, J = 24 joints; pixels of the whole picture, x to the right and y down.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from blender_addon.contract.kinematics import forward_kinematics, yaw_matrix
from blender_addon.contract.kinematics import heading as heading_of
from blender_addon.contract.rotations import axis_angle_to_matrix
from blender_addon.contract.skeleton import JOINT_INDEX

Floats = npt.NDArray[np.float32]
Imagine = Callable[[str], Floats | None]
"""The pose (J, 3) that words describe; None where the model gives none."""


@dataclass(frozen=True)
class Shown:
    """One who is seen: the pose (J, 3), and in which pixels the joints (J, 2) are."""

    pose_aa: Floats
    pixels: npt.NDArray[np.float64]


_PERSON: Final = (
    r"\b(?:one|person|man|woman|guy|girl|boy|lady|figure|character|dancer|player|child|kid|adult|body)\b"
)
_AT: Final = r"[^.,;]{0,20}\b(?:on|at|to|in) the (?:far )?"
_PLACES: Final = {
    name: re.compile(rf"{_PERSON}{_AT}{place}\b|\b{place}(?:most|-hand)? {_PERSON}")
    for name, place in (("left", "left"), ("right", "right"), ("middle", "(?:middle|centre|center)"))
}
"""Words for a person beside words for a place: the left arm of somebody is no place."""
_BETWEEN: Final = re.compile(rf"{_PERSON} between\b")
_COLOURS: Final = {
    "red": (200, 45, 45), "orange": (235, 135, 40), "yellow": (235, 210, 65), "green": (50, 155, 65),
    "blue": (50, 85, 200), "purple": (130, 50, 165), "violet": (130, 50, 165), "pink": (235, 140, 180),
    "brown": (115, 75, 45), "white": (235, 235, 235), "grey": (128, 128, 128), "gray": (128, 128, 128),
    "black": (25, 25, 28),
}  # fmt: skip
_UPPER: Final = "shirt|t-shirt|top|jumper|sweater|pullover|jacket|coat|blouse|hoodie"
_LOWER: Final = "trousers|pants|jeans|skirt|shorts|leggings"
_WORN: Final = re.compile(
    rf"\b({'|'.join(_COLOURS)}) (?:({_UPPER})|({_LOWER}))\b|\b(?:in|wearing) ({'|'.join(_COLOURS)})\b"
)
_SMALL: Final = re.compile(
    rf"\bchild\b|\bkid\b|\b(?:small|short|little)(?:est|er)?\b[^.,;]{{0,12}}{_PERSON}|\bwho is (?:smaller|shorter)\b"
)
_TALL: Final = re.compile(
    rf"\badult\b|\bgrown-up\b|\b(?:tall|large|big)(?:est|er|gest|ger)?\b[^.,;]{{0,12}}{_PERSON}"
    r"|\bwho is (?:taller|larger|bigger)\b"
)
_DOES: Final = re.compile(
    rf"{_PERSON},? (?:who|whose|that|with|wearing|on (?!the\b)|bent|seated|in (?!the\b|this\b|that\b|my\b)|[a-z]+ing\b)"
)
_TRUNK: Final = ("spine1", "spine2", "spine3")
_THIGHS: Final = (("left_hip", "left_knee"), ("right_hip", "right_knee"))
_PATCH: Final = 1 / 60
"""Half the side of what is looked at around a point, as a share of the person's extent."""
_BODY: Final = 22
"""Joints that a picture shows: all but the hands."""


def tells_somebody(words: str, *, does: bool) -> bool:
    """Whether words point somebody out; ``does``: what somebody does counts too."""
    words = words.lower()
    ways = [*_PLACES.values(), _BETWEEN, _WORN, _SMALL, _TALL, *([_DOES] if does else [])]
    return any(way.search(words) for way in ways)


def by_words(
    words: str, people: Sequence[Shown], picture: npt.NDArray[np.uint8], imagine: Imagine | None
) -> int | None:
    """The number of the one who is meant, from the left; None where the words tell nobody.

    Args:
        words: what is said.
        people: at least two.
        picture: (H, W, 3).
        imagine: what the model makes of the words; None where what somebody does is not asked.
    """
    words = words.lower()
    place = _by_place(words, len(people))
    if place is not None:
        return place
    if _WORN.search(words):
        return int(np.argmin(_of_colours(words, people, picture)))
    if bool(_SMALL.search(words)) != bool(_TALL.search(words)):
        sizes = [_size(one) for one in people]
        return int(np.argmin(sizes) if _SMALL.search(words) else np.argmax(sizes))
    if imagine is None or not _DOES.search(words):
        return None
    wanted = imagine(words)
    if wanted is None:
        return None
    return int(np.argmin([_apart(one.pose_aa, wanted) for one in people]))


def _by_place(words: str, count: int) -> int | None:
    named = [place for place, pattern in _PLACES.items() if pattern.search(words)]
    if not named and _BETWEEN.search(words):
        named = ["middle"]
    if len(named) != 1:
        return None
    return {"left": 0, "right": count - 1, "middle": count // 2}[named[0]]


def _of_colours(
    words: str, people: Sequence[Shown], picture: npt.NDArray[np.uint8]
) -> npt.NDArray[np.float64]:
    """(P,) how far each one's clothes are from the colours that are named."""
    far = np.zeros(len(people))
    for found in _WORN.finditer(words):
        colour = _lab(np.array(_COLOURS[found[1] or found[4]], dtype=np.float64))
        for number, one in enumerate(people):
            worn = [] if found[3] else [_trunk_colour(one, picture)]
            worn += [] if found[2] else [_legs_colour(one, picture)]
            far[number] += min(float(np.linalg.norm(each - colour)) for each in worn)
    return far


def _trunk_colour(one: Shown, picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    points = one.pixels[[JOINT_INDEX[name] for name in _TRUNK[1:]]]
    return _colour(points, one, picture)


def _legs_colour(one: Shown, picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    points = [one.pixels[[JOINT_INDEX[name] for name in ends]] for ends in _THIGHS]
    shares = (0.4, 0.6, 0.8)
    along = [first + share * (last - first) for first, last in points for share in shares]
    return _colour(np.array(along), one, picture)


def _colour(
    points: npt.NDArray[np.float64], one: Shown, picture: npt.NDArray[np.uint8]
) -> npt.NDArray[np.float64]:
    """The median colour around points, in Lab."""
    reach = max(1, round(float(np.ptp(one.pixels[:_BODY], axis=0).max()) * _PATCH))
    height, width = picture.shape[:2]
    patches = []
    for x, y in np.clip(points, 0, (width - 1, height - 1)).round().astype(int):
        patch = picture[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
        patches.append(patch.reshape(-1, 3))
    return _lab(np.median(np.concatenate(patches), axis=0).astype(np.float64))


def _lab(colour: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """CIE Lab of an sRGB colour (3,), 0 to 255, with lightness counted half: light and shadow change it."""
    linear = (colour / 255) ** 2.2
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = np.cbrt(to_xyz @ linear / np.array([0.9505, 1.0, 1.089]))
    return np.array([0.5 * (116 * y - 16), 500 * (x - y), 200 * (y - z)])


def _size(one: Shown) -> float:
    """Pixels for a metre of a body of the neutral one's size: a child's are fewer, whatever its pose."""
    _, joints = forward_kinematics(axis_angle_to_matrix(one.pose_aa.astype(np.float64)))
    seen, real = one.pixels[:_BODY], joints[:_BODY, :2]
    spans = [float(np.linalg.norm(points - points.mean(axis=0))) for points in (seen, real)]
    return spans[0] / max(spans[1], 1e-6)


def _apart(one: Floats, other: Floats) -> float:
    """Mean distance of the joints of two poses that face the same way."""
    places = []
    for pose in (one, other):
        local = axis_angle_to_matrix(pose.astype(np.float64))
        local[0] = yaw_matrix(-float(heading_of(local[0]))) @ local[0]
        places.append(forward_kinematics(local)[1])
    return float(np.linalg.norm(places[0] - places[1], axis=-1).mean())
