# SPDX-License-Identifier: Apache-2.0
"""``posellava repaint``: a picture and an instruction in, the picture with the person posed anew out.

Four steps: the model reads the pose that the picture shows, edits it as the instruction says, the neutral body is drawn
in that pose as control maps, and a diffusion pipeline with ControlNet paints along them (PoseLLaVA, figures 1 and 5).
The weights of the pipeline are the user's own (see painting.py). Without weights the maps and the pose are written, for
any other picture maker. May import backend.engines, backend.images and backend.painting.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from backend.arguments import positive
from backend.engines import load_engine
from backend.exits import exit_status
from backend.image_weights import check_weights, control_folder
from backend.images import decode_image, read_photograph
from backend.painting import Pipeline, maps_of, sides
from backend.query import Answerer, Query

if TYPE_CHECKING:
    from PIL.Image import Image


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
    return exit_status("posellava repaint", lambda: print(_repaint(arguments)))


def _repaint(arguments: argparse.Namespace) -> str:
    from PIL import Image as Pictures

    given = dict(control_folder(text) for text in arguments.control)
    if arguments.weights is not None and None in given.values():
        raise ValueError("with --weights each map needs its ControlNet: --control openpose=FOLDER")
    controls = {kind: folder for kind, folder in given.items() if folder is not None}
    if arguments.weights is not None:
        check_weights(arguments.weights, controls)
    if not 0.0 < arguments.strength <= 1.0:
        raise ValueError(f"a strength of {arguments.strength:g} is none; give one above 0 and up to 1")
    picture = decode_image(read_photograph(arguments.picture, str(arguments.picture)))
    arguments.output.mkdir(parents=True, exist_ok=True)
    pose, words = edited_pose(load_engine(arguments.model), picture, arguments.instruction)
    width, height = sides(picture.width, picture.height, arguments.size)
    maps = maps_of(pose, list(given), width, height)
    told = {"instruction": arguments.instruction, "words": words, "pose": pose.tolist()}
    (arguments.output / "pose.json").write_text(json.dumps(told) + "\n", encoding="utf-8")
    for kind, pixels in maps.items():
        Pictures.fromarray(pixels).save(arguments.output / f"{kind}.png")
    if arguments.weights is None:
        return f"{arguments.output}: pose and {', '.join(maps)}; with --weights a picture is painted"
    painted = Pipeline(arguments.weights, controls, arguments.device).paint(
        picture.resize((width, height)),
        maps,
        arguments.prompt,
        steps=arguments.steps,
        strength=arguments.strength,
        seed=arguments.seed,
    )
    painted.save(arguments.output / "picture.png")
    return str(arguments.output / "picture.png")
