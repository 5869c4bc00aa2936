# SPDX-License-Identifier: Apache-2.0
"""Photographs of people with the poses that they show, for pose estimation and stage 1: 3DPW and Human3.6M.

Which files, and where to ask for them, say ``threedpw`` and ``human36m`` (of the latter, the npz with boxes). A person
is cut out of the picture by a square box, tightly and without further augmentation, as in ChatPose. The pose is as the
camera sees it, heading 0 facing it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from blender_addon.contract.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from training.data.frames import upright
from training.data.samples import Sample, open_image
from training.data.sound import sound

from .amass_frames import Pose
from .check import tell_left_out
from .clip import PoseFileError
from .content import open_content
from .dataset import DatasetSamples
from .human36m import HUMAN36M_NPZ, fitted_rows
from .smpl import whole_pose
from .threedpw import THREEDPW

SIDE: Final = 336
"""Pixels of a side, at most: what the vision tower of 7b sees."""

MARGIN: Final = 1.2
"""Side of the box over the larger side of what the joints of a person in 3DPW span; HMR and SPIN take as much."""

MIN_JOINTS: Final = 6
"""A person of 3DPW is taken where at least as many joints are seen."""


class Photograph(NamedTuple):
    """One person in a picture.

    Attributes:
        name: of the sample.
        path: the picture.
        centre: (x, y) of the box, in pixels.
        side: of the box, in pixels.
        pose_aa: (24, 3) axis-angle, radians, heading 0 facing the camera.
    """

    name: str
    path: Path
    centre: tuple[float, float]
    side: float
    pose_aa: Pose


def photographs(annotations: Path, images: Path, kind: str, split: str) -> DatasetSamples[Photograph]:
    """Samples of the task ``estimate``.

    Args:
        annotations: an npz of SMPL fits with boxes; or one of 3DPW's pickles or its ``sequenceFiles``, where the folder
            ``split`` (``train``, or ``validation`` for ``val``) is looked into.
        images: the folder that the pictures' paths begin in; 3DPW's ``imageFiles``.
        kind: of the samples, such as "3dpw".
        split: ``train``, ``val`` or ``test``; an npz is of one split, and is read whole.

    Raises:
        FileNotFoundError: nothing there.
        PoseFileError: a file is neither, or is damaged.
    """
    if not annotations.exists():
        raise FileNotFoundError(f"there are no annotations at {annotations}")
    folder = annotations / ("validation" if split == "val" else split)
    files = (
        sorted((folder if folder.is_dir() else annotations).rglob("*.pkl"))
        if annotations.is_dir()
        else [annotations]
    )
    if not files:
        raise FileNotFoundError(f"there are no pickles of 3DPW in {annotations}")
    entries = [entry for path in files for entry in _entries(path, images)]

    def read(entry: Photograph) -> Sample:
        try:
            picture = _cut_out(open_image(entry.path), entry.centre, entry.side)
        except FileNotFoundError:
            raise
        except (OSError, ValueError) as error:
            raise PoseFileError(f"{entry.path} cannot be used: {error}") from error
        return Sample(entry.name, "estimate", kind, "", target_aa=entry.pose_aa, image=picture)

    return DatasetSamples(entries, read)


def _entries(path: Path, images: Path) -> list[Photograph]:
    with open_content(path) as content:
        if THREEDPW.recognises(content):
            return list(_of_3dpw(content, path, images))
        if HUMAN36M_NPZ.recognises(content):
            return list(_of_npz(content, path, images))
    raise PoseFileError(f"{path} is neither a sequence of 3DPW nor an npz of SMPL fits to pictures")


def _of_npz(content: Any, path: Path, images: Path) -> Iterator[Photograph]:
    rows, poses = fitted_rows(content)
    names, centres, sides = (
        content["imgname"],
        content["center"],
        200.0 * np.asarray(content["scale"], np.float64),
    )
    good = sound(poses)
    tell_left_out(path, int((~good).sum()), len(good), "with numbers that are not finite or no radians")
    for row, pose in zip(rows[good], upright(poses[good], "camera"), strict=True):
        name = names[row].decode() if isinstance(names[row], bytes) else str(names[row])
        x, y = (float(number) for number in centres[row])
        # Newer files of the lineage have a box's two sides.
        yield Photograph(f"{path.stem}-{row}", images / name, (x, y), float(np.max(sides[row])), pose)


def _of_3dpw(content: Any, path: Path, images: Path) -> Iterator[Photograph]:
    sequence = str(content["sequence"])
    to_camera = np.asarray(content["cam_poses"], dtype=np.float64)[:, :3, :3]
    for person, (poses, joints) in enumerate(zip(content["poses"], content["poses2d"], strict=True)):
        pose_aa = whole_pose(poses)
        valid = np.asarray(content["campose_valid"][person], dtype=bool)
        count = min(len(pose_aa), len(to_camera))
        pose_aa = pose_aa[:count].copy()
        good = sound(pose_aa)
        tell_left_out(path, int((~good).sum()), count, "with numbers that are not finite or no radians")
        pose_aa[:, 0] = matrix_to_axis_angle(to_camera[:count] @ axis_angle_to_matrix(pose_aa[:, 0]))
        for frame, pose in enumerate(upright(pose_aa, "camera")):
            seen = np.asarray(joints[frame], dtype=np.float64)
            seen = seen[:2, seen[2] > 0]
            if not (valid[frame] and good[frame]) or seen.shape[1] < MIN_JOINTS:
                continue
            low, high = seen.min(axis=1), seen.max(axis=1)
            x, y = (low + high) / 2
            yield Photograph(
                f"{sequence}-{person}-{frame}", images / sequence / f"image_{frame:05d}.jpg", (float(x), float(y)),
                MARGIN * float((high - low).max()), pose,
            )  # fmt: skip


def _cut_out(picture: Image.Image, centre: tuple[float, float], side: float) -> npt.NDArray[np.uint8]:
    """The square of this side around the centre; black beyond the picture."""
    left, top = centre[0] - side / 2, centre[1] - side / 2
    box = (round(left), round(top), round(left + side), round(top + side))
    if box[2] - box[0] < 8:
        raise ValueError(f"a box of {side:.0f} pixels shows nobody")
    cut = picture.crop(box)
    cut.thumbnail((SIDE, SIDE), Image.Resampling.BICUBIC)
    return np.asarray(cut)
