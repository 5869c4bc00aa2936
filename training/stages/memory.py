# SPDX-License-Identifier: Apache-2.0
"""How much memory a run needs on each GPU, calculated from a model without weights (on torch's meta device).

What a run keeps (Rajbhandari et al. 2020, "ZeRO", section 3): weights, gradients and optimiser state, of which ZeRO 1
shares out the last among the GPUs, ZeRO 2 the last two and ZeRO 3 all. Activations are those of the language model with
gradient checkpointing: the input of every layer, and all of the layer that is being gone back through. Stage 1 does
not run the language model: there they are those of the vision tower, one layer at a time where it is frozen, and of the
pose modules.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import torch
from transformers import CLIPVisionConfig, LlavaNextConfig, MistralConfig

from backend.model import PoseLlavaConfig, PoseLlavaForConditionalGeneration
from backend.model.llava import config_on
from backend.prompt import NUM_POSE_TOKENS

from .parts import prepare_parts
from .settings import TrainSettings

TEXT_TOKENS: Final = 150
"""Of an instruction with the papers' wording and its answer."""
LAYER_HIDDEN: Final = 12
"""Copies of a layer's width that going back through it needs: norms, queries to outputs, residuals, LoRA's inputs."""
LAYER_INTERMEDIATE: Final = 8
"""Copies of its intermediate width: gate, up, their product, each with its gradient, and LoRA's input."""


@dataclass(frozen=True)
class Sizes:
    """What the calculation needs of a model; parameters, layers, widths and the most tokens of an image.

    The layers are those of the language model, or in stage 1 of the vision tower, which reads the image as one tile.
    """

    frozen: int
    trained: int
    layers: int
    hidden: int
    intermediate: int
    image_tokens: int
    pose_layers: int = 0
    pose_hidden: int = 0
    pose_intermediate: int = 0


@dataclass(frozen=True)
class Need:
    """Bytes on each GPU."""

    weights: float
    gradients: float
    optimiser: float
    activations_text: float
    activations_image: float

    @property
    def states(self) -> float:
        """Without activations."""
        return self.weights + self.gradients + self.optimiser


