# SPDX-License-Identifier: Apache-2.0
"""PoseScript and PoseFix as they were released: people's and generated texts on poses of AMASS.

Ask for them at https://europe.naverlabs.com/research/computer-vision/posescript and …/posefix (CC BY-NC-SA 4.0), and
for the poses at https://amass.is.tue.mpg.de. A release is a folder of JSON files:

- ``ids_2_dataset_sequence_and_frame_index_100k.json``: pose id to ``["AMASS", file, frame]``;
- PoseScript: ``posescript_human_6293.json`` and ``posescript_auto_100k.json``, pose id to a text or several, and
  ``train_ids_100k.json``, ``val_…``, ``test_…``, lists of pose ids;
- PoseFix: ``posefix_human_6157.json``, ``posefix_paraphrases_4284.json`` and ``posefix_auto_135305.json``, pair id to a
  text or several, ``pair_id_2_pose_ids.json``, a list of pairs of pose ids, and
  ``train_in_sequence_pair_ids.json``, ``train_out_sequence_pair_ids.json`` and so on, lists of pair ids.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from blender_addon.contract.kinematics import yaw_matrix
from blender_addon.contract.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from training.data.samples import Sample

from .amass_frames import AmassFrames, Pose
from .dataset import DatasetSamples

_log = logging.getLogger(__name__)

PLACES: Final = "ids_2_dataset_sequence_and_frame_index*.json"
PAIRS: Final = "pair_id_2_pose_ids*.json"


class Annotation(NamedTuple):
    """One text, of the kind that its file's name tells ("posescript_human"), on a pose or pair of this id."""

    kind: str
    about: str
    number: int
    text: str


def posescript(release: Path, amass: Path, split: str) -> DatasetSamples[Annotation]:
    """Texts that describe a pose: samples of the task ``generate``. A pose's heading counts for nothing there.

    Args:
        release: the folder, or one file of texts in it.
        amass: the folder of AMASS.
        split: ``train``, ``val`` or ``test``.

    Raises:
        FileNotFoundError: a file of the release is missing.
        ValueError: a file is not as released; or no text belongs to the split.
    """
    folder = _folder(release)
    frames = AmassFrames(amass, _load(_one(folder, PLACES), dict))
    ids = {str(one) for one in _load(_one(folder, f"{split}_ids*.json"), list)}

    def read(entry: Annotation) -> Sample:
        return Sample(_name(entry), "generate", entry.kind, entry.text, target_aa=frames.pose(entry.about))

    entries = sorted(_annotations(release, "posescript", ids), key=lambda entry: frames.sequence(entry.about))
    return DatasetSamples(entries, read)


def posefix(release: Path, amass: Path, split: str) -> DatasetSamples[Annotation]:
    """Texts that lead from one pose to another: samples of the task ``adjust``.

    Two poses of one recording keep their headings, and the text may ask to turn. Of different recordings, both were
    shown to face the same way when the text was written, and so they do here.

    Args, Raises: as of ``posescript``.
    """
    folder = _folder(release)
    frames = AmassFrames(amass, _load(_one(folder, PLACES), dict))
    pairs = _pairs(_load(_one(folder, PAIRS), (list, dict)))
    ids = {
        str(one)
        for way in ("in", "out")
        for one in _load(_one(folder, f"{split}_{way}_sequence_pair_ids*.json"), list)
    }

    def pair(entry: Annotation) -> tuple[str, str]:
        if entry.about not in pairs:
            raise ValueError(f"pair {entry.about} of {entry.kind} is not in {PAIRS.replace('*', '')}")
        before, after = pairs[entry.about]
        return str(before), str(after)

    def read(entry: Annotation) -> Sample:
        ids = pair(entry)
        before, after = (frames.pose(one) for one in ids)
        if frames.sequence(ids[0]) != frames.sequence(ids[1]):
            before, after = _facing_ahead(before), _facing_ahead(after)
        return Sample(_name(entry), "adjust", entry.kind, entry.text, before, after)

    entries = sorted(
        _annotations(release, "posefix", ids),
        key=lambda entry: frames.sequence(str(pairs.get(entry.about, ("",))[0])),
    )
    return DatasetSamples(entries, read)


def posefix_alone(release: Path, amass: Path, split: str) -> DatasetSamples[Annotation]:
    """PoseFix's texts without the pose that they start from, for the paper's stage 2: samples of ``generate``.

    Args, Raises: as of ``posescript``.
    """
    pairs = posefix(release, amass, split)
    return replace(pairs, read=lambda entry: replace(pairs.read(entry), task="generate", pose_aa=None))


def release_places(release: Path) -> dict[str, Any]:
    """Pose id to ``["AMASS", file, frame]``. Raises FileNotFoundError and ValueError."""
    places: dict[str, Any] = _load(_one(_folder(release), PLACES), dict)
    return places


def release_ids(release: Path, splits: Sequence[str]) -> set[str]:
    """Ids of the splits: of poses in PoseScript, of pairs in PoseFix. Raises FileNotFoundError and ValueError."""
    folder = _folder(release)
    found = [path for split in splits for path in sorted(folder.glob(f"{split}_*ids*.json"))]
    if not found:
        raise FileNotFoundError(
            f"{folder} has no lists of {' and '.join(splits)} ids: is it a whole release?"
        )
    return {str(one) for path in found for one in _load(path, list)}


def posefix_pairs(release: Path) -> dict[str, Any] | None:
    """Pair id to the ids of its two poses; None of a release that has no pairs."""
    found = sorted(_folder(release).glob(PAIRS))
    return None if not found else _pairs(_load(found[0], (list, dict)))


def _pairs(listed: Any) -> dict[str, Any]:
    return dict(listed) if isinstance(listed, dict) else {str(n): pair for n, pair in enumerate(listed)}


def _facing_ahead(pose: Pose) -> Pose:
    """The pose turned about +y until the body's left, seen from above, is +x, as PoseFix normalises."""
    root = axis_angle_to_matrix(pose[0])
    turned = pose.copy()
    turned[0] = matrix_to_axis_angle(yaw_matrix(np.arctan2(root[2, 0], root[0, 0])) @ root)
    return turned


def _name(entry: Annotation) -> str:
    return f"{entry.kind}-{entry.about}-{entry.number}"


def _folder(release: Path) -> Path:
    if not release.exists():
        raise FileNotFoundError(f"there is no release of texts at {release}")
    return release if release.is_dir() else release.parent


def _one(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if not found:
        raise FileNotFoundError(f"{folder} lacks {pattern}: give the folder of the whole release")
    return found[0]


def _load(path: Path, kind: type | tuple[type, ...]) -> Any:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no readable JSON ({error})") from error
    if not isinstance(value, kind):
        raise ValueError(f"{path} holds a {type(value).__name__}: it is not as released")
    return value


def _annotations(release: Path, data_set: str, ids: set[str]) -> Iterator[Annotation]:
    """The texts on these poses or pairs, of one file or all of the folder, where a damaged one is told and left out."""
    files = sorted(release.glob(f"{data_set}_*.json")) if release.is_dir() else [release]
    found = 0
    for path in files:
        try:
            texts = _load(path, dict)
        except ValueError as error:
            if not release.is_dir():
                raise
            _log.warning("%s; the other files are read", error)
            continue
        kind = path.stem.rpartition("_")[0] or path.stem
        for about, given in texts.items():
            for number, text in enumerate([given] if isinstance(given, str) else given):
                if about in ids and isinstance(text, str) and text.strip():
                    found += 1
                    yield Annotation(kind, about, number, text.strip())
    if not found:
        raise ValueError(f"{release} holds no texts of this split")
