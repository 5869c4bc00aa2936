# SPDX-License-Identifier: Apache-2.0
"""Drawing a posed body to an image without a window, by OpenGL: on a graphics card or, through Mesa, on the CPU.

Uses moderngl with an EGL context. Shapes: V vertices, F triangles, J = 24 joints, images (H, W, 3) uint8. World
axes are SMPL's: +y up, metres.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

from .camera import Camera
from .neutral import load_neutral_body
from .shaders import (
    BACKGROUND_FRAGMENT,
    BACKGROUND_VERTEX,
    BODY_FRAGMENT,
    BODY_VERTEX,
    FLOOR_FRAGMENT,
    FLOOR_VERTEX,
    SHADOW_FRAGMENT,
    SHADOW_VERTEX,
)

Array = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]
Colour = tuple[float, float, float]

SAMPLES: Final = 4
"""Samples a pixel, against jagged edges."""

SHADOW_SIZE: Final = 512
SHADOW_REACH: Final = 1.6
"""Half the width in metres of what the shadow map covers around the body."""

FLOOR_REACH: Final = 40.0
"""Half the side of the floor, metres."""


try:
    import moderngl
except ImportError:  # What draws nothing, as training on poses alone, runs without it.
    moderngl = None  # type: ignore[assignment]


class DrawingUnavailableError(RuntimeError):
    """No OpenGL context can be made on this machine; the message says what to install."""


class Body(Protocol):
    """A skinned mesh, such as the neutral body or a licensed one."""

    @property
    def faces(self) -> Tensor:
        """(F, 3) int64."""
        ...

    @property
    def weights(self) -> Tensor:
        """(V, J) float32, rows sum to 1."""
        ...

    def pose(self, pose_aa: Tensor) -> tuple[Tensor, Tensor]:
        """Vertices (B, V, 3) and joints (B, J, 3), metres, of poses (B, J, 3), axis-angle in radians."""
        ...


@dataclass(frozen=True)
class Look:
    """What surrounds the body and what it is made of. Colours are linear RGB, 0 to 1."""

    body: Array | Colour = (0.42, 0.55, 0.72)
    """One colour, or (J, 3) one for the flesh of each joint."""
    background: Array = field(
        default_factory=lambda: np.array([[[0.26] * 3], [[0.08] * 3]], dtype=np.float32)
    )
    """(h, w, 3) image stretched over the view, top row first; two rows make a gradient."""
    light: tuple[float, float, float] = (0.5, 1.0, 0.8)
    """Direction from the body to the main light, in the world."""
    light_colour: Colour = (1.0, 0.97, 0.92)
    light_strength: float = 0.85
    sky: Colour = (0.42, 0.45, 0.5)
    """Soft light from above."""
    ground: Colour = (0.16, 0.15, 0.14)
    """Soft light from below."""
    gloss: float = 0.12
    floor: Colour | None = None
    """Colour of an endless floor that fades into the background; None draws none, only the shadow on it."""
    grid: float = 0.35
    """Strength, 0 to 1, of grid lines a quarter of a metre apart on the floor, as in a viewport."""
    shadow: float = 0.45


@cache
def _context() -> Any:
    """The process's one OpenGL context."""
    # Mesa's software renderer in the calling thread: small pictures gain nothing from more, and many processes
    # drawing at once would fight over the cores.
    os.environ.setdefault("LP_NUM_THREADS", "0")
    if moderngl is None:
        raise DrawingUnavailableError("Pictures cannot be drawn: moderngl is missing; pip install moderngl")
    try:
        # Without this choice moderngl would ask for a display on Linux.
        backend: dict[str, Any] = {"backend": "egl"} if sys.platform.startswith("linux") else {}
        return moderngl.create_context(standalone=True, require=330, **backend)
    except Exception as error:
        raise DrawingUnavailableError(
            "Pictures cannot be drawn: this machine offers no OpenGL 3.3 without a window. On Debian and Ubuntu, "
            f"'apt-get install libegl1 libgl1-mesa-dri' provides it, with or without a graphics card. ({error})"
        ) from error


