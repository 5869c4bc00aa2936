# SPDX-License-Identifier: Apache-2.0
"""3DPW as it is handed out: the pickles in ``sequenceFiles`` and the pictures in ``imageFiles``. Ask for both at
https://virtualhumans.mpi-inf.mpg.de/3DPW (free for research).

For each of a sequence's people: ``poses`` (N, 72), one a picture at 30 a second, and ``poses2d`` (N, 3, 18), the joints
seen, as x, y and confidence. ``cam_poses`` (N, 4, 4) take the world to the camera; where ``campose_valid`` is 0 for a
person, the pose was not aligned with the picture.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from .clip import Clip, Content, PoseFormat, label_of
from .smpl import whole_pose

PICTURES_PER_SECOND: Final = 30.0


def _recognises(content: Content) -> bool:
    return not isinstance(content, str) and {"sequence", "poses", "cam_poses"} <= set(content)


def _clips(content: Content, path: Path) -> list[Clip]:
    assert not isinstance(content, str)
    label = label_of(Path(str(content["sequence"])))
    return [Clip(whole_pose(poses), None, PICTURES_PER_SECOND, label) for poses in content["poses"]]


THREEDPW: Final = PoseFormat("3DPW sequence", _recognises, _clips)
