# SPDX-License-Identifier: Apache-2.0
"""The paper's released checkpoint as a model of this project, read by the names of its weights.

What the release is, as its public code builds it (a Llama-style language model with Mistral's weights, CLIP, and
modules of its own), and what becomes of it:

- The pose tower reads the first two rows of each joint's rotation matrix (``pose_features: rows``), norms after each
  block (``pose_norm: after``), and adds the positions to the doubled embedding; the doubling goes into the embedding.
- The pose head writes 6D as three pairs (x, y and z of both columns); its rows are brought into this project's order.
- Its poses have +y down, as a camera sees; the encoder and the head turn them (``pose_world: y_down``), so that asking
  and answering have +y up as everywhere here.
- The state that predicts ``<POSE>`` is decoded (``pose_state: predicting``).
- ``<image>`` and ``<pose>`` are no words there. Here they are two further rows of the embeddings, at their mean; what
  is looked up there is replaced by the image's and the pose's tokens.
- Stage 1's modules (``alignment``) are not in the release: they start afresh, and answering does not use them.

Two things differ when it answers: the heading is taken out of a pose before the model sees it, and an image is seen
whole and as a tile, as LLaVA-NeXT does, where the public code gives the padded image alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import torch
from torch import Tensor
from transformers import AutoTokenizer, LlavaNextImageProcessorPil
from transformers.utils import logging

from backend.model import PoseLlavaForConditionalGeneration, PoseLlavaProcessor
from backend.model.llava import require_whole
from backend.prompt import IMAGE_PLACEHOLDER, PAPER_TEMPLATES, POSE_OUTPUT, POSE_PLACEHOLDER
from blender_addon.contract.skeleton import NUM_JOINTS
from training.writing import model_folder, require_replaceable

from .export import Dtype
from .launch import name_accelerator
from .released_config import RELEASED_VISION, released_config, vision_config
from .released_files import read_configuration, read_weights

PROMPT_FORMAT: Final = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, "
    "and polite answers to the user's questions. USER: {question} ASSISTANT:"
)
"""The public code's conversation, ``llava_v1``."""
_TOWER: Final = "model.pose_tower.pose_encoder."
_RENAMED: Final = (
    (re.compile(re.escape(RELEASED_VISION)), "model.vision_tower."),
    (re.compile(r"model\.mm_projector\.0\."), "model.multi_modal_projector.linear_1."),
    (re.compile(r"model\.mm_projector\.2\."), "model.multi_modal_projector.linear_2."),
    (re.compile(r"model\.pose_projector\.0\."), "model.pose_projector.linear_1."),
    (re.compile(r"model\.pose_projector\.2\."), "model.pose_projector.linear_2."),
    (re.compile(re.escape(_TOWER) + r"seqTransEncoder\.layers\."), "model.pose_encoder.layers.layers."),
    (re.compile(r"pose_decoder\.([02])\."), r"pose_decoder.layers.\1."),
    (re.compile(r"model\.(?=(embed_tokens|layers|norm)\.)"), "model.language_model."),
)
_VOCABULARY: Final = ("model.embed_tokens.weight", "lm_head.weight")
_BUFFERS: Final = ("rotary_emb.inv_freq", "position_ids")


def convert(source: Path, output: Path, *, dtype: Dtype = "bfloat16") -> None:
    """Writes the release in ``source`` as a model folder that ``posellava serve`` and ``model.start`` load.

    Args:
        source: a folder with the release's config.json, weights (safetensors or .bin, in one file or several) and
            tokenizer.
        output: the folder to write; it is replaced only once the new one is whole.
        dtype: of the weights in the file.

    Raises:
        FileNotFoundError: no configuration or no weights there.
        ValueError: a weight that is missing, unknown, damaged or of a wrong shape; ``<POSE>`` is no token of the
            tokenizer; ``output`` is ``source`` or holds something else.
    """
    require_replaceable(output, source)  # before the work, not after it
    name_accelerator()
    with _quietly():
        _convert(source, output, dtype)


