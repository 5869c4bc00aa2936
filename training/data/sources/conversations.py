# SPDX-License-Identifier: Apache-2.0
"""Conversations without poses, which keep the language model's own abilities alive: LLaVA's instruction data.

``llava_instruct_150k.json`` or ``llava_v1_5_mix665k.json`` of https://huggingface.co/datasets/liuhaotian/LLaVA-Instruct-150K
(CC BY 4.0, non-commercial as made with GPT-4): a list of ``{"id", "image"?, "conversations": [{"from": "human" | "gpt",
"value"}, …]}``. Images, such as those of COCO's train2017 (https://cocodataset.org), are fetched apart. All turns
of a conversation are one sample.

The files have no splits: one conversation in fifty is kept apart for ``val``, all those about one picture together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Literal
from zlib import crc32

from training.data.records import from_record, load_records
from training.data.samples import Sample

from .dataset import DatasetSamples

KEPT_APART: Final = 50
"""One in so many conversations is for ``val``."""


def conversations(
    path: Path, images: Path | None, split: Literal["train", "val"] = "train"
) -> DatasetSamples[Mapping[str, Any]]:
    """Questions and answers: samples of the task ``chat``, with their reply and without a target.

    Args:
        path: the JSON file, or one with a record a line.
        images: the folder that the records' image paths begin in. Without it, only conversations without a picture are
            taken: answers on a picture that is not seen would teach to make things up.
        split: which part of them.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is no list of records, or none of them can be used, or none of the split.
    """
    every = load_records(path)
    records = [record for record in every if (_number(record) % KEPT_APART == 0) == (split == "val")]
    if every and not records:
        raise ValueError(
            f"none of the {len(every)} conversations in {path} is of the split {split}: one in {KEPT_APART} is of val"
        )
    if images is None:
        records = [record for record in records if "image" not in record]
        if not records:
            raise ValueError(
                f"every conversation in {path} is about a picture: say where they are with --images"
            )

    def read(record: Mapping[str, Any]) -> Sample:
        sample = from_record(record, folder=Path() if images is None else images)
        if sample.target_aa is not None:
            raise ValueError(f"sample {sample.id} has a pose: train on its file as it is")
        if isinstance(sample.image, Path) and not sample.image.is_file():
            raise FileNotFoundError(f"the picture {sample.image} of sample {sample.id} is missing")
        return replace(sample, kind="conversation")

    return DatasetSamples(records, read)


def _number(record: Mapping[str, Any]) -> int:
    """The same for all conversations about one picture, and otherwise one for each, whether it has an id or not."""
    return crc32(str(record.get("image") or record.get("id") or record.get("conversations")).encode())
