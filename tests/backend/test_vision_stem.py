# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import CLIPVisionConfig, CLIPVisionModel

from backend.model.llava import load_whole
from backend.model.modeling import PoseLlavaForConditionalGeneration
from backend.model.vision_stem import StemmedVisionModel
from tests.backend.conftest import tiny_config, tiny_processor

SIZES = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


def test_a_tower_with_weights_of_clip_starts_as_clips() -> None:
    config = CLIPVisionConfig(**SIZES, image_size=32, patch_size=16)
    clip, stemmed = CLIPVisionModel(config).eval(), StemmedVisionModel(config, [4, 8]).eval()
    lost = stemmed.load_state_dict(clip.state_dict(), strict=False)
    assert not lost.unexpected_keys
    assert all(".stem." in name for name in lost.missing_keys)
    pixels = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(stemmed(pixels).last_hidden_state, clip(pixels).last_hidden_state)


@pytest.mark.parametrize(("patch_size", "channels"), [(16, [4, 8, 8]), (16, [4]), (14, [4]), (32, [4])])
def test_a_patch_of_any_size_gets_one_pixel_of_the_stem(patch_size: int, channels: list[int]) -> None:
    config = CLIPVisionConfig(**SIZES, image_size=3 * patch_size, patch_size=patch_size)
    stem = StemmedVisionModel(config, channels).embeddings.patch_embedding.stem
    assert stem(torch.randn(2, 3, config.image_size, config.image_size)).shape == (2, 16, 3, 3)


@pytest.mark.parametrize(("patch_size", "channels"), [(14, [4, 8]), (16, [4, 4, 8, 8]), (4, [4, 4, 8])])
def test_a_stem_that_does_not_fit_into_a_patch_is_refused(patch_size: int, channels: list[int]) -> None:
    config = CLIPVisionConfig(**SIZES, image_size=2 * patch_size, patch_size=patch_size)
    with pytest.raises(ValueError, match=rf"a patch of {patch_size} pixels .* give fewer channels"):
        StemmedVisionModel(config, channels)


def test_a_stem_survives_saving(tmp_path: Path) -> None:
    model = PoseLlavaForConditionalGeneration(tiny_config(vision_stem=[4, 8]))
    torch.nn.init.normal_(model.model.vision_tower.embeddings.patch_embedding.stem.out.weight)
    model.save_pretrained(tmp_path)
    tiny_processor().save_pretrained(tmp_path)
    loaded, _ = load_whole(tmp_path, dtype=torch.float32)
    pixels = torch.randn(1, 3, 32, 32)
    seen, seen_again = (each.eval().model.vision_tower(pixels).last_hidden_state for each in (model, loaded))
    torch.testing.assert_close(seen, seen_again)
    assert set(model.state_dict()) == set(loaded.state_dict())
