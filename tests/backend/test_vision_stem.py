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
    clip, stemmed = CLIPVisionModel(config).eval(), StemmedVisionModel(config, [4, 8], [1, 2]).eval()
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


def test_each_convolution_needs_its_number_of_blocks() -> None:
    config = CLIPVisionConfig(**SIZES, image_size=32, patch_size=16)
    with pytest.raises(ValueError, match=r"3 numbers for 2 convolutions .* give one for each"):
        StemmedVisionModel(config, [4, 8], [0, 1, 1])
    with pytest.raises(ValueError, match=r"1 numbers for 0 convolutions"):
        PoseLlavaForConditionalGeneration(tiny_config(vision_stem_blocks=[1]))


def test_a_trained_stem_that_is_given_blocks_starts_as_it_was() -> None:
    config = CLIPVisionConfig(**SIZES, image_size=32, patch_size=16)
    plain = StemmedVisionModel(config, [4, 8]).eval()
    torch.nn.init.normal_(plain.embeddings.patch_embedding.stem.out.weight)
    deeper = StemmedVisionModel(config, [4, 8], [0, 2]).eval()
    lost = deeper.load_state_dict(plain.state_dict(), strict=False)
    assert not lost.unexpected_keys
    assert all(".stem.blocks.1." in name for name in lost.missing_keys)
    pixels = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(deeper(pixels).last_hidden_state, plain(pixels).last_hidden_state)


def test_every_block_learns_once_it_adds() -> None:
    config = CLIPVisionConfig(**SIZES, image_size=32, patch_size=16)
    stem = StemmedVisionModel(config, [4, 8], [1, 2]).embeddings.patch_embedding.stem
    for parameter in stem.parameters():
        torch.nn.init.normal_(parameter)
    stem(torch.randn(2, 3, 32, 32)).square().sum().backward()
    assert len(list(stem.blocks.parameters())) == 3 * 5
    assert all(parameter.grad.abs().max() > 0 for parameter in stem.blocks.parameters())


def test_a_tile_that_is_the_one_before_it_is_worked_on_once() -> None:
    tower = StemmedVisionModel(CLIPVisionConfig(**SIZES, image_size=32, patch_size=16), [4, 8]).eval()
    worked_on: list[int] = []
    tower.embeddings.register_forward_pre_hook(lambda _, inputs: worked_on.append(len(inputs[0])))
    one, other = torch.randn(2, 1, 3, 32, 32)
    together = tower(torch.cat([one, one, other, one]), output_hidden_states=True)
    assert worked_on == [3]
    alone = [tower(tile, output_hidden_states=True) for tile in (one, one, other, one)]
    for name in ("last_hidden_state", "pooler_output"):
        torch.testing.assert_close(together[name], torch.cat([each[name] for each in alone]))
    for layer, states in enumerate(together.hidden_states):
        torch.testing.assert_close(states, torch.cat([each.hidden_states[layer] for each in alone]))


def test_a_stem_survives_saving(tmp_path: Path) -> None:
    model = PoseLlavaForConditionalGeneration(tiny_config(vision_stem=[4, 8], vision_stem_blocks=[0, 1]))
    stem = model.model.vision_tower.embeddings.patch_embedding.stem
    for added in (stem.out, stem.blocks[1][0].out):
        torch.nn.init.normal_(added.weight)
    model.save_pretrained(tmp_path)
    tiny_processor().save_pretrained(tmp_path)
    loaded, _ = load_whole(tmp_path, dtype=torch.float32)
    pixels = torch.randn(1, 3, 32, 32)
    seen, seen_again = (each.eval().model.vision_tower(pixels).last_hidden_state for each in (model, loaded))
    torch.testing.assert_close(seen, seen_again)
    assert set(model.state_dict()) == set(loaded.state_dict())
