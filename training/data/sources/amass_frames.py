# SPDX-License-Identifier: Apache-2.0
"""Single frames of a user's AMASS folder, as PoseScript and PoseFix refer to them: ``[data set, file, frame]``.

Both refer to AMASS in its SMPL-H form ("SMPL+H G" at https://amass.is.tue.mpg.de), the folders of the data sets side by
side. A path is also found where leading folders of it are missing, such as ``CMU/01/01_01_poses.npz`` for
``CMU/CMU/01/01_01_poses.npz``.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .amass import AMASS
from .clip import PoseFileError, upright
from .opened import opened

Pose = npt.NDArray[np.float32]
SEQUENCES_IN_MEMORY: Final = 64


class AmassFrames:
    """The poses that a data set's ids stand for.

    Args:
        amass: the user's folder.
        places: pose id to ``[data set, file, frame]``, as in ``ids_2_dataset_sequence_and_frame_index_100k.json``.
    """

    def __init__(self, amass: Path, places: Mapping[str, Any]) -> None:
        self._amass = amass
        self._places = places
        self._loaded: OrderedDict[Path, Pose] = OrderedDict()

    def sequence(self, pose_id: str) -> str:
        """The file of a pose, as the data set names it; "" for an unknown id."""
        return self._place(pose_id)[0] if pose_id in self._places else ""

    def pose(self, pose_id: str) -> Pose:
        """(24, 3) axis-angle, radians, +y up, with the heading of the recording.

        Raises:
            ValueError: the id is unknown, or the file has no such frame or is damaged.
            FileNotFoundError: the file is not in the folder.
        """
        name, frame = self._place(pose_id)
        path = self._find(name)
        if path not in self._loaded:
            with opened(path) as content:
                if not AMASS.recognises(content):
                    raise ValueError("it is no AMASS sequence")
                (clip,) = AMASS.clips(content, path)
            self._loaded[path] = upright(clip.pose_aa, clip.frame)
            if len(self._loaded) > SEQUENCES_IN_MEMORY:
                self._loaded.popitem(last=False)
        self._loaded.move_to_end(path)
        poses = self._loaded[path]
        if not 0 <= frame < len(poses):
            raise PoseFileError(f"{path} has {len(poses)} frames, and pose {pose_id} is its frame {frame}")
        pose: Pose = poses[frame]
        return pose

    def _place(self, pose_id: str) -> tuple[str, int]:
        if pose_id not in self._places:
            raise ValueError(f"pose {pose_id} is not in the list of poses")
        _, name, frame = self._places[pose_id]
        return str(name), int(frame)

    def _find(self, name: str) -> Path:
        parts = PurePosixPath(name).parts
        for start in range(len(parts)):
            path = self._amass.joinpath(*parts[start:])
            if path.is_file():
                return path
        raise FileNotFoundError(
            f"{name} is not in {self._amass}: ask for its data set at https://amass.is.tue.mpg.de, in the form SMPL+H G"
        )
