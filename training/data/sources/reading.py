# SPDX-License-Identifier: Apache-2.0
"""Poses from any file or folder: the formats known are recognised by what is in a file.

To know another format, write its ``PoseFormat`` and add it to ``FORMATS``.
"""

from __future__ import annotations

import logging
import zlib
from pathlib import Path, PurePosixPath
from typing import Final
from zipfile import BadZipFile

from .aist import AIST
from .amass import AMASS
from .bvh import BVH
from .check import checked
from .clip import Clip, PoseFileError, PoseFormat, UnknownFormatError, thinned, to_pose_set
from .content import open_content
from .held_out import HeldOut
from .human36m import HUMAN36M_JSON, HUMAN36M_NPZ
from .pose_set import PoseSet, joined
from .project_npz import POSES, MissingSplitError, Split, read_project_npz
from .smpl import SMPL
from .threedpw import THREEDPW

_log = logging.getLogger(__name__)

FORMATS: Final[tuple[PoseFormat, ...]] = (
    AIST, THREEDPW, HUMAN36M_NPZ, HUMAN36M_JSON, AMASS, BVH, SMPL,
)  # fmt: skip
"""The first that recognises a file reads it. The project's own file, which knows its split, comes before them all."""

SUFFIXES: Final = frozenset({".npz", ".npy", ".pkl", ".pickle", ".bvh", ".json"})
"""Files of a folder that are looked at."""

VAL_SHARE: Final = 0.05
"""How many files are kept for validation, where the data set does not say which."""

_SPLIT_FOLDERS: Final = {"train": "train", "validation": "val", "val": "val", "test": "test"}


def read_poses(path: Path, split: Split, held_out: HeldOut | None = None) -> PoseSet:
    """One split of the poses in a file, or in a folder and those below it; ``test`` is known to the project's own file
    and to folders of that name.

    Files are split as a whole: those below a folder named train, val, validation or test as that says, the others by a
    hash of their names. Of a single recording the last part is kept for validation. In a folder, files that cannot be
    used are told in the log, and the rest is read.

    Args:
        path: the file or folder.
        split: which of its poses.
        held_out: poses of AMASS to leave out, which a release keeps for tests.

    Raises:
        FileNotFoundError: nothing there.
        PoseFileError: the file cannot be used; or no file of the folder can.
        MissingSplitError: the project's own file has other splits only.
    """
    if not path.exists():
        raise FileNotFoundError(f"there are no poses at {path}: give a file or a folder of recorded poses")
    if path.is_file():
        if _is_project_file(path):
            return _read_project_file(path, split)
        return to_pose_set(_split_clips(read_clips(path), split))
    sets: list[PoseSet] = []
    clips: list[tuple[str, list[Clip]]] = []
    strangers: list[Path] = []
    lacking: MissingSplitError | None = None
    for file in sorted(path.rglob("*")):
        if file.suffix.lower() not in SUFFIXES or not file.is_file():
            continue
        try:
            if _is_project_file(file):
                sets.append(_read_project_file(file, split))
            else:
                name, found = file.relative_to(path).as_posix(), read_clips(file)
                if held_out is not None:
                    found = held_out.without(found, name)
                # Thinned at once: the whole of AMASS at its own rate would take gigabytes.
                clips.append((name, [thinned(clip) for clip in found]))
        except UnknownFormatError:
            strangers.append(file)
        except MissingSplitError as error:
            lacking = error
        except ValueError as error:
            _log.warning("%s; the other files are read", error)
    if strangers:
        _log.warning("%d files in %s hold no poses, such as %s", len(strangers), path, strangers[0].name)
    chosen = _split_files(clips, split)
    if not chosen and not sets:
        if lacking is not None:
            raise lacking
        raise PoseFileError(f"no file in {path} holds poses in a format known here ({', '.join(_names())})")
    return joined([*sets, to_pose_set(chosen)])


def read_clips(path: Path) -> list[Clip]:
    """The clips of one file.

    Raises:
        FileNotFoundError: no such file.
        UnknownFormatError: it is of no format known here.
        PoseFileError: it is damaged, or not as its format says.
    """
    with open_content(path) as content:
        for known in FORMATS:
            if known.recognises(content):
                clips = [checked(clip, path) for clip in known.clips(content, path) if len(clip.pose_aa)]
                if not clips:
                    raise PoseFileError(f"{path} holds no poses")
                return clips
    raise UnknownFormatError(f"{path} holds no poses in a format known here ({', '.join(_names())})")


def _names() -> list[str]:
    return ["the project's own npz", *(known.name for known in FORMATS)]


def _is_project_file(path: Path) -> bool:
    if path.suffix.lower() != ".npz":
        return False
    with open_content(path) as content:
        return POSES in content


def _read_project_file(path: Path, split: Split) -> PoseSet:
    try:
        return read_project_npz(path, split)
    except (BadZipFile, zlib.error, EOFError) as error:
        raise PoseFileError(f"{path} cannot be read: {error}") from error


def _split_files(clips: list[tuple[str, list[Clip]]], split: Split) -> list[Clip]:
    named = {name: _named_split(name) for name, _ in clips}
    free = [name for name, own in named.items() if own is None]
    if len(clips) == 1 and free:
        return _split_clips(clips[0][1], split)
    place = {name: zlib.crc32(name.encode()) for name in free}
    border = VAL_SHARE * 2**32
    if "val" not in named.values() and free:
        # At least one file for each split, however few there are.
        border = max(border, min(place.values()) + 1)
    held_out = {name for name in free if place[name] < border}
    if "train" not in named.values() and free and len(held_out) == len(free):
        held_out.remove(max(held_out, key=lambda name: place[name]))
    for name in free:
        named[name] = "val" if name in held_out else "train"
    return [clip for name, of_file in clips if named[name] == split for clip in of_file]


def _named_split(name: str) -> str | None:
    """The split that a folder in the path says, as 3DPW's do."""
    folders = {part.lower() for part in PurePosixPath(name).parts[:-1]}
    return next((split for folder, split in _SPLIT_FOLDERS.items() if folder in folders), None)


def _split_clips(clips: list[Clip], split: Split) -> list[Clip]:
    """The first part of each clip for training, its end for validation; a single pose is in both."""
    parts = []
    for clip in clips:
        end = len(clip.pose_aa) - max(1, round(VAL_SHARE * len(clip.pose_aa)))
        kept = slice(None) if end == 0 else slice(end) if split == "train" else slice(end, None)
        parts.append(Clip(clip.pose_aa[kept], clip.frame, clip.rate, clip.label))
    return parts
