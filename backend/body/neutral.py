# SPDX-License-Identifier: Apache-2.0
"""The neutral body: the mesh that everyone may use, skinned to the project's skeleton, and posing it.

The mesh derives from MakeHuman's (CC0); scripts/make_neutral_body.py makes the file.

Legend: B poses, V vertices, F triangles, J = 24 joints. Metres, SMPL axes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Literal

import numpy as np
import torch
from torch import Tensor

from blender_addon import contract

from .kinematics import forward_kinematics
from .rotations import axis_angle_to_matrix

BODY_FILE: Final = Path(contract.__file__).parents[1] / "assets" / "neutral_body.npz"


@dataclass(frozen=True)
class NeutralBody:
    """A skinned mesh in the T-pose, its feet on y = 0."""

    vertices: Tensor  # (V, 3) float32
    faces: Tensor  # (F, 3) int64
    weights: Tensor  # (V, J) float32, rows sum to 1
    joints: Tensor  # (J, 3) float32

    def pose(self, pose_aa: Tensor) -> tuple[Tensor, Tensor]:
        """Vertices (B, V, 3) and joints (B, J, 3) of poses (B, J, 3), axis-angle in radians, by linear blend skinning.

        The pelvis stays where it is at rest.
        """
        rotations, joints = forward_kinematics(axis_angle_to_matrix(pose_aa))
        joints = joints + self.joints[0]
        offsets = joints - (rotations @ self.joints.unsqueeze(-1)).squeeze(-1)
        transforms = torch.cat([rotations, offsets.unsqueeze(-1)], dim=-1)  # (B, J, 3, 4)
        blended = self.weights @ transforms.flatten(-2)
        blended = blended.reshape(*blended.shape[:-1], 3, 4)  # (B, V, 3, 4)
        turned = (blended[..., :3] @ self.vertices.unsqueeze(-1)).squeeze(-1)
        return turned + blended[..., 3], joints

    def pose_vertices(self, pose_aa: Tensor) -> Tensor:
        """Vertices (B, V, 3) of poses (B, J, 3)."""
        return self.pose(pose_aa)[0]


@cache
def load_neutral_body(detail: Literal["full", "coarse"] = "full") -> NeutralBody:
    """The neutral body, read once; the coarse one has a seventh of the triangles, for many small pictures."""
    with np.load(BODY_FILE) as file:
        faces = file["faces" if detail == "full" else "coarse_faces"]
        used, faces = np.unique(faces, return_inverse=True)
        weights = torch.from_numpy(file["weights"][used].astype(np.float32))
        return NeutralBody(
            vertices=torch.from_numpy(file["vertices"][used]),
            faces=torch.from_numpy(faces.reshape(-1, 3)),
            weights=weights / weights.sum(1, keepdim=True),  # float16 rounded them
            joints=torch.from_numpy(file["joints"]),
        )
