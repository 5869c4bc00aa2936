# SPDX-License-Identifier: Apache-2.0
"""PNG bytes from outside, checked and decoded; images in RGB. May import blender_addon.contract.

The header is read by hand first, so that a picture that would fill the memory is refused before anything decodes it.
"""

from __future__ import annotations

import io
import struct
from typing import Final

import numpy as np
from PIL import Image

from blender_addon.contract.messages import Limits, ProtocolError

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_HEADER: Final = struct.Struct(
    ">I4sII"
)  # after the signature: length of the first chunk, its name, width, height


def check_png(data: bytes, limits: Limits, request_id: str | None = None) -> None:
    """Raise ProtocolError unless ``data``, whose bytes check_request has counted, begins as a PNG with sides within
    ``limits``."""
    if len(data) < len(_SIGNATURE) + _HEADER.size or not data.startswith(_SIGNATURE):
        raise ProtocolError("bad_image", "The image is no PNG; save it as PNG and send it again.", request_id)
    length, name, width, height = _HEADER.unpack_from(data, len(_SIGNATURE))
    if length != 13 or name != b"IHDR" or 0 in (width, height):
        raise ProtocolError("bad_image", "The image's PNG header is damaged; save it again.", request_id)
    if max(width, height) > limits.max_image_side:
        raise ProtocolError(
            "bad_image",
            f"The image is {width} x {height} pixels; scale it to at most {limits.max_image_side} a side.",
            request_id,
        )


def decode_png(data: bytes, request_id: str | None = None) -> Image.Image:
    """The RGB image in ``data``, which check_png has accepted; raises ProtocolError when its body is damaged."""
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            return to_rgb(image)
    except Exception as error:  # Pillow lets through whatever a chunk that is not as it expects leads to
        raise ProtocolError(
            "bad_image", f"The PNG is damaged and cannot be decoded ({error}); save it again.", request_id
        ) from None


def to_rgb(image: Image.Image) -> Image.Image:
    """The image in RGB, 8 bits a channel; loads its pixels.

    Grey of 16 bits is scaled as the PNG specification's section 13.12 says, where Pillow would cut it off at 255;
    16-bit images with colours or transparency it scales itself.
    """
    if image.mode.startswith("I"):
        image = Image.fromarray(np.round(np.asarray(image) / 257.0).astype(np.uint8))
    return image.convert("RGB")
