# SPDX-License-Identifier: Apache-2.0
"""A picture and an instruction to a picture: the pose that is seen and edited, its maps, and a pipeline that paints."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from backend.body.camera import Camera
from backend.body.draw import DrawingUnavailableError
from backend.body.pictures import draw_poses
from backend.query import Answer, Query
from backend.repaint import edited_pose, maps_of, paint, repaint
from blender_addon.contract.kinematics import forward_kinematics
from blender_addon.contract.rotations import axis_angle_to_matrix
from blender_addon.contract.skeleton import JOINT_INDEX, STANDING_POSE

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


def tiny_pipeline(folder: Path) -> tuple[Path, Path]:
    """Stable Diffusion and a ControlNet with random weights, as large as a thumb, as diffusers saves them."""
    diffusers = pytest.importorskip("diffusers")
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(0)
    unet = diffusers.UNet2DConditionModel(
        block_out_channels=(4, 8), layers_per_block=1, sample_size=16, in_channels=4, out_channels=4, norm_num_groups=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=8, attention_head_dim=2,
    )  # fmt: skip
    net = diffusers.ControlNetModel(
        block_out_channels=(4, 8), layers_per_block=1, in_channels=4, norm_num_groups=2, cross_attention_dim=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), attention_head_dim=2,
        conditioning_embedding_out_channels=(2, 4),
    )  # fmt: skip
    vae = diffusers.AutoencoderKL(
        block_out_channels=(4, 8), in_channels=3, out_channels=3, latent_channels=4, norm_num_groups=2,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=100, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2,
            max_position_embeddings=16, bos_token_id=0, eos_token_id=1, pad_token_id=1,
        )
    )  # fmt: skip
    words = folder / "words"
    words.mkdir()
    letters = [*"abcdefghijklmnopqrstuvwxyz,", *(f"{letter}</w>" for letter in "abcdefghijklmnopqrstuvwxyz,")]
    vocabulary = {
        token: number for number, token in enumerate(["<|startoftext|>", "<|endoftext|>", *letters])
    }
    (words / "vocab.json").write_text(json.dumps(vocabulary))
    (words / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer.from_pretrained(words, model_max_length=16)
    scheduler = diffusers.DDIMScheduler(clip_sample=False, set_alpha_to_one=False, steps_offset=1)
    pipeline = diffusers.StableDiffusionPipeline(
        vae, text, tokenizer, unet, scheduler, None, None, requires_safety_checker=False
    )
    pipeline.save_pretrained(folder / "diffusion")
    net.save_pretrained(folder / "controlnet")
    return folder / "diffusion", folder / "controlnet"


@pytest.mark.slow
def test_a_tiny_pipeline_in_diffusers_own_form_paints(tmp_path: Path) -> None:
    weights, controlnet = tiny_pipeline(tmp_path)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    maps = maps_of(STANDING, ["openpose", "depth"], 64, 64)
    how = {
        "weights": weights,
        "controls": {"openpose": controlnet, "depth": controlnet},
        "steps": 2,
        "strength": 1.0,
    }
    painted = paint(picture, maps, "a person", **how)
    assert painted.size == (64, 64)
    assert (np.asarray(painted) != np.asarray(picture)).any()
    again = paint(picture, maps, "a person", **how)
    np.testing.assert_array_equal(np.asarray(painted), np.asarray(again))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nothing.png"], "nothing.png' cannot be read"),
        (["/dev/zero"], "'/dev/zero' cannot be read"),
        (["text.png"], "is no PNG, JPEG or WebP"),
        (["picture.png", "--control", "pose"], "there are no maps 'pose'"),
        (["picture.png", "--weights", "w"], "needs its ControlNet"),
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
