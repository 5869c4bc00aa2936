# SPDX-License-Identifier: Apache-2.0
"""What a model learnt beside its weights goes when these learn further: on other weights it would say anything."""

from __future__ import annotations

import pytest
import torch

from backend.engines import SHIPPED_MODEL
from backend.model import PoseLlavaForConditionalGeneration
from backend.model.llava import load_whole
from tests.backend.conftest import TINY_TEXT_ENCODER, tiny_config
from training.recipe import CONFIGS
from training.stages.initialise import grown
from training.stages.parts import BESIDE, prepare_parts
from training.stages.settings import TrainableSettings, load_settings

ALL = {"pose_variants": 2, "pose_view_rank": 2, "wish_width": 2, "pose_reader": True}


def with_all() -> PoseLlavaForConditionalGeneration:
    return PoseLlavaForConditionalGeneration(tiny_config(**TINY_TEXT_ENCODER, **ALL))


@pytest.mark.parametrize("how", ["full", "lora"])
def test_it_is_left_out_where_the_model_learns_further_and_that_is_said(
    how: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = with_all()
    prepare_parts(model, TrainableSettings(language_model=how))  # type: ignore[arg-type]
    assert model.variants is None
    assert model.view is None
    assert model.wish is None
    assert [getattr(model.config, name) for name in BESIDE] == [0, 0, 0]
    assert not any(name.startswith(("variants.", "view.", "wish.")) for name in model.state_dict())
    assert "training.view" in caplog.text
    assert "training.wish" in caplog.text


def test_it_stays_where_the_pose_reader_alone_learns() -> None:
    settings = load_settings(CONFIGS / "mini_stage1_reader.yaml")
    model = with_all()
    prepare_parts(model, settings.trainable)
    assert model.pose_reader is not None
    assert any(weight.requires_grad for weight in model.pose_reader.parameters())
    assert model.variants is not None
    assert model.view is not None
    assert model.wish is not None


def test_nothing_is_said_of_a_model_without_it(caplog: pytest.LogCaptureFixture) -> None:
    prepare_parts(PoseLlavaForConditionalGeneration(tiny_config(**TINY_TEXT_ENCODER)), TrainableSettings())
    assert caplog.text == ""


@pytest.mark.slow
def test_a_model_that_grows_keeps_the_thresholds_of_its_heads() -> None:
    model, processor = load_whole(SHIPPED_MODEL, dtype=torch.float32)
    assert 0.5 not in (processor.view_threshold, processor.wish_threshold)
    after = grown(model, processor)
    assert (after.view_threshold, after.wish_threshold) == (
        processor.view_threshold,
        processor.wish_threshold,
    )


@pytest.mark.slow
def test_the_shipped_model_loads_without_it_too() -> None:
    """As an adapter on it does, which was trained without."""
    model, _ = load_whole(SHIPPED_MODEL, dict.fromkeys(BESIDE, 0), dtype=torch.float32)
    assert model.view is None
    assert model.variants is None
    assert model.wish is None
