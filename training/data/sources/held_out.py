# SPDX-License-Identifier: Apache-2.0
"""Poses of AMASS that PoseScript and PoseFix keep for validation and tests: left out of what is drawn to train on.

The releases name single frames. A frame's neighbours are nearly the same pose, so those go with it; of a sequence in
SMPL-X's form, which has other frames under these numbers, all goes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from .amass_frames import sequence_key
from .annotations import posefix_pairs, release_ids, release_places
from .clip import Clip

MARGIN_SECONDS: Final = 0.5
"""On each side of a frame that is kept for tests."""
SPLITS: Final = ("val", "test")


class HeldOut:
    """What some releases keep.

    Args:
        releases: folders of PoseScript or PoseFix.

    Raises:
        FileNotFoundError, ValueError: a folder is no release.
    """

    def __init__(self, releases: Sequence[Path]) -> None:
        frames: dict[tuple[str, ...], set[int]] = defaultdict(set)
        for release in releases:
            places = release_places(release)
            for pose in _poses_of(release):
                if pose in places:
                    _, name, frame = places[pose]
                    frames[sequence_key(str(name))].add(int(frame))
        self._frames = {key: np.array(sorted(found)) for key, found in frames.items()}

    def without(self, clips: list[Clip], name: str) -> list[Clip]:
        """The clips of an AMASS file, whose path below the user's folder this is, without what is kept."""
        key = sequence_key(name)
        kept = next((found for of, found in self._frames.items() if of[-len(key) :] == key[-len(of) :]), None)
        if kept is None:
            return clips
        if Path(name).stem.endswith("stageii"):
            return []
        return [self._without(clip, kept) for clip in clips]

    def _without(self, clip: Clip, kept: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Clip:
        margin = round(MARGIN_SECONDS * (clip.rate or 0.0))
        hidden = np.zeros(len(clip.pose_aa), dtype=bool)
        for frame in kept:
            hidden[max(0, frame - margin) : frame + margin + 1] = True
        return replace(clip, pose_aa=clip.pose_aa[~hidden])


def _poses_of(release: Path) -> set[str]:
    pairs = posefix_pairs(release)
    ids = release_ids(release, SPLITS)
    if pairs is None:
        return ids
    return {str(pose) for pair in ids for pose in pairs.get(pair, ())}
