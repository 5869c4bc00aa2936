# SPDX-License-Identifier: Apache-2.0
"""Pictures of posed bodies for pose estimation and stage 1: as a viewport shows them, and as photographs of a
mannequin. Camera, light, colours and background are drawn anew for each.

The pose that belongs to a picture is as its camera sees it: heading 0 faces the camera, upright stays upright
whatever the camera's elevation and roll. `posellava data build` keeps the pictures on disk, in shards.

Legend: J = 24 joints; poses (J, 3) axis-angle, radians; images (H, W, 3) uint8; colours linear RGB, 0 to 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import torch

from backend.body.draw import Body, Renderer
from backend.body.neutral import load_neutral_body
from backend.body.rotations import apply_heading, axis_angle_to_matrix, matrix_to_axis_angle, split_heading
from backend.body.smplx_adapter import load_licensed_body

from .crowd import draw_in_a_crowd
from .looks import as_photograph, draw_camera, photograph_look, viewport_look
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


class PictureSampler:
    """Draws pictures of poses, task ``estimate``.

    Args:
        draw_pose: where poses come from.
        body_file: a licensed body in SMPL's, SMPL-H's or SMPL-X's format; None for the neutral one.
        crowded: share of the photographs in which the person is not alone, or not whole: see ``crowd``.

    Raises:
        BodyFileError: the file cannot be used.
        FileNotFoundError: no such file.
    """

    def __init__(
        self,
        draw_pose: Callable[[np.random.Generator], Pose],
        body_file: Path | None = None,
        *,
        crowded: float = 0.0,
    ) -> None:
        self.draw_pose = draw_pose
        self.body_file = body_file
        self.crowded = crowded
        _body(body_file)

    def draw(self, rng: np.random.Generator) -> Sample:
        """One sample with its picture; its kind is ``viewport`` or ``photograph``.

        Raises:
            DrawingUnavailableError: the machine has no OpenGL.
        """
        pose_aa = self._draw_seen(rng)
        viewport = rng.random() < VIEWPORT_SHARE
        if self.crowded and not viewport and rng.random() < self.crowded:
            renderer = _renderer(SIZES[rng.integers(len(SIZES))], self.body_file)
            picture, joints = draw_in_a_crowd(rng, pose_aa, self._draw_seen, renderer)
        else:
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

    def _draw_seen(self, rng: np.random.Generator) -> Pose:
        return turn_to(self.draw_pose(rng), draw_heading(rng))


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
