# SPDX-License-Identifier: GPL-3.0-or-later
"""Finding the frames that an edit is about. Runs inside Blender."""

from __future__ import annotations

from typing import Any, Literal

from .body import Body
from .bone_map import RigError
from .curves import SAME_FRAME, curves_of, selected_key_times
from .sample import current_frame, time_of

FrameMode = Literal["CURRENT", "SELECTED", "RANGE"]

_KEYED = ("location", "rotation_quaternion", "rotation_euler", "rotation_axis_angle", "scale")


def list_frames(context: Any, body: Body, mode: FrameMode) -> list[float]:
    """The frames to edit, in the time of keys, ascending, as whole numbers where they are.

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
            first, last = scene.frame_preview_start, scene.frame_preview_end
        else:
            first, last = scene.frame_start, scene.frame_end
        return [_whole(time_of(scene, frame)) for frame in range(first, last + 1)]
    bones = list(body.armature.pose.bones)
    if body.armature.mode == "POSE":
        bones = [pbone for pbone in bones if _is_selected(pbone)] or bones
    paths = {pbone.path_from_id(name) for pbone in bones for name in _KEYED}
    frames = {
        _whole(frame)
        for (path, _), curve in curves_of(body.armature).items()
        if path in paths
        for frame in selected_key_times(curve)
    }
    if not frames:
        raise RigError(
            "No keyframe of this armature is selected; select some in the Timeline or choose other frames."
        )
    return sorted(frames)


def _whole(frame: float) -> float:
    """The frame as an int where it is one."""
    return round(frame) if abs(frame - round(frame)) < SAME_FRAME else float(frame)


def _is_selected(pbone: Any) -> bool:
    # 5.0 moved the selection of bones from the armature's data to its pose.
    return bool(pbone.select if hasattr(pbone, "select") else pbone.bone.select)
