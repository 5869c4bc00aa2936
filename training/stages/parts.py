# SPDX-License-Identifier: Apache-2.0
"""Which parts of the model learn, at what rate, with which adapters and which aids."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from backend.body.rotations import rot6d_to_matrix
from backend.model import AlignmentOutput, PoseLlavaForConditionalGeneration

from .projections import project
from .settings import LoraSettings, OptimiserSettings, TrainableSettings

LORA_TARGETS: Final = r".*language_model\.layers\.\d+\.(self_attn\.(q|k|v|o)_proj|mlp\.(gate|up|down)_proj)"
"""Every linear layer of the language model and none of the vision tower or the pose modules."""
PROJECTIONS: Final = 8
"""Poses that the reader's lift learns from places and positions alone, for each of a picture."""
_EMBEDDINGS: Final = ("embed_tokens.weight", "lm_head.weight")
_READER: Final = "pose_reader."
_TRUNK: Final = _READER + "trunk."
_TEXT_ENCODER: Final = "text_encoder."
BESIDE: Final = ("pose_variants", "pose_view_rank", "wish_width")
"""Of the configuration: 0 where the model goes without what was learnt beside its weights."""
_log = logging.getLogger(__name__)


@dataclass
class Stage1Output(AlignmentOutput):
    """Stage 1's tokens, where they learn to agree, and what its aids make; None without them. Matrices (B, J, 3, 3) are
    local rotations.

    ``image_positions`` (B, J, 3): where each joint is, read off its token from the image, in metres from the pelvis, in
    the frame of the pose. ``heatmaps`` (B, J, S, S), ``places`` (B, J, 2), ``seen_positions`` (B, J, 3) and ``seen``:
    what the pose reader sees. ``lifted`` and ``projected`` (P, J, 3, 3): poses that its lift makes of places and
    positions without an image, and which they are.
    """

    image_positions: Tensor | None = None
    heatmaps: Tensor | None = None
    places: Tensor | None = None
    seen_positions: Tensor | None = None
    seen: Tensor | None = None
    lifted: Tensor | None = None
    projected: Tensor | None = None


class AlignmentTask(nn.Module):
    """Stage 1's forward pass as a module, because DeepSpeed drives ``forward`` only.

    Args:
        model: what learns.
        reads_positions: whether joint positions are read off the image's tokens too, by a linear layer that exists in
            training only: a direct lesson in depth, which the rotations teach by way of the whole limb.
        reads_poses: whether the pose reader learns.
        aligns: whether tokens of images and of poses learn to agree; a model without a vision tower has none of images.
    """

    def __init__(
        self,
        model: PoseLlavaForConditionalGeneration,
        *,
        reads_positions: bool = False,
        reads_poses: bool = False,
        aligns: bool = True,
    ) -> None:
        super().__init__()
        self.model = model
        self.positions: nn.Linear | None = None
        if reads_positions:
            # From zero, so that it does not depend on what was drawn at random before.
            self.positions = nn.Linear(model.config.pose_hidden_size, 3, dtype=model.dtype)
            nn.init.zeros_(self.positions.weight)
            nn.init.zeros_(self.positions.bias)
        if reads_poses and model.pose_reader is None:
            raise ValueError("losses: this model has no pose reader; see pose_reader in docs/architecture.md")
        self.reads_poses = reads_poses
        self.aligns = aligns

    def forward(self, pixel_values: Tensor, poses: Tensor, canvases: Tensor) -> Stage1Output:
        """See ``PoseLlavaForConditionalGeneration.align``; ``canvases`` (B, 3, 256, 256) for the pose reader."""
        output = Stage1Output()
        if self.aligns:
            output = Stage1Output(**self.model.align(pixel_values=pixel_values, poses=poses))
        if self.positions is not None:
            output["image_positions"] = self.positions(output.image_local)
        if self.reads_poses:
            reader = self.model.pose_reader
            assert reader is not None
            read = reader(canvases)
            output["heatmaps"], output["places"] = read.heatmaps, read.joints.places
            output["seen_positions"], output["seen"] = read.joints.positions, read.matrices
            rng = np.random.default_rng(int(torch.randint(2**62, ())) if self.training else 0)
            shown = project(rng, rot6d_to_matrix(poses.float()), PROJECTIONS * len(poses))
            output["lifted"], output["projected"] = reader.lift(shown.joints), shown.matrices
        return output


