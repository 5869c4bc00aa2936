# SPDX-License-Identifier: Apache-2.0
"""Messages survive the wire unchanged, and nothing malformed gets through."""

from __future__ import annotations

import base64
import dataclasses
import json
import random
import string
from typing import Any

import numpy as np
import pytest

from blender_addon.contract import messages
from blender_addon.contract.codec import decode, encode
from blender_addon.contract.skeleton import BODY_PARTS
from blender_addon.contract.wire import SUBPROTOCOLS, Wire

POSE = np.linspace(-3, 3, 72, dtype=np.float32).reshape(1, 24, 3)


def same(one: Any, other: Any) -> bool:
    """Equality that looks into arrays, bit for bit."""
    if isinstance(one, np.ndarray):
        return isinstance(other, np.ndarray) and one.dtype == other.dtype and np.array_equal(one, other)
    if isinstance(one, tuple):
        return isinstance(other, tuple) and len(one) == len(other) and all(map(same, one, other))
    if dataclasses.is_dataclass(one):
        return type(one) is type(other) and all(
            same(getattr(one, item.name), getattr(other, item.name)) for item in dataclasses.fields(one)
        )
    return bool(one == other)


def random_messages(seed: int) -> list[messages.Message]:
    rng, dice = np.random.default_rng(seed), random.Random(seed)
    alphabet = string.printable + "äß→漢🙂\u0000\u2028"

    def text(longest: int = 60) -> str:
        return "".join(dice.choices(alphabet, k=dice.randint(0, longest)))

    def poses(count: int) -> np.ndarray:
        return (rng.normal(size=(count, 24, 3)) * 10.0 ** rng.integers(-30, 30)).astype(np.float32)

    identity = "".join(dice.choices(string.ascii_letters + string.digits, k=dice.randint(1, 64)))
    count = dice.randint(0, 5)
    return [
        messages.Hello(text(), dice.randint(0, 9)),
        messages.Welcome(
            text(),
            tuple(dice.sample(messages.TASKS, 2)),
            messages.Limits(*(dice.randint(0, 2**40) for _ in range(6))),
            maps=tuple(dice.sample(messages.MAP_KINDS, dice.randint(0, 3))),
        ),
        messages.Request(
            identity,
            dice.choice(messages.TASKS),
            text(),
            poses(count),
            dice.choice([None, b"", rng.bytes(100)]),
            tuple(
                messages.Turn(text(), dice.choice([None, poses(1)[0]]), text(), poses(dice.randint(0, 2)))
                for _ in range(dice.randint(0, 3))
            ),
            dice.choice([None, frozenset(dice.sample(list(BODY_PARTS), 3))]),
            dice.random(),
            dice.choice([None, messages.View(dice.uniform(-3, 3), dice.uniform(-1, 1))]),
            dice.randint(1, 8),
        ),
        messages.Request(
            identity,
            dice.choice(messages.PAINTED_TASKS),
            image_png=dice.choice([None, b"", rng.bytes(70)]),
            painting=messages.Painting(
                text(),
                {
                    kind: rng.bytes(dice.randint(0, 50))
                    for kind in dice.sample(messages.MAP_KINDS, dice.randint(0, 3))
                },
                dice.random(),
                dice.randint(0, messages.MAX_SEED),
            ),
        ),
        messages.Result(identity, (poses(1)[0],), ("done",), image_png=rng.bytes(60)),
        messages.Progress(identity, dice.randint(0, 99), dice.randint(0, 99), dice.randint(0, 9), text()),
        messages.Result(
            identity,
            tuple(dice.choice([None, pose]) for pose in poses(count)),
            tuple(text() for _ in range(count)),
            dice.random() * 1e4,
            dice.random(),
        ),
        messages.Result(
            identity, (None, poses(1)[0]), ("no", "yes"), variants=tuple((None, pose) for pose in poses(3))
        ),
        messages.Result(
            identity,
            (None, poses(1)[0]),
            ("nobody", "one"),
            confidence=(None, tuple(round(dice.random(), 3) for _ in range(24))),
        ),
        messages.ErrorMessage(dice.choice(list(messages.CODES)), text(), dice.choice([None, identity])),
        messages.Cancel(identity),
    ]


def passed(wire: Wire, message: messages.Message) -> messages.Message:
    """What the other side of a connection reads of a message."""
    *first, last = wire.write(message)
    assert all(wire.read(data) is None for data in first)
    received = wire.read(last)
    assert received is not None
    return received


@pytest.mark.parametrize("subprotocol", SUBPROTOCOLS)
@pytest.mark.parametrize("seed", range(30))
def test_every_message_survives_the_wire_bit_for_bit(seed: int, subprotocol: str) -> None:
    wire = Wire(subprotocol)
    for message in random_messages(seed):
        assert same(passed(wire, message), message), message


@pytest.mark.parametrize("subprotocol", SUBPROTOCOLS)
def test_decoded_poses_own_their_memory_and_can_be_written(subprotocol: str) -> None:
    request = passed(Wire(subprotocol), messages.Request("a", "adjust", "x", POSE))
    assert isinstance(request, messages.Request)
    request.poses[0, 0, 0] = 1.0


