# SPDX-License-Identifier: Apache-2.0
"""Every loss term as one small function.

Pose terms return one number a pose, (Q,), so that a batch's mean does not depend on how it is cut among processes.
Legend: Q poses, B samples, J = 24 joints, D width; ``matrix`` arguments (Q, J, 3, 3) local rotations; ``joints``
(Q, J) true for the joints that count.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from backend.body.kinematics import forward_kinematics
from backend.body.rotations import geodesic_angle, matrix_to_rot6d

HEAT_CELLS = 0.8
"""Standard deviation of what a heatmap should be, in its cells."""


def rot6d_l2(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference of the 144 numbers (the paper's pose loss)."""
    return (matrix_to_rot6d(predicted) - matrix_to_rot6d(target)).square().mean(dim=(-1, -2))


def matrix_l1(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of the matrices' entries (ChatPose)."""
    return (predicted - target).abs().mean(dim=(-1, -2, -3))


def matrix_l2(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference of the matrices' entries (the paper's public code)."""
    return (predicted - target).square().mean(dim=(-1, -2, -3))


def geodesic(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean angle between the rotations, radians."""
    return geodesic_angle(predicted, target).mean(dim=-1)


def joint_positions(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean distance of the joints of the neutral skeleton, relative to the pelvis, metres."""
    _, at = forward_kinematics(predicted)
    return distance(at, target)


def distance(positions: Tensor, target: Tensor) -> Tensor:
    """Mean distance of positions (Q, J, 3) from those of the target's joints, relative to the pelvis, metres."""
    _, wanted = forward_kinematics(target)
    # The root of a sum of squares has no gradient at zero: a tenth of a millimetre is added.
    return ((positions - wanted).square().sum(-1) + 1e-8).sqrt().mean(dim=-1)


def gate(gate_logits: Tensor, moves: Tensor) -> Tensor:
    """Binary cross-entropy of the gates (Q, J) against which joints move, mean over the joints."""
    return functional.binary_cross_entropy_with_logits(gate_logits, moves.float(), reduction="none").mean(
        dim=-1
    )


def frobenius(predicted: Tensor, target: Tensor, joints: Tensor) -> Tensor:
    """Mean over the chosen joints of the squared Frobenius norm of the difference; zero where none is chosen."""
    squared = (predicted - target).square().sum(dim=(-1, -2)) * joints
    return squared.sum(-1) / joints.sum(-1).clamp_min(1)


def siglip(
    one: Tensor, other: Tensor, logit_scale: Tensor, logit_bias: Tensor, *, first_row: int = 0
) -> Tensor:
    """Sigmoid loss of pairs (Zhai et al. 2023, "Sigmoid Loss for Language Image Pre-Training", algorithm 1).

    Args:
        one: (B, D) this process's rows of one side.
        other: (N, D) all processes' rows of the other side, N >= B.
        logit_scale: t' of the learned temperature exp(t').
        logit_bias: the learned bias.
        first_row: where this process's rows begin among the N.

    Returns:
        The sum over pairs divided by B.
    """
    one, other = functional.normalize(one, dim=-1), functional.normalize(other, dim=-1)
    logits = logit_scale.exp() * one @ other.T + logit_bias
    sign = -torch.ones_like(logits)
    rows = torch.arange(len(one), device=one.device)
    sign[rows, rows + first_row] = 1.0
    return -functional.logsigmoid(sign * logits).sum() / len(one)


def shown(image_joints: Tensor) -> Tensor:
    """(B, J) whether the image shows the joint, from its place (B, J, 2) as shares of width and height."""
    return ((image_joints >= 0) & (image_joints <= 1)).all(dim=-1)


def attention(weights: Tensor, image_joints: Tensor) -> Tensor:
    """Cross-entropy of where each joint's token looks against where the image shows the joint.

    A joint between the centres of four patches belongs to each by its nearness. Joints outside the image, or of which
    nobody knows where they are, do not count.

    Args:
        weights: (B, J, N) rows that sum to 1 over the N = G x G patches, row by row.
        image_joints: (B, J, 2) shares of the image's width and height; NaN where unknown.
    """
    side = math.isqrt(weights.shape[-1])
    counts = shown(image_joints)
    at = (torch.where(counts.unsqueeze(-1), image_joints, 0.5) * side - 0.5).clamp(0, side - 1)
    near = (1 - (at.unsqueeze(-1) - torch.arange(side, device=at.device)).abs()).clamp_min(0)  # (B, J, 2, G)
    wanted = (near[..., 1, :, None] * near[..., 0, None, :]).flatten(-2)
    entropies = -(wanted * (weights.float() + 1e-6).log()).sum(-1)
    return (entropies * counts).sum() / counts.sum().clamp_min(1)


def heatmaps(logits: Tensor, joints: Tensor) -> Tensor:
    """Cross-entropy of heatmaps (B, J, S, S) against a small Gaussian about each joint's place (B, J, 2), shares of the
    canvas; joints outside it do not count."""
    side = logits.shape[-1]
    counts = shown(joints)
    centres = (torch.arange(side, device=joints.device) + 0.5) / side
    away = (centres - torch.where(counts.unsqueeze(-1), joints, 0.5).unsqueeze(-1)) * side / HEAT_CELLS
    near = (-0.5 * away.square()).exp()  # (B, J, 2, S)
    near = near / near.sum(-1, keepdim=True)
    wanted = (near[:, :, 1, :, None] * near[:, :, 0, None, :]).flatten(2)
    entropies = -(wanted * functional.log_softmax(logits.float().flatten(2), dim=-1)).sum(-1)
    return (entropies * counts).sum() / counts.sum().clamp_min(1)


def places(seen: Tensor, joints: Tensor) -> Tensor:
    """Mean distance of the places that are seen from the joints' own, both (B, J, 2), shares of the canvas; joints
    outside it do not count."""
    counts = shown(joints)
    away = seen - torch.where(counts.unsqueeze(-1), joints, 0.5)
    # The root of a sum of squares has no gradient at zero.
    return ((away.square().sum(-1) + 1e-8).sqrt() * counts).sum() / counts.sum().clamp_min(1)


def seen_positions(seen: Tensor, wanted: Tensor, joints: Tensor) -> Tensor:
    """Mean difference of the coordinates of positions (B, J, 3), in metres; joints whose place (B, J, 2) is outside the
    canvas do not count."""
    counts = shown(joints)
    return ((seen - wanted).abs().mean(-1) * counts).sum() / counts.sum().clamp_min(1)


def cosine(one: Tensor, other: Tensor) -> Tensor:
    """One minus the cosine between tokens (B, J, D), mean over everything."""
    return (1 - functional.cosine_similarity(one, other, dim=-1)).mean()
