# SPDX-License-Identifier: Apache-2.0
"""What scripts that run inside Blender are put together from, and what runs them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

InBlender = Callable[..., dict[str, Any]]
"""in_blender(script, **environment) -> the script's ``result``; see inside.py."""
OnFigure = Callable[..., dict[str, Any]]
"""on_figure(*scripts, backend=arguments, **environment) -> their ``result``: after FIGURE, with a scripted backend."""

PREPARE = """
import os
bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.ops.preferences.addon_enable(module=addon.__name__)
preferences = bpy.context.preferences.addons[addon.__name__].preferences
preferences.url = os.environ.get("URL", "ws://127.0.0.1:9")
preferences.token = os.environ.get("TOKEN", "")
from bl_ext.user_default.posellava.operators.activity import activity
def keys():
    return sorted(
        [curve.data_path, curve.array_index, [point.co.x for point in curve.keyframe_points]]
        for curve in all_curves()
    )
def finish(taking):
    steps = taking()
    while True:
        try:
            wait = next(steps)
        except StopIteration as end:
            return end.value
        wait and wait(None)
"""
FIGURE = PREPARE + "bpy.ops.posellava.add_figure()\n"

CAMERA = """
import math
from mathutils import Vector
figure = bpy.context.object
camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
bpy.context.collection.objects.link(camera)
bpy.context.scene.camera = camera
def look_from(*place):
    camera.location = place
    camera.rotation_euler = (Vector((0, 0, 0.9)) - Vector(place)).to_track_quat("-Z", "Y").to_euler()
    bpy.context.view_layer.update()
"""
"""The scene's camera, and what places it to look at the figure."""

HAND_ON_IK = """
figure = bpy.data.objects["SMPL Figure"]
hand = bpy.data.objects.new("Hand", None)
bpy.context.collection.objects.link(hand)
hand.location = figure.matrix_world @ figure.pose.bones["L_Wrist"].head
ik = figure.pose.bones["L_Elbow"].constraints.new("IK")
ik.target, ik.chain_count = hand, 2
bpy.context.view_layer.update()
"""
"""The figure's left arm follows an object by inverse kinematics."""

COURSE = """
from bl_ext.user_default.posellava.contract.skeleton import BODY_PARTS
from bl_ext.user_default.posellava.operators import backend, work
from bl_ext.user_default.posellava.rig.armature import Rig
def start(task, frames):
    global course
    everything = frozenset(BODY_PARTS)
    activity.begin()
    backend.connect(bpy.context)
    order = work.Order(task, "raise it", bpy.context.object.session_uid, frames, everything, 1.0)
    course = work.course(order, backend.connection(bpy.context))
    return next(course)
def finish_course(wait):
    wait(20)
    try:
        while True:
            next(course)
    except StopIteration as end:
        activity.succeed(end.value)
"""
"""Carries an order out in two parts, between which the user does something."""

UNTOUCHED = """
result["keys"] = keys()
result["posed"] = [bone.name for one in bpy.data.objects if one.pose for bone in one.pose.bones
                   if bone.matrix_basis != __import__("mathutils").Matrix()]
result["panel"] = activity.error
"""
"""What a request that failed may not have changed."""
