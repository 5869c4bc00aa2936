# SPDX-License-Identifier: Apache-2.0
"""Pictures from outside, checked and decoded: PNG, JPEG and WebP, upright, in RGB. May import blender_addon.contract.

What a picture is and how large it will be is read from its first bytes before anything decodes it, so that one that
would fill the memory is refused. A decoded picture is made small at once: no model here looks at more than
MODEL_SIDE pixels a side.
"""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image, ImageOps

from blender_addon.contract.messages import Limits, ProtocolError, quote

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PHOTOGRAPHS: Final = Limits(max_image_bytes=64 * 2**20, max_image_side=12_000)
"""What is taken from the user's own disk; it is made small before a model or a backend sees it."""
MAX_PIXELS: Final = 64_000_000
MODEL_SIDE: Final = 1024
"""LLaVA-NeXT's largest grid has 1008 pixels."""
_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_HEADER: Final = struct.Struct(">I4sII")
"""After the signature: length of the first chunk, its name, width, height."""
_SIZES_OF_JPEG: Final = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
"""The markers of the segments that hold the size."""


def check_image(data: bytes, limits: Limits, request_id: str | None = None) -> int:
    """How many pixels the picture has, whose bytes check_request has counted.

    Raises:
        ProtocolError: it is none of the formats, or its sides are not within ``limits``.
    """
    if data.startswith(_SIGNATURE):
        size = _png_size(data)
    elif data.startswith(b"\xff\xd8\xff"):
        size = _jpeg_size(data)
    elif data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        size = _webp_size(data)
    else:
        raise ProtocolError(
            "bad_image", "The image is no PNG, JPEG or WebP; save it as PNG and send it again.", request_id
        )
    if size is None or 0 in size:
        raise ProtocolError("bad_image", "The image's header is damaged; save it again.", request_id)
    width, height = size
    if max(width, height) > limits.max_image_side:
        raise ProtocolError(
            "bad_image",
            f"The image is {width} x {height} pixels; scale it to at most {limits.max_image_side} a side.",
            request_id,
        )
    return width * height


def _png_size(data: bytes) -> tuple[int, int] | None:
    if len(data) < len(_SIGNATURE) + _HEADER.size:
        return None
    length, name, width, height = _HEADER.unpack_from(data, len(_SIGNATURE))
    return (width, height) if (length, name) == (13, b"IHDR") else None


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """The size of the largest frame of any segment: there should be one."""
    return max(_jpeg_frames(data), key=lambda size: size[0] * size[1], default=None)


def _jpeg_frames(data: bytes) -> Iterator[tuple[int, int]]:
    place = 2
    while place + 9 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF:  # fills up
            place += 1
            continue
        if marker == 0xDA:  # the pixels
            return
        if marker in _SIZES_OF_JPEG:
            height, width = struct.unpack_from(">HH", data, place + 5)
            yield width, height
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")


def _webp_size(data: bytes) -> tuple[int, int] | None:
    form, body = data[12:16], data[20:30]
    if len(body) < 10:
        return None
    if form == b"VP8X":
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if form == b"VP8L" and body[0] == 0x2F:
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if form == b"VP8 " and body[3:6] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", body, 6)
        return width & 0x3FFF, height & 0x3FFF
    return None


def read_photograph(path: Path, name: str) -> bytes:
    """The bytes of a file that decode_image may read; in a refusal it is called ``name``.

    Raises:
        ProtocolError: it cannot be read, is no picture, or is too large.
    """
    try:
        if not path.is_file():  # a device or a pipe may never end
            raise OSError
        size = path.stat().st_size
        if size > PHOTOGRAPHS.max_image_bytes:
            raise ProtocolError(
                "bad_image", f"The image {quote(name, 100)} has {size} bytes; make it smaller."
            )
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        if isinstance(error, ProtocolError):
            raise
        raise ProtocolError("bad_image", f"The image {quote(name, 200)} cannot be read.") from None
    pixels = check_image(data, PHOTOGRAPHS)
    if pixels > MAX_PIXELS:
        raise ProtocolError(
            "bad_image",
            f"The image {quote(name, 100)} has {pixels} pixels; scale it to at most {MAX_PIXELS}.",
        )
    return data


def decode_image(data: bytes, request_id: str | None = None) -> Image.Image:
    """The picture in ``data``, which check_image has accepted: RGB, upright as its EXIF data says, at most MODEL_SIDE
    pixels a side. Raises ProtocolError when its body is damaged."""
    try:
        with Image.open(io.BytesIO(data), formats=["PNG", "JPEG", "WEBP"]) as image:
            image.draft("RGB", (MODEL_SIDE, MODEL_SIDE))  # a JPEG can be read at half its size and less
            small = _small(to_rgb(image) if image.mode.startswith("I") else image)
            return to_rgb(ImageOps.exif_transpose(small))
    except Exception as error:  # Pillow lets through whatever a chunk that is not as it expects leads to
        raise ProtocolError(
            "bad_image",
            f"The image is damaged and cannot be decoded ({type(error).__name__}); save it again.",
            request_id,
        ) from None


def _small(image: Image.Image) -> Image.Image:
    """The image within MODEL_SIDE; loads its pixels."""
    longest = max(image.size)
    if longest <= MODEL_SIDE:
        return image
    size = tuple(max(1, round(side * MODEL_SIDE / longest)) for side in image.size)
    if image.mode in ("P", "1"):
        image = _keeping_exif(image, image.convert("RGBA" if "transparency" in image.info else "RGB"))
    return _keeping_exif(image, image.resize((size[0], size[1]), Image.Resampling.BOX, reducing_gap=2.0))


def _keeping_exif(old: Image.Image, new: Image.Image) -> Image.Image:
    if "exif" in old.info:
        new.info["exif"] = old.info["exif"]
    return new


def to_rgb(image: Image.Image) -> Image.Image:
    """The image in RGB, 8 bits a channel; loads its pixels.

    Grey of 16 bits is scaled as the PNG specification's section 13.12 says, where Pillow would cut it off at 255;
    16-bit images with colours or transparency it scales itself.
    """
    if image.mode.startswith("I"):
        image = Image.fromarray(np.round(np.asarray(image) / 257.0).astype(np.uint8))
    return image.convert("RGB")
