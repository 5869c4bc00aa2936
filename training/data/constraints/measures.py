# SPDX-License-Identifier: Apache-2.0
"""Numbers about a pose that constraints put into ranges: angles in degrees, lengths in metres.

Everything is measured in the body's upright frame: heading taken out, +x its left, +y up, +z the way it faces. Each
measure is one of a few *forms*, functions of the positions of at most six places, so that thousands of measures of
different poses are worked out and differentiated together.

Legend: M measures; K slots for places; B poses; P places.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Final

import torch
from torch import Tensor

from .points import FLOOR, POINT_INDEX, has_normal

DEGREES: Final = 180.0 / math.pi
_TINY: Final = 1e-9
STEEPEST: Final = 3000.0
"""Degrees a metre: the angle of a line in a plane that it stands across changes without bound."""

Axis = tuple[float, float, float]
_AXES: Final[dict[str, Axis]] = {
    "x": (1.0, 0.0, 0.0), "y": (0.0, 1.0, 0.0), "z": (0.0, 0.0, 1.0),
    "left": (1.0, 0.0, 0.0), "right": (-1.0, 0.0, 0.0), "up": (0.0, 1.0, 0.0), "down": (0.0, -1.0, 0.0),
    "front": (0.0, 0.0, 1.0), "back": (0.0, 0.0, -1.0),
    "L_out": (1.0, 0.0, 0.0), "R_out": (-1.0, 0.0, 0.0), "L_in": (-1.0, 0.0, 0.0), "R_in": (1.0, 0.0, 0.0),
}  # fmt: skip
"""Directions: ``L_out`` is outward for the left side, ``L_in`` inward."""


def _length(points: Tensor, aux: Tensor) -> Tensor:
    return (points[:, 1] - points[:, 0]).square().sum(-1).add(_TINY).sqrt()


def _level_length(points: Tensor, aux: Tensor) -> Tensor:
    return (points[:, 1] - points[:, 0])[:, (0, 2)].square().sum(-1).add(_TINY).sqrt()


def _component(points: Tensor, aux: Tensor) -> Tensor:
    """Of the line from the second place to the first along an axis."""
    return ((points[:, 0] - points[:, 1]) * aux[:, :3]).sum(-1)


def _angle(u: Tensor, v: Tensor) -> Tensor:
    across = torch.linalg.cross(u, v).square().sum(-1).add(_TINY).sqrt()
    return DEGREES * torch.atan2(across, (u * v).sum(-1))


def _to_axis(points: Tensor, aux: Tensor) -> Tensor:
    """Angle of the line from the first place to the second with an axis."""
    return _angle(points[:, 1] - points[:, 0], aux[:, :3])


def _between(points: Tensor, aux: Tensor) -> Tensor:
    return _angle(points[:, 1] - points[:, 0], points[:, 3] - points[:, 2])


def _planar(points: Tensor, aux: Tensor) -> Tensor:
    """Angle of a line in the plane of two axes, from the second towards the first; -180 to 180."""
    line = points[:, 1] - points[:, 0]
    return DEGREES * torch.atan2((line * aux[:, :3]).sum(-1), (line * aux[:, 3:]).sum(-1))


def _rise(points: Tensor, aux: Tensor) -> Tensor:
    """Elevation of a line above the plane across an axis; -90 to 90."""
    line = points[:, 1] - points[:, 0]
    up = (line * aux[:, :3]).sum(-1)
    level = (line - up[:, None] * aux[:, :3]).square().sum(-1).add(_TINY).sqrt()
    return DEGREES * torch.atan2(up, level)


def _planar_in(points: Tensor, aux: Tensor) -> Tensor:
    """As ``_planar``, the axes being lines of the body themselves: a0 a1, b0 b1, and the line d0 d1."""
    line = points[:, 5] - points[:, 4]
    first, second = points[:, 1] - points[:, 0], points[:, 3] - points[:, 2]
    return DEGREES * torch.atan2((line * first).sum(-1), (line * second).sum(-1))


def _rise_in(points: Tensor, aux: Tensor) -> Tensor:
    """As ``_rise``, the axis (of length one) being a line of the body itself: a0 a1, and the line d0 d1."""
    axis, line = points[:, 1] - points[:, 0], points[:, 3] - points[:, 2]
    up = (line * axis).sum(-1)
    level = (line - up[:, None] * axis).square().sum(-1).add(_TINY).sqrt()
    return DEGREES * torch.atan2(up, level)


def _clearance(points: Tensor, aux: Tensor) -> Tensor:
    """Distance of the first place from the line between the other two."""
    start, along = points[:, 1], points[:, 2] - points[:, 1]
    share = ((points[:, 0] - start) * along).sum(-1) / along.square().sum(-1).add(_TINY)
    nearest = start + share.clamp(0, 1)[:, None] * along
    return (points[:, 0] - nearest).square().sum(-1).add(_TINY).sqrt()


@dataclass(frozen=True)
class Form:
    """A function of ``slots`` places (M, K, 3) and of constants (M, 6), and whether its values are angles that wrap."""

    function: Callable[[Tensor, Tensor], Tensor]
    slots: int
    is_angle: bool
    wraps: bool = False


FORMS: Final = {
    "length": Form(_length, 2, False),
    "level_length": Form(_level_length, 2, False),
    "component": Form(_component, 2, False),
    "to_axis": Form(_to_axis, 2, True),
    "between": Form(_between, 4, True),
    "planar": Form(_planar, 2, True, wraps=True),
    "rise": Form(_rise, 2, True),
    "planar_in": Form(_planar_in, 6, True, wraps=True),
    "rise_in": Form(_rise_in, 4, True),
    "clearance": Form(_clearance, 3, False),
}


@dataclass(frozen=True)
class Measure:
    """One number about a pose: a form, the places in its slots, and its constants.

    ``floor_slot`` is the slot whose place is the lowest joint, found anew for each pose; -1 for none.
    """

    form: str
    places: tuple[int, ...]
    aux: tuple[float, ...] = (0.0,) * 6
    floor_slot: int = -1

    @property
    def is_angle(self) -> bool:
        """Whether it is in degrees; else it is in metres."""
        return FORMS[self.form].is_angle


class UnknownMeasureError(ValueError):
    """A measure that there is not, or arguments that do not suit it."""


def _axis(name: str) -> Axis:
    try:
        return _AXES[name]
    except KeyError:
        raise UnknownMeasureError(
            f"no axis {name!r}: write x, y, z, left, right, up, down, front, back, S_out or S_in"
        ) from None


def _make(form: str, *places: str, first: Axis = (0, 0, 0), second: Axis = (0, 0, 0)) -> Measure:
    floor = -1
    indices = []
    for slot, name in enumerate(places):
        if name == FLOOR:
            floor = slot
            indices.append(0)
        elif name in POINT_INDEX:
            indices.append(POINT_INDEX[name])
        else:
            raise UnknownMeasureError(f"no place {name!r} on the body")
    return Measure(form, tuple(indices), (*first, *second), floor)


_LIMBS: Final = {
    "L_elbow": ("L_shoulder", "L_wrist"), "R_elbow": ("R_shoulder", "R_wrist"),
    "L_knee": ("L_hip", "L_ankle"), "R_knee": ("R_hip", "R_ankle"),
    "L_wrist": ("L_elbow", "L_hand"), "R_wrist": ("R_elbow", "R_hand"),
}  # fmt: skip
_UP: Final = _AXES["up"]
_FRONT: Final = _AXES["front"]


def _side(name: str) -> str:
    if name not in ("L", "R"):
        raise UnknownMeasureError(f"a side is S, O, L or R, not {name!r}")
    return name


def _flex(joint: str) -> Measure:
    if joint not in _LIMBS:
        raise UnknownMeasureError(f"flex is of an elbow, a knee or a wrist, not of {joint!r}")
    above, below = _LIMBS[joint]
    return _make("between", above, joint, joint, below)


def _in_pelvis(side: str, towards: str) -> Measure:
    """Where the thigh points in the pelvis's frame: from straight down towards an axis of it."""
    axis = ("pelvis", f"pelvis.{towards}")
    if towards == "x" and side == "R":
        axis = (axis[1], axis[0])
    return _make("planar_in", *axis, "pelvis.y", "pelvis", f"{side}_hip", f"{side}_knee")


