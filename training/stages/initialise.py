# SPDX-License-Identifier: Apache-2.0
"""Makes the model that training starts from: a small one from nothing but word pieces, or a LLaVA-NeXT checkpoint
that is given the pose modules and tokens.

The small model's words come from all-MiniLM-L6-v2 (Apache-2.0): a cut of its word pieces and its input embeddings,
brought to the hidden size by their principal components. So words that training never shows start near words that
it does show. The trunk of a pose reader comes from BlazePose.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from transformers import (
    CLIPVisionConfig,
    LlavaNextImageProcessorPil,
    MistralConfig,
)

from backend.model import PoseLlavaConfig, PoseLlavaForConditionalGeneration, PoseLlavaProcessor
from backend.model.llava import is_whole, load_base
from backend.prompt import (
    COMPACT_TEMPLATES,
    COMPACT_TURN,
    COMPACT_VIEW,
    IMAGE_PLACEHOLDER,
    POSE_OUTPUT,
    POSE_PLACEHOLDER,
    READER_TEMPLATES,
    VERBAL_ANSWERS,
)

from .launch import rank, wait_for_all
from .minilm import load_minilm
from .settings import ModelSettings, parse, read_yaml
from .vocabulary import (
    SPECIAL_TOKENS,
    minilm_pieces,
    principal_components,
    word_piece_tokenizer,
    words_of_the_data,
)

EMBEDDING_RMS: Final = 1.0
"""Root mean square of the embeddings: large beside what the first layers add, so that the words are still there in the
last hidden states."""
PLACE_STD: Final = 0.3
"""Spread of the embeddings of the patches' places: CLIP's 0.02 is hardly heard beside what the patches hold."""


@dataclass(frozen=True)
class FreshModel:
    """A small model to make: word pieces, sizes of its parts, and how its initial weights are drawn."""

    vocabulary: int = 10_000
    text: dict[str, Any] = field(default_factory=dict)
    vision: dict[str, Any] = field(default_factory=dict)
    vision_feature_layer: int = -2
    pose: dict[str, Any] = field(default_factory=dict)
    max_instruction_tokens: int = 160
    seed: int = 0


def start_model(
    settings: ModelSettings, *, dtype: torch.dtype, attention: str
) -> tuple[PoseLlavaForConditionalGeneration, PoseLlavaProcessor]:
    """The model and processor of a configuration; a fresh model is made and kept where there is none yet.

    Raises:
        FileNotFoundError: the start is missing, or a new pose reader's trunk is not installed.
        ValueError: the checkpoint lacks weights that it should have.
    """
    if not (settings.start / "config.json").is_file():
        if settings.fresh is None:
            raise FileNotFoundError(
                f"no model in {settings.start}: run the stage before this one and export it there, or set model.start"
            )
        if rank() == 0:
            _make_fresh(settings.fresh, settings.start)
        wait_for_all()
    model, processor = load_base(settings.start, settings.changes, dtype=dtype, attention=attention)
    if settings.changes and is_whole(settings.start):
        processor = grown(model, processor)
    if model.pose_reader is not None and not is_whole(settings.start):
        from .trunk_weights import load_trunk, published_file

        load_trunk(model.pose_reader.trunk, published_file())
    return model, processor


def grown(model: PoseLlavaForConditionalGeneration, processor: PoseLlavaProcessor) -> PoseLlavaProcessor:
    """A small model's processor brought up to its configuration, and its new text encoder given MiniLM's weights."""
    if model.model.text_encoder is not None and not processor.reads_texts:
        load_minilm(model.model.text_encoder, processor.tokenizer.get_vocab())
    return _small_processor(
        processor.image_processor,
        processor.tokenizer,
        model.config,
        templates=processor.templates,
        max_instruction_tokens=processor.max_instruction_tokens,
        view_threshold=processor.view_threshold,
        wish_threshold=processor.wish_threshold,
    )


def _small_processor(
    images: Any,
    tokenizer: Any,
    config: PoseLlavaConfig,
    *,
    templates: Any,
    max_instruction_tokens: int,
    view_threshold: float = 0.5,
    wish_threshold: float = 0.5,
) -> PoseLlavaProcessor:
    return PoseLlavaProcessor(
        images,
        tokenizer,
        templates=templates,
        patch_size=config.vision_config.patch_size,
        vision_feature_select_strategy=config.vision_feature_select_strategy,
        num_additional_image_tokens=1,
        max_instruction_tokens=max_instruction_tokens,
        known_words=sorted(words_of_the_data()),
        turn_template=COMPACT_TURN if config.pose_history else None,
        verbal_answers=dict(VERBAL_ANSWERS) if config.pose_history else None,
        view_template=COMPACT_VIEW if config.pose_history else None,
        view_threshold=view_threshold,
        wish_threshold=wish_threshold,
        reads_texts=config.text_encoder_layers > 0,
    )


def _make_fresh(description: Path, folder: Path) -> None:
    """Makes the described model; the folder appears once it is whole."""
    fresh: FreshModel = parse(FreshModel, read_yaml(description), str(description))
    model, processor = fresh_model(fresh)
    partial = folder.with_name(folder.name + ".partial")
    model.save_pretrained(partial)
    processor.save_pretrained(partial)
    partial.rename(folder)


def fresh_model(fresh: FreshModel) -> tuple[PoseLlavaForConditionalGeneration, PoseLlavaProcessor]:
    """A small model with random weights but for its word embeddings and its pose reader's trunk, and its
    processor.

    Raises:
        FileNotFoundError: it has a pose reader, and the weights of its trunk are not installed.
    """
    words = minilm_pieces(fresh.vocabulary - len(SPECIAL_TOKENS))
    tokenizer = word_piece_tokenizer(words.pieces)
    ids = {token: index for index, token in enumerate(SPECIAL_TOKENS)}
    text = MistralConfig(
        vocab_size=len(tokenizer),
        pad_token_id=ids["<pad>"],
        bos_token_id=ids["<s>"],
        eos_token_id=ids["</s>"],
        sliding_window=None,
        **fresh.text,
    )
    vision = CLIPVisionConfig(**fresh.vision)
    config = PoseLlavaConfig(
        text_config=text,
        vision_config=vision,
        vision_feature_layer=fresh.vision_feature_layer,
        image_grid_pinpoints=[[vision.image_size, vision.image_size]],
        pose_token_index=ids[POSE_PLACEHOLDER],
        image_token_index=ids[IMAGE_PLACEHOLDER],
        pose_output_token_index=ids[POSE_OUTPUT],
        tie_word_embeddings=True,
        **fresh.pose,
    )
    torch.manual_seed(fresh.seed)
    model = PoseLlavaForConditionalGeneration(config)
    with torch.no_grad():
        table = model.get_input_embeddings().weight
        table.normal_(std=EMBEDDING_RMS)
        table[len(SPECIAL_TOKENS) :] = principal_components(words.embeddings, table.shape[1]) * EMBEDDING_RMS
        model.model.vision_tower.embeddings.position_embedding.weight.normal_(std=PLACE_STD)
    if model.pose_reader is not None:
        from .trunk_weights import load_trunk, published_file

        load_trunk(model.pose_reader.trunk, published_file())
    images = LlavaNextImageProcessorPil(
        size={"shortest_edge": vision.image_size},
        crop_size={"height": vision.image_size, "width": vision.image_size},
        image_grid_pinpoints=config.image_grid_pinpoints,
    )
    if model.model.text_encoder is not None:
        load_minilm(model.model.text_encoder, tokenizer.get_vocab())
    processor = _small_processor(
        images,
        tokenizer,
        config,
        templates=READER_TEMPLATES if config.pose_reader else COMPACT_TEMPLATES,
        max_instruction_tokens=fresh.max_instruction_tokens,
    )
    return model, processor
