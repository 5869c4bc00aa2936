# SPDX-License-Identifier: GPL-3.0-or-later
"""Writing keyframes, and finding the frames that an edit is about. Runs inside Blender.

New keys take the interpolation of the key before them, as keys set by hand do. Keys go to the channels of the
bone's own rotation mode, never to locked channels, nor to curves locked in the animation editors.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..contract.rotations import Array
from .bone_map import RigError
from .channels import hold_locked, rotation_locks, rotation_property, values_near
from .curves import Curves, channel_values, curves_of, has_nla, is_locked, key_times, selected_key_times
from .sampling import current_frame

if TYPE_CHECKING:
    from .armature import Rig

FrameMode = Literal["CURRENT", "SELECTED", "RANGE"]

_KEYED = ("location", "rotation_quaternion", "rotation_euler", "rotation_axis_angle", "scale")


def list_frames(context: Any, rig: Rig, mode: FrameMode) -> list[float]:
    """The frames to edit, ascending, as whole numbers unless a selected key lies between frames.

    CURRENT: the scene's current frame. SELECTED: the frames of the armature's selected keyframes; in Pose Mode those
    of the selected bones, which are the ones that the animation editors show. RANGE: every frame of the preview range
    where one is set, else of the scene's range.

    Raises:
        RigError: SELECTED and no keyframe is selected.
    """
    scene = context.scene
    if mode == "CURRENT":
        return [_whole(current_frame(scene))]
    if mode == "RANGE":
        if scene.use_preview_range:
            return list(range(scene.frame_preview_start, scene.frame_preview_end + 1))
        return list(range(scene.frame_start, scene.frame_end + 1))
    bones = list(rig.armature.pose.bones)
    if rig.armature.mode == "POSE":
        bones = [pbone for pbone in bones if _is_selected(pbone)] or bones
    paths = {pbone.path_from_id(name) for pbone in bones for name in _KEYED}
    frames = {
        _whole(frame)
        for (path, _), curve in curves_of(rig.armature).items()
        if path in paths
        for frame in selected_key_times(curve)
    }
    if not frames:
        raise RigError(
            "No keyframe of this armature is selected; select some in the Timeline or choose other frames."
        )
    return sorted(frames)


def _whole(frame: float) -> float:
    """The frame as an int where it is one; Blender itself rounds keys to a hundredth."""
    return round(frame) if abs(frame - round(frame)) < 0.005 else float(frame)


def _is_selected(pbone: Any) -> bool:
    # 5.0 moved the selection of bones from the armature's data to its pose.
    return bool(pbone.select if hasattr(pbone, "select") else pbone.bone.select)


def locked_channels(pbone: Any, name: str, locks: Sequence[bool], curves: Curves) -> tuple[bool, ...]:
    """The channels (K,) of a bone's property that may not change: by its locks or because the curve is locked."""
    path = pbone.path_from_id(name)
    held = []
    for index, lock in enumerate(locks):
        curve = curves.get((path, index))
        held.append(bool(lock or (curve is not None and is_locked(curve))))
    return tuple(held)


def plan_rotation(
    pbone: Any, frames: Sequence[float], quats: Array, curves: Curves, current: float
) -> tuple[Array, tuple[bool, ...]]:
    """Channel values (N, K) for basis rotations ``quats`` (N, 4) at ascending frames, and the locked channels (K,).

    Each value is the one, of those that mean the same rotation, that leaves the curves shortest between the key before
    and the key after; so Euler angles do not flip, whole turns are kept, and quaternions keep their sign.
    """
    mode = pbone.rotation_mode
    name = rotation_property(mode)
    path = pbone.path_from_id(name)
    locked = locked_channels(pbone, name, rotation_locks(pbone), curves)
    old = channel_values(pbone, name, frames, curves, current)
    times = [key_times(curve) for (of, _), curve in curves.items() if of == path]
    keyed = np.unique(np.concatenate([*times, np.empty(0)]))
    kept = keyed[~np.isin(keyed, np.asarray(frames, dtype=np.float64))].tolist()
    around = {kept[at] for frame in frames for at in _beside(kept, frame)}
    at_kept = dict(zip(around, channel_values(pbone, name, list(around), curves, None).tolist(), strict=True))
    values: list[list[float]] = []
    for row, (frame, quat, was) in enumerate(zip(frames, quats.tolist(), old.tolist(), strict=True)):
        before = bisect_left(kept, frame) - 1
        neighbours = []
        if values and (before < 0 or frames[row - 1] > kept[before]):
            neighbours.append(values[-1])
        elif before >= 0:
            neighbours.append(at_kept[kept[before]])
        if before + 1 < len(kept) and (row + 1 == len(frames) or kept[before + 1] < frames[row + 1]):
            neighbours.append(at_kept[kept[before + 1]])
        candidates = [values_near(mode, quat, near) for near in (was, *neighbours)]
        # The first of equals is the one nearest to what was there.
        best = min(candidates, key=lambda one: round(sum(math.dist(one, other) for other in neighbours), 3))
        if any(locked):
            best = hold_locked(mode, quats[row], best, old[row], locked).tolist()
        values.append(best)
    return np.array(values), locked


def _beside(kept: list[float], frame: float) -> range:
    """Indices of the last of the ascending frames ``kept`` before ``frame`` and of the first after it."""
    after = bisect_left(kept, frame)
    return range(max(after - 1, 0), min(after + 1, len(kept)))


def insert_keys(
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
