# SPDX-License-Identifier: Apache-2.0
"""Places on the body that constraints speak of: each is a joint and an offset in its frame, or the middle of two.

Names are short: ``L_`` and ``R_`` for the sides, then a joint (``L_hand``) or a place (``L_palm``). A joint's axes are
places too, one metre out: ``head.z`` is where the face points, ``L_palm.n`` where the palm faces. ``floor`` is the
lowest joint of the pose, whichever that is.

Legend: P places; metres.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from blender_addon.contract.skeleton import JOINT_INDEX, JOINT_NAMES, REST_OFFSETS

Offset = tuple[float, float, float]

FLOOR: Final = "floor"


def short_name(joint: str) -> str:
    """``left_hand`` as ``L_hand``."""
    return joint.replace("left_", "L_").replace("right_", "R_")


JOINT_OF: Final = {short_name(name): index for name, index in JOINT_INDEX.items()}
"""Index of each joint by its short name."""

# The left side's are mirrored. Offsets are those of a slim adult of 1.70 m.
_MIDLINE: Final[dict[str, tuple[str, Offset]]] = {
    "crown": ("head", (0.0, 0.18, 0.0)),
    "forehead": ("head", (0.0, 0.13, 0.095)),
    "eyes": ("head", (0.0, 0.09, 0.085)),
    "face": ("head", (0.0, 0.07, 0.10)),
    "nose": ("head", (0.0, 0.065, 0.115)),
    "mouth": ("head", (0.0, 0.03, 0.10)),
    "chin": ("head", (0.0, -0.005, 0.09)),
    "throat": ("neck", (0.0, 0.02, 0.06)),
    "back_head": ("head", (0.0, 0.09, -0.095)),
    "nape": ("neck", (0.0, 0.04, -0.055)),
    "chest": ("spine3", (0.0, 0.08, 0.125)),
    "belly": ("spine1", (0.0, 0.03, 0.125)),
    "navel": ("spine1", (0.0, 0.0, 0.125)),
    "crotch": ("pelvis", (0.0, -0.12, 0.05)),
    "upper_back": ("spine3", (0.0, 0.06, -0.115)),
    "small_back": ("spine1", (0.0, 0.0, -0.105)),
    "seat": ("pelvis", (0.0, -0.1, -0.1)),
}
_LEFT: Final[dict[str, tuple[str, Offset]]] = {
    "ear": ("head", (0.08, 0.07, 0.0)),
    "temple": ("head", (0.07, 0.11, 0.05)),
    "cheek": ("head", (0.055, 0.05, 0.075)),
    "breast": ("spine3", (0.08, 0.06, 0.115)),
    "ribs": ("spine2", (0.14, 0.03, 0.03)),
    "shoulder_top": ("L_shoulder", (0.0, 0.05, 0.0)),
    "armpit": ("L_shoulder", (-0.02, -0.07, 0.0)),
    "upper": ("L_shoulder", (0.1425, 0.0, 0.0)),
    "elbow_tip": ("L_elbow", (0.0, 0.0, -0.035)),
    "fore": ("L_elbow", (0.124, 0.0, 0.0)),
    "palm": ("L_hand", (-0.01, -0.022, 0.0)),
    "back_hand": ("L_hand", (-0.01, 0.022, 0.0)),
    "tips": ("L_hand", (0.09, -0.005, 0.0)),
    "thumb": ("L_hand", (0.0, -0.01, 0.06)),
    "waist": ("pelvis", (0.15, 0.07, 0.02)),
    "hip_side": ("pelvis", (0.165, 0.0, 0.02)),
    "pocket": ("pelvis", (0.13, -0.06, 0.08)),
    "bottom": ("pelvis", (0.08, -0.09, -0.115)),
    "thigh": ("L_hip", (0.0, -0.208, 0.075)),
    "thigh_side": ("L_hip", (0.075, -0.208, 0.0)),
    "hamstring": ("L_hip", (0.0, -0.208, -0.075)),
    "knee_front": ("L_knee", (0.0, 0.0, 0.055)),
    "knee_back": ("L_knee", (0.0, 0.0, -0.05)),
    "knee_inner": ("L_knee", (-0.05, 0.0, 0.0)),
    "shin": ("L_knee", (0.0, -0.2, 0.045)),
    "calf": ("L_knee", (0.0, -0.15, -0.06)),
    "heel": ("L_ankle", (0.0, -0.06, -0.05)),
    "instep": ("L_ankle", (0.0, -0.01, 0.07)),
    "sole": ("L_ankle", (0.0, -0.07, 0.04)),
    "toe": ("L_foot", (0.0, -0.01, 0.07)),
}
_PAIRS: Final = ("hand", "palm", "wrist", "elbow", "ankle", "knee", "hip", "shoulder", "heel", "toe")
"""Of these ``mid_`` is the middle of left and right, such as ``mid_hand``."""

# Which way the surface faces there, in the joint's frame; where the palm is laid flat.
_NORMALS: Final[dict[str, Offset]] = {
    "crown": (0, 1, 0), "forehead": (0, 0, 1), "back_head": (0, 0, -1), "nape": (0, 0, -1), "chest": (0, 0, 1),
    "belly": (0, 0, 1), "navel": (0, 0, 1), "upper_back": (0, 0, -1), "small_back": (0, 0, -1), "face": (0, 0, 1),
    "mouth": (0, 0, 1), "eyes": (0, 0, 1), "throat": (0, 0, 1), "seat": (0, 0, -1),
}  # fmt: skip
_LEFT_NORMALS: Final[dict[str, Offset]] = {
    "ear": (1, 0, 0), "temple": (1, 0, 0), "cheek": (0.7, 0, 0.7), "breast": (0, 0, 1), "ribs": (1, 0, 0),
    "shoulder_top": (0, 1, 0), "waist": (1, 0, 0), "hip_side": (1, 0, 0), "pocket": (0.5, 0, 0.8),
    "bottom": (0, 0, -1), "thigh": (0, 0, 1), "thigh_side": (1, 0, 0), "hamstring": (0, 0, -1),
    "knee_front": (0, 0, 1), "knee_inner": (-1, 0, 0), "shin": (0, 0, 1), "calf": (0, 0, -1), "upper": (0, 1, 0),
    "palm": (0, -1, 0), "back_hand": (0, 1, 0),
}  # fmt: skip
_AXES: Final = {"x": (1.0, 0.0, 0.0), "y": (0.0, 1.0, 0.0), "z": (0.0, 0.0, 1.0)}


class _Table:
    """Places as weighted sums of (joint, offset): all have one, the middles have two."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.first: list[tuple[int, Offset]] = []
        self.second: list[tuple[int, Offset]] = []

    def add(self, name: str, joint: str, offset: Offset) -> None:
        self.add_middle(name, (JOINT_OF[joint], offset), (JOINT_OF[joint], offset))

    def add_middle(self, name: str, first: tuple[int, Offset], second: tuple[int, Offset]) -> None:
        self.names.append(name)
        self.first.append(first)
        self.second.append(second)

    def place(self, name: str) -> tuple[int, Offset]:
        return self.first[self.names.index(name)]


