# SPDX-License-Identifier: Apache-2.0
"""Damaged messages, pictures and pickles by the thousand: each ends in a value or in the error its reader promises.

    python -m tests.robustness.fuzz --messages 200000 --pictures 5000 --pickles 5000
    python -m tests.robustness.guided messages      # by coverage, see there

What is broken is printed with its seed, and the status is 1.
"""

from __future__ import annotations

import argparse
import io
import json
import pickle
import random
import re
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from PIL import Image

from backend.body.pickles import parse_pickle
from backend.images import check_image, decode_image
from blender_addon.contract import messages
from blender_addon.contract.wire import SUBPROTOCOLS, Wire

LIMITS: Final = messages.Limits(
    max_message_bytes=2**20, max_poses=64, max_image_bytes=2**16, max_image_side=512
)
NASTY: Final[tuple[Any, ...]] = (
    None, True, False, 0, -1, 1.5, 2**53, 10**400, -(10**30), 1e308, "", "x" * 3000, "\ud800", "\u0000", "ß漢🙂", [],
    [[]], {}, {"first": 0, "count": 1}, {"shape": [1, 24, 3], "float32": ""}, {"shape": [10**9, 24, 3]}, [1, 2],
    {"poses": 10**9}, {"poses": 1}, {"image": 3}, {"words": 9}, float("nan"), float("inf"), "posellava", [None] * 40,
)  # fmt: skip
POSES: Final = np.linspace(-3, 3, 2 * 72, dtype=np.float32).reshape(2, 24, 3)
MESSAGES: Final[tuple[messages.Message, ...]] = (
    messages.Hello("token", 1),
    messages.Welcome("model", ("adjust",)),
    messages.Request("r", "adjust", "raise it", POSES),
    messages.Request(
        "r", "estimate", image_png=b"\x89PNG\r\n\x1a\n" + bytes(50), view=messages.View(0.1, -0.2), variants=3
    ),
    messages.Request(
        "r",
        "adjust",
        "more",
        POSES[:1],
        None,
        (messages.Turn("sit", POSES[1], "done", POSES),),
        frozenset({"head"}),
        0.5,
    ),
    messages.Request(
        "r",
        "paint",
        image_png=b"\x89PNG\r\n\x1a\n" + bytes(50),
        painting=messages.Painting("a dancer", {"openpose": bytes(30), "depth": bytes(20)}, 0.5, 7),
    ),
    messages.Progress("r", 0, 1, 0, "The left arm is"),
    messages.Result("r", (POSES[0], None), ("yes", "no"), 1.0, 2.0, ((POSES[0], None), (POSES[1], None))),
    messages.Result("r", (None,) * 50, tuple(map(str, range(50)))),
    messages.ErrorMessage("busy", "Later.", "r"),
    messages.Cancel("r"),
)


def read_message(subprotocol: str, pieces: Sequence[str | bytes]) -> None:
    """What a backend does with the websocket messages of a client; raises for what no client may cause."""
    wire = Wire(subprotocol, LIMITS)
    for piece in pieces:
        try:
            message = wire.read(piece)
            if isinstance(message, messages.Request):
                messages.check_request(message, LIMITS)
        except messages.ProtocolError as error:
            _check_sentence(error.sentence)
    *first, last = Wire(subprotocol, LIMITS).write(MESSAGES[2])
    assert all(wire.read(piece) is None for piece in first), "the next message is not read any more"
    assert isinstance(wire.read(last), messages.Request), "the next message is not read any more"


def _check_sentence(sentence: str) -> None:
    assert sentence, "an error without a sentence"
    assert len(sentence) < 400, "an error of a page"
    assert not re.search("0x[0-9a-f]{6}", sentence), "an address in memory"
    sentence.encode()


def read_picture(data: bytes) -> None:
    """What happens to a picture; its header counts before anything is decoded."""
    try:
        check_image(data, LIMITS)
        image = decode_image(data)
    except messages.ProtocolError as error:
        _check_sentence(error.sentence)
        return
    assert image.mode == "RGB"
    assert max(image.size) <= 1024


def read_pickle(data: bytes) -> None:
    """What happens to a pickle."""
    try:
        parse_pickle(data)
    except ValueError as error:
        _check_sentence(str(error))


