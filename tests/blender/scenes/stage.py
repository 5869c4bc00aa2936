# SPDX-License-Identifier: Apache-2.0
"""What the scenes are built and looked at with. Runs inside Blender, where the extension is installed.

Poses are looked at in what Blender evaluates, never through the add-on's own reading.
"""

import importlib
import math
import os
from collections.abc import Callable
from typing import Any

import bpy
import numpy as np
from mathutils import Vector

EXTENSION = "bl_ext.user_default.posellava"
WALK = ((1, 30.0), (10, -20.0), (20, 35.0), (30, -25.0), (40, 30.0))
"""Frames and degrees of the left hip in a walk of sorts; the right hip goes the other way."""

SCENES: dict[str, Callable[[], None]] = {}


def scene(build: Callable[[], None]) -> Callable[[], None]:
    """Enter a scene in the table: a function that builds it, edits, and asserts what must hold."""
    SCENES[build.__name__] = build
    return build


def part(name: str) -> Any:
    """A module of the extension."""
    return importlib.import_module(f"{EXTENSION}.{name}")


def start() -> None:
    """An empty file, in which the extension talks to the backend of the tests."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.preferences.addon_enable(module=EXTENSION)
    bpy.context.preferences.addons[EXTENSION].preferences.url = os.environ["URL"]
    bpy.context.scene.posellava.blend_in = bpy.context.scene.posellava.blend_out = 0


def figure(name: str = "Anna") -> Any:
    """A figure in its T-pose."""
    bpy.ops.posellava.add_figure()
    armature = bpy.context.object
    armature.name = name
    return armature


def ask(instruction: str, **options: Any) -> Any:
    """Edit Pose; what came of it, or AssertionError with the sentence that the user gets."""
    activity = part("operators.activity").activity
    try:
        bpy.ops.posellava.edit_pose(instruction=instruction, **options)
    except RuntimeError as error:
        raise AssertionError(str(error)) from None
    return activity.outcome


def refused(instruction: str, **options: Any) -> str:
    """The sentence with which Edit Pose refuses."""
    try:
        bpy.ops.posellava.edit_pose(instruction=instruction, **options)
    except RuntimeError as error:
        return str(error)
    raise AssertionError("it was not refused")


def key(armature: Any, bone: str, axis: str, *keys: tuple[float, float], kind: str = "BEZIER") -> None:
    """Key a bone's turn about one of its own axes at frames, in degrees, by hand."""
    pbone = armature.pose.bones[bone]
    for frame, degrees in keys:
        turn = [math.cos(math.radians(degrees) / 2), 0.0, 0.0, 0.0]
        turn[1 + "xyz".index(axis)] = math.sin(math.radians(degrees) / 2)
        pbone.rotation_quaternion = turn
        pbone.keyframe_insert("rotation_quaternion", frame=frame)
    for curve in curves(armature):
        for point in curve.keyframe_points:
            point.interpolation = kind


def walk(armature: Any) -> None:
    """Key a walk of sorts."""
    key(armature, "L_Hip", "x", *WALK)
    key(armature, "R_Hip", "x", *((frame, -degrees) for frame, degrees in WALK))


def empty(name: str, place: Vector) -> Any:
    """An empty in the world."""
    made = bpy.data.objects.new(name, None)
    bpy.context.collection.objects.link(made)
    made.location = place
    return made


def leg_on_ik(armature: Any, side: str = "L", pole: bool = False) -> tuple[Any, Any]:
    """Have an empty drive a leg; the leg stays as it is."""
    ankle = armature.matrix_world @ armature.pose.bones[f"{side}_Ankle"].head
    knee = armature.matrix_world @ armature.pose.bones[f"{side}_Knee"].head
    ik = armature.pose.bones[f"{side}_Knee"].constraints.new("IK")
    ik.target, ik.chain_count = empty(f"Target {side}", ankle), 2
    if pole:
        ik.pole_target = empty(f"Pole {side}", knee + Vector((0, -1, 0)))
        ik.pole_angle = math.radians(90)  # from the thigh's x to its z, which is ahead
    bpy.context.view_layer.update()
    return ik.target, ik.pole_target


def curves(armature: Any) -> list[Any]:
    """The curves of the active action."""
    return list(part("rig.curves").action_curves(armature))


