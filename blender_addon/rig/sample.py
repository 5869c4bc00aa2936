# SPDX-License-Identifier: GPL-3.0-or-later
"""The first step of writing a pose, and all of reading one: how the armature stands at some frames.

Runs inside Blender.

A plain armature (no constraints, no drivers, no NLA, its object not turned by animation) is computed from its curves:
a frame costs microseconds and the scene is not touched. Any other is evaluated by Blender frame by frame, and the
scene's frame and the bones' unkeyed channels are put back.

Frames are times of keys. With Time Stretching the scene shows another of its frames at that time.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import bpy
import numpy as np
from mathutils import Matrix

from ..contract.rotations import Array
from .blender_types import ArmatureObject, Posable, current_layer, current_scene, is_armature
from .body import Body
from .channels import rotation_matrices, rotation_property
from .convert import local_from_turns, nearest_rotation, stage_of, transpose, turns_from_basis
from .curves import action_curves, channel_values, curves_of, is_same, key_values
from .nla import has_nla

_CHANNELS = {
    "location": 3, "rotation_quaternion": 4, "rotation_euler": 3, "rotation_axis_angle": 4, "scale": 3,
}  # fmt: skip
"""The channels of a bone and how many values each has."""

_Owner = TypeVar("_Owner", bound=bpy.types.Object)

_Shown = dict[str, "np.ndarray[Any, np.dtype[np.float32]]"]
"""The channels of all bones, one array each."""

SCALE_TOLERANCE = 1e-5
"""Scales that differ by less do not turn anything."""


@dataclass(frozen=True)
class Sample:
    """An armature at N frames; B bones and J joints.

    Attributes:
        frames: (N,) the frames.
        turns: (N, B, 3, 3) how the body's bones are turned from their rest.
        world: (N, 3, 3) the linear part of the object's world matrix.
        location: (N, R, 3) the location channels of the body's R carriers.
        stage: (N, 3, 3) the object's tilt, as in ``convert``.
        local: (N, J, 3, 3) SMPL's local rotations.
    """

    frames: tuple[float, ...]
    turns: Array
    world: Array
    location: Array
    stage: Array
    local: Array


def current_frame(scene: bpy.types.Scene) -> float:
    """The time of keys at which the scene's current frame, whole or not, is evaluated."""
    return float(scene.frame_current_final)


def time_of(scene: bpy.types.Scene, frame: float) -> float:
    """The time of keys that a frame of the scene shows; another number only with Time Stretching."""
    return float(frame * scene.render.frame_map_old / scene.render.frame_map_new)


def take_sample(body: Body, frames: Sequence[float], *, as_posed: bool = True) -> Sample:
    """How the armature stands at these frames.

    ``as_posed``: at the scene's current one as it is posed, keyed or not; otherwise as its animation makes it.
    """
    take = _from_curves if is_plain(body.armature) else _from_scene
    turns, world, location = take(body, frames, as_posed)
    stage = stage_of(world, body.tree.frame.axes)
    return Sample(tuple(frames), turns, world, location, stage, local_from_turns(turns, stage, body.tree))


def take_in_keys(armature: ArmatureObject) -> None:
    """Let Blender evaluate new keys at once, without its dropping the pose that shows where that is not keyed."""
    shown = _shown(armature)
    current_layer().update()
    _show(armature, shown)


def _shown(armature: ArmatureObject) -> _Shown:
    """All the channels of all bones as they stand."""
    bones = armature.pose.bones
    shown = {name: np.empty(width * len(bones), dtype=np.float32) for name, width in _CHANNELS.items()}
    for name, values in shown.items():
        bones.foreach_get(name, values)
    return shown


def _show(armature: ArmatureObject, shown: _Shown) -> None:
    """Put back channels that Blender's evaluation changed."""
    changed = False
    for name, values in _shown(armature).items():
        if not np.array_equal(values, shown[name]):
            armature.pose.bones.foreach_set(name, shown[name])
            changed = True
    if changed:
        armature.update_tag()
        current_layer().update()


def is_plain(armature: ArmatureObject) -> bool:
    """Whether curves and channels alone say how the bones stand and how the object is turned."""
    if armature.data.pose_position == "REST":
        return False
    if any(not constraint.mute for pbone in armature.pose.bones for constraint in pbone.constraints):
        return False
    if armature.data.animation_data is not None:
        return False
    owner: bpy.types.Object | None = armature
    while owner is not None:
        if owner.parent is not None and owner.parent_type != "OBJECT":
            return False
        if any(not constraint.mute for constraint in owner.constraints):
            return False
        if not _only_moves(owner):
            return False
        owner = owner.parent
    return all(float(np.ptp(np.array(pbone.scale))) < SCALE_TOLERANCE for pbone in armature.pose.bones)