class Renderer:
    """Draws a body's vertices; make one for each image size and keep it.

    Args:
        size: (width, height) of the images.
        body: the mesh whose faces and weights the vertices belong to; the full neutral body when None.

    Raises:
        DrawingUnavailableError: the machine has no OpenGL.
    """

    def __init__(self, size: tuple[int, int] = (256, 256), body: Body | None = None) -> None:
        body = body or load_neutral_body()
        self.size = size
        self.body = body
        self._faces = body.faces.numpy()
        self._weights = body.weights.numpy()
        # Corners sorted by vertex, to sum the normals of the faces around each vertex.
        corners = np.argsort(self._faces.ravel(), kind="stable")
        self._around = corners // 3
        starts = np.searchsorted(self._faces.ravel()[corners], np.arange(len(self._weights)))
        self._starts = np.minimum(starts, len(corners) - 1)  # the last vertices may be in no face

        context = self._context = _context()
        self._background_program = context.program(BACKGROUND_VERTEX, BACKGROUND_FRAGMENT)
        self._floor_program = context.program(FLOOR_VERTEX, FLOOR_FRAGMENT)
        self._body_program = context.program(BODY_VERTEX, BODY_FRAGMENT)
        self._shadow_program = context.program(SHADOW_VERTEX, SHADOW_FRAGMENT)
        count = len(self._weights)
        self._positions = context.buffer(reserve=count * 12)
        self._normals = context.buffer(reserve=count * 12)
        self._skin = context.buffer(reserve=count * 12)
        index = context.buffer(self._faces.astype(np.int32).tobytes())
        attributes = [
            (self._positions, "3f", "position"),
            (self._normals, "3f", "normal"),
            (self._skin, "3f", "skin"),
        ]
        self._body = context.vertex_array(self._body_program, attributes, index)
        self._caster = context.vertex_array(self._shadow_program, attributes[:1], index)
        self._background = context.vertex_array(self._background_program, [])
        self._floor = context.vertex_array(self._floor_program, [])
        self._shadow_map = context.depth_texture((SHADOW_SIZE, SHADOW_SIZE))
        self._shadow_map.compare_func = "<="
        self._shadow_frame = context.framebuffer(depth_attachment=self._shadow_map)
        self._frame = context.framebuffer(
            context.renderbuffer(size, 4, samples=SAMPLES), context.depth_renderbuffer(size, samples=SAMPLES)
        )
        self._resolved = context.framebuffer(context.renderbuffer(size, 4))

    def draw(self, vertices: Array, camera: Camera | None = None, look: Look | None = None) -> Pixels:
        """The picture (H, W, 3) of the body with these vertices (V, 3), in metres; the floor is at its lowest."""
        camera, look = camera or Camera(), look or Look()
        vertices = np.ascontiguousarray(vertices, dtype=np.float32)
        self._load(vertices, look)
        scene = _Scene.of(vertices, camera, look, self.size)
        self._cast_shadow(scene)
        self._frame.use()
        self._frame.clear()
        self._draw_background(look)
        self._shadow_map.use(0)
        # A camera below the floor sees the body, not the floor's underside.
        if scene.eye[1] > scene.floor:
            self._draw_floor(scene, look)
        self._draw_body(scene, look)
        return self._read()

    def _load(self, vertices: Array, look: Look) -> None:
        """Hands the mesh over: positions, normals and colours of its vertices."""
        self._positions.write(vertices)
        self._normals.write(self._normals_of(vertices))
        colours = np.asarray(look.body, dtype=np.float32)
        skin = self._weights @ colours if colours.ndim == 2 else np.broadcast_to(colours, vertices.shape)
        self._skin.write(np.ascontiguousarray(skin, dtype=np.float32))

    def _normals_of(self, vertices: Array) -> Array:
        """(V, 3) unit normals, the mean of the faces around each vertex, larger faces counting more."""
        a, b, c = (vertices[self._faces[:, corner]] for corner in range(3))
        normals = np.add.reduceat(np.cross(b - a, c - a)[self._around], self._starts)
        length = np.linalg.norm(normals, axis=1, keepdims=True)
        return np.asarray(normals / np.maximum(length, 1e-12), dtype=np.float32)

    def _cast_shadow(self, scene: _Scene) -> None:
        self._shadow_frame.use()
        self._shadow_frame.clear(depth=1.0)
        self._context.enable_only(moderngl.DEPTH_TEST)
        _set(self._shadow_program, to_light=scene.to_light)
        self._caster.render()

    def _draw_background(self, look: Look) -> None:
        rows, columns, _ = look.background.shape
        picture = np.ascontiguousarray(look.background, dtype=np.float32)
        texture = self._context.texture((columns, rows), 3, picture.tobytes(), alignment=1, dtype="f4")
        texture.repeat_x = texture.repeat_y = False
        texture.use(0)
        self._context.enable_only(0)
        self._background.render(moderngl.TRIANGLE_STRIP, vertices=4)
        texture.release()

    def _draw_floor(self, scene: _Scene, look: Look) -> None:
        if look.floor is None and not look.grid and not look.shadow:
            return
        self._context.enable_only(moderngl.BLEND)
        colour = (*look.floor, 1.0) if look.floor is not None else (0.0, 0.0, 0.0, 0.0)
        _set(
            self._floor_program, to_clip=scene.to_clip, to_light=scene.to_light, height=scene.floor,
            reach=FLOOR_REACH, floor_colour=colour, grid=look.grid, shadow=look.shadow,
        )  # fmt: skip
        self._floor.render(moderngl.TRIANGLE_STRIP, vertices=4)

    def _draw_body(self, scene: _Scene, look: Look) -> None:
        self._context.enable_only(moderngl.DEPTH_TEST)
        _set(
            self._body_program, to_clip=scene.to_clip, to_light=scene.to_light, eye=scene.eye, light=scene.light,
            light_colour=np.array(look.light_colour) * look.light_strength, sky=look.sky, ground=look.ground,
            gloss=look.gloss,
        )  # fmt: skip
        self._body.render()

    def _read(self) -> Pixels:
        """(H, W, 3) what was drawn, top row first."""
        self._context.copy_framebuffer(self._resolved, self._frame)
        width, height = self.size
        pixels = np.frombuffer(self._resolved.read(components=3, alignment=1), dtype=np.uint8)
        return np.ascontiguousarray(pixels.reshape(height, width, 3)[::-1])


