# SPDX-License-Identifier: Apache-2.0
"""Forward kinematics of the SMPL skeleton in torch. The numpy counterpart is contract.kinematics.

Legend: B poses, J = 24 joints; ``local`` (B, J, 3, 3) local rotations. Metres.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from backend.body.rotations import compose
from blender_addon.contract.skeleton import NUM_JOINTS, PARENTS, REST_OFFSETS


class _Level(NamedTuple):
    """The K joints that are equally far from the pelvis; parents by their place in the level above."""

    joints: Tensor  # (K,) int64
    parents: Tensor  # (K,) int64
    offsets: Tensor  # (K, 1, 3), metres


class _Tree(NamedTuple):
    levels: tuple[_Level, ...]
    order: Tensor  # (J,) where each joint lies in the levels laid end to end


@cache
@torch.inference_mode(False)  # Tables made in inference mode could not be used in training later.
def _tree(device: torch.device, dtype: torch.dtype) -> _Tree:
    """The skeleton below the pelvis, level by level, made once for each device and dtype."""
    levels: list[_Level] = []
    above, visited = [0], [0]
    while below := [joint for joint in range(NUM_JOINTS) if PARENTS[joint] in above]:
        levels.append(
            _Level(
                torch.tensor(below, device=device),
                torch.tensor([above.index(PARENTS[joint]) for joint in below], device=device),
                torch.tensor(REST_OFFSETS[below], dtype=dtype, device=device).unsqueeze(-2),
            )
        )
        visited += below
        above = below
    order = torch.tensor([visited.index(joint) for joint in range(NUM_JOINTS)], device=device)
    return _Tree(tuple(levels), order)


def forward_kinematics(local: Tensor) -> tuple[Tensor, Tensor]:
    """Pose the rest skeleton (contract.skeleton.REST_OFFSETS).

    Args:
        local: (..., J, 3, 3) local rotations, joint 0 the global orientation.

    Returns:
        Global rotations (..., J, 3, 3) and joint positions (..., J, 3) relative to the pelvis, in metres.
    """
    tree = _tree(local.device, local.dtype)
    rotation = local[..., :1, :, :]
    position = torch.zeros_like(rotation[..., 0])
    rotations, positions = [rotation], [position]
    for level in tree.levels:
        parent = rotation.index_select(-3, level.parents)
        position = position.index_select(-2, level.parents) + (parent * level.offsets).sum(-1)
        rotation = compose(parent, local.index_select(-3, level.joints))
        rotations.append(rotation)
        positions.append(position)
    return (
        torch.cat(rotations, dim=-3).index_select(-3, tree.order),
        torch.cat(positions, dim=-2).index_select(-2, tree.order),
    )
