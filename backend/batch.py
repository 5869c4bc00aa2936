# SPDX-License-Identifier: Apache-2.0
"""``posellava batch``: answers a file of requests, many lines to one call of the model.

A line is ``{"id", "task", "instruction", "pose"?, "image"?, "history"?, "view"?, "variants"?}``. A pose is 24 triples
of axis-angle in radians; the image is the path of a PNG, relative to the file of requests; the history is a list of
``{"instruction", "pose"?, "words"?, "poses"?}``, oldest first; the view is ``{"yaw", "pitch"}`` in radians.

Its answer, in the same order, is ``{"id", "pose", "text"}``, with ``"variants"`` where several were asked for and
given; ``{"id", "text"}`` where the model answers in words only; or ``{"id", "error"}``. A line that cannot be answered
does not stop the others.
May import backend.query, backend.images and blender_addon.contract; the engine is handed in.
"""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from backend.images import check_png, decode_png
from backend.query import Answer, Answerer, Query, queries_of
from blender_addon.contract.messages import (
    Limits,
    PoseArray,
    ProtocolError,
    Request,
    Turn,
    View,
    check_request,
    no_poses,
    quote,
)
from blender_addon.contract.records import check_encodable

log = logging.getLogger(__name__)


def answer_file(engine: Answerer, source: Path, target: Path, *, batch_size: int) -> tuple[int, int]:
    """Answer every line of ``source`` into ``target``.

    Returns:
        how many lines were answered and how many failed.

    Raises:
        OSError: one of the files cannot be opened.
        ValueError: both are the same file, which writing would empty.
    """
    if target.exists() and source.samefile(target):
        raise ValueError(f"the answers would overwrite the requests in {source}; name another file for them")
    failed = total = 0
    with source.open(encoding="utf-8", errors="replace") as lines, target.open("w", encoding="utf-8") as out:
        numbered = ((number, line) for number, line in enumerate(lines, 1) if line.strip())
        while chunk := list(itertools.islice(numbered, batch_size)):
            for record in _answer_lines(engine, chunk, source.parent):
                total += 1
                failed += "error" in record
                out.write(json.dumps(record, ensure_ascii=False) + "\n")
            out.flush()
    return total - failed, failed


def _answer_lines(engine: Answerer, lines: list[tuple[int, str]], folder: Path) -> Iterator[dict[str, Any]]:
    """One output record per line, in order."""
    identities: list[Any] = []
    outcomes: list[Query | str] = []
    for number, line in lines:
        identity, outcome = _read_line(engine, number, line, folder)
        identities.append(identity)
        outcomes.append(outcome)
    answers = iter(_answer(engine, [outcome for outcome in outcomes if isinstance(outcome, Query)]))
    for identity, outcome in zip(identities, outcomes, strict=True):
        reply = next(answers) if isinstance(outcome, Query) else outcome
        if isinstance(reply, str):
            yield {"id": identity, "error": reply}
        elif reply.pose_aa is None:
            yield {"id": identity, "text": reply.text}
        else:
            record = {"id": identity, "pose": reply.pose_aa.tolist(), "text": reply.text}
            if reply.variants_aa is not None and len(reply.variants_aa) > 1:
                record["variants"] = reply.variants_aa.tolist()
            yield record


def _answer(engine: Answerer, queries: list[Query]) -> list[Answer | str]:
    """An answer or an error sentence per query; a batch that fails is tried again query by query."""
    if not queries:
        return []
    try:
        return list(engine.answer(queries))
    except Exception as error:
        log.exception("the model failed on a batch of %d queries", len(queries))
        if len(queries) == 1:
            return [f"The model failed on this request ({type(error).__name__}: {str(error)[:200]})."]
        return [outcome for query in queries for outcome in _answer(engine, [query])]


def _read_line(engine: Answerer, number: int, line: str, folder: Path) -> tuple[Any, Query | str]:
    """The line's id, and its query or the sentence that says what is wrong with it."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None, f"Line {number} is not valid JSON."
    if not isinstance(record, dict):
        return None, f"Line {number} is not a JSON object."
    identity = record.get("id")
    try:
        if not isinstance(identity, (str, int)):
            raise ProtocolError("bad_message", f"Line {number} has no id; give it a text or a number.")
        try:
            check_encodable(str(identity), f"Line {number}: the id")
        except ProtocolError:
            identity = None  # it could not stand in the answer either
            raise
        request = _read_request(record, folder)
        check_request(request, Limits(), tuple(engine.tasks))
        image = None
        if request.image_png is not None:
            check_png(request.image_png, Limits())
            image = decode_png(request.image_png)
    except ProtocolError as error:
        return identity, error.sentence
    return identity, queries_of(request, image)[0]


def _read_request(record: dict[str, Any], folder: Path) -> Request:
    task, instruction = record.get("task"), record.get("instruction", "")
    if not isinstance(task, str) or not isinstance(instruction, str):
        raise ProtocolError("bad_message", "task and instruction must be texts.")
    check_encodable(instruction, "instruction")
    pose, image, variants = record.get("pose"), record.get("image"), record.get("variants", 1)
    if not isinstance(variants, int) or isinstance(variants, bool):
        raise ProtocolError("bad_option", "variants must be a whole number.")
    return Request(
        id=str(record["id"]),
        task=task,
        instruction=instruction,
        poses=no_poses() if pose is None else _read_pose(pose)[None],
        image_png=None if image is None else _read_image(image, folder),
        history=_read_history(record.get("history")),
        view=_read_view(record.get("view")),
        variants=variants,
    )


def _read_pose(value: Any) -> PoseArray:
    """A list of 24 triples as (24, 3); its shape and finiteness are check_request's to judge."""
    try:
        pose = np.asarray(value)
    except ValueError:  # lists of different lengths
        pose = np.asarray(None)
    if pose.dtype.kind not in "iuf":
        raise ProtocolError("bad_pose", "A pose must be a list of 24 triples of numbers.")
    return pose.astype(np.float32)


def _read_history(value: Any) -> tuple[Turn, ...]:
    """Turns as the module says."""
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(turn, dict) for turn in value):
        raise ProtocolError(
            "bad_message", "history must be a list of objects with an instruction and a pose."
        )
    turns = []
    for turn in value:
        instruction, words, pose = turn.get("instruction"), turn.get("words"), turn.get("pose")
        poses = turn.get("poses")
        if not isinstance(instruction, str) or not isinstance(words, str | None):
            raise ProtocolError("bad_message", "A turn's instruction and words must be texts.")
        for text in (instruction, words or ""):
            check_encodable(text, "A turn of the history")
        turns.append(
            Turn(
                instruction,
                None if pose is None else _read_pose(pose),
                words or "",
                _read_pose(poses) if poses else no_poses(),
            )
        )
    return tuple(turns)


def _read_view(value: Any) -> View | None:
    if value is None:
        return None
    angles = [value.get(name) for name in ("yaw", "pitch")] if isinstance(value, dict) else []
    numbers = [a for a in angles if isinstance(a, (int, float)) and not isinstance(a, bool) and abs(a) < 1e6]
    if len(numbers) != 2:
        raise ProtocolError("bad_option", "view must hold yaw and pitch, two angles in radians.")
    return View(*map(float, numbers))


def _read_image(value: Any, folder: Path) -> bytes:
    if not isinstance(value, str):
        raise ProtocolError("bad_image", "image must be the path of a PNG file.")
    try:
        return (folder / value).read_bytes()
    except (OSError, ValueError):
        raise ProtocolError("bad_image", f"The image {quote(value, 200)} cannot be read.") from None
