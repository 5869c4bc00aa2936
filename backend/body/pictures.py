# SPDX-License-Identifier: Apache-2.0
"""Pictures for people: poses drawn alike for comparison, and sheets of them with captions.

Shapes: B poses (B, 24, 3) axis-angle, radians.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw, ImageFont

from .camera import Camera
from .draw import Renderer
from .neutral import load_neutral_body

COARSE_UP_TO: Final = 160
"""Pixels a side up to which the coarse body is enough."""

THREE_QUARTERS: Final = Camera(azimuth=30.0, elevation=10.0)

_PAPER: Final = (250, 250, 248)
_INK: Final = (30, 30, 34)
_GAP: Final = 6


@dataclass(frozen=True)
class Row:
    """One entry of a sheet: pictures side by side, and what they show."""

    pictures: Sequence[Image.Image]
    caption: str


@cache
def _renderer(size: int) -> Renderer:
    return Renderer((size, size), load_neutral_body("coarse" if size <= COARSE_UP_TO else "full"))


def draw_poses(
    poses_aa: npt.ArrayLike, size: int = 192, camera: Camera = THREE_QUARTERS
) -> list[Image.Image]:
    """Square pictures of poses (B, 24, 3), all on the floor and seen by one camera that frames them all.

    Raises:
        DrawingUnavailableError: the machine has no OpenGL.
    """
    renderer = _renderer(size)
    vertices = renderer.body.pose(torch.from_numpy(np.array(poses_aa, dtype=np.float32)))[0].numpy()
    vertices[..., 1] -= vertices[..., 1].min(axis=1, keepdims=True)
    framed = camera.framing(vertices.reshape(-1, 3))
    return [Image.fromarray(renderer.draw(body, framed)) for body in vertices]


def save_sheet(rows: Sequence[Row], path: Path, columns: int = 3) -> None:
    """Write a contact sheet of these rows; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet(rows, columns).save(path)


def sheet(rows: Sequence[Row], columns: int = 3, font_size: int = 13) -> Image.Image:
    """A contact sheet: the rows laid out in columns, each one's pictures side by side above its caption."""
    # Not matplotlib's grids: they resample the pictures, and it is not there where only torch is installed.
    font = ImageFont.load_default(font_size)
    width = max(
        sum(picture.width for picture in row.pictures) + _GAP * (len(row.pictures) - 1) for row in rows
    )
    captions = [_wrap(row.caption, font, width) for row in rows]
    line = font_size + 4
    heights = [
        max(picture.height for picture in row.pictures) + line * len(lines) + 2 * _GAP
        for row, lines in zip(rows, captions, strict=True)
    ]
    bands = [max(heights[start : start + columns]) for start in range(0, len(rows), columns)]
    columns = min(columns, len(rows))
    paper = Image.new("RGB", (columns * (width + 2 * _GAP), sum(bands) + 2 * _GAP), _PAPER)
    pen = ImageDraw.Draw(paper)
    for number, (row, lines) in enumerate(zip(rows, captions, strict=True)):
        x = _GAP + (number % columns) * (width + 2 * _GAP)
        y = _GAP + sum(bands[: number // columns])
        left = x
        for picture in row.pictures:
            paper.paste(picture, (left, y))
            left += picture.width + _GAP
        y += max(picture.height for picture in row.pictures) + _GAP // 2
        for text in lines:
            pen.text((x, y), text, fill=_INK, font=font)
            y += line
    return paper


def _wrap(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    """The text in lines no wider than ``width`` pixels, broken between words."""
    lines: list[str] = []
    for paragraph in text.split("\n"):
        current = ""
        for word in paragraph.split():
            longer = f"{current} {word}".strip()
            if current and font.getlength(longer) > width:
                lines.append(current)
                current = word
            else:
                current = longer
        lines.append(current)
    return lines
