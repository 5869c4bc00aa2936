# SPDX-License-Identifier: Apache-2.0
"""The user's own weights for pictures, as diffusers saves them: a folder of Stable Diffusion, and one of a ControlNet
for each kind of control map. What is looked at here loads nothing, and needs no torch. May import
blender_addon.contract.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path

from blender_addon.contract.messages import MAP_KINDS


def check_weights(weights: Path, controls: Mapping[str, Path]) -> None:
    """Look whether there is something to paint with.

    Args:
        weights: folder of Stable Diffusion.
        controls: for each kind of map the folder of its ControlNet.

    Raises:
        ValueError: diffusers is not installed, or a folder holds no such weights.
    """
    for folder, file in (
        (weights, "model_index.json"),
        *((path, "config.json") for path in controls.values()),
    ):
        if not folder.is_dir():
            raise ValueError(f"there is no folder {folder} of weights; name one that diffusers saved")
        if not (folder / file).is_file():
            raise ValueError(f"the folder {folder} has no {file}; name one that diffusers saved")
    if importlib.util.find_spec("diffusers") is None:
        raise ValueError("painting needs diffusers; run: pip install 'posellava[images]'")


def control_folder(text: str) -> tuple[str, Path | None]:
    """The kind of a control map and the folder of its ControlNet, of ``KIND[=FOLDER]``.

    Raises:
        ValueError: there is no such kind.
    """
    kind, equals, folder = text.partition("=")
    if kind not in MAP_KINDS:
        raise ValueError(f"there are no maps {kind!r}; there are {', '.join(MAP_KINDS)}")
    return kind, Path(folder) if equals else None
