# SPDX-License-Identifier: Apache-2.0
"""Torch rotations against scipy, at ordinary angles and where formulas break: 0 and pi."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from backend.body import rotations
from blender_addon.contract import kinematics as contract


def directions(count: int, seed: int = 0) -> np.ndarray:
    axes = np.random.default_rng(seed).normal(size=(count, 3))
    return axes / np.linalg.norm(axes, axis=-1, keepdims=True)


ANGLES = [0.0, 1e-8, 1e-4, 9.9e-4, 1.1e-3, 0.3, 1.57, 3.0, math.pi - 1e-3, math.pi - 1e-6, math.pi]


@pytest.mark.parametrize("angle", [*ANGLES, 4.0, 7.0])
def test_axis_angle_to_matrix_agrees_with_scipy(angle: float) -> None:
    aa = directions(50) * angle
    matrix = rotations.axis_angle_to_matrix(torch.from_numpy(aa).float())
    np.testing.assert_allclose(matrix.numpy(), Rotation.from_rotvec(aa).as_matrix(), atol=2e-6)


@pytest.mark.parametrize("angle", ANGLES)
def test_matrix_to_axis_angle_gives_the_same_rotation(angle: float) -> None:
    expected = Rotation.from_rotvec(directions(50, 1) * angle)
    aa = rotations.matrix_to_axis_angle(torch.from_numpy(expected.as_matrix()))
    assert aa.norm(dim=-1).max() <= math.pi + 1e-9
    error = (Rotation.from_rotvec(aa.numpy()).inv() * expected).magnitude()
    assert error.max() < 1e-7


def test_matrix_to_axis_angle_at_half_turns_about_the_axes() -> None:
    half_turns = torch.tensor([[1.0, -1, -1], [-1, 1, -1], [-1, -1, 1]]).diag_embed()
    np.testing.assert_allclose(
        rotations.matrix_to_axis_angle(half_turns).abs().numpy(), math.pi * np.eye(3), atol=1e-6
    )


@pytest.mark.parametrize("angle", [0.0, 1e-5, 1e-3, 0.5, 2.0, 3.1])
def test_axis_angle_round_trip_has_the_identity_for_gradient(angle: float) -> None:
    aa = torch.from_numpy(directions(4, 2) * angle).requires_grad_()

    def round_trip(x: torch.Tensor) -> torch.Tensor:
        return rotations.matrix_to_axis_angle(rotations.axis_angle_to_matrix(x))

    for row in aa:
        jacobian = torch.autograd.functional.jacobian(round_trip, row)
        np.testing.assert_allclose(jacobian.numpy(), np.eye(3), atol=1e-5)


def test_rot6d_is_the_first_column_then_the_second() -> None:
    matrix = Rotation.from_rotvec([0.3, -1.2, 0.7]).as_matrix()
    rot6d = rotations.matrix_to_rot6d(torch.from_numpy(matrix))
    np.testing.assert_array_equal(rot6d.numpy(), np.concatenate([matrix[:, 0], matrix[:, 1]]))


def test_rot6d_round_trip_over_leading_axes() -> None:
    matrix = torch.from_numpy(Rotation.random(24, random_state=3).as_matrix().reshape(2, 3, 4, 3, 3))
    back = rotations.rot6d_to_matrix(rotations.matrix_to_rot6d(matrix))
    np.testing.assert_allclose(back.numpy(), matrix.numpy(), atol=1e-12)


def test_any_rot6d_becomes_a_rotation_that_keeps_the_first_direction() -> None:
    rot6d = torch.from_numpy(np.random.default_rng(4).normal(size=(100, 6)) * 5)
    matrix = rotations.rot6d_to_matrix(rot6d).numpy()
    np.testing.assert_allclose(
        matrix @ matrix.transpose(0, 2, 1), np.broadcast_to(np.eye(3), (100, 3, 3)), atol=1e-12
    )
    np.testing.assert_allclose(np.linalg.det(matrix), 1.0)
    first = rot6d[:, :3].numpy()
    np.testing.assert_allclose(matrix[:, :, 0], first / np.linalg.norm(first, axis=-1, keepdims=True))


@pytest.mark.parametrize("angle", ANGLES)
def test_geodesic_angle_is_the_angle_of_the_relative_rotation(angle: float) -> None:
    start = Rotation.random(50, random_state=5)
    end = start * Rotation.from_rotvec(directions(50, 6) * angle)
    measured = rotations.geodesic_angle(
        torch.from_numpy(start.as_matrix()), torch.from_numpy(end.as_matrix())
    )
    np.testing.assert_allclose(measured.numpy(), angle, atol=1e-7)


def test_geodesic_angle_of_equal_rotations_has_a_finite_gradient() -> None:
    matrix = torch.eye(3).requires_grad_()
    rotations.geodesic_angle(matrix, torch.eye(3)).backward()
    assert matrix.grad is not None
    assert torch.isfinite(matrix.grad).all()


def test_heading_agrees_with_the_contract() -> None:
    root = Rotation.random(500, random_state=7).as_matrix()
    np.testing.assert_allclose(
        rotations.heading(torch.from_numpy(root)).numpy(), contract.heading(root), atol=1e-12
    )


def test_split_heading_faces_forward_and_can_be_undone() -> None:
    local = torch.from_numpy(Rotation.random(20 * 24, random_state=8).as_matrix().reshape(20, 24, 3, 3))
    yaw, forward = rotations.split_heading(local)
    np.testing.assert_allclose(rotations.heading(forward[:, 0]).numpy(), 0, atol=1e-12)
    np.testing.assert_array_equal(forward[:, 1:].numpy(), local[:, 1:].numpy())
    np.testing.assert_allclose(rotations.apply_heading(yaw, forward).numpy(), local.numpy(), atol=1e-12)


def test_positive_yaw_turns_to_the_left() -> None:
    yaw, _ = rotations.split_heading(rotations.yaw_matrix(torch.tensor([0.5]))[:, None].expand(1, 24, 3, 3))
    np.testing.assert_allclose(yaw.numpy(), 0.5, atol=1e-6)
    facing = rotations.yaw_matrix(torch.tensor(0.5)) @ torch.tensor([0.0, 0, 1])
    assert facing[0] > 0  # +x is the body's left


def test_the_nearest_rotation_to_a_sum_of_two_is_half_way_between_them() -> None:
    turned = Rotation.from_rotvec(directions(50, 2) * 0.4)
    further = Rotation.from_rotvec(directions(50, 3) * 1.9) * turned
    middle = Rotation.from_rotvec(directions(50, 3) * 0.95) * turned
    found = rotations.nearest_rotation(torch.from_numpy(turned.as_matrix() + further.as_matrix()).float())
    np.testing.assert_allclose(found.numpy(), middle.as_matrix(), atol=1e-5)


def test_the_nearest_rotation_to_a_reflection_is_a_rotation() -> None:
    found = rotations.nearest_rotation(torch.diag(torch.tensor([1.0, 2.0, -0.5])))
    assert torch.det(found).item() == pytest.approx(1, abs=1e-5)
