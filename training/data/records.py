# SPDX-License-Identifier: Apache-2.0
"""The paper's JSON form: ``{id, image?, input_pose?[72], target_pose?[72 T], conversations}``, to samples and back.

The authors' own files have +y down, as a camera sees, and ask in whole sentences of many wordings. Here a question in a
known wording is reduced to its instruction, and poses are turned to +y up: ``frame`` in a record names the world that
its poses are in (``y_up``, ``z_up`` or ``camera``); without it the trunks of the whole file tell.

What cannot be learnt is left out, counted and named. May import backend.prompt and blender_addon.contract.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from backend.prompt import IMAGE_PLACEHOLDER, PAPER_TEMPLATES, POSE_OUTPUT, POSE_PLACEHOLDER, VERBAL_ANSWERS
from backend.prompt.templates import PAPER_ANSWERS
from blender_addon.contract.skeleton import NUM_JOINTS

from .frames import FRAMES, Frame, clear_frame, upright
from .samples import Sample, Turn, View
from .sound import LARGEST_TURN, turns

_log = logging.getLogger(__name__)

SHOWN_PROBLEMS: Final = 5
"""Records left out that are told of one by one; of the others only the number."""
_PLACEHOLDERS: Final = re.compile(r"\s*<(?:pose|image)>\s*")
_POSE_KEYS: Final = ("input_pose", "target_pose")
_ASKS: Final = ("human", "user")
_LAST_SENTENCE: Final = re.compile(r"(?:(?<=[.!?])|^)\s*(?!\s)[^.!?]*\bSMPL\b[^.!?]*[.!?]\s*$")


def to_record(sample: Sample) -> dict[str, Any]:
    """The sample in the paper's JSON form, with ``task``, ``kind`` and ``frame`` as further keys, and, where there is
    one, ``history``, a list of ``{instruction, pose?[72]}``, and ``view``, ``{yaw, pitch}``.

    Raises:
        ValueError: an image that is not a file: JSON holds its path.
    """
    record: dict[str, Any] = {"id": sample.id, "task": sample.task, "kind": sample.kind, "frame": "y_up"}
    if sample.image is not None:
        if not isinstance(sample.image, Path):
            raise ValueError(f"sample {sample.id}: save its image to a file first; JSON holds a path")
        record["image"] = str(sample.image)
    if sample.pose_aa is not None:
        record["input_pose"] = [float(number) for number in sample.pose_aa.reshape(-1)]
    if sample.target_aa is not None:
        record["target_pose"] = [float(number) for number in sample.targets_aa.reshape(-1)]
    if sample.history:
        record["history"] = [
            {"instruction": turn.instruction}
            | ({} if turn.pose is None else {"pose": [float(number) for number in turn.pose.reshape(-1)]})
            for turn in sample.history
        ]
    if sample.view is not None:
        record["view"] = {"yaw": sample.view.yaw, "pitch": sample.view.pitch}
    question, answer = _wording(sample)
    turns_said = [(question, answer if sample.reply is None else sample.reply), *sample.further]
    record["conversations"] = [
        {"from": speaker, "value": words}
        for turn in turns_said
        for speaker, words in zip(("human", "gpt"), turn, strict=True)
    ]
    return record


def _wording(sample: Sample) -> tuple[str, str]:
    """The question and the answer of a sample in the papers' first wording that fits it."""
    given = {POSE_PLACEHOLDER: sample.pose_aa is not None, IMAGE_PLACEHOLDER: sample.image is not None}
    for template in PAPER_TEMPLATES.get(sample.task, ()):
        question = template["question"]
        if all((placeholder in question) == there for placeholder, there in given.items()):
            return question.replace("{instruction}", sample.instruction), template["answer"]
    shown = "".join(f"{placeholder}\n" for placeholder, there in given.items() if there)
    return shown + sample.instruction, ""


