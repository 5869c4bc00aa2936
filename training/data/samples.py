# SPDX-License-Identifier: Apache-2.0
"""The one sample type of training: words and a pose, perhaps a start pose or an image; and the paper's JSON form.

Legend: J = 24 joints; poses (J, 3) axis-angle, radians.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from backend.images import to_rgb
from backend.prompt import PAPER_TEMPLATES, POSE_OUTPUT, VERBAL_ANSWERS
from blender_addon.contract.messages import Turn
from blender_addon.contract.skeleton import NUM_JOINTS

__all__ = [
    "VERBAL_ANSWERS",
    "Pose",
    "Sample",
    "Turn",
    "from_record",
    "open_image",
    "read_records",
    "to_record",
]

Pose = npt.NDArray[np.float32]
SampleImage = Image.Image | npt.NDArray[np.uint8] | Path | Callable[[], Image.Image]
_PLACEHOLDERS: Final = re.compile(r"<(?:pose|image)>\s*")


@dataclass(frozen=True)
class Sample:
    """One thing to learn.

    Attributes:
        id: unique in its source.
        task: ``adjust``, ``generate``, ``estimate`` or ``chat``.
        kind: the finer kind, for statistics ("elbow_bend", "caption"). It says nothing to the model.
        instruction: what the user says, without the template's wording.
        pose_aa: the initial pose, where the task has one.
        target_aa: the pose to answer with; None where the answer is words alone.
        image: a picture, an array (height, width, 3), the path of a file, or a function that makes it when needed.
        reply: the words to answer with; None for the template's own. One of VERBAL_ANSWERS where nothing is to move.
        image_joints: (J, 2) where the image shows the joints, as shares of its width and height from its upper left
            corner; None where nobody knows.
        history: earlier turns, oldest first, each with the pose that it was asked of; what came of it is the next
            turn's pose, of the last turn ``pose_aa``.
    """

    id: str
    task: str
    kind: str
    instruction: str
    pose_aa: Pose | None = field(default=None, repr=False)
    target_aa: Pose | None = field(default=None, repr=False)
    image: SampleImage | None = field(default=None, repr=False)
    reply: str | None = None
    image_joints: npt.NDArray[np.float32] | None = field(default=None, repr=False)
    history: tuple[Turn, ...] = ()


def open_image(image: SampleImage) -> Image.Image:
    """The picture in RGB. Raises FileNotFoundError where its file is missing."""
    if isinstance(image, Path):
        if not image.is_file():
            raise FileNotFoundError(f"the image {image} of a sample is missing")
        image = Image.open(image)
    elif isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    elif callable(image):
        image = image()
    return to_rgb(image)


def encode_image(image: SampleImage) -> bytes:
    """The picture as the bytes of an image file: a file's own, or a JPEG, a quarter of a PNG's size."""
    if isinstance(image, Path):
        return image.read_bytes()
    buffer = io.BytesIO()
    open_image(image).save(buffer, format="JPEG", quality=92)
    return buffer.getvalue()


def to_record(sample: Sample) -> dict[str, Any]:
    """The sample in the paper's JSON form: ``{id, image?, input_pose?[72], target_pose?[72], conversations}``.

    ``kind`` is kept as a further key, and ``history`` where there is one, a list of ``{instruction, pose?[72]}``.
    Raises ValueError for an image that is not a file: JSON holds its path.
    """
    templates = PAPER_TEMPLATES.get(sample.task)
    question, answer = "{instruction}", ""
    if templates is not None:
        question, answer = templates[0]["question"], templates[0]["answer"]
    record: dict[str, Any] = {"id": sample.id, "kind": sample.kind}
    if sample.image is not None:
        if not isinstance(sample.image, Path):
            raise ValueError(f"sample {sample.id}: save its image to a file first; JSON holds a path")
        record["image"] = str(sample.image)
        if templates is None:
            question = "<image>\n" + question
    if sample.pose_aa is not None:
        record["input_pose"] = [float(number) for number in sample.pose_aa.reshape(-1)]
    if sample.target_aa is not None:
        record["target_pose"] = [float(number) for number in sample.target_aa.reshape(-1)]
    if sample.history:
        record["history"] = [
            {"instruction": turn.instruction}
            | ({} if turn.pose is None else {"pose": [float(number) for number in turn.pose.reshape(-1)]})
            for turn in sample.history
        ]
    record["conversations"] = [
        {"from": "human", "value": question.replace("{instruction}", sample.instruction)},
        {"from": "gpt", "value": answer if sample.reply is None else sample.reply},
    ]
    return record


def from_record(record: Mapping[str, Any], *, folder: Path = Path()) -> Sample:
    """A sample from the paper's JSON form; the task is told by what the record holds.

    A question in the wording of one of the papers' templates is reduced to its instruction.

    Args:
        record: one entry.
        folder: what a relative image path is relative to.

    Raises:
        ValueError: a missing key, a pose that is not 72 finite numbers, or a target whose answer has no one place for
            the pose.
    """
    name = str(record.get("id", "?"))
    turns = record.get("conversations")
    if not isinstance(turns, list) or len(turns) < 2:
        raise ValueError(f"sample {name}: conversations must hold a question and an answer")
    pose = _pose(record, "input_pose", name)
    target = _pose(record, "target_pose", name)
    history = tuple(
        Turn(str(turn["instruction"]), _pose(turn, "pose", name)) for turn in record.get("history", ())
    )
    image = folder / str(record["image"]) if "image" in record else None
    answer = _text(turns[1], name)
    if target is None and answer not in VERBAL_ANSWERS.values():
        task = "chat"
    elif pose is not None:
        task = "adjust"
    else:
        task = "generate" if image is None else "estimate"
    instruction = _instruction(task, _text(turns[0], name))
    if target is not None and answer.count(POSE_OUTPUT) != 1:
        raise ValueError(
            f"sample {name}: the answer to a target_pose must hold {POSE_OUTPUT} once, as its place"
        )
    known = {template["answer"] for template in PAPER_TEMPLATES.get(task, ())}
    reply = None if answer in known else answer
    kind = str(record.get("kind", task))
    return Sample(name, task, kind, instruction, pose, target, image, reply, history=history)


def read_records(path: Path) -> Iterator[Sample]:
    """Samples of a ``.json`` file (a list) or ``.jsonl`` file; images are found relative to the file's folder.

    Raises:
        ValueError: it is no JSON, or no list of samples, or a sample is not as ``from_record`` wants it.
    """
    with path.open(encoding="utf-8") as file:
        try:
            lines = (line for line in file if line.strip())
            records = [json.loads(line) for line in lines] if path.suffix == ".jsonl" else json.load(file)
        except ValueError as error:
            raise ValueError(f"{path} is no readable JSON ({error})") from error
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise ValueError(f"{path} holds no list of samples")
    for record in records:
        yield from_record(record, folder=path.parent)


def _instruction(task: str, question: str) -> str:
    for template in PAPER_TEMPLATES.get(task, ()):
        before, after = template["question"].split("{instruction}")
        if question.startswith(before) and question.endswith(after):
            return question[len(before) : len(question) - len(after)].strip()
    return _PLACEHOLDERS.sub("", question).strip()


def _text(turn: Any, name: str) -> str:
    """What is said in one turn of the conversation of sample ``name``."""
    text = turn.get("value") if isinstance(turn, Mapping) else None
    if not isinstance(text, str):
        raise ValueError(f"sample {name}: a turn of its conversations has no text under value")
    return text


def _pose(record: Mapping[str, Any], key: str, name: str) -> Pose | None:
    if key not in record:
        return None
    try:
        pose = np.asarray(record[key], dtype=np.float32)
    except (TypeError, ValueError):
        pose = np.empty(0, dtype=np.float32)
    if pose.size != 3 * NUM_JOINTS or not np.isfinite(pose).all():
        raise ValueError(f"sample {name}: {key} must be 72 finite numbers")
    return pose.reshape(NUM_JOINTS, 3)