def _in_chest(side: str, towards: str) -> Measure:
    """Where the collar points in the chest's frame: from straight outward towards an axis of it."""
    out = ("spine3", "spine3.x") if side == "L" else ("spine3.x", "spine3")
    return _make("planar_in", "spine3", f"spine3.{towards}", *out, f"{side}_collar", f"{side}_shoulder")


MEASURES: Final[dict[str, tuple[int, Callable[..., Measure]]]] = {
    # name: (number of arguments, what makes it)
    "flex": (1, _flex),
    "dist": (2, lambda p, q: _make("length", p, q)),
    "hdist": (2, lambda p, q: _make("level_length", p, q)),
    "rel": (3, lambda p, q, a: _make("component", p, q, first=_axis(a))),
    "pos": (2, lambda p, a: _make("component", p, "pelvis", first=_axis(a))),
    "height": (1, lambda p: _make("component", p, FLOOR, first=_UP)),
    "elev": (2, lambda p, q: _make("rise", p, q, first=_UP)),
    "azim": (2, lambda p, q: _make("planar", p, q, first=_AXES["left"], second=_FRONT)),
    "azim_out": (3, lambda s, p, q: _make("planar", p, q, first=_axis(f"{_side(s)}_out"), second=_FRONT)),
    "angle": (3, lambda p, q, a: _make("to_axis", p, q, first=_axis(a))),
    "between": (4, lambda p, q, r, s: _make("between", p, q, r, s)),
    "corner": (3, lambda a, b, c: _make("between", b, a, b, c)),
    "twist": (0, lambda: _make("planar_in", "pelvis", "pelvis.x", "pelvis", "pelvis.z", "spine3", "spine3.z")),
    "bend": (0, lambda: _make("planar_in", "pelvis", "pelvis.z", "pelvis", "pelvis.y", "spine3", "spine3.y")),
    "lean": (0, lambda: _make("planar_in", "pelvis", "pelvis.x", "pelvis", "pelvis.y", "spine3", "spine3.y")),
    "head_yaw": (0, lambda: _make("planar_in", "spine3", "spine3.x", "spine3", "spine3.z", "head", "head.z")),
    "head_pitch": (0, lambda: _make("rise_in", "spine3.y", "spine3", "head", "head.z")),
    "head_roll": (0, lambda: _make("planar_in", "spine3", "spine3.x", "spine3", "spine3.y", "head", "head.y")),
    "gaze_yaw": (0, lambda: _make("planar", "head", "head.z", first=_AXES["left"], second=_FRONT)),
    "gaze_pitch": (0, lambda: _make("rise", "head", "head.z", first=_AXES["down"])),
    "lookat": (1, lambda p: _make("between", "head", "head.z", "eyes", p)),
    "incline": (0, lambda: _make("to_axis", "pelvis", "neck", first=_UP)),
    "incline_fwd": (0, lambda: _make("planar", "pelvis", "neck", first=_FRONT, second=_UP)),
    "incline_left": (0, lambda: _make("planar", "pelvis", "neck", first=_AXES["left"], second=_UP)),
    "tilt_fwd": (0, lambda: _make("planar", "pelvis", "pelvis.y", first=_FRONT, second=_UP)),
    "tilt_left": (0, lambda: _make("planar", "pelvis", "pelvis.y", first=_AXES["left"], second=_UP)),
    "faces": (2, lambda p, a: _make("to_axis", p, f"{p}.z", first=_axis(a))),
    "palm": (2, lambda s, a: _make("to_axis", f"{_side(s)}_palm", f"{s}_palm.n", first=_axis(a))),
    "fingers": (2, lambda s, a: _make("to_axis", f"{_side(s)}_wrist", f"{s}_hand", first=_axis(a))),
    "toes": (1, lambda s: _make("planar", f"{_side(s)}_ankle", f"{s}_ankle.z", first=_axis(f"{s}_out"), second=_FRONT)),
    "foot_pitch": (1, lambda s: _make("rise", f"{_side(s)}_ankle", f"{s}_ankle.z", first=_UP)),
    "foot_roll": (1, lambda s: _make("rise", f"{_side(s)}_ankle", f"{s}_ankle.x", first=_UP)),
    "heel": (1, lambda s: _make("component", f"{_side(s)}_heel", f"{s}_foot", first=_UP)),
    "hip_flex": (1, lambda s: _in_pelvis(_side(s), "z")),
    "hip_out": (1, lambda s: _in_pelvis(_side(s), "x")),
    "shrug": (1, lambda s: _in_chest(_side(s), "y")),
    "shoulder_fwd": (1, lambda s: _in_chest(_side(s), "z")),
    "against": (2, lambda p, q: _make("between", p, f"{p}.n", f"{q}.n", q)),
    "clear": (3, lambda p, a, b: _make("clearance", p, a, b)),
}  # fmt: skip