def damaged(data: bytes, dice: random.Random) -> bytes:
    """The bytes with some changed, lost, doubled or put elsewhere."""
    changed = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 4, 16))):
        if not changed:
            break
        place, other = dice.randrange(len(changed)), dice.randrange(len(changed))
        match dice.randrange(6):
            case 0:
                changed[place] = dice.randrange(256)
            case 1:
                changed[place] ^= 1 << dice.randrange(8)
            case 2:
                del changed[place : place + dice.choice((1, 4, 40))]
            case 3:
                changed[place:place] = changed[other : other + dice.choice((1, 8, 100))]
            case 4:
                changed[place : place + 4] = dice.choice((b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff"))
            case _:
                del changed[place:]
    return bytes(changed)


def _spoilt(value: Any, dice: random.Random) -> Any:
    """A JSON value with one thing in it replaced, added or lost."""
    if isinstance(value, dict) and value and dice.random() < 0.9:
        name = dice.choice(list(value))
        if dice.random() < 0.15:
            return {key: item for key, item in value.items() if key != name}
        if dice.random() < 0.1:
            return {**value, dice.choice(("frames", "poses", "history", "id", "x")): dice.choice(NASTY)}
        return {**value, name: _spoilt(value[name], dice)}
    if isinstance(value, list) and value and dice.random() < 0.7:
        place = dice.randrange(len(value))
        return [*value[:place], _spoilt(value[place], dice), *value[place + 1 :]]
    return dice.choice(NASTY)


def spoilt_message(dice: random.Random) -> tuple[str, list[str | bytes]]:
    """A subprotocol and the websocket messages of a message that is not as it should be."""
    subprotocol = dice.choice(SUBPROTOCOLS)
    pieces: list[str | bytes] = list(Wire(subprotocol).write(dice.choice(MESSAGES)))
    head = pieces[0]
    assert isinstance(head, str)
    match dice.randrange(5):
        case 0 | 1:
            pieces[0] = json.dumps(_spoilt(json.loads(head), dice))
        case 2:
            pieces[0] = damaged(head.encode(), dice).decode("utf-8", "replace")
        case 3:
            place = dice.randrange(len(pieces))
            piece = pieces[place]
            pieces[place] = damaged(piece.encode() if isinstance(piece, str) else piece, dice)
        case _:
            pieces.insert(dice.randrange(len(pieces) + 1), dice.choice(pieces))
            if dice.random() < 0.5:
                del pieces[dice.randrange(len(pieces))]
    return subprotocol, pieces


def pictures() -> list[bytes]:
    """Small pictures of every format and mode."""
    noise = np.random.default_rng(0).integers(0, 256, (24, 32, 4), dtype=np.uint8)
    whole = []
    for form, modes in (("PNG", ("RGB", "RGBA", "L", "LA", "P", "1", "I;16")), ("JPEG", ("RGB", "L", "CMYK")),
                        ("WEBP", ("RGB", "RGBA"))):  # fmt: skip
        for mode in modes:
            image = Image.fromarray(noise, "RGBA")
            if mode == "I;16":
                image = Image.fromarray(noise[..., :2].copy().view(np.uint16)[..., 0])
            elif mode != "RGBA":
                image = image.convert("RGB").convert(mode) if mode != "LA" else image.convert("LA")
            exif = Image.Exif()
            exif[0x0112] = 6
            buffer = io.BytesIO()
            image.save(buffer, form, **({"exif": exif} if form != "PNG" or mode == "RGB" else {}))
            whole.append(buffer.getvalue())
    return whole


def pickles() -> list[bytes]:
    """Small pickles as poses come in."""
    values: list[Any] = [
        {
            "poses": np.zeros((2, 72), np.float32),
            "trans": np.zeros((2, 3)),
            "gender": "male",
            "rate": np.float64(30),
        },
        [{"a": (1, 2.5, None, b"x")}, {1: [True, -(2**70)]}],
        {"kintree": np.arange(6, dtype=np.uint32).reshape(2, 3), "names": np.array(["ab", "c"])},
    ]
    return [
        pickle.dumps(value, protocol) for value in values for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    ]


def run(messages: int, images: int, files: int, *, seed: int = 0) -> list[str]:
    """Try so many of each; what is wrong, a line each."""
    whole_pictures, whole_pickles = pictures(), pickles()
    wrong = []

    def one(kind: str, number: int, work: Callable[[random.Random], None]) -> None:
        try:
            work(random.Random(f"{kind} {seed} {number}"))
        except Exception as error:
            wrong.append(f"{kind} {number} of seed {seed}: {type(error).__name__}: {str(error)[:300]}")

    for number in range(messages):
        one("message", number, lambda dice: read_message(*spoilt_message(dice)))
    for number in range(images):
        one("picture", number, lambda dice: read_picture(damaged(dice.choice(whole_pictures), dice)))
    for number in range(files):
        one("pickle", number, lambda dice: read_pickle(damaged(dice.choice(whole_pickles), dice)))
    return wrong


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--messages", type=int, default=200_000)
    parser.add_argument("--pictures", type=int, default=5_000)
    parser.add_argument("--pickles", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    began = time.monotonic()
    wrong = run(options.messages, options.pictures, options.pickles, seed=options.seed)
    print("\n".join(wrong[:20]), file=sys.stderr)
    figures = {
        "name": "fuzz_faults",
        "value": len(wrong),
        "unit": "1",
        "messages": options.messages,
        "pictures": options.pictures,
        "pickles": options.pickles,
        "seconds": round(time.monotonic() - began, 1),
    }
    print(json.dumps(figures))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
