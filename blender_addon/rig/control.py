# SPDX-License-Identifier: GPL-3.0-or-later
"""What the scene's camera sees of a figure, for control maps: its points, and the meshes that it moves. Runs inside
Blender."""

from __future__ import annotations

from dataclasses import dataclass

import bpy
import numpy as np

from ..contract.control_maps import (
    Lens,
    Pixels,
    Triangles,
    body_points,
    depth_map,
    normal_map,
    openpose_map,
    rasterise,
    size_of,
)
from ..contract.kinematics import forward_kinematics
from ..contract.rotations import Array
from ..contract.skeleton import JOINT_INDEX, NUM_JOINTS
from .blender_types import current_scene
from .body import Body
from .bone_map import RigError
from .convert import nearest_rotation
from .sample import current_frame, take_sample


@dataclass(frozen=True)
class Sight:
    """The scene's camera: from the world to its space, and its lens."""

    world: Array  # (4, 4)
    lens: Lens

    def of(self, points: Array) -> Array:
        """Points (N, 3) of the world in the camera's space."""
        seen: Array = points @ self.world[:3, :3].T + self.world[:3, 3]
        return seen


def sight(longest: int) -> Sight:
    """What the scene's camera is, for pictures whose longer side has ``longest`` pixels, in the render's proportions.

    Raises:
        RigError: the scene has no camera.
    """
    scene = current_scene()
    camera = scene.camera
    if camera is None:
        raise RigError("The scene has no camera; add one (Add > Camera) and point it at the figure.")
    render = scene.render
    shape = np.array(
        [render.resolution_x * render.pixel_aspect_x, render.resolution_y * render.pixel_aspect_y]
    )
    # Picture makers work on multiples of eight pixels.
    width, height = (np.maximum(1, np.round(shape / shape.max() * longest / 8)) * 8).astype(int).tolist()
    depsgraph = bpy.context.evaluated_depsgraph_get()
    seen = camera.evaluated_get(depsgraph)
    matrix = np.array(seen.calc_matrix_camera(depsgraph, x=width, y=height), dtype=np.float64)
    return Sight(np.linalg.inv(np.array(seen.matrix_world, dtype=np.float64)), Lens(matrix, width, height))


def control_maps(body: Body, kinds: frozenset[str], longest: int) -> dict[str, Pixels]:
    """The maps of a figure, as it stands at the scene's frame; ``kinds`` are of openpose, depth and normal.

    Raises:
        RigError: the scene has no camera, or the figure no mesh where one is needed.
    """
    eye = sight(longest)
    maps: dict[str, Pixels] = {}
    if "openpose" in kinds:
        points = eye.lens.project(eye.of(_points(body)))
        maps["openpose"] = openpose_map(points, eye.lens.width, eye.lens.height)
    if kinds & {"depth", "normal"}:
        vertices, triangles = _mesh(body)
        raster = rasterise(eye.of(vertices), triangles, eye.lens)
        drawn = {"depth": depth_map, "normal": normal_map}
        maps |= {kind: draw(raster) for kind, draw in drawn.items() if kind in kinds}
    return maps


def _points(body: Body) -> Array:
    """(18, 3) OpenPose's points in the world."""
    evaluated = body.armature.evaluated_get(bpy.context.evaluated_depsgraph_get())
    world = np.array(evaluated.matrix_world, dtype=np.float64)
    joints = np.full((NUM_JOINTS, 3), np.nan)
    for joint, name in body.bones.items():
        joints[joint] = world[:3, :3] @ np.array(evaluated.pose.bones[name].head) + world[:3, 3]
    sample = take_sample(body, [current_frame(current_scene())])
    rotations, _ = forward_kinematics(sample.local[0])
    head = nearest_rotation(sample.world[0] @ body.tree.frame.axes) @ rotations[JOINT_INDEX["head"]]
    return body_points(joints, head, size_of(joints))


def _mesh(body: Body) -> tuple[Array, Triangles]:
    """Vertices (V, 3) in the world and triangles (F, 3) of all meshes that the armature moves and that are rendered."""
    depsgraph = bpy.context.evaluated_depsgraph_get()
    vertices, triangles, count = [], [], 0
    for thing in current_scene().objects:
        moved = thing.type == "MESH" and body.armature in (thing.find_armature(), thing.parent)
        if not moved or thing.hide_render:
            continue
        evaluated = thing.evaluated_get(depsgraph)
        mesh = evaluated.to_mesh()
        mesh.calc_loop_triangles()
        places = np.empty(3 * len(mesh.vertices), dtype=np.float32)
        corners = np.empty(3 * len(mesh.loop_triangles), dtype=np.int32)
        mesh.vertices.foreach_get("co", places)
        mesh.loop_triangles.foreach_get("vertices", corners)
        world = np.array(evaluated.matrix_world, dtype=np.float64)
        vertices.append(places.reshape(-1, 3) @ world[:3, :3].T + world[:3, 3])
        triangles.append(corners.reshape(-1, 3) + count)
        count += len(vertices[-1])
        evaluated.to_mesh_clear()
    if not count:
        raise RigError(
            f"{body.armature.name} moves no mesh that is rendered, so there is no depth and no normals; choose "
            "OpenPose alone, or add a mesh."
        )
    return np.concatenate(vertices), np.concatenate(triangles).astype(np.int64)
