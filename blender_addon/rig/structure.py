# SPDX-License-Identifier: GPL-3.0-or-later
"""Armatures known by their structure, where their names say nothing. Pure numpy.

A humanoid has two pairs of limbs. The bones of a pair hang on the same bone and are mirror images: as long, piece by
piece, and on two sides of one plane. The pair from which the other one can be reached along the spine
without going back, and that lies away from the head, is the legs. Which side is left follows from where the toes
point, else from how knees and elbows bend, else from the sides in the names.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np

from ..contract.rotations import Array
from ..contract.skeleton import JOINT_INDEX
from .bone_map import BoneMap, Skeleton
from .spine import joints_of_spine

_ALIKE: Final = 0.12
"""Lengths of a pair of limbs differ by less than this part."""

_SHORTEST: Final = 0.2
"""A limb is at least this part of the armature's greatest extent."""

_BENT: Final = 35.0
"""Degrees by which a foot is turned from its shank."""

_LEFT: Final = re.compile(r"(^|[\s._\-:])(l|left)([\s._\-\d]|$)|left|左", re.IGNORECASE)
_RIGHT: Final = re.compile(r"(^|[\s._\-:])(r|right)([\s._\-\d]|$)|right|右", re.IGNORECASE)


@dataclass(frozen=True)
class _Pair:
    """Two limbs that are mirror images, as paths of bones outwards; they hang on ``base``."""

    base: int
    one: tuple[int, ...]
    other: tuple[int, ...]
    length: float


class _Form:
    """A skeleton's geometry."""

    def __init__(self, skeleton: Skeleton) -> None:
        self.skeleton = skeleton
        self.heads = np.array(skeleton.heads, dtype=np.float64).reshape(-1, 3)
        self.children: list[list[int]] = [[] for _ in skeleton.names]
        for bone, parent in enumerate(skeleton.parents):
            if parent >= 0:
                self.children[parent].append(bone)
        self.reach = np.zeros(len(self.heads))
        for bone in reversed(range(len(self.heads))):
            for child in self.children[bone]:
                self.reach[bone] = max(self.reach[bone], self.gap(bone, child) + self.reach[child])

    def gap(self, one: int, other: int) -> float:
        return float(np.linalg.norm(self.heads[one] - self.heads[other]))

    def path(self, bone: int) -> tuple[int, ...]:
        """The longest way outwards from a bone."""
        way = [bone]
        while self.children[way[-1]]:
            way.append(max(self.children[way[-1]], key=lambda c: self.gap(way[-1], c) + self.reach[c]))
        return tuple(way)

    def pairs(self) -> list[_Pair]:
        """All pairs of limbs, the longest first."""
        extent = float(np.linalg.norm(np.ptp(self.heads, axis=0)))
        found = []
        roots = [bone for bone, parent in enumerate(self.skeleton.parents) if parent < 0]
        for base in range(-1, len(self.heads)):
            siblings = self.children[base] if base >= 0 else roots
            long = [bone for bone in siblings if self.reach[bone] > _SHORTEST * extent]
            for first, second in combinations(long, 2):
                one, other = self.path(first), self.path(second)
                count = min(len(one), len(other))
                if count >= 3 and self._mirrored(one[:count], other[:count]):
                    found.append(_Pair(base, one, other, float(self.reach[first])))
        return sorted(found, key=lambda pair: -pair.length)

    def _mirrored(self, one: Sequence[int], other: Sequence[int]) -> bool:
        """Whether two paths are mirror images in a plane."""
        first, second = self.heads[list(one)], self.heads[list(other)]
        lengths = [np.linalg.norm(np.diff(points, axis=0), axis=1) for points in (first, second)]
        whole = max(float(lengths[0].sum()), 1e-9)
        if np.abs(lengths[0] - lengths[1]).max() > _ALIKE * whole:
            return False
        across = first - second
        widest = across[np.argmax(np.linalg.norm(across, axis=1))]
        if np.linalg.norm(widest) < 0.05 * whole:
            return False
        normal = widest / np.linalg.norm(widest)
        offside = across - np.outer(across @ normal, normal)
        middle = (first + second) / 2 @ normal
        return bool(np.abs(offside).max() < _ALIKE * whole and np.ptp(middle) < _ALIKE * whole)


