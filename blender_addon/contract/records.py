# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages to records and back: dictionaries as JSON has them, but with poses as arrays and pictures as bytes.

How arrays and bytes travel is the business of each version of the protocol: codec.py writes them into the JSON (v1),
frames.py sends them apart (v2). Reading, a version hands in a Source that finds them again.

Everything read is checked for type, count, size and finiteness before an array is made of it. Unknown fields are
ignored, unknown types are refused.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from typing import Any, Final, NoReturn, Protocol

import numpy as np

from .messages import (
    MAP_KINDS,
    MAX_VARIANTS,
    Cancel,
    ErrorMessage,
    Hello,
    Limits,
    Message,
    Painting,
    PoseArray,
    Progress,
    ProtocolError,
    Request,
    Result,
    Turn,
    View,
    Welcome,
    no_poses,
    quote,
)
from .skeleton import NUM_JOINTS

MAX_ID_CHARS: Final = 64
_MAX_TOKEN_CHARS: Final = 1024
_MAX_COUNT: Final = 2**53

Json = Mapping[str, Any]


class Source(Protocol):
    """Where a record's poses and pictures are.

    Attributes:
        limits: what a message may hold.
    """

    limits: Limits

    def poses(self, value: Any, name: str, most: int) -> PoseArray:
        """(N, 24, 3) finite, N at most ``most``, that ``value`` in the field ``name`` stands for.

        Raises:
            ProtocolError: it stands for nothing of the kind.
        """
        ...

    def image(self, value: Any) -> bytes:
        """A picture that ``value`` stands for, at most ``limits.max_image_bytes``; raises as poses() does."""
        ...


def to_record(message: Message) -> dict[str, Any]:
    """The record of a message; its poses are arrays, its pictures bytes."""
    return _ENCODERS[type(message)](message)


def from_record(record: Any, source: Source) -> Message:
    """The message in a record.

    Raises:
        ProtocolError: it is no message; ``request_id`` is set when the id could be read.
    """
    if not isinstance(record, dict):
        raise ProtocolError("bad_message", "The message is not a JSON object.")
    kind = record.get("type")
    if not isinstance(kind, str):
        raise ProtocolError("bad_message", "The message has no type.", id_if_readable(record))
    decoder = _DECODERS.get(kind)
    if decoder is None:
        raise ProtocolError(
            "unknown_type",
            f"Unknown message type {quote(kind)}; known are {', '.join(_DECODERS)}.",
            id_if_readable(record),
        )
    try:
        return decoder(record, source)
    except ProtocolError as error:
        raise ProtocolError(error.code, error.sentence, id_if_readable(record)) from None


def read_json(text: str) -> Any:
    """The value of a JSON text; raises ProtocolError for what is none, or has numbers that are not finite."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        if isinstance(error, ProtocolError):
            raise
        raise ProtocolError("bad_message", "The message is not valid JSON.") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ProtocolError("bad_message", f"The message contains {name}; every number must be finite.")


def id_if_readable(record: Json) -> str | None:
    """The id in a record, None where there is none."""
    try:
        return _identifier(record)
    except ProtocolError:
        return None


# One reader per JSON kind, so that every sentence about a field is worded the same way.


def _text(record: Json, name: str, longest: int, default: str | None = None) -> str:
    value = record.get(name, default)
    if not isinstance(value, str):
        raise ProtocolError("bad_message", f"{name} must be a text.")
    return _bounded(value, name, longest)


def _bounded(value: str, name: str, longest: int) -> str:
    if len(value) > longest:
        raise ProtocolError("bad_text", f"{name} has {len(value)} characters; shorten it to {longest}.")
    check_encodable(value, name)
    return value


def check_encodable(text: str, name: str) -> None:
    """Raises ProtocolError for half of a character: JSON's escapes can spell it, and UTF-8 has no bytes for it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ProtocolError("bad_text", f"{name} contains half a Unicode character.") from None


