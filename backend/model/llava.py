# SPDX-License-Identifier: Apache-2.0
"""A folder with a base model: PoseLLaVA's own, or a published LLaVA-NeXT that is given the pose modules and tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from transformers import AutoTokenizer, LlavaNextConfig, LlavaNextProcessor

from backend.prompt import PAPER_SPEECH, PAPER_TEMPLATES, POSE_OUTPUT, POSE_PLACEHOLDER

from .configuration import PoseLlavaConfig
from .modeling import PoseLlavaForConditionalGeneration
from .processing import PoseLlavaProcessor
from .storage import scale_rows

_ADDED: Final = (
    "model.pose_encoder.",
    "model.pose_projector.",
    "model.vision_tower.embeddings.patch_embedding.stem.",
    "pose_decoder.",
    "pose_reader.",
    "alignment.",
)
"""What LLaVA-NeXT has no weights for."""
_GROWN: Final = (
    "model.text_encoder.",
    "model.text_projector.",
    "pose_decoder.recall.",
    "variants.",
    "view.",
    "wish.",
)
"""What changes may add to a PoseLLaVA model that lacks it."""
MISTRAL_FORMAT: Final = "[INST] {question} [/INST] "


def require_whole(missing: Sequence[str], *, allowed: tuple[str, ...], folder: Path) -> None:
    """Raises ValueError where weights other than those under the ``allowed`` prefixes were not in the checkpoint."""
    lost = sorted(name for name in missing if not name.startswith(allowed or ("\0",)))
    if lost:
        raise ValueError(f"{folder} lacks weights ({', '.join(lost[:5])}): they would have been left random")


@contextmanager
def readable_weights(folder: Path) -> Iterator[None]:
    """Raises ValueError, which names the folder, where a file of weights that the block reads is damaged."""
    try:
        yield
    except SafetensorError as error:
        raise ValueError(
            f"a file of weights in {folder} is damaged or cut off ({error}): copy or download the model again"
        ) from None


def load_base(
    folder: Path, changes: dict[str, Any], *, dtype: torch.dtype, attention: str = "sdpa"
) -> tuple[PoseLlavaForConditionalGeneration, PoseLlavaProcessor]:
    """The model and processor in a folder; ``changes`` are fields of PoseLlavaConfig to set on it.

    What the changes add to a PoseLLaVA model is as it is drawn, and the rest as it was.

    Raises:
        ValueError: the checkpoint lacks weights that it should have, or they are damaged.
    """
    if is_whole(folder):
        return load_whole(folder, changes, dtype=dtype, attention=attention)
    return from_llava(folder, changes, dtype=dtype, attention=attention)


def is_whole(folder: Path) -> bool:
    """Whether the checkpoint is PoseLLaVA's own, not LLaVA-NeXT's."""
    return bool(LlavaNextConfig.get_config_dict(folder)[0]["model_type"] != "llava_next")


def load_whole(
    folder: Path, changes: dict[str, Any] | None = None, *, dtype: torch.dtype, attention: str = "sdpa"
) -> tuple[PoseLlavaForConditionalGeneration, PoseLlavaProcessor]:
    """PoseLLaVA's own model and processor in a folder, with what ``changes`` of its configuration add.

    Raises:
        ValueError: weights are missing or damaged.
    """
    config = PoseLlavaConfig.from_pretrained(folder)
    for name, value in (changes or {}).items():
        setattr(config, name, value)
    with readable_weights(folder):
        model, info = PoseLlavaForConditionalGeneration.from_pretrained(
            folder, config=config, dtype=dtype, attn_implementation=attention, output_loading_info=True
        )
        scale_rows(model, folder)
    require_whole(info["missing_keys"], allowed=_GROWN if changes else (), folder=folder)
    return model, PoseLlavaProcessor.from_pretrained(folder)


def config_on(base: LlavaNextConfig, changes: dict[str, Any]) -> PoseLlavaConfig:
    """LLaVA-NeXT's configuration with fields of PoseLlavaConfig set on it."""
    values = base.to_dict()
    values.pop("model_type", None)
    return PoseLlavaConfig(**values | changes)


def from_llava(
    folder: Path, changes: dict[str, Any], *, dtype: torch.dtype, attention: str
) -> tuple[PoseLlavaForConditionalGeneration, PoseLlavaProcessor]:
    """A published LLaVA-NeXT checkpoint with fresh pose modules and the tokens ``<pose>`` and ``<POSE>``.

    The new tokens' embeddings start at the mean of all others, so that they disturb nothing.

    Raises:
        ValueError: weights of LLaVA-NeXT itself are missing in the checkpoint or damaged.
    """
    base = LlavaNextConfig.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens(
        {"additional_special_tokens": [POSE_PLACEHOLDER, POSE_OUTPUT]}, replace_extra_special_tokens=False
    )
    tokens = {
        "pose_token_index": tokenizer.convert_tokens_to_ids(POSE_PLACEHOLDER),
        "pose_output_token_index": tokenizer.convert_tokens_to_ids(POSE_OUTPUT),
    }
    config = config_on(base, changes | tokens)
    with readable_weights(folder):
        model, info = PoseLlavaForConditionalGeneration.from_pretrained(
            folder, config=config, dtype=dtype, attn_implementation=attention, output_loading_info=True
        )
    require_whole(info["missing_keys"], allowed=_ADDED, folder=folder)
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    new = [config.pose_token_index, config.pose_output_token_index]
    with torch.no_grad():
        for table in (model.get_input_embeddings().weight, model.get_output_embeddings().weight):
            table[new] = table[: min(new)].float().mean(0).to(table.dtype)
    plain = LlavaNextProcessor.from_pretrained(folder)
    return model, paper_processor(plain.image_processor, tokenizer, config)


def paper_processor(images: Any, tokenizer: Any, config: PoseLlavaConfig) -> PoseLlavaProcessor:
    """A processor that asks a LLaVA-NeXT model on Mistral as the paper does."""
    return PoseLlavaProcessor(
        images,
        tokenizer,
        templates={**PAPER_TEMPLATES, **PAPER_SPEECH},
        prompt_format=MISTRAL_FORMAT,
        patch_size=config.vision_config.patch_size,
        vision_feature_select_strategy=config.vision_feature_select_strategy,
        num_additional_image_tokens=1,
    )
