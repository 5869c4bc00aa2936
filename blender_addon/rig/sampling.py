# SPDX-License-Identifier: GPL-3.0-or-later
"""How the bones of an armature stand at some frames. Runs inside Blender.

A plain armature (no constraints, no drivers, no NLA, its object not turned by animation) is computed from its curves:
a frame costs microseconds and the scene is not touched. Any other is evaluated by Blender frame by frame, and the
scene's frame and the bones' unkeyed channels are put back.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import bpy
import numpy as np

from ..contract.rotations import Array
from .channels import rotation_matrices, rotation_property
from .convert import BoneTree, nearest_rotation, transpose, turns_from_basis
from .curves import action_curves, channel_values, curves_of, has_nla, key_values

_CHANNELS = ("location", "rotation_quaternion", "rotation_euler", "rotation_axis_angle", "scale")

SCALE_TOLERANCE = 1e-5
"""Scales that differ by less do not turn anything."""


def current_frame(scene: Any) -> float:
    """The scene's current frame, whole or not."""
    return float(scene.frame_current_final)


def sample_bones(
    armature: Any, names: Sequence[str], tree: BoneTree, frames: Sequence[float], pelvis: str
) -> tuple[Array, Array, Array]:
    """Turns (N, B, 3, 3) of the named bones, the linear part (N, 3, 3) of the object's world matrix and the location
    channels (N, 3) of the pelvis.

    Args:
        armature: the armature object.
        names: (B,) bones, in the tree's order.
        tree: their rest.
        frames: (N,) frames; the scene's current one is read as posed, keyed or not.
        pelvis: the pelvis's bone.
    """
    if _is_plain(armature):
        return _from_curves(armature, names, tree, frames, pelvis)
    return _from_scene(armature, names, tree, frames, pelvis)


def take_in_keys(armature: Any) -> None:
    """Let Blender evaluate new keys at once, without its dropping the pose that shows where that is not keyed."""
    shown = _shown(armature)
    bpy.context.view_layer.update()
    _show(armature, shown)


def _shown(armature: Any) -> list[tuple[tuple[float, ...], ...]]:
    """All the channels of all bones as they stand."""
    return [tuple(tuple(getattr(pbone, name)) for name in _CHANNELS) for pbone in armature.pose.bones]


def _show(armature: Any, shown: list[tuple[tuple[float, ...], ...]]) -> None:
    """Put back channels that Blender's evaluation changed."""
    changed = False
    for pbone, channels in zip(armature.pose.bones, shown, strict=True):
        for name, values in zip(_CHANNELS, channels, strict=True):
            if tuple(getattr(pbone, name)) != values:
                setattr(pbone, name, values)
                changed = True
    if changed:
        bpy.context.view_layer.update()


def _is_plain(armature: Any) -> bool:
    """Whether curves and channels alone say how the bones stand and how the object is turned."""
    if any(not constraint.mute for pbone in armature.pose.bones for constraint in pbone.constraints):
        return False
    if armature.data.animation_data is not None:
        return False
    owner = armature
    while owner is not None:
        if owner.parent is not None and owner.parent_type != "OBJECT":
            return False
        if any(not constraint.mute for constraint in owner.constraints):
            return False
        if not _only_moves(owner):
            return False
        owner = owner.parent
    return all(max(pbone.scale) - min(pbone.scale) < SCALE_TOLERANCE for pbone in armature.pose.bones)


def _only_moves(owner: Any) -> bool:
    """Whether an object's animation turns at most its bones, by curves alone; the object may change its place."""
    data = owner.animation_data
    if data is None:
        return True
    if len(data.drivers) or has_nla(owner):
        return False
    for curve in action_curves(owner):
        of_bone = curve.data_path.startswith("pose.bones")
        if not (of_bone or curve.data_path.endswith("location")):
            return False
        # Imported motion often keys every scale at 1; only a scale that changes needs Blender's evaluation.
        if curve.data_path.endswith(".scale") and np.ptp(key_values(curve)) > SCALE_TOLERANCE:
            return False
    return True


def _world_matrix(owner: Any) -> Any:
    """World matrix of a plain object from its own channels, which are never out of date."""
    if owner.parent is None:
        return owner.matrix_basis
    return _world_matrix(owner.parent) @ owner.matrix_parent_inverse @ owner.matrix_basis


def _from_curves(
    armature: Any, names: Sequence[str], tree: BoneTree, frames: Sequence[float], pelvis: str
) -> tuple[Array, Array, Array]:
    curves = curves_of(armature)
    current = current_frame(bpy.context.scene)
    pbones = [armature.pose.bones[name] for name in names]
    basis = np.empty((len(frames), len(names), 3, 3))
    for mode in {pbone.rotation_mode for pbone in pbones}:
        alike = [bone for bone, pbone in enumerate(pbones) if pbone.rotation_mode == mode]
        values = [
            channel_values(pbones[bone], rotation_property(mode), frames, curves, current) for bone in alike
        ]
        basis[:, alike] = rotation_matrices(mode, np.stack(values, axis=1))
    world = np.array(_world_matrix(armature).to_3x3(), dtype=np.float64)
    location = channel_values(armature.pose.bones[pelvis], "location", frames, curves, current)
    return turns_from_basis(basis, tree), np.tile(world, (len(frames), 1, 1)), location


def _from_scene(
    armature: Any, names: Sequence[str], tree: BoneTree, frames: Sequence[float], pelvis: str
) -> tuple[Array, Array, Array]:
    scene, layer = bpy.context.scene, bpy.context.view_layer
    layer.update()
    current = current_frame(scene)
    shown = _shown(armature)
    posed = np.empty((len(frames), len(names), 3, 3))
    world = np.empty((len(frames), 3, 3))
    location = np.empty((len(frames), 3))
    # The current frame first: going to another one drops what is not keyed.
    moved = False
    for row in sorted(range(len(frames)), key=lambda row: frames[row] != current):
        if moved or frames[row] != current:
            scene.frame_set(math.floor(frames[row]), subframe=frames[row] % 1.0)
            moved = True
        evaluated = armature.evaluated_get(bpy.context.evaluated_depsgraph_get())
        world[row] = evaluated.matrix_world.to_3x3()
        for bone, name in enumerate(names):
            posed[row, bone] = evaluated.pose.bones[name].matrix.to_3x3()
        location[row] = evaluated.pose.bones[pelvis].location
    if moved:
        scene.frame_set(math.floor(current), subframe=current % 1.0)
        layer.update()
        _show(armature, shown)
    return nearest_rotation(posed) @ transpose(tree.rest), world, location
