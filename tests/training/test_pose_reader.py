# SPDX-License-Identifier: Apache-2.0
"""The pose reader: the published weights of its trunk, where it sees joints, and what it learns from."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from backend.body.camera import Camera
from backend.body.draw import Renderer
from backend.body.neutral import load_neutral_body
from backend.body.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from backend.engines import SHIPPED_MODEL
from backend.engines.torch import TorchEngine
from backend.model import PoseLlavaForConditionalGeneration
from backend.model.blazepose import BlazePoseTrunk
from backend.model.llava import load_whole
from backend.model.pose_reader import CLOSER_MARGIN, MAP_SIDE, PoseReader, closer, expected_joints
from backend.query import Query
from blender_addon.contract.kinematics import forward_kinematics, mirror_pose
from blender_addon.contract.rotations import axis_angle_to_matrix as axis_angle_to_rotation
from blender_addon.contract.rotations import geodesic_degrees
from blender_addon.contract.skeleton import JOINT_INDEX, STANDING_POSE
from tests.backend.conftest import tiny_config, tiny_processor
from training.data.samples import Sample
from training.stages import losses, projections
from training.stages.batches import Collator
from training.stages.export import export
from training.stages.loop import train
from training.stages.parts import parameter_groups, prepare_parts
from training.stages.settings import OptimiserSettings, TrainableSettings, load_settings
from training.stages.training_log import read_metrics
from training.stages.trunk_weights import load_trunk, published_file, read_convolutions

from .conftest import write_yaml

SIZE = 256
IMAGE_LANDMARKS = 195
STRIDES = (2, 1, 1, 1, 1, 2, 1, 1, 1, 1, 1)
"""Of the published model's blocks between the trunk and its landmarks."""
LANDMARKS = {
    11: "left_shoulder", 12: "right_shoulder", 13: "left_elbow", 14: "right_elbow", 15: "left_wrist", 16: "right_wrist",
    25: "left_knee", 26: "right_knee", 27: "left_ankle", 28: "right_ankle",
}  # fmt: skip
"""BlazePose's numbers of joints that SMPL has at the same place."""


@pytest.fixture(scope="module")
def trunk() -> BlazePoseTrunk:
    trunk = BlazePoseTrunk().eval()
    load_trunk(trunk, published_file())
    return trunk


def published_landmarks(seen: Tensor) -> Tensor:
    """(39, 5) what the published model's last layers read off the trunk's coarse places: x and y in pixels first."""
    first = sum(isinstance(module, nn.Conv2d) for module in BlazePoseTrunk().modules())
    layers = [
        (torch.from_numpy(layer.weight), torch.from_numpy(layer.bias))
        for layer in read_convolutions(published_file(), IMAGE_LANDMARKS)[first:]
    ]
    for stride, depthwise, pointwise in zip(STRIDES, layers[:-1:2], layers[1:-1:2], strict=True):
        before = 2 - stride
        padded = functional.pad(seen, (before, 1, before, 1))
        inside = functional.relu6(functional.conv2d(padded, *depthwise, stride=stride, groups=seen.shape[1]))
        kept = functional.max_pool2d(seen, 2) if stride == 2 else seen
        seen = functional.relu6(kept + functional.conv2d(inside, *pointwise))
    return functional.conv2d(seen, *layers[-1]).reshape(-1, 5)


def picture_of(pose_aa: np.ndarray) -> tuple[np.ndarray, np.ndarray, Camera]:
    """The pose (24, 3) drawn as (SIZE, SIZE, 3), where its joints (24, 3) are, and the camera."""
    renderer = Renderer((SIZE, SIZE), load_neutral_body("coarse"))
    given = torch.tensor(pose_aa)[None]
    vertices, joints = (places[0].numpy() for places in renderer.body.pose(given))
    camera = Camera().framing(vertices, margin=1.2)
    return renderer.draw(vertices, camera), joints, camera


def test_the_published_landmarks_lie_on_the_joints_of_a_drawn_body(trunk: BlazePoseTrunk) -> None:
    drawn, joints, camera = picture_of(STANDING_POSE)
    picture = torch.from_numpy(drawn.copy()).permute(2, 0, 1) / 255
    with torch.no_grad():
        places = published_landmarks(trunk(picture[None])[0])[list(LANDMARKS), :2].numpy()
    shown = camera.project(joints, (SIZE, SIZE))[[JOINT_INDEX[name] for name in LANDMARKS.values()]]
    assert np.linalg.norm(places - shown, axis=1).max() < 0.06 * SIZE


def test_the_trunk_sees_coarse_middle_and_fine_places(trunk: BlazePoseTrunk) -> None:
    seen = trunk(torch.rand(2, 3, SIZE, SIZE))
    assert [tuple(places.shape) for places in seen] == [(2, 288, 8, 8), (2, 88, 16, 16), (2, 32, 32, 32)]


