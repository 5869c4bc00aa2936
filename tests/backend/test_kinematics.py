# SPDX-License-Identifier: Apache-2.0
"""Torch forward kinematics against the contract's numpy chain."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from backend.body import kinematics
from blender_addon.contract import kinematics as contract
from blender_addon.contract.skeleton import JOINT_INDEX, PARENTS, REST_OFFSETS


def random_local(*shape: int, seed: int = 0) -> np.ndarray:
    count = int(np.prod(shape)) * 24
    return Rotation.random(count, random_state=seed).as_matrix().reshape(*shape, 24, 3, 3)


def test_agrees_with_the_numpy_chain_for_any_leading_axes() -> None:
    for shape in [(), (1,), (7,), (2, 3)]:
        local = random_local(*shape)
        rotations, joints = kinematics.forward_kinematics(torch.from_numpy(local))
        expected_rotations, expected_joints = contract.forward_kinematics(local)
        np.testing.assert_allclose(rotations.numpy(), expected_rotations, atol=1e-12)
        np.testing.assert_allclose(joints.numpy(), expected_joints, atol=1e-12)


def test_float32_stays_float32_within_a_micrometre() -> None:
    local = random_local(64, seed=1)
    rotations, joints = kinematics.forward_kinematics(torch.from_numpy(local).float())
    assert rotations.dtype == joints.dtype == torch.float32
    np.testing.assert_allclose(joints.numpy(), contract.forward_kinematics(local)[1], atol=2e-6)


def test_zero_pose_is_the_rest_skeleton() -> None:
    _, joints = kinematics.forward_kinematics(torch.eye(3).expand(1, 24, 3, 3))
    for joint in range(1, 24):
        offset = joints[0, joint] - joints[0, PARENTS[joint]]
        np.testing.assert_allclose(offset.numpy(), REST_OFFSETS[joint], atol=1e-6)


def test_positions_are_differentiable_through_the_chain() -> None:
    local = torch.from_numpy(random_local(1, seed=2)).requires_grad_()
    _, joints = kinematics.forward_kinematics(local)
    joints[0, JOINT_INDEX["left_wrist"]].sum().backward()
    assert local.grad is not None
    moved = {joint for joint in range(24) if local.grad[0, joint].abs().max() > 0}
    assert moved == {JOINT_INDEX[name] for name in (
        "pelvis", "spine1", "spine2", "spine3", "left_collar", "left_shoulder", "left_elbow"
    )}  # fmt: skip


def test_kinematics_first_used_while_answering_serve_training_afterwards() -> None:
    # A dtype that nothing else uses here, so that its tables are made in inference mode.
    local = torch.eye(3, dtype=torch.bfloat16).expand(1, 24, 3, 3).clone()
    with torch.inference_mode():
        kinematics.forward_kinematics(local)
    local.requires_grad_()
    kinematics.forward_kinematics(local)[1].sum().backward()
    assert local.grad is not None