def model_sizes(settings: TrainSettings) -> Sizes:
    """Sizes of the model that a configuration trains.

    The configuration of ``model.start`` is read where it is there; without it the published sizes of
    llava-v1.6-mistral-7b are taken.
    """
    config = model_config(settings)
    with torch.device("meta"):
        model = PoseLlavaForConditionalGeneration(config)
        prepare_parts(model, settings.trainable)
    counts = {True: 0, False: 0}
    for parameter in model.parameters():
        counts[parameter.requires_grad] += parameter.numel()
    text, vision = config.text_config, config.vision_config
    side = vision.image_size // vision.patch_size
    if settings.stage == "stage1":
        return Sizes(
            counts[False], counts[True], vision.num_hidden_layers, vision.hidden_size, vision.intermediate_size,
            side * side + 1, config.pose_encoder_layers + config.pose_decoder_layers, config.pose_hidden_size,
            config.pose_intermediate_size,
        )  # fmt: skip
    tiles = max(h // vision.image_size * (w // vision.image_size) for h, w in config.image_grid_pinpoints)
    # The whole image, its tiles, ends of lines.
    image_tokens = (1 + tiles) * side * side + round(tiles**0.5) * side
    return Sizes(
        counts[False], counts[True], text.num_hidden_layers, text.hidden_size, text.intermediate_size, image_tokens
    )  # fmt: skip


def model_config(settings: TrainSettings) -> PoseLlavaConfig:
    """That of ``model.start`` where it is there, otherwise llava-v1.6-mistral-7b's published one, with the changes."""
    start = settings.model.start
    if (start / "config.json").is_file():
        values: dict[str, Any] = LlavaNextConfig.get_config_dict(start)[0]
        if values["model_type"] == PoseLlavaConfig.model_type:
            own: PoseLlavaConfig = PoseLlavaConfig.from_pretrained(start)
            return own
        base = LlavaNextConfig.from_pretrained(start)
    else:
        base = LlavaNextConfig(
            text_config=MistralConfig(vocab_size=32064),
            vision_config=CLIPVisionConfig(
                hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16,
                image_size=336, patch_size=14,
            ),
            image_grid_pinpoints=[[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]],
        )  # fmt: skip
    return config_on(base, settings.model.changes)


def need(sizes: Sizes, settings: TrainSettings, *, zero: int, gpus: int) -> Need:
    """Memory of a run with a stage of ZeRO on so many GPUs."""
    bf16 = settings.run.precision == "bf16"
    weight = 2 if bf16 else 4
    state = 12 if bf16 else 8  # AdamW's two moments, and with bf16 the weights again, in float32.
    share = {True: 1 / gpus, False: 1.0}
    if settings.stage == "stage1":
        text, image = 0.0, _stage1_activations(sizes, settings, weight)
    else:
        text = _activations(sizes, settings, TEXT_TOKENS + NUM_POSE_TOKENS, weight)
        image = _activations(sizes, settings, TEXT_TOKENS + sizes.image_tokens, weight)
    return Need(
        weights=weight * (sizes.frozen + sizes.trained) * share[zero >= 3],
        gradients=weight * sizes.trained * share[zero >= 2],
        optimiser=state * sizes.trained * share[zero >= 1],
        activations_text=text,
        activations_image=image,
    )


def _activations(sizes: Sizes, settings: TrainSettings, tokens: int, width: int) -> float:
    layer = LAYER_HIDDEN * sizes.hidden + LAYER_INTERMEDIATE * sizes.intermediate
    kept = sizes.layers * sizes.hidden + layer
    per_token = kept if settings.run.gradient_checkpointing else sizes.layers * layer
    return float(settings.run.micro_batch * tokens * per_token * width)


def _stage1_activations(sizes: Sizes, settings: TrainSettings, width: int) -> float:
    """Of a frozen tower one layer is in memory at a time, of one that learns all are."""
    layer = LAYER_HIDDEN * sizes.hidden + LAYER_INTERMEDIATE * sizes.intermediate
    tower = layer * (sizes.layers if settings.trainable.vision_tower else 1)
    resampler = LAYER_HIDDEN * sizes.pose_hidden
    pose = LAYER_HIDDEN * sizes.pose_hidden + LAYER_INTERMEDIATE * sizes.pose_intermediate
    per_sample = sizes.image_tokens * (tower + resampler) + NUM_POSE_TOKENS * sizes.pose_layers * pose
    return float(settings.run.micro_batch * per_sample * width)


def table(settings: TrainSettings, gpus: int) -> str:
    """What ZeRO 1 to 3 need, as a Markdown table in GB."""
    sizes = model_sizes(settings)
    stage1 = settings.stage == "stage1"
    kinds = [] if stage1 else [f"with activations, {TEXT_TOKENS + NUM_POSE_TOKENS} tokens"]
    tokens = sizes.image_tokens if stage1 else TEXT_TOKENS + sizes.image_tokens
    kinds.append(f"with an image, {tokens} {'patches' if stage1 else 'tokens'}")
    heads = ["", "weights", "gradients", "optimiser", "sum", *kinds]
    lines = [
        f"{sizes.frozen / 1e9:.2f} billion frozen parameters, {sizes.trained / 1e9:.2f} billion that learn; "
        f"{gpus} GPUs, {settings.run.micro_batch} samples each; calculated, GB a GPU",
        "",
        "| " + " | ".join(heads).lstrip() + " |",
        "|---" * len(heads) + "|",
    ]
    for zero in (1, 2, 3):
        one = need(sizes, settings, zero=zero, gpus=gpus)
        columns = [one.weights, one.gradients, one.optimiser, one.states]
        columns += [one.states + part for part in (one.activations_text, one.activations_image)][
            -len(kinds) :
        ]
        lines.append(f"| ZeRO {zero} | " + " | ".join(f"{value / 1e9:.1f}" for value in columns) + " |")
    return "\n".join(lines)