def _only_moves(owner: bpy.types.Object) -> bool:
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


def _world_matrix(owner: bpy.types.Object) -> Matrix:
    """World matrix of a plain object from its own channels, which are never out of date."""
    if owner.parent is None:
        return owner.matrix_basis
    return _world_matrix(owner.parent) @ owner.matrix_parent_inverse @ owner.matrix_basis


def _from_curves(body: Body, frames: Sequence[float], as_posed: bool) -> tuple[Array, Array, Array]:
    """Turns (N, B, 3, 3), the object's world matrix (N, 3, 3) and the carriers' location channels (N, R, 3)."""
    armature = body.armature
    curves = curves_of(armature)
    current = current_frame(current_scene()) if as_posed else None
    pbones = [armature.pose.bones[name] for name in body.names]
    basis = np.empty((len(frames), len(pbones), 3, 3))
    for mode in {pbone.rotation_mode for pbone in pbones}:
        alike = [bone for bone, pbone in enumerate(pbones) if pbone.rotation_mode == mode]
        values = [
            channel_values(pbones[bone], rotation_property(mode), frames, curves, current) for bone in alike
        ]
        basis[:, alike] = rotation_matrices(mode, np.stack(values, axis=1))
    world = np.array(_world_matrix(armature).to_3x3(), dtype=np.float64)
    carriers = [armature.pose.bones[name] for name in body.carriers]
    location = np.stack(
        [channel_values(one, "location", frames, curves, current) for one in carriers], axis=1
    )
    return turns_from_basis(basis, body.tree), np.tile(world, (len(frames), 1, 1)), location


def _from_scene(body: Body, frames: Sequence[float], as_posed: bool) -> tuple[Array, Array, Array]:
    """The same from Blender's evaluation."""
    bones = {pbone.name: place for place, pbone in enumerate(body.armature.pose.bones)}
    wanted = [bones[name] for name in body.names]
    matrices = np.empty(16 * len(bones), dtype=np.float32)
    posed = np.empty((len(frames), len(wanted), 3, 3))
    world = np.empty((len(frames), 3, 3))
    location = np.empty((len(frames), len(body.carriers), 3))
    for row, evaluated in visit(body.armature, frames, as_posed):
        world[row] = evaluated.matrix_world.to_3x3()
        evaluated.pose.bones.foreach_get("matrix", matrices)
        # Blender lays matrices out column by column.
        posed[row] = matrices.reshape(-1, 4, 4)[wanted, :3, :3].transpose(0, 2, 1)
        location[row] = [evaluated.pose.bones[name].location for name in body.carriers]
    return nearest_rotation(posed) @ transpose(body.tree.rest), world, location


def evaluated_channels(
    owner: bpy.types.Object, channels: Sequence[tuple[str, str]], frames: Sequence[float]
) -> dict[tuple[str, str], Array]:
    """Values (N, K) of properties, given as (bone, property), as all animation together makes them; an empty bone is
    the object itself."""
    values: dict[tuple[str, str], list[tuple[float, ...]]] = {
        channel: [()] * len(frames) for channel in channels
    }
    for row, evaluated in visit(owner, frames, False):
        for bone, name in channels:
            thing: Posable = evaluated
            if bone:
                assert evaluated.pose is not None
                thing = evaluated.pose.bones[bone]
            values[bone, name][row] = tuple(getattr(thing, name))
    return {channel: np.array(rows, dtype=np.float64) for channel, rows in values.items()}


def visit(
    owner: _Owner, frames: Sequence[float], as_posed: bool
) -> Generator[tuple[int, _Owner], None, None]:
    """Evaluate the scene at these frames: each one's number, in some order, and the object as it is then. Afterwards
    the scene is at its frame again and what is not keyed of an armature's pose stands as it did. ``as_posed`` as for
    ``take_sample``."""
    scene, layer = current_scene(), current_layer()
    layer.update()
    current = current_frame(scene)
    was = scene.frame_current, scene.frame_subframe
    shown = _shown(owner) if is_armature(owner) else {}
    # The current frame first: going to another one drops what is not keyed.
    moved = False
    try:
        for row in sorted(range(len(frames)), key=lambda row: not is_same(frames[row], current)):
            if moved or not as_posed or not is_same(frames[row], current):
                frame = frames[row] * scene.render.frame_map_new / scene.render.frame_map_old
                scene.frame_set(math.floor(frame), subframe=frame % 1.0)
                moved = True
            yield row, owner.evaluated_get(bpy.context.evaluated_depsgraph_get())
    finally:
        if moved:
            scene.frame_set(was[0], subframe=was[1])
            layer.update()
            if is_armature(owner):
                _show(owner, shown)