def from_record(record: Mapping[str, Any], *, folder: Path = Path(), frame: Frame = "y_up") -> Sample:
    """A sample from the paper's JSON form; the task is told by what the record holds, unless it says ``task``.

    Args:
        record: one entry.
        folder: what a relative image path is relative to.
        frame: of the poses, where the record names none.

    Raises:
        ValueError: a missing key, a pose that is no 72 finite numbers in radians, an empty answer, placeholders without
            what they stand for, or answers that have not one place for each target pose.
    """
    name = str(record.get("id", "?"))
    said = _turns(record, name)
    world = _named_frame(record, name) or frame
    pose, targets = (_poses(record, key, name, world) for key in _POSE_KEYS)
    if len(pose) > 1:
        raise ValueError(f"sample {name}: input_pose holds {len(pose)} poses; give one")
    image = _image(record, folder, name)
    _check_placeholders(said, len(pose), len(targets), has_image=image is not None, name=name)
    question, answer = said[0]
    task = (
        "chat" if len(said) > 1 else str(record.get("task") or _task(question, answer, pose, targets, image))
    )
    known = task in PAPER_TEMPLATES and answer in PAPER_ANSWERS and len(targets) == 1
    return Sample(
        name,
        task,
        str(record.get("kind", task)),
        instruction_of(task, question),
        pose[0] if len(pose) else None,
        targets[0] if len(targets) else None,
        image,
        None if known else answer,
        more_targets_aa=targets[1:] if len(targets) > 1 else None,
        further=tuple(said[1:]),
        history=tuple(_turn(turn, name, world) for turn in record.get("history", ())),
        view=_view(record, name),
    )


def read_records(path: Path, frame: Frame | None = None) -> Iterator[Sample]:
    """Samples of a ``.json`` file (a list) or ``.jsonl`` file; images are found relative to the file's folder.

    Records that cannot be learnt are told in the log and left out.

    Args:
        path: the file.
        frame: of the poses of records that name none; None to recognise it.

    Raises:
        ValueError: it is no JSON, or no list of records, or none of them can be used, or the frame is not plain.
    """
    records = load_records(path)
    if frame is None:
        frame = recognised_frame(records, path)
    problems: list[str] = []
    found = 0
    for record in records:
        try:
            sample = from_record(record, folder=path.parent, frame=frame)
        except ValueError as error:
            problems.append(str(error))
            continue
        found += 1
        yield sample
    if problems and not found:
        raise ValueError(f"{path} holds no sample that can be used: {problems[0]}")
    for problem in problems[:SHOWN_PROBLEMS]:
        _log.warning("%s: %s; it is left out", path, problem)
    if problems:
        _log.warning("%s: %d of %d samples are left out", path, len(problems), len(records))


