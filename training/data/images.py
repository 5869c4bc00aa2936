# SPDX-License-Identifier: Apache-2.0
"""Pictures of posed bodies for pose estimation and stage 1: as a viewport shows them, and as photographs of a
mannequin. Camera, light, colours and background are drawn anew for each.

The pose that belongs to a picture is as its camera sees it: heading 0 faces the camera, upright stays upright
whatever the camera's elevation and roll. `posellava data build` keeps the pictures on disk, in shards.

Legend: J = 24 joints; poses (J, 3) axis-angle, radians; images (H, W, 3) uint8; colours linear RGB, 0 to 1.
"""

from __future__ import annotations

import colorsys
import io
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageFilter

from backend.body.camera import Camera
from backend.body.draw import Body, Look, Renderer
from backend.body.neutral import load_neutral_body
from backend.body.rotations import apply_heading, axis_angle_to_matrix, matrix_to_axis_angle, split_heading
from backend.body.smplx_adapter import load_licensed_body
from blender_addon.contract.skeleton import JOINT_INDEX, NUM_JOINTS

from .samples import Pose, Sample

Array = npt.NDArray[np.float32]

SIZES: Final = ((256, 256), (256, 256), (320, 240), (240, 320))
"""(width, height) of pictures, drawn from evenly: what the pose reader sees is 256 pixels long."""

StartGiven = Literal["pose", "image", "both"]
"""What an adjustment starts from: the pose, a picture of it, or both."""

VIEWPORT_SHARE: Final = 0.75
"""The rest are photographs."""

TOWARDS_CAMERA_SHARE: Final = 0.55
"""Poses that more or less face the camera; the rest face anywhere."""

INSTRUCTIONS: Final = (
    "",
    "Use the pose in the picture.",
    "Match the reference.",
    "Take the pose from this image.",
    "Look at the figure in the render.",
)
"""What users type beside a picture; the picture says it all."""

_SKIN_TONES: Final = (
    (0.78, 0.52, 0.38),
    (0.62, 0.37, 0.25),
    (0.42, 0.23, 0.14),
    (0.22, 0.11, 0.07),
    (0.85, 0.62, 0.5),
)
_WOOD: Final = (0.55, 0.34, 0.16)

_SLEEVES: Final = ((), ("shoulder",), ("shoulder", "elbow"), ("shoulder", "elbow"))
_LEGS: Final = (("hip",), ("hip", "knee"), ("hip", "knee"))


class PictureSampler:
    """Draws pictures of poses, task ``estimate``.

    Args:
        draw_pose: where poses come from.
        body_file: a licensed body in SMPL's, SMPL-H's or SMPL-X's format; None for the neutral one.

    Raises:
        BodyFileError: the file cannot be used.
        FileNotFoundError: no such file.
    """

    def __init__(
        self, draw_pose: Callable[[np.random.Generator], Pose], body_file: Path | None = None
    ) -> None:
        self.draw_pose = draw_pose
        self.body_file = body_file
        _body(body_file)

    def draw(self, rng: np.random.Generator) -> Sample:
        """One sample with its picture; its kind is ``viewport`` or ``photograph``.

        Raises:
            DrawingUnavailableError: the machine has no OpenGL.
        """
        pose_aa = turn_to(self.draw_pose(rng), draw_heading(rng))
        viewport = rng.random() < VIEWPORT_SHARE
        picture, joints = draw_picture(rng, pose_aa, viewport=viewport, body_file=self.body_file)
        return Sample(
            id="",
            task="estimate",
            kind="viewport" if viewport else "photograph",
            instruction=INSTRUCTIONS[rng.integers(len(INSTRUCTIONS))],
            target_aa=pose_aa,
            image=picture,
            image_joints=joints,
        )


def show_start(
    rng: np.random.Generator, sample: Sample, given: StartGiven, *, body_file: Path | None = None
) -> Sample:
    """A sample of the task ``adjust`` with a picture of its start, from which it is to be adjusted, alone or beside the
    pose (the paper's PoseLLaVA-Image). Start and target are turned to be as the camera sees them.

    Raises:
        DrawingUnavailableError: the machine has no OpenGL.
    """
    if given == "pose":
        return sample
    assert sample.pose_aa is not None
    assert sample.target_aa is not None
    start, target = turned_alike(draw_heading(rng), sample.pose_aa, sample.target_aa)
    picture, joints = draw_picture(rng, start, viewport=rng.random() < VIEWPORT_SHARE, body_file=body_file)
    return replace(
        sample,
        pose_aa=None if given == "image" else start,
        target_aa=target,
        image=picture,
        image_joints=joints,
    )


