# SPDX-License-Identifier: GPL-3.0-or-later
"""``posellava.v2``: a small JSON head, then poses, pictures and words as binary frames of their own.

A message is one websocket text message, the head, of at most MAX_HEAD_BYTES, and after it as many binary messages as
the head's ``frames`` names, in this order and of exactly these sizes::

    {"type": …, "id": …, …, "frames": {"poses": P, "image": B, "words": W}}

- ``poses``: P poses, little-endian float32, 288 bytes each. Where v1 has an array the head has
  ``{"first": k, "count": N}``, the poses k to k + N of that frame.
- ``image``: B bytes, the picture as it is. Where v1 has base64 the head has ``true``. Where there are several, as the
  control maps of a painting, they stand there one after the other, and each field has ``{"first": k, "size": S}``, the
  bytes k to k + S of that frame.
- ``words``: W bytes, the ``texts`` of a result whose head would grow too long: a table of their lengths in UTF-8,
  uint32 little-endian, then the texts. Where they stand in a head, equal ones stand there once, with ``text_of``
  saying for each answer which it is; ``without_pose`` names the answers in words only.

So a receiver knows from the first small text what comes and how much it is, and nothing large is ever parsed. A text
message in place of a frame that is due begins a new message; the one before is lost.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, TypeGuard

import numpy as np

from .messages import MAX_VARIANTS, Limits, Message, PoseArray, ProtocolError, check_poses, no_poses
from .records import Json, from_record, id_if_readable, read_json, to_record
from .skeleton import NUM_JOINTS

SUBPROTOCOL: Final = "posellava.v2"
VERSION: Final = 2
MAX_HEAD_BYTES: Final = 64 * 1024
POSE_BYTES: Final = NUM_JOINTS * 3 * 4
_MAX_COUNT: Final = 2**53

Frames = list[str | bytes]


def most_poses(limits: Limits) -> int:
    """How many poses a request may hold, those of its history included."""
    return limits.max_poses + limits.max_history_turns * (1 + MAX_VARIANTS)


def encode(message: Message) -> Frames:
    """The head and the frames of a message.

    Raises:
        ProtocolError: ``too_large``, the words of the message are too many for a head.
    """
    packer = _Packer()
    record = packer.packed(to_record(message))
    if len(packer.pictures) == 1 and "image_png" in record:
        record["image_png"] = True
    if record["type"] == "result":
        record = _with_short_answers(record)
    head = packer.head(record)
    if len(head.encode()) > MAX_HEAD_BYTES and record["type"] == "result":
        packer.words = _packed_texts(record.pop("texts"))
        head = packer.head(record)
    size = len(head.encode())
    if size > MAX_HEAD_BYTES:
        raise ProtocolError(
            "too_large",
            f"The words of the request take {size} bytes; send fewer turns of the history, "
            f"{MAX_HEAD_BYTES} fit.",
            id_if_readable(record),
        )
    return [head, *packer.frames()]


class _Packer:
    """Takes arrays and bytes out of a record."""

    def __init__(self) -> None:
        self.poses: list[PoseArray] = []
        self.pictures: list[bytes] = []
        self.words: bytes | None = None
        self._count = 0

    def packed(self, value: Any) -> Any:
        if isinstance(value, np.ndarray):
            first, self._count = self._count, self._count + len(value)
            self.poses.append(value)
            return {"first": first, "count": len(value)}
        if isinstance(value, bytes):
            first = sum(map(len, self.pictures))
            self.pictures.append(value)
            return {"first": first, "size": len(value)}
        if isinstance(value, dict):
            return {name: self.packed(item) for name, item in value.items()}
        if isinstance(value, list):
            return [self.packed(item) for item in value]
        return value

    def head(self, record: dict[str, Any]) -> str:
        sizes = {
            "poses": self._count,
            "image": sum(map(len, self.pictures)) if self.pictures else None,
            "words": None if self.words is None else len(self.words),
        }
        due = {name: size for name, size in sizes.items() if size or (size == 0 and name != "poses")}
        whole = {**record, "frames": due} if due else record
        return json.dumps(whole, ensure_ascii=False, allow_nan=False, separators=(",", ":"))

    def frames(self) -> Frames:
        poses = np.ascontiguousarray(np.concatenate(self.poses or [no_poses()]), dtype="<f4").tobytes()
        pictures = b"".join(self.pictures) if self.pictures else None
        return [frame for frame in (poses or None, pictures, self.words) if frame is not None]


def _with_short_answers(record: Json) -> dict[str, Any]:
    short = dict(record)
    has_pose, texts = short.pop("has_pose"), short.pop("texts")
    short["count"] = len(texts)
    short["without_pose"] = [place for place, flag in enumerate(has_pose) if not flag]
    different = list(dict.fromkeys(texts))
    short["texts"] = different
    if len(different) > 1:
        place_of = {text: place for place, text in enumerate(different)}
        short["text_of"] = [place_of[text] for text in texts]
    return short


def _with_long_answers(record: dict[str, Any], words: bytes | None, limits: Limits) -> dict[str, Any]:
    """The other way; whether the texts are texts is records.py's to check."""
    count = record.get("count", -1)
    if not _is_count(count) or count > limits.max_poses:
        raise ProtocolError("bad_message", "A result's count is no number of answers.")
    without = _places(record.get("without_pose", []), count)
    texts = record.get("texts") if words is None else _unpacked_texts(words)
    if not isinstance(texts, list) or len(texts) > count or bool(texts) != bool(count):
        raise ProtocolError("bad_message", "A result's texts do not fit its answers.")
    text_of = _places(record.get("text_of", [0] * count), len(texts))
    if len(text_of) != count:
        raise ProtocolError("bad_message", "A result's texts do not fit its answers.")
    flags = [True] * count
    for place in without:
        flags[place] = False
    return {**record, "has_pose": flags, "texts": [texts[place] for place in text_of]}