@cache
def measure(name: str, *arguments: str) -> Measure:
    """A measure by name.

    Raises:
        UnknownMeasureError: no such measure, place or axis, or another number of arguments than it takes.
    """
    if name not in MEASURES:
        raise UnknownMeasureError(f"no measure {name!r}; there are {', '.join(sorted(MEASURES))}")
    count, make = MEASURES[name]
    if len(arguments) != count:
        raise UnknownMeasureError(f"{name} takes {count} arguments, not {len(arguments)}")
    if name == "against" and not all(map(has_normal, arguments)):
        raise UnknownMeasureError(f"it is not known which way {' and '.join(arguments)} face")
    return make(*arguments)


def wrapped(degrees: Tensor) -> Tensor:
    """Angles as -180 to 180."""
    return (degrees + 180.0) % 360.0 - 180.0


def value_of_each(one: Measure, places: Tensor, lowest: Tensor) -> Tensor:
    """(B,) the value of one measure in every pose, for places (B, P, 3) and the index of the lowest (B,)."""
    count = len(places)
    slots = torch.tensor(one.places).expand(count, -1)
    if one.floor_slot >= 0:
        slots = slots.clone()
        slots[:, one.floor_slot] = lowest
    points = places[torch.arange(count)[:, None], slots]
    return FORMS[one.form].function(points, torch.tensor(one.aux).expand(count, -1))


