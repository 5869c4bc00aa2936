# SPDX-License-Identifier: GPL-3.0-or-later
"""Putting many keys on a curve at once, as if they had been set by hand one by one. Runs inside Blender.

A new key takes the interpolation of the key before it; on a curve that had none it takes what the user's preferences
say, and its kind is the one that is chosen in the Timeline.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import bpy
import numpy as np
import numpy.typing as npt

from ..contract.rotations import Array
from .blender_types import current_scene
from .curves import SAME_FRAME

Ints = npt.NDArray[np.integer[Any]]

STILL = 1e-4
"""A curve that runs elsewhere by less, in radians or parts of a quaternion, runs as it did."""


def put_keys(
    curve: bpy.types.FCurve, times: Sequence[float], values: Sequence[float], *, new: bool = False
) -> None:
    """Set keys at ascending times of the curve's action. A key that is there takes the value and stays what it is.

    ``new``: the curve was made for these keys, so that what is on it is no work of the user's.
    """
    points = curve.keyframe_points
    co = _floats(points, "co").reshape(-1, 2)
    wanted, heights = np.asarray(times, dtype=np.float64), np.asarray(values, dtype=np.float64)
    place = np.searchsorted(co[:, 0], wanted - SAME_FRAME)
    there = np.zeros(len(wanted), dtype=bool)
    inside = place < len(co)
    there[inside] = np.abs(co[place[inside], 0] - wanted[inside]) < SAME_FRAME
    if there.any():
        rows = place[there]
        rise = heights[there] - co[rows, 1]
        for name in ("co", "handle_left", "handle_right"):
            both = _floats(points, name).reshape(-1, 2)
            both[rows, 1] += rise
            points.foreach_set(name, both.ravel().astype(np.float32))
    count = len(co)
    if not there.all():
        fresh = ~there
        kinds = _ints(points, "interpolation")
        points.add(int(fresh.sum()))
        _fill(points, "co", count, np.column_stack([wanted[fresh], heights[fresh]]).ravel())
        _dress(curve, count, place[fresh], kinds, new)
    if new and count:
        _dress(curve, 0, np.zeros(count, dtype=int), np.empty(0, dtype=np.int32), new)
    curve.update()


def put_anchored_keys(
    curve: bpy.types.FCurve, times: Sequence[float], values: Sequence[float], anchors: dict[float, int]
) -> None:
    """Set keys as ``put_keys`` does and, with them, keys of the value that the curve has at the times ``anchors``, so
    that beyond these the curve runs as it did.

    Args:
        anchors: time -> on which side of it nothing may change: -1 before it, 1 after it, 0 neither.
    """
    if not anchors:
        put_keys(curve, times, values)
        return
    shape = _Shape.of(curve)
    probes = {time: shape.probes(time, side) for time, side in anchors.items()}
    before = {time: [curve.evaluate(probe) for probe in probes[time]] for time in anchors}
    held = {time: curve.evaluate(time) for time in anchors}
    every = sorted([*zip(times, values, strict=True), *held.items()])
    put_keys(curve, [time for time, _ in every], [value for _, value in every])
    for time, side in anchors.items():
        now = [curve.evaluate(probe) for probe in probes[time]]
        if any(abs(one - other) > STILL for one, other in zip(now, before[time], strict=True)):
            shape.keep(curve, time, side)


def _floats(points: bpy.types.FCurveKeyframePoints, name: str) -> Array:
    values = np.empty(2 * len(points), dtype=np.float32)
    points.foreach_get(name, values)
    return values.astype(np.float64)


def _ints(points: bpy.types.FCurveKeyframePoints, name: str) -> Ints:
    values = np.empty(len(points), dtype=np.int32)
    points.foreach_get(name, values)
    return values


def _fill(points: bpy.types.FCurveKeyframePoints, name: str, first: int, values: Array) -> None:
    """Set a property (two floats each) of the points from ``first`` on."""
    every = _floats(points, name)
    every[2 * first :] = values
    points.foreach_set(name, every.astype(np.float32))


def _number(owner: bpy.types.Keyframe, name: str, item: str) -> int:
    """The number that ``foreach_set`` wants for an item of an enum property."""
    kind = owner.bl_rna.properties[name]
    assert isinstance(kind, bpy.types.EnumProperty)
    return int(kind.enum_items[item].value)


def _preferences() -> bpy.types.Preferences:
    assert bpy.context.preferences is not None
    return bpy.context.preferences


def _dress(curve: bpy.types.FCurve, first: int, place: Ints, kinds: Ints, new: bool) -> None:
    """Give the points from ``first`` on what a key set by hand gets. ``place``: before which of the ``kinds`` (the
    interpolations of the keys that were there) each of them stands."""
    points = curve.keyframe_points
    edit, tools = _preferences().edit, current_scene().tool_settings
    last = first + len(place)
    sample = points[first]
    settings = {
        "handle_left_type": _number(sample, "handle_left_type", edit.keyframe_new_handle_type),
        "handle_right_type": _number(sample, "handle_right_type", edit.keyframe_new_handle_type),
        "type": _number(sample, "type", tools.keyframe_type),
    }
    for name, value in settings.items():
        every = _ints(points, name)
        every[first:last] = value
        points.foreach_set(name, every)
    every = _ints(points, "interpolation")
    if new or not len(kinds):
        every[first:last] = _number(sample, "interpolation", edit.keyframe_new_interpolation_type)
    else:
        every[first:last] = kinds[np.maximum(place - 1, 0)]
    points.foreach_set("interpolation", every)


@dataclass(frozen=True)
class _Shape:
    """How a curve runs: its keys (K, 2), their handles (K, 2) before and after them."""

    co: Array
    left: Array
    right: Array

    @classmethod
    def of(cls, curve: bpy.types.FCurve) -> _Shape:
        points = curve.keyframe_points
        return cls(*(_floats(points, name).reshape(-1, 2) for name in ("co", "handle_left", "handle_right")))

    def probes(self, time: float, side: int) -> list[float]:
        """Times at which to see whether the curve still runs as it did: between a new key at ``time`` and the key on
        this side of it, and between that one and the next."""
        if not side:
            return []
        beyond = self.co[:, 0][side * (self.co[:, 0] - time) > 0][::side][:2]
        stops = np.array([time, *beyond])
        return [
            float(start + share * (end - start))
            for start, end in pairwise(stops)
            for share in (0.2, 0.5, 0.8)
        ]

    def keep(self, curve: bpy.types.FCurve, time: float, outward: int) -> None:
        """Fix the handles on the outward side of the new key at ``time`` so that the curve runs as it did there."""
        after = int(np.searchsorted(self.co[:, 0], time))
        if not 0 < after < len(self.co):
            return  # the curve is level there
        points = curve.keyframe_points
        at = next(number for number, point in enumerate(points) if abs(point.co.x - time) < SAME_FRAME)
        neighbour = points[at + outward]
        began = points[at - 1] if outward < 0 else points[at]
        if began.interpolation != "BEZIER":
            return
        parts = _split(self.co[after - 1], self.right[after - 1], self.left[after], self.co[after], time)
        kept = after - 1 if outward < 0 else after
        for point in (points[at], neighbour):
            point.handle_left_type = point.handle_right_type = "FREE"
        if outward < 0:
            points[at].handle_left = parts[1].tolist()
            neighbour.handle_right, neighbour.handle_left = parts[0].tolist(), self.left[kept].tolist()
        else:
            points[at].handle_right = parts[2].tolist()
            neighbour.handle_left, neighbour.handle_right = parts[3].tolist(), self.right[kept].tolist()
        curve.update()


def _split(start: Array, leave: Array, arrive: Array, end: Array, time: float) -> list[Array]:
    """The handles of the two parts of a Bezier piece that is cut at ``time``: after its start, before and after the
    cut, before its end (de Casteljau)."""
    # Blender shortens handles that overlap, so that the curve never runs back in time.
    room, reach = end[0] - start[0], (leave[0] - start[0]) + (end[0] - arrive[0])
    factor = min(1.0, room / reach) if reach > 0 else 1.0
    leave, arrive = start + factor * (leave - start), end + factor * (arrive - end)
    low, high = 0.0, 1.0
    for _ in range(50):
        share = (low + high) / 2
        b, c = start + share * (leave - start), leave + share * (arrive - leave)
        d = arrive + share * (end - arrive)
        e, f = b + share * (c - b), c + share * (d - c)
        if e[0] + share * (f[0] - e[0]) < time:
            low = share
        else:
            high = share
    return [b, e, f, d]
