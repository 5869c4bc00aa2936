# SPDX-License-Identifier: Apache-2.0
"""The instructions of the demo. Plain data, read inside Blender and outside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Step:
    """One press of a button.

    Attributes:
        operator: name of the operator that the panel's button calls.
        instruction: what is typed.
        frames: the frames edited; the last one is rendered.
    """

    operator: str
    instruction: str
    frames: tuple[int, ...]


STEPS: Final = (
    Step("edit_pose", "Raise your left arm to shoulder height", (12,)),
    Step("edit_pose", "Bend the right elbow by 90 degrees", (24,)),
    Step("edit_pose", "Turn your head to the left", tuple(range(30, 43))),
    Step("generate_pose", "A person squats with both arms stretched out to the front", (60,)),
)
