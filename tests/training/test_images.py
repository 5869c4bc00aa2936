# SPDX-License-Identifier: Apache-2.0
"""Training pictures show the pose that goes with them, as their camera sees it, and differ from one another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backend.body.draw import Camera
from blender_addon.contract.kinematics import forward_kinematics, heading
from blender_addon.contract.rotations import axis_angle_to_matrix, geodesic_degrees
from blender_addon.contract.skeleton import JOINT_INDEX
from training.data import images
from training.data.build import Build, run
from training.data.samples import open_image
from training.data.shards import SampleSource


def arm_out() -> np.ndarray:
    """Facing the body's left, the left arm held out, the right one hanging."""
    pose_aa = np.zeros((24, 3), dtype=np.float32)
    pose_aa[0] = (0, np.pi / 2, 0)
    pose_aa[JOINT_INDEX["right_shoulder"]] = (0, 0, 1.4)
    return pose_aa


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_turning_changes_the_heading_alone() -> None:
    turned = axis_angle_to_matrix(images.turn_to(arm_out(), -0.7))
    assert heading(turned[0]) == pytest.approx(-0.7, abs=1e-6)
    before = axis_angle_to_matrix(arm_out())
    assert geodesic_degrees(turned[1:], before[1:]).max() < 1e-3


@pytest.mark.parametrize("viewport", [True, False])
def test_the_body_is_where_the_pose_says(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, viewport: bool
) -> None:
    """Pixels around the held-out wrist differ from a picture with that arm down; elsewhere they do not."""
    monkeypatch.setattr(images, "SIZES", ((128, 128),))
    monkeypatch.setattr(images, "draw_camera", lambda *_, **__: Camera(distance=5))
    out = images.turn_to(arm_out(), 0.0)
    down = out.copy()
    down[JOINT_INDEX["left_shoulder"]] = (0, 0, -1.4)
    seed = rng.integers(1 << 30)
    first, second = (
        images.draw_picture(np.random.default_rng(seed), pose, viewport=viewport)[0].astype(int)
        for pose in (out, down)
    )
    joints = forward_kinematics(axis_angle_to_matrix(out))[1] + [0, 0.962, 0]
    x, y = Camera(distance=5).project(joints, (128, 128))[JOINT_INDEX["left_wrist"]].astype(int)
    changed = np.abs(first - second).max(-1)
    assert x > 64 + 15
    assert changed[y - 1 : y + 2, x - 1 : x + 2].mean() > 15
    assert np.median(changed[:30]) < 12


def test_a_picture_says_where_it_shows_the_joints(rng: np.random.Generator) -> None:
    """Around the wrist of an arm held out to the side there is the body's colour; beyond the hand there is not."""
    shown = []
    for _ in range(40):
        picture, joints = images.draw_picture(rng, images.turn_to(arm_out(), 0.0), viewport=True)
        assert joints.shape == (24, 2)
        height, width = picture.shape[:2]
        wrist, elbow = (joints[JOINT_INDEX[f"left_{part}"]] * [width, height] for part in ("wrist", "elbow"))
        places = np.array([elbow, wrist, wrist + 1.5 * (wrist - elbow)]).astype(int)
        if (places < 0).any() or (places >= [width, height]).any():
            continue
        at_elbow, at_wrist, beyond = (picture[y, x].astype(int) for x, y in places)
        shown.append(np.abs(at_wrist - at_elbow).max() < np.abs(at_wrist - beyond).max())
    assert len(shown) > 10
    assert np.mean(shown) > 0.85


def test_samples_ask_for_the_pose_that_faces_as_drawn(rng: np.random.Generator) -> None:
    sampler = images.PictureSampler(lambda _: arm_out())
    samples = [sampler.draw(rng) for _ in range(30)]
    assert {sample.task for sample in samples} == {"estimate"}
    assert {sample.kind for sample in samples} == {"viewport", "photograph"}
    headings = [heading(axis_angle_to_matrix(sample.target_aa[0])) for sample in samples]  # type: ignore[index]
    assert np.std(headings) > 0.5
    pictures = [np.asarray(open_image(sample.image)) for sample in samples]  # type: ignore[arg-type]
    assert {picture.shape for picture in pictures} == {(h, w, 3) for w, h in images.SIZES}
    levels = [picture.mean() for picture in pictures]
    assert np.std(levels) > 15


def test_cameras_keep_nearly_all_of_the_body_in_the_picture(rng: np.random.Generator) -> None:
    joints = forward_kinematics(axis_angle_to_matrix(arm_out()))[1].astype(np.float32)
    inside = []
    for _ in range(200):
        camera = images.draw_camera(rng, joints, viewport=bool(rng.integers(2)))
        assert camera.azimuth == 0
        pixels = camera.project(joints, (100, 100))
        inside.append(((pixels > 0) & (pixels < 100)).all(1).mean())
    assert np.mean(inside) > 0.93


def test_pictures_build_into_shards_and_come_back(tmp_path: Path) -> None:
    build = Build("pictures", tmp_path, count=6, shard_size=3)
    assert list(run(build))[-1] == 6
    source = SampleSource(tmp_path)
    samples = [source.read(shard, row) for shard in range(2) for row in range(3)]
    assert len({sample.id for sample in samples}) == 6
    for sample in samples:
        assert sample.target_aa is not None
        assert sample.image is not None
        assert np.asarray(open_image(sample.image)).std() > 3
        assert sample.image_joints is not None
        assert sample.image_joints.shape == (24, 2)
