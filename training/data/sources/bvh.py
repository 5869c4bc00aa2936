# SPDX-License-Identifier: Apache-2.0
"""BVH files: any order of channels, any unit, any of the usual bone names; see ``bones`` and ``retarget``.

Free collections: CMU (http://mocap.cs.cmu.edu, converted to BVH by B. Hahne), LaFAN1
(https://github.com/ubisoft/ubisoft-laforge-animation-dataset), 100STYLE (https://www.ianxmason.com/100style), and what
Mixamo, MotionBuilder or Blender export. Format: Meredith and Maddock, "Motion Capture File Formats Explained" (2001).

Legend: N frames; K bones of the file.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from blender_addon.contract.rotations import Array, axis_angle_to_matrix, matrix_to_axis_angle

from .amass import FASTEST
from .bones import find_bones
from .check import tell_left_out
from .clip import RATE, Clip, Content, PoseFormat, label_of
from .retarget import retarget


@dataclass(frozen=True)
class Motion:
    """A BVH file.

    Attributes:
        names: of the K bones, parents before children.
        parents: (K,) index of each one's parent; -1 for the root.
        offsets: (K, 3) from the parent, in the file's unit.
        channels: of each bone, such as ("Zrotation", "Xrotation", "Yrotation").
        values: (N, C) of all channels, angles in degrees.
        frame_time: seconds.
    """

    names: tuple[str, ...]
    parents: npt.NDArray[np.int64]
    offsets: Array
    channels: tuple[tuple[str, ...], ...]
    values: Array
    frame_time: float

    def rotations(self) -> Array:
        """(N, K, 3, 3) of the bones in the world. Each channel of a bone turns it about its own axes."""
        result = np.empty((len(self.values), len(self.names), 3, 3))
        column = 0
        for bone, channels in enumerate(self.channels):
            parent = self.parents[bone]
            turned = np.broadcast_to(np.eye(3), (len(self.values), 3, 3)) if parent < 0 else result[:, parent]
            for channel in channels:
                if channel.endswith("rotation"):
                    axis_angle = np.zeros((len(self.values), 3))
                    axis_angle[:, "XYZ".index(channel[0])] = np.radians(self.values[:, column])
                    turned = turned @ axis_angle_to_matrix(axis_angle)
                column += 1
            result[:, bone] = turned
        return result


def parse_bvh(text: str) -> Motion:
    """Reads the text of a BVH file.

    Raises:
        ValueError: the text ends early, or is no BVH.
    """
    words = text.split()
    names: list[str] = []
    parents: list[int] = []
    offsets: list[list[float]] = []
    channels: list[tuple[str, ...]] = []
    open_bones: list[int] = []
    at = 1
    try:
        while words[at] != "MOTION":
            word = words[at].upper()
            if word in ("ROOT", "JOINT"):
                # A name may hold blanks.
                end = words.index("{", at)
                parents.append(open_bones[-1] if open_bones else -1)
                open_bones.append(len(names))
                names.append(" ".join(words[at + 1 : end]))
                offsets.append([0.0, 0.0, 0.0])
                channels.append(())
                at = end + 1
            elif word == "END":
                at = words.index("}", at) + 1
            elif word == "OFFSET":
                offsets[open_bones[-1]] = [float(number) for number in words[at + 1 : at + 4]]
                at += 4
            elif word == "CHANNELS":
                count = int(words[at + 1])
                channels[open_bones[-1]] = tuple(_channel(name) for name in words[at + 2 : at + 2 + count])
                at += 2 + count
            elif word == "}":
                open_bones.pop()
                at += 1
            else:
                raise ValueError(f"{words[at]!r} is no part of a BVH's hierarchy")
        frames, frame_time = int(words[at + 2]), float(words[at + 5])
    except (IndexError, ValueError) as error:
        raise ValueError(f"its hierarchy is damaged ({error})") from error
    width = sum(map(len, channels))
    numbers = words[at + 6 :]
    if len(numbers) < frames * width:
        raise ValueError(f"it ends after {len(numbers) // max(width, 1)} of its {frames} frames")
    if frames < 1 or width < 1 or not 1 / FASTEST <= frame_time <= 1:
        raise ValueError(f"it has {frames} frames of {width} channels, {frame_time} seconds each")
    values = np.array(numbers[: frames * width], dtype=np.float64).reshape(frames, width)
    return Motion(tuple(names), np.array(parents), np.array(offsets), tuple(channels), values, frame_time)


def _channel(word: str) -> str:
    name = word[:1].upper() + word[1:].lower()
    if name[:1] not in ("X", "Y", "Z") or name[1:] not in ("rotation", "position"):
        raise ValueError(f"{word!r} is no channel")
    return name


def _recognises(content: Content) -> bool:
    return isinstance(content, str)


def _clips(content: Content, path: Path) -> list[Clip]:
    assert isinstance(content, str)
    motion = parse_bvh(content)
    # Thinned before anything is computed: recordings have up to 240 frames a second.
    step = max(1, round(1 / motion.frame_time / RATE))
    motion = Motion(
        motion.names,
        motion.parents,
        motion.offsets,
        motion.channels,
        motion.values[::step],
        motion.frame_time * step,
    )
    finite = np.isfinite(motion.values).all(axis=1)
    if not (finite.any() and np.isfinite(motion.offsets).all()):
        raise ValueError("its offsets or all of its frames have numbers that are not finite")
    # Left out before anything is computed: the way up is that of the mean of all frames.
    tell_left_out(path, int((~finite).sum()), len(finite), "with numbers that are not finite")
    motion = replace(motion, values=motion.values[finite])
    bones = find_bones(motion.names, motion.parents)
    local = retarget(bones, motion.rotations(), motion.offsets, motion.parents)
    pose = matrix_to_axis_angle(local).astype(np.float32)
    return [Clip(pose, "y_up", 1 / motion.frame_time, label_of(path))]


BVH: Final = PoseFormat("BVH", _recognises, _clips)
