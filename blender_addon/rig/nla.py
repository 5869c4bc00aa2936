# SPDX-License-Identifier: GPL-3.0-or-later
"""The strips of the Nonlinear Animation editor: whether they take part, their times, and a layer for keys of our own.
Runs inside Blender.

A key in the active action replaces whatever the strips below do with its channel, at every frame: one edit would freeze
a limb over the whole timeline. So where strips animate a channel and the active action does not hold it, the keys go
into a strip on a track at the top, which covers the edited frames and nothing else. A channel that no strip animates
goes into the active action: once a strip has it, Blender would put it to its default wherever no strip does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Final

import bpy

TRACK_NAME: Final = "PoseLLaVA"
"""Name of the tracks for edits."""


def has_nla(owner: bpy.types.Object) -> bool:
    """Whether NLA strips take part in the animation of an object."""
    data = owner.animation_data
    if data is None or not data.use_nla:
        return False
    return bool(data.use_tweak_mode or any(_has_effect(track, data.nla_tracks) for track in data.nla_tracks))


def paths_in_strips(owner: bpy.types.Object) -> frozenset[str]:
    """The data paths that the strips in effect animate."""
    data = owner.animation_data
    if data is None or not data.use_nla:
        return frozenset()
    found: set[str] = set()
    for track in data.nla_tracks:
        if _has_effect(track, data.nla_tracks):
            for strip in track.strips:
                found |= _paths_in(strip)
    return frozenset(found)


def _paths_in(strip: bpy.types.NlaStrip) -> set[str]:
    if strip.mute:
        return set()
    found: set[str] = set()
    for inner in strip.strips:  # of a meta strip
        found |= _paths_in(inner)
    if strip.action is not None:
        curves = curves_in(strip.action, getattr(strip, "action_slot", None))
        found |= {curve.data_path for curve in curves}
    return found


def curves_in(action: bpy.types.Action, slot: bpy.types.ActionSlot | None) -> Iterator[bpy.types.FCurve]:
    """The F-curves of an action, of one of its slots where it has slots."""
    if not hasattr(action, "slots"):
        yield from action.fcurves
    elif slot is not None:
        for layer in action.layers:
            for strip in layer.strips:
                # The only kind of strip there is; the stubs give what all kinds share.
                bag = strip.channelbag(slot)  # type: ignore[attr-defined]
                if bag is not None:
                    yield from bag.fcurves


def in_tweak_mode(owner: bpy.types.Object) -> bool:
    """Whether the active action is that of a strip, in whose time its keys stand."""
    data = owner.animation_data
    return data is not None and bool(data.use_tweak_mode)


def to_action(owner: bpy.types.Object, frames: Sequence[float]) -> Sequence[float]:
    """Times in the active action of frames of the scene."""
    data = owner.animation_data
    if data is None or not data.use_tweak_mode:
        return frames
    map_time = data.nla_tweak_strip_time_to_scene
    return [map_time(frame, invert=True) for frame in frames]


def to_scene(owner: bpy.types.Object, times: Sequence[float]) -> Sequence[float]:
    """Frames of the scene at which these times of the active action show."""
    data = owner.animation_data
    if data is None or not data.use_tweak_mode:
        return times
    map_time = data.nla_tweak_strip_time_to_scene
    return [map_time(time) for time in times]


class Layer:
    """A strip that is the topmost to have effect from ``first`` to ``last`` and has none elsewhere.

    Its action is in the time of the scene. Fill its ``curves`` (a collection to find and make them in), then ``finish``
    it.

    The one that is there already is taken again.
    """

    def __init__(self, owner: bpy.types.Object, first: float, last: float) -> None:
        assert owner.animation_data is not None  # it has strips
        self._tracks = owner.animation_data.nla_tracks
        self._first, self._last = first, last
        self._action: bpy.types.Action | None = None
        self._slot: bpy.types.ActionSlot | None = None
        top = self._tracks[-1]
        self._track = top if top.name.startswith(TRACK_NAME) and not (top.mute or top.lock) else None
        if self._track is not None:
            for strip in self._track.strips:
                if _is_layer(strip, first, last):
                    self.curves = _to_fill(strip.action, getattr(strip, "action_slot", None))
                    return
        self._action = bpy.data.actions.new(f"{TRACK_NAME} {first + 1:g}")
        if hasattr(self._action, "slots"):
            self._slot = self._action.slots.new(id_type="OBJECT", name=owner.name)
        self.curves = _to_fill(self._action, self._slot)

    def finish(self) -> None:
        """Put the strip on its track, now that its action has keys from the first frame to the last."""
        if self._action is None:
            return
        if self._track is None or _is_taken(self._track, self._first, self._last):
            self._track = self._tracks.new()
            self._track.name = TRACK_NAME
        strip = self._track.strips.new(self._action.name, math.floor(self._first), self._action)
        if self._slot is not None:
            strip.action_slot = self._slot
        # Only whole frames can be given above.
        strip.frame_start, strip.frame_end = self._first, self._last
        strip.extrapolation, strip.blend_type = "NOTHING", "REPLACE"


def _has_effect(track: bpy.types.NlaTrack, tracks: bpy.types.NlaTracks) -> bool:
    if any(one.is_solo for one in tracks) and not track.is_solo:
        return False
    return not track.mute and any(not strip.mute for strip in track.strips)


def _is_layer(strip: bpy.types.NlaStrip, first: float, last: float) -> bool:
    """Whether this strip was made as a ``Layer`` for just these frames, and still is as it was made."""
    ends = (strip.frame_start, strip.frame_end, strip.action_frame_start, strip.action_frame_end)
    return (
        strip.action is not None
        and all(abs(end - wanted) < 0.005 for end, wanted in zip(ends, (first, last) * 2, strict=True))
        and (strip.extrapolation, strip.blend_type) == ("NOTHING", "REPLACE")
        and not (strip.mute or strip.use_animated_influence or strip.use_animated_time or strip.use_reverse)
        and strip.action.is_editable
    )


def _is_taken(track: bpy.types.NlaTrack, first: float, last: float) -> bool:
    return any(strip.frame_start < last and first < strip.frame_end for strip in track.strips)


def _to_fill(action: Any, slot: Any) -> Any:
    """The collection in which an action of ours keeps its F-curves, made where there is none."""
    if slot is None:
        return action.fcurves
    if not action.layers:
        action.layers.new("Layer").strips.new(type="KEYFRAME")
    return action.layers[0].strips[0].channelbag(slot, ensure=True).fcurves
