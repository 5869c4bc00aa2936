# SPDX-License-Identifier: Apache-2.0
"""Samples on disk: a folder of npz shards with an index, quick to write in parallel and to read in any order.

A shard holds ``pose_aa`` and ``target_aa`` (N, 24, 3) float32 with ``has_pose`` and ``has_target`` (N,), ``texts``,
the UTF-8 bytes of one JSON list ``[id, task, kind, instruction, reply, turns, further, more, view]`` a line, of which
``turns`` has the instructions of the earlier turns, ``further`` the questions and answers that follow, ``more`` the
number of further target poses, and ``view`` the camera's yaw and pitch or null. Beside them are
``turn_poses_aa`` (T, 24, 3), the poses of all samples' turns end to end, and ``more_targets_aa`` (M, 24, 3) likewise;
``images`` with ``image_ends`` (N,), the encoded pictures end to end, and ``image_joints`` (N, 24, 2), else NaN.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from blender_addon.contract.skeleton import NUM_JOINTS, STANDING_POSE

from .frames import Frame
from .records import read_records
from .samples import Sample, Turn, View, encode_image

INDEX: Final = "index.json"
SHARDS_IN_MEMORY: Final = 48


def shard_name(number: int) -> str:
    """File name of a shard."""
    return f"shard-{number:05d}.npz"


def write_shard(path: Path, samples: Sequence[Sample]) -> None:
    """Writes a shard; it appears under its name only once it is whole."""
    texts = "\n".join(
        json.dumps(
            [
                *(sample.id, sample.task, sample.kind, sample.instruction, sample.reply),
                [turn.instruction for turn in sample.history],
                sample.further,
                len(sample.targets_aa[1:]),
                None if sample.view is None else [sample.view.yaw, sample.view.pitch],
            ]
        )
        for sample in samples
    )
    turns = [turn for sample in samples for turn in sample.history]
    images = [b"" if sample.image is None else encode_image(sample.image) for sample in samples]
    nothing = np.zeros((NUM_JOINTS, 3))
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez_compressed(
            file,
            pose_aa=_stack([sample.pose_aa for sample in samples], nothing),
            has_pose=np.array([sample.pose_aa is not None for sample in samples]),
            target_aa=_stack([sample.target_aa for sample in samples], nothing),
            has_target=np.array([sample.target_aa is not None for sample in samples]),
            texts=np.frombuffer(texts.encode(), dtype=np.uint8),
            images=np.frombuffer(b"".join(images), dtype=np.uint8),
            image_ends=np.cumsum([len(image) for image in images], dtype=np.int64),
            image_joints=_stack(
                [sample.image_joints for sample in samples], np.full((NUM_JOINTS, 2), np.nan)
            ),
            more_targets_aa=np.concatenate([sample.targets_aa[1:] for sample in samples]),
            turn_poses_aa=_stack([turn.pose for turn in turns], STANDING_POSE).reshape(-1, NUM_JOINTS, 3),
        )
    partial.replace(path)


def _stack(
    rows: Sequence[npt.NDArray[np.float32] | None], missing: npt.NDArray[Any]
) -> npt.NDArray[np.float32]:
    return np.array([missing if row is None else row for row in rows], dtype=np.float32)


_NOTHING: Final = (*("",) * 5, (), (), 0, None)


class Shard:
    """One shard in memory.

    Raises:
        ValueError: the file is damaged.
    """

    def __init__(self, path: Path) -> None:
        try:
            with np.load(path, allow_pickle=False) as arrays:
                self._arrays: dict[str, npt.NDArray[Any]] = {name: arrays[name] for name in arrays.files}
            lines = self._arrays["texts"].tobytes().decode().split("\n")
            # What shards of earlier versions do not say is empty in them.
            self._texts = [(*(said := json.loads(line)), *_NOTHING[len(said) :]) for line in lines]
            self._turn_ends = np.cumsum([len(said[5]) for said in self._texts])
            self._more_ends = np.cumsum([said[7] for said in self._texts])
        except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, ValueError) as error:
            raise ValueError(f"{path} is damaged: delete it and build the data again") from error

    def __len__(self) -> int:
        return len(self._texts)

    def __getitem__(self, row: int) -> Sample:
        name, task, kind, instruction, reply, asked, further, more, view = self._texts[row]
        arrays = self._arrays
        last = int(self._turn_ends[row])
        before = arrays["turn_poses_aa"][last - len(asked) : last] if asked else ()
        more_end = int(self._more_ends[row])
        ends = arrays["image_ends"]
        start, end = int(ends[row - 1]) if row else 0, int(ends[row])
        # Shards that earlier versions built do not say where pictures show the joints.
        joints = arrays["image_joints"][row] if "image_joints" in arrays else None
        return Sample(
            name,
            task,
            kind,
            instruction,
            pose_aa=arrays["pose_aa"][row] if arrays["has_pose"][row] else None,
            target_aa=arrays["target_aa"][row] if arrays["has_target"][row] else None,
            image=Image.open(io.BytesIO(arrays["images"][start:end].tobytes())) if end > start else None,
            reply=reply,
            image_joints=None if joints is None or np.isnan(joints).all() else joints,
            history=tuple(Turn(words, pose) for words, pose in zip(asked, before, strict=True)),
            more_targets_aa=arrays["more_targets_aa"][more_end - more : more_end] if more else None,
            further=tuple((question, answer) for question, answer in further),
            view=None if view is None else View(*view),
        )


class SampleSource:
    """Samples that can be read in any order: a folder of shards, or a file in the paper's JSON form.

    ``sizes`` has the number of samples of each shard.

    Args:
        path: the folder or the file.
        frame: the world of a file's poses where its records name none; None to recognise it.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: no samples there.
    """

    def __init__(self, path: Path, *, frame: Frame | None = None) -> None:
        self.path = path
        self._loaded: OrderedDict[int, Shard | list[Sample]] = OrderedDict()
        self._files: list[str] = []
        if path.is_dir() and (path / INDEX).is_file():
            index = json.loads((path / INDEX).read_text(encoding="utf-8"))
            self._files = [entry["file"] for entry in index["shards"]]
            self.sizes = [int(entry["count"]) for entry in index["shards"]]
        elif path.is_file():
            records = list(read_records(path, frame))
            self._loaded[0] = records
            self.sizes = [len(records)]
        else:
            raise FileNotFoundError(f"no training data in {path}: build it with `posellava data build`")
        if sum(self.sizes) == 0:
            raise ValueError(f"{path} holds no samples")

    def __len__(self) -> int:
        return sum(self.sizes)

    def read(self, shard: int, row: int) -> Sample:
        """One sample, by shard and row."""
        if shard not in self._loaded:
            path = self.path / self._files[shard]
            if not path.is_file():
                raise FileNotFoundError(f"{path} is gone: build the data again with `posellava data build`")
            self._loaded[shard] = Shard(path)
            if len(self._loaded) > SHARDS_IN_MEMORY:
                self._loaded.popitem(last=False)
        self._loaded.move_to_end(shard)
        return self._loaded[shard][row]