@pytest.mark.slow
def test_a_file_with_another_network_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    convolutions = read_convolutions(published_file(), IMAGE_LANDMARKS)
    monkeypatch.setattr("training.stages.trunk_weights.read_convolutions", lambda *_: convolutions[1:])
    with pytest.raises(ValueError, match="is not BlazePose's full landmark model"):
        load_trunk(BlazePoseTrunk(), published_file())


def test_a_package_without_the_weights_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r"pip install --no-deps mediapipe==0\.10\.14"):
        published_file()


def test_a_picture_lies_on_the_canvas_in_its_own_proportions_where_its_joints_are_said_to_be() -> None:
    picture = Image.new("RGB", (160, 80), "blue")
    picture.paste("white", (100, 20, 110, 30))
    joints = np.full((24, 2), (105 / 160, 25 / 80), dtype=np.float32)
    pose_aa = np.zeros((24, 3), dtype=np.float32)
    sample = Sample("one", "estimate", "", "", target_aa=pose_aa, image=picture, image_joints=joints)
    batch = Collator(tiny_processor()).alignment([sample])
    assert batch.canvases is not None
    assert batch.canvas_joints is not None
    canvas = batch.canvases[0]
    assert canvas.shape == (3, SIZE, SIZE)
    # The canvas has 1.6 of its pixels for one of the picture's, which begins 40 of these below its top.
    bright = (canvas.amin(0) > 0.5).nonzero()
    expected = 1.6 * np.array([[20 + 40, 100], [30 + 40, 110]])
    np.testing.assert_allclose(np.stack([bright.min(0).values, bright.max(0).values + 1]), expected, atol=1)
    middle = torch.tensor(expected.mean(0)[::-1] / SIZE).float()
    torch.testing.assert_close(batch.canvas_joints, middle.expand(1, 24, 2))
    assert canvas[:, :63].max() == 0
    np.testing.assert_allclose(canvas[:, 70, 10], [0, 0, 1], atol=0.01)


def test_places_and_positions_are_the_heatmaps_middle_and_the_spread_its_width() -> None:
    rows, columns = torch.meshgrid(*[torch.arange(MAP_SIDE) + 0.5] * 2, indexing="ij")
    away = (columns - 20.3) ** 2 + (rows - 9.7) ** 2
    shares = torch.exp(-away / (2 * 1.5**2))
    there = torch.stack([columns, rows, -columns]).unsqueeze(1) / 10 + torch.arange(24).view(24, 1, 1)
    joints = expected_joints((shares / shares.sum()).expand(1, 24, -1, -1), there.unsqueeze(0))
    expected = torch.tensor([20.3, 9.7]) / MAP_SIDE
    torch.testing.assert_close(joints.places, expected.expand(1, 24, 2), atol=1e-4, rtol=0)
    torch.testing.assert_close(joints.spread.exp(), torch.full((1, 24), 1.5 * 2**0.5), atol=0.01, rtol=0)
    position = torch.tensor([2.03, 0.97, -2.03])
    torch.testing.assert_close(joints.positions[0], torch.arange(24)[:, None] + position, atol=1e-3, rtol=0)


def test_the_losses_of_the_maps_leave_out_what_is_not_shown() -> None:
    joints = torch.full((1, 24, 2), torch.nan)
    joints[0, 3] = torch.tensor([5.5, 2.5]) / MAP_SIDE
    joints[0, 4] = 1.2
    logits = torch.randn(1, 24, MAP_SIDE, MAP_SIDE)
    columns, rows = np.meshgrid(np.arange(MAP_SIDE) + 0.5, np.arange(MAP_SIDE) + 0.5)
    wanted = np.exp(-((columns - 5.5) ** 2 + (rows - 2.5) ** 2) / (2 * losses.HEAT_CELLS**2))
    given = logits[0, 3].double().numpy()
    log_shares = given - np.log(np.exp(given).sum())
    expected = -(wanted / wanted.sum() * log_shares).sum()
    assert losses.heatmaps(logits, joints).item() == pytest.approx(expected, rel=1e-4)
    expected = np.hypot(5.5, 2.5) / MAP_SIDE
    assert losses.places(torch.zeros(1, 24, 2), joints).item() == pytest.approx(expected, rel=1e-4)
    numbers = torch.arange(72.0).view(1, 24, 3)
    assert losses.seen_positions(torch.ones(1, 24, 3), numbers, joints).item() == pytest.approx(9.0)