def _convert(source: Path, output: Path, dtype: Dtype) -> None:
    released = read_configuration(source)
    weights = renamed(read_weights(source))
    processor = _processor(source, weights)
    config = released_config(released, weights, processor.tokenizer)
    for name in ("model.language_model.embed_tokens.weight", "lm_head.weight"):
        weights[name] = _with_rows(weights[name], config.text_config.vocab_size)
    width = config.text_config.hidden_size
    # The public code sees one image without line breaks, so its checkpoints may lack their embedding.
    weights.setdefault("model.image_newline", torch.zeros(width))
    model, info = PoseLlavaForConditionalGeneration.from_pretrained(
        None,
        config=config,
        state_dict={name: weight.to(getattr(torch, dtype)) for name, weight in weights.items()},
        dtype=getattr(torch, dtype),
        output_loading_info=True,
    )
    require_whole(info["missing_keys"], allowed=("alignment.",), folder=source)
    if info["unexpected_keys"]:
        raise ValueError(f"{source} holds unknown weights: {', '.join(sorted(info['unexpected_keys'])[:5])}")
    with model_folder(output, source) as partial:
        model.save_pretrained(partial)
        processor.save_pretrained(partial)


@contextmanager
def _quietly() -> Iterator[None]:
    """The library's reports are left out, of weights that start afresh among others: here every name is checked."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        logging.enable_progress_bar()


def renamed(released: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The release's weights under this project's names and in its orders.

    Raises:
        ValueError: the pose tower, the pose head or the language model's embeddings are missing.
    """
    needed = [
        *(_TOWER + name for name in ("cls_token", "cls_pos", "pos_embed.pe")),
        *(_TOWER + f"skelEmbedding.{name}" for name in ("weight", "bias")),
        *(f"pose_decoder.2.{name}" for name in ("weight", "bias")),
    ]
    lost = [name for name in (*needed, *_VOCABULARY) if name not in released]
    if lost:
        raise ValueError(f"this is no checkpoint of the paper's release: it lacks {', '.join(lost[:3])}")
    special = set(needed)
    weights = {
        new_name(name): weight
        for name, weight in released.items()
        if name not in special and not name.endswith(_BUFFERS)
    }
    class_token = released[_TOWER + "cls_token"] + released[_TOWER + "cls_pos"]
    weights |= {
        "model.pose_encoder.global_token": class_token.reshape(1, -1),
        "model.pose_encoder.joint_position": released[_TOWER + "pos_embed.pe"].squeeze(0),
        "model.pose_encoder.embed.weight": 2 * released[_TOWER + "skelEmbedding.weight"],
        "model.pose_encoder.embed.bias": 2 * released[_TOWER + "skelEmbedding.bias"],
        "pose_decoder.layers.2.weight": _columns_first(released["pose_decoder.2.weight"]),
        "pose_decoder.layers.2.bias": _columns_first(released["pose_decoder.2.bias"]),
    }
    return weights


def new_name(name: str) -> str:
    """A weight's name in this project."""
    for pattern, replacement in _RENAMED:
        if pattern.match(name):
            return pattern.sub(replacement, name, count=1)
    return name


def _columns_first(rows: Tensor) -> Tensor:
    """Outputs (144, ...) from x1 x2 y1 y2 z1 z2 of each joint's two columns to x1 y1 z1 x2 y2 z2."""
    columns = rows.reshape(NUM_JOINTS, 3, 2, *rows.shape[1:]).transpose(1, 2)
    return columns.reshape(rows.shape)


def _with_rows(table: Tensor, count: int) -> Tensor:
    """The table (V, H) with further rows at its mean, up to ``count``."""
    mean = table.float().mean(0, keepdim=True).to(table.dtype)
    return torch.cat([table, mean.expand(count - len(table), -1)])


def _processor(source: Path, weights: Mapping[str, Tensor]) -> PoseLlavaProcessor:
    try:
        tokenizer = AutoTokenizer.from_pretrained(source)
    except Exception as error:  # which one depends on the file that is damaged or missing
        raise ValueError(
            f"the tokenizer in {source} cannot be read ({' '.join(str(error).split())[:120]})"
        ) from None
    if POSE_OUTPUT not in tokenizer.get_vocab():
        raise ValueError(f"the tokenizer in {source} does not know {POSE_OUTPUT}: is it the release's own?")
    tokenizer.add_special_tokens(
        {"additional_special_tokens": [POSE_OUTPUT, IMAGE_PLACEHOLDER, POSE_PLACEHOLDER]},
        replace_extra_special_tokens=False,
    )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.unk_token
    vision = vision_config(weights)
    side = vision.image_size
    images = LlavaNextImageProcessorPil(
        size={"shortest_edge": side},
        crop_size={"height": side, "width": side},
        image_grid_pinpoints=[[side, side]],
    )
    return PoseLlavaProcessor(
        images,
        tokenizer,
        templates=PAPER_TEMPLATES,
        prompt_format=PROMPT_FORMAT,
        patch_size=vision.patch_size,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )
