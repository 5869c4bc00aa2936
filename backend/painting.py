# SPDX-License-Identifier: Apache-2.0
"""Pictures from poses: control maps of the neutral body, and a diffusion pipeline with ControlNet that paints along
them (PoseLLaVA, figures 1 and 5).

The pipeline's weights are the user's own, see image_weights.py. Drawing needs ``posellava[torch]``, painting
``posellava[images]``, which brings diffusers. May import backend.body and backend.image_weights.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from backend.image_weights import check_weights
from blender_addon.contract.control_maps import (
    Lens,
    Pixels,
    body_points,
    depth_map,
    normal_map,
    openpose_map,
    rasterise,
)
from blender_addon.contract.kinematics import forward_kinematics
from blender_addon.contract.rotations import axis_angle_to_matrix
from blender_addon.contract.skeleton import JOINT_INDEX

if TYPE_CHECKING:
    from PIL.Image import Image

FILLED: Final = 0.85
"""How much of a picture's height or width the body takes."""
DISTANCE: Final = 4.0
"""Metres from the camera to the body."""
MULTIPLE: Final = 8
"""Pixels; the sides of what is painted are multiples."""
LEAST_STRENGTH: Final = 0.01
"""What is weaker counts as that: the weaker, the more steps are planned so that one of them is made, each in memory."""

OnStep = Callable[[int], bool]
"""Told how many steps are done; returns whether anybody still waits for the picture."""


class StoppedError(Exception):
    """Nobody waits for the picture any more."""


def maps_of(
    pose_aa: npt.NDArray[np.float32], kinds: Sequence[str], width: int, height: int
) -> dict[str, Pixels]:
    """Control maps of the neutral body in a pose (24, 3), which fills a picture; it faces as it does the camera."""
    import torch

    from backend.body.neutral import load_neutral_body

    body = load_neutral_body()
    placed, joints = body.pose(torch.from_numpy(np.asarray(pose_aa, dtype=np.float32))[None])
    vertices, places = placed[0].double().numpy(), joints[0].double().numpy()
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    middle = (low + high) / 2
    shift = np.array([middle[0], middle[1], high[2] + DISTANCE])
    extent = (high - low)[:2]
    focal = FILLED * DISTANCE * min(width / extent[0], height / extent[1])
    lens = Lens.with_focal(focal, width, height)
    maps: dict[str, Pixels] = {}
    if "openpose" in kinds:
        rotations, _ = forward_kinematics(axis_angle_to_matrix(np.asarray(pose_aa, dtype=np.float64)))
        points = body_points(places - shift, rotations[JOINT_INDEX["head"]])
        maps["openpose"] = openpose_map(lens.project(points), width, height)
    if {"depth", "normal"} & set(kinds):
        raster = rasterise(vertices - shift, body.faces.numpy(), lens)
        drawn = {"depth": depth_map, "normal": normal_map}
        maps |= {kind: draw(raster) for kind, draw in drawn.items() if kind in kinds}
    return maps


def sides(width: int, height: int, longest: int) -> tuple[int, int]:
    """Width and height of about the same proportions, in multiples of MULTIPLE, the longer one about ``longest``."""
    scale = longest / max(width, height) / MULTIPLE
    return MULTIPLE * max(1, round(width * scale)), MULTIPLE * max(1, round(height * scale))


class Pipeline:
    """A diffusion pipeline that paints along control maps.

    Attributes:
        kinds: the control maps that it follows.
    """

    def __init__(self, weights: Path, controls: Mapping[str, Path], device: str = "cpu") -> None:
        """Load it.

        Args:
            weights: folder of a Stable Diffusion pipeline.
            controls: for each kind of map the folder of its ControlNet.
            device: of torch.

        Raises:
            ValueError: diffusers is not installed, or a folder holds no such weights.
        """
        check_weights(weights, controls)
        from diffusers import ControlNetModel, StableDiffusionControlNetImg2ImgPipeline

        self.kinds = tuple(controls)
        try:
            nets = [ControlNetModel.from_pretrained(folder) for folder in controls.values()]
            pipeline = StableDiffusionControlNetImg2ImgPipeline.from_pretrained(
                weights, controlnet=nets, safety_checker=None, requires_safety_checker=False
            )
        except (OSError, ValueError, TypeError) as error:
            raise ValueError(f"the weights cannot be read ({str(error)[:200]})") from None
        self._pipeline = pipeline.to(device)
        self._pipeline.set_progress_bar_config(disable=not sys.stderr.isatty())

    def paint(
        self,
        picture: Image,
        maps: Mapping[str, Pixels],
        prompt: str,
        *,
        steps: int = 30,
        strength: float = 0.75,
        seed: int = 0,
        on_step: OnStep = lambda done: True,
    ) -> Image:
        """Paint a picture along control maps.

        Args:
            picture: what it starts from; as large as the maps.
            maps: for each of ``kinds`` its map.
            prompt: what the picture shows, in words.
            steps: of the diffusion, were it to start from noise alone; see steps_of.
            strength: 1 keeps nothing of the picture; at least LEAST_STRENGTH.
            seed: another one makes another picture.
            on_step: see OnStep.

        Raises:
            StoppedError: on_step said that nobody waits.
        """
        import torch
        from PIL import Image as Pictures

        strength = max(strength, LEAST_STRENGTH)
        planned = steps
        while int(planned * strength) < 1:  # as diffusers counts those that are made
            planned += 1

        def after_step(_: Any, step: int, time: Any, values: dict[str, Any]) -> dict[str, Any]:
            if not on_step(step + 1):
                raise StoppedError
            return values

        painted: Any = self._pipeline(
            prompt,
            image=picture,
            control_image=[Pictures.fromarray(maps[kind]) for kind in self.kinds],
            num_inference_steps=planned,
            strength=strength,
            generator=torch.Generator("cpu").manual_seed(seed),
            callback_on_step_end=after_step,
        )
        found: Image = painted.images[0]
        return found


def steps_of(steps: int, strength: float) -> int:
    """How many steps of ``steps`` are made where a picture is painted anew by ``strength``."""
    return max(1, int(steps * max(strength, LEAST_STRENGTH)))
