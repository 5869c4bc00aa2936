# SPDX-License-Identifier: Apache-2.0
"""AMASS sequences, in both spellings. Ask for the files at https://amass.is.tue.mpg.de (free for research, sign up).

SMPL-H (``*_poses.npz``): ``poses`` (N, 156), ``trans``, ``betas``, ``dmpls``, ``mocap_framerate``. SMPL-X
(``*_stageii.npz``): ``root_orient`` (N, 3), ``pose_body`` (N, 63), ``pose_hand``, ``trans``, ``mocap_frame_rate``. The
world has +z up. That of BEDLAM and of EMAGE, whose files look the same, has +y up, which their trunks tell. Fingers are
left out and the hands stay at rest: ``poses[:72]`` of an SMPL-H file would put finger joints where SMPL has its hands.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from training.data.frames import Frame, rising

from .clip import Clip, Content, PoseFormat, body_pose, label_of

RISES: Final = 0.7
"""Mean cosine of the trunks with +y from which a file is believed to have +y up."""
RATE_KEYS: Final = ("mocap_framerate", "mocap_frame_rate", "mocap_fps", "framerate", "frame_rate", "fps")


FASTEST: Final = 1000.0
"""Frames a second."""


def frame_rate(content: Any) -> float | None:
    """Frames a second, under whichever name the file has it; None where it has none.

    Raises:
        ValueError: the rate is no number from 1 to ``FASTEST``.
    """
    for key in RATE_KEYS:
        if key in content:
            rate = float(np.asarray(content[key]).reshape(-1)[0])
            if not 1 <= rate <= FASTEST:
                raise ValueError(
                    f"its {key} is {rate:g}, where 1 to {FASTEST:.0f} frames a second were expected"
                )
            return rate
    return None


def _recognises(content: Content) -> bool:
    if isinstance(content, str):
        return False
    sequence = "trans" in content and any(key in content for key in RATE_KEYS)
    return sequence and ("poses" in content or {"root_orient", "pose_body"} <= set(content))


def _clips(content: Content, path: Path) -> list[Clip]:
    assert not isinstance(content, str)
    if "pose_body" in content:
        pose = body_pose(content["root_orient"], content["pose_body"])
    else:
        poses = content["poses"]
        if poses.ndim != 2 or poses.shape[1] < 66:
            raise ValueError(f"its poses have the shape {poses.shape}, not (frames, 156)")
        pose = body_pose(poses[:, :3], poses[:, 3:66])
    return [Clip(pose, world_of(pose), frame_rate(content), label_of(path))]


def world_of(pose_aa: npt.NDArray[np.float32]) -> Frame:
    """+z up, unless the trunks of the poses (N, 24, 3) plainly rise along +y and not along +z."""
    finite = pose_aa[np.isfinite(pose_aa).all(axis=(1, 2))]
    if not len(finite):
        return "z_up"
    cosines = rising(finite)
    return "y_up" if cosines["y_up"] > RISES and cosines["z_up"] < 1 - RISES else "z_up"


def is_smplx(content: Any) -> bool:
    """Whether a sequence is SMPL-X's, which was fitted anew: other frames than SMPL-H's under the same numbers."""
    return "pose_body" in content or np.shape(content["poses"])[-1:] == (165,)


AMASS: Final = PoseFormat("AMASS npz", _recognises, _clips)
