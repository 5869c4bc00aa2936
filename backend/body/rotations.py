# SPDX-License-Identifier: Apache-2.0
"""Rotation maths in torch, batched over leading axes. The numpy counterpart is contract.rotations.

Legend: ``aa`` (..., 3) axis-angle, radians; ``matrix`` (..., 3, 3); ``rot6d`` (..., 6), the first column of
the matrix and then its second column.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from blender_addon.contract.kinematics import MIN_HORIZONTAL_FACING


def axis_angle_to_matrix(aa: Tensor) -> Tensor:
    """(..., 3) axis-angle to (..., 3, 3), by Rodrigues' formula; exact and differentiable at zero."""
    x, y, z = aa.unbind(-1)
    zero = torch.zeros_like(x)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).reshape(*aa.shape[:-1], 3, 3)
    squared = (aa * aa).sum(-1)[..., None, None]
    # Near zero the root would have no gradient: there the series of sin(t)/t and (1 - cos t)/t^2 stand in.
    small = squared < 1e-6
    angle = torch.where(small, torch.ones_like(squared), squared).sqrt()
    sin_over = torch.where(small, 1 - squared / 6, torch.sin(angle) / angle)
    # 2 sin^2(t/2) instead of 1 - cos t: no cancellation in float32.
    half = torch.sin(0.5 * angle) / angle
    one_minus_cos_over = torch.where(small, 0.5 - squared / 24, 2 * half * half)
    identity = torch.eye(3, dtype=aa.dtype, device=aa.device)
    matrix: Tensor = identity + sin_over * skew + one_minus_cos_over * (skew @ skew)
    return matrix


def matrix_to_quaternion(matrix: Tensor) -> Tensor:
    """(..., 3, 3) to (..., 4) unit quaternions w, x, y, z, w >= 0; stable at every angle (Shepperd 1978)."""
    m00, m01, m02, m10, m11, m12, m20, m21, m22 = matrix.flatten(-2).unbind(-1)
    wx, wy, wz = m21 - m12, m02 - m20, m10 - m01
    xy, xz, yz = m01 + m10, m02 + m20, m12 + m21
    # Row k holds 4 q_k q: the row of the largest component, normalised, is well conditioned.
    rows = torch.stack(
        [
            torch.stack([1 + m00 + m11 + m22, wx, wy, wz], dim=-1),
            torch.stack([wx, 1 + m00 - m11 - m22, xy, xz], dim=-1),
            torch.stack([wy, xy, 1 - m00 + m11 - m22, yz], dim=-1),
            torch.stack([wz, xz, yz, 1 - m00 - m11 + m22], dim=-1),
        ],
        dim=-2,
    )
    best = rows.diagonal(dim1=-2, dim2=-1).argmax(-1)
    chosen = rows.gather(-2, best[..., None, None].expand(*best.shape, 1, 4)).squeeze(-2)
    quat = functional.normalize(chosen, dim=-1)
    return torch.where(quat[..., :1] < 0, -quat, quat)


def matrix_to_axis_angle(matrix: Tensor) -> Tensor:
    """(..., 3, 3) to (..., 3) axis-angle of angle 0 to pi; accurate at both, differentiable below pi."""
    quat = matrix_to_quaternion(matrix)
    w, xyz = quat[..., :1], quat[..., 1:]
    squared = (xyz * xyz).sum(-1, keepdim=True)
    small = squared < 1e-8
    sine = torch.where(small, torch.ones_like(squared), squared).sqrt()
    # angle / sin(angle / 2); near zero it is 2 / w to a relative 3e-9.
    scale = torch.where(small, 2 / w.clamp_min(0.5), 2 * torch.atan2(sine, w) / sine)
    return xyz * scale


def matrix_to_rot6d(matrix: Tensor) -> Tensor:
    """(..., 3, 3) to (..., 6): the first column's xyz, then the second column's xyz."""
    return matrix[..., :2].transpose(-1, -2).flatten(-2)


