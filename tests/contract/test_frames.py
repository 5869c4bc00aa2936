# SPDX-License-Identifier: Apache-2.0
"""The second version of the wire: small heads, binary frames, and nothing malformed gets through."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from blender_addon.contract.frames import MAX_HEAD_BYTES, FrameReader, encode
from blender_addon.contract.messages import Limits, Painting, ProtocolError, Request, Result, Turn
from blender_addon.contract.wire import SUBPROTOCOLS, Wire

POSES = np.linspace(-3, 3, 2 * 72, dtype=np.float32).reshape(2, 24, 3)
FRAME = POSES.astype("<f4").tobytes()
REQUEST = Request("a", "adjust", "raise it", POSES, b"picture", (Turn("sit", POSES[1], "done", POSES),))


def test_a_request_is_a_small_head_its_poses_and_its_picture() -> None:
    head, poses, image = encode(REQUEST)
    assert json.loads(head)["frames"] == {"poses": 5, "image": 7}
    assert poses == FRAME + FRAME[288:] + FRAME
    assert image == b"picture"
    assert len(encode(Request("b", "generate", "a person sits"))) == 1


PAINT = Request(
    "p", "paint", image_png=b"picture", painting=Painting("x", {"openpose": b"bones", "depth": b"far"})
)


def test_several_pictures_travel_in_one_frame() -> None:
    sent, image = encode(PAINT)
    assert json.loads(sent)["frames"] == {"image": 15}
    assert image == b"picturebonesfar"
    reader = FrameReader(Limits())
    assert reader.read(sent) is None
    received = reader.read(image)
    assert isinstance(received, Request)
    assert (received.image_png, received.painting) == (PAINT.image_png, PAINT.painting)


@pytest.mark.parametrize(
    ("maps", "sentence"),
    [
        ({"depth": {"first": 12, "size": 4}}, "not in its frame"),
        ({"depth": {"first": -1, "size": 4}}, "not in its frame"),
        ({"depth": {"first": 0}}, "not in its frame"),
        ({"depth": "abc"}, "not in its frame"),
        ({f"map {number}": True for number in range(1000)}, "no control maps 'map 0'"),
        ([1], "its maps one by kind"),
    ],
)
def test_a_map_that_is_none_is_refused(maps: Any, sentence: str) -> None:
    sent, image = encode(PAINT)
    record = json.loads(sent)
    record["painting"]["maps"] = maps
    reader = FrameReader(Limits())
    reader.read(json.dumps(record))
    with pytest.raises(ProtocolError, match=sentence) as caught:
        reader.read(image)
    assert caught.value.request_id == "p"
    assert_still_reads(reader)


def test_a_result_of_the_most_poses_has_a_small_head() -> None:
    poses = tuple(np.zeros((4096, 24, 3), np.float32))
    head, frame = encode(Result("a", poses, ("I bent the knee",) * 4096))
    assert len(head) < 200
    assert len(frame) == 4096 * 288


def test_words_that_fill_no_head_travel_as_a_frame() -> None:
    texts = tuple(f"{number} ß {'x' * 40}" for number in range(4096))
    frames = encode(Result("a", (None,) * 4096, texts))
    assert len(frames) == 2
    assert len(frames[0]) <= MAX_HEAD_BYTES
    reader = FrameReader(Limits())
    assert reader.read(frames[0]) is None
    result = reader.read(frames[1])
    assert isinstance(result, Result)
    assert result.texts == texts


def head(**changes: Any) -> str:
    return json.dumps({**json.loads(encode(Request("a", "adjust", "x", POSES))[0]), **changes})


BAD_HEADS: dict[str, tuple[str, str, str | None]] = {
    "garbage": ("garbage", "bad_message", None),
    "a list": ("[1]", "bad_message", None),
    "longer than a head": (" " * (MAX_HEAD_BYTES + 1), "too_large", None),
    "a number that is infinite": (head(strength=1)[:-1] + ', "x": Infinity}', "bad_message", None),
    "frames that are a list": (head(frames=[2]), "bad_message", "a"),
    "a negative size": (head(frames={"poses": -1}), "bad_message", "a"),
    "a size of text": (head(frames={"poses": "2"}), "bad_message", "a"),
    "a true size": (head(frames={"poses": True}), "bad_message", "a"),
    "too many poses": (head(frames={"poses": 10**6}), "too_large", "a"),
    "too large a picture": (head(frames={"image": 10**9}), "bad_image", "a"),
    "too many words": ('{"type": "result", "id": "a", "frames": {"words": 1000000000}}', "too_large", "a"),
    "an unknown frame": (head(frames={"video": 10}), "bad_message", "a"),
    "words of a request": (head(frames={"words": 10}), "bad_message", "a"),
    "frames of a cancel": ('{"type": "cancel", "id": "a", "frames": {"poses": 1}}', "bad_message", "a"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_HEADS)
def test_a_bad_head_is_refused_before_anything_large_arrives(name: str) -> None:
    text, code, identity = BAD_HEADS[name]
    reader = FrameReader(Limits())
    with pytest.raises(ProtocolError) as caught:
        reader.read(text)
    assert (caught.value.code, caught.value.request_id) == (code, identity)
    assert len(caught.value.sentence) < 200
    assert_still_reads(reader)


def assert_still_reads(reader: FrameReader) -> None:
    *first, last = encode(REQUEST)
    assert [reader.read(data) for data in first] == [None] * len(first)
    assert isinstance(reader.read(last), Request)


@pytest.mark.parametrize(
    ("changes", "frame", "code"),
    [
        ({}, FRAME[:-1], "bad_message"),
        ({}, FRAME + b"x", "bad_message"),
        ({}, b"", "bad_message"),
        ({}, np.full(144, np.nan, "<f4").tobytes(), "bad_pose"),
        ({"poses": {"first": 1, "count": 2}}, FRAME, "bad_pose"),
        ({"poses": {"first": -1, "count": 2}}, FRAME, "bad_pose"),
        ({"poses": {"first": 0, "count": 10**9}}, FRAME, "too_large"),
        ({"poses": {"first": 0}}, FRAME, "bad_pose"),
        ({"poses": [0, 2]}, FRAME, "bad_pose"),
        ({"image_png": True}, FRAME, "bad_image"),
        ({"image_png": "aGVsbG8="}, FRAME, "bad_image"),
        ({"history": [{"instruction": "x", "pose": {"first": 0, "count": 2}}]}, FRAME, "bad_pose"),
        ({"instruction": 5}, FRAME, "bad_message"),
    ],
)  # fmt: skip
def test_frames_that_do_not_fit_their_head_are_refused(
    changes: dict[str, Any], frame: bytes, code: str
) -> None:
    reader = FrameReader(Limits())
    assert reader.read(head(**changes)) is None
    with pytest.raises(ProtocolError) as caught:
        reader.read(frame)
    assert (caught.value.code, caught.value.request_id) == (code, "a")
    assert_still_reads(reader)


def test_a_frame_without_a_head_is_refused_and_a_new_head_replaces_an_unfinished_message() -> None:
    reader = FrameReader(Limits())
    with pytest.raises(ProtocolError, match="no head named"):
        reader.read(FRAME)
    assert reader.read(head()) is None
    assert_still_reads(reader)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"count": -1}, None),
        ({"count": 10**9}, None),
        ({"count": 3}, None),
        ({"without_pose": [7]}, None),
        ({"without_pose": [-1]}, None),
        ({"without_pose": "all"}, None),
        ({"text_of": [0]}, None),
        ({"text_of": [0, 9]}, None),
        ({"texts": []}, None),
        ({"texts": 5}, None),
        ({"texts": [5, 6]}, None),
        ({}, b""),
        ({}, b"\x01\x00\x00"),
        ({}, b"\xff\xff\xff\xff"),
        ({}, b"\x01\x00\x00\x00\xff"),
    ],
)
def test_a_result_whose_answers_are_numbered_wrongly_is_refused(
    changes: dict[str, Any], words: bytes | None
) -> None:
    text, _ = encode(Result("a", tuple(POSES), ("one", "two")))
    record = {**json.loads(text), **changes}
    if words is not None:
        record["frames"]["words"] = len(words)
    reader = FrameReader(Limits())
    reader.read(json.dumps(record))
    with pytest.raises(ProtocolError) as caught:
        _ = [reader.read(frame) for frame in (FRAME, words) if frame is not None]
    assert caught.value.request_id == "a"


def test_words_that_fit_no_request_are_refused_by_their_sender() -> None:
    with pytest.raises(ProtocolError, match="fewer turns"):
        encode(Request("a", "adjust", "x", POSES, history=(Turn("x" * 2000, words="ß" * 2000),) * 32))


def test_only_known_subprotocols_are_spoken() -> None:
    with pytest.raises(ProtocolError, match="spoken here"):
        Wire("posellava.v9")
    first, second = (Wire(name) for name in SUBPROTOCOLS)
    assert (first.version, second.version) == (2, 1)
    assert first.max_bytes == Limits().max_image_bytes
    assert second.max_bytes == Limits().max_message_bytes
    second.limits = first.limits = Limits(max_image_bytes=5, max_poses=1)
    assert first.max_bytes == (1 + 32 * 9) * 288
