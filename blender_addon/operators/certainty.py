# SPDX-License-Identifier: GPL-3.0-or-later
"""What the panel says where a picture does not show a limb well. Knows no bpy; may import contract."""

from __future__ import annotations

from typing import Final

from ..contract.messages import Result
from ..contract.skeleton import JOINT_INDEX

LOW: Final = 0.45
"""A joint is told of that has a smaller chance of lying within 10 cm of where the picture shows it."""
_LIMBS: Final = {
    "head": ("head",),
    "left arm": ("left_elbow", "left_wrist"),
    "right arm": ("right_elbow", "right_wrist"),
    "left leg": ("left_knee", "left_ankle"),
    "right leg": ("right_knee", "right_ankle"),
}


def unsure_limbs(result: Result) -> str:
    """A sentence that names the limbs that a picture does not show well; empty where there are none."""
    told = [one for one in result.confidence if one is not None]
    unsure = [
        limb
        for limb, joints in _LIMBS.items()
        if any(one[JOINT_INDEX[joint]] < LOW for one in told for joint in joints)
    ]
    return f"Not seen well, so check it: {', '.join(unsure)}." if unsure else ""
