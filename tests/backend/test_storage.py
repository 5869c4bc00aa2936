# SPDX-License-Identifier: Apache-2.0
"""A small model on disk: the reader apart, that, words and text encoder in int8."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from backend.model import PoseLlavaForConditionalGeneration
from backend.model.llava import load_whole
from backend.model.storage import pack
from tests.backend.conftest import tiny_config, tiny_processor


@pytest.fixture
def packed(tmp_path: Path) -> tuple[PoseLlavaForConditionalGeneration, Path]:
    torch.manual_seed(0)
    config = tiny_config(
        "residual", text_encoder_layers=2, text_encoder_hidden_size=24, text_encoder_intermediate_size=48,
        text_encoder_attention_heads=2, sees_patches=False, pose_reader=True, pose_history=True,
    )  # fmt: skip
    model = PoseLlavaForConditionalGeneration(config)
    model.half().save_pretrained(tmp_path)
    tiny_processor().save_pretrained(tmp_path)
    pack(tmp_path)
    return model.float(), tmp_path


def test_matrices_in_int8_come_back_within_half_a_step_and_the_rest_exactly(packed) -> None:
    model, folder = packed
    again, _ = load_whole(folder, dtype=torch.float32)
    loaded = again.state_dict()
    seen: set[int] = set()
    for name, tensor in model.state_dict().items():
        in_int8 = (
            name.startswith(("model.text_encoder.", "pose_reader."))
            or "embed_tokens" in name
            or "lm_head" in name
        )
        of_one_channel = tensor.ndim == 4 and tensor.shape[1] == 1
        if in_int8 and tensor.ndim in (2, 4) and not of_one_channel and not name.endswith(".places"):
            rows, as_loaded = tensor.flatten(1), loaded[name].flatten(1)
            step = rows.abs().amax(1, keepdim=True) / 127
            assert ((as_loaded - rows).abs() <= 0.501 * step).all(), name
            if rows.any():
                assert not torch.equal(as_loaded, rows)
                seen.add(tensor.ndim)
        else:
            assert torch.equal(loaded[name], tensor), name
    assert seen == {2, 4}, "matrices and convolutions"


def test_what_pictures_are_read_with_has_a_file_of_its_own(packed) -> None:
    _, folder = packed
    files = sorted(folder.glob("*.safetensors"))
    assert [file.name for file in files] == [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    names = [set(safe_open(file, framework="pt").keys()) for file in files]
    assert names[1]
    assert all(name.startswith("pose_reader.") for name in names[1])
    assert not any(
        name.startswith(("pose_reader.", "alignment.", "model.vision_tower.")) for name in names[0]
    )