def _identifier(record: Json) -> str:
    value = record.get("id")
    if not isinstance(value, str) or not 0 < len(value) <= MAX_ID_CHARS or not value.isascii():
        raise ProtocolError("bad_message", f"id must be a text of 1 to {MAX_ID_CHARS} ASCII characters.")
    return value


def _count(record: Json, name: str, default: int | None = None) -> int:
    value = record.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MAX_COUNT:
        raise ProtocolError("bad_message", f"{name} must be a whole number, 0 or more.")
    return value


def _number(record: Json, name: str, default: float | None = None) -> float:
    value = record.get(name, default)
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise ProtocolError("bad_message", f"{name} must be a number.")
    if abs(value) > _MAX_COUNT or not math.isfinite(value):  # 1e999 is valid JSON and reads as infinity
        raise ProtocolError("bad_message", f"{name} is out of range.")
    return float(value)


def _items(record: Json, name: str) -> list[Any]:
    value = record.get(name, [])
    if not isinstance(value, list):
        raise ProtocolError("bad_message", f"{name} must be a list.")
    return value


def _encode_request(message: Request) -> dict[str, Any]:
    record: dict[str, Any] = {
        "type": "request",
        "id": message.id,
        "task": message.task,
        "instruction": message.instruction,
        "strength": float(message.strength),
    }
    if len(message.poses):
        record["poses"] = message.poses
    if message.image_png is not None:
        record["image_png"] = message.image_png
    if message.history:
        record["history"] = [_encode_turn(turn) for turn in message.history]
    if message.parts is not None:
        record["parts"] = sorted(message.parts)
    if message.view is not None:
        record["view"] = {"yaw": float(message.view.yaw), "pitch": float(message.view.pitch)}
    if message.variants != 1:
        record["variants"] = message.variants
    if message.painting is not None:
        record["painting"] = {**asdict(message.painting), "strength": float(message.painting.strength)}
    return record


def _encode_turn(turn: Turn) -> dict[str, Any]:
    record: dict[str, Any] = {"instruction": turn.instruction}
    if turn.pose is not None:
        record["pose"] = turn.pose[None]
    if turn.words:
        record["words"] = turn.words
    if len(turn.poses):
        record["poses"] = turn.poses
    return record


def _decode_request(record: Json, source: Source) -> Request:
    image = record.get("image_png")
    parts = record.get("parts")
    if parts is not None and not (isinstance(parts, list) and all(isinstance(part, str) for part in parts)):
        raise ProtocolError("bad_option", "parts must be a list of body part names.")
    return Request(
        id=_identifier(record),
        task=_text(record, "task", MAX_ID_CHARS),
        instruction=_text(record, "instruction", source.limits.max_text_chars, ""),
        poses=_poses(record, "poses", source, source.limits.max_poses),
        image_png=None if image is None else source.image(image),
        history=_decode_history(record, source),
        parts=None if parts is None else frozenset(parts),
        strength=_number(record, "strength", 1.0),
        view=_decode_view(record.get("view")),
        variants=_count(record, "variants", 1),
        painting=_decode_painting(record.get("painting"), source),
    )


def _decode_painting(value: Any, source: Source) -> Painting | None:
    if value is None:
        return None
    maps = value.get("maps", {}) if isinstance(value, dict) else None
    if not isinstance(maps, dict):
        raise ProtocolError("bad_message", "painting must be an object with a prompt, its maps one by kind.")
    unknown = next((kind for kind in maps if kind not in MAP_KINDS), None)
    if unknown is not None:  # before any of them is read: a name costs nothing, a picture may
        raise ProtocolError(
            "bad_option", f"There are no control maps {quote(unknown)}; known are {', '.join(MAP_KINDS)}."
        )
    return Painting(
        prompt=_text(value, "prompt", source.limits.max_text_chars),
        maps={kind: source.image(item) for kind, item in maps.items()},
        strength=_number(value, "strength", Painting.strength),
        seed=_count(value, "seed", 0),
    )