def prepare_parts(model: PoseLlavaForConditionalGeneration, settings: TrainableSettings) -> Any:
    """Freezes what does not learn and adds LoRA; returns the model, wrapped by peft where LoRA is used.

    Other answers, weights for words about the camera and the head that hears when nothing is asked were learnt beside
    the model's own: they are left out where more than the pose reader learns.
    """
    model.requires_grad_(False)
    parts: list[tuple[nn.Module | nn.Parameter | None, bool]] = [
        (model.model.language_model.layers, settings.language_model == "full"),
        (model.model.language_model.norm, settings.language_model == "full"),
        (getattr(model.model, "vision_tower", None), settings.vision_tower),
        (getattr(model.model, "multi_modal_projector", None), settings.vision_projector),
        (getattr(model.model, "image_newline", None), settings.vision_projector),
        (getattr(model.model, "text_projector", None), settings.text_projector),
        (model.model.pose_encoder, settings.pose_encoder),
        (model.model.pose_projector, settings.pose_projector),
        (model.pose_decoder, settings.pose_decoder),
        (model.alignment, settings.alignment),
    ]
    wrapped: Any = add_lora(model, settings.lora) if settings.language_model == "lora" else model
    for part, learns in parts:
        if learns and part is not None:
            part.requires_grad_(True)
    encoder = model.model.text_encoder
    if encoder is not None and settings.text_encoder:
        for layer in encoder.layers.layers[-settings.text_encoder :]:
            layer.requires_grad_(True)
    if model.pose_reader is not None and settings.pose_reader:
        model.pose_reader.requires_grad_(True)
        model.pose_reader.trunk.fine.requires_grad_(False)
    if settings.embeddings != "frozen":
        for table in {model.get_input_embeddings().weight, model.get_output_embeddings().weight}:
            table.requires_grad_(True)
            if settings.embeddings == "special":
                _train_rows(table, special_rows(model))
    if any(one.requires_grad and not name.startswith(_READER) for name, one in model.named_parameters()):
        _leave_out_what_is_beside(model)
    return wrapped


def _leave_out_what_is_beside(model: PoseLlavaForConditionalGeneration) -> None:
    if model.variants is None and model.view is None and model.wish is None:
        return
    _log.warning(
        "left out: other answers, weights for words about the camera and the head that hears when nothing is asked, "
        "which fit the weights as they were; teach them anew with python -m training.variants, "
        "python -m training.view and python -m training.wish"
    )
    model.variants = model.view = model.wish = None
    for name in BESIDE:
        setattr(model.config, name, 0)


def add_lora(model: PoseLlavaForConditionalGeneration, settings: LoraSettings) -> Any:
    """The model wrapped by peft with fresh adapters."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=settings.rank, lora_alpha=settings.alpha, lora_dropout=settings.dropout, target_modules=LORA_TARGETS
    )
    return get_peft_model(model, config)


def special_rows(model: PoseLlavaForConditionalGeneration) -> list[int]:
    """Rows of the embeddings that mean no word: the tokens of poses and images and the ends of a text."""
    config = model.config
    text = config.text_config
    rows = {config.pose_token_index, config.image_token_index, config.pose_output_token_index}
    return sorted(rows | {index for index in (text.bos_token_id, text.eos_token_id) if index is not None})


def _train_rows(table: Tensor, rows: list[int]) -> None:
    kept = torch.zeros(len(table), 1)
    kept[rows] = 1.0
    table.register_hook(lambda gradient: gradient * kept.to(gradient))  # type: ignore[no-untyped-call]


def parameter_groups(model: nn.Module, settings: OptimiserSettings) -> list[dict[str, Any]]:
    """Parameters that learn, in groups: matrices decay, vectors do not, embeddings, the text encoder and the pose
    reader's trunk do not and have their own rates.

    ``ratio`` of a group is its share of the learning rate.
    """
    decayed, plain, embeddings, trunk, text_encoder = [], [], [], [], []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if name.endswith(_EMBEDDINGS):
            embeddings.append(parameter)
        elif _TRUNK in name:
            trunk.append(parameter)
        elif _TEXT_ENCODER in name:
            text_encoder.append(parameter)
        elif parameter.ndim >= 2 and not name.endswith(("queries", "joint_position", "global_token")):
            decayed.append(parameter)
        else:
            plain.append(parameter)
    groups = [
        {"params": decayed, "weight_decay": settings.weight_decay, "ratio": 1.0},
        {"params": plain, "weight_decay": 0.0, "ratio": 1.0},
        {"params": embeddings, "weight_decay": 0.0, "ratio": settings.embedding_ratio},
        {"params": trunk, "weight_decay": 0.0, "ratio": settings.trunk_ratio},
        {"params": text_encoder, "weight_decay": 0.0, "ratio": settings.text_encoder_ratio},
    ]
    return [group for group in groups if group["params"]]
