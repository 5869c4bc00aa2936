# SPDX-License-Identifier: Apache-2.0
"""BlazePose's trunk: its published weights, where they come from, and how it stands in a tower."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import CLIPVisionConfig
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from backend.body.draw import Camera, Renderer
from backend.body.neutral import load_neutral_body
from backend.model import PoseLlavaForConditionalGeneration
from backend.model.blazepose import BlazePoseTrunk, trunks
from backend.model.vision_stem import StemmedVisionModel
from blender_addon.contract.skeleton import JOINT_INDEX, STANDING_POSE
from tests.backend.conftest import tiny_config
from training.stages.parts import prepare_parts
from training.stages.settings import TrainableSettings
from training.stages.trunk_weights import load_trunk, published_file, read_convolutions

SIZE = 256
SIZES = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
IMAGE_LANDMARKS = 195
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


def test_the_published_landmarks_lie_on_the_joints_of_a_drawn_body(trunk: BlazePoseTrunk) -> None:
    renderer = Renderer((SIZE, SIZE), load_neutral_body("coarse"))
    vertices, joints = (places[0].numpy() for places in renderer.body.pose(torch.tensor(STANDING_POSE)[None]))
    camera = Camera().framing(vertices, margin=1.2)
    picture = torch.from_numpy(renderer.draw(vertices, camera).copy()).permute(2, 0, 1) / 255
    mean, deviation = (torch.tensor(values).view(3, 1, 1) for values in (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD))
    with torch.no_grad():
        seen = trunk(((picture - mean) / deviation)[None]).whole
    head = read_convolutions(published_file(), IMAGE_LANDMARKS)[-1]
    landmarks = nn.functional.conv2d(seen, torch.from_numpy(head.weight), torch.from_numpy(head.bias))
    places = landmarks.reshape(-1, 5)[list(LANDMARKS), :2].numpy()
    shown = camera.project(joints, (SIZE, SIZE))[[JOINT_INDEX[name] for name in LANDMARKS.values()]]
    assert np.linalg.norm(places - shown, axis=1).max() < 0.06 * SIZE


def test_an_image_of_any_size_is_seen(trunk: BlazePoseTrunk) -> None:
    features = trunk(torch.randn(2, 3, 40, 40))
    assert features.patches.shape == (2, 288, 8, 8)
    assert features.whole.shape == (2, 288, 2, 2)


def test_a_file_with_another_network_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    convolutions = read_convolutions(published_file(), IMAGE_LANDMARKS)
    monkeypatch.setattr("training.stages.trunk_weights.read_convolutions", lambda *_: convolutions[1:])
    with pytest.raises(ValueError, match="is not BlazePose's full landmark model"):
        load_trunk(BlazePoseTrunk(), published_file())


def test_a_package_without_the_weights_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r"pip install --no-deps mediapipe==0\.10\.14"):
        published_file()


def test_a_tower_that_is_given_a_trunk_starts_as_it_was() -> None:
    config = CLIPVisionConfig(**SIZES, image_size=48, patch_size=16)
    plain = StemmedVisionModel(config, [4, 8]).eval()
    given = StemmedVisionModel(config, [4, 8], has_trunk=True).eval()
    lost = given.load_state_dict(plain.state_dict(), strict=False)
    assert not lost.unexpected_keys
    assert all(".trunk." in name for name in lost.missing_keys)
    pixels = torch.randn(2, 3, 48, 48)
    torch.testing.assert_close(given(pixels).last_hidden_state, plain(pixels).last_hidden_state)


def test_the_trunk_reaches_every_patch_and_a_patch_alone() -> None:
    tower = StemmedVisionModel(CLIPVisionConfig(**SIZES, image_size=64, patch_size=16), (), has_trunk=True)
    part = tower.embeddings.patch_embedding.trunk

    def seen(*layers: nn.Module) -> Tensor:
        for layer in (part.patches, part.whole[-1]):
            (nn.init.normal_ if layer in layers else nn.init.zeros_)(layer.weight)
        added: Tensor = part(torch.linspace(-1, 1, 64).expand(1, 3, 64, 64))
        assert added.shape == (1, 16, 4, 4)
        return added.flatten(2).std(dim=2)

    assert seen(part.whole[-1]).max() < 1e-5
    assert seen(part.patches).min() > 0


@pytest.mark.parametrize(("tower", "learns"), [(True, True), (True, False), (False, True)])
def test_the_trunk_learns_only_where_it_is_asked_for(tower: bool, learns: bool) -> None:
    model = PoseLlavaForConditionalGeneration(tiny_config(vision_stem=[4, 8], vision_trunk=True))
    prepare_parts(model, TrainableSettings(vision_tower=tower, vision_trunk=learns))
    (trunk,) = trunks(model.model.vision_tower)
    assert {parameter.requires_grad for parameter in trunk.parameters()} == {tower and learns}
    part = model.model.vision_tower.embeddings.patch_embedding.trunk
    assert part.patches.weight.requires_grad == tower