class Instances:
    """Measures of poses, ready to be worked out together, grouped by form.

    Args:
        rows: (M,) which pose each is of.
        measures: M of them.
    """

    def __init__(self, rows: Tensor, measures: list[Measure]) -> None:
        self.count = len(measures)
        self.rows = rows
        self.aux = torch.tensor([one.aux for one in measures]).reshape(-1, 6)
        self.groups: list[tuple[str, Tensor, Tensor, Tensor, Tensor]] = []
        by_form: dict[str, list[int]] = {}
        for number, one in enumerate(measures):
            by_form.setdefault(one.form, []).append(number)
        for name, numbers in by_form.items():
            chosen = torch.tensor(numbers)
            self.groups.append(
                (
                    name,
                    chosen,
                    torch.tensor([measures[n].places for n in numbers]),
                    torch.tensor([measures[n].aux for n in numbers]),
                    torch.tensor([measures[n].floor_slot for n in numbers]),
                )
            )
        self.places = torch.tensor([place for one in measures for place in one.places], dtype=torch.long)
        self.is_angle = torch.tensor([one.is_angle for one in measures], dtype=torch.bool)
        self.wraps = torch.tensor([FORMS[one.form].wraps for one in measures], dtype=torch.bool)

    def values(self, places: Tensor, lowest: Tensor) -> Tensor:
        """(M,) values, for places (B, P, 3) and the index of the lowest place (B,) of each pose."""
        values = torch.zeros(self.count)
        for form, chosen, slots, aux, floor in self.groups:
            slots = _with_floor(slots, floor, lowest[self.rows[chosen]])
            values[chosen] = FORMS[form].function(places[self.rows[chosen, None], slots], aux)
        return values

    def gradients(
        self, places: Tensor, lowest: Tensor
    ) -> tuple[Tensor, list[tuple[str, Tensor, Tensor, Tensor]]]:
        """The values, and for each group its form, which measures, their slots' places (m, K), gradients (m, K, 3)."""
        values = torch.zeros(self.count)
        slots_of = [
            _with_floor(slots, floor, lowest[self.rows[chosen]]) for _, chosen, slots, _, floor in self.groups
        ]
        points = [
            places[self.rows[group[1], None], slots].requires_grad_()
            for group, slots in zip(self.groups, slots_of, strict=True)
        ]
        with torch.enable_grad():
            found = [
                FORMS[form].function(some, aux)
                for (form, _, _, aux, _), some in zip(self.groups, points, strict=True)
            ]
            of_points = torch.autograd.grad([one.sum() for one in found], points)
        gradients = []
        for group, slots, value, gradient in zip(self.groups, slots_of, found, of_points, strict=True):
            form, chosen = group[:2]
            values[chosen] = value.detach()
            gradients.append((form, chosen, slots, gradient.nan_to_num().clamp(-STEEPEST, STEEPEST)))
        return values, gradients


def _with_floor(slots: Tensor, floor: Tensor, lowest: Tensor) -> Tensor:
    if not (floor >= 0).any():
        return slots
    slots = slots.clone()
    rows = torch.nonzero(floor >= 0)[:, 0]
    slots[rows, floor[rows]] = lowest[rows]
    return slots