def test_unknown_fields_are_ignored() -> None:
    record = json.loads(encode(messages.Request("a", "adjust", "x", POSE)))
    record["colour"] = {"anything": [1]}
    record["poses"]["unit"] = "radians"
    assert same(decode(json.dumps(record)), messages.Request("a", "adjust", "x", POSE))


def _poses(shape: list[Any], data: bytes | str) -> dict[str, Any]:
    return {"shape": shape, "float32": data if isinstance(data, str) else base64.b64encode(data).decode()}


ZEROS = bytes(24 * 3 * 4)
NAN = np.full(72, np.nan, "<f4").tobytes()
INFINITE = np.full(72, np.inf, "<f4").tobytes()

BAD_FIELDS = {
    "another count of joints": ({"poses": _poses([1, 22, 3], bytes(22 * 12))}, "bad_pose"),
    "too few dimensions": ({"poses": _poses([24, 3], ZEROS)}, "bad_pose"),
    "a negative count": ({"poses": _poses([-1, 24, 3], ZEROS)}, "bad_pose"),
    "a true count": ({"poses": _poses([True, 24, 3], ZEROS)}, "bad_pose"),
    "a shape of text": ({"poses": _poses(["1", 24, 3], ZEROS)}, "bad_pose"),
    "a shape without end": ({"poses": _poses([[[[]]]] * 9999, ZEROS)}, "bad_pose"),
    "an astronomic count": ({"poses": _poses([10**18, 24, 3], ZEROS)}, "bad_pose"),
    "more poses than allowed": ({"poses": _poses([4097, 24, 3], ZEROS)}, "too_large"),
    "fewer bytes than the shape says": ({"poses": _poses([2, 24, 3], ZEROS)}, "bad_pose"),
    "more bytes than the shape says": ({"poses": _poses([1, 24, 3], ZEROS * 3)}, "bad_pose"),
    "NaN": ({"poses": _poses([1, 24, 3], NAN)}, "bad_pose"),
    "infinity": ({"poses": _poses([1, 24, 3], INFINITE)}, "bad_pose"),
    "no base64": ({"poses": _poses([1, 24, 3], "*" * 384)}, "bad_pose"),
    "base64 beyond ASCII": ({"poses": _poses([1, 24, 3], "é" * 384)}, "bad_pose"),
    "poses as a list": ({"poses": [[0.0] * 3] * 24}, "bad_pose"),
    "an instruction of a megabyte": ({"instruction": "x" * 1_000_000}, "bad_text"),
    "half a character": ({"instruction": "\ud800"}, "bad_text"),
    "an instruction that is a number": ({"instruction": 5}, "bad_message"),
    "no id": ({"id": None}, "bad_message"),
    "an empty id": ({"id": ""}, "bad_message"),
    "a long id": ({"id": "x" * 65}, "bad_message"),
    "an image that is no text": ({"image_png": [1, 2]}, "bad_image"),
    "an image that is no base64": ({"image_png": "no base64!"}, "bad_image"),
    "an image beyond the limit": ({"image_png": "A" * 23_000_000}, "bad_image"),
    "parts that are no list": ({"parts": "head"}, "bad_option"),
    "parts that are no names": ({"parts": [["head"]]}, "bad_option"),
    "a strength of text": ({"strength": "1"}, "bad_message"),
    "a true strength": ({"strength": True}, "bad_message"),
    "a strength beyond floats": ({"strength": 10**400}, "bad_message"),
    "history that is no list": ({"history": {"role": "user"}}, "bad_message"),
    "history of texts": ({"history": ["hello"]}, "bad_message"),
    "a turn without instruction": ({"history": [{"words": "done"}]}, "bad_message"),
    "a turn with a list of numbers": ({"history": [{"instruction": "x", "pose": [0.0] * 72}]}, "bad_pose"),
    "a turn with two poses before it": (
        {"history": [{"instruction": "x", "pose": _poses([2, 24, 3], ZEROS * 2)}]},
        "bad_pose",
    ),
    "a turn with nine answers": (
        {"history": [{"instruction": "x", "poses": _poses([9, 24, 3], ZEROS * 9)}]},
        "too_large",
    ),
    "a turn with NaN": ({"history": [{"instruction": "x", "pose": _poses([1, 24, 3], NAN)}]}, "bad_pose"),
    "a long history": ({"history": [{"instruction": "x"}] * 33}, "bad_text"),
    "a view that is a number": ({"view": 1.5}, "bad_message"),
    "a view without pitch": ({"view": {"yaw": 1.0}}, "bad_message"),
    "half a variant": ({"variants": 1.5}, "bad_message"),
}