def keyed_frames(armature: Any, bone: str, name: str = "rotation_quaternion") -> list[float]:
    """The frames of a bone's keys in the active action; all channels are expected to agree."""
    path = armature.pose.bones[bone].path_from_id(name)
    found = [
        [point.co.x for point in curve.keyframe_points]
        for curve in curves(armature)
        if curve.data_path == path
    ]
    assert all(one == found[0] for one in found), found
    return found[0] if found else []


def go(frame: float) -> None:
    """Go to a frame."""
    bpy.context.scene.frame_set(math.floor(frame), subframe=frame % 1.0)


def shown(armature: Any, frame: float | None = None) -> Any:
    """The armature as Blender evaluates it."""
    if frame is not None:
        go(frame)
    return armature.evaluated_get(bpy.context.evaluated_depsgraph_get())


def turns(armature: Any, bones: tuple[str, ...], frames: Any) -> np.ndarray:
    """(N, B, 4) quaternions of bones against their parents, w first and positive, at frames."""
    was = bpy.context.scene.frame_current_final
    found = []
    for frame in frames:
        now = shown(armature, frame)
        row = []
        for name in bones:
            pbone = now.pose.bones[name]
            above = pbone.parent.matrix.to_3x3().normalized() if pbone.parent else None
            quat = above.inverted() @ pbone.matrix.to_3x3().normalized() if above else pbone.matrix.to_3x3()
            quat = quat.to_quaternion()
            row.append([*(quat if quat.w >= 0 else -quat)])
        found.append(row)
    go(was)
    return np.array(found)


def apart(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Degrees (...) between quaternions (..., 4)."""
    return np.degrees(2 * np.arccos(np.clip(np.abs((first * second).sum(-1)), 0.0, 1.0)))


def bent(armature: Any, bone: str, frame: float) -> float:
    """Degrees by which a bone is turned against its parent from its rest."""
    now = shown(armature, frame).pose.bones[bone]
    rest = armature.data.bones[bone]
    local = now.parent.matrix.to_3x3().inverted() @ now.matrix.to_3x3()
    rested = rest.parent.matrix_local.to_3x3().inverted() @ rest.matrix_local.to_3x3()
    angle: float = math.degrees((rested.inverted() @ local).to_quaternion().angle)
    return angle if angle <= 180 else 360 - angle


def lowest(armature: Any, frame: float) -> float:
    """Metres of the lowest end of a bone above the world's floor, heels aside."""
    now = shown(armature, frame)
    ends = [now.matrix_world @ end for pbone in now.pose.bones for end in (pbone.head, pbone.tail)]
    return float(min(end.z for end in ends))


def skin(armature: Any, frame: float) -> float:
    """Metres of the lowest point of the figure's skin above the world's floor."""
    return float(_vertices(armature, frame)[:, 2].min())


def soles(armature: Any, frame: float) -> np.ndarray:
    """(2, 3) where the middle of the left and of the right sole is in the world, by the figure's skin."""
    body = next(child for child in armature.children if child.type == "MESH")
    rest = np.array([vertex.co for vertex in body.data.vertices])
    low = rest[:, 2] < rest[:, 2].min() + 0.01
    places = _vertices(armature, frame)
    return np.stack([places[low & side].mean(axis=0) for side in (rest[:, 0] > 0, rest[:, 0] < 0)])


def _vertices(armature: Any, frame: float) -> np.ndarray:
    """(V, 3) of the figure's skin as Blender evaluates it, in the world."""
    go(frame)
    body = next(child for child in armature.children if child.type == "MESH")
    mesh = body.evaluated_get(bpy.context.evaluated_depsgraph_get())
    places = np.empty(3 * len(mesh.data.vertices), dtype=np.float32)
    mesh.data.vertices.foreach_get("co", places)
    world = np.array(mesh.matrix_world)
    return np.asarray(places.reshape(-1, 3) @ world[:3, :3].T + world[:3, 3])


def near(value: float, wanted: float, within: float = 0.5) -> None:
    """Assert that a value is as it should be."""
    assert abs(value - wanted) <= within, f"{value:.4f} is not {wanted:.4f}"


def same(first: np.ndarray, second: np.ndarray, within: float = 0.1) -> None:
    """Assert that quaternions are no further apart than so many degrees."""
    worst = apart(first, second)
    assert worst.max() <= within, (
        f"{worst.max():.3f} degrees apart at {np.unravel_index(worst.argmax(), worst.shape)}"
    )


def says(outcome: Any, *words: str) -> None:
    """Assert that the line for the user has these words."""
    for one in words:
        assert one in outcome.summary(24), outcome.summary(24)
