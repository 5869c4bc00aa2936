# SPDX-License-Identifier: Apache-2.0
"""A tiny PoseLLaVA with random weights, one for each form of the decoder, and a PNG that Pillow stumbles over."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import CLIPVisionConfig, LlavaNextImageProcessorPil, MistralConfig, PreTrainedTokenizerFast

from backend.model import PoseLlavaConfig, PoseLlavaForConditionalGeneration, PoseLlavaProcessor

SPECIAL = ["<pad>", "<unk>", "<s>", "</s>", "<pose>", "<image>", "<POSE>"]
WORDS = [
    "adjust",
    "generate",
    "estimate",
    ":",
    "raise",
    "the",
    "left",
    "right",
    "arm",
    "knee",
    "by",
    "30",
    "degrees",
    ".",
]
IMAGE_SIZE, PATCH_SIZE = 32, 16


def png_with_empty_profile() -> bytes:
    """A PNG with an empty colour profile behind its pixels: its checksums are right, and Pillow raises IndexError."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "teal").save(buffer, "PNG")
    whole = buffer.getvalue()
    profile = struct.pack(">I4sI", 0, b"iCCP", zlib.crc32(b"iCCP"))
    return whole[:-12] + profile + whole[-12:]  # IEND has 12 bytes


def tiny_config(decoder: str = "residual", **changes: object) -> PoseLlavaConfig:
    text = MistralConfig(
        vocab_size=len(SPECIAL) + len(WORDS), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2, pad_token_id=0, bos_token_id=2, eos_token_id=3,
        sliding_window=None,
    )  # fmt: skip
    vision = CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        image_size=IMAGE_SIZE, patch_size=PATCH_SIZE,
    )  # fmt: skip
    values: dict[str, object] = {
        "pose_features": "kinematic", "pose_hidden_size": 16, "pose_encoder_layers": 1, "pose_attention_heads": 2,
        "pose_intermediate_size": 32, "pose_decoder": decoder, "pose_decoder_hidden_size": 16,
        "pose_decoder_layers": 1, "pose_token_index": 4, "image_token_index": 5, "pose_output_token_index": 6,
        "image_grid_pinpoints": [[IMAGE_SIZE, IMAGE_SIZE]], "tie_word_embeddings": True,
    }  # fmt: skip
    return PoseLlavaConfig(text_config=text, vision_config=vision, **(values | changes))


def tiny_processor() -> PoseLlavaProcessor:
    vocabulary = {token: index for index, token in enumerate(SPECIAL + WORDS)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", bos_token="<s>", eos_token="</s>",
        additional_special_tokens=["<pose>", "<image>", "<POSE>"],
    )  # fmt: skip
    images = LlavaNextImageProcessorPil(
        size={"shortest_edge": IMAGE_SIZE}, crop_size={"height": IMAGE_SIZE, "width": IMAGE_SIZE},
        image_grid_pinpoints=[[IMAGE_SIZE, IMAGE_SIZE]],
    )  # fmt: skip
    return PoseLlavaProcessor(
        images,
        fast,
        patch_size=PATCH_SIZE,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )


TINY_TEXT_ENCODER: dict[str, object] = {
    "text_encoder_layers": 1, "text_encoder_hidden_size": 16, "text_encoder_attention_heads": 2,
    "text_encoder_intermediate_size": 32, "sees_patches": False,
}  # fmt: skip


def save_tiny(
    model: PoseLlavaForConditionalGeneration,
    templates: Mapping[str, Sequence[Mapping[str, str]]],
    folder: Path,
    *,
    reads_texts: bool,
) -> None:
    """Save a tiny model with its processor, which words what is asked by these templates."""
    model.save_pretrained(folder)
    whole = tiny_processor()
    PoseLlavaProcessor(
        whole.image_processor, whole.tokenizer, templates, patch_size=PATCH_SIZE, num_additional_image_tokens=1,
        reads_texts=reads_texts,
    ).save_pretrained(folder)  # fmt: skip


@pytest.fixture(scope="session")
def processor() -> PoseLlavaProcessor:
    return tiny_processor()


@pytest.fixture(params=["mlp", "transformer", "residual"])
def model(request: pytest.FixtureRequest) -> PoseLlavaForConditionalGeneration:
    torch.manual_seed(0)
    return PoseLlavaForConditionalGeneration(tiny_config(request.param)).eval()