@dataclass(frozen=True)
class _Scene:
    """Where camera, light and floor are in one picture.

    Attributes:
        to_clip: (4, 4) world to the camera's clip space.
        to_light: (4, 4) world to the clip space of the light's parallel rays.
        eye: (3,) the camera.
        light: (3,) unit direction from the body to the main light.
        floor: height of the floor.
    """

    to_clip: Array
    to_light: Array
    eye: Array
    light: Array
    floor: float

    @classmethod
    def of(cls, vertices: Array, camera: Camera, look: Look, size: tuple[int, int]) -> _Scene:
        """The scene of these vertices in pictures of (width, height)."""
        light = np.array(look.light, dtype=np.float32)
        light /= np.linalg.norm(light)
        view = camera.view()
        return cls(
            to_clip=camera.projection(size[0] / size[1]) @ view,
            to_light=_light_matrix(light, vertices),
            eye=-view[:3, :3].T @ view[:3, 3],
            light=light,
            floor=float(vertices[:, 1].min()),
        )


def _set(program: Any, **uniforms: Any) -> None:
    """Set uniforms; matrices are given row by row. One that the compiler dropped is passed over."""
    for name, value in uniforms.items():
        if name in program:
            array = np.asarray(value, dtype=np.float32)
            program[name].write(np.ascontiguousarray(array.T).tobytes())


def _light_matrix(light: Array, vertices: Array) -> Array:
    """(4, 4) world to the clip space of the light's parallel rays, around the body."""
    side = np.cross([0.0, 1.0, 0.001], light)
    side /= np.linalg.norm(side)
    rotation = np.stack([side, np.cross(light, side), light])
    centre = (vertices.max(0) + vertices.min(0)) / 2
    matrix = np.eye(4)
    matrix[:3, :3] = rotation / SHADOW_REACH
    matrix[2, :3] = -rotation[2] / (2 * SHADOW_REACH)
    matrix[:3, 3] = -matrix[:3, :3] @ centre
    return np.asarray(matrix, dtype=np.float32)
