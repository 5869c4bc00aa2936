# SPDX-License-Identifier: GPL-3.0-or-later
"""Control maps for picture makers: a body's OpenPose skeleton, its depth and its normals, as 8-bit pictures.

OpenPose's 18 points and colours are those of COCO's model (Cao et al. 2017), as ControlNet (Zhang et al. 2023) reads
them. Depth is bright where near, as MiDaS has it. Of a normal red is to the right of the picture, green up and blue
towards who looks.

Legend: V vertices, F triangles, J = 24 joints, K = 18 points, H and W of a picture in pixels. Points in the picture:
x to the right, y down, and how far they are from who looks, in metres.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from .kinematics import forward_kinematics
from .rotations import Array
from .skeleton import JOINT_INDEX

Pixels = npt.NDArray[np.uint8]
Triangles = npt.NDArray[np.int64]

_POINTS: Final = (
    "nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
    "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "right_eye", "left_eye",
    "right_ear", "left_ear",
)  # fmt: skip
POINT_INDEX: Final = {name: number for number, name in enumerate(_POINTS)}
_FACE: Final = {
    "nose": (0.0, 0.05, 0.12), "left_eye": (0.03, 0.085, 0.095), "right_eye": (-0.03, 0.085, 0.095),
    "left_ear": (0.075, 0.06, 0.01), "right_ear": (-0.075, 0.06, 0.01),
}  # fmt: skip
"""Metres from the head's joint, in its own axes, of a body of the neutral one's size."""
_LIMBS: Final = (
    ("neck", "right_shoulder"), ("neck", "left_shoulder"), ("right_shoulder", "right_elbow"),
    ("right_elbow", "right_wrist"), ("left_shoulder", "left_elbow"), ("left_elbow", "left_wrist"),
    ("neck", "right_hip"), ("right_hip", "right_knee"), ("right_knee", "right_ankle"), ("neck", "left_hip"),
    ("left_hip", "left_knee"), ("left_knee", "left_ankle"), ("neck", "nose"), ("nose", "right_eye"),
    ("right_eye", "right_ear"), ("nose", "left_eye"), ("left_eye", "left_ear"),
)  # fmt: skip
_COLOURS: Final = (
    (255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0), (0, 255, 0), (0, 255, 85),
    (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255), (0, 0, 255), (85, 0, 255), (170, 0, 255),
    (255, 0, 255), (255, 0, 170), (255, 0, 85),
)  # fmt: skip
_STICK: Final = 1 / 128
"""Half the width of a limb and the radius of a point, as a share of the picture's longer side."""
_LIMB_SHARE: Final = 0.6
"""How bright a limb is against its points."""
_FARTHEST: Final = 55.0
"""Brightness of what is farthest; the background is black."""
_BEHIND: Final = 1e-3
"""Metres; what is nearer to who looks, or behind, is not drawn."""


@dataclass(frozen=True)
class Lens:
    """How a camera makes a picture.

    Attributes:
        matrix: (4, 4) from the camera's space (x right, y up, looking along -z) to clip space, as OpenGL has it.
        width, height: of the picture.
    """

    matrix: Array
    width: int
    height: int

    @classmethod
    def with_focal(cls, focal: float, width: int, height: int) -> Lens:
        """A camera without shift; ``focal`` is its focal length in pixels."""
        matrix = np.diag([2 * focal / width, 2 * focal / height, -1.0, 0.0])
        matrix[2, 3], matrix[3, 2] = -0.02, -1.0
        return cls(matrix, width, height)

    def project(self, points: Array) -> Array:
        """Points (..., 3) of the camera's space in the picture (..., 3); NaN where they are not before the camera."""
        whole = (
            np.concatenate([points, np.ones((*points.shape[:-1], 1))], axis=-1) @ np.asarray(self.matrix).T
        )
        depth = -points[..., 2]
        shown = (depth > _BEHIND) & (np.abs(whole[..., 3]) > 1e-9)
        with np.errstate(divide="ignore", invalid="ignore"):
            x, y = whole[..., 0] / whole[..., 3], whole[..., 1] / whole[..., 3]
        found = np.stack([(x + 1) / 2 * self.width, (1 - y) / 2 * self.height, depth], axis=-1)
        return np.where(shown[..., None], found, np.nan)


def body_points(joints: Array, head: Array, size: float = 1.0) -> Array:
    """(K, 3) OpenPose's points of a body.

    Args:
        joints: (J, 3) where its joints are; NaN for those that are not known.
        head: (3, 3) rotation of the head, from SMPL's axes to those of ``joints``.
        size: of the body against the neutral one.
    """
    found = np.full((len(_POINTS), 3), np.nan)
    for name, number in POINT_INDEX.items():
        if name in JOINT_INDEX:
            found[number] = joints[JOINT_INDEX[name]]
    found[POINT_INDEX["neck"]] = joints[[JOINT_INDEX["left_shoulder"], JOINT_INDEX["right_shoulder"]]].mean(
        axis=0
    )
    for name, offset in _FACE.items():
        found[POINT_INDEX[name]] = joints[JOINT_INDEX["head"]] + size * (head @ np.array(offset))
    return found


def size_of(joints: Array) -> float:
    """How large a body is against the neutral one, by its thighs and shins; joints (J, 3)."""
    _, rest = forward_kinematics(np.tile(np.eye(3), (len(joints), 1, 1)))
    chain = [JOINT_INDEX[name] for name in ("left_hip", "left_knee", "left_ankle")]
    lengths = [np.linalg.norm(np.diff(places[chain], axis=0), axis=1).sum() for places in (joints, rest)]
    return float(lengths[0] / lengths[1])


