# SPDX-License-Identifier: Apache-2.0
"""Who is meant by words: by the place, the clothes, the size, or what somebody does."""

from __future__ import annotations

import numpy as np
import pytest

from backend.engines.meant import Shown, by_words, tells_somebody
from blender_addon.contract.kinematics import forward_kinematics
from blender_addon.contract.rotations import axis_angle_to_matrix
from blender_addon.contract.skeleton import JOINT_INDEX, STANDING_POSE

STANDING = STANDING_POSE.astype(np.float32)
ARMS_OUT = np.zeros((24, 3), np.float32)
RED, BLUE, GREY, SKIN = (190, 40, 35), (45, 60, 170), (120, 120, 125), (220, 180, 150)


def shown(pose: np.ndarray, x: float, scale: float) -> Shown:
    """Somebody who stands upright, ``scale`` pixels to the metre, the pelvis at ``x``."""
    joints = forward_kinematics(axis_angle_to_matrix(pose.astype(np.float64)))[1]
    return Shown(pose, joints[:, :2] * (scale, -scale) + (x, 100.0))


def picture(*clothes: tuple[float, tuple[int, ...], tuple[int, ...]]) -> np.ndarray:
    """Grey, with shirt and trousers around columns."""
    pixels = np.full((200, 400, 3), GREY, dtype=np.uint8)
    for x, shirt, trousers in clothes:
        pixels[40:100, int(x) - 20 : int(x) + 20] = shirt
        pixels[100:180, int(x) - 20 : int(x) + 20] = trousers
    return pixels


PEOPLE = [shown(STANDING, 100, 80), shown(ARMS_OUT, 200, 80), shown(STANDING, 300, 50)]
PICTURE = picture((100, RED, BLUE), (200, BLUE, RED), (300, SKIN, GREY))


@pytest.mark.parametrize(
    ("words", "who"),
    [
        ("The person on the left", 0),
        ("the middle one", 1),
        ("the one between the two others", 1),
        ("the woman on the far right", 2),
        ("the man in the red shirt", 0),
        ("the one wearing blue trousers", 0),
        ("somebody with red pants", 1),
        ("the person in a blue jumper", 1),
        ("the child", 2),
        ("the smallest figure", 2),
        ("the one on the right, in the red shirt", 2),
    ],
)
def test_places_clothes_and_sizes_tell_somebody(words: str, who: int) -> None:
    assert tells_somebody(words, does=False)
    assert by_words(words, PEOPLE, PICTURE, None) == who


def test_a_child_is_told_by_its_size_and_not_by_how_low_it_sits() -> None:
    sitting = STANDING.copy()
    for side in ("left", "right"):
        sitting[JOINT_INDEX[f"{side}_hip"], 0], sitting[JOINT_INDEX[f"{side}_knee"], 0] = -1.5, 1.5
    people = [shown(sitting, 100, 80), shown(STANDING, 300, 65)]
    assert np.ptp(people[0].pixels[:, 1]) < np.ptp(people[1].pixels[:, 1])
    assert by_words("the child", people, PICTURE, None) == 1
    assert by_words("the tallest person", people, PICTURE, None) == 0


def test_what_somebody_does_is_asked_of_the_model() -> None:
    asked = []

    def imagine(words: str) -> np.ndarray:
        asked.append(words)
        turned = ARMS_OUT.copy()
        turned[0, 1] = 2.0  # which way it faces says nothing
        return turned

    words = "the person who is holding both arms out"
    assert tells_somebody(words, does=True)
    assert by_words(words, PEOPLE, PICTURE, imagine) == 1
    assert asked == [words]
    assert by_words(words, PEOPLE, PICTURE, lambda words: None) is None
    assert by_words(words, PEOPLE, PICTURE, None) is None


@pytest.mark.parametrize(
    "words",
    ["", "the left arm up", "raise the right hand", "Use the pose in the picture.", "Take the pose from this image.",
     "Look at the figure in the render.", "Match the reference."],
)  # fmt: skip
def test_words_for_a_limb_or_for_the_picture_tell_nobody(words: str) -> None:
    assert not tells_somebody(words, does=True)
    assert by_words(words, PEOPLE, PICTURE, None) is None
