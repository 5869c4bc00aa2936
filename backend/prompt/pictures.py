# SPDX-License-Identifier: Apache-2.0
"""Images as the pose reader sees them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

CANVAS_SIDE: Final = 256
"""Pixels a side of the canvas, which the reader's trunk was trained on."""


def canvases(images: Sequence[Image.Image]) -> npt.NDArray[np.float32]:
    """(B, 3, S, S) images in their own proportions in the middle of a black square, values 0 to 1; S = CANVAS_SIDE."""
    size = (CANVAS_SIDE, CANVAS_SIDE)
    pixels = np.stack(
        [np.asarray(ImageOps.pad(image.convert("RGB"), size, color="black")) for image in images]
    )
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2), dtype=np.float32) / np.float32(255)
