# SPDX-License-Identifier: Apache-2.0
"""Pictures of people with their poses: 3DPW and npz of SMPL fits, written here, built into shards and read."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy.spatial.transform import Rotation

from training.data.build import run
from training.data.registry import Build
from training.data.samples import Sample
from training.data.shards import SampleSource

BOX = (60, 20, 140, 180)
"""A white person on black: left, top, right, bottom."""


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", (300, 200))
    ImageDraw.Draw(image).rectangle(BOX, fill="white")
    image.save(path, quality=95)


def build(folder: Path, source: str, **more: Any) -> dict[str, Sample]:
    list(run(Build(source, folder, None, **more)))
    shards = SampleSource(folder)
    samples = [shards.read(0, row) for row in range(shards.sizes[0])]
    return {sample.id: sample for sample in samples}


def facing_camera(seed: int) -> np.ndarray:
    """(24, 3) of someone upright who faces the camera, in a world with +y up and +z towards the camera."""
    pose = np.random.default_rng(seed).normal(0, 0.3, (24, 3))
    pose[0] = Rotation.from_euler("y", 10, degrees=True).as_rotvec()
    return pose


def turned(rotation: Rotation, pose: np.ndarray) -> np.ndarray:
    result = pose.copy()
    result[0] = (rotation * Rotation.from_rotvec(pose[0])).as_rotvec()
    return result


def gap(one: np.ndarray, other: np.ndarray) -> float:
    first, second = (Rotation.from_rotvec(np.asarray(pose, np.float64)) for pose in (one, other))
    return float(np.degrees((first.inv() * second).magnitude()).max())


def assert_shows_the_person(sample: Sample, margin: float) -> None:
    """The person is in the middle of a square that is ``margin`` times the person's height."""
    pixels = np.asarray(sample.image.convert("L"), dtype=float) / 255
    assert pixels.shape[0] == pixels.shape[1]
    rows, columns = np.flatnonzero(pixels.max(axis=1) > 0.5), np.flatnonzero(pixels.max(axis=0) > 0.5)
    side = pixels.shape[0]
    assert np.ptp(rows) / side == pytest.approx(1 / margin, abs=0.03)
    assert np.ptp(columns) / side == pytest.approx(0.5 / margin, abs=0.03)
    assert (rows[0] + rows[-1]) / 2 == pytest.approx(side / 2, abs=2)
    assert (columns[0] + columns[-1]) / 2 == pytest.approx(side / 2, abs=2)


def sequence_of_3dpw(poses: list[np.ndarray]) -> dict[str, Any]:
    """One person in frames of a moving camera; the world has +z up, and is turned somehow about it."""
    frames = len(poses)
    to_opencv = Rotation.from_euler("x", 180, degrees=True)
    world = Rotation.from_euler("zx", [[40, 90]], degrees=True)[0]  # from y up, facing the camera
    tilts = [Rotation.from_euler("y", 5 * frame, degrees=True) for frame in range(frames)]
    cameras = np.tile(np.eye(4), (frames, 1, 1))
    for frame, tilt in enumerate(tilts):
        cameras[frame, :3, :3] = (to_opencv * tilt * world.inv()).as_matrix()
    given = [turned(world * tilt.inv(), pose) for tilt, pose in zip(tilts, poses, strict=True)]
    rng, joints = np.random.default_rng(8), np.zeros((frames, 3, 18))
    joints[:, 0], joints[:, 1] = (
        rng.uniform(BOX[0], BOX[2], (frames, 18)),
        rng.uniform(BOX[1], BOX[3], (frames, 18)),
    )
    joints[:, :2, 0], joints[:, :2, 1] = BOX[:2], BOX[2:]
    joints[:, 2, :12] = 0.9
    joints[:, 0, 15] = 5000.0  # not seen, so it counts for nothing
    return {
        "sequence": "park_00", "poses": [np.stack(given).reshape(frames, 72)], "poses2d": [joints],
        "cam_poses": cameras, "campose_valid": [np.array([1] * (frames - 1) + [0])], "genders": ["f"],
    }  # fmt: skip


def test_3dpw_as_its_camera_sees_it(tmp_path: Path) -> None:
    poses = [facing_camera(seed) for seed in range(4)]
    content = sequence_of_3dpw(poses)
    content["poses2d"][0][1, 2, 5:] = 0  # hardly seen
    for folder in ("train", "validation"):
        (tmp_path / "sequenceFiles" / folder).mkdir(parents=True)
    (tmp_path / "sequenceFiles" / "validation" / "park_00.pkl").write_bytes(pickle.dumps(content, protocol=2))
    for frame in range(4):
        picture(tmp_path / "imageFiles" / "park_00" / f"image_{frame:05d}.jpg")
    given = {"annotations": tmp_path / "sequenceFiles", "images": tmp_path / "imageFiles"}
    samples = build(tmp_path / "out", "3dpw", split="val", **given)
    assert set(samples) == {"park_00-0-0", "park_00-0-2"}  # the last was not aligned
    for frame in (0, 2):
        sample = samples[f"park_00-0-{frame}"]
        assert (sample.task, sample.kind, sample.instruction) == ("estimate", "3dpw", "")
        assert gap(sample.target_aa, poses[frame]) < 0.01
        assert_shows_the_person(sample, 1.2)


@pytest.mark.parametrize("newer", [False, True])
def test_fits_of_human36m(tmp_path: Path, newer: bool, caplog: pytest.LogCaptureFixture) -> None:
    poses = [facing_camera(seed) for seed in range(3)]
    seen = np.stack([turned(Rotation.from_euler("x", 180, degrees=True), pose) for pose in poses]).reshape(
        3, 72
    )
    names = np.array(["S1/a.jpg", "S1/gone.jpg", "S1/torn.jpg"])
    arrays = {"global_orient": seen[:, :3], "body_pose": seen[:, 3:]} if newer else {"pose": seen}
    side = 1.5 * (BOX[3] - BOX[1]) / 200
    np.savez(
        tmp_path / "h36m_train.npz", imgname=names.astype("S20") if newer else names,
        center=np.tile([(BOX[0] + BOX[2]) / 2, (BOX[1] + BOX[3]) / 2], (3, 1)),
        scale=np.full((3, 2), side) if newer else np.full(3, side), **arrays,
    )  # fmt: skip
    for name in ("a", "torn"):
        picture(tmp_path / "images" / "S1" / f"{name}.jpg")
    torn = tmp_path / "images" / "S1" / "torn.jpg"
    torn.write_bytes(torn.read_bytes()[:300])
    with caplog.at_level(logging.WARNING):
        samples = build(
            tmp_path / "out", "human36m", annotations=tmp_path / "h36m_train.npz", images=tmp_path / "images"
        )
    assert set(samples) == {"h36m_train-0"}
    assert gap(samples["h36m_train-0"].target_aa, poses[0]) < 0.01
    assert_shows_the_person(samples["h36m_train-0"], 1.5)
    said = " ".join(record.getMessage() for record in caplog.records)
    assert "gone.jpg" in said
    assert "torn.jpg cannot be used" in said
