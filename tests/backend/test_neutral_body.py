# SPDX-License-Identifier: Apache-2.0
"""The neutral body fits its skeleton, is the same on both sides, and follows its joints when posed."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch
import trimesh
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from backend.body.neutral import NeutralBody, load_neutral_body
from blender_addon.contract import kinematics
from blender_addon.contract.skeleton import JOINT_INDEX, JOINT_NAMES, MIRROR, PARENTS, REST_OFFSETS

RIGID = ("head", "left_shoulder", "right_elbow", "left_hand", "right_knee", "left_ankle", "right_foot")
"""Joints with flesh that no other joint moves."""


@pytest.fixture(params=["full", "coarse"])
def body(request: pytest.FixtureRequest) -> NeutralBody:
    detail: Literal["full", "coarse"] = request.param
    return load_neutral_body(detail)


@pytest.fixture
def poses_aa() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=(4, 24, 3)) * 0.5).float()


def test_joints_are_the_rest_skeleton(body: NeutralBody) -> None:
    joints = body.joints.numpy()
    np.testing.assert_allclose(joints[0], REST_OFFSETS[0], atol=1e-6)
    np.testing.assert_allclose(joints[1:] - joints[list(PARENTS[1:])], REST_OFFSETS[1:], atol=1e-6)


def test_stands_on_the_floor_in_human_size(body: NeutralBody) -> None:
    low, high = body.vertices.amin(0), body.vertices.amax(0)
    assert abs(low[1]) < 0.003
    assert 1.65 < high[1] < 1.75


def test_both_sides_are_equal() -> None:
    body = load_neutral_body()
    vertices, weights = body.vertices.numpy(), body.weights.numpy()
    distance, twin = cKDTree(vertices).query(vertices * [-1, 1, 1])
    assert distance.max() < 1e-5
    np.testing.assert_allclose(weights[twin][:, MIRROR], weights, atol=2e-3)


def test_palms_face_down_and_toes_forward() -> None:
    body = load_neutral_body()
    vertices = body.vertices.numpy()
    hand = vertices[body.weights[:, JOINT_INDEX["left_hand"]] > 0.9]
    thumb_side = vertices[(body.weights[:, JOINT_INDEX["left_wrist"]] > 0.9).numpy()]
    assert np.ptp(hand[:, 2]) > np.ptp(hand[:, 1])  # a flat hand, broader than thick
    assert thumb_side[:, 2].max() > hand[:, 2].max()  # the thumb in front
    toes = vertices[(body.weights[:, JOINT_INDEX["left_foot"]] > 0.9).numpy()]
    assert toes[:, 2].min() > body.joints[JOINT_INDEX["left_ankle"], 2]


def test_every_joint_lies_inside_the_skin() -> None:
    body = load_neutral_body()
    skin = trimesh.Trimesh(body.vertices.numpy(), body.faces.numpy(), process=False)
    # How much of the sphere around a point its skin covers: 1 inside, 0 outside (van Oosterom and Strackee 1983).
    a, b, c = (skin.triangles[None, :, k] - body.joints.numpy()[:, None] for k in range(3))
    la, lb, lc = (np.linalg.norm(side, axis=-1) for side in (a, b, c))
    dot = lambda x, y: np.einsum("...k,...k", x, y)  # noqa: E731
    angle = 2 * np.arctan2(
        dot(a, np.cross(b, c)), la * lb * lc + dot(a, b) * lc + dot(b, c) * la + dot(c, a) * lb
    )
    winding = angle.sum(1) / (4 * np.pi)
    assert {JOINT_NAMES[j] for j in range(24) if winding[j] < 0.5} == set()


def test_weights_are_shares_and_every_joint_moves_something(body: NeutralBody) -> None:
    np.testing.assert_allclose(body.weights.sum(1).numpy(), 1, atol=1e-6)
    assert body.weights.min() >= 0
    assert (body.weights.amax(0) > 0.4).all()


def test_zero_pose_leaves_the_mesh_alone(body: NeutralBody) -> None:
    np.testing.assert_allclose(body.pose_vertices(torch.zeros(1, 24, 3))[0], body.vertices, atol=1e-6)


def test_flesh_of_one_joint_moves_rigidly_with_it(body: NeutralBody, poses_aa: torch.Tensor) -> None:
    posed = body.pose_vertices(poses_aa).numpy()
    local = Rotation.from_rotvec(poses_aa.numpy().reshape(-1, 3)).as_matrix().reshape(-1, 24, 3, 3)
    rotations, joints = kinematics.forward_kinematics(local)
    for joint in map(JOINT_INDEX.__getitem__, RIGID):
        own = (body.weights[:, joint] > 0.9999).numpy()
        assert own.any(), JOINT_NAMES[joint]
        arms = body.vertices.numpy()[own] - body.joints.numpy()[joint]
        expected = (
            np.einsum("bij,vj->bvi", rotations[:, joint], arms) + joints[:, None, joint] + REST_OFFSETS[0]
        )
        np.testing.assert_allclose(posed[:, own], expected, atol=2e-4)


def test_global_orientation_turns_the_whole_body_about_the_pelvis(body: NeutralBody) -> None:
    turn = np.array([0.4, 1.0, -0.3])
    pose_aa = torch.zeros(1, 24, 3)
    pose_aa[0, 0] = torch.from_numpy(turn)
    expected = Rotation.from_rotvec(turn).apply(body.vertices.numpy() - REST_OFFSETS[0]) + REST_OFFSETS[0]
    np.testing.assert_allclose(body.pose_vertices(pose_aa)[0].numpy(), expected, atol=1e-5)


def test_mirrored_pose_makes_the_mirrored_body(poses_aa: torch.Tensor) -> None:
    body = load_neutral_body()
    posed = body.pose_vertices(poses_aa).numpy()
    mirrored = body.pose_vertices(torch.from_numpy(kinematics.mirror_pose(poses_aa.numpy())).float()).numpy()
    rest = body.vertices.numpy()
    _, twin = cKDTree(rest).query(rest * [-1, 1, 1])
    np.testing.assert_allclose(mirrored[:, twin], posed * [-1, 1, 1], atol=1e-3)


def test_bent_joints_do_not_tear_the_skin(body: NeutralBody, poses_aa: torch.Tensor) -> None:
    edges = torch.cat([body.faces[:, [0, 1]], body.faces[:, [1, 2]]])
    rest = (body.vertices[edges[:, 0]] - body.vertices[edges[:, 1]]).norm(dim=-1)
    posed = body.pose_vertices(poses_aa)
    length = (posed[:, edges[:, 0]] - posed[:, edges[:, 1]]).norm(dim=-1)
    fine = len(body.vertices) > 10_000
    assert (length - rest).max() < (0.06 if fine else 0.15)  # metres