def turned_alike(heading: float, start_aa: Pose, target_aa: Pose) -> tuple[Pose, Pose]:
    """Two poses (J, 3) turned by one angle, so that the first has this heading, radians."""
    local = axis_angle_to_matrix(torch.from_numpy(np.stack([start_aa, target_aa]).astype(np.float64)))
    yaw, _ = split_heading(local)
    turned = matrix_to_axis_angle(apply_heading((heading - yaw[0]).expand(2), local)).float().numpy()
    return turned[0], turned[1]


def draw_heading(rng: np.random.Generator) -> float:
    """Yaw in radians relative to the camera; 0 faces it."""
    if rng.random() < TOWARDS_CAMERA_SHARE:
        return float(rng.normal(0, np.radians(45)))
    return float(rng.uniform(-np.pi, np.pi))


def turn_to(pose_aa: Pose, heading: float) -> Pose:
    """The pose (J, 3) with its heading replaced by ``heading`` radians."""
    local = axis_angle_to_matrix(torch.from_numpy(np.asarray(pose_aa, dtype=np.float64)))
    _, forward = split_heading(local)
    turned: Pose = (
        matrix_to_axis_angle(apply_heading(torch.tensor(heading, dtype=local.dtype), forward)).float().numpy()
    )
    return turned


def draw_picture(
    rng: np.random.Generator, pose_aa: Pose, *, viewport: bool, body_file: Path | None = None
) -> tuple[npt.NDArray[np.uint8], Array]:
    """A picture (H, W, 3) of the pose (J, 3), in one of SIZES, and where it shows the joints (J, 2), as shares of its
    width and height."""
    renderer = _renderer(SIZES[rng.integers(len(SIZES))], body_file)
    vertices, joints = (places[0].numpy() for places in renderer.body.pose(torch.from_numpy(pose_aa)[None]))
    camera = draw_camera(rng, vertices, viewport=viewport)
    shown = camera.project(joints, renderer.size) / np.array(renderer.size, dtype=np.float32)
    if viewport:
        return renderer.draw(vertices, camera, viewport_look(rng)), shown
    return as_photograph(rng, renderer.draw(vertices, camera, photograph_look(rng))), shown


@cache
def _renderer(size: tuple[int, int], body_file: Path | None) -> Renderer:
    return Renderer(size, _body(body_file))


@cache
def _body(file: Path | None) -> Body:
    return load_neutral_body("coarse") if file is None else load_licensed_body(file)


def draw_camera(rng: np.random.Generator, vertices: Array, *, viewport: bool) -> Camera:
    """A camera in front (azimuth 0) that sees the body (V, 3), small or large, rarely cut off, not always centred."""
    elevation = rng.uniform(-8, 40) if viewport else rng.normal(5, 8)
    camera = Camera(
        elevation=float(elevation),
        fov=float(rng.uniform(22, 60)),
        roll=0.0 if viewport else float(rng.normal(0, 2.5)),
    ).framing(vertices, margin=float(0.95 + rng.exponential(0.2)))
    aside = 0.05 * camera.distance * np.tan(np.radians(camera.fov / 2)) * rng.normal(size=3)
    x, y, z = np.array(camera.target) + aside
    return Camera(
        0.0, camera.elevation, camera.distance, camera.fov, camera.roll, (float(x), float(y), float(z))
    )


def viewport_look(rng: np.random.Generator) -> Look:
    """Like a 3D program's viewport: plain material, grey gradient, grid, light from behind the camera."""
    level = rng.uniform(0.02, 0.35) if rng.random() < 0.8 else rng.uniform(0.5, 0.9)
    tint = 1 + rng.normal(0, 0.05, 3)
    gradient = np.array([[level * tint * rng.uniform(0.6, 1.6)], [level * tint]])
    body = _tinted(rng, float(rng.uniform(0, 0.45)), float(rng.uniform(0.3, 0.8)))
    return Look(
        body=body,
        background=np.clip(gradient, 0, 1).astype(np.float32),
        light=_direction(rng, spread=50, least_height=0.2),
        light_colour=(1.0, 1.0, 1.0),
        light_strength=float(rng.uniform(0.3, 1.0)),
        sky=_grey(rng, 0.25, 0.6),
        ground=_grey(rng, 0.1, 0.4),
        gloss=float(rng.uniform(0, 0.4)),
        grid=float(rng.uniform(0.1, 0.8)) if rng.random() < 0.8 else 0.0,
        shadow=0.0 if rng.random() < 0.6 else float(rng.uniform(0.2, 0.6)),
    )


