# SPDX-License-Identifier: Apache-2.0
"""What a small model has beside its weights to understand words about the camera.

*Whether* a sentence is tied to the camera is told from what the text encoder says of its words (``TextHead``). Such a
sentence is asked as the camera sees the body, with other weights: to each matrix that reads words and poses a product
of two thin ones is added (Hu et al. 2021, "LoRA"), to each vector another one (``ViewWeights``). All other sentences
are answered with the model's own weights, to the bit as if none of this were there.

Legend: R = rank.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.func import functional_call

from .text_head import TextHead

HEAD_WIDTH: Final = 48
ADAPTED: Final = (
    "model.language_model.layers.",
    "model.pose_encoder.",
    "model.pose_projector.",
    "model.text_projector.",
    "pose_decoder.",
)
"""Weights under these names are others for what is asked as the camera sees it."""


class ViewWeights(nn.Module):
    """What is added to a model's weights, by their names.

    Args:
        shapes: of the weights.
        rank: R of the products that are added to matrices; a small matrix is added to as a whole.
    """

    def __init__(self, shapes: Mapping[str, torch.Size], rank: int) -> None:
        super().__init__()
        self._adapted = {name: name.replace(".", "/") for name in shapes}
        for name, key in self._adapted.items():
            shape = shapes[name]
            if len(shape) == 2 and rank * sum(shape) < shape.numel():
                self.register_parameter(f"{key}/down", nn.Parameter(torch.empty(rank, shape[1])))
                self.register_parameter(f"{key}/up", nn.Parameter(torch.empty(shape[0], rank)))
            else:
                self.register_parameter(key, nn.Parameter(torch.empty(shape)))

    def added_to(self, model: nn.Module) -> dict[str, Tensor]:
        """The weights of the model with what is added, by name."""
        own, added = dict(model.named_parameters()), dict(self.named_parameters())
        return {
            name: own[name] + (added[key] if key in added else added[f"{key}/up"] @ added[f"{key}/down"])
            for name, key in self._adapted.items()
        }


class PoseView(nn.Module):
    """Both of them; ``model`` is the one that they are part of."""

    def __init__(self, model: nn.Module, text_width: int, rank: int) -> None:
        super().__init__()
        shapes = {name: weight.shape for name, weight in model.named_parameters() if name.startswith(ADAPTED)}
        self.asks = TextHead(text_width, HEAD_WIDTH, HEAD_WIDTH)
        self.weights = ViewWeights(shapes, rank)

    def answer(self, model: nn.Module, inputs: Mapping[str, Any]) -> Any:
        """What the model says where it is asked as the camera sees it."""
        return functional_call(model, self.weights.added_to(model), args=(), kwargs=dict(inputs))
