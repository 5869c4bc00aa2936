# SPDX-License-Identifier: Apache-2.0
"""Draws scenes of several figures side by side: some small, in clothes of named colours, each in a posture of its own.

Legend: P figures of a scene, J = 24 joints, V vertices of the body; poses (J, 3) axis-angle, radians, heading 0 facing
the camera; colours linear RGB, 0 to 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from backend.body.camera import Camera
from backend.body.draw import Renderer
from backend.body.neutral import load_neutral_body
from blender_addon.contract.skeleton import JOINT_INDEX, JOINT_NAMES
from training.data.actions.situations import build_posture, loosened
from training.data.images import draw_heading, turn_to
from training.data.looks import as_photograph, photograph_look, viewport_look
from training.data.samples import Pose
from training.yaml_file import read_yaml

SCENES_FILE: Final = Path(__file__).with_name("scenes.yaml")
SIZES: Final = ((384, 256), (448, 256), (480, 320))
"""(width, height) of pictures, drawn from evenly."""
THREE_SHARE: Final = 0.5
"""Scenes of three figures; the others have two."""
SMALL_SHARE: Final = 0.4
"""Scenes in which one figure's height differs from that of all others."""
SMALL: Final = 0.65
DOING_SHARE: Final = 0.75
"""Figures whose behaviour has a name; the others are in any pose."""
VIEWPORT_SHARE: Final = 0.5
GAP: Final = (0.1, 0.5)
"""Metres between two figures, least and most."""
MOST_TURN: Final = 100.0
"""Degrees that a figure is turned from the camera at most, so that its front is to be seen in part."""

_SLEEVES: Final = ("shoulder", "collar")
_TRUNK: Final = ("spine1", "spine2", "spine3")
_LEGS: Final = ("hip", "knee")
_SKIN: Final = ((0.78, 0.52, 0.38), (0.62, 0.37, 0.25), (0.42, 0.23, 0.14), (0.22, 0.11, 0.07))

DrawPose = Callable[[np.random.Generator], Pose]


@dataclass(frozen=True)
class Figure:
    """Somebody in a scene: the pose, the colours' names, whether smaller than an adult, and a key of the behaviours,
    empty where none of them fits."""

    pose_aa: Pose
    shirt: str
    trousers: str
    is_small: bool
    behaviour: str


@dataclass(frozen=True)
class Scene:
    """A picture (H, W, 3) and those who are in it, from left to right."""

    picture: npt.NDArray[np.uint8]
    figures: tuple[Figure, ...]


class _Crowd:
    """The neutral body several times, as one mesh; see ``backend.body.draw.Body``."""

    def __init__(self, count: int) -> None:
        one = load_neutral_body("coarse")
        size = len(one.vertices)
        self.faces: Tensor = torch.cat([one.faces + number * size for number in range(count)])
        self.weights: Tensor = torch.block_diag(*[one.weights] * count)  # type: ignore[no-untyped-call]

    def pose(self, pose_aa: Tensor) -> tuple[Tensor, Tensor]:
        """As of one body."""
        return load_neutral_body("coarse").pose(pose_aa)


@cache
def load_words() -> Mapping[str, Any]:
    """The words of ``scenes.yaml``."""
    words: Mapping[str, Any] = read_yaml(SCENES_FILE)
    return words


def draw_scene(rng: np.random.Generator, draw_pose: DrawPose) -> Scene:
    """A scene.

    Args:
        rng: what is drawn is drawn from it.
        draw_pose: poses of those whose behaviour has no name.

    Raises:
        DrawingUnavailableError: the machine has no OpenGL.
    """
    figures = _cast(rng, draw_pose, 3 if rng.random() < THREE_SHARE else 2)
    placed = _placed(rng, figures)
    size = SIZES[rng.integers(len(SIZES))]
    is_viewport = rng.random() < VIEWPORT_SHARE
    everybody = np.concatenate(placed).astype(np.float32)
    camera = _camera(rng, everybody, size)
    look = viewport_look(rng) if is_viewport else photograph_look(rng)
    look = replace(look, body=np.concatenate([_clothes(rng, one) for one in figures]))
    picture = _renderer(size, len(figures)).draw(everybody, camera, look)
    return Scene(picture if is_viewport else as_photograph(rng, picture), tuple(figures))