def openpose_map(points: Array, width: int, height: int) -> Pixels:
    """(H, W, 3) the skeleton of points (K, 3) in the picture; those that are NaN are left out."""
    canvas = np.zeros((height, width, 3), dtype=np.float64)
    radius = max(1.5, _STICK * max(width, height))
    for (start, end), colour in zip(_LIMBS, _COLOURS, strict=False):
        one, other = points[POINT_INDEX[start], :2], points[POINT_INDEX[end], :2]
        if np.isfinite(one).all() and np.isfinite(other).all():
            _stroke(canvas, one, other, radius, _LIMB_SHARE * np.array(colour))
    for point, colour in zip(points[:, :2], _COLOURS, strict=True):
        if np.isfinite(point).all():
            _stroke(canvas, point, point, radius, np.array(colour, dtype=np.float64))
    return canvas.round().astype(np.uint8)


def _stroke(canvas: Array, start: Array, end: Array, radius: float, colour: Array) -> None:
    """Paint what is within ``radius`` pixels of a segment."""
    low = np.floor(np.minimum(start, end) - radius).astype(int)
    high = np.ceil(np.maximum(start, end) + radius).astype(int) + 1
    left, top = np.maximum(low, 0)
    right, bottom = np.minimum(high, (canvas.shape[1], canvas.shape[0]))
    if left >= right or top >= bottom:
        return
    at = np.stack(np.meshgrid(np.arange(left, right) + 0.5, np.arange(top, bottom) + 0.5), axis=-1) - start
    along = end - start
    share = np.clip(at @ along / max(float(along @ along), 1e-12), 0, 1)
    near = np.linalg.norm(at - share[..., None] * along, axis=-1) <= radius
    canvas[top:bottom, left:right][near] = colour


@dataclass(frozen=True)
class Raster:
    """What a picture shows of a mesh.

    Attributes:
        depth: (H, W) metres; infinite where nothing is.
        normals: (H, W, 3) in the camera's space; zero where nothing is.
    """

    depth: Array
    normals: Array


def rasterise(vertices: Array, triangles: Triangles, lens: Lens) -> Raster:
    """Draw a mesh: vertices (V, 3) in the camera's space, triangles (F, 3); those not all before the camera are not."""
    normals = _vertex_normals(vertices, triangles)
    seen = lens.project(vertices)
    inverse = np.zeros((lens.height, lens.width))  # one over the depth, which is linear in a picture
    shaded = np.zeros((lens.height, lens.width, 3))
    corners = seen[triangles]  # (F, 3, 3)
    shown = np.isfinite(corners).all(axis=(1, 2))
    low = np.floor(np.nan_to_num(corners[..., :2].min(axis=1)))
    high = np.ceil(np.nan_to_num(corners[..., :2].max(axis=1))) + 1
    shown &= (high > 0).all(axis=1) & (low < (lens.width, lens.height)).all(axis=1)
    low = np.clip(low, 0, (lens.width, lens.height)).astype(int)
    high = np.clip(high, 0, (lens.width, lens.height)).astype(int)
    for number in np.flatnonzero(shown):
        (left, top), (right, bottom) = low[number], high[number]
        (ax, ay, az), (bx, by, bz), (cx, cy, cz) = corners[number]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if abs(area) < 1e-12 or left >= right or top >= bottom:
            continue
        x, y = np.arange(left, right) + 0.5, (np.arange(top, bottom) + 0.5)[:, None]
        u = ((bx - x) * (cy - y) - (by - y) * (cx - x)) / area
        v = ((cx - x) * (ay - y) - (cy - y) * (ax - x)) / area
        w = 1 - u - v
        value = u / az + v / bz + w / cz
        nearer = (u >= 0) & (v >= 0) & (w >= 0) & (value > inverse[top:bottom, left:right])
        if nearer.any():
            inverse[top:bottom, left:right][nearer] = value[nearer]
            shares = np.stack([u, v, w], axis=-1)[nearer]
            shaded[top:bottom, left:right][nearer] = shares @ normals[triangles[number]]
    with np.errstate(divide="ignore"):
        depth = np.where(inverse > 0, 1 / inverse, np.inf)
    length = np.linalg.norm(shaded, axis=-1, keepdims=True)
    return Raster(depth, shaded / np.maximum(length, 1e-12))


def depth_map(raster: Raster) -> Pixels:
    """(H, W, 3) bright where near, black where nothing is."""
    shown = np.isfinite(raster.depth)
    grey = np.zeros(raster.depth.shape)
    if shown.any():
        near = 1 / raster.depth[shown]
        span = float(near.max() - near.min())
        share = (near - near.min()) / span if span > 0 else np.ones_like(near)
        grey[shown] = _FARTHEST + (255 - _FARTHEST) * share
    return np.repeat(grey.round().astype(np.uint8)[..., None], 3, axis=2)


def normal_map(raster: Raster) -> Pixels:
    """(H, W, 3) red to the right, green up, blue towards who looks; where nothing is, as a wall behind."""
    normals = np.where(np.isfinite(raster.depth)[..., None], raster.normals, (0.0, 0.0, 1.0))
    pixels: Pixels = np.round(255 * (normals + 1) / 2).astype(np.uint8)
    return pixels


def _vertex_normals(vertices: Array, triangles: Triangles) -> Array:
    """(V, 3) unit normals, the triangles' by area."""
    a, b, c = (vertices[triangles[:, corner]] for corner in range(3))
    faces = np.cross(b - a, c - a)
    normals = np.zeros_like(vertices)
    for corner in range(3):
        np.add.at(normals, triangles[:, corner], faces)
    found: Array = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    return found


def png_of(pixels: Pixels) -> bytes:
    """A picture (H, W, 3) as a PNG file."""
    height, width, _ = pixels.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)], axis=1)
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows.tobytes(), 6)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )
