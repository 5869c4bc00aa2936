# SPDX-License-Identifier: Apache-2.0
"""The conditional variational autoencoders that the papers compare with, in the manner of PoseScript's generation model
(Delmas et al. 2022, section 4.2) and PoseFix's (Delmas et al. 2023, section 5), small and written anew.

A pose is encoded into a distribution; another one is told by the text and, in PoseFix's form, the pose to correct; the
two are drawn together, and the decoder reads a sample. Answers take the mean of the text's distribution.

Legend: N samples, J = 24 joints, W width, Z size of the latent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from backend.body.kinematics import forward_kinematics
from backend.body.rotations import (
    apply_heading,
    axis_angle_to_matrix,
    matrix_to_axis_angle,
    matrix_to_rot6d,
    rot6d_to_matrix,
    split_heading,
)
from backend.query import Answer
from blender_addon.contract.skeleton import NUM_JOINTS, STANDING_POSE
from training.data.samples import Sample
from training.evaluate.retrieval import VECTOR, RetrievalModel
from training.stages.batches import targets_in_frame

WIDTH: Final = 256
LATENT: Final = 32
KL_WEIGHT: Final = 0.02
JOINTS_WEIGHT: Final = 4.0


class PoseVae(nn.Module):
    """Text, and perhaps a pose, to a pose.

    Args:
        words: the vocabulary of the text encoder.
        corrects: whether the pose to correct is read (PoseFix) or none (PoseScript).
    """

    def __init__(self, words: Sequence[str], *, corrects: bool) -> None:
        super().__init__()
        self.corrects = corrects
        self.reader = RetrievalModel(words)
        seen = VECTOR + (WIDTH if corrects else 0)
        self.start = _layers(NUM_JOINTS * 9, WIDTH)
        self.posterior = _layers(NUM_JOINTS * 9 + seen, 2 * LATENT)
        self.prior = _layers(seen, 2 * LATENT)
        self.decoder = _layers(LATENT + seen, NUM_JOINTS * 6)

    def _condition(self, samples: Sequence[Sample]) -> tuple[Tensor, Tensor, Tensor]:
        """What the text and the start say (N, C), the starts without heading (N, J, 3, 3), and the headings (N,)."""
        texts = self.reader.texts([sample.instruction for sample in samples])
        starts = np.stack([STANDING_POSE if sample.pose_aa is None else sample.pose_aa for sample in samples])
        yaw, upright = split_heading(axis_angle_to_matrix(torch.from_numpy(starts).float()))
        if not self.corrects:
            return texts, upright, torch.zeros_like(yaw)
        return torch.cat([texts, self.start(_features(upright))], dim=-1), upright, yaw

    def loss(self, samples: Sequence[Sample]) -> Tensor:
        """Reconstruction of rotations and joints, and the distance of the two distributions."""
        condition, starts, yaw = self._condition(samples)
        targets = targets_in_frame(samples, yaw)
        mean, log_variance = self.posterior(torch.cat([_features(targets), condition], dim=-1)).chunk(
            2, dim=-1
        )
        prior_mean, prior_log = self.prior(condition).chunk(2, dim=-1)
        sampled = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        made = self._decoded(sampled, condition, starts)
        rotations = (made - targets).square().sum(dim=(-1, -2)).mean()
        joints = (forward_kinematics(made)[1] - forward_kinematics(targets)[1]).norm(dim=-1).mean()
        apart = 0.5 * (
            prior_log
            - log_variance
            + (log_variance.exp() + (mean - prior_mean).square()) / prior_log.exp()
            - 1
        )
        loss: Tensor = rotations + JOINTS_WEIGHT * joints + KL_WEIGHT * apart.sum(-1).mean()
        return loss

    def _decoded(self, latent: Tensor, condition: Tensor, starts: Tensor) -> Tensor:
        """(N, J, 3, 3); a correction is read relative to the start."""
        rot6d = self.decoder(torch.cat([latent, condition], dim=-1)).view(-1, NUM_JOINTS, 6)
        base = matrix_to_rot6d(starts) if self.corrects else rot6d.new_tensor([1.0, 0, 0, 0, 1.0, 0])
        return rot6d_to_matrix(rot6d + base)

    @torch.inference_mode()
    def answer(self, samples: Sequence[Sample]) -> list[Answer]:
        """A pose for each sample."""
        condition, starts, yaw = self._condition(samples)
        latent = self.prior(condition).chunk(2, dim=-1)[0]
        poses = matrix_to_axis_angle(apply_heading(yaw, self._decoded(latent, condition, starts)))
        return [Answer(pose, "") for pose in _numpy(poses)]


def _layers(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(before, 2 * WIDTH), nn.GELU(), nn.LayerNorm(2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH), nn.GELU(),
        nn.Linear(WIDTH, after),
    )  # fmt: skip


def _features(local: Tensor) -> Tensor:
    """(N, J * 9) of poses (N, J, 3, 3): 6D and joint positions."""
    return torch.cat([matrix_to_rot6d(local), forward_kinematics(local)[1]], dim=-1).flatten(1)


def _numpy(poses: Tensor) -> list[npt.NDArray[np.float32]]:
    return list(poses.float().cpu().numpy())
