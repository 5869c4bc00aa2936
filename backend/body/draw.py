# SPDX-License-Identifier: Apache-2.0
"""Drawing a posed body to an image without a window, by OpenGL: on a graphics card or, through Mesa, on the CPU.

Uses moderngl with an EGL context. Shapes: V vertices, F triangles, J = 24 joints, images (H, W, 3) uint8. World
axes are SMPL's: +y up, metres.
"""

from __future__ import annotations

import math
import os
import sys
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

from .neutral import load_neutral_body

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
class Camera:
    """A camera that looks at the body. Angles in degrees, lengths in metres."""

    azimuth: float = 0.0
    """Where it stands around the vertical: 0 in front of a body that faces +z, 90 on that body's left."""
    elevation: float = 8.0
    """Its height above the horizon, as an angle."""
    distance: float = 4.2
    fov: float = 30.0
    """The vertical angle of view."""
    roll: float = 0.0
    target: tuple[float, float, float] = (0.0, 0.9, 0.0)

    def framing(self, vertices: Array, margin: float = 1.06) -> Camera:
        """This camera, moved to where all of ``vertices`` (N, 3) fill the height of the image and no more."""
        centre = (vertices.max(0) + vertices.min(0)) / 2
        seen = (vertices - centre) @ self.view()[
            :3, :3
        ].T  # the camera at the centre: x right, y up, z towards it
        spread = np.abs(seen[:, :2]).max(1) * margin / math.tan(math.radians(self.fov) / 2)
        distance = float((spread + seen[:, 2]).max())
        return replace(self, target=(float(centre[0]), float(centre[1]), float(centre[2])), distance=distance)

    def view(self) -> Array:
        """(4, 4) world to camera; the camera looks along its -z, +y up."""
        azimuth, elevation, roll = (math.radians(a) for a in (self.azimuth, self.elevation, self.roll))
        back = np.array(
            [
                math.sin(azimuth) * math.cos(elevation),
                math.sin(elevation),
                math.cos(azimuth) * math.cos(elevation),
            ]
        )
        right = np.array([math.cos(azimuth), 0.0, -math.sin(azimuth)])
        up = np.cross(back, right)
        turned_right = math.cos(roll) * right + math.sin(roll) * up
        rotation = np.stack([turned_right, np.cross(back, turned_right), back])
        matrix = np.eye(4, dtype=np.float32)
        matrix[:3, :3] = rotation
        matrix[:3, 3] = -rotation @ (np.array(self.target) + self.distance * back)
        return matrix

    def projection(self, aspect: float) -> Array:
        """(4, 4) camera to OpenGL clip space for images of width / height ``aspect``."""
        near, far = 0.05, 100.0
        focal = 1 / math.tan(math.radians(self.fov) / 2)
        matrix = np.zeros((4, 4), dtype=np.float32)
        matrix[0, 0], matrix[1, 1] = focal / aspect, focal
        matrix[2, 2], matrix[2, 3] = (far + near) / (near - far), 2 * far * near / (near - far)
        matrix[3, 2] = -1
        return matrix

    def project(self, points: Array, size: tuple[int, int]) -> Array:
        """Pixel positions (N, 2), x to the right and y down, of world points (N, 3) in images of (width, height)."""
        width, height = size
        clip = np.c_[points, np.ones(len(points))] @ (self.projection(width / height) @ self.view()).T
        flat = clip[:, :2] / clip[:, 3:]
        return np.asarray((flat * [0.5, -0.5] + 0.5) * [width, height], dtype=np.float32)


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


