# SPDX-License-Identifier: Apache-2.0
"""What is asked about the camera is asked from where it is; what is not is answered the same with and without one."""

import numpy as np
import pytest
from PIL import Image

from backend.engines import SHIPPED_MODEL, load_engine
from backend.engines.people import NOBODY, Person, Seen, person_in
from backend.engines.viewing import answer_seeing, view_of
from backend.prompt import COMPACT_VIEW, VERBAL_ANSWERS, VIEW_ANSWER, Prompter
from backend.query import Answer, Query, queries_of
from blender_addon.contract.kinematics import yaw_matrix
from blender_addon.contract.messages import Request, View
from blender_addon.contract.rotations import axis_angle_to_matrix
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

    def __init__(self, spread: float = 0.2) -> None:
        self.asked: list[tuple[list[str], list[View] | None]] = []
        self.poses: list[np.ndarray | None] = []
        self.looked = 0
        self.spread = spread

    def ask(self, queries, seen, views):
        self.asked.append(([query.instruction for query in queries], views))
        self.poses = list(seen)
        return [
            Answer(None, ASKS)
            if views is None and "camera" in query.instruction
            else Answer(query.pose_aa if pose is None else pose, "It is")
            for query, pose in zip(queries, seen, strict=True)
        ]

    def look(self, images):
        self.looked += len(images)
        local = axis_angle_to_matrix(STANDING_POSE.astype(np.float64))
        local[0] = yaw_matrix(0.4) @ local[0]
        unsure = np.full((len(images), 24), self.spread, dtype=np.float32)
        places = np.tile(np.linspace(0.3, 0.7, 24)[:, None], (len(images), 1, 2)).astype(np.float32)
        return Seen(np.stack([local] * len(images)), unsure, places, unsure)


def _query(words, **more):
    return Query("adjust", words, STANDING_POSE, **more)


def _answers(prompter, queries, model):
    return answer_seeing(prompter, queries, model.ask, model.look)


def test_only_what_asks_for_the_view_is_asked_again(prompter):
    model, view = _Model(), View(0.5, 0.1)
    queries = [_query("raise the arm", view=view), _query("face the camera", view=view)]
    answers = _answers(prompter, queries, model)
    assert [answer.text for answer in answers] == ["It is", "It is"]
    assert model.asked == [(["raise the arm", "face the camera"], None), (["face the camera"], [view])]
    assert model.looked == 0


def test_without_a_view_the_user_gets_the_words(prompter):
    model = _Model()
    [answer] = _answers(prompter, [_query("face the camera")], model)
    assert (answer.pose_aa, answer.text) == (None, ASKS)
    assert len(model.asked) == 1


def test_the_view_is_read_off_the_picture_once_for_all_frames(prompter):
    model = _Model()
    queries = [_query("face the camera", image=PICTURE, turned=0.1 * number) for number in range(3)]
    _answers(prompter, queries, model)
    assert model.looked == 1
    _, views = model.asked[1]
    assert views is not None
    assert [view.yaw for view in views] == pytest.approx([-0.4, -0.5, -0.6])


def test_a_picture_of_nobody_tells_no_view(prompter):
    [answer] = _answers(prompter, [_query("face the camera", image=PICTURE)], _Model(spread=2.5))
    assert answer.text == ASKS
    assert view_of(NOBODY) is None
    assert view_of(None) is None


def test_an_edit_of_a_picture_starts_at_the_pose_that_is_seen(prompter):
    model = _Model()
    queries = [
        Query("adjust", "like there, but the left arm down", image=PICTURE),
        _query("raise it", image=PICTURE),
    ]
    answers = _answers(prompter, queries, model)
    assert answers[0].pose_aa[0, 1] == pytest.approx(0.4, abs=1e-4)
    assert answers[0].confidence is not None
    assert (answers[0].confidence > 0.7).all()
    assert answers[1].confidence is None  # the picture of an edit with a pose is not read
    assert model.looked == 1


def test_a_picture_of_nobody_is_answered_in_words_and_the_others_go_on(prompter):
    model = _Model(spread=2.5)
    queries = [Query("estimate", "", image=PICTURE), _query("raise the arm")]
    answers = _answers(prompter, queries, model)
    assert (answers[0].pose_aa, answers[0].text) == (None, NOBODY)
    assert answers[1].pose_aa is not None
    assert model.asked == [(["raise the arm"], None)]


def test_every_frame_of_a_request_has_the_one_camera():
    poses = np.stack([STANDING_POSE] * 3)
    poses[:, 0, 1] = (0.2, 0.9, -0.4)
    queries = queries_of(Request("r", "adjust", "face us", poses, view=View(0.5, 0.0)), None)
    assert [query.turned for query in queries] == pytest.approx([0.0, 0.7, -0.6])
    # The camera's azimuth in the world is the same for all: heading and view together.
    azimuths = [pose[0, 1] + 0.5 - query.turned for pose, query in zip(poses, queries, strict=True)]
    assert azimuths == pytest.approx([0.7] * 3)
    [second] = queries_of(Request("r", "adjust", "x", poses), None, 1, 2)
    assert second.turned == pytest.approx(0.7)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_the_heading_in_a_render_is_the_cameras_azimuth(engine):
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
        person = person_in(Image.fromarray(picture), "", loaded.look)
        assert isinstance(person, Person)
        errors.append(abs((np.degrees(person.heading) - degrees + 180) % 360 - 180))
    assert np.median(errors) < 12
    assert max(errors) < 40