def _mirrored(offset: Offset) -> Offset:
    return (-offset[0], offset[1], offset[2])


def _ahead(offset: Offset, normal: Offset) -> Offset:
    return (offset[0] + normal[0], offset[1] + normal[1], offset[2] + normal[2])


def _table() -> _Table:
    table = _Table()
    for joint in JOINT_NAMES:
        name = short_name(joint)
        table.add(name, name, (0.0, 0.0, 0.0))
        for axis, offset in _AXES.items():
            table.add(f"{name}.{axis}", name, offset)
    for name, (joint, offset) in _MIDLINE.items():
        table.add(name, joint, offset)
        if name in _NORMALS:
            table.add(f"{name}.n", joint, _ahead(offset, _NORMALS[name]))
    for name, (joint, offset) in _LEFT.items():
        other = joint.replace("L_", "R_")
        table.add(f"L_{name}", joint, offset)
        table.add(f"R_{name}", other, _mirrored(offset))
        if name in _LEFT_NORMALS:
            normal = _LEFT_NORMALS[name]
            table.add(f"L_{name}.n", joint, _ahead(offset, normal))
            table.add(f"R_{name}.n", other, _mirrored(_ahead(offset, normal)))
    for name in _PAIRS:
        table.add_middle(f"mid_{name}", table.place(f"L_{name}"), table.place(f"R_{name}"))
    return table


_PLACES: Final = _table()
POINT_NAMES: Final = tuple(_PLACES.names)
POINT_INDEX: Final = {name: index for index, name in enumerate(POINT_NAMES)}
POINT_JOINTS: Final = np.array([[a[0], b[0]] for a, b in zip(_PLACES.first, _PLACES.second, strict=True)])
"""(P, 2) the joints that carry each place, the same one twice but for middles."""
POINT_OFFSETS: Final[npt.NDArray[np.float64]] = np.array(
    [[a[1], b[1]] for a, b in zip(_PLACES.first, _PLACES.second, strict=True)]
)
"""(P, 2, 3) their offsets in the frames of these joints."""


def has_normal(name: str) -> bool:
    """Whether it is known which way the surface faces there."""
    return f"{name}.n" in POINT_INDEX


LEG_LENGTH: Final = float(
    -REST_OFFSETS[JOINT_INDEX["left_knee"]][1] - REST_OFFSETS[JOINT_INDEX["left_ankle"]][1]
)
