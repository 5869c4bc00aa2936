# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages to text and back: one JSON object per websocket text message, with its kind under ``type``.

Poses travel as ``{"shape": [N, 24, 3], "float32": base64 of little-endian float32}`` and images as base64
PNG. Numbers spelt out in JSON would take five times the bytes, round the values and, above all, hold Python's
global lock for tens of milliseconds while a long range of frames is written, during which Blender's window
cannot redraw.

Everything decoded is checked for type, count, size and finiteness before an array is made of it. Unknown
fields are ignored, unknown types are refused.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, fields, replace
from typing import Any, Final, NoReturn

import numpy as np

from .messages import (
    MAX_VARIANTS,
    Cancel,
    ErrorMessage,
    Hello,
    Limits,
    Message,
    PoseArray,
    Progress,
    ProtocolError,
    Request,
    Result,
    Turn,
    View,
    Welcome,
    check_poses,
    no_poses,
    quote,
)
from .skeleton import NUM_JOINTS

MAX_ID_CHARS: Final = 64
FRAGMENT_CHARS: Final = 64 * 1024
_MAX_TOKEN_CHARS: Final = 1024
_MAX_COUNT: Final = 2**53

Json = Mapping[str, Any]


def encode(message: Message) -> str:
    """The JSON text of a message."""
    return "".join(encode_in_fragments(message))


def encode_in_fragments(message: Message) -> Iterator[str]:
    """The JSON text of a message in pieces of about FRAGMENT_CHARS, none of which takes a millisecond to make."""
    pieces: list[str] = []
    length = 0
    for piece in _write(_ENCODERS[type(message)](message)):
        pieces.append(piece)
        length += len(piece)
        if length >= FRAGMENT_CHARS:
            yield "".join(pieces)
            pieces, length = [], 0
    if pieces:
        yield "".join(pieces)


def _write(value: Any) -> Iterator[str]:
    """JSON, with bytes as base64 in pieces: its alphabet needs no escaping, so json need not see it."""
    if isinstance(value, dict):
        separator = "{"
        for name, item in value.items():
            yield f'{separator}"{name}":'
            yield from _write(item)
            separator = ","
        yield "}"
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        separator = "["
        for item in value:
            yield separator
            yield from _write(item)
            separator = ","
        yield "]"
    elif isinstance(value, bytes):
        yield '"'
        step = FRAGMENT_CHARS // 4 * 3
        for start in range(0, len(value), step):
            yield base64.b64encode(value[start : start + step]).decode("ascii")
        yield '"'
    else:
        yield json.dumps(value, allow_nan=False)


