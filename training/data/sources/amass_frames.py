# SPDX-License-Identifier: Apache-2.0
"""Single frames of a user's AMASS folder, as PoseScript and PoseFix refer to them: ``[data set, file, frame]``.

Both refer to AMASS in its SMPL-H form ("SMPL+H G" at https://amass.is.tue.mpg.de), the folders of the data sets side by
side. A path is also found where leading folders of it are missing or are there twice, such as
``CMU/01/01_01_poses.npz`` for ``CMU/CMU/01/01_01_poses.npz``, and in other spellings: blanks for underscores, and the
names that AMASS gave some data sets later.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from training.data.frames import upright
from training.data.sound import sound

from .amass import AMASS, is_smplx
from .clip import PoseFileError
from .content import open_content

_SPELLINGS: Final = {
    "biomotionlabntroje": "bmlrub", "mpihdm05": "hdm05", "mpilimits": "poseprior", "mpimosh": "mosh",
    "ssmsynced": "ssm", "tcdhandmocap": "tcdhands", "transitionsmocap": "transitions", "dfaust67": "dfaust",
    "eyesjapandataset": "eyesjapan",
}  # fmt: skip
"""Older names of AMASS's folders to newer ones, without anything but letters and digits."""

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
        self._by_key: dict[tuple[str, ...], Path] | None = None

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
            with open_content(path) as content:
                if not AMASS.recognises(content):
                    raise ValueError("it is no AMASS sequence")
                if is_smplx(content):
                    raise ValueError(
                        "it is in SMPL-X's form, whose frames are not those of SMPL-H that the texts speak of: "
                        "download its data set in the form SMPL+H G"
                    )
                (clip,) = AMASS.clips(content, path)
            self._loaded[path] = upright(clip.pose_aa, clip.frame)
            if len(self._loaded) > SEQUENCES_IN_MEMORY:
                self._loaded.popitem(last=False)
        self._loaded.move_to_end(path)
        poses = self._loaded[path]
        if not 0 <= frame < len(poses):
            raise PoseFileError(f"{path} has {len(poses)} frames, and pose {pose_id} is its frame {frame}")
        pose: Pose = poses[frame]
        if not sound(pose[None])[0]:
            raise PoseFileError(
                f"{path}: frame {frame} has numbers that are not finite, or that are no radians"
            )
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
        if self._by_key is None:
            self._by_key = {
                _key(path.relative_to(self._amass).parts): path for path in self._amass.rglob("*.npz")
            }
        wanted = _key(parts)
        for start in range(len(wanted) - 1):
            if wanted[start:] in self._by_key:
                return self._by_key[wanted[start:]]
        raise FileNotFoundError(
            f"{name} is not in {self._amass}: ask for its data set at https://amass.is.tue.mpg.de, in the form SMPL+H G"
        )


def sequence_key(name: str) -> tuple[str, ...]:
    """What the paths of a sequence have in common, in all spellings and in both of AMASS's forms."""
    path = PurePosixPath(name)
    return _key([*path.parts[:-1], re.sub(r"_(poses|stageii)$", "", path.stem)])


def _key(parts: Iterable[str]) -> tuple[str, ...]:
    """What a path's parts have in common in all spellings."""
    plain = [re.sub(r"[^a-z0-9]", "", part.lower()) for part in parts]
    named = [_SPELLINGS.get(part, part) for part in plain]
    return tuple(part for place, part in enumerate(named) if place == 0 or part != named[place - 1])
