# SPDX-License-Identifier: Apache-2.0
"""Human3.6M with SMPL poses, in the two forms its users have. Pictures and licence: http://vision.imar.ro/human3.6m.

The data set itself has joint positions only. SMPL poses come from fits that others made:

- npz of the HMR and SPIN lineage (such as ``h36m_train.npz`` of 4D-Humans, or as ChatPose trains with): ``imgname``
  (N,), ``center`` (N, 2) and ``scale`` (N,) of the person's box (its side is 200 × scale pixels), ``pose`` (N, 72) or
  ``body_pose`` (N, 69) and ``global_orient`` (N, 3), as the picture's camera sees them. ``has_smpl`` or
  ``has_body_pose`` may say which rows have a pose. 3DPW, MPI-INF-3DHP, COCO and MPII of that lineage look the same.
- JSON of NeuralAnnot, ``Human36M_subject1_SMPL_NeuralAnnot.json`` (https://github.com/mks0601/NeuralAnnot_RELEASE):
  ``{action: {subaction: {frame: {"pose": 72 numbers, "shape", "trans"}}}}``, at 50 frames a second, +z up.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .clip import Clip, Content, PoseFormat, body_pose
from .smpl import whole_pose

FRAMES_PER_SECOND: Final = 50.0

ACTIONS: Final = {
    "2": "giving directions", "3": "discussion", "4": "eating", "5": "greeting", "6": "phoning", "7": "posing",
    "8": "purchases", "9": "sitting", "10": "sitting down", "11": "smoking", "12": "taking a photo", "13": "waiting",
    "14": "walking", "15": "walking the dog", "16": "walking together",
}  # fmt: skip


def fitted_rows(content: Mapping[str, Any]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """The rows of an npz that have a pose, and those poses (N, 24, 3) as the camera sees them."""
    count = len(content["imgname"])
    chosen = np.ones(count, dtype=bool)
    for key in ("has_smpl", "has_body_pose"):
        if key in content:
            chosen &= np.asarray(content[key]).reshape(count, -1).all(axis=1)
    rows = np.flatnonzero(chosen)
    if "pose" in content:
        return rows, whole_pose(content["pose"][rows])
    return rows, body_pose(content["global_orient"][rows], content["body_pose"][rows])


def _recognises_npz(content: Content) -> bool:
    if isinstance(content, str) or "imgname" not in content:
        return False
    return "pose" in content or {"body_pose", "global_orient"} <= set(content)


def _npz_clips(content: Content, path: Path) -> list[Clip]:
    assert not isinstance(content, str)
    return [Clip(fitted_rows(content)[1], "camera")]


def _recognises_json(content: Content) -> bool:
    if isinstance(content, str):
        return False
    level: Any = content
    for _ in range(3):
        if not isinstance(level, dict) or not level:
            return False
        level = next(iter(level.values()))
    return isinstance(level, dict) and {"pose", "shape", "trans"} <= set(level)


def _json_clips(content: Content, path: Path) -> list[Clip]:
    assert not isinstance(content, str)
    clips = []
    for action, takes in content.items():
        for frames in takes.values():
            poses = [frames[number]["pose"] for number in sorted(frames, key=int)]
            clips.append(Clip(whole_pose(poses), "z_up", FRAMES_PER_SECOND, ACTIONS.get(action, "")))
    return clips


HUMAN36M_NPZ: Final = PoseFormat("npz of SMPL fits to pictures", _recognises_npz, _npz_clips)
HUMAN36M_JSON: Final = PoseFormat("NeuralAnnot JSON", _recognises_json, _json_clips)