def decode(data: str | bytes, limits: Limits | None = None) -> Message:
    """The message in one websocket message.

    ``limits`` bound the arrays, texts and images it may hold (the default Limits when None). Whether a
    request makes sense for a model is check_request's to say.

    Raises:
        ProtocolError: the data is no message of this protocol; ``request_id`` is set when the id could be
        read.
    """
    limits = limits or Limits()
    if isinstance(data, (bytes, bytearray)):
        raise ProtocolError("bad_message", "A binary message arrived; this protocol sends JSON as text.")
    if len(data) > limits.max_message_bytes:
        raise ProtocolError(
            "too_large",
            f"The message has {len(data)} characters; at most {limits.max_message_bytes} are taken.",
        )
    try:
        record = json.loads(data, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        if isinstance(error, ProtocolError):
            raise
        raise ProtocolError("bad_message", "The message is not valid JSON.") from None
    if not isinstance(record, dict):
        raise ProtocolError("bad_message", "The message is not a JSON object.")
    kind = record.get("type")
    if not isinstance(kind, str):
        raise ProtocolError("bad_message", "The message has no type.", _id_if_readable(record))
    decoder = _DECODERS.get(kind)
    if decoder is None:
        raise ProtocolError(
            "unknown_type",
            f"Unknown message type {quote(kind)}; known are {', '.join(_DECODERS)}.",
            _id_if_readable(record),
        )
    try:
        return decoder(record, limits)
    except ProtocolError as error:
        raise ProtocolError(error.code, error.sentence, _id_if_readable(record)) from None


def _refuse_constant(name: str) -> NoReturn:
    raise ProtocolError("bad_message", f"The message contains {name}; every number must be finite.")


def _id_if_readable(record: Json) -> str | None:
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


def _base64_bytes(value: Any, name: str, code: str, most: int) -> bytes:
    if not isinstance(value, str):
        raise ProtocolError(code, f"{name} must be base64 text.")
    if len(value) * 3 // 4 - 2 > most:
        raise ProtocolError(code, f"{name} has about {len(value) * 3 // 4} bytes; at most {most} are taken.")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise ProtocolError(code, f"{name} is not valid base64.") from None


def _encode_poses(poses: PoseArray) -> dict[str, Any]:
    data = np.ascontiguousarray(poses, dtype="<f4")
    return {"shape": list(data.shape), "float32": data.tobytes()}


def _decode_poses(value: Any, limits: Limits) -> PoseArray:
    """(N, 24, 3) float32, finite, N <= limits.max_poses."""
    if value is None:
        return no_poses()
    if not isinstance(value, dict) or not isinstance(value.get("shape"), list):
        raise ProtocolError("bad_pose", "poses must hold a shape and float32 data.")
    shape = value["shape"]
    whole = all(
        isinstance(size, int) and not isinstance(size, bool) and 0 <= size <= _MAX_COUNT for size in shape
    )
    if not whole or len(shape) != 3 or shape[1:] != [NUM_JOINTS, 3]:
        raise ProtocolError(
            "bad_pose",
            f"Poses must have the shape (poses, {NUM_JOINTS} joints, 3); these have {quote(str(shape[:8]))}.",
        )
    if shape[0] > limits.max_poses:
        raise ProtocolError(
            "too_large", f"{shape[0]} poses in one request; split it, at most {limits.max_poses} fit."
        )
    size = shape[0] * NUM_JOINTS * 3 * 4
    data = _base64_bytes(value.get("float32"), "poses.float32", "bad_pose", size + 4)
    if len(data) != size:
        raise ProtocolError("bad_pose", f"{shape[0]} poses take {size} bytes; {len(data)} arrived.")
    poses = np.frombuffer(data, dtype="<f4").reshape(shape[0], NUM_JOINTS, 3).astype(np.float32)
    check_poses(poses, limits)
    return poses


def _encode_request(message: Request) -> dict[str, Any]:
    record: dict[str, Any] = {
        "type": "request",
        "id": message.id,
        "task": message.task,
        "instruction": message.instruction,
        "strength": float(message.strength),
    }
    if len(message.poses):
        record["poses"] = _encode_poses(message.poses)
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
    return record


def _encode_turn(turn: Turn) -> dict[str, Any]:
    record: dict[str, Any] = {"instruction": turn.instruction}
    if turn.pose is not None:
        record["pose"] = _encode_poses(turn.pose[None])
    if turn.words:
        record["words"] = turn.words
    if len(turn.poses):
        record["poses"] = _encode_poses(turn.poses)
    return record


def _decode_request(record: Json, limits: Limits) -> Request:
    image = record.get("image_png")
    parts = record.get("parts")
    if parts is not None and not (isinstance(parts, list) and all(isinstance(part, str) for part in parts)):
        raise ProtocolError("bad_option", "parts must be a list of body part names.")
    return Request(
        id=_identifier(record),
        task=_text(record, "task", MAX_ID_CHARS),
        instruction=_text(record, "instruction", limits.max_text_chars, ""),
        poses=_decode_poses(record.get("poses"), limits),
        image_png=None
        if image is None
        else _base64_bytes(image, "image_png", "bad_image", limits.max_image_bytes),
        history=_decode_history(record, limits),
        parts=None if parts is None else frozenset(parts),
        strength=_number(record, "strength", 1.0),
        view=_decode_view(record.get("view")),
        variants=_count(record, "variants", 1),
    )


def _decode_view(value: Any) -> View | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise ProtocolError("bad_message", "view must be an object with yaw and pitch, in radians.")
    return View(_number(value, "yaw"), _number(value, "pitch"))


def _decode_history(record: Json, limits: Limits) -> tuple[Turn, ...]:
    turns = _items(record, "history")
    if len(turns) > limits.max_history_turns:
        raise ProtocolError(
            "bad_text", f"The history has {len(turns)} turns; send the last {limits.max_history_turns}."
        )
    if not all(isinstance(turn, dict) for turn in turns):
        raise ProtocolError("bad_message", "Every turn of the history must be an object with an instruction.")
    few = replace(limits, max_poses=min(MAX_VARIANTS, limits.max_poses))
    return tuple(
        Turn(
            instruction=_text(turn, "instruction", limits.max_text_chars),
            pose=_decode_one_pose(turn.get("pose"), limits),
            words=_text(turn, "words", limits.max_text_chars, ""),
            poses=_decode_poses(turn.get("poses"), few),
        )
        for turn in turns
    )


def _decode_one_pose(value: Any, limits: Limits) -> PoseArray | None:
    """(24, 3), or None for none."""
    poses = _decode_poses(value, limits)
    if value is not None and len(poses) != 1:
        raise ProtocolError("bad_pose", f"A turn's pose must be one pose; these are {len(poses)}.")
    return None if value is None else poses[0]


def _encode_result(message: Result) -> dict[str, Any]:
    record = {
        "type": "result",
        "id": message.id,
        "has_pose": [pose is not None for pose in message.poses],
        "poses": _encode_poses(_stack(message.poses)),
        "texts": list(message.texts),
        "queued_ms": message.queued_ms,
        "engine_ms": message.engine_ms,
    }
    if len(message.variants) > 1:
        record["variants"] = [_encode_poses(_stack(poses)) for poses in message.variants]
    return record


def _stack(poses: tuple[PoseArray | None, ...]) -> PoseArray:
    """(N, 24, 3) of those that there are."""
    there = [pose for pose in poses if pose is not None]
    return np.stack(there) if there else no_poses()


def _decode_result(record: Json, limits: Limits) -> Result:
    has_pose, texts = _items(record, "has_pose"), _items(record, "texts")
    poses = _decode_poses(record.get("poses"), limits)
    if not all(isinstance(flag, bool) for flag in has_pose) or sum(has_pose) != len(poses):
        raise ProtocolError("bad_message", "has_pose does not fit the poses of the result.")
    if len(texts) != len(has_pose) or not all(isinstance(text, str) for text in texts):
        raise ProtocolError("bad_message", "A result must have one text for each answer.")
    offered = _items(record, "variants")
    if len(offered) > MAX_VARIANTS:
        raise ProtocolError(
            "bad_message", f"A result has {len(offered)} variants; {MAX_VARIANTS} are allowed."
        )
    variants = [_decode_poses(item, limits) for item in offered]
    if not all(len(variant) == len(poses) for variant in variants):
        raise ProtocolError("bad_message", "Every variant of a result must have as many poses as the result.")

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
    )