def _decode_view(value: Any) -> View | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise ProtocolError("bad_message", "view must be an object with yaw and pitch, in radians.")
    return View(_number(value, "yaw"), _number(value, "pitch"))


def _decode_history(record: Json, source: Source) -> tuple[Turn, ...]:
    turns = _items(record, "history")
    if len(turns) > source.limits.max_history_turns:
        raise ProtocolError(
            "bad_text",
            f"The history has {len(turns)} turns; send the last {source.limits.max_history_turns}.",
        )
    if not all(isinstance(turn, dict) for turn in turns):
        raise ProtocolError("bad_message", "Every turn of the history must be an object with an instruction.")
    return tuple(
        Turn(
            instruction=_text(turn, "instruction", source.limits.max_text_chars),
            pose=_decode_one_pose(turn, source),
            words=_text(turn, "words", source.limits.max_text_chars, ""),
            poses=_poses(turn, "poses", source, MAX_VARIANTS),
        )
        for turn in turns
    )


def _decode_one_pose(turn: Json, source: Source) -> PoseArray | None:
    """(24, 3), or None for none."""
    if turn.get("pose") is None:
        return None
    poses = source.poses(turn["pose"], "pose", 2)
    if len(poses) != 1:
        raise ProtocolError("bad_pose", f"A turn's pose must be one pose; these are {len(poses)}.")
    pose: PoseArray = poses[0]
    return pose


def _poses(record: Json, name: str, source: Source, most: int) -> PoseArray:
    """(N, 24, 3), N = 0 where the field is missing."""
    value = record.get(name)
    return no_poses() if value is None else source.poses(value, name, most)


def _encode_result(message: Result) -> dict[str, Any]:
    record = {
        "type": "result",
        "id": message.id,
        "has_pose": [pose is not None for pose in message.poses],
        "poses": _stack(message.poses),
        "texts": list(message.texts),
        "queued_ms": message.queued_ms,
        "engine_ms": message.engine_ms,
    }
    if len(message.variants) > 1:
        record["variants"] = [_stack(poses) for poses in message.variants]
    if any(message.confidence):
        record["confidence"] = [None if one is None else list(one) for one in message.confidence]
    if message.image_png is not None:
        record["image_png"] = message.image_png
    return record


def _stack(poses: tuple[PoseArray | None, ...]) -> PoseArray:
    """(N, 24, 3) of those that there are."""
    there = [pose for pose in poses if pose is not None]
    return np.stack(there) if there else no_poses()


def _decode_result(record: Json, source: Source) -> Result:
    has_pose, texts = _items(record, "has_pose"), _items(record, "texts")
    poses = _poses(record, "poses", source, source.limits.max_poses)
    if not all(isinstance(flag, bool) for flag in has_pose) or sum(has_pose) != len(poses):
        raise ProtocolError("bad_message", "has_pose does not fit the poses of the result.")
    if len(texts) != len(has_pose) or not all(isinstance(text, str) for text in texts):
        raise ProtocolError("bad_message", "A result must have one text for each answer.")
    offered = _items(record, "variants")
    if len(offered) > MAX_VARIANTS:
        raise ProtocolError(
            "bad_message", f"A result has {len(offered)} variants; {MAX_VARIANTS} are allowed."
        )
    variants = [source.poses(item, "variants", source.limits.max_poses) for item in offered]
    if not all(len(variant) == len(poses) for variant in variants):
        raise ProtocolError("bad_message", "Every variant of a result must have as many poses as the result.")

    image = record.get("image_png")

    def places(given: PoseArray) -> tuple[PoseArray | None, ...]:
        remaining = iter(given)
        return tuple(next(remaining) if flag else None for flag in has_pose)

    return Result(
        id=_identifier(record),
        poses=places(poses),
        texts=tuple(texts),
        queued_ms=_number(record, "queued_ms", 0.0),
        engine_ms=_number(record, "engine_ms", 0.0),
        variants=tuple(map(places, variants)),
        confidence=_decode_confidence(record, len(has_pose)),
        image_png=None if image is None else source.image(image),
    )


