# SPDX-License-Identifier: Apache-2.0
"""AMASS sequences, in both spellings. Ask for the files at https://amass.is.tue.mpg.de (free for research, sign up).

SMPL-H (``*_poses.npz``): ``poses`` (N, 156), ``trans``, ``betas``, ``dmpls``, ``mocap_framerate``. SMPL-X
(``*_stageii.npz``): ``root_orient`` (N, 3), ``pose_body`` (N, 63), ``pose_hand``, ``trans``, ``mocap_frame_rate``. The
world has +z up. Fingers are left out and the hands stay at rest: ``poses[:72]`` of an SMPL-H file would put finger
joints where SMPL has its hands.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from .clip import Clip, Content, PoseFormat, body_pose, label_of

RATE_KEYS: Final = ("mocap_framerate", "mocap_frame_rate", "mocap_fps", "framerate", "frame_rate", "fps")


def frame_rate(content: Any) -> float | None:
    """Frames a second, under whichever name the file has it; None where it has none.

    Raises:
        ValueError: the rate is no number above zero.
    """
    for key in RATE_KEYS:
        if key in content:
            rate = float(np.asarray(content[key]).reshape(-1)[0])
            if not rate > 0:
                raise ValueError(f"its {key} is {rate}")
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
    return [Clip(pose, "z_up", frame_rate(content), label_of(path))]


AMASS: Final = PoseFormat("AMASS npz", _recognises, _clips)
