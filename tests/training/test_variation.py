# SPDX-License-Identifier: Apache-2.0
"""Pictures that vary show the pose that goes with them, where it is said to be."""

from __future__ import annotations

import numpy as np
import pytest

from backend.body.camera import Camera
from blender_addon.contract.skeleton import JOINT_INDEX
from training.data import images, looks, variation
from training.data.samples import Sample, open_image
from training.data.variation import varied

from .test_images import arm_out


class Always:
    """Draws that take one end of each range."""

    def __init__(self, *, mirrored: bool, end: float) -> None:
        self.mirrored, self.end = mirrored, end

    def integers(self, high: int) -> int:
        return int(self.mirrored)

    def uniform(self, low: float, high: float, size: int | None = None) -> np.ndarray:
        value = low + self.end * (high - low)
        return np.array(value) if size is None else np.full(size, value)


def drawn(pose_aa: np.ndarray, *, look: int, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images, "SIZES", ((128, 128),))
        patch.setattr(images, "draw_camera", lambda *_, **__: camera)
        patch.setattr(looks, "_direction", lambda *_, **__: (0.0, 0.6, 0.8))
        return images.draw_picture(np.random.default_rng(look), pose_aa, viewport=True)


def sample_of(pose_aa: np.ndarray, picture: np.ndarray, joints: np.ndarray) -> Sample:
    return Sample("one", "estimate", "viewport", "", target_aa=pose_aa, image=picture, image_joints=joints)


@pytest.mark.parametrize("turn", [-0.6, 0.2, 2.5])
def test_a_mirrored_picture_shows_the_mirrored_pose(turn: float) -> None:
    """As a picture that is drawn of the mirrored pose, by a camera and a light that treat both sides alike."""
    pose_aa = images.turn_to(arm_out(), turn)
    picture, joints = drawn(pose_aa, look=3, camera=Camera(distance=5))
    mirrored = varied(sample_of(pose_aa, picture, joints), Always(mirrored=True, end=0.5))  # type: ignore[arg-type]
    assert mirrored.target_aa is not None
    assert mirrored.image is not None
    assert mirrored.image_joints is not None
    wanted, places = drawn(mirrored.target_aa, look=3, camera=Camera(distance=5))
    np.testing.assert_allclose(mirrored.image_joints, places, atol=0.01)
    seen = np.asarray(open_image(mirrored.image)).astype(int)
    assert np.abs(seen - wanted).mean() < 0.3 * np.abs(picture.astype(int) - wanted).mean()


@pytest.mark.parametrize("end", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("mirrored", [False, True])
def test_joints_are_where_the_picture_shows_them(end: float, mirrored: bool) -> None:
    """A bright spot painted on the wrist is found at the wrist's place."""
    pose_aa = images.turn_to(arm_out(), 0.0)
    picture, joints = drawn(pose_aa, look=5, camera=Camera(distance=7))
    wrist, other = JOINT_INDEX["left_wrist"], JOINT_INDEX["right_wrist"]
    x, y = np.round(joints[wrist] * 128).astype(int)
    spotted = np.full_like(picture, 20)
    spotted[y - 2 : y + 2, x - 2 : x + 2] = 240
    seen = varied(sample_of(pose_aa, spotted, joints), Always(mirrored=mirrored, end=end))  # type: ignore[arg-type]
    assert seen.image is not None
    assert seen.image_joints is not None
    rows, columns = np.nonzero(np.asarray(open_image(seen.image)).max(-1) > 90)
    at = seen.image_joints[other if mirrored else wrist] * 128 - 0.5
    np.testing.assert_allclose([columns.mean(), rows.mean()], at, atol=1.0)


def test_the_edge_goes_on_where_more_than_the_picture_is_seen() -> None:
    picture = np.full((40, 60, 3), 100, dtype=np.uint8)
    sample = sample_of(arm_out(), picture, np.full((24, 2), 0.5, dtype=np.float32))
    for seed in range(20):
        image = open_image(varied(sample, np.random.default_rng(seed)).image)  # type: ignore[arg-type]
        assert image.size == (60, 40)
        pixels = np.asarray(image)
        assert (pixels == pixels[0, 0]).all()
        assert 100 * variation.LEAST_GAIN - 1 <= pixels.min() <= pixels.max() <= 100 * variation.MOST_GAIN


def test_what_words_may_name_a_side_of_is_not_varied() -> None:
    sample = Sample("one", "adjust", "arm", "raise the left arm", pose_aa=arm_out(), target_aa=arm_out())
    with pytest.raises(ValueError, match="varied is for pictures"):
        varied(sample, np.random.default_rng(0))
