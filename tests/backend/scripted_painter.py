# SPDX-License-Identifier: Apache-2.0
"""In the place of the process that paints: speaks as it does, and does what the prompt says.

It paints a red picture of the request's size in three steps; a prompt that begins with ``keep`` gets the first picture
that came as it came. ``die`` ends it before, ``fail`` answers a reason, ``break`` one after which it is of no more use
and never comes back, ``hang`` never comes back, ``wait`` makes a step only every twentieth of a second, for a minute.
"""

from __future__ import annotations

import io
import json
import sys
import time

from PIL import Image

from backend.pipes import receive, send

SCRIPTED = "tests.backend.scripted_painter"
"""This module, in the place of painter.PROGRAM."""


def main(told: str) -> None:
    """Until the other side ends."""
    assert set(json.loads(told)) == {"weights", "controls", "device", "steps", "size"}
    source, target = sys.stdin.buffer, sys.stdout.buffer
    while (question := receive(source)) is not None:
        _, (head, *pixels) = question
        asked = json.loads(head)
        prompt = asked["prompt"]
        assert [width * height * 3 for width, height in asked["sizes"].values()] == list(map(len, pixels))
        if prompt == "die":
            return
        if prompt == "hang":
            time.sleep(60)
        if prompt == "fail":
            send(target, b"E", [b"no such luck."])
            continue
        if prompt == "break":
            send(target, b"F", [b"<Device at 0x7f00deadbeef>\nis in disorder"])
            time.sleep(60)
        total = 1200 if prompt == "wait" else 3
        for step in range(total):
            time.sleep(0.05 if prompt == "wait" else 0)
            send(target, b"S", [json.dumps([step + 1, total]).encode()])
            if source.read(1) != b"G":
                send(target, b"X", [b""])
                break
        else:
            buffer, size = io.BytesIO(), tuple(next(iter(asked["sizes"].values())))
            keep = prompt.startswith("keep")
            picture = Image.frombytes("RGB", size, pixels[0]) if keep else Image.new("RGB", size, "red")
            picture.save(buffer, "PNG")
            send(target, b"P", [buffer.getvalue()])
