# SPDX-License-Identifier: Apache-2.0
"""Each loss against a value computed by hand."""

from __future__ import annotations

import math

import pytest
import torch

from backend.body.rotations import axis_angle_to_matrix
from blender_addon.contract.skeleton import JOINT_INDEX
from training.stages import losses


def pose(joint: str | None = None, aa: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> torch.Tensor:
    """(1, 24, 3, 3) the T-pose with one joint turned."""
    values = torch.zeros(1, 24, 3)
    if joint is not None:
        values[0, JOINT_INDEX[joint]] = torch.tensor(aa)
    return axis_angle_to_matrix(values)


QUARTER = pose("left_elbow", (0.0, 0.0, math.pi / 2))
"""A quarter turn about z: columns (1,0,0), (0,1,0) become (0,1,0), (-1,0,0); four entries change by one."""


def test_rot6d_l2_of_a_quarter_turn_is_four_of_144() -> None:
    assert losses.rot6d_l2(QUARTER, pose()).item() == pytest.approx(4 / 144, abs=1e-6)


def test_matrix_losses_of_a_quarter_turn_are_four_of_216() -> None:
    assert losses.matrix_l1(QUARTER, pose()).item() == pytest.approx(4 / 216, abs=1e-6)
    assert losses.matrix_l2(QUARTER, pose()).item() == pytest.approx(4 / 216, abs=1e-6)


def test_geodesic_of_a_quarter_turn_is_its_angle_over_24_joints() -> None:
    assert losses.geodesic(QUARTER, pose()).item() == pytest.approx(math.pi / 2 / 24, abs=1e-6)


def test_joint_positions_of_a_bent_elbow_move_wrist_and_hand_by_a_chord() -> None:
    # In the T-pose the wrist is .248 m and the hand .248 + .085 m from the elbow; a quarter turn moves them by
    # sqrt(2) times that.
    expected = math.sqrt(2) * (0.248 + 0.333) / 24
    assert losses.joint_positions(QUARTER, pose()).item() == pytest.approx(expected, abs=2e-4)


def test_joint_positions_of_equal_poses_have_a_finite_gradient() -> None:
    predicted = QUARTER.clone().requires_grad_()
    losses.joint_positions(predicted, QUARTER).sum().backward()
    assert torch.isfinite(predicted.grad).all()


def test_attention_to_a_joints_own_patch_costs_nothing_and_elsewhere_much() -> None:
    # The centre of the upper right of four patches is three quarters across and a quarter down.
    joints = torch.tensor([[[0.75, 0.25]]])
    right, wrong = torch.eye(4)[1].reshape(1, 1, 4), torch.eye(4)[2].reshape(1, 1, 4)
    assert losses.attention(right, joints).item() == pytest.approx(0, abs=1e-5)
    assert losses.attention(wrong, joints).item() == pytest.approx(-math.log(1e-6), rel=1e-3)


def test_attention_to_a_joint_between_patches_is_to_be_shared() -> None:
    # Half way between the two upper patches' centres.
    joints = torch.tensor([[[0.5, 0.25]]])
    shared = torch.tensor([[[0.5, 0.5, 0.0, 0.0]]])
    assert losses.attention(shared, joints).item() == pytest.approx(math.log(2), rel=1e-4)
    uneven = torch.tensor([[[0.8, 0.2, 0.0, 0.0]]])
    assert losses.attention(uneven, joints).item() == pytest.approx(-math.log(0.8 * 0.2) / 2, rel=1e-4)


def test_attention_does_not_count_joints_that_are_not_in_the_image() -> None:
    joints = torch.tensor([[[0.75, 0.25], [1.2, 0.5], [math.nan, math.nan]]])
    weights = torch.eye(4)[[1, 0, 0]].unsqueeze(0).requires_grad_()
    loss = losses.attention(weights, joints)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-5)
    assert weights.grad is not None
    assert torch.isfinite(weights.grad).all()
    assert losses.attention(weights, torch.full((1, 3, 2), math.nan)).item() == 0


def test_gate_of_even_odds_is_the_logarithm_of_two() -> None:
    logits = torch.zeros(2, 24)
    moves = torch.rand(2, 24) > 0.5
    assert losses.gate(logits, moves).tolist() == pytest.approx([math.log(2)] * 2)


def test_gate_of_one_wrong_gate() -> None:
    logits = torch.full((1, 24), -30.0)
    moves = torch.zeros(1, 24, dtype=torch.bool)
    moves[0, 3] = True
    assert losses.gate(logits, moves).item() == pytest.approx(30 / 24)


def test_frobenius_counts_the_chosen_joints_only() -> None:
    chosen = torch.zeros(1, 24, dtype=torch.bool)
    chosen[0, [JOINT_INDEX["left_elbow"], JOINT_INDEX["neck"]]] = True
    assert losses.frobenius(QUARTER, pose(), chosen).item() == pytest.approx(4 / 2, abs=1e-6)
    assert losses.frobenius(QUARTER, pose(), ~chosen).item() == pytest.approx(0, abs=1e-6)
    assert losses.frobenius(QUARTER, pose(), torch.zeros(1, 24, dtype=torch.bool)).item() == 0


def test_siglip_of_two_orthogonal_pairs() -> None:
    # Cosine 1 on the diagonal and 0 off it, temperature 10, bias -10: logits 0 and -10.
    one, other = torch.eye(2) * 3.0, torch.eye(2) * 0.5
    loss = losses.siglip(one, other, torch.tensor([math.log(10.0)]), torch.tensor([-10.0]))
    assert loss.item() == pytest.approx(math.log(2) + math.log(1 + math.exp(-10)), rel=1e-5)


def test_siglip_of_rows_shared_among_processes_adds_up_to_the_whole() -> None:
    generator = torch.Generator().manual_seed(0)
    one, other = torch.randn(6, 5, generator=generator), torch.randn(6, 5, generator=generator)
    scale, bias = torch.tensor([1.0]), torch.tensor([-2.0])
    whole = losses.siglip(one, other, scale, bias)
    parts = [losses.siglip(one[start : start + 3], other, scale, bias, first_row=start) for start in (0, 3)]
    assert (sum(parts) / 2).item() == pytest.approx(whole.item(), rel=1e-6)


def test_cosine_of_equal_opposite_and_orthogonal_tokens() -> None:
    one = torch.tensor([[[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]]])
    other = torch.tensor([[[2.0, 0.0], [-1.0, 0.0], [0.0, 5.0]]])
    assert losses.cosine(one, other).item() == pytest.approx((0 + 2 + 1) / 3)
