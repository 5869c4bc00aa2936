# SPDX-License-Identifier: Apache-2.0
"""The one sample type of training: words and a pose, perhaps a start pose or an image.

Legend: J = 24 joints; poses (J, 3) axis-angle, radians.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from backend.images import to_rgb
from backend.prompt import VERBAL_ANSWERS
from blender_addon.contract.messages import Turn, View
from blender_addon.contract.skeleton import NUM_JOINTS

__all__ = ["VERBAL_ANSWERS", "Pose", "Sample", "Turn", "View", "encode_image", "open_image"]

Pose = npt.NDArray[np.float32]
SampleImage = Image.Image | npt.NDArray[np.uint8] | Path | Callable[[], Image.Image]


@dataclass(frozen=True)
class Sample:
    """One thing to learn.

    Attributes:
        id: unique in its source.
        task: ``adjust``, ``generate``, ``estimate`` or ``chat``.
        kind: the finer kind, for statistics ("elbow_bend", "caption"). It says nothing to the model.
        instruction: what the user says, without the template's wording.
        pose_aa: the initial pose, where the task has one.
        target_aa: the pose to answer with; None where the answer is words alone.
        image: a picture, an array (height, width, 3), the path of a file, or a function that makes it when needed.
        reply: the words to answer with; None for the template's own. One of VERBAL_ANSWERS where nothing is to move.
        image_joints: (J, 2) where the image shows the joints, as shares of its width and height from its upper left
            corner; None where nobody knows.
        history: earlier turns, oldest first, each with the pose that it was asked of; what came of it is the next
            turn's pose, of the last turn ``pose_aa``.
        more_targets_aa: (M, J, 3) further poses of the answers, in the order of their words; None where there are none.
        further: questions and answers that follow the first, of a conversation.
        view: where the camera is as the initial pose sees it, in whose frame it is then asked; None for the pose's own.
    """

    id: str
    task: str
    kind: str
    instruction: str
    pose_aa: Pose | None = field(default=None, repr=False)
    target_aa: Pose | None = field(default=None, repr=False)
    image: SampleImage | None = field(default=None, repr=False)
    reply: str | None = None
    image_joints: npt.NDArray[np.float32] | None = field(default=None, repr=False)
    history: tuple[Turn, ...] = ()
    more_targets_aa: npt.NDArray[np.float32] | None = field(default=None, repr=False)
    further: tuple[tuple[str, str], ...] = ()
    view: View | None = None

    @property
    def targets_aa(self) -> npt.NDArray[np.float32]:
        """(T, J, 3) all the poses to answer with."""
        first = np.zeros((0, NUM_JOINTS, 3), np.float32) if self.target_aa is None else self.target_aa[None]
        return first if self.more_targets_aa is None else np.concatenate([first, self.more_targets_aa])


def open_image(image: SampleImage) -> Image.Image:
    """The picture in RGB. Raises FileNotFoundError where its file is missing."""
    if isinstance(image, Path):
        if not image.is_file():
            raise FileNotFoundError(f"the image {image} of a sample is missing")
        image = Image.open(image)
    elif isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    elif callable(image):
        image = image()
    return to_rgb(image)


def encode_image(image: SampleImage) -> bytes:
    """The picture as the bytes of an image file: a file's own, or a JPEG, a quarter of a PNG's size."""
    if isinstance(image, Path):
        return image.read_bytes()
    buffer = io.BytesIO()
    open_image(image).save(buffer, format="JPEG", quality=92)
    return buffer.getvalue()