def _cast(rng: np.random.Generator, draw_pose: DrawPose, count: int) -> list[Figure]:
    """Figures of whom no two do the same or wear the same."""
    words = load_words()
    behaviours = list(rng.permutation(list(words["behaviours"])))
    colours = list(words["colours"])
    shirts, trousers = (rng.permutation(colours)[:count].tolist() for _ in range(2))
    small = np.zeros(count, dtype=bool)
    if rng.random() < SMALL_SHARE:
        small[rng.integers(count)] = True
        small = small if rng.random() < 0.6 else ~small
    found = []
    for number in range(count):
        behaviour = str(behaviours[number]) if rng.random() < DOING_SHARE else ""
        pose = posture(rng, behaviour) if behaviour else draw_pose(rng)
        heading = float(np.clip(draw_heading(rng), -np.radians(MOST_TURN), np.radians(MOST_TURN)))
        found.append(
            Figure(turn_to(pose, heading), shirts[number], trousers[number], bool(small[number]), behaviour)
        )
    return found


def posture(rng: np.random.Generator, behaviour: str) -> Pose:
    """A pose (J, 3) of somebody who does that, or its mirror image."""
    specs: Sequence[Mapping[str, Any]] = load_words()["behaviours"][behaviour]["postures"]
    figure = build_posture(specs[rng.integers(len(specs))])
    return loosened(rng, (figure.mirrored() if rng.random() < 0.5 else figure).to_pose())


def _placed(rng: np.random.Generator, figures: Sequence[Figure]) -> list[npt.NDArray[np.float64]]:
    """Vertices (V, 3) of each figure, on the floor, side by side from left to right."""
    bodies = load_neutral_body("coarse").pose(torch.from_numpy(np.stack([one.pose_aa for one in figures])))[0]
    at, placed = 0.0, []
    for figure, body in zip(figures, bodies.double().numpy(), strict=True):
        body = body * (SMALL if figure.is_small else 1.0)
        low, high = body.min(axis=0), body.max(axis=0)
        middle = (low[2] + high[2]) / 2
        shift = np.array([at - low[0], -low[1], rng.uniform(-0.3, 0.3) - middle])
        placed.append(body + shift)
        at += high[0] - low[0] + rng.uniform(*GAP)
    return placed


def _camera(rng: np.random.Generator, vertices: npt.NDArray[np.float32], size: tuple[int, int]) -> Camera:
    """A camera in front that sees everybody, as near as that allows."""
    camera = Camera(elevation=float(rng.uniform(0, 18)), fov=float(rng.uniform(25, 45)))
    centre = (vertices.max(axis=0) + vertices.min(axis=0)) / 2
    seen = (vertices - centre) @ camera.view()[:3, :3].T
    spread = np.maximum(np.abs(seen[:, 0]) * size[1] / size[0], np.abs(seen[:, 1]))
    margin = 1.05 + rng.exponential(0.08)
    distance = float((spread * margin / math.tan(math.radians(camera.fov) / 2) + seen[:, 2]).max())
    x, y, z = map(float, centre)
    return replace(camera, target=(x, y, z), distance=distance)


def _clothes(rng: np.random.Generator, figure: Figure) -> npt.NDArray[np.float32]:
    """(J, 3) colours: skin, a shirt with short sleeves, long trousers, dark shoes."""
    colours = load_words()["colours"]
    worn = np.tile(np.array(_SKIN[rng.integers(len(_SKIN))], dtype=np.float32), (len(JOINT_NAMES), 1))
    for names, colour in (
        (("pelvis", *_sided(_LEGS)), colours[figure.trousers]),
        ((*_TRUNK, *_sided(_SLEEVES)), colours[figure.shirt]),
        (_sided(("ankle", "foot")), (0.04, 0.035, 0.03)),
    ):
        worn[[JOINT_INDEX[name] for name in names]] = colour
    return worn


def _sided(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{side}_{name}" for name in names for side in ("left", "right"))


@cache
def _renderer(size: tuple[int, int], count: int) -> Renderer:
    return Renderer(size, _Crowd(count))
