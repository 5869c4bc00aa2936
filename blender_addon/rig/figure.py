# SPDX-License-Identifier: GPL-3.0-or-later
"""Add SMPL Figure: the 24-bone armature in its T-pose with the neutral body mesh skinned to it. Runs inside Blender."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import bpy
import numpy as np
from mathutils import Vector

from ..contract.rotations import Array
from ..contract.skeleton import BODY_PARTS, JOINT_INDEX, JOINT_NAMES, NUM_JOINTS, PARENTS
from .blender_types import ArmatureObject, current_layer, current_scene, is_armature
from .convert import BLENDER_FROM_SMPL
from .skin import BODY_FILE


def _short_name(joint_name: str) -> str:
    """left_hip -> L_Hip, pelvis -> Pelvis: the spelling of SMPL's own armatures."""
    side, _, rest = joint_name.partition("_")
    return f"{side[0].upper()}_{rest.capitalize()}" if rest else joint_name.capitalize()


BONE_NAMES: Final = tuple(map(_short_name, JOINT_NAMES))
"""Pelvis, L_Hip, ... R_Hand."""

_POINTS_AT: Final = {"pelvis": "spine1", "spine3": "neck"}
"""Which of several children a bone points at."""

_END_LENGTHS: Final = {
    "head": 0.17,
    "left_foot": 0.07,
    "right_foot": 0.07,
    "left_hand": 0.09,
    "right_hand": 0.09,
}
"""Metres from the last joint of a limb to the end of the body."""

_COLOURS: Final[dict[str, Literal["THEME01", "THEME03", "THEME09"]]] = {
    "left": "THEME03", "right": "THEME01", "middle": "THEME09",
}  # fmt: skip
"""Bone colour themes by side, as riggers use them: one colour for each side and one for the midline."""

_SKIN: Final = (0.60, 0.71, 0.84, 1.0)
"""A light muted blue, linear RGBA, on which a pose reads well and no one takes the body for a person."""

_LEAST_WEIGHT: Final = 1e-4


@dataclass(frozen=True)
class _Body:
    """The neutral body in Blender's axes."""

    vertices: Array
    faces: list[list[int]]
    weights: Array
    joints: Array


def add_figure(context: bpy.types.Context) -> ArmatureObject:
    """Add the figure to the scene at the 3D cursor, facing -Y, Z up, in metres; returns the armature object,
    active and selected, in Object Mode. Bones are named ``Pelvis, L_Hip, ... R_Hand``."""
    if context.mode != "OBJECT":
        bpy.ops.object.mode_set(mode="OBJECT")
    body = _load_body()
    for other in context.selected_objects:
        other.select_set(False)
    armature = _add_armature(context, body.joints)
    mesh = _add_mesh(context, body)
    mesh.parent = armature
    modifier = mesh.modifiers.new("Armature", "ARMATURE")
    assert isinstance(modifier, bpy.types.ArmatureModifier)
    modifier.object = armature
    current_layer().update()
    return armature


def _load_body() -> _Body:
    with np.load(BODY_FILE) as file:
        return _Body(
            vertices=file["vertices"] @ BLENDER_FROM_SMPL.T,
            faces=file["faces"].tolist(),
            weights=file["weights"].astype(np.float64),
            joints=file["joints"] @ BLENDER_FROM_SMPL.T,
        )


def _tail(joint: int, joints: Array) -> Array:
    """Where the bone of a joint ends (3,): at the next joint, or a little beyond the end of a limb."""
    name = JOINT_NAMES[joint]
    children = [child for child in range(NUM_JOINTS) if PARENTS[child] == joint]
    if children:
        return np.asarray(joints[JOINT_INDEX[_POINTS_AT[name]] if name in _POINTS_AT else children[0]])
    if name == "head":
        direction = np.array([0.0, 0.0, 1.0])
    elif name.endswith("foot"):
        direction = np.array([0.0, -1.0, 0.0])
    else:
        direction = joints[joint] - joints[PARENTS[joint]]
    return np.asarray(joints[joint] + _END_LENGTHS[name] * direction / np.linalg.norm(direction))


def _collection(context: bpy.types.Context) -> bpy.types.Collection:
    assert context.collection is not None
    return context.collection


def _add_armature(context: bpy.types.Context, joints: Array) -> ArmatureObject:
    data = bpy.data.armatures.new("SMPL Figure")
    armature = bpy.data.objects.new("SMPL Figure", data)
    _collection(context).objects.link(armature)
    armature.location = current_scene().cursor.location
    current_layer().objects.active = armature
    armature.select_set(True)
    bpy.ops.object.mode_set(mode="EDIT")
    for joint, name in enumerate(BONE_NAMES):
        bone = data.edit_bones.new(name)
        bone.head, bone.tail = joints[joint].tolist(), _tail(joint, joints).tolist()
        # Z forward, so that knees and elbows bend about X; a foot points forward itself and gets Z up.
        bone.align_roll(Vector((0, 0, 1) if name.endswith("Foot") else (0, -1, 0)))
        if PARENTS[joint] >= 0:
            bone.parent = data.edit_bones[BONE_NAMES[PARENTS[joint]]]
            bone.use_connect = (bone.head - bone.parent.tail).length < 1e-5
    bpy.ops.object.mode_set(mode="OBJECT")
    data.display_type = "STICK"
    armature.show_in_front = True
    for made in data.bones:
        side = {"L": "left", "R": "right"}.get(made.name.split("_")[0], "middle")
        assert made.color is not None
        made.color.palette = _COLOURS[side]
    for part, members in BODY_PARTS.items():
        collection = data.collections.new(part.replace("_", " ").capitalize())
        for joint in members:
            collection.assign(data.bones[BONE_NAMES[joint]])
    assert is_armature(armature)
    return armature


def _add_mesh(context: bpy.types.Context, body: _Body) -> bpy.types.Object:
    data = bpy.data.meshes.new("SMPL Body")
    data.from_pydata(body.vertices.tolist(), [], body.faces)
    data.polygons.foreach_set("use_smooth", np.ones(len(data.polygons), dtype=bool))
    data.materials.append(_material())
    data.update()
    mesh = bpy.data.objects.new("SMPL Body", data)
    _collection(context).objects.link(mesh)
    # The weights are stored in half precision, so that many are equal and a group is filled one weight at a time.
    for joint, name in enumerate(BONE_NAMES):
        group = mesh.vertex_groups.new(name=name)
        column = body.weights[:, joint]
        vertices = np.flatnonzero(column > _LEAST_WEIGHT)
        weights, counts = np.unique(column[vertices], return_counts=True)
        alike = np.split(vertices[np.argsort(column[vertices], kind="stable")], np.cumsum(counts)[:-1])
        for weight, members in zip(weights.tolist(), alike, strict=True):
            group.add(members.tolist(), weight, "REPLACE")
    return mesh


def _material() -> bpy.types.Material:
    material = bpy.data.materials.get("SMPL Body") or bpy.data.materials.new("SMPL Body")
    material.diffuse_color = _SKIN
    material.roughness = 0.5
    material.use_nodes = True
    assert material.node_tree is not None
    shader: Any = next(node for node in material.node_tree.nodes if node.type == "BSDF_PRINCIPLED")
    shader.inputs["Base Color"].default_value = _SKIN
    shader.inputs["Roughness"].default_value = 0.5
    return material