def _encode_welcome(message: Welcome) -> dict[str, Any]:
    return {
        "type": "welcome",
        "version": message.version,
        "model": message.model,
        "tasks": list(message.tasks),
        "limits": asdict(message.limits),
    }


def _decode_welcome(record: Json, limits: Limits) -> Welcome:
    tasks, offered = _items(record, "tasks"), record.get("limits")
    if not all(isinstance(task, str) for task in tasks) or not isinstance(offered, dict):
        raise ProtocolError("bad_message", "A welcome must have a list of tasks and the limits.")
    return Welcome(
        model=_text(record, "model", 200),
        tasks=tuple(tasks),
        limits=Limits(
            **{item.name: _count(offered, item.name, getattr(Limits, item.name)) for item in fields(Limits)}
        ),
        version=_count(record, "version"),
    )


def _encode_error(message: ErrorMessage) -> dict[str, Any]:
    return {"type": "error", "code": message.code, "message": message.message, "id": message.id}


def _decode_error(record: Json, limits: Limits) -> ErrorMessage:
    return ErrorMessage(
        code=_text(record, "code", MAX_ID_CHARS),
        message=_text(record, "message", limits.max_text_chars),
        id=None if record.get("id") is None else _identifier(record),
    )


def _decode_hello(record: Json, limits: Limits) -> Hello:
    return Hello(token=_text(record, "token", _MAX_TOKEN_CHARS, ""), version=_count(record, "version"))


def _decode_progress(record: Json, limits: Limits) -> Progress:
    return Progress(
        id=_identifier(record),
        done=_count(record, "done"),
        total=_count(record, "total"),
        ahead=_count(record, "ahead", 0),
    )


def _decode_cancel(record: Json, limits: Limits) -> Cancel:
    return Cancel(id=_identifier(record))


_DECODERS: Final[dict[str, Callable[[Json, Limits], Message]]] = {
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
    Progress: lambda message: {
        "type": "progress",
        "id": message.id,
        "done": message.done,
        "total": message.total,
        "ahead": message.ahead,
    },
    Result: _encode_result,
    ErrorMessage: _encode_error,
    Cancel: lambda message: {"type": "cancel", "id": message.id},
}
