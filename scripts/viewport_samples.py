# SPDX-License-Identifier: Apache-2.0
"""Pictures of the add-on's figure in Blender, as the add-on takes them in background, with the poses that they show.

    PYTHONPATH=. .venv/bin/python scripts/viewport_samples.py --poses POSES.npz --output runs/viewport
    .venv/bin/posellava eval --suite estimation --poses POSES.npz --samples runs/viewport/samples.json

The figure takes on poses of the val split, turned as the training's pictures turn them; a camera in front of it, at the
height, distance and lens of the training's viewport pictures, takes a picture with the extension's own code. Light,
material and background are Blender's. The extension is installed in a folder of its own, not in the user's Blender.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

import build_addon
from backend.body.camera import Camera
from backend.body.neutral import load_neutral_body
from training.data.images import draw_heading, turn_to
from training.data.looks import draw_camera
from training.data.records import to_record
from training.data.samples import Sample
from training.evaluate.benchmarks import pose_pool

EXTENSION: Final = "bl_ext.user_default.posellava"
SENSOR: Final = 36.0
"""Millimetres of a side of the camera's square sensor."""


def main() -> None:
    """Writes the pictures and ``samples.json``, in the paper's JSON form."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--poses", type=Path, help="a pose file; without it they are constructed")
    parser.add_argument("--output", type=Path, required=True, help="a folder")
    parser.add_argument("--count", type=int, default=100, help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="posellava-viewport-") as folder:
        os.environ["BLENDER_USER_RESOURCES"] = folder  # before bpy is imported, which reads it then
        take_pictures(arguments)


def take_pictures(arguments: argparse.Namespace) -> None:
    """Writes the files, as ``arguments`` say, in the Blender that is imported here."""
    import bpy

    rng = np.random.default_rng(arguments.seed)
    poses = pose_pool(arguments.poses).draw(rng, arguments.count)
    install_extension()
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    bpy.context.scene.collection.objects.link(camera)
    bpy.context.scene.camera = camera
    bpy.context.scene.world = bpy.data.worlds.new("World")  # grey, as in a new file
    bpy.ops.posellava.add_figure()
    armature = importlib.import_module(f"{EXTENSION}.rig.armature")
    rig, whole = armature.Rig.of(bpy.context.object), armature.WriteOptions(planted=False)
    picture = importlib.import_module(f"{EXTENSION}.operators.picture")
    body = load_neutral_body("coarse")
    records = []
    for number, pose in enumerate(poses):
        pose_aa = turn_to(pose, draw_heading(rng))
        rig.write([1], pose_aa[None], joints=frozenset(range(len(pose_aa))), options=whole)
        bpy.context.scene.frame_set(1)
        vertices = body.pose_vertices(torch.from_numpy(pose_aa)[None])[0].numpy()
        look_through(camera, draw_camera(rng, vertices, viewport=True))
        name = Path(f"{number:04d}.png")
        (arguments.output / name).write_bytes(take(picture.of_view(bpy.context, rig.armature)))
        sample = Sample(f"viewport-{number}", "estimate", "blender", "", target_aa=pose_aa, image=name)
        records.append(to_record(sample))
    (arguments.output / "samples.json").write_text(json.dumps(records), encoding="utf-8")
    print(f"{len(records)} pictures in {arguments.output}")


def install_extension() -> None:
    """An empty scene, and the extension as a user installs it."""
    import bpy

    bpy.ops.wm.read_factory_settings(use_empty=True)
    with tempfile.TemporaryDirectory() as folder:
        built = build_addon.build_slim(Path(folder))
        bpy.ops.extensions.package_install_files(
            filepath=str(built), repo="user_default", enable_on_install=True
        )


def take(taking: Any) -> bytes:
    """The PNG of a picture, whose steps are taken one after the other."""
    steps = taking()
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return bytes(end.value.png)


def look_through(camera: Any, view: Camera) -> None:
    """Puts Blender's camera where ``view`` is. SMPL's y up becomes Blender's Z, its z forward becomes -Y."""
    from mathutils import Vector

    to_camera = view.view()
    place = -to_camera[:3, :3].T @ to_camera[:3, 3]
    at, target = (Vector((x, -z, y)) for x, y, z in (place.tolist(), view.target))
    camera.location = at
    camera.rotation_euler = (target - at).to_track_quat("-Z", "Y").to_euler()
    camera.data.sensor_width = SENSOR
    camera.data.lens = SENSOR / (2 * np.tan(np.radians(view.fov) / 2))


main()