_BACKGROUND_VERTEX: Final = """
#version 330
out vec2 uv;
void main() {
    vec2 corner = vec2(gl_VertexID & 1, gl_VertexID >> 1);
    uv = vec2(corner.x, 1.0 - corner.y);
    gl_Position = vec4(corner * 2.0 - 1.0, 0.999999, 1.0);
}
"""
_TO_DISPLAY: Final = """
vec4 display(vec3 linear, float alpha) { return vec4(pow(max(linear, 0.0), vec3(1.0 / 2.2)), alpha); }
"""
_BACKGROUND_FRAGMENT: Final = (
    "#version 330\n"
    + _TO_DISPLAY
    + """
uniform sampler2D picture;
in vec2 uv;
out vec4 colour;
void main() {
    // Texel centres at the edges: two rows make a gradient over the full height.
    vec2 size = vec2(textureSize(picture, 0));
    colour = display(texture(picture, (uv * (size - 1.0) + 0.5) / size).rgb, 1.0);
}
"""
)
_SHADOW_FRAGMENT: Final = "#version 330\nvoid main() {}\n"
_SHADOW_VERTEX: Final = """
#version 330
uniform mat4 to_light;
in vec3 position;
void main() { gl_Position = to_light * vec4(position, 1.0); }
"""
_LIT_PART: Final = """
uniform sampler2DShadow shadow_map;
uniform mat4 to_light;
float lit(vec3 where, float bias) {
    vec4 p = to_light * vec4(where, 1.0);
    vec3 uvz = p.xyz * 0.5 + 0.5;
    if (any(lessThan(uvz.xy, vec2(0.0))) || any(greaterThan(uvz.xy, vec2(1.0)))) return 1.0;
    float sum = 0.0;
    float texel = 1.5 / float(textureSize(shadow_map, 0).x);
    for (int x = -1; x <= 1; x++) for (int y = -1; y <= 1; y++)
        sum += texture(shadow_map, vec3(uvz.xy + texel * vec2(x, y), uvz.z - bias));
    return sum / 9.0;
}
"""
_FLOOR_VERTEX: Final = """
#version 330
uniform mat4 to_clip;
uniform float reach;
uniform float height;
out vec3 where;
void main() {
    where = vec3((gl_VertexID & 1) * 2 - 1, 0.0, (gl_VertexID >> 1) * 2 - 1) * reach + vec3(0.0, height, 0.0);
    gl_Position = to_clip * vec4(where, 1.0);
}
"""
_FLOOR_FRAGMENT: Final = (
    "#version 330\n"
    + _TO_DISPLAY
    + _LIT_PART
    + """
uniform vec4 floor_colour;
uniform vec3 eye;
uniform float grid;
uniform float shadow;
in vec3 where;
out vec4 colour;
float lines(vec2 p, float spacing) {
    vec2 q = p / spacing;
    vec2 width = fwidth(q);
    vec2 near = abs(fract(q - 0.5) - 0.5) / max(width, 1e-6);
    float line = 1.0 - min(min(near.x, near.y), 1.0);
    return line * clamp(1.0 - 2.0 * max(width.x, width.y), 0.0, 1.0);
}
void main() {
    float fade = exp(-0.012 * dot(where.xz, where.xz));
    float dark = shadow * (1.0 - lit(where, 0.002)) * fade;
    float line = grid * fade * max(0.45 * lines(where.xz, 0.25), lines(where.xz, 1.0));
    vec3 base = floor_colour.rgb * (1.0 - dark);
    float cover = floor_colour.a * fade;
    // Without a floor the lines and the shadow lie over the background.
    vec3 over = mix(base, vec3(0.5), line);
    float alpha = max(cover, max(line, dark));
    if (floor_colour.a == 0.0) over = mix(vec3(0.0), vec3(0.5), line / max(line + dark, 1e-5));
    colour = display(over, alpha);
}
"""
)
_BODY_VERTEX: Final = """
#version 330
uniform mat4 to_clip;
in vec3 position;
in vec3 normal;
in vec3 skin;
out vec3 where;
out vec3 facing;
out vec3 albedo;
void main() {
    where = position;
    facing = normal;
    albedo = skin;
    gl_Position = to_clip * vec4(position, 1.0);
}
"""
_BODY_FRAGMENT: Final = (
    "#version 330\n"
    + _TO_DISPLAY
    + _LIT_PART
    + """
uniform vec3 eye;
uniform vec3 light;
uniform vec3 light_colour;
uniform vec3 sky;
uniform vec3 ground;
uniform float gloss;
in vec3 where;
in vec3 facing;
in vec3 albedo;
out vec4 colour;
void main() {
    vec3 n = normalize(facing);
    vec3 v = normalize(eye - where);
    float facing_light = dot(n, light);
    float open = facing_light > 0.0 ? lit(where + 0.012 * n, 0.004) : 0.0;
    vec3 soft = mix(ground, sky, 0.5 + 0.5 * n.y);
    vec3 diffuse = light_colour * max(facing_light, 0.0) * open;
    float shine = gloss * pow(max(dot(n, normalize(light + v)), 0.0), 32.0) * open;
    float edge = 0.15 * pow(1.0 - max(dot(n, v), 0.0), 3.0);
    colour = display(albedo * (soft + diffuse) + shine * light_colour + edge * sky, 1.0);
}
"""
)


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
        self._background_program = context.program(_BACKGROUND_VERTEX, _BACKGROUND_FRAGMENT)
        self._floor_program = context.program(_FLOOR_VERTEX, _FLOOR_FRAGMENT)
        self._body_program = context.program(_BODY_VERTEX, _BODY_FRAGMENT)
        self._shadow_program = context.program(_SHADOW_VERTEX, _SHADOW_FRAGMENT)
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
        self._positions.write(vertices)
        self._normals.write(self._normals_of(vertices))
        colours = np.asarray(look.body, dtype=np.float32)
        skin = self._weights @ colours if colours.ndim == 2 else np.broadcast_to(colours, vertices.shape)
        self._skin.write(np.ascontiguousarray(skin, dtype=np.float32))

        light = np.array(look.light, dtype=np.float32)
        light /= np.linalg.norm(light)
        to_light = _light_matrix(light, vertices)
        self._cast_shadow(to_light)

        view = camera.view()
        to_clip = camera.projection(self.size[0] / self.size[1]) @ view
        eye = -view[:3, :3].T @ view[:3, 3]
        self._frame.use()
        self._frame.clear()
        self._draw_background(look)
        self._shadow_map.use(0)
        # A camera below the floor sees the body, not the floor's underside.
        if eye[1] > vertices[:, 1].min():
            self._draw_floor(look, to_clip, to_light, float(vertices[:, 1].min()))
        self._context.enable_only(moderngl.DEPTH_TEST)
        _set(
            self._body_program, to_clip=to_clip, to_light=to_light, eye=eye, light=light,
            light_colour=np.array(look.light_colour) * look.light_strength, sky=look.sky, ground=look.ground,
            gloss=look.gloss,
        )  # fmt: skip
        self._body.render()
        self._context.copy_framebuffer(self._resolved, self._frame)
        width, height = self.size
        pixels = np.frombuffer(self._resolved.read(components=3, alignment=1), dtype=np.uint8)
        return np.ascontiguousarray(pixels.reshape(height, width, 3)[::-1])

    def _normals_of(self, vertices: Array) -> Array:
        """(V, 3) unit normals, the mean of the faces around each vertex, larger faces counting more."""
        a, b, c = (vertices[self._faces[:, corner]] for corner in range(3))
        normals = np.add.reduceat(np.cross(b - a, c - a)[self._around], self._starts)
        length = np.linalg.norm(normals, axis=1, keepdims=True)
        return np.asarray(normals / np.maximum(length, 1e-12), dtype=np.float32)

    def _cast_shadow(self, to_light: Array) -> None:
        self._shadow_frame.use()
        self._shadow_frame.clear(depth=1.0)
        self._context.enable_only(moderngl.DEPTH_TEST)
        _set(self._shadow_program, to_light=to_light)
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

    def _draw_floor(self, look: Look, to_clip: Array, to_light: Array, height: float) -> None:
        if look.floor is None and not look.grid and not look.shadow:
            return
        self._context.enable_only(moderngl.BLEND)
        colour = (*look.floor, 1.0) if look.floor is not None else (0.0, 0.0, 0.0, 0.0)
        _set(
            self._floor_program, to_clip=to_clip, to_light=to_light, height=height, reach=FLOOR_REACH,
            floor_colour=colour, grid=look.grid, shadow=look.shadow,
        )  # fmt: skip
        self._floor.render(moderngl.TRIANGLE_STRIP, vertices=4)


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
