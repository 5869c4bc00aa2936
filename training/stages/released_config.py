# SPDX-License-Identifier: Apache-2.0
"""The released checkpoint's configuration, told by its settings and, where they are silent, by its weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from torch import Tensor
from transformers import CLIPVisionConfig, MistralConfig

from backend.model import PoseLlavaConfig
from backend.prompt import IMAGE_PLACEHOLDER, POSE_OUTPUT, POSE_PLACEHOLDER

RELEASED_VISION: Final = "model.vision_tower.vision_tower.vision_model."
"""What the names of the vision tower's weights begin with in the release."""
POSE_HEADS: Final = 4
CLIP_HEAD_WIDTH: Final = 64
_TEXT_SIZES: Final = (
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
    "max_position_embeddings", "rms_norm_eps",
)  # fmt: skip


def released_config(
    released: dict[str, Any], weights: Mapping[str, Tensor], tokenizer: Any
) -> PoseLlavaConfig:
    """The release's configuration in this project's terms.

    Args:
        released: what its config.json says.
        weights: under this project's names.
        tokenizer: with the placeholders added.

    Raises:
        ValueError: a size is missing, or the checkpoint has no vision tower.
    """
    lost = [name for name in _TEXT_SIZES if name not in released]
    if lost:
        raise ValueError(f"config.json is not the release's: it lacks {', '.join(lost)}")
    tower = "model.pose_encoder.layers.layers."
    text = MistralConfig(
        vocab_size=max(len(tokenizer), len(weights["lm_head.weight"])),
        sliding_window=None,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        rope_parameters={"rope_type": "default", "rope_theta": released.get("rope_theta", 10_000.0)},
        **{name: released[name] for name in _TEXT_SIZES},
    )
    vision = vision_config(weights)
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in (POSE_PLACEHOLDER, POSE_OUTPUT)}
    return PoseLlavaConfig(
        text_config=text,
        vision_config=vision,
        image_grid_pinpoints=[[vision.image_size, vision.image_size]],
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE_PLACEHOLDER),
        vision_feature_layer=released.get("mm_vision_select_layer", -2),
        pose_token_index=ids[POSE_PLACEHOLDER],
        pose_output_token_index=ids[POSE_OUTPUT],
        pose_features="rows",
        pose_norm="after",
        pose_hidden_size=weights["model.pose_encoder.global_token"].shape[-1],
        pose_encoder_layers=_layers(weights, tower),
        pose_attention_heads=POSE_HEADS,
        pose_intermediate_size=len(weights[tower + "0.linear1.weight"]),
        pose_decoder="mlp",
        pose_state="predicting",
        pose_world="y_down",
    )


def vision_config(weights: Mapping[str, Tensor]) -> CLIPVisionConfig:
    """The vision tower's sizes, told by its weights: the release's configuration only names it.

    Raises:
        ValueError: the checkpoint has no vision tower.
    """
    prefix = "model.vision_tower."
    if prefix + "embeddings.class_embedding" not in weights:
        raise ValueError(f"the checkpoint has no vision tower (weights under {RELEASED_VISION})")
    patches = weights[prefix + "embeddings.patch_embedding.weight"]
    positions = len(weights[prefix + "embeddings.position_embedding.weight"]) - 1
    width = len(weights[prefix + "embeddings.class_embedding"])
    return CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=len(weights[prefix + "encoder.layers.0.mlp.fc1.weight"]),
        num_hidden_layers=_layers(weights, prefix + "encoder.layers."),
        num_attention_heads=width // CLIP_HEAD_WIDTH,
        patch_size=patches.shape[-1],
        image_size=round(positions**0.5) * patches.shape[-1],
    )


def _layers(weights: Mapping[str, Tensor], prefix: str) -> int:
    return 1 + max(int(name[len(prefix) :].split(".")[0]) for name in weights if name.startswith(prefix))
