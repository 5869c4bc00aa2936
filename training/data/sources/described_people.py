# SPDX-License-Identifier: Apache-2.0
"""Whole photographs of several people, and words for one of them: ChatPose's benchmark of reasoning-based estimation.

Files are those of its refined annotations (arXiv 2507.13314, https://github.com/jjunsss/RPE-Refined), whose indices
are set right: ``refine_vqa_KIND_withGT.json``, each a list of ``{"id", "real_image", "conversations", "ground_truth":
{"smpl_param": {"pose"[72]}}}``, the pose as the camera sees it. The pictures are 3DPW's (https://virtualhumans.mpi-inf.mpg.de/3DPW),
which are fetched apart. Nobody is cut out of a picture: to find who is meant is the task.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from blender_addon.contract.skeleton import NUM_JOINTS
from training.data.frames import upright
from training.data.records import load_records
from training.data.samples import Pose, Sample
from training.data.sound import sound

from .check import tell_left_out
from .dataset import DatasetSamples

PICTURES: Final = "imageFiles/"
"""What stands before a sequence's name in the paths of pictures."""
_KIND: Final = re.compile(r"vqa_([a-z]+)")
_ASKED: Final = re.compile(
    r"[\s,.]*\b(?:(?:can|could) you )?(?:please )?(?:give|provide|tell)(?: me)? the SMPL pose of this person"
    r"\s*[?.]?\s*$",
    re.I,
)


class Described(NamedTuple):
    """One question: the sample's name, its kind, the words for a person, the picture and the pose (24, 3), +y up."""

    name: str
    kind: str
    words: str
    picture: Path
    pose_aa: Pose


def described_people(annotations: Path, images: Path) -> DatasetSamples[Described]:
    """Samples of the task ``estimate`` whose words tell who is meant; their kinds are the files'.

    Args:
        annotations: one of the files, or a folder of them.
        images: 3DPW's ``imageFiles``, or the folder that it lies in.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: a file is no list of such records, or there is none that can be used.
    """
    if not annotations.exists():
        raise FileNotFoundError(f"there are no descriptions of people at {annotations}")
    files = sorted(annotations.glob("*.json")) if annotations.is_dir() else [annotations]
    entries = [entry for file in files for entry in _entries(file, images)]
    if not entries:
        raise ValueError(f"{annotations} holds no person with words, picture and pose")

    def read(entry: Described) -> Sample:
        if not entry.picture.is_file():
            raise FileNotFoundError(f"the picture {entry.picture} of sample {entry.name} is missing")
        return Sample(
            entry.name, "estimate", entry.kind, entry.words, target_aa=entry.pose_aa, image=entry.picture
        )

    return DatasetSamples(entries, read)


def words_for(question: str) -> str:
    """The words for a person in a question, without the wording around them."""
    plain = " ".join(question.replace("<image>", " ").split())
    return _ASKED.sub("", plain).strip()


def _entries(file: Path, images: Path) -> list[Described]:
    records = load_records(file)
    found = _KIND.search(file.stem)
    kind = found[1] if found else file.stem
    entries = [entry for record in records if (entry := _entry(record, file, kind, images)) is not None]
    tell_left_out(file, len(records) - len(entries), len(records), "without words, picture or a sound pose")
    return entries


def _entry(record: Mapping[str, Any], file: Path, kind: str, images: Path) -> Described | None:
    try:
        words = words_for(str(record["conversations"][0]["value"]))
        picture = str(record["real_image"]).replace("\\", "/")
        pose = np.asarray(record["ground_truth"]["smpl_param"]["pose"], np.float32).reshape(1, NUM_JOINTS, 3)
    except (KeyError, IndexError, TypeError, ValueError):
        return None
    if not words or not sound(pose)[0]:
        return None
    inside = picture.rpartition(PICTURES)[2]
    places = [images / inside, images / PICTURES / inside, images / picture]
    path = next((place for place in places if place.is_file()), places[0])
    name = f"{file.stem}-{record.get('id', inside)}"
    return Described(name, kind, words, path, upright(pose, "camera")[0])
