# SPDX-License-Identifier: GPL-3.0-or-later
"""Writing keyframes, and finding the frames that an edit is about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from .armature import Rig

FrameMode = Literal["CURRENT", "SELECTED", "RANGE"]


def list_frames(context: Any, rig: Rig, mode: FrameMode) -> list[float]:
    """The frames to edit, ascending, as whole numbers unless a selected key lies between frames.

    CURRENT: the scene's current frame. SELECTED: the frames of the selected keyframes of the armature. RANGE: every
    frame of the preview range where one is set, else of the scene's range.

    Raises:
        RigError: SELECTED and no keyframe is selected.
    """
    raise NotImplementedError