def load_records(path: Path) -> list[Mapping[str, Any]]:
    """The entries of a ``.json`` file (a list) or ``.jsonl`` file. Raises ValueError where it is neither."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        lines = (line for line in text.splitlines() if line.strip())
        records = [json.loads(line) for line in lines] if path.suffix == ".jsonl" else json.loads(text)
    except ValueError as error:
        raise ValueError(f"{path} is no readable JSON ({error})") from error
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise ValueError(f"{path} holds no list of samples")
    return records


def recognised_frame(records: Sequence[Mapping[str, Any]], path: Path) -> Frame:
    """The world that the poses of a file's records are in, of those that name none: where their trunks point up.

    Raises:
        ValueError: they point up in no world.
    """
    roots = []
    for record in records:
        for key in _POSE_KEYS if "frame" not in record else ():
            numbers = _numbers(record.get(key))
            if numbers is not None and numbers.size and numbers.size % (3 * NUM_JOINTS) == 0:
                roots.append(numbers.reshape(-1, NUM_JOINTS, 3))
    if not roots:
        return "y_up"
    poses = np.concatenate(roots)
    frame = clear_frame(poses[np.isfinite(poses).all(axis=(1, 2))])
    if frame is None:
        raise ValueError(
            f"{path}: it is not plain which way is up in its poses; name it, as 'frame' of the source in the "
            f"configuration, with --frame, or in each record: {', '.join(FRAMES)} (camera: +y down)"
        )
    if frame != "y_up":
        _log.warning("%s: its poses are in the frame %r; they are turned to +y up", path, frame)
    return frame


def instruction_of(task: str, question: str) -> str:
    """What is asked in a question, without the wording around it where that is known."""
    plain = " ".join(_PLACEHOLDERS.sub(" ", question).split())
    best = plain
    for before, after in _frames_of(task):
        if plain.startswith(before) and plain.endswith(after) and len(plain) >= len(before) + len(after):
            inner = plain[len(before) : len(plain) - len(after)].strip()
            best = min(best, inner, key=len)
    if task == "adjust" and best == plain:
        # An opening that is known, with another of the many closing sentences.
        for before, _ in _frames_of(task):
            if before and plain.startswith(before):
                return _LAST_SENTENCE.sub("", plain[len(before) :]).strip()
    return best


def _frames_of(task: str) -> Iterator[tuple[str, str]]:
    """What stands before and after the instruction in each wording of a task, without placeholders."""
    for template in PAPER_TEMPLATES.get(task, ()):
        before, after = template["question"].split("{instruction}")
        yield tuple(" ".join(_PLACEHOLDERS.sub(" ", part).split()) for part in (before, after))  # type: ignore[misc]


def _turn(turn: Mapping[str, Any], name: str, frame: Frame) -> Turn:
    poses = _poses(turn, "pose", name, frame)
    return Turn(str(turn["instruction"]), poses[0] if len(poses) else None)


def _view(record: Mapping[str, Any], name: str) -> View | None:
    told = record.get("view")
    if told is None:
        return None
    try:
        return View(float(told["yaw"]), float(told["pitch"]))
    except (TypeError, KeyError, ValueError):
        raise ValueError(f"sample {name}: view must be an object with yaw and pitch, in radians") from None


def _task(
    question: str, answer: str, pose: npt.NDArray[Any], targets: npt.NDArray[Any], image: Path | None
) -> str:
    if not len(targets) and answer not in VERBAL_ANSWERS.values():
        return "chat"
    if len(pose):
        return "adjust"
    if image is None:
        return "generate"
    plain = " ".join(_PLACEHOLDERS.sub(" ", question).split())
    return "adjust" if instruction_of("adjust", plain) != plain else "estimate"


def _turns(record: Mapping[str, Any], name: str) -> list[tuple[str, str]]:
    """Questions and answers of a record."""
    told = record.get("conversations")
    told = list(told) if isinstance(told, list) else []
    while told and isinstance(told[0], Mapping) and told[0].get("from", "human") not in _ASKS:
        told = told[1:]  # what a system or an assistant says first answers nothing
    if len(told) < 2 or len(told) % 2:
        raise ValueError(f"sample {name}: conversations must hold a question and an answer, by turns")
    words = [_text(turn, name) for turn in told]
    said = list(zip(words[::2], words[1::2], strict=True))
    if not all(answer for _, answer in said):
        raise ValueError(f"sample {name}: an answer is empty")
    return said


def _text(turn: Any, name: str) -> str:
    """What is said in one turn of the conversation of sample ``name``."""
    text = turn.get("value") if isinstance(turn, Mapping) else None
    if not isinstance(text, str):
        raise ValueError(f"sample {name}: a turn of its conversations has no text under value")
    return text.strip()


def _check_placeholders(
    said: Sequence[tuple[str, str]], poses: int, targets: int, *, has_image: bool, name: str
) -> None:
    questions = [question for question, _ in said]
    for placeholder, there in ((IMAGE_PLACEHOLDER, has_image), (POSE_PLACEHOLDER, poses > 0)):
        if any(placeholder in question for question in questions[0 if not there else 1 :]):
            where = "in a later question" if there else "without the picture or pose that it stands for"
            raise ValueError(f"sample {name}: {placeholder} stands {where}")
        if questions[0].count(placeholder) > 1 or any(placeholder in answer for _, answer in said):
            raise ValueError(f"sample {name}: {placeholder} may stand once, in the first question")
    places = sum(answer.count(POSE_OUTPUT) for _, answer in said)
    if places != targets:
        raise ValueError(
            f"sample {name}: its answers hold {POSE_OUTPUT} {places} times, where {targets} poses are in target_pose"
        )


def _image(record: Mapping[str, Any], folder: Path, name: str) -> Path | None:
    image = record.get("image")
    if isinstance(image, list):
        if len(image) > 1:
            raise ValueError(f"sample {name}: it has {len(image)} pictures; give one")
        image = image[0] if image else None
    return None if image is None else folder / str(image)


def _named_frame(record: Mapping[str, Any], name: str) -> Frame | None:
    frame = record.get("frame")
    if frame is not None and frame not in FRAMES:
        raise ValueError(f"sample {name}: frame must be one of {', '.join(FRAMES)}, not {frame!r}")
    return frame


def _poses(record: Mapping[str, Any], key: str, name: str, frame: Frame) -> npt.NDArray[np.float32]:
    """(T, J, 3) the poses of a key, +y up; none where it is missing."""
    if key not in record:
        return np.zeros((0, NUM_JOINTS, 3), dtype=np.float32)
    numbers = _numbers(record[key])
    size = 3 * NUM_JOINTS
    if numbers is None or not numbers.size or numbers.size % size or not np.isfinite(numbers).all():
        raise ValueError(f"sample {name}: {key} must be {size} finite numbers for each pose")
    poses = numbers.reshape(-1, NUM_JOINTS, 3)
    largest = float(turns(poses).max())
    if largest > LARGEST_TURN:
        raise ValueError(f"sample {name}: {key} turns a joint by {largest:.0f} radians; are they degrees?")
    return upright(poses, frame)


def _numbers(value: Any) -> npt.NDArray[np.float32] | None:
    try:
        return np.asarray(value, dtype=np.float32) if value is not None else None
    except (TypeError, ValueError):
        return None