def by_structure(skeleton: Skeleton) -> BoneMap | None:
    """The map of an armature that is built like a body, or None."""
    if len(skeleton.names) < 12:
        return None
    form = _Form(skeleton)
    pairs = form.pairs()
    for legs in pairs:
        for arms in pairs:
            spine = _spine_between(legs, arms, skeleton)
            if spine is None or set(legs.one + legs.other) & set(arms.one + arms.other):
                continue
            bones = _body(form, legs, arms, spine)
            if bones is not None:
                return BoneMap("Humanoid (by its structure)", bones, known_by="structure")
    return None


def _spine_between(legs: _Pair, arms: _Pair, skeleton: Skeleton) -> list[int] | None:
    """The bones from above the legs' base up to the arms'; None where the arms are not above the legs."""
    if arms.base < 0 or legs.base < 0 or legs.base == arms.base:
        return None
    line = skeleton.lineage(arms.base)
    if legs.base not in line:
        return None
    return list(reversed(line[: line.index(legs.base)]))


def _body(form: _Form, legs: _Pair, arms: _Pair, spine: list[int]) -> dict[int, str] | None:
    """Bone names by joint, or None where the limbs are not a body's."""
    hips = form.heads[[legs.one[0], legs.other[0]]].mean(axis=0)
    chest = form.heads[[arms.one[0], arms.other[0]]].mean(axis=0)
    upward = chest - hips
    if not np.linalg.norm(upward) > 1e-6:
        return None
    upward /= np.linalg.norm(upward)
    shanks = [_leg(form, path) for path in (legs.one, legs.other)]
    sleeves = [_arm(form, path) for path in (arms.one, arms.other)]
    if None in shanks or None in sleeves:
        return None
    leg, arm = [one for one in shanks if one], [one for one in sleeves if one]
    down = sum(form.heads[one["ankle"]] - form.heads[one["hip"]] for one in leg)
    if down @ upward > -0.75 * np.linalg.norm(down):
        return None  # legs go on where the trunk ends, away from it: not those of a beast
    left = _which_is_left(form, leg, arm, upward)
    if left is None:
        return None
    head = _neck_and_head(form, arms, upward)
    names = form.skeleton.names
    bones = {JOINT_INDEX["pelvis"]: names[legs.base]}
    for limb in (leg, arm):
        for one in limb:
            start = one["hip" if "hip" in one else "shoulder"]
            beside = form.heads[start] - (hips if "hip" in one else chest)
            side = "left" if beside @ left > 0 else "right"
            bones |= {JOINT_INDEX[f"{side}_{joint}"]: names[bone] for joint, bone in one.items()}
    bones |= {JOINT_INDEX[joint]: names[bone] for joint, bone in head.items()}
    if len(set(bones.values())) < len(bones):
        return None
    bones |= joints_of_spine([names[bone] for bone in spine], bones, form.skeleton)
    return dict(sorted(bones.items()))


def _degrees(a: Array, b: Array) -> float:
    return float(np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b)), a @ b)))


def _leg(form: _Form, path: tuple[int, ...]) -> dict[str, int] | None:
    """Hip, knee, ankle and foot on the way outwards."""
    places = form.heads[list(path)]
    whole = form.reach[path[0]]
    ankle = None
    for place in range(2, len(path) - 1):
        rest = float(np.linalg.norm(np.diff(places[place:], axis=0), axis=1).sum())
        bend = _degrees(places[place] - places[place - 1], places[place + 1] - places[place])
        if bend > _BENT and rest < 0.4 * whole:
            ankle = place
            break
    end = ankle if ankle is not None else len(path) - 1
    # A thigh goes down as the leg does; bones before it lead sideways from the pelvis.
    start = 0
    while (
        start + 2 < end and _degrees(places[start + 1] - places[start], places[end] - places[start + 1]) > 40
    ):
        start += 1
    knee = _nearest_part(places, start, end, 0.5)
    if knee is None:
        return None
    found = {"hip": path[start], "knee": path[knee], "ankle": path[end]}
    if ankle is not None:
        found["foot"] = path[end + 1]
    return found


