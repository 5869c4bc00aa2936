# SPDX-License-Identifier: Apache-2.0
"""Control maps: points where they belong, depths and normals as a camera sees them, PNGs that others can read."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from blender_addon.contract.control_maps import (
    POINT_INDEX,
    Lens,
    body_points,
    depth_map,
    normal_map,
    openpose_map,
    png_of,
    rasterise,
    size_of,
)
from blender_addon.contract.kinematics import forward_kinematics
from blender_addon.contract.rotations import axis_angle_to_matrix
from blender_addon.contract.skeleton import STANDING_POSE

LENS = Lens.with_focal(100.0, 96, 64)


def test_a_point_is_drawn_where_a_pinhole_camera_sees_it() -> None:
    x, y, depth = LENS.project(np.array([[0.5, 0.25, -4.0]]))[0]
    assert (x, y, depth) == pytest.approx((48 + 100 * 0.5 / 4, 32 - 100 * 0.25 / 4, 4.0))
    assert np.isnan(LENS.project(np.array([[0.0, 0.0, 1.0]]))).all(), "behind the camera"


def standing() -> tuple[np.ndarray, np.ndarray]:
    rotations, joints = forward_kinematics(axis_angle_to_matrix(STANDING_POSE))
    return joints, rotations[15]


def test_a_body_that_faces_the_camera_has_its_left_on_the_right_of_the_picture_and_its_nose_in_front() -> (
    None
):
    joints, head = standing()
    seen = Lens.with_focal(80.0, 128, 128).project(body_points(joints, head) - np.array([0, 0, 3.0]))
    at = {name: seen[number] for name, number in POINT_INDEX.items()}
    assert at["left_wrist"][0] > at["right_wrist"][0]
    assert at["left_eye"][0] > at["nose"][0] > at["right_eye"][0]
    assert at["nose"][1] < at["neck"][1] < at["left_hip"][1] < at["left_ankle"][1]
    assert at["nose"][2] < at["left_ear"][2], "nearer to who looks"
    assert np.isfinite(seen).all()


def test_the_colours_are_openposes_and_what_is_not_known_is_left_out() -> None:
    points = np.full((18, 3), np.nan)
    assert not openpose_map(points, 64, 64).any()
    points[POINT_INDEX["neck"]], points[POINT_INDEX["right_shoulder"]] = (32, 32, 1), (10, 32, 1)
    drawn = openpose_map(points, 64, 64)
    assert tuple(drawn[32, 32]) == (255, 85, 0)
    assert tuple(drawn[32, 10]) == (255, 170, 0)
    assert tuple(drawn[32, 21]) == (153, 0, 0), "the limb between them, darker"
    assert not drawn[10].any()


def test_a_larger_body_is_said_to_be_larger() -> None:
    joints, _ = standing()
    assert size_of(joints) == pytest.approx(1.0)
    assert size_of(0.5 * joints) == pytest.approx(0.5)


SQUARE = np.array([[0, 1, 2], [0, 2, 3]])


def square(depth: float, side: float = 1.0) -> np.ndarray:
    """One that faces the camera."""
    return side / 2 * np.array([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]) + [0, 0, -depth]


def test_what_is_nearer_hides_what_is_behind_it_whichever_comes_first() -> None:
    small, large = square(2.0, 0.5), square(4.0, 2.0)
    for first, second in ((small, large), (large, small)):
        raster = rasterise(np.concatenate([first, second]), np.concatenate([SQUARE, SQUARE + 4]), LENS)
        assert raster.depth[32, 48] == pytest.approx(2.0)
        assert raster.depth[32, 48 + 20] == pytest.approx(4.0)
        assert np.isinf(raster.depth[2, 2])
        grey = depth_map(raster)
        assert tuple(grey[32, 48]) == (255, 255, 255)
        assert tuple(grey[32, 68]) == (55, 55, 55)
        assert not grey[2, 2].any()


def test_a_slanted_square_has_the_depths_and_normals_of_its_plane() -> None:
    angle = np.radians(40)
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    raster = rasterise(square(0.0, 2.0) @ turn.T + [0, 0, -5.0], SQUARE, LENS)
    normal = turn @ [0, 0, 1]
    for column in (36, 48, 60):
        direction = np.array([(column + 0.5 - 48) / 100, 0.5 / -100, -1.0])
        distance = (normal @ [0, 0, -5.0]) / (normal @ direction)
        assert raster.depth[32, column] == pytest.approx(distance, rel=1e-6)
        np.testing.assert_allclose(raster.normals[32, column], normal, atol=1e-9)
    assert tuple(normal_map(raster)[32, 48]) == tuple(np.round(255 * (normal + 1) / 2).astype(int))
    assert tuple(normal_map(raster)[0, 0]) == (128, 128, 255)


def test_the_png_is_read_by_others_as_it_was_drawn() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png_of(pixels)))), pixels)
