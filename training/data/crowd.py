# SPDX-License-Identifier: Apache-2.0
"""What photographs have that one whole figure before a backdrop has not: people behind it, things before it, and an
edge that cuts it off. The pose that belongs to the picture stays that of the nearest person. May import looks.

Legend: J = 24 joints; poses (J, 3) axis-angle, radians; pictures (H, W, 3) uint8; places (J, 2) as shares of a
picture's width and height.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw

from backend.body.camera import Camera
from backend.body.draw import Look, Renderer
from blender_addon.contract.skeleton import JOINT_INDEX

from .looks import as_photograph, draw_camera, photograph_look
from .samples import Pose

Pixels = npt.NDArray[np.uint8]
Places = npt.NDArray[np.float32]

BEHIND_SHARE, BEFORE_SHARE, CUT_SHARE = 0.5, 0.5, 0.35
"""How often there are people behind the person, a thing before it, an edge that cuts it off."""
MOST_BEHIND: Final = 3
MOST_HIDDEN: Final = 6
"""Joints that things may hide, and that the edge may cut off: who is half hidden is nobody's whole pose."""
GAMMA: Final = 2.2
_IN_SIGHT: Final = tuple(JOINT_INDEX[name] for name in ("head", "neck", "pelvis", "left_hip", "right_hip"))
"""Joints that stay in the picture and in sight."""


def draw_in_a_crowd(
    rng: np.random.Generator,
    pose_aa: Pose,
    draw_seen: Callable[[np.random.Generator], Pose],
    renderer: Renderer,
) -> tuple[Pixels, Places]:
    """A photograph of a pose (J, 3) among people and things, and where it shows the joints (J, 2).

    Args:
        rng: draws everything.
        pose_aa: the person's, as the camera sees it.
        draw_seen: where the poses of the people behind come from, as the camera sees them.
        renderer: of the picture's size.
    """
    vertices, joints = (places[0].numpy() for places in renderer.body.pose(torch.from_numpy(pose_aa)[None]))
    camera = draw_camera(rng, vertices, viewport=False)
    look = photograph_look(rng)
    if rng.random() < BEHIND_SHARE:
        look = _people_behind(rng, camera, look, draw_seen, renderer)
    picture = renderer.draw(vertices, camera, look)
    places = camera.project(joints, renderer.size) / np.array(renderer.size, dtype=np.float32)
    if rng.random() < BEFORE_SHARE:
        picture = _thing_before(rng, picture, places)
    if rng.random() < CUT_SHARE:
        picture, places = _cut(rng, picture, places)
    return as_photograph(rng, picture), places


def _people_behind(
    rng: np.random.Generator,
    camera: Camera,
    look: Look,
    draw_seen: Callable[[np.random.Generator], Pose],
    renderer: Renderer,
) -> Look:
    """The look with people in its background, the farthest first: smaller than the person, at either side of it."""
    for farther in sorted(rng.uniform(1.6, 4.0, int(rng.integers(1, MOST_BEHIND + 1))), reverse=True):
        other = draw_seen(rng)
        vertices = renderer.body.pose(torch.from_numpy(other)[None])[0][0].numpy()
        half_width = farther * camera.distance * np.tan(np.radians(camera.fov / 2))
        aside = half_width * rng.uniform(0.35, 1.1) * rng.choice((-1.0, 1.0))
        x, y, z = camera.target
        seen = replace(camera, distance=farther * camera.distance, target=(x - aside, y, z))
        dressed = replace(photograph_look(rng), background=look.background, floor=None, shadow=0.0)
        alike = replace(dressed, light=look.light, light_colour=look.light_colour)
        shown = renderer.draw(vertices, seen, alike)
        look = replace(look, background=(shown / np.float32(255)) ** GAMMA, floor=None)
    return look


def _thing_before(rng: np.random.Generator, picture: Pixels, places: Places) -> Pixels:
    """The picture with a box, a ball or a pole before the person, that hides some of the joints but not the trunk."""
    height, width = picture.shape[:2]
    for _ in range(20):
        image = Image.fromarray(picture)
        mask = Image.new("1", image.size)
        middle = places[rng.integers(len(places))] * (width, height)
        across, down = (float(rng.uniform(0.04, 0.25)) * size for size in (width, height))
        corners = [middle[0] - across, middle[1] - down, middle[0] + across, middle[1] + down]
        colour = tuple(int(part) for part in rng.integers(0, 256, 3))
        kind = rng.integers(3)
        if kind == 2:
            lean = float(rng.normal(0, 0.15)) * height
            pole = [(middle[0] - lean, 0), (middle[0] + lean, height)]
        for canvas, fill in ((image, colour), (mask, 1)):
            draw = ImageDraw.Draw(canvas)
            if kind == 0:
                draw.rectangle(corners, fill=fill)
            elif kind == 1:
                draw.ellipse(corners, fill=fill)
            else:
                draw.line(pole, fill=fill, width=max(2, int(across / 3)))
        hidden = _at(np.asarray(mask), places)
        if hidden.sum() <= MOST_HIDDEN and not hidden[list(_IN_SIGHT)].any():
            return np.asarray(image)
    return picture


def _at(mask: npt.NDArray[np.bool_], places: Places) -> npt.NDArray[np.bool_]:
    """(J,) the mask (H, W) at the joints; False outside."""
    height, width = mask.shape
    x, y = np.floor(places * (width, height)).astype(int).T
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return np.where(inside, mask[y.clip(0, height - 1), x.clip(0, width - 1)], False)


def _cut(rng: np.random.Generator, picture: Pixels, places: Places) -> tuple[Pixels, Places]:
    """A part of the picture in the size of the whole, in which hands or feet may be missing."""
    height, width = picture.shape[:2]
    for _ in range(20):
        share = float(rng.uniform(0.6, 0.92))
        corner = rng.uniform(0, 1 - share, 2)
        moved = (places - corner) / share
        outside = ((moved < 0) | (moved > 1)).any(axis=1)
        if outside.sum() <= MOST_HIDDEN and not outside[list(_IN_SIGHT)].any():
            left, top = corner * (width, height)
            box = (left, top, left + share * width, top + share * height)
            part = Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR, box=box)
            return np.asarray(part), moved.astype(np.float32)
    return picture, places
