# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest
import torch

from training.stages.batches import Collator
from training.stages.feature_cache import CachedTower
from training.stages.initialise import FreshModel, fresh_model

from .conftest import TINY_MODEL, eight_pictures


def test_cached_features_give_the_towers_own_answer_and_ask_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, processor = fresh_model(FreshModel(**TINY_MODEL))
    model.eval().requires_grad_(False)
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
    first, second = model(**batch.inputs), model(**batch.inputs)
    assert torch.allclose(first.hidden_states, plain.hidden_states, atol=5e-3)
    assert torch.equal(first.hidden_states, second.hidden_states)
    # The whole picture and its one tile are the same pixels here, or not; each is seen in the first pass alone.
    assert len(seen) == 1


def test_a_tower_that_learns_is_not_cached(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="frozen"):
        CachedTower(torch.nn.Linear(2, 2), tmp_path, -2)