def _decode_confidence(record: Json, answers: int) -> tuple[tuple[float, ...] | None, ...]:
    told = _items(record, "confidence")
    if not told:
        return ()
    if len(told) != answers or not all(one is None or _are_chances(one) for one in told):
        raise ProtocolError(
            "bad_message",
            f"The confidence of a result must be null or {NUM_JOINTS} numbers from 0 to 1 each.",
        )
    return tuple(None if one is None else tuple(map(float, one)) for one in told)


def _are_chances(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == NUM_JOINTS
        and all(isinstance(one, int | float) and not isinstance(one, bool) and 0 <= one <= 1 for one in value)
    )


def _encode_welcome(message: Welcome) -> dict[str, Any]:
    record = {
        "type": "welcome",
        "version": message.version,
        "model": message.model,
        "tasks": list(message.tasks),
        "limits": asdict(message.limits),
    }
    if message.maps:
        record["maps"] = list(message.maps)
    return record


def _decode_welcome(record: Json, source: Source) -> Welcome:
    tasks, maps, offered = _items(record, "tasks"), _items(record, "maps"), record.get("limits")
    if not all(isinstance(name, str) for name in (*tasks, *maps)) or not isinstance(offered, dict):
        raise ProtocolError("bad_message", "A welcome must have a list of tasks and the limits.")
    return Welcome(
        model=_text(record, "model", 200),
        tasks=tuple(tasks),
        limits=Limits(
            **{item.name: _count(offered, item.name, getattr(Limits, item.name)) for item in fields(Limits)}
        ),
        version=_count(record, "version"),
        maps=tuple(maps),
    )


def _encode_error(message: ErrorMessage) -> dict[str, Any]:
    return {"type": "error", "code": message.code, "message": message.message, "id": message.id}


def _decode_error(record: Json, source: Source) -> ErrorMessage:
    return ErrorMessage(
        code=_text(record, "code", MAX_ID_CHARS),
        message=_text(record, "message", source.limits.max_text_chars),
        id=None if record.get("id") is None else _identifier(record),
    )


def _decode_hello(record: Json, source: Source) -> Hello:
    return Hello(token=_text(record, "token", _MAX_TOKEN_CHARS, ""), version=_count(record, "version"))


def _encode_progress(message: Progress) -> dict[str, Any]:
    record = {
        "type": "progress",
        "id": message.id,
        "done": message.done,
        "total": message.total,
        "ahead": message.ahead,
    }
    if message.words:
        record["words"] = message.words
    return record


def _decode_progress(record: Json, source: Source) -> Progress:
    return Progress(
        id=_identifier(record),
        done=_count(record, "done"),
        total=_count(record, "total"),
        ahead=_count(record, "ahead", 0),
        words=_text(record, "words", source.limits.max_text_chars, ""),
    )


def _decode_cancel(record: Json, source: Source) -> Cancel:
    return Cancel(id=_identifier(record))


_DECODERS: Final[dict[str, Callable[[Json, Source], Message]]] = {
    "hello": _decode_hello,
    "welcome": _decode_welcome,
    "request": _decode_request,
    "progress": _decode_progress,
    "result": _decode_result,
    "error": _decode_error,
    "cancel": _decode_cancel,
}

_ENCODERS: Final[dict[type, Callable[[Any], dict[str, Any]]]] = {
    Hello: lambda message: {"type": "hello", "version": message.version, "token": message.token},
    Welcome: _encode_welcome,
    Request: _encode_request,
    Progress: _encode_progress,
    Result: _encode_result,
    ErrorMessage: _encode_error,
    Cancel: lambda message: {"type": "cancel", "id": message.id},
}
