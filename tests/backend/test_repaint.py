# SPDX-License-Identifier: Apache-2.0
"""A picture and an instruction to a picture: the pose that is seen and edited, its maps, and a pipeline that paints."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backend.body.camera import Camera
from backend.body.draw import DrawingUnavailableError
from backend.body.pictures import draw_poses
from backend.painting import Pipeline, StoppedError, maps_of
from backend.query import Answer, Query
from backend.repaint import edited_pose, repaint
from blender_addon.contract.kinematics import forward_kinematics
from blender_addon.contract.rotations import axis_angle_to_matrix
from blender_addon.contract.skeleton import JOINT_INDEX, STANDING_POSE

from .tiny_diffusion import tiny_pipeline

STANDING = STANDING_POSE.astype(np.float32)


class Seeing:
    """In the place of an engine."""

    name, tasks = "seeing", ("adjust", "estimate")

    def __init__(self, pose: np.ndarray | None) -> None:
        self.pose, self.asked = pose, []

    def answer(self, queries: list[Query], on_words: object = None) -> list[Answer]:
        self.asked += queries
        return [Answer(self.pose, "said")]


def test_the_pose_is_read_from_the_picture_and_edited_in_one_question() -> None:
    picture, engine = Image.new("RGB", (8, 8)), Seeing(STANDING)
    pose, words = edited_pose(engine, picture, "raise the arm")
    assert (pose is STANDING, words) == (True, "said")
    assert (engine.asked[0].task, engine.asked[0].image) == ("adjust", picture)
    edited_pose(engine, picture, " ")
    assert engine.asked[1].task == "estimate"
    with pytest.raises(ValueError, match="no pose: said"):
        edited_pose(Seeing(None), picture, "fly")


@pytest.mark.slow
def test_the_maps_show_the_body_whole_and_all_of_the_same_thing() -> None:
    maps = maps_of(STANDING, ["openpose", "depth", "normal"], 128, 192)
    assert {picture.shape for picture in maps.values()} == {(192, 128, 3)}
    body = maps["depth"].any(axis=2)
    joints = maps["openpose"].any(axis=2)
    assert (joints & body).sum() > 0.9 * joints.sum()
    rows, columns = np.nonzero(body)
    assert min(rows.min(), 191 - rows.max(), columns.min(), 127 - columns.max()) >= 5, "nothing is cut off"
    assert max(np.ptp(rows) / 192, np.ptp(columns) / 128) > 0.75, "and it fills the picture"


@pytest.mark.slow
def test_a_tiny_pipeline_in_diffusers_own_form_paints(tmp_path: Path) -> None:
    weights, controlnet = tiny_pipeline(tmp_path)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    maps = maps_of(STANDING, ["openpose", "depth"], 64, 64)
    pipeline = Pipeline(weights, {"openpose": controlnet, "depth": controlnet})
    steps: list[int] = []

    def painted(**changes: object) -> np.ndarray:
        how = {"steps": 3, "strength": 1.0, "on_step": lambda done: steps.append(done) is None, **changes}
        return np.asarray(pipeline.paint(picture, maps, "a person", **how))

    first = painted()
    assert first.shape == (64, 64, 3)
    assert steps == [1, 2, 3]
    assert (first != np.asarray(picture)).any()
    np.testing.assert_array_equal(first, painted())
    assert (first != painted(seed=1)).any()
    with pytest.raises(StoppedError):
        painted(on_step=lambda done: done < 2)
    np.testing.assert_array_equal(first, painted())  # one that was given up spoils none after it
    for weak in (0.1, 1 / 49, 1e-12):  # 49 times a 49th is less than 1 to a computer
        steps.clear()
        painted(steps=1, strength=weak)
        assert steps == [1], "one step is made at least"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nothing.png"], "nothing.png' cannot be read"),
        (["/dev/zero"], "'/dev/zero' cannot be read"),
        (["text.png"], "is no PNG, JPEG or WebP"),
        (["picture.png", "--control", "pose"], "there are no maps 'pose'"),
        (["picture.png", "--weights", "w"], "needs its ControlNet"),
        (["picture.png", "--weights", "w", "--control", "depth=d"], "there is no folder w of weights"),
        (["picture.png", "--weights", ".", "--control", "depth=d"], "the folder . has no model_index.json"),
        (["picture.png", "--strength", "0"], "strength of 0"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    (tmp_path / "text.png").write_text("no picture")
    Image.new("RGB", (32, 32)).save(tmp_path / "picture.png")
    assert repaint([str(tmp_path / arguments[0]), str(tmp_path / "out"), *arguments[1:]]) == 1
    assert sentence in capsys.readouterr().err


@pytest.mark.slow
def test_a_photograph_is_read_upright(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6  # its orientation: a quarter turn to the right shows it upright
    Image.new("RGB", (60, 40)).save(tmp_path / "photograph.jpg", exif=turned)
    engine = Seeing(STANDING)
    monkeypatch.setattr("backend.repaint.load_engine", lambda model: engine)
    assert repaint([str(tmp_path / "photograph.jpg"), str(tmp_path / "out"), "--size", "96"]) == 0
    assert engine.asked[0].image.size == (40, 60)
    with Image.open(tmp_path / "out" / "openpose.png") as drawn:
        assert drawn.size == (64, 96)


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    """A picture of somebody who stands."""
    try:
        (figure,) = draw_poses(STANDING[None], 240, Camera(azimuth=0.0, elevation=5.0))
    except DrawingUnavailableError:
        pytest.skip("no OpenGL here")
    figure.save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


@pytest.mark.slow
def test_one_command_leads_from_a_picture_and_an_instruction_to_a_picture(
    tmp_path: Path, photograph: Path
) -> None:
    weights, controlnet = tiny_pipeline(tmp_path)
    arguments = [
        str(photograph),
        str(tmp_path / "out"),
        "--size",
        "64",
        "--steps",
        "2",
        "--weights",
        str(weights),
    ]
    controls = ["--control", f"openpose={controlnet}", f"normal={controlnet}"]
    assert repaint([*arguments, *controls, "--instruction", "raise your left arm"]) == 0
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} == {"normal.png", "openpose.png", "picture.png", "pose.json"}
    with Image.open(out / "picture.png") as painted:
        assert painted.size == (64, 64)
    pose = np.array(json.loads((out / "pose.json").read_text())["pose"])
    joints = forward_kinematics(axis_angle_to_matrix(pose))[1]
    left, right = (joints[JOINT_INDEX[f"{side}_wrist"], 1] for side in ("left", "right"))
    assert left > right + 0.4, "the hand that the words name is up, that of the picture's other arm is not"


@pytest.mark.slow
def test_without_weights_the_command_writes_pose_and_maps(tmp_path: Path, photograph: Path) -> None:
    out = tmp_path / "out"
    assert repaint([str(photograph), str(out), "--control", "depth", "--size", "96"]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["depth.png", "pose.json"]


@pytest.mark.slow
def test_of_a_picture_of_nobody_it_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (60, 90), "gray").save(tmp_path / "picture.png")
    assert repaint([str(tmp_path / "picture.png"), str(tmp_path / "out")]) == 1
    assert "I see nobody in this picture" in capsys.readouterr().err