def test_projected_poses_are_seen_where_a_camera_shows_them(monkeypatch: pytest.MonkeyPatch) -> None:
    camera = Camera(elevation=20, fov=40, distance=3.5, target=(0.0, 0.0, 0.0))
    monkeypatch.setattr(projections, "draw_camera", lambda *_, **__: camera)
    monkeypatch.setattr(projections, "SIZES", ((160, 120),))
    monkeypatch.setattr(projections, "MOST_ERROR", 0.0)
    for name in (
        "ASTRAY_SHARE", "MOST_POSITION_ERROR", "ASTRAY_POSITION_SHARE", "TIMID_SHARE", "TILTED_SHARE"
    ):  # fmt: skip
        monkeypatch.setattr(projections, name, 0.0)
    poses_aa = np.random.default_rng(0).normal(0, 0.3, (5, 24, 3))
    shown = projections.project(
        np.random.default_rng(1), axis_angle_to_matrix(torch.from_numpy(poses_aa).float()), 6
    )
    seen = shown.joints
    for matrices, places, positions in zip(shown.matrices, seen.places, seen.positions, strict=True):
        _, joints = forward_kinematics(matrices.double().numpy())
        pixels = camera.project(joints.astype(np.float32), (160, 120))
        np.testing.assert_allclose(places * 160, np.clip(pixels + np.array([0, 20]), 0, 160), atol=1e-3)
        np.testing.assert_allclose(positions, joints - joints[0], atol=1e-5)


def test_projected_poses_are_the_batchs_with_limbs_exchanged_among_them() -> None:
    poses = axis_angle_to_matrix(torch.randn(4, 24, 3))
    drawn = projections.project(np.random.default_rng(0), poses, 40).matrices[:, 1:]
    same = (drawn[:, None] - poses[:, 1:]).abs().amax((-1, -2)) < 1e-5  # (40, 4, 23)
    assert same.any(1).all()
    assert not same.all(2).any(1).all()


def test_places_are_wrong_by_as_much_as_their_spread_tells() -> None:
    poses = axis_angle_to_matrix(torch.zeros(1, 24, 3))
    unsure = projections.project(np.random.default_rng(0), poses, 400).joints.spread
    assert unsure.exp().median() < MAP_SIDE * 0.06
    assert 0.02 < (unsure.exp() > MAP_SIDE * 0.08).float().mean() < 0.08


@pytest.mark.slow
def test_positions_are_wrong_by_decimetres_and_depths_rather_too_small_than_too_large() -> None:
    poses = axis_angle_to_matrix(
        torch.from_numpy(np.random.default_rng(0).normal(0, 0.3, (5, 24, 3))).float()
    )
    drawn = projections.project(np.random.default_rng(1), poses, 2000)
    _, positions = forward_kinematics(drawn.matrices.double().numpy())
    true, given = positions - positions[:, :1], drawn.joints.positions.numpy()
    sideways, upwards, near = np.abs(given - true).mean((0, 1))
    assert 0.03 < sideways < 0.08
    assert 0.03 < upwards < 0.1
    assert max(sideways, upwards) < near < 0.15
    assert 0.8 < (given * true)[..., 2].sum() / (true[..., 2] ** 2).sum() < 0.95


def test_the_second_look_is_at_the_joints_and_a_margin_about_them() -> None:
    canvases = torch.zeros(2, 3, SIZE, SIZE)
    canvases[:, :, 60:80, 100:140] = 1.0
    places = torch.rand(2, 24, 2)
    places[0, :, 0] = torch.linspace(100, 140, 24) / SIZE
    places[0, :, 1] = torch.linspace(80, 60, 24) / SIZE
    places[1, :, 0] = torch.linspace(0.1, 0.9, 24)
    places[1, :, 1] = torch.linspace(0.4, 0.6, 24)
    near, far = closer(canvases, places)[:, 0] > 0.5
    # The smaller one would be a fifth of the canvas: a quarter is enlarged by four.
    rows, columns = near.nonzero().T
    assert (columns.max() - columns.min() + 1, rows.max() - rows.min() + 1) == (160, 80)
    assert (columns.max() + columns.min() + 1, rows.max() + rows.min() + 1) == (SIZE, SIZE)
    assert far.sum().item() == pytest.approx(40 * 20 / (0.8 * CLOSER_MARGIN) ** 2, rel=0.1)


@pytest.mark.slow
def test_a_reader_in_half_precision_sees_nearly_the_same_pose() -> None:
    pose_aa = np.array(STANDING_POSE, dtype=np.float32)
    pose_aa[JOINT_INDEX["left_hip"], 0] = -1.2
    query = Query("estimate", "", image=Image.fromarray(picture_of(pose_aa)[0]))
    engine = TorchEngine.load(SHIPPED_MODEL)
    whole = engine.answer([query])[0].pose_aa
    engine.model.to(torch.bfloat16)
    half = engine.answer([query])[0].pose_aa
    assert geodesic_degrees(axis_angle_to_rotation(half), axis_angle_to_rotation(whole)).max() < 5


