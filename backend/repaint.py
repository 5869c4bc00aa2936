# SPDX-License-Identifier: Apache-2.0
"""``posellava repaint``: a picture and an instruction in, the picture with the person posed anew out.

Four steps: the model reads the pose that the picture shows, edits it as the instruction says, the neutral body is drawn
in that pose as control maps, and a diffusion pipeline with ControlNet paints along them (PoseLLaVA, figures 1 and 5).
The pipeline's weights are the user's own: a folder of Stable Diffusion and one of a ControlNet for each kind of map, as
diffusers saves them. Without weights the maps and the pose are written, for any other picture maker.

Drawing needs ``posellava[torch]``, painting ``posellava[images]``, which brings diffusers. May import backend.engines,
backend.images and backend.body.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from backend.arguments import positive
from backend.engines import load_engine
from backend.images import decode_image, read_photograph
from backend.query import Answerer, Query
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

KINDS: Final = ("openpose", "depth", "normal")
FILLED: Final = 0.85
"""How much of a picture's height or width the body takes."""
DISTANCE: Final = 4.0
"""Metres from the camera to the body."""
MULTIPLE: Final = 8
"""Pixels; the sides of what is painted are multiples."""


def edited_pose(engine: Answerer, picture: Image, instruction: str) -> tuple[npt.NDArray[np.float32], str]:
    """The pose (24, 3) that a picture shows, edited; without an instruction as it is read. And the model's words.

    Raises:
        ValueError: the model reads no pose from a picture, or answers in words alone.
    """
    task = "adjust" if instruction.strip() else "estimate"
    (answer,) = engine.answer([Query(task, instruction, image=picture)])
    if answer.pose_aa is None:
        raise ValueError(f"the model gave no pose: {answer.text}")
    return answer.pose_aa, answer.text


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


def paint(
    picture: Image,
    maps: Mapping[str, Pixels],
    prompt: str,
    *,
    weights: Path,
    controls: Mapping[str, Path],
    steps: int = 30,
    strength: float = 0.75,
    seed: int = 0,
    device: str = "cpu",
) -> Image:
    """Paint a picture along control maps.

    Args:
        picture: what it starts from; as large as the maps.
        maps: for each kind its map.
        prompt: what the picture shows, in words.
        weights: folder of a Stable Diffusion pipeline.
        controls: for each kind the folder of its ControlNet.
        steps, strength, seed, device: of the pipeline; strength 1 keeps nothing of the picture.

    Raises:
        ValueError: diffusers is not installed, or a folder holds no such weights.
    """
    try:
        from diffusers import ControlNetModel, StableDiffusionControlNetImg2ImgPipeline
    except ImportError:
        raise ValueError("painting needs diffusers; run: pip install 'posellava[images]'") from None
    import torch
    from PIL import Image as Pictures

    kinds = list(controls)
    for folder in (weights, *controls.values()):
        if not folder.is_dir():
            raise ValueError(f"there is no folder {folder} of weights; name one that diffusers saved")
    try:
        nets = [ControlNetModel.from_pretrained(controls[kind]) for kind in kinds]
        pipeline = StableDiffusionControlNetImg2ImgPipeline.from_pretrained(
            weights, controlnet=nets, safety_checker=None, requires_safety_checker=False
        )
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"the weights cannot be read ({str(error)[:200]})") from None
    pipeline = pipeline.to(device)
    pipeline.set_progress_bar_config(disable=not sys.stderr.isatty())
    painted: Any = pipeline(
        prompt,
        image=picture,
        control_image=[Pictures.fromarray(maps[kind]) for kind in kinds],
        num_inference_steps=steps,
        strength=strength,
        generator=torch.Generator("cpu").manual_seed(seed),
    )
    found: Image = painted.images[0]
    return found


def repaint(argv: Sequence[str]) -> int:
    """``posellava repaint``: arguments in, exit status out."""
    parser = argparse.ArgumentParser(
        prog="posellava repaint",
        description="Pose the person in a picture anew, and paint the picture again.",
    )
    parser.add_argument("picture", type=Path, help="a PNG, JPEG or WebP with one person")
    parser.add_argument("output", type=Path, metavar="FOLDER", help="where pose, maps and picture go")
    parser.add_argument(
        "--instruction", default="", help="what should change; without it the pose stays as it is"
    )
    parser.add_argument("--prompt", default="a person, full body, photograph", help="what the picture shows")
    parser.add_argument(
        "--weights", type=Path, metavar="FOLDER", help="your Stable Diffusion, as diffusers saves it"
    )
    parser.add_argument(
        "--control", nargs="+", default=["openpose"], metavar="KIND[=FOLDER]",
        help="maps to make (openpose, depth, normal), each with your ControlNet for it",
    )  # fmt: skip
    parser.add_argument(
        "--model", type=Path, metavar="FOLDER", help="a PoseLLaVA model (default: the one that ships)"
    )
    parser.add_argument(
        "--size", type=positive, default=512, help="pixels of the longer side (default: %(default)s)"
    )
    parser.add_argument("--steps", type=positive, default=30)
    parser.add_argument("--strength", type=float, default=0.75, help="1 keeps nothing of the picture")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args(argv)
    try:
        print(_repaint(arguments))
    except (ValueError, OSError) as error:
        print(f"posellava repaint: {error}", file=sys.stderr)
        return 1
    return 0


def _repaint(arguments: argparse.Namespace) -> str:
    from PIL import Image as Pictures

    given = dict(_control(text) for text in arguments.control)
    if arguments.weights is not None and None in given.values():
        raise ValueError("with --weights each map needs its ControlNet: --control openpose=FOLDER")
    if not 0.0 < arguments.strength <= 1.0:
        raise ValueError(f"a strength of {arguments.strength:g} is none; give one above 0 and up to 1")
    picture = decode_image(read_photograph(arguments.picture, str(arguments.picture)))
    arguments.output.mkdir(parents=True, exist_ok=True)
    pose, words = edited_pose(load_engine(arguments.model), picture, arguments.instruction)
    width, height = _sides(picture.width, picture.height, arguments.size)
    maps = maps_of(pose, list(given), width, height)
    told = {"instruction": arguments.instruction, "words": words, "pose": pose.tolist()}
    (arguments.output / "pose.json").write_text(json.dumps(told) + "\n", encoding="utf-8")
    for kind, pixels in maps.items():
        Pictures.fromarray(pixels).save(arguments.output / f"{kind}.png")
    if arguments.weights is None:
        return f"{arguments.output}: pose and {', '.join(maps)}; with --weights a picture is painted"
    painted = paint(
        picture.resize((width, height)),
        maps,
        arguments.prompt,
        weights=arguments.weights,
        controls={kind: folder for kind, folder in given.items() if folder is not None},
        steps=arguments.steps,
        strength=arguments.strength,
        seed=arguments.seed,
        device=arguments.device,
    )
    painted.save(arguments.output / "picture.png")
    return str(arguments.output / "picture.png")


def _control(text: str) -> tuple[str, Path | None]:
    kind, equals, folder = text.partition("=")
    if kind not in KINDS:
        raise ValueError(f"there are no maps {kind!r}; there are {', '.join(KINDS)}")
    return kind, Path(folder) if equals else None


def _sides(width: int, height: int, longest: int) -> tuple[int, int]:
    """Width and height of about the same proportions, in multiples of MULTIPLE, the longer one about ``longest``."""
    scale = longest / max(width, height) / MULTIPLE
    return MULTIPLE * max(1, round(width * scale)), MULTIPLE * max(1, round(height * scale))
