# SPDX-License-Identifier: Apache-2.0
"""Poses in torch as the solver turns them: joints, places on the body, and the lowest of them.

Legend: B poses, J = 24 joints, P places; ``local`` and ``rot`` (B, J, 3, 3), ``pos`` (B, J, 3), metres from the pelvis.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from backend.body.kinematics import forward_kinematics
from blender_addon.contract.skeleton import NUM_JOINTS, PARENTS

from .points import POINT_JOINTS, POINT_NAMES, POINT_OFFSETS

_JOINTS: Final = torch.tensor(POINT_JOINTS)
_OFFSETS: Final = torch.tensor(POINT_OFFSETS, dtype=torch.float32)
_ALL: Final = torch.arange(len(POINT_NAMES))
_FLOOR_PLACES: Final = torch.tensor(
    [
        number
        for number, name in enumerate(POINT_NAMES)
        if "." not in name
        and not name.startswith("mid_")
        and name.partition("_")[2]
        not in ("heel", "sole", "toe", "hand", "tips", "palm", "back_hand", "thumb")
    ]
)
"""What may be lowest: joints and the surface; not the soles, so that heights are above the joints of flat feet."""


@dataclass(frozen=True)
class Bodies:
    """Poses with all that is measured of them: ``places`` (B, P, 3), of which middles lie between ``halves`` (two of
    (B, P, 3), elsewhere the places themselves), and the index of the lowest, ``lowest`` (B,)."""

    local: Tensor
    rot: Tensor
    pos: Tensor
    places: Tensor
    halves: tuple[Tensor, Tensor]
    lowest: Tensor


def bodies(local: Tensor, wanted: Tensor | None = None) -> Bodies:
    """Of local rotations (B, J, 3, 3) whose roots have no heading.

    Args:
        local: the poses.
        wanted: indices of the places that are worked out, beside those that may be lowest; None for all.
    """
    rot, pos = forward_kinematics(local)
    chosen = _ALL if wanted is None else torch.unique(torch.cat([wanted, _FLOOR_PLACES]))
    joints, offsets = _JOINTS[chosen], _OFFSETS[chosen]
    first = torch.zeros(len(local), len(POINT_NAMES), 3)
    first[:, chosen] = pos[:, joints[:, 0]] + (rot[:, joints[:, 0]] @ offsets[:, 0, :, None]).squeeze(-1)
    middles = joints[:, 0] != joints[:, 1]
    second = places = first
    if middles.any():
        rows, joints, offsets = chosen[middles], joints[middles], offsets[middles]
        other = pos[:, joints[:, 1]] + (rot[:, joints[:, 1]] @ offsets[:, 1, :, None]).squeeze(-1)
        second = first.index_copy(1, rows, other)
        places = first.index_copy(1, rows, (first[:, rows] + other) / 2)
    lowest = _FLOOR_PLACES[places[:, _FLOOR_PLACES, 1].argmin(1)]
    return Bodies(local, rot, pos, places, (first, second), lowest)


def _descendants() -> Tensor:
    """(J, J) one where the second joint is carried by the first, itself included."""
    carried = torch.zeros(NUM_JOINTS, NUM_JOINTS)
    for joint in range(NUM_JOINTS):
        above = joint
        while above >= 0:
            carried[above, joint] = 1.0
            above = PARENTS[above]
    return carried


DESCENDANTS: Final = _descendants()
PLACE_JOINTS: Final = _JOINTS