def rot6d_to_matrix(rot6d: Tensor) -> Tensor:
    """(..., 6) of any scale to (..., 3, 3) by Gram-Schmidt (Zhou et al. 2019, "On the Continuity of Rotation
    Representations in Neural Networks", section 4.2)."""
    first, second = rot6d[..., :3], rot6d[..., 3:]
    x = functional.normalize(first, dim=-1)
    y = functional.normalize(second - (x * second).sum(-1, keepdim=True) * x, dim=-1)
    return torch.stack([x, y, torch.linalg.cross(x, y)], dim=-1)


def compose(after: Tensor, before: Tensor) -> Tensor:
    """The rotation ``before`` and then ``after``, (..., 3, 3) each, in their own precision: autocast would take a
    matrix product in half of it."""
    return (after.unsqueeze(-1) * before.unsqueeze(-3)).sum(-2)


def turn_over(rot6d: Tensor) -> Tensor:
    """Poses (..., J, 6) of a world with +y up in one with +y down, or back: half a turn about +x, of joint 0 alone."""
    signs = torch.ones_like(rot6d[..., :1, :])
    signs[..., [1, 2, 4, 5]] = -1
    return torch.cat([signs * rot6d[..., :1, :], rot6d[..., 1:, :]], dim=-2)


def nearest_rotation(matrix: Tensor) -> Tensor:
    """The rotations (..., 3, 3) nearest to matrices, by singular values (Levinson et al. 2020, "An Analysis of SVD for
    Deep Rotation Estimation"); of a sum of two rotations it is the one half way between them."""
    left, _, right = torch.linalg.svd(matrix.float())
    handed = torch.ones_like(left[..., 0])
    handed[..., -1] = torch.det(left @ right)
    nearest: Tensor = (left * handed.unsqueeze(-2)) @ right
    return nearest


def geodesic_angle(a: Tensor, b: Tensor) -> Tensor:
    """Angle in radians between rotation matrices (..., 3, 3), shape (...).

    The arctangent of the relative rotation's sine and cosine: its gradient stays finite for equal rotations,
    where that of the arccosine does not.
    """
    relative = a.transpose(-1, -2) @ b
    cosine = (relative.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2
    vee = torch.stack(
        [
            relative[..., 2, 1] - relative[..., 1, 2],
            relative[..., 0, 2] - relative[..., 2, 0],
            relative[..., 1, 0] - relative[..., 0, 1],
        ],
        dim=-1,
    )
    squared = (vee * vee).sum(-1)
    sine = torch.where(squared > 0, squared.clamp_min(1e-30).sqrt(), torch.zeros_like(squared)) / 2
    return torch.atan2(sine, cosine)


def yaw_matrix(yaw: Tensor) -> Tensor:
    """Rotation (..., 3, 3) by ``yaw`` (...) radians about +y; positive turns to the body's left."""
    zero = torch.zeros_like(yaw)
    return axis_angle_to_matrix(torch.stack([zero, yaw, zero], dim=-1))


def heading(root: Tensor) -> Tensor:
    """Yaw (...) in radians of root rotations (..., 3, 3): the angle about +y that their +z axis has from +z.

    Zero where the body faces nearly straight up or down, where no heading is defined.
    """
    x, z = root[..., 0, 2], root[..., 2, 2]
    level = torch.hypot(x, z) > MIN_HORIZONTAL_FACING
    return torch.where(level, torch.atan2(x, z), torch.zeros_like(x))


def split_heading(local: Tensor) -> tuple[Tensor, Tensor]:
    """Take the heading out of poses.

    Args:
        local: (..., J, 3, 3) local rotations, joint 0 the global orientation.

    Returns:
        The yaw (...) in radians and the poses (..., J, 3, 3) that face +z.
    """
    yaw = heading(local[..., 0, :, :])
    return yaw, apply_heading(-yaw, local)


def apply_heading(yaw: Tensor, local: Tensor) -> Tensor:
    """Turn poses (..., J, 3, 3) by ``yaw`` (...) radians about the vertical; undoes `split_heading`."""
    root = yaw_matrix(yaw) @ local[..., 0, :, :]
    return torch.cat([root.unsqueeze(-3), local[..., 1:, :, :]], dim=-3)
