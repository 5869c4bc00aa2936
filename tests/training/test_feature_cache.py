# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from backend.body.rotations import matrix_to_rot6d
from training.stages.batches import Collator
from training.stages.feature_cache import LAST, CachedTower
from training.stages.initialise import FreshModel, fresh_model
from training.stages.loop import train
from training.stages.settings import load_settings

from .conftest import TINY_MODEL, eight_pictures, write_yaml


@pytest.mark.parametrize(("layer", "template"), [(LAST, "<image> <seen_pose>"), (-2, "<image>")])
def test_cached_features_give_the_towers_own_answer_and_ask_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layer: int, template: str
) -> None:
    model, processor = fresh_model(FreshModel(**{**TINY_MODEL, "vision_feature_layer": layer}))
    model.eval().requires_grad_(False)
    question = {"question": f"estimate: {template}", "answer": "<POSE>"}
    monkeypatch.setitem(processor.templates, "estimate", [question])
    batch = Collator(processor).instructions(eight_pictures()[:3])
    plain = model(**batch.inputs)
    tower = model.model.vision_tower
    seen: list[int] = []
    forward = tower.forward

    def counted(pixel_values: torch.Tensor, **kwargs: object) -> object:
        seen.append(len(pixel_values))
        return forward(pixel_values, **kwargs)

    monkeypatch.setattr(tower, "forward", counted)
    model.model.vision_tower = CachedTower(tower, tmp_path, model.config.vision_feature_layer)
    first = model(**batch.inputs)
    second = model(**batch.inputs)
    assert torch.allclose(first.hidden_states, plain.hidden_states, atol=5e-3)
    assert torch.equal(first.hidden_states, second.hidden_states)
    assert len(seen) == 1


def test_stage_1_reads_the_same_from_the_cache_beside_what_later_stages_keep_there(tmp_path: Path) -> None:
    model, processor = fresh_model(FreshModel(**TINY_MODEL))
    model.eval().requires_grad_(False)
    pictures = Collator(processor).alignment(eight_pictures()[:3])
    inputs = {"pixel_values": pictures.pixels, "poses": matrix_to_rot6d(pictures.targets)}
    plain = model.align(**inputs)
    tower = model.model.vision_tower
    CachedTower(tower, tmp_path, -2)(pictures.pixels[:, 0])
    model.model.vision_tower = CachedTower(tower, tmp_path, LAST)
    for found in (model.align(**inputs), model.align(**inputs)):
        assert torch.allclose(found.image_global, plain.image_global, atol=5e-3)
        assert torch.allclose(found.image_local, plain.image_local, atol=5e-3)
    assert len(list(tmp_path.rglob("*.npy"))) == 2 * 3


def test_a_tower_that_learns_is_not_cached(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="frozen"):
        CachedTower(torch.nn.Linear(2, 2), tmp_path, -2)


@pytest.mark.slow
def test_a_cache_of_an_earlier_layer_is_refused_where_poses_are_seen(
    tmp_path: Path, stage3: dict[str, Any]
) -> None:
    stage3["data"]["feature_cache"] = str(tmp_path / "cache")
    settings = load_settings(write_yaml(tmp_path / "config.yaml", stage3))
    with pytest.raises(ValueError, match=r"<seen_pose> .* leave feature_cache out"):
        train(settings)
