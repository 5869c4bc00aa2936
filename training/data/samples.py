# SPDX-License-Identifier: Apache-2.0
"""One training sample: what is asked, what is shown, and the pose that answers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image


@dataclass(frozen=True)
class Sample:
    """A question with its answer.

    Attributes:
        id: unique within its source.
        task: ``adjust``, ``generate`` or ``estimate``.
        kind: what sort of request it is, for weights and figures by kind.
        instruction: the words.
        pose_aa: (24, 3) axis-angle, radians; the start pose, where there is one.
        target_aa: (24, 3) axis-angle, radians; the answer.
        image: the picture, where there is one.
        reply: the words of the answer, where they are not the task's fixed wording.
    """

    id: str
    task: str
    kind: str
    instruction: str
    pose_aa: npt.NDArray[np.float32] | None = None
    target_aa: npt.NDArray[np.float32] | None = None
    image: Image.Image | None = None
    reply: str | None = None