def _arm(form: _Form, path: tuple[int, ...]) -> dict[str, int] | None:
    """Collar, shoulder, elbow and wrist on the way outwards; the wrist is where fingers part, else the last bone."""
    places = form.heads[list(path)]
    fingers = [place for place, bone in enumerate(path) if place >= 2 and len(form.children[bone]) >= 3]
    # Twist bones part from the arm too, but before the fingers do.
    end = fingers[-1] if fingers else len(path) - 1
    best: tuple[float, int, int] | None = None
    for start in range(min(3, end - 1)):
        elbow = _nearest_part(places, start, end, 0.53)
        if elbow is None:
            continue
        upper, lower = (form.gap(path[a], path[b]) for a, b in ((start, elbow), (elbow, end)))
        off = abs(np.log(max(upper, 1e-9) / max(lower, 1e-9) / 1.15))
        if best is None or off < best[0] - 0.05:
            best = (float(off), start, elbow)
    if best is None or best[0] > 1.0:
        return None
    _, start, elbow = best
    found = {"shoulder": path[start], "elbow": path[elbow], "wrist": path[end]}
    if start:
        found["collar"] = path[0]
    return found


def _nearest_part(places: Array, start: int, end: int, part: float) -> int | None:
    """The place strictly between two that lies nearest to a part of the way."""
    lengths = np.cumsum(np.linalg.norm(np.diff(places[start : end + 1], axis=0), axis=1))
    if len(lengths) < 2 or lengths[-1] <= 0:
        return None
    return start + 1 + int(np.argmin(np.abs(lengths[:-1] / lengths[-1] - part)))


def _neck_and_head(form: _Form, arms: _Pair, upward: Array) -> dict[str, int]:
    """The bones that go on upwards from where the arms hang."""
    others = [bone for bone in form.children[arms.base] if bone not in (arms.one[0], arms.other[0])]
    base = form.heads[arms.base]
    rising = [bone for bone in others if (form.heads[bone] - base) @ upward > 0 or form.reach[bone] > 0]
    if not rising:
        return {}

    def height(bone: int) -> float:
        return float(max((form.heads[one] - base) @ upward for one in form.path(bone)))

    neck = max(rising, key=height)
    way = form.path(neck)
    # The head is the last bone before the face's and the hair's spread out, or before the top.
    fork = next((place for place, bone in enumerate(way) if len(form.children[bone]) != 1), len(way) - 1)
    place = fork
    if place == len(way) - 1 and place >= 2:
        place -= 1
    if place == 0:
        return {"head": way[0]}
    return {"neck": way[0], "head": way[place]}


def _which_is_left(
    form: _Form, legs: list[dict[str, int]], arms: list[dict[str, int]], upward: Array
) -> Array | None:
    """The direction to the body's left."""
    across = form.heads[legs[0]["hip"]] - form.heads[legs[1]["hip"]]
    ahead = np.zeros(3)
    for leg in legs:
        if "foot" in leg:
            ahead += form.heads[leg["foot"]] - form.heads[leg["ankle"]]
    ahead -= ahead @ upward * upward
    size = sum(form.gap(leg["hip"], leg["ankle"]) for leg in legs)
    if np.linalg.norm(ahead) < 0.05 * size:
        ahead = np.zeros(3)
        for leg in legs:  # knees lie before the line from hip to ankle, elbows behind theirs
            ahead += form.heads[leg["knee"]] - (form.heads[leg["hip"]] + form.heads[leg["ankle"]]) / 2
        for arm in arms:
            ahead -= form.heads[arm["elbow"]] - (form.heads[arm["shoulder"]] + form.heads[arm["wrist"]]) / 2
        ahead -= ahead @ upward * upward
    if np.linalg.norm(ahead) > 0.02 * size:
        left = np.cross(upward, ahead)
        return np.asarray(left)
    names = [form.skeleton.names[leg["hip"]] for leg in legs]
    if _LEFT.search(names[0]) and _RIGHT.search(names[1]):
        return np.asarray(across)
    if _RIGHT.search(names[0]) and _LEFT.search(names[1]):
        return np.asarray(-across)
    return None
