# SPDX-License-Identifier: GPL-3.0-or-later
"""``posellava.v1``: one JSON object per websocket text message, with its kind under ``type``.

Poses travel as ``{"shape": [N, 24, 3], "float32": base64 of little-endian float32}`` and images as base64
PNG; numbers spelt out in JSON would take five times the bytes and round the values. All of a message has to be
read before a word of it is known, which is why there is v2 (frames.py). v1 stays spoken for clients of before.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any, Final

import numpy as np

from .messages import Limits, Message, PoseArray, ProtocolError, check_poses, quote
from .records import from_record, read_json, to_record
from .skeleton import NUM_JOINTS

SUBPROTOCOL: Final = "posellava.v1"
VERSION: Final = 1
_MAX_COUNT: Final = 2**53


def encode(message: Message) -> str:
    """The JSON text of a message."""
    return json.dumps(to_record(message), allow_nan=False, default=_inlined)


def _inlined(value: np.ndarray[Any, Any] | bytes) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    data = np.ascontiguousarray(value, dtype="<f4")
    return {"shape": list(data.shape), "float32": data.tobytes()}


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
    return from_record(read_json(data), _Inline(limits))


class _Inline:
    """Poses and pictures that stand in the JSON itself."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits

    def poses(self, value: Any, name: str, most: int) -> PoseArray:
        if not isinstance(value, dict) or not isinstance(value.get("shape"), list):
            raise ProtocolError("bad_pose", f"{name} must hold a shape and float32 data.")
        count = _pose_count(value["shape"], most)
        size = count * NUM_JOINTS * 3 * 4
        data = _base64_bytes(value.get("float32"), f"{name}.float32", "bad_pose", size + 4)
        if len(data) != size:
            raise ProtocolError("bad_pose", f"{count} poses take {size} bytes; {len(data)} arrived.")
        poses = np.frombuffer(data, dtype="<f4").reshape(count, NUM_JOINTS, 3).astype(np.float32)
        check_poses(poses, self.limits)
        return poses

    def image(self, value: Any) -> bytes:
        return _base64_bytes(value, "image_png", "bad_image", self.limits.max_image_bytes)


def _pose_count(shape: list[Any], most: int) -> int:
    """N of the shape [N, 24, 3]; raises ProtocolError for any other, or more than ``most``."""
    whole = all(
        isinstance(size, int) and not isinstance(size, bool) and 0 <= size <= _MAX_COUNT for size in shape
    )
    if not whole or len(shape) != 3 or shape[1:] != [NUM_JOINTS, 3]:
        raise ProtocolError(
            "bad_pose",
            f"Poses must have the shape (poses, {NUM_JOINTS} joints, 3); these have {quote(str(shape[:8]))}.",
        )
    count: int = shape[0]
    if count > most:
        raise ProtocolError("too_large", f"{count} poses in one request; split it, at most {most} fit.")
    return count


def _base64_bytes(value: Any, name: str, code: str, most: int) -> bytes:
    if not isinstance(value, str):
        raise ProtocolError(code, f"{name} must be base64 text.")
    if len(value) * 3 // 4 - 2 > most:
        raise ProtocolError(code, f"{name} has about {len(value) * 3 // 4} bytes; at most {most} are taken.")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise ProtocolError(code, f"{name} is not valid base64.") from None
