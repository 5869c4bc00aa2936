# SPDX-License-Identifier: GPL-3.0-or-later
"""Finding the frames that an edit is about. Runs inside Blender."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import bpy

from .blender_types import current_scene
from .body import Body
from .bone_map import RigError
from .channels import rotation_property
from .curves import SAME_FRAME, curves_of, key_times, selected_key_times
from .nla import has_nla, to_scene
from .sample import current_frame, time_of

FrameMode = Literal["CURRENT", "SELECTED", "RANGE"]


def list_frames(body: Body, mode: FrameMode, *, every_frame: bool = True) -> list[float]:
    """The frames to edit, in the time of keys, ascending, as whole numbers where they are.

    CURRENT: the scene's current frame. SELECTED: the frames of the armature's selected keyframes; in Pose Mode those
    of the selected bones, which are the ones that the animation editors show. RANGE: the preview range where one is
    set, else the scene's range: every frame of it, or without ``every_frame`` those that ``keyed_among`` leaves.

    Raises:
        RigError: SELECTED and no keyframe is selected.
    """
    scene = current_scene()
    if mode == "CURRENT":
        return [_whole(current_frame(scene))]
    if mode == "RANGE":
        frames = _range(scene)
        return frames if every_frame else keyed_among(body, frames)
    bones = list(body.armature.pose.bones)
    if body.armature.mode == "POSE":
        bones = [pbone for pbone in bones if _is_selected(pbone)] or bones
    selected = {
        _whole(frame)
        for curve in _living_curves(body, bones)
        for frame in to_scene(body.armature, selected_key_times(curve).tolist())
    }
    if not selected:
        raise RigError(
            "No keyframe of this armature is selected; select some in the Timeline or choose other frames."
        )
    return sorted(selected)


def posed_frames(body: Body) -> list[float]:
    """The frames at which any bone of the armature has a key, ascending."""
    curves = _living_curves(body, body.armature.pose.bones)
    return sorted(
        {_whole(frame) for curve in curves for frame in to_scene(body.armature, key_times(curve).tolist())}
    )


def is_animated_beyond(body: Body, frames: Sequence[float]) -> tuple[bool, bool]:
    """Whether the armature is animated before the first of these frames and after the last."""
    if has_nla(body.armature):
        return True, True
    posed = posed_frames(body)
    return bool(posed) and posed[0] < min(frames), bool(posed) and posed[-1] > max(frames)


def keyed_among(body: Body, frames: Sequence[float]) -> list[float]:
    """Those of the ascending frames at which the armature has keys, and their ends where it is animated beyond; all of
    them where it has no keys there."""
    posed = posed_frames(body)
    within = set(posed) & set(frames)
    if not within:
        return list(frames)
    ends = {frames[0]} if posed[0] < frames[0] else set()
    ends |= {frames[-1]} if posed[-1] > frames[-1] else set()
    return sorted(within | ends)


def _range(scene: bpy.types.Scene) -> list[float]:
    if scene.use_preview_range:
        first, last = scene.frame_preview_start, scene.frame_preview_end
    else:
        first, last = scene.frame_start, scene.frame_end
    return [_whole(time_of(scene, frame)) for frame in range(first, last + 1)]


def _living_curves(body: Body, bones: Iterable[bpy.types.PoseBone]) -> list[bpy.types.FCurve]:
    """The curves that move these bones: those of bones that are gone, or of a rotation mode that a bone is not in, move
    nothing."""
    paths = {
        pbone.path_from_id(name)
        for pbone in bones
        for name in ("location", rotation_property(pbone.rotation_mode), "scale")
    }
    return [curve for (path, _), curve in curves_of(body.armature).items() if path in paths]


def _whole(frame: float) -> float:
    """The frame as an int where it is one."""
    return round(frame) if abs(frame - round(frame)) < SAME_FRAME else float(frame)


def _is_selected(pbone: bpy.types.PoseBone) -> bool:
    # 5.0 moved the selection of bones from the armature's data to its pose.
    return bool(pbone.select if hasattr(pbone, "select") else pbone.bone.select)
