# SPDX-License-Identifier: Apache-2.0
"""Add SMPL Figure makes an armature that is SMPL and a mesh that follows it."""

from __future__ import annotations

import bpy
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from blender_addon.contract.kinematics import forward_kinematics
from blender_addon.contract.rotations import axis_angle_to_matrix
from blender_addon.contract.skeleton import JOINT_INDEX, PARENTS
from blender_addon.rig.armature import Rig, find_armature
from blender_addon.rig.figure import BODY_FILE, BONE_NAMES, add_figure

ALL = frozenset(range(24))
STAND_UP = Rotation.from_euler("x", 90, degrees=True)


def skinned_vertices(body: bpy.types.Object) -> np.ndarray:
    """World positions (V, 3) of the deformed mesh, as Blender evaluates it."""
    shown = body.evaluated_get(bpy.context.evaluated_depsgraph_get())
    local = np.empty(3 * len(shown.data.vertices), dtype=np.float32)
    shown.data.vertices.foreach_get("co", local)
    world = np.array(shown.matrix_world)
    return local.reshape(-1, 3) @ world[:3, :3].T + world[:3, 3]


def body_of(armature: bpy.types.Object) -> bpy.types.Object:
    return next(child for child in armature.children if child.type == "MESH")


def test_the_figure_is_a_recognised_smpl_armature_in_its_rest() -> None:
    bpy.context.scene.cursor.location = (1, 2, 0)
    armature = add_figure(bpy.context)
    assert find_armature(bpy.context) == armature
    rig = Rig.of(armature)
    assert (rig.family, rig.missing, tuple(rig.bones[joint] for joint in range(24))) == (
        "SMPL",
        frozenset(),
        BONE_NAMES,
    )
    np.testing.assert_allclose(rig.read_current(), 0, atol=1e-6)
    assert tuple(armature.location) == (1, 2, 0)


def test_joints_stand_where_forward_kinematics_puts_them() -> None:
    armature = add_figure(bpy.context)
    rig = Rig.of(armature)
    pose = Rotation.random(24, random_state=1).as_rotvec()[None]
    rig.write([1], pose, joints=ALL)
    shown = armature.evaluated_get(bpy.context.evaluated_depsgraph_get())
    heads = np.array([shown.matrix_world @ shown.pose.bones[name].head for name in BONE_NAMES])
    expected = STAND_UP.apply(forward_kinematics(axis_angle_to_matrix(pose[0]))[1])
    np.testing.assert_allclose(heads - heads[0], expected, atol=1e-5)


def test_the_body_stands_on_the_floor_facing_the_front_view() -> None:
    body = body_of(add_figure(bpy.context))
    points = skinned_vertices(body)
    assert abs(points[:, 2].min()) < 0.01
    assert 1.6 < points[:, 2].max() < 1.8
    toes = points[points[:, 2] < 0.05]
    assert toes[:, 1].min() < -0.1 < 0.1 > toes[:, 1].max()
    assert all(polygon.use_smooth for polygon in body.data.polygons)
    assert body.data.materials[0] is not None


def test_every_vertex_is_carried_by_bones_that_exist() -> None:
    body = body_of(add_figure(bpy.context))
    assert [group.name for group in body.vertex_groups] == list(BONE_NAMES)
    totals = [sum(weight.weight for weight in vertex.groups) for vertex in body.data.vertices]
    np.testing.assert_allclose(totals, 1, atol=0.01)


def test_the_mesh_is_skinned_as_smpl_skins_it() -> None:
    """Linear blend skinning by the file's weights, worked out apart from Blender."""
    armature = add_figure(bpy.context)
    pose = Rotation.from_rotvec(0.7 * Rotation.random(24, random_state=2).as_rotvec()).as_rotvec()
    rig = Rig.of(armature)
    rig.write([1], pose[None], joints=ALL - {0})
    pose[0] = 0
    with np.load(BODY_FILE) as file:
        vertices, weights, joints = (
            file[name].astype(np.float64) for name in ("vertices", "weights", "joints")
        )
    offsets = np.vstack([joints[:1], joints[1:] - joints[list(PARENTS[1:])]])
    rotations, positions = forward_kinematics(axis_angle_to_matrix(pose), offsets)
    moved = np.einsum("jab,vjb->vja", rotations, vertices[:, None] - joints) + positions + joints[0]
    expected = np.einsum("vj,vja->va", weights / weights.sum(1, keepdims=True), moved)
    np.testing.assert_allclose(skinned_vertices(body_of(armature)), STAND_UP.apply(expected), atol=2e-3)


def test_knees_and_elbows_bend_about_the_bones_x_axis() -> None:
    armature = add_figure(bpy.context)
    pose = np.zeros((1, 24, 3))
    pose[0, JOINT_INDEX["left_knee"], 0] = 1.0
    Rig.of(armature).write([1], pose, joints=ALL)
    _, x, y, z = armature.pose.bones["L_Knee"].rotation_quaternion
    assert abs(x) == pytest.approx(np.sin(0.5), abs=1e-4)
    assert (y, z) == pytest.approx((0, 0), abs=0.01)


def test_a_second_figure_shares_the_material_and_stands_alone() -> None:
    first, second = add_figure(bpy.context), add_figure(bpy.context)
    assert first.data != second.data
    assert body_of(first).data.materials[0] == body_of(second).data.materials[0]
    assert [one.name for one in bpy.context.selected_objects] == [second.name]
