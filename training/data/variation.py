# SPDX-License-Identifier: Apache-2.0
"""Pictures seen anew in every epoch: half of them in a mirror, moved, scaled and in another light, and their poses
and the places of the joints with them. May import samples.

Legend: J = 24 joints; places (J, 2) as shares of a picture's width and height.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from blender_addon.contract.kinematics import mirror_pose
from blender_addon.contract.skeleton import MIRROR

from .samples import Sample, SampleImage, open_image

SHIFT: Final = 0.08
"""The most that a picture is moved, as a share of its size."""
LEAST_SCALE, MOST_SCALE = 0.88, 1.12
LEAST_GAIN, MOST_GAIN = 0.8, 1.2
"""Of each colour on its own."""
_BORDER: Final = SHIFT + (1 / LEAST_SCALE - 1) / 2
"""The most, as a share of its size, that is seen beyond a picture's edge."""


def varied(sample: Sample, rng: np.random.Generator) -> Sample:
    """The sample seen in another way; the work on its image is done when the image is opened.

    Raises:
        ValueError: it is other than a pose that is estimated from a picture; words may name a side.
    """
    if sample.task != "estimate" or sample.image is None or sample.target_aa is None:
        raise ValueError(f"sample {sample.id} ({sample.task}): varied is for pictures of a pose")
    target_aa, joints = sample.target_aa, sample.image_joints
    in_mirror = bool(rng.integers(2))
    if in_mirror:
        target_aa = mirror_pose(target_aa).astype(np.float32)
        joints = None if joints is None else joints[list(MIRROR)] * (-1, 1) + (1, 0)
    seen = 1 / rng.uniform(LEAST_SCALE, MOST_SCALE)
    corner = 0.5 + rng.uniform(-SHIFT, SHIFT, 2) - seen / 2
    gains = rng.uniform(LEAST_GAIN, MOST_GAIN, 3)
    return replace(
        sample,
        target_aa=target_aa,
        image=partial(_varied_image, sample.image, in_mirror, corner, seen, gains),
        image_joints=None if joints is None else ((joints - corner) / seen).astype(np.float32),
    )


def _varied_image(
    image: SampleImage,
    in_mirror: bool,
    corner: npt.NDArray[np.float64],
    seen: float,
    gains: npt.NDArray[np.float64],
) -> Image.Image:
    """The square part of a picture from ``corner`` (x, y), ``seen`` long, all as shares of its size, in its own size;
    what lies beyond an edge continues it."""
    picture = open_image(image)
    if in_mirror:
        picture = ImageOps.mirror(picture)
    width, height = picture.size
    beyond_x, beyond_y = math.ceil(_BORDER * width), math.ceil(_BORDER * height)
    rows, columns = np.arange(-beyond_y, height + beyond_y), np.arange(-beyond_x, width + beyond_x)
    pixels = np.asarray(picture).take(rows, axis=0, mode="clip").take(columns, axis=1, mode="clip")
    left, upper = corner * picture.size + (beyond_x, beyond_y)
    box = (left, upper, left + seen * width, upper + seen * height)
    moved = Image.fromarray(pixels).resize(picture.size, Image.Resampling.BILINEAR, box)
    return moved.point(
        np.clip(np.multiply.outer(gains, np.arange(256)), 0, 255).astype(np.uint8).ravel().tolist()
    )
