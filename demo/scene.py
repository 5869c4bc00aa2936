# SPDX-License-Identifier: Apache-2.0
"""Runs inside headless Blender: installs the built extension and does with it what an animator does.

Usage: python scene.py EXTENSION.zip FOLDER OUT.blend. The extension's own backend answers, or, where $POSELLAVA_URL
names one, that (with $POSELLAVA_TOKEN). Writes renders before and after every instruction, and ``reports.json``, into
FOLDER.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import bpy
from mathutils import Vector

from demo.steps import STEPS, Step

EXTENSION: Final = "bl_ext.user_default.posellava"
WIDTH, HEIGHT = 440, 520
BODY_COLOUR: Final = (0.30, 0.50, 0.80, 1.0)
STAGE_COLOUR: Final = (0.75, 0.78, 0.82, 1.0)
CYCLES_SAMPLES: Final = 12
"""Enough, as the result is denoised."""


def main() -> None:
    """Install, pose, render, save."""
    extension, folder, blend = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    bpy.ops.wm.read_factory_settings(use_empty=True)
    with quiet():
        bpy.ops.extensions.package_install_files(
            filepath=extension, repo="user_default", enable_on_install=True
        )
    preferences = bpy.context.preferences.addons[EXTENSION].preferences
    preferences.url = os.environ.get("POSELLAVA_URL", "")
    preferences.token = os.environ.get("POSELLAVA_TOKEN", "")

    set_stage()
    bpy.ops.posellava.add_figure()
    bpy.data.materials["SMPL Body"].diffuse_color = BODY_COLOUR
    key_start_pose(bpy.context.object)
    bpy.context.scene.frame_end = STEPS[-1].frames[-1]
    reports = [run_step(number, step, folder) for number, step in enumerate(STEPS)]
    (folder / "reports.json").write_text(json.dumps(reports))
    bpy.context.scene.frame_set(STEPS[-1].frames[-1])
    with quiet():
        bpy.ops.wm.save_as_mainfile(filepath=blend)


def key_start_pose(figure: Any) -> None:
    """Key the standing pose on frame 1."""
    skeleton = importlib.import_module(f"{EXTENSION}.contract.skeleton")
    armature = importlib.import_module(f"{EXTENSION}.rig.armature")
    armature.Rig.of(figure).write(
        [1], skeleton.STANDING_POSE[None], joints=frozenset(range(skeleton.NUM_JOINTS))
    )
    for bone in figure.pose.bones:  # the bones that stand as they rest, too: a start pose is whole
        bone.keyframe_insert("rotation_quaternion", frame=1)


def run_step(number: int, step: Step, folder: Path) -> dict[str, Any]:
    """Type the instruction and press the button, at the step's frames; render before and after."""
    scene = bpy.context.scene
    scene.timeline_markers.new(step.instruction, frame=step.frames[0])
    scene.frame_set(step.frames[-1])
    render(folder / f"{number}_before.png")
    options = {}
    if len(step.frames) > 1:
        scene.use_preview_range = True
        scene.frame_preview_start, scene.frame_preview_end = step.frames[0], step.frames[-1]
        options = {"frames": "RANGE"}
    scene.posellava.instruction = step.instruction
    with quiet():
        getattr(bpy.ops.posellava, step.operator)(**options)
    scene.use_preview_range = False
    outcome = importlib.import_module(f"{EXTENSION}.operators.activity").activity.outcome
    render(folder / f"{number}_after.png")

    first, last = step.frames[0], step.frames[-1]
    frames = f"frame {first}" if first == last else f"frames {first} to {last}"
    button = step.operator.replace("_", " ").title()
    print(f'\n{button}, {frames}: "{step.instruction}"')
    if outcome.words:
        print(f"  {outcome.words}")
    for joint, degrees in outcome.report.degrees.items():
        print(f"  {joint.replace('_', ' '):<15} {degrees:6.1f}°")
    print(f"  from sending to keyed: {outcome.milliseconds:.0f} ms", flush=True)
    return {
        "button": button,
        "frames": frames,
        "instruction": step.instruction,
        "degrees": outcome.report.degrees,
        "milliseconds": outcome.milliseconds,
    }


def render(path: Path) -> None:
    """Render the current frame."""
    bpy.context.scene.render.filepath = str(path)
    with quiet():
        bpy.ops.render.render(write_still=True)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what Blender's own code prints from the terminal; errors come as exceptions all the same."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept, nowhere = [os.dup(1), os.dup(2)], os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        yield
    finally:
        for number, terminal in enumerate(kept, start=1):
            os.dup2(terminal, number)
            os.close(terminal)
        os.close(nowhere)


def set_stage() -> None:
    """A round stage, light and a camera at chest height. The background stays transparent, for the page."""
    scene = bpy.context.scene
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    camera.data.lens = 86
    camera.data.sensor_fit = "VERTICAL"
    aim(camera, (2.3, -7.3, 1.6), (0, -0.05, 0.85))
    scene.camera = camera
    light = bpy.data.objects.new("Sun", bpy.data.lights.new("Sun", "SUN"))
    light.data.energy, light.data.angle = 2.5, 0.3
    aim(light, (2.0, -3.0, 5.0), (0, 0, 0.9))
    bpy.ops.mesh.primitive_cylinder_add(vertices=128, radius=0.72, depth=0.04, location=(0, 0, -0.02))
    stage = bpy.context.object
    stage.name = "Stage"
    stage.data.materials.append(bpy.data.materials.new("Stage"))
    stage.data.materials[0].diffuse_color = STAGE_COLOUR

    settings = scene.render
    settings.resolution_x, settings.resolution_y, settings.resolution_percentage = WIDTH, HEIGHT, 100
    settings.image_settings.file_format = "PNG"
    settings.image_settings.color_mode = "RGBA"
    settings.film_transparent = True
    scene.view_settings.view_transform = "Standard"
    scene.world = bpy.data.worlds.new("Studio")
    if importlib.import_module(f"{EXTENSION}.operators.view").workbench_works():
        settings.engine = "BLENDER_WORKBENCH"
        shading = scene.display.shading
        shading.light, shading.studio_light, shading.color_type = "STUDIO", "paint.sl", "MATERIAL"
        shading.show_cavity, shading.cavity_type = True, "BOTH"
        shading.show_shadows, shading.shadow_intensity = True, 0.18
        scene.display.light_direction = (0.25, 0.15, 0.95)
        scene.display.render_aa = "16"
    else:
        settings.engine = "CYCLES"  # slower, but it needs no graphics driver at all
        scene.cycles.samples = CYCLES_SAMPLES


def aim(thing: Any, place: tuple[float, float, float], target: tuple[float, float, float]) -> None:
    """Put an object into the scene at ``place``, looking at ``target``."""
    thing.location = place
    thing.rotation_euler = (Vector(target) - Vector(place)).to_track_quat("-Z", "Y").to_euler()
    bpy.context.scene.collection.objects.link(thing)


main()
