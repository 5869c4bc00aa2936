# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from training.stages.memory import Sizes, model_sizes, need, table
from training.stages.settings import load_settings

CONFIGS = Path(__file__).parents[2] / "training" / "configs"
SIZES = Sizes(frozen=700, trained=100, layers=2, hidden=10, intermediate=20, image_tokens=50)


@pytest.mark.parametrize(
    ("zero", "expected"),
    [(1, (1600, 200, 300)), (2, (1600, 50, 300)), (3, (400, 50, 300))],
)
def test_each_stage_of_zero_shares_out_what_its_paper_says(zero: int, expected: tuple[int, ...]) -> None:
    settings = load_settings(CONFIGS / "7b_stage3.yaml")
    one = need(SIZES, settings, zero=zero, gpus=4)
    assert (one.weights, one.gradients, one.optimiser) == expected


def test_activations_grow_with_the_batch_and_without_checkpointing() -> None:
    settings = [
        load_settings(CONFIGS / "7b_stage3.yaml", changes)
        for changes in ([], ["run.micro_batch=8"], ["run.gradient_checkpointing=false"])
    ]
    usual, half, whole = (need(SIZES, one, zero=2, gpus=8).activations_image for one in settings)
    assert half == usual / 2
    assert whole > usual


@pytest.mark.slow
def test_the_paper_model_has_seven_billion_parameters_of_which_lora_and_the_ends_learn() -> None:
    settings = load_settings(CONFIGS / "7b_stage3.yaml", ["model.start=nowhere"])
    sizes = model_sizes(settings)
    # Mistral-7B 7.24, CLIP-ViT-L/14-336 .30 and a pose encoder of .01 billion; LoRA of rank 128 on seven linears of 32
    # layers .34, embeddings and head 2 x 32,064 x 4,096 = .26.
    assert sizes.frozen + sizes.trained == pytest.approx(7.6e9 + 0.34e9, rel=0.02)
    assert sizes.trained == pytest.approx(0.34e9 + 0.26e9 + 0.04e9, rel=0.05)
    assert sizes.image_tokens == pytest.approx(2928, rel=0.01)
    assert table(settings, 8).count("| ZeRO ") == 3


def test_stage_1_needs_what_the_vision_tower_and_the_pose_modules_need() -> None:
    """The language model does not run there: its weights are in memory, and nothing of what it would keep."""
    settings = load_settings(CONFIGS / "7b_stage1.yaml", ["model.start=nowhere"])
    sizes = model_sizes(settings)
    assert sizes.image_tokens == 577
    one = need(sizes, settings, zero=1, gpus=8)
    assert one.weights == pytest.approx(2 * 7.6e9, rel=0.02)
    # 64 images of 577 patches: one layer of CLIP-ViT-L in bf16 is some 3.3 GB, the pose modules well under one.
    assert 2e9 < one.activations_image < 8e9
    learns = load_settings(CONFIGS / "7b_stage1.yaml", ["model.start=nowhere", "trainable.vision_tower=true"])
    assert need(sizes, learns, zero=1, gpus=8).activations_image > 10 * one.activations_image
    lines = table(settings, 8).splitlines()
    assert len({line.count("|") for line in lines[2:]}) == 1
