# SPDX-License-Identifier: Apache-2.0
"""What is asked about the camera is asked from where it is; what is not is answered the same with and without one."""

import numpy as np
import pytest
from PIL import Image

from backend.engines import SHIPPED_MODEL, load_engine
from backend.engines.viewing import answer_in_view, view_in_picture
from backend.prompt import COMPACT_VIEW, VERBAL_ANSWERS, VIEW_ANSWER, Prompter
from backend.query import Answer, Query, queries_of
from blender_addon.contract.messages import Request, View
from blender_addon.contract.skeleton import STANDING_POSE

ASKS = VERBAL_ANSWERS[VIEW_ANSWER]
PICTURE = Image.new("RGB", (8, 8))


@pytest.fixture(scope="module")
def prompter() -> Prompter:
    shipped = Prompter.load(SHIPPED_MODEL)
    return Prompter(
        shipped.tokenizer, shipped.templates, verbal_answers=VERBAL_ANSWERS, view_template=COMPACT_VIEW
    )


class _Model:
    """Asks for the view wherever the words speak of a camera, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[list[str], list[View] | None]] = []
        self.looked = 0

    def ask(self, queries, views):
        self.asked.append(([query.instruction for query in queries], views))
        return [
            Answer(None, ASKS)
            if views is None and "camera" in query.instruction
            else Answer(query.pose_aa, "It is")
            for query in queries
        ]

    def heading_in(self, image):
        self.looked += 1
        return 0.4


def _query(words, **more):
    return Query("adjust", words, STANDING_POSE, **more)


def test_only_what_asks_for_the_view_is_asked_again(prompter):
    model, view = _Model(), View(0.5, 0.1)
    queries = [_query("raise the arm", view=view), _query("face the camera", view=view)]
    answers = answer_in_view(prompter, queries, model.ask, model.heading_in)
    assert [answer.text for answer in answers] == ["It is", "It is"]
    assert model.asked == [(["raise the arm", "face the camera"], None), (["face the camera"], [view])]
    assert model.looked == 0


def test_without_a_view_the_user_gets_the_words(prompter):
    model = _Model()
    [answer] = answer_in_view(prompter, [_query("face the camera")], model.ask, model.heading_in)
    assert (answer.pose_aa, answer.text) == (None, ASKS)
    assert len(model.asked) == 1


def test_the_view_is_read_off_the_picture_once_for_all_frames(prompter):
    model = _Model()
    queries = [_query("face the camera", image=PICTURE, turned=0.1 * number) for number in range(3)]
    answer_in_view(prompter, queries, model.ask, model.heading_in)
    assert model.looked == 1
    _, views = model.asked[1]
    assert views is not None
    assert [view.yaw for view in views] == pytest.approx([-0.4, -0.5, -0.6])


def test_a_picture_of_nobody_tells_no_view(prompter):
    model = _Model()
    [answer] = answer_in_view(
        prompter, [_query("face the camera", image=PICTURE)], model.ask, lambda image: None
    )
    assert answer.text == ASKS
    assert view_in_picture(None) is None


def test_every_frame_of_a_request_has_the_one_camera():
    poses = np.stack([STANDING_POSE] * 3)
    poses[:, 0, 1] = (0.2, 0.9, -0.4)
    queries = queries_of(Request("r", "adjust", "face us", poses, view=View(0.5, 0.0)), None)
    assert [query.turned for query in queries] == pytest.approx([0.0, 0.7, -0.6])
    # The camera's azimuth in the world is the same for all: heading and view together.
    azimuths = [pose[0, 1] + 0.5 - query.turned for pose, query in zip(poses, queries, strict=True)]
    assert azimuths == pytest.approx([0.7] * 3)
    assert [
        one.turned for one in queries_of(Request("r", "adjust", "x", poses), None, 1, 2)
    ] == pytest.approx([0.7])


@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_theheading_in_a_render_is_the_cameras_azimuth(engine):
    """By the project's own drawing, camera at azimuth 0: what is read is the exact view up to the reader's error."""
    from backend.body.draw import DrawingUnavailableError
    from training.data.images import draw_picture, turn_to

    loaded = load_engine(engine=engine, threads=1)
    rng = np.random.default_rng(5)
    errors = []
    for degrees in (-150, -90, -45, 0, 30, 100, 170):
        pose = turn_to(STANDING_POSE, np.radians(degrees))
        try:
            picture, _ = draw_picture(rng, pose, viewport=True)
        except DrawingUnavailableError:
            pytest.skip("no OpenGL here")
        seen = loaded.heading_in(Image.fromarray(picture))
        errors.append(abs((np.degrees(seen) - degrees + 180) % 360 - 180))
    assert np.median(errors) < 12
    assert max(errors) < 40
