# SPDX-License-Identifier: Apache-2.0
"""Armatures to try the rig on, made in a fresh scene of the bpy module."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import bpy
import numpy as np
import pytest
from mathutils import Matrix
from scipy.spatial.transform import Rotation

from blender_addon.contract.kinematics import forward_kinematics
from blender_addon.contract.skeleton import JOINT_NAMES, PARENTS
from blender_addon.rig.figure import BONE_NAMES

SMPL_NAMES = list(BONE_NAMES)
Z_UP = Rotation.from_euler("x", 90, degrees=True)  # SMPL's axes to Blender's


@pytest.fixture(autouse=True)
def scene() -> Any:
    # Without the preferences: reading those anew, too, takes five times as long.
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    return bpy.context.scene


@pytest.fixture
def make_armature() -> Callable[..., Any]:
    """make(names, axes, bone_axes, extra, seed) -> armature object.

    axes: rotation of SMPL's axes in the armature's space. bone_axes: "random", or "smpl" for bones whose local axes
    are SMPL's, as in MPI's SMPL-X rig. extra: a root above the pelvis and a bone between every two joints.
    """

    def make(
        names: Sequence[str] = SMPL_NAMES,
        axes: Rotation = Z_UP,
        bone_axes: str = "random",
        extra: bool = False,
        seed: int = 0,
    ) -> Any:
        rng = np.random.default_rng(seed)
        data = bpy.data.armatures.new("Rig")
        armature = bpy.data.objects.new("Rig", data)
        bpy.context.collection.objects.link(armature)
        bpy.context.view_layer.objects.active = armature
        armature.select_set(True)
        positions = axes.apply(forward_kinematics(np.tile(np.eye(3), (24, 1, 1)))[1] + [0, 0.954, 0])

        def add(name: str, head: np.ndarray) -> Any:
            turn = axes if bone_axes == "smpl" else Rotation.random(random_state=rng.integers(1 << 30))
            bone = data.edit_bones.new(name)
            bone.head, bone.tail = (0, 0, 0), (0, 0.1, 0)
            bone.matrix = Matrix.Translation(head.tolist()) @ Matrix(turn.as_matrix().tolist()).to_4x4()
            return bone

        bpy.ops.object.mode_set(mode="EDIT")
        root = add("root", np.zeros(3)) if extra else None
        for joint, name in enumerate(names):
            parent = root if PARENTS[joint] < 0 else data.edit_bones[names[PARENTS[joint]]]
            if extra and parent is not root:
                between = add(f"twist_{name}", positions[joint])
                between.parent = parent
                parent = between
            bone = add(name, positions[joint])
            if parent is not None:
                bone.parent = parent
        bpy.ops.object.mode_set(mode="OBJECT")
        return armature

    return make


@pytest.fixture
def random_poses() -> Callable[..., np.ndarray]:
    """random(count, seed) -> poses (count, 24, 3), every joint turned by anything up to half a turn."""

    def random(count: int, seed: int = 0) -> np.ndarray:
        return Rotation.random(count * 24, random_state=seed).as_rotvec().reshape(count, 24, 3)

    return random


def degrees_apart(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Angles between axis-angle poses (..., 24, 3), by scipy."""
    apart = Rotation.from_rotvec(a.reshape(-1, 3)).inv() * Rotation.from_rotvec(b.reshape(-1, 3))
    return np.degrees(apart.magnitude()).reshape(a.shape[:-1])


@pytest.fixture
def apart() -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    return degrees_apart


@pytest.fixture
def long_names() -> list[str]:
    return list(JOINT_NAMES)
