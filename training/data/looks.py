# SPDX-License-Identifier: Apache-2.0
"""How training pictures look: camera, light, colours, clothes and backdrops, as in a viewport or as photographed; drawn
anew for each picture. May import backend.body.

Legend: V vertices, J = 24 joints; pictures (H, W, 3) uint8; colours linear RGB, 0 to 1.
"""

from __future__ import annotations

import colorsys
import io
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from backend.body.camera import Camera
from backend.body.draw import Look
from blender_addon.contract.skeleton import JOINT_INDEX, NUM_JOINTS

Array = npt.NDArray[np.float32]

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