def photograph_look(rng: np.random.Generator) -> Look:
    """Like a photograph of a mannequin, bare or dressed, in a room or outside, out of focus behind."""
    floor = (
        _tinted(rng, float(rng.uniform(0, 0.5)), float(rng.uniform(0.1, 0.8))) if rng.random() < 0.6 else None
    )
    return Look(
        body=_dressed(rng) if rng.random() < 0.65 else _bare(rng),
        background=draw_backdrop(rng),
        light=_direction(rng, spread=100, least_height=0.15),
        light_colour=_tinted(rng, float(rng.uniform(0, 0.25)), 1.0),
        light_strength=float(rng.uniform(0.4, 1.3)),
        sky=_tinted(rng, float(rng.uniform(0, 0.3)), float(rng.uniform(0.2, 0.6))),
        ground=_tinted(rng, float(rng.uniform(0, 0.4)), float(rng.uniform(0.05, 0.35))),
        gloss=float(rng.uniform(0, 0.5)),
        floor=floor,
        grid=0.0,
        shadow=float(rng.uniform(0.2, 0.8)),
    )


def as_photograph(rng: np.random.Generator, picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """What a lens, a sensor and a file format do: blur, exposure, noise and compression, each at times."""
    if rng.random() < 0.3:
        image = Image.fromarray(picture).filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.0)))
        picture = np.asarray(image)
    light = picture.astype(np.float32) * rng.uniform(0.75, 1.25)
    if rng.random() < 0.5:
        light += rng.normal(0, rng.uniform(1, 8), picture.shape)
    picture = np.clip(light, 0, 255).astype(np.uint8)
    if rng.random() < 0.5:
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, format="JPEG", quality=int(rng.integers(35, 90)))
        picture = np.asarray(Image.open(buffer))
    return picture


def _direction(rng: np.random.Generator, *, spread: float, least_height: float) -> tuple[float, float, float]:
    """Where light comes from: within ``spread`` degrees (one sigma) of the camera's side, above the floor."""
    azimuth = np.radians(rng.normal(0, spread))
    height = rng.uniform(least_height, 1.0)
    level = np.sqrt(1 - height**2)
    return float(np.sin(azimuth) * level), float(height), float(np.cos(azimuth) * level)


def _grey(rng: np.random.Generator, low: float, high: float) -> tuple[float, float, float]:
    level = float(rng.uniform(low, high))
    return level, level, level


def _tinted(rng: np.random.Generator, saturation: float, value: float) -> tuple[float, float, float]:
    return colorsys.hsv_to_rgb(float(rng.random()), saturation, value)


def _skin(rng: np.random.Generator) -> tuple[float, float, float]:
    red, green, blue = np.array(_SKIN_TONES[rng.integers(len(_SKIN_TONES))]) * rng.uniform(0.85, 1.1)
    return float(red), float(green), float(blue)


def _bare(rng: np.random.Generator) -> tuple[float, float, float]:
    """A mannequin's one colour: plastic, wood or skin."""
    kind = rng.random()
    if kind < 0.5:
        return _tinted(rng, float(rng.uniform(0, 0.2)), float(rng.uniform(0.05, 0.9)))
    return _WOOD if kind < 0.65 else _skin(rng)


def _dressed(rng: np.random.Generator) -> Array:
    """(J, 3) colours: skin, shirt, trousers and shoes; sleeves and legs long or short, at times the feet bare."""
    colours = np.tile(np.array(_skin(rng), dtype=np.float32), (NUM_JOINTS, 1))
    shirt, trousers, shoes = (
        _tinted(rng, float(rng.uniform(0, 0.8)), float(rng.uniform(0.03, 0.85))) for _ in range(3)
    )
    sleeves, legs = _SLEEVES[rng.integers(len(_SLEEVES))], _LEGS[rng.integers(len(_LEGS))]
    for part in ("spine1", "spine2", "spine3", "left_collar", "right_collar"):
        colours[JOINT_INDEX[part]] = shirt
    colours[JOINT_INDEX["pelvis"]] = trousers
    for side in ("left", "right"):
        for part in sleeves:
            colours[JOINT_INDEX[f"{side}_{part}"]] = shirt
        for part in legs:
            colours[JOINT_INDEX[f"{side}_{part}"]] = trousers
    if rng.random() < 0.8:
        for part in ("left_ankle", "right_ankle", "left_foot", "right_foot"):
            colours[JOINT_INDEX[part]] = shoes
    return colours


def draw_backdrop(rng: np.random.Generator) -> Array:
    """(h, w, 3) of a few soft blotches around one colour, or a plain gradient as in a studio."""
    base = np.array(_tinted(rng, float(rng.uniform(0, 0.5)), float(rng.uniform(0.05, 0.9))))
    if rng.random() < 0.35:
        return np.asarray(np.clip(base * rng.uniform(0.6, 1.3, (2, 1, 1)), 0, 1), dtype=np.float32)
    rows, columns = rng.integers(2, 9, 2)
    variety = rng.uniform(0.1, 0.5)
    blotches = (
        base + rng.normal(0, variety, (rows, columns, 1)) * base + rng.normal(0, 0.05, (rows, columns, 3))
    )
    return np.asarray(np.clip(blotches, 0, 1), dtype=np.float32)
