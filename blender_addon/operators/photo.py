# SPDX-License-Identifier: GPL-3.0-or-later
"""An image file made upright and small, as a PNG. Also a script, so that another Blender can do it meanwhile:

    blender --background --factory-startup --python photo.py -- SOURCE TARGET.png

Imports nothing of the add-on. Blender reads the pixels as they are stored; how a camera was held stands beside them
(Exif 2.32, tag 274).
"""

from __future__ import annotations

import struct
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import bpy
import numpy as np
import numpy.typing as npt

LONGEST_SIDE: Final = 1024
"""Larger images are made smaller; a person's pose does not show in more."""
ORIENTATION_TAG: Final = 274

Pixels = npt.NDArray[np.uint8]
"""(height, width, 3), top row first."""


class PhotoError(Exception):
    """The image has nothing to show."""


def shrink(image: bpy.types.Image) -> bytes:
    """The PNG of one of Blender's images, upright, its longer side at most LONGEST_SIDE. The image stays as it is.

    Raises:
        PhotoError: it has no pixels.
    """
    width, height = image.size
    if not width or not height:
        raise PhotoError(f"The image {image.name} has no pixels; choose a PNG or JPEG image.")
    copy = image.copy()
    try:
        factor = LONGEST_SIDE / max(width, height)
        if factor < 1:
            copy.scale(max(1, round(width * factor)), max(1, round(height * factor)))
        return encode_png(turn_upright(_pixels_of(copy), orientation(_file_of(image))))
    finally:
        bpy.data.images.remove(copy)


def _pixels_of(image: bpy.types.Image) -> Pixels:
    """The image's pixels as a screen shows them: those of floats are linear light (IEC 61966-2-1)."""
    width, height = image.size
    values = np.empty(width * height * image.channels, dtype=np.float32)
    image.pixels.foreach_get(values)  # type: ignore[attr-defined]  # an array, not the number of the stubs
    values = values.reshape(height, width, image.channels)[::-1]
    colours = values[..., :3] if image.channels >= 3 else np.repeat(values[..., :1], 3, axis=-1)
    colours = np.clip(colours, 0.0, 1.0)
    if image.is_float:
        colours = np.where(colours <= 0.0031308, 12.92 * colours, 1.055 * colours ** (1 / 2.4) - 0.055)
    return np.asarray(np.round(255 * colours), dtype=np.uint8)


def _file_of(image: bpy.types.Image) -> bytes:
    """The file behind an image as it is stored; empty where there is none, as for an image made in Blender."""
    if image.packed_file is not None:
        return bytes(image.packed_file.data)
    path = Path(bpy.path.abspath(image.filepath, library=image.library)) if image.filepath else None
    return path.read_bytes() if path is not None and path.is_file() else b""


def turn_upright(pixels: Pixels, orientation: int) -> Pixels:
    """The image as it is to be seen: what is stored at the top and at the left is named by ``orientation``, 1 to 8."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def orientation(file: bytes) -> int:
    """Exif's orientation, 1 to 8, of a JPEG, PNG, WebP or TIFF file; 1 where it says nothing that can be understood."""
    for block in _exif_blocks(file):
        order = {b"II": "<", b"MM": ">"}.get(block[:2])
        if order is None:
            continue
        try:
            (start,) = struct.unpack_from(order + "I", block, 4)
            (count,) = struct.unpack_from(order + "H", block, start)
            for entry in range(count):
                tag, _, _, value = struct.unpack_from(order + "HHIH", block, start + 2 + 12 * entry)
                if tag == ORIENTATION_TAG and 1 <= value <= 8:
                    return int(value)
        except struct.error:  # cut short
            continue
    return 1


def _exif_blocks(file: bytes) -> Iterator[bytes]:
    """What may hold Exif data: the contents of JPEG's APP1 segments, PNG's eXIf and WebP's EXIF chunks, or all of a
    TIFF."""
    if file[:2] in (b"II", b"MM"):
        yield file
    elif file[:2] == b"\xff\xd8":
        at = 2
        while at + 4 <= len(file) and file[at] == 0xFF and file[at + 1] != 0xDA:  # 0xDA: the pixels begin
            length = int.from_bytes(file[at + 2 : at + 4], "big")
            if file[at + 1] == 0xE1 and file[at + 4 : at + 10] == b"Exif\0\0":
                yield file[at + 10 : at + 2 + length]
            at += 2 + length
    elif file[:8] == b"\x89PNG\r\n\x1a\n":
        at = 8
        while at + 8 <= len(file):
            length = int.from_bytes(file[at : at + 4], "big")
            if file[at + 4 : at + 8] == b"eXIf":
                yield file[at + 8 : at + 8 + length]
            at += 12 + length
    elif file[:4] == b"RIFF" and file[8:12] == b"WEBP":
        at = 12
        while at + 8 <= len(file):
            length = int.from_bytes(file[at + 4 : at + 8], "little")
            if file[at : at + 4] == b"EXIF":
                yield file[at + 8 : at + 8 + length].removeprefix(b"Exif\0\0")
            at += 8 + length + length % 2


def encode_png(pixels: Pixels) -> bytes:
    """The PNG file of an image, as the PNG specification's sections 5 and 11 say."""
    height, width, _ = pixels.shape
    # Every row begins with its filter type, 0 for none.
    rows = np.zeros((height, 1 + 3 * width), dtype=np.uint8)
    rows[:, 1:] = pixels.reshape(height, 3 * width)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits, RGB
    body = zlib.compress(rows.tobytes(), 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


if __name__ == "__main__":
    source, target = sys.argv[-2:]
    Path(target).write_bytes(shrink(bpy.data.images.load(source)))
