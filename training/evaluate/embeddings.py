# SPDX-License-Identifier: Apache-2.0
"""Vectors of poses by the model's own pose encoder: its global token Z_avg, as the paper's recall uses it."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from backend.body.rotations import axis_angle_to_matrix, matrix_to_rot6d, split_heading
from backend.engines.torch import TorchEngine
from blender_addon.contract.rotations import Array

AT_ONCE: Final = 256


@torch.inference_mode()
def encoder_embeddings(
    engine: TorchEngine, poses_aa: npt.NDArray[np.float32], *, keep_heading: bool
) -> Array:
    """(N, D) of poses (N, 24, 3), axis-angle in radians.

    Args:
        engine: its model's encoder is used.
        poses_aa: the poses.
        keep_heading: for poses as a camera sees them, whose heading is part of the answer; otherwise it is removed, as
            the model's processor does.
    """
    encoder = engine.model.model.pose_encoder
    weight = encoder.joint_position
    found = []
    for start in range(0, len(poses_aa), AT_ONCE):
        local = axis_angle_to_matrix(torch.from_numpy(poses_aa[start : start + AT_ONCE]))
        rot6d = matrix_to_rot6d(local if keep_heading else split_heading(local)[1])
        pose_global, _ = encoder(rot6d.to(weight.device, weight.dtype))
        found.append(pose_global.double().cpu().numpy())
    return np.concatenate(found)
