# SPDX-License-Identifier: GPL-3.0-or-later
"""The animation curves of an object, in every supported Blender. Runs inside Blender.

From 4.4 on an action holds layers, strips and one bag of curves for each slot; 5.0 took ``action.fcurves`` away.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import bpy
import numpy as np

from ..contract.rotations import Array
from .blender_types import Posable, owner_of
from .nla import curves_in, to_action

Curves = dict[tuple[str, int], bpy.types.FCurve]
"""Curves by data path and index of the channel."""


SAME_FRAME = 0.005
"""Frames closer than this are one: Blender itself rounds the times of keys to a hundredth."""


def is_same(frame: float, other: float) -> bool:
    """Whether two frames are one."""
    return abs(frame - other) < SAME_FRAME


def action_curves(owner: bpy.types.Object) -> Iterator[bpy.types.FCurve]:
    """The F-curves of the action assigned to an object (or other ID)."""
    data = owner.animation_data
    if data is not None and data.action is not None:
        yield from curves_in(data.action, getattr(data, "action_slot", None))


def curves_of(owner: bpy.types.Object) -> Curves:
    """The curves of an object's action by channel."""
    return {(curve.data_path, curve.array_index): curve for curve in action_curves(owner)}


def is_muted(curve: bpy.types.FCurve) -> bool:
    """Whether a curve has no effect."""
    return bool(curve.mute or (curve.group is not None and curve.group.mute))


def is_locked(curve: bpy.types.FCurve) -> bool:
    """Whether a curve may not be edited."""
    return bool(curve.lock or (curve.group is not None and curve.group.lock))


def repeats_at(curve: bpy.types.FCurve, frames: Sequence[float]) -> bool:
    """Whether a Cycles modifier makes a curve at any of these frames repeat what its keys do elsewhere: a key set there
    would change every repeat."""
    if not any(modifier.type == "CYCLES" and not modifier.mute for modifier in curve.modifiers):
        return False
    times = key_times(curve)
    return bool(len(times)) and (min(frames) < times[0] - SAME_FRAME or max(frames) > times[-1] + SAME_FRAME)


def _key_points(curve: bpy.types.FCurve) -> Array:
    """Frames and values (K, 2) of a curve's keys."""
    points = np.empty(2 * len(curve.keyframe_points), dtype=np.float32)
    curve.keyframe_points.foreach_get("co", points)
    return points.reshape(-1, 2).astype(np.float64)


def key_times(curve: bpy.types.FCurve) -> Array:
    """Frames (K,) of a curve's keys."""
    return _key_points(curve)[:, 0]


def key_values(curve: bpy.types.FCurve) -> Array:
    """Values (K,) of a curve's keys."""
    return _key_points(curve)[:, 1]


def selected_key_times(curve: bpy.types.FCurve) -> Array:
    """Frames of a curve's selected keys."""
    selected = np.empty(len(curve.keyframe_points), dtype=bool)
    curve.keyframe_points.foreach_get("select_control_point", selected)
    return np.asarray(key_times(curve)[selected])


def evaluate(curve: bpy.types.FCurve, times: Sequence[float]) -> list[float]:
    """Values of a curve at these times of its action."""
    return [curve.evaluate(time) for time in times]


def channel_values(
    thing: Posable, name: str, frames: Sequence[float], curves: Curves, current: float | None
) -> Array:
    """Values (N, K) of a property of a pose bone, or of an object, at these frames.

    From the curves where there are any; at the frame ``current`` and on channels without a curve, as it stands now.
    """
    now = np.array(getattr(thing, name), dtype=np.float64)
    values = np.tile(now, (len(frames), 1))
    path = thing.path_from_id(name)
    own = {index: curves.get((path, index)) for index in range(len(now))}
    if not any(own.values()):
        return values
    times = to_action(owner_of(thing), frames)
    shown = [current is not None and is_same(frame, current) for frame in frames]
    for index, curve in own.items():
        if curve is not None and not is_muted(curve):
            values[:, index] = np.where(shown, now[index], evaluate(curve, times))
    return values
