# SPDX-License-Identifier: Apache-2.0
"""What the process that paints runs, see backend/server/painter.py: it loads the pipeline with the first picture, and
paints one after the other until the other side ends.

It is asked with a head of JSON and the pixels of the pictures that the head names, and answers with a message for each
step, to which it hears whether to go on, and at last with a PNG, or the reason why there is none. After a failure that
is not the question's it ends: its device may be in disorder. May import backend.painting and backend.pipes.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from backend.painting import Pipeline, StoppedError, maps_of, sides, steps_of
from backend.pipes import receive, send, stand_back

log = logging.getLogger(__name__)


def main(told: str) -> None:
    """Paint until the other side ends; ``told`` is the JSON that Painter gives."""
    with contextlib.suppress(BrokenPipeError):  # it ended while something was painted
        _paint_all(told)


def _paint_all(told: str) -> None:
    source, target = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr
    stand_back()
    options: dict[str, Any] = json.loads(told)
    pipeline: Pipeline | None = None
    while (question := receive(source)) is not None:
        _, (head, *pixels) = question
        try:
            if pipeline is None:
                controls = {kind: Path(folder) for kind, folder in options["controls"].items()}
                pipeline = Pipeline(Path(options["weights"]), controls, options["device"])
            png = _painted(pipeline, json.loads(head), pixels, options, source, target)
        except StoppedError:
            send(target, b"X", [b""])
        except BrokenPipeError:
            raise
        except ValueError as error:
            send(target, b"E", [_reason(error)])
        except Exception as error:
            log.exception("a picture could not be painted")
            send(target, b"F", [_reason(error)])
            return
        else:
            send(target, b"P", [png])


def _painted(
    pipeline: Pipeline,
    head: Mapping[str, Any],
    pixels: list[bytes],
    options: Mapping[str, Any],
    source: BinaryIO,
    target: BinaryIO,
) -> bytes:
    """The PNG of one picture."""
    given = {
        name: Image.frombytes("RGB", tuple(size), data)
        for (name, size), data in zip(head["sizes"].items(), pixels, strict=True)
    }
    start = given.pop("picture", None)
    if head["pose"] is None:
        width, height = next(iter(given.values())).size
        size = sides(width, height, max(width, height))
        maps = {kind: np.asarray(picture.resize(size)) for kind, picture in given.items()}
    else:
        assert start is not None
        size = sides(*start.size, options["size"])
        maps = maps_of(np.array(head["pose"], dtype=np.float32), pipeline.kinds, *size)
    strength = 1.0 if start is None else head["strength"]
    total = steps_of(options["steps"], strength)

    def on_step(done: int) -> bool:
        send(target, b"S", [json.dumps([done, total]).encode()])
        return source.read(1) == b"G"

    picture = pipeline.paint(
        Image.new("RGB", size, "gray") if start is None else start.resize(size),
        maps,
        head["prompt"],
        steps=options["steps"],
        strength=strength,
        seed=head["seed"],
        on_step=on_step,
    )
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def _reason(error: Exception) -> bytes:
    return (str(error) or type(error).__name__).encode("utf-8", "replace")
