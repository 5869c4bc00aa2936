# SPDX-License-Identifier: GPL-3.0-or-later
"""The third step of writing a pose: setting the keys that the plan says. Runs inside Blender."""

from __future__ import annotations

from collections.abc import Sequence

import bpy
import numpy as np

from .anchors import runs_of
from .blender_types import current_scene
from .body import Body
from .curves import curves_of, is_same
from .keys import put_anchored_keys, put_keys
from .nla import Layer, has_nla, to_action
from .plan import Channels, Plan
from .sample import current_frame, take_in_keys


def write_plan(body: Body, plan: Plan) -> int:
    """Pose the bones and set the keys; returns the number of key values written, anchors aside."""
    frames = plan.before.frames
    if plan.keyed:
        for owner in dict.fromkeys(one.owner for one in plan.channels if one.in_layer):
            layered = [one for one in plan.channels if one.in_layer and one.owner == owner]
            _key_in_layers(owner, frames, layered)
        for one in plan.channels:
            if not one.in_layer:
                _key_in_action(frames, one)
    for one in plan.channels:
        _pose(frames, one)
    take_in_keys(body.armature)
    return sum(len(one.free) * len(frames) for one in plan.channels) if plan.keyed else 0


def _pose(frames: Sequence[float], channels: Channels) -> None:
    """Where the scene's current frame is one of the frames, leave the bone as keyed there."""
    current = current_frame(current_scene())
    for row, frame in enumerate(frames):
        if is_same(frame, current):
            shown = getattr(channels.thing, channels.name)
            for index in channels.free:
                shown[index] = channels.values[row, index]


def _key_in_action(frames: Sequence[float], channels: Channels) -> None:
    """Set keys in the active action."""
    path = channels.thing.path_from_id(channels.name)
    curves = curves_of(channels.owner)
    there = {index for index in channels.free if (path, index) in curves}
    if has_nla(channels.owner):
        # Blender works out the place and value in the action of what should show in the scene.
        _key_through_strips(frames, channels, there)
        return
    if len(there) < len(channels.free):
        _make_curves(frames[0], channels, there)
        curves = curves_of(channels.owner)
    for index in channels.free:
        curve, anchors = curves[path, index], channels.anchors[index]
        values = channels.values[:, index].tolist()
        if index in there:
            put_anchored_keys(curve, frames, values, anchors)
        else:
            resting = ((frame, channels.resting[frame][index]) for frame in anchors)
            every = sorted([*zip(frames, values, strict=True), *resting])
            put_keys(curve, [frame for frame, _ in every], [value for _, value in every], new=True)


def _make_curves(frame: float, channels: Channels, there: set[int]) -> None:
    """Have Blender make the curves that are missing, and the action, slot and group that they need."""
    thing = channels.thing
    shown = tuple(getattr(thing, channels.name))
    setattr(thing, channels.name, np.where(channels.locked, shown, channels.values[0]).tolist())
    missing = [index for index in channels.free if index not in there]
    for index in [-1] if len(missing) == len(channels.locked) else missing:
        thing.keyframe_insert(channels.name, index=index, frame=frame, group=_group(channels))
    setattr(thing, channels.name, shown)


def _group(channels: Channels) -> str:
    """The name of the group for new curves, as Blender names it."""
    return channels.bone or "Object Transforms"


def _key_through_strips(frames: Sequence[float], channels: Channels, there: set[int]) -> None:
    """Set keys in the active action while NLA strips take part."""
    thing = channels.thing
    path = thing.path_from_id(channels.name)
    curves = curves_of(channels.owner)
    for index in there:
        # The curve's own value shows what showed before.
        curve, anchors = curves[path, index], channels.anchors[index]
        times = to_action(channels.owner, list(anchors))
        sides = dict(zip(times, anchors.values(), strict=True))
        if anchors:
            put_anchored_keys(curve, [], [], dict(sorted(sides.items())))
    shown = tuple(getattr(thing, channels.name))
    rows = dict(zip(frames, channels.values, strict=True))
    for index in set(channels.free) - there:
        rows |= {frame: channels.resting[frame] for frame in channels.anchors[index]}
    for frame, row in sorted(rows.items()):
        setattr(thing, channels.name, np.where(channels.locked, shown, row).tolist())
        whole = len(channels.free) == len(channels.locked)
        for index in [-1] if whole else channels.free:
            thing.keyframe_insert(channels.name, index=index, frame=frame, group=_group(channels))
    setattr(thing, channels.name, shown)


def _key_in_layers(owner: bpy.types.Object, frames: Sequence[float], channels: Sequence[Channels]) -> None:
    """Set keys in strips above the NLA strips, one for every run of frames."""
    for first, last in runs_of(frames, ()):
        edges = first - 1, last + 1
        layer = Layer(owner, *edges)
        for one in channels:
            path = one.thing.path_from_id(one.name)
            for index in one.free:
                curve = layer.curves.find(path, index=index)
                new = curve is None
                curve = curve if curve is not None else layer.curves.new(path, index=index)
                keys = {frame: row[index] for frame, row in zip(frames, one.values, strict=True)}
                keys |= {frame: row[index] for frame, row in one.resting.items() if frame in edges}
                within = sorted(
                    (frame, value) for frame, value in keys.items() if edges[0] <= frame <= edges[1]
                )
                put_keys(curve, [frame for frame, _ in within], [value for _, value in within], new=new)
        layer.finish()
