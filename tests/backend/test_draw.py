# SPDX-License-Identifier: Apache-2.0
"""Drawn bodies appear where their projected joints are, in the colours asked for, seen from where the camera is."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from backend.body.camera import Camera
from backend.body.draw import Look, Renderer
from backend.body.kinematics import forward_kinematics
from backend.body.neutral import load_neutral_body
from backend.body.pictures import Row, draw_poses, sheet
from backend.body.rotations import axis_angle_to_matrix
from blender_addon.contract.skeleton import JOINT_INDEX

BLACK = np.zeros((1, 1, 3), dtype=np.float32)
BARE = Look(background=BLACK, grid=0.0, shadow=0.0, body=(0.9, 0.2, 0.2))


def left_arm_up() -> torch.Tensor:
    pose_aa = torch.zeros(1, 24, 3)
    pose_aa[0, JOINT_INDEX["left_shoulder"]] = torch.tensor([0.0, 0.0, 1.4])
    pose_aa[0, JOINT_INDEX["right_shoulder"]] = torch.tensor([0.0, 0.0, 1.3])
    return pose_aa


def drawn(pose_aa: torch.Tensor, camera: Camera, look: Look = BARE) -> tuple[np.ndarray, np.ndarray]:
    """The picture (H, W, 3) and the joints' pixels (24, 2) in it."""
    body = load_neutral_body("coarse")
    renderer = Renderer((160, 200), body)
    joints = forward_kinematics(axis_angle_to_matrix(pose_aa))[1][0] + body.joints[0]
    picture = renderer.draw(body.pose_vertices(pose_aa)[0].numpy(), camera, look)
    return picture, camera.project(joints.numpy(), renderer.size)


@pytest.mark.parametrize(
    "camera", [Camera(distance=5), Camera(azimuth=70, elevation=30, roll=10, fov=60, distance=3)]
)
def test_body_covers_its_projected_joints(camera: Camera) -> None:
    picture, joints = drawn(left_arm_up(), camera)
    assert picture.shape == (200, 160, 3)
    assert picture.dtype == np.uint8
    body = picture.max(-1) > 20
    for x, y in joints.astype(int):
        assert body[y - 1 : y + 2, x - 1 : x + 2].any()
    assert 0.03 < body.mean() < 0.5


def test_a_body_that_faces_the_camera_has_its_left_arm_on_the_right_of_the_picture() -> None:
    picture, joints = drawn(left_arm_up(), Camera())
    wrist, head = joints[JOINT_INDEX["left_wrist"]], joints[JOINT_INDEX["head"]]
    assert wrist[0] > head[0] + 10
    assert wrist[1] < head[1]
    highest = np.argwhere(picture.max(-1) > 20)[0]
    assert abs(highest[1] - wrist[0]) < 15


def test_left_seen_from_behind_is_left() -> None:
    _, joints = drawn(left_arm_up(), Camera(azimuth=180))
    assert joints[JOINT_INDEX["left_wrist"], 0] < joints[JOINT_INDEX["head"], 0] - 10


def test_azimuth_90_stands_on_the_bodys_left() -> None:
    view = Camera(azimuth=90, elevation=0).view()
    eye = -view[:3, :3].T @ view[:3, 3]
    np.testing.assert_allclose(eye, [4.2, 0.9, 0], atol=1e-6)


def test_joints_have_the_colours_asked_for() -> None:
    colours = np.tile(np.array([[0.0, 0.0, 0.9]], dtype=np.float32), (24, 1))
    colours[JOINT_INDEX["head"]] = (0.9, 0.0, 0.0)
    picture, joints = drawn(
        left_arm_up(), Camera(), Look(background=BLACK, grid=0, shadow=0, body=colours, gloss=0)
    )
    x, y = joints[JOINT_INDEX["head"]].astype(int)
    red, _, blue = picture[y - 4, x]
    assert red > 2 * blue
    x, y = joints[JOINT_INDEX["spine2"]].astype(int)
    red, _, blue = picture[y, x]
    assert blue > 2 * red


def test_background_rows_run_from_top_to_bottom() -> None:
    background = np.array([[[1.0, 0, 0]], [[0, 0, 1.0]]], dtype=np.float32)
    picture, _ = drawn(left_arm_up(), Camera(), Look(background=background, grid=0, shadow=0))
    assert picture[2, 2, 0] > 240
    assert picture[2, 2, 2] < 40
    assert picture[-3, 2, 2] > 240


def test_light_from_one_side_brightens_that_side_and_casts_a_shadow() -> None:
    grey = np.full((1, 1, 3), 0.5, dtype=np.float32)
    camera = Camera(elevation=35)
    lit = Look(background=grey, grid=0, shadow=0.8, body=(0.5, 0.5, 0.5), light=(1.0, 0.5, 0.1))
    picture, joints = drawn(torch.zeros(1, 24, 3), camera, lit)
    x, y = joints[JOINT_INDEX["head"]].astype(int)
    face = picture[y - 6, x - 5 : x + 6].mean(-1)
    assert face[-3:].mean() > face[:3].mean() + 30  # the light comes from the picture's right
    plain, _ = drawn(
        torch.zeros(1, 24, 3), camera, Look(background=grey, grid=0, shadow=0, body=(0.5, 0.5, 0.5))
    )
    darker = (plain.mean(-1) - picture.mean(-1) > 30)[120:]
    assert darker[:, :80].sum() > 3 * darker[:, 80:].sum()


def test_framing_shows_the_whole_body_from_anywhere() -> None:
    body = load_neutral_body("coarse")
    vertices = body.pose_vertices(left_arm_up())[0].numpy()
    for azimuth in (0, 45, 90, 200):
        camera = Camera(azimuth=azimuth, elevation=25).framing(vertices)
        pixels = camera.project(vertices, (100, 100))
        assert pixels.min() > 0
        assert pixels.max() < 100
        assert np.ptp(pixels, axis=0).max() > 75


def test_poses_of_one_picture_row_share_a_camera_and_stand_on_the_floor() -> None:
    poses = np.zeros((2, 24, 3))
    poses[1, JOINT_INDEX["left_knee"]] = (1.5, 0, 0)
    before, after = draw_poses(poses, size=96)
    assert before.size == after.size == (96, 96)
    different = np.abs(np.asarray(before, dtype=int) - np.asarray(after)).max(-1) > 40
    assert different.any()
    assert not different[:45].any()  # only the leg's half changed


def test_sheet_wraps_captions_below_their_pictures() -> None:
    (picture,) = draw_poses(np.zeros((1, 24, 3)), size=64)
    paper = sheet(
        [Row([picture, picture], "raise the left arm and then lower it again, slowly")] * 3, columns=2
    )
    assert isinstance(paper, Image.Image)
    assert paper.width < 2 * (2 * 64 + 40)
    assert paper.height > 2 * (64 + 3 * 13)


@pytest.mark.slow
def test_without_opengl_the_error_names_the_packages() -> None:
    code = "import backend.body.draw as d\ntry:\n    d.Renderer()\nexcept d.DrawingUnavailableError as e:\n    print(e)"
    empty = {**os.environ, "__EGL_VENDOR_LIBRARY_FILENAMES": "/nonexistent.json"}
    result = subprocess.run(
        [sys.executable, "-c", code], env=empty, capture_output=True, text=True, check=True
    )
    assert "apt-get install libegl1 libgl1-mesa-dri" in result.stdout