def _places(value: Any, end: int) -> list[int]:
    if not isinstance(value, list) or not all(_is_count(place) and place < end for place in value):
        raise ProtocolError("bad_message", "A result's answers are numbered wrongly.")
    return value


def _packed_texts(texts: list[str]) -> bytes:
    encoded = [text.encode() for text in texts]
    return np.array(list(map(len, encoded)), dtype="<u4").tobytes() + b"".join(encoded)


def _unpacked_texts(words: bytes) -> list[str]:
    """The texts behind a table whose own length follows from its entries: entries and texts fill the frame."""
    table = np.frombuffer(words[: len(words) // 4 * 4], dtype="<u4").astype(np.int64)
    sizes = 4 * np.arange(1, len(table) + 1) + np.cumsum(table)
    fitting = np.flatnonzero(sizes == len(words))
    if not len(fitting):
        raise ProtocolError("bad_message", "The frame of words is damaged.")
    count = int(fitting[0]) + 1
    ends = np.cumsum(table[:count]) + 4 * count
    try:
        return [words[end - size : end].decode() for end, size in zip(ends, table[:count], strict=True)]
    except UnicodeDecodeError:
        raise ProtocolError("bad_message", "The frame of words is no UTF-8.") from None


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_COUNT


class FrameReader:
    """Puts the messages of one connection together.

    Attributes:
        limits: what a message may hold; may be set to others between two messages.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._record: dict[str, Any] | None = None
        self._due: dict[str, int] = {}
        self._got: dict[str, bytes] = {}

    def read(self, data: str | bytes) -> Message | None:
        """The message that ``data`` completes; None while more is due.

        Raises:
            ProtocolError: it is no part of a message of this protocol; the next message can be read all the same.
        """
        if isinstance(data, str):
            self._begin(data)
        else:
            self._add(data)
        if self._record is None or self._due:
            return None
        record, self._record, got, self._got = self._record, None, self._got, {}
        source = _Frames(self.limits, got)
        if record.get("type") == "result":
            try:
                record = _with_long_answers(record, got.get("words"), self.limits)
            except ProtocolError as error:
                raise ProtocolError(error.code, error.sentence, id_if_readable(record)) from None
        return from_record(record, source)

    def _begin(self, head: str) -> None:
        self._record, self._due, self._got = None, {}, {}
        if len(head) > MAX_HEAD_BYTES:
            raise ProtocolError(
                "too_large", f"The head has {len(head)} characters; at most {MAX_HEAD_BYTES} are taken."
            )
        record = read_json(head)
        if not isinstance(record, dict):
            raise ProtocolError("bad_message", "The message is not a JSON object.")
        try:
            self._due = self._sizes(record)
        except ProtocolError as error:
            raise ProtocolError(error.code, error.sentence, id_if_readable(record)) from None
        self._record = record

    def _sizes(self, record: Json) -> dict[str, int]:
        """The bytes of each frame that is due, in order."""
        given = record.get("frames", {})
        if not isinstance(given, dict) or not all(_is_count(size) for size in given.values()):
            raise ProtocolError("bad_message", "frames must name the size of each frame.")
        most = self._most(record.get("type"))
        due = {}
        for name, size in given.items():
            if name not in most:
                raise ProtocolError("bad_message", f"There is no frame for {name[:20]!a} in such a message.")
            if size > most[name]:
                raise ProtocolError(*_too_large(name, size, most[name]))
            due[name] = size * POSE_BYTES if name == "poses" else size
        return {name: due[name] for name in ("poses", "image", "words") if name in due}

    def _most(self, kind: Any) -> Mapping[str, int]:
        limits = self.limits
        if kind == "request":
            return {"poses": most_poses(limits), "image": limits.max_image_bytes}
        if kind == "result":
            words = limits.max_poses * (4 + 4 * limits.max_text_chars)
            poses = limits.max_poses * (1 + MAX_VARIANTS)
            return {"poses": poses, "image": limits.max_image_bytes, "words": words}
        return {}

    def _add(self, frame: bytes) -> None:
        if self._record is None:
            raise ProtocolError("bad_message", "A binary frame arrived that no head named.")
        name, size = next(iter(self._due.items()))
        if len(frame) != size:
            identity = id_if_readable(self._record)
            self._record, self._due = None, {}
            raise ProtocolError(
                "bad_message", f"The frame of the {name} has {len(frame)} bytes, not {size}.", identity
            )
        del self._due[name]
        self._got[name] = frame


def _too_large(name: str, size: int, most: int) -> tuple[str, str]:
    if name == "poses":
        return "too_large", f"{size} poses in one request; split it, at most {most} fit."
    if name == "image":
        return "bad_image", f"The image has {size} bytes, {most} are taken; make it smaller."
    return "too_large", f"The {name} have {size} bytes; at most {most} are taken."


class _Frames:
    """Poses and pictures that came as frames."""

    def __init__(self, limits: Limits, got: Mapping[str, bytes]) -> None:
        self.limits = limits
        self._got = got

    def poses(self, value: Any, name: str, most: int) -> PoseArray:
        first, count = (value.get("first"), value.get("count")) if isinstance(value, dict) else (None, None)
        if not _is_count(first) or not _is_count(count):
            raise ProtocolError(
                "bad_pose", f"{name} must name the first and the count of poses of its frame."
            )
        if count > most:
            raise ProtocolError("too_large", f"{count} poses in one request; split it, at most {most} fit.")
        frame = self._got.get("poses", b"")
        if (first + count) * POSE_BYTES > len(frame):
            raise ProtocolError("bad_pose", f"{name} names poses that are not in its frame.")
        data = np.frombuffer(frame, dtype="<f4", count=count * NUM_JOINTS * 3, offset=first * POSE_BYTES)
        poses = data.reshape(count, NUM_JOINTS, 3).astype(np.float32)
        check_poses(poses, self.limits)
        return poses

    def image(self, value: Any) -> bytes:
        frame = self._got.get("image")
        if value is True and frame is not None:
            return frame
        first, size = (value.get("first"), value.get("size")) if isinstance(value, dict) else (None, None)
        if frame is None or not _is_count(first) or not _is_count(size) or first + size > len(frame):
            raise ProtocolError("bad_image", "The message names a picture that is not in its frame.")
        return frame[first : first + size]
