# SPDX-License-Identifier: Apache-2.0
"""Keeps what a frozen vision tower sees in each tile, so that it sees every tile once in a whole training.

Tiles are known by a hash of their pixels, so that neither the order of samples nor their names matter. The folder is
for one tower: another one needs another folder.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from backend.model import PoseLlavaForConditionalGeneration, PoseLlavaProcessor

from .settings import TrainSettings

LAST: Final = -1
"""The last hidden layer."""


class CachedTower(nn.Module):
    """Stands in for a frozen vision tower; gives the hidden states of one layer, in float16's precision.

    Args:
        tower: the frozen tower.
        folder: where features are kept, one file a tile and layer.
        layer: the hidden layer that the projector reads; -1, the last, for stage 1, which reads the pooled output too.
    """

    def __init__(self, tower: nn.Module, folder: Path, layer: int) -> None:
        super().__init__()
        if any(parameter.requires_grad for parameter in tower.parameters()):
            raise ValueError("data.feature_cache needs a frozen tower: set trainable.vision_tower to false")
        self.tower = tower
        self.folder = folder
        self.layer = layer

    def forward(self, pixel_values: Tensor, **kwargs: Any) -> SimpleNamespace:
        """(tiles, 3, height, width) to an object whose ``hidden_states[layer]`` is (tiles, patches + 1, V).

        Where that is the last layer, the object also has the tower's ``last_hidden_state`` and ``pooler_output``.
        """
        names = [
            hashlib.blake2b(tile.tobytes(), digest_size=16).hexdigest() for tile in _bytes_of(pixel_values)
        ]
        paths = [self.folder / f"layer{self.layer}" / name[:2] / f"{name}.npy" for name in names]
        unseen = [index for index, path in enumerate(paths) if not path.is_file()]
        if unseen:
            with torch.no_grad():
                seen = self.tower(pixel_values[unseen], **{**kwargs, "output_hidden_states": True})
            for index, features in zip(
                unseen, seen.hidden_states[self.layer].half().cpu().numpy(), strict=True
            ):
                _write(paths[index], features)
        features = torch.from_numpy(np.stack([np.load(path) for path in paths])).to(pixel_values)
        if self.layer != LAST:
            return SimpleNamespace(hidden_states={self.layer: features}, pooler_output=None)
        pool: Any = self.tower.post_layernorm
        return SimpleNamespace(
            hidden_states={LAST: features}, last_hidden_state=features, pooler_output=pool(features[:, 0])
        )


def with_cached_tower(
    model: PoseLlavaForConditionalGeneration, processor: PoseLlavaProcessor, settings: TrainSettings
) -> None:
    """Puts the cache of a run's settings before the model's tower.

    Raises:
        ValueError: the tower learns, or the model's prompts need another layer than the cache keeps.
    """
    assert settings.data.feature_cache is not None
    layer = LAST if settings.stage == "stage1" else model.config.vision_feature_layer
    if layer != LAST and processor.prompter.sees_poses and model.pose_reader is None:
        raise ValueError(
            "data.feature_cache keeps the layer that the projector reads, and <seen_pose> in the model's templates "
            "needs the last one: leave feature_cache out"
        )
    model.model.vision_tower = CachedTower(model.model.vision_tower, settings.data.feature_cache, layer)


def _bytes_of(pixel_values: Tensor) -> Any:
    return pixel_values.detach().float().cpu().numpy()


def _write(path: Path, features: Any) -> None:
    """Under a passing name first: another process may write the same tile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.stem}.{os.getpid()}.partial")
    with partial.open("wb") as file:
        np.save(file, features)
    partial.replace(path)
