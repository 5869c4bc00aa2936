# SPDX-License-Identifier: Apache-2.0
"""PNGs of every depth decode to the brightness they were saved with."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest

from backend.images import check_image, decode_image
from blender_addon.contract.messages import Limits, ProtocolError

from .conftest import png_with_empty_profile

GREY, RGB, GREY_ALPHA = 0, 2, 4
CHANNELS = {GREY: 1, RGB: 3, GREY_ALPHA: 2}


def png_of(levels: list[int], colour: int, depth: int) -> bytes:
    """One row of pixels as a PNG put together by hand: every channel of a pixel has its level, alpha is full."""
    full = (1 << depth) - 1
    pixels = [[level, full] if colour == GREY_ALPHA else [level] * CHANNELS[colour] for level in levels]
    flat = [value for pixel in pixels for value in pixel]
    row = b"\0" + struct.pack(f">{len(flat)}{'H' if depth == 16 else 'B'}", *flat)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", len(levels), 1, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(row))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("colour", [GREY, RGB, GREY_ALPHA])
@pytest.mark.parametrize("depth", [8, 16])
def test_an_image_of_any_depth_keeps_its_brightness(colour: int, depth: int) -> None:
    # 0x4040 is to 0xFFFF as 0x40 is to 0xFF.
    levels = [0x00, 0x01, 0x40, 0x7F, 0x80, 0xC8, 0xFF]
    data = png_of([level * 0x101 for level in levels] if depth == 16 else levels, colour, depth)
    check_image(data, Limits())
    image = decode_image(data)
    assert image.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(image)[0], np.repeat(levels, 3).reshape(-1, 3))


def test_the_grey_of_sixteen_bits_is_rounded_to_the_nearest_of_eight() -> None:
    # 65535 / 255 = 257 to a step; 10000 lies at 38.9, 20000 at 77.8, 128 at 0.498 and 129 at 0.502.
    image = decode_image(png_of([128, 129, 10000, 20000, 65535], GREY, 16))
    assert np.asarray(image)[0, :, 0].tolist() == [0, 1, 39, 78, 255]


def test_a_damaged_grey_image_of_sixteen_bits_is_refused() -> None:
    data = png_of([0, 40000] * 500, GREY, 16)
    with pytest.raises(ProtocolError, match="damaged"):
        decode_image(data[:-30])


def test_a_chunk_that_pillow_stumbles_over_is_a_damaged_image() -> None:
    with pytest.raises(ProtocolError, match="damaged"):
        decode_image(png_with_empty_profile())
