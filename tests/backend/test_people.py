# SPDX-License-Identifier: Apache-2.0
"""Who is seen in a picture: one whole person, the one whom the words name, or a sentence."""

import numpy as np
import pytest
from PIL import Image

from backend.engines.people import DOUBTFUL, NOBODY, PART, SEVERAL, Person, Seen, confidence_of, person_in
from blender_addon.contract.kinematics import yaw_matrix

SURE, UNSURE = 0.2, 1.8


class _Reader:
    """Sees figures painted as upright bars of a colour of their own, whose red says how the figure is turned."""

    def __init__(self, *, legs: float = SURE, whole: float | None = None) -> None:
        self.legs, self.whole, self.looks = legs, whole, 0

    def __call__(self, images):
        self.looks += 1
        one = [self._see(image, image.width == 100) for image in images]
        return Seen(*(np.stack(parts) for parts in zip(*one, strict=True)))

    def _see(self, image, is_whole):
        pixels = np.asarray(image)
        columns = np.flatnonzero((pixels[..., 1] > 0).any(axis=0))
        bars = np.split(columns, np.flatnonzero(np.diff(columns) > 1) + 1) if len(columns) else []
        spread = np.full(24, SURE if len(bars) == 1 and not self._cut(bars[0], image) else UNSURE, np.float32)
        if not bars:
            spread[:] = 2.6
        if is_whole and self.whole is not None:
            spread[:] = self.whole
        spread[[4, 5, 7, 8, 10, 11]] += self.legs - SURE
        local = np.tile(np.eye(3), (24, 1, 1))
        middle = image.width / 2
        if bars:
            middle = float(bars[0].mean())
            red = pixels[image.height // 2, int(middle), 0]
            local[0] = yaw_matrix(red / 100)
        side = max(image.size)
        across = np.linspace(-0.03, 0.03, 24) + (middle - image.width / 2) / side + 0.5
        places = np.stack([across, np.linspace(0.2, 0.8, 24)], axis=1).astype(np.float32)
        return local, spread, places, spread

    def _cut(self, bar, image):
        return image.width < 100 and (bar[0] == 0 or bar[-1] == image.width - 1)


def _picture(*figures: tuple[int, int]) -> Image.Image:
    """Bars at columns, each with its red."""
    pixels = np.zeros((80, 100, 3), dtype=np.uint8)
    for column, red in figures:
        pixels[:, column - 3 : column + 3] = (red, 200, 0)
    return Image.fromarray(pixels)


def test_one_whole_person_is_taken_at_the_first_look():
    reader = _Reader()
    person = person_in(_picture((50, 70)), "", reader)
    assert isinstance(person, Person)
    assert person.heading == pytest.approx(0.7, abs=1e-5)
    assert reader.looks == 1
    assert (person.confidence > 0.7).all()


def test_a_picture_of_nobody_is_said_to_be_one():
    assert person_in(_picture(), "estimate", _Reader()) == NOBODY


def test_a_body_without_legs_is_no_whole_one():
    assert person_in(_picture((50, 70)), "", _Reader(legs=1.6)) == PART


def test_a_body_whose_legs_are_hardly_seen_is_given_with_a_word_of_caution():
    person = person_in(_picture((50, 70)), "", _Reader(legs=1.05))
    assert isinstance(person, Person)
    assert person.caution == DOUBTFUL


@pytest.mark.parametrize(
    ("words", "heading"),
    [
        ("the pose of the person on the left", 0.2),
        ("like the woman to the right, but with the left arm down", 0.9),
        ("take the rightmost one", 0.9),
        ("copy the left guy", 0.2),
    ],
)
def test_of_two_people_the_one_whom_the_words_name_is_taken(words, heading):
    person = person_in(_picture((20, 20), (80, 90)), words, _Reader())
    assert isinstance(person, Person)
    assert person.heading == pytest.approx(heading, abs=1e-5)


@pytest.mark.parametrize(
    "words", ["", "the left arm up", "raise the right hand of the person", "left and right"]
)
def test_two_people_of_whom_the_words_name_none_are_asked_about(words):
    assert person_in(_picture((20, 20), (80, 90)), words, _Reader()) == SEVERAL.format(count=2)


def test_a_figure_that_only_a_part_of_the_picture_shows_clearly_is_found_there():
    person = person_in(_picture((20, 30)), "", _Reader(whole=UNSURE))
    assert isinstance(person, Person)
    assert person.heading == pytest.approx(0.3, abs=1e-5)


def test_confidence_falls_with_the_spread():
    sure = confidence_of(np.array([0.0, 0.5, 1.0, 2.0], dtype=np.float32))
    assert (np.diff(sure) < 0).all()
    assert sure[0] > 0.8
    assert sure[-1] < 0.1