@pytest.mark.parametrize("name", BAD_FIELDS)
def test_a_bad_field_is_refused_with_one_short_sentence(name: str) -> None:
    change, code = BAD_FIELDS[name]
    record = {**json.loads(encode(messages.Request("a", "adjust", "x", POSE))), **change}
    with pytest.raises(messages.ProtocolError) as caught:
        decode(json.dumps(record))
    assert caught.value.code == code
    assert caught.value.request_id == (None if "id" in change else "a")
    assert len(caught.value.sentence) < 200
    assert caught.value.sentence.endswith(".")
    assert caught.value.sentence.isprintable()


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x00\xff" * 50, "bad_message"),
        ("garbage", "bad_message"),
        ("", "bad_message"),
        ("[1]", "bad_message"),
        ("null", "bad_message"),
        ("{}", "bad_message"),
        ('{"type": 1}', "bad_message"),
        ('{"type": "request", "id": "a", "strength": NaN}', "bad_message"),
        ('{"type": "request", "id": "a", "task": "adjust", "strength": 1e999}', "bad_message"),
        ('{"type": "launch", "id": "a"}', "unknown_type"),
        ('{"type": "' + "x" * 100_000 + '"}', "unknown_type"),
        ("[" * 100_000, "bad_message"),
        ('{"type": ' + "9" * 10_000 + "}", "bad_message"),
        (" " * (32 * 1024 * 1024 + 1), "too_large"),
    ],
)  # fmt: skip
def test_what_is_no_message_is_refused(data: str | bytes, code: str) -> None:
    with pytest.raises(messages.ProtocolError) as caught:
        decode(data)
    assert caught.value.code == code
    assert len(caught.value.sentence) < 200


@pytest.mark.parametrize(
    "change",
    [
        {"has_pose": [True, True]},
        {"has_pose": [1]},
        {"texts": []},
        {"texts": [1]},
        {"poses": None},
        {"engine_ms": -1e300},
        {"variants": [_poses([2, 24, 3], bytes(576))]},
        {"variants": [_poses([1, 24, 3], bytes(288))] * 9},
    ],
)
def test_an_inconsistent_result_is_refused(change: dict[str, Any]) -> None:
    record = {**json.loads(encode(messages.Result("a", (POSE[0],), ("x",)))), **change}
    with pytest.raises(messages.ProtocolError):
        decode(json.dumps(record))


GOOD = messages.Request("a", "adjust", "raise the arm", POSE)


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (dataclasses.replace(GOOD, task="dance"), "unknown_task"),
        (dataclasses.replace(GOOD, task="estimate"), "bad_image"),
        (dataclasses.replace(GOOD, instruction="  "), "bad_text"),
        (dataclasses.replace(GOOD, instruction="x" * 2001), "bad_text"),
        (dataclasses.replace(GOOD, poses=POSE[:0]), "bad_pose"),
        (dataclasses.replace(GOOD, poses=POSE[0]), "bad_pose"),
        (dataclasses.replace(GOOD, poses=POSE[:, :22]), "bad_pose"),
        (dataclasses.replace(GOOD, poses=POSE * np.float32("nan")), "bad_pose"),
        (dataclasses.replace(GOOD, poses=np.zeros((4097, 24, 3), np.float32)), "too_large"),
        (dataclasses.replace(GOOD, task="describe", poses=POSE[:0]), "bad_pose"),
        (dataclasses.replace(GOOD, strength=1.1), "bad_option"),
        (dataclasses.replace(GOOD, strength=float("nan")), "bad_option"),
        (dataclasses.replace(GOOD, parts=frozenset({"tail"})), "bad_option"),
        (dataclasses.replace(GOOD, parts=frozenset()), "bad_option"),
        (dataclasses.replace(GOOD, history=(messages.Turn("x" * 2001),)), "bad_text"),
        (dataclasses.replace(GOOD, history=(messages.Turn("x", words="x" * 2001),)), "bad_text"),
        (dataclasses.replace(GOOD, history=(messages.Turn("x", pose=POSE),)), "bad_pose"),
        (dataclasses.replace(GOOD, history=(messages.Turn("x", poses=np.zeros((9, 24, 3), np.float32)),)), "too_large"),
        (dataclasses.replace(GOOD, history=(messages.Turn("x"),) * 33), "bad_text"),
        (dataclasses.replace(GOOD, variants=0), "bad_option"),
        (dataclasses.replace(GOOD, variants=9), "bad_option"),
        (dataclasses.replace(GOOD, view=messages.View(float("inf"), 0.0)), "bad_option"),
        (dataclasses.replace(GOOD, image_png=bytes(17 * 2**20)), "bad_image"),
    ],
)  # fmt: skip
def test_a_request_no_model_can_answer_is_refused(request_: messages.Request, code: str) -> None:
    with pytest.raises(messages.ProtocolError) as caught:
        messages.check_request(request_, messages.Limits())
    assert (caught.value.code, caught.value.request_id) == (code, "a")


def test_a_sound_request_is_accepted() -> None:
    messages.check_request(GOOD, messages.Limits())
    messages.check_request(
        messages.Request("b", "generate", "a person sits"), messages.Limits(), ("generate",)
    )
    messages.check_request(messages.Request("c", "estimate", image_png=b"png"), messages.Limits())
    messages.check_request(
        messages.Request("d", "adjust", "raise the arm", image_png=b"png"), messages.Limits()
    )
