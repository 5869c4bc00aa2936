# SPDX-License-Identifier: GPL-3.0-or-later
"""The third step of writing a pose: setting the keys that the plan says. Runs inside Blender.

New keys take the interpolation of the key before them, as keys set by hand do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import bpy

from ..contract.rotations import Array
from .body import Body
from .curves import curves_of, has_nla
from .plan import Plan
from .sample import current_frame, take_in_keys


def write_plan(body: Body, plan: Plan) -> int:
    """Set the keys; returns the number of key values written."""
    current = current_frame(bpy.context.scene)
    keys = 0
    for channels in plan.channels:
        pbone = body.armature.pose.bones[channels.bone]
        keys += _insert_keys(
            pbone, channels.property, plan.before.frames, channels.values, channels.locked, current
        )
    take_in_keys(body.armature)
    return keys


def _insert_keys(
    pbone: Any, name: str, frames: Sequence[float], values: Array, locked: Sequence[bool], current: float
) -> int:
    """Key values (N, K) of a bone's property at these frames on the channels that are not locked; returns their
    number. Where the scene's current frame is among them the bone is left as keyed, else as it was."""
    shown = tuple(getattr(pbone, name))
    rows = values.tolist()
    free = [index for index, lock in enumerate(locked) if not lock]
    if current in frames:
        new = rows[list(frames).index(current)]
        shown = tuple(old if lock else now for old, now, lock in zip(shown, new, locked, strict=True))
    # The first key makes the curves. With NLA strips Blender has to work out every key's place and value itself.
    singly = len(frames) if has_nla(pbone.id_data) else 1
    for frame, row in zip(frames[:singly], rows[:singly], strict=True):
        setattr(pbone, name, row)
        for index in [-1] if len(free) == len(locked) else free:
            pbone.keyframe_insert(name, index=index, frame=frame, group=pbone.name)
    setattr(pbone, name, shown)
    if singly < len(frames):
        curves, path = curves_of(pbone.id_data), pbone.path_from_id(name)
        for index in free:
            curve = curves[path, index]
            for frame, row in zip(frames[singly:], rows[singly:], strict=True):
                curve.keyframe_points.insert(frame, row[index], options={"FAST"})
            curve.update()
    return len(free) * len(frames)
