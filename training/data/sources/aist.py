# SPDX-License-Identifier: Apache-2.0
"""AIST++ dances: pickles ``motions/*.pkl`` of https://google.github.io/aistplusplus_dataset (annotations, CC BY 4.0).

``smpl_poses`` (N, 72) at 60 frames a second, ``smpl_trans`` (N, 3) and ``smpl_scaling``; +y is up. The name begins with
the genre, such as ``gBR`` for break.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from .clip import Clip, Content, PoseFormat
from .smpl import whole_pose

GENRES: Final = {
    "gBR": "break dance",
    "gPO": "pop dance",
    "gLO": "lock dance",
    "gMH": "middle hip-hop dance",
    "gLH": "LA style hip-hop dance",
    "gHO": "house dance",
    "gWA": "waack dance",
    "gKR": "krump dance",
    "gJS": "street jazz dance",
    "gJB": "ballet jazz dance",
}


def _recognises(content: Content) -> bool:
    return not isinstance(content, str) and "smpl_poses" in content


def _clips(content: Content, path: Path) -> list[Clip]:
    assert not isinstance(content, str)
    label = GENRES.get(path.stem.partition("_")[0], "dance")
    return [Clip(whole_pose(content["smpl_poses"]), "y_up", 60.0, label)]


AIST: Final = PoseFormat("AIST++", _recognises, _clips)