def test_the_mirror_image_shows_the_mirrored_pose() -> None:
    torch.manual_seed(0)
    reader = PoseReader().eval()
    nn.init.normal_(reader.maps.out.weight)
    canvases = torch.rand(2, 3, SIZE, SIZE)
    with torch.no_grad():
        seen, mirrored = (reader.look_both_ways(each) for each in (canvases, canvases.flip(-1)))
    for one, other in zip(seen, mirrored, strict=True):
        turned = matrix_to_axis_angle(other).numpy()
        expected = axis_angle_to_matrix(torch.from_numpy(mirror_pose(turned)).float())
        torch.testing.assert_close(one, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("learns", [True, False])
def test_the_reader_learns_where_it_is_asked_for_but_for_the_first_layers(learns: bool) -> None:
    model = PoseLlavaForConditionalGeneration(tiny_config(pose_reader=True))
    prepare_parts(model, TrainableSettings(pose_reader=learns))
    reader = model.pose_reader
    assert reader is not None
    assert not any(parameter.requires_grad for parameter in reader.trunk.fine.parameters())
    later = [*reader.trunk.middle.parameters(), *reader.trunk.coarse.parameters()]
    for part in (later, list(reader.maps.parameters()), list(reader.lift.parameters())):
        assert {parameter.requires_grad for parameter in part} == {learns}
    groups = parameter_groups(model, OptimiserSettings(1e-3, trunk_ratio=0.3))
    slow = {id(parameter) for group in groups if group["ratio"] == 0.3 for parameter in group["params"]}
    assert slow == ({id(parameter) for parameter in later} if learns else set())


@pytest.mark.slow
def test_stage_1_teaches_the_reader_where_joints_are_and_the_pose(
    tmp_path: Path, stage1: dict[str, Any]
) -> None:
    description = yaml.safe_load(Path(stage1["model"]["fresh"]).read_text(encoding="utf-8"))
    description["pose"]["pose_reader"] = True
    fresh = write_yaml(tmp_path / "fresh.yaml", description)
    maps = {"heatmaps": 2.0, "places": 30.0, "seen_positions": 1.5}
    values = {
        **stage1,
        "model": {"start": str(tmp_path / "start"), "fresh": str(fresh)},
        "trainable": {**stage1["trainable"], "pose_reader": True},
        "losses": {**maps, "seen": 1.0, "seen_joints": 4.0, "lifted_joints": 4.0},
        "optimiser": {**stage1["optimiser"], "learning_rate": 1.0e-3},
        "run": {**stage1["run"], "steps": 30, "checkpoint_steps": 30, "log_steps": 5},
    }
    train(load_settings(write_yaml(tmp_path / "config.yaml", values)))
    lines = read_metrics(Path(values["output"]) / "metrics.jsonl")
    learnt = [line for line in lines if line["split"] == "train"]
    for name in values["losses"]:
        assert learnt[-1][name] < 0.9 * learnt[0][name], name
    assert lines[-1]["seen_mpjpe_mm"] > 0
    export(Path(values["output"]), tmp_path / "model")
    before, after = (load_whole(tmp_path / name, dtype=torch.float32)[0] for name in ("start", "model"))
    assert before.pose_reader is not None
    assert after.pose_reader is not None
    old, new = before.pose_reader.trunk.state_dict(), after.pose_reader.trunk.state_dict()
    assert all(torch.equal(old[name], new[name]) == name.startswith("fine") for name in old)
    image = Image.new("RGB", (60, 40), "teal")
    engine = TorchEngine.load(tmp_path / "model")
    assert np.isfinite(engine.look([image]).matrices).all()
    # So little trained it is sure of nothing, and says so.
    assert engine.answer([Query("estimate", "", image=image)])[0].pose_aa is None


@pytest.mark.slow
def test_the_reader_of_a_model_without_a_vision_tower_learns_alone(
    tmp_path: Path, stage1: dict[str, Any]
) -> None:
    values = {
        **stage1,
        "model": {"start": str(SHIPPED_MODEL)},
        "trainable": {"language_model": "frozen", "embeddings": "frozen", "pose_projector": False,
                      "pose_decoder": False, "pose_reader": True},
        "losses": {"places": 30.0, "seen": 1.0, "lifted": 1.0},
        "run": {**stage1["run"], "steps": 2, "checkpoint_steps": 2, "log_steps": 1},
    }  # fmt: skip
    train(load_settings(write_yaml(tmp_path / "config.yaml", values)))
    last = read_metrics(Path(values["output"]) / "metrics.jsonl")[-1]
    assert last["seen_mpjpe_mm"] > 0
    assert "recall_at_1" not in last


def test_losses_of_a_reader_need_one(tmp_path: Path, stage1: dict[str, Any]) -> None:
    stage1["losses"] = {"places": 1.0}
    with pytest.raises(ValueError, match="this model has no pose reader"):
        train(load_settings(write_yaml(tmp_path / "config.yaml", stage1)))
