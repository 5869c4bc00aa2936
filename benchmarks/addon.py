# SPDX-License-Identifier: Apache-2.0
"""How fast an edit is for the animator, and how long the add-on holds Blender's main thread.

The built extension, in headless Blender, against ``posellava serve`` with the model that ships, over loopback.

- ``edit_round_trip_ms``: from the operator's handing over of the request until the last key is written; one frame.
- ``addon_block_ms``: the longest step of an edit of 240 frames in which the main thread is held, apart from writing the
  keys. In a window each step is one timer event; here the same steps are run one after the other and timed.
- ``addon_block_view_ms``: the same with Send Viewport, apart from Blender's drawing of the viewport, which needs a
  window; the picture that is encoded is noise, the hardest to compress. The drawing holds the main thread, the only one
  that may draw, for one redraw more, which depends on scene and graphics card: 0.25 s were seen without one.
  ``make test-gui`` checks the rest of it in a real window.
- ``read_1000_s``: from pressing the button until 1,000 poses of an armature of 600 bones with a constraint are read, as
  in a window: in steps with a timer's pause between them, while playback goes on to another frame in each.
- ``batch_250_keys_s``: a walk of 250 frames, all keyed, edited by one instruction, *Each Frame*: from the operator
  until the last key; the median of three.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import build_addon
from demo.run import BLENDER_SECONDS, backend

ROUNDS: Final = 60
WARM_UP: Final = 5
RANGE_FRAMES: Final = 240
READ_FRAMES: Final = 1000
READ_BONES: Final = 600
BATCH_FRAMES: Final = 250

INSIDE: Final = """
import importlib, json, os, sys, time
import bpy, numpy
sys.stdout.flush()
out = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # what Blender prints does not belong to the figures
EXTENSION = "bl_ext.user_default.posellava"
extension, rounds, warm_up, range_frames, batch_frames, read_frames, read_bones = (
    sys.argv[1], *map(int, sys.argv[2:8]))
bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.ops.extensions.package_install_files(filepath=extension, repo="user_default", enable_on_install=True)
preferences = bpy.context.preferences.addons[EXTENSION].preferences
preferences.url, preferences.token = os.environ["POSELLAVA_URL"], os.environ["POSELLAVA_TOKEN"]
part = lambda name: importlib.import_module(f"{EXTENSION}.{name}")
activity = part("operators.activity").activity
skeleton, armature = part("contract.skeleton"), part("rig.armature")
work, backend, picture, photo = (
    part(f"operators.{name}") for name in ("work", "backend", "picture", "photo"))
bpy.ops.posellava.add_figure()
figure = bpy.context.object
armature.Rig.of(figure).write([1], skeleton.STANDING_POSE[None], joints=frozenset(range(24)))

instructions = ["raise your left arm", "bend the right elbow by 60 degrees", "turn your head to the left",
                "lower your left arm", "lift the right knee"]
times = []
for number in range(warm_up + rounds):
    bpy.context.scene.frame_set(10 + number)
    bpy.ops.posellava.edit_pose(instruction=instructions[number % len(instructions)])
    times.append(activity.outcome.milliseconds)
times = times[warm_up:]

writing = 0.0
def write(*arguments, real=work.show):
    global writing
    began = time.perf_counter()
    report = real(*arguments)
    writing = time.perf_counter() - began
    return report
work.show = write

began = time.perf_counter()
backend.connect(bpy.context)
connecting = time.perf_counter() - began

def steps(take_picture):
    order = work.Order("adjust", instructions[0], figure.session_uid, tuple(range(100, 100 + range_frames)),
                       frozenset(skeleton.BODY_PARTS), 1.0, take_picture=take_picture)
    spent = [connecting]
    began = time.perf_counter()
    course = work.course(order, backend.connection(bpy.context))
    while True:
        try:
            wait = next(course)
        except StopIteration:
            return [*spent, time.perf_counter() - began - writing]
        spent.append(time.perf_counter() - began)
        while wait is not None and not wait(0.02):  # in a window the thread is free meanwhile
            pass
        began = time.perf_counter()

noise = numpy.random.default_rng(0).integers(0, 256, (336, 336, 3), numpy.uint8)
def take():
    yield None
    return picture.Picture(photo.encode_png(noise))
plain, with_view = ([1000 * step for step in steps(taking)] for taking in (None, take))

activity.end()
bpy.ops.posellava.add_figure()
walker, frames = bpy.context.object, list(range(1, batch_frames + 1))
swing = numpy.sin(numpy.arange(batch_frames) / 5)[:, None] * numpy.array([0.5, 0, 0])
walk = numpy.tile(skeleton.STANDING_POSE, (batch_frames, 1, 1))
for name, way in (("hip", 1), ("shoulder", -1), ("knee", 0.8)):
    for side in ("left", "right"):
        walk[:, skeleton.JOINT_INDEX[f"{side}_{name}"]] += (way if side == "left" else -way) * swing
armature.Rig.of(walker).write(frames, walk, joints=frozenset(range(24)))
batches = []
for instruction in instructions[:3]:
    began = time.perf_counter()
    bpy.ops.posellava.edit_pose(instruction=instruction, frame_list=f"1:{batch_frames}", range_mode="EACH")
    batches.append(time.perf_counter() - began)
    assert all(len(curve.keyframe_points) == batch_frames for curve in part("rig.curves").action_curves(walker))

activity.end()
bpy.ops.posellava.add_figure()
rig = bpy.context.object
bpy.data.objects.remove(rig.children[0])
bpy.ops.object.mode_set(mode="EDIT")
for number in range(read_bones - len(rig.data.edit_bones)):
    hair = rig.data.edit_bones.new(f"Hair {number}")
    hair.head, hair.tail = (0, 0, 1.8), (0, 0, 1.9)
    hair.parent = rig.data.edit_bones["Head"]
bpy.ops.object.mode_set(mode="OBJECT")
copy = rig.pose.bones["L_Wrist"].constraints.new("COPY_ROTATION")
copy.target, copy.subtarget, copy.influence = rig, "R_Wrist", 0.5
for frame in (1, read_frames):
    rig.pose.bones["L_Knee"].rotation_quaternion = (1, 0.001 * frame, 0, 0)
    rig.pose.bones["L_Knee"].keyframe_insert("rotation_quaternion", frame=frame)
order = work.Order("adjust", instructions[0], rig.session_uid, tuple(range(1, 1 + read_frames)),
                   frozenset(skeleton.BODY_PARTS), 1.0)
reading, ask, ticks = time.perf_counter(), part("operators.ask"), 0
for _ in work._read(order):
    ticks += 1
    bpy.context.scene.frame_set(bpy.context.scene.frame_current % read_frames + 1)
    time.sleep(ask.TICK_SECONDS)
reading = time.perf_counter() - reading
measured = {"reading": reading, "ticks": ticks, "times": times, "plain": plain, "with_view": with_view}
measured["batches"] = batches
print(json.dumps(measured), file=out, flush=True)
"""


def main() -> None:
    """Measure and print."""
    extension = build_addon.build_slim()
    with tempfile.TemporaryDirectory(prefix="posellava-bench-") as folder, backend(None) as (url, token):
        environment = os.environ | {
            "BLENDER_USER_RESOURCES": folder,
            "POSELLAVA_URL": url,
            "POSELLAVA_TOKEN": token,
        }
        script = Path(folder) / "inside.py"
        script.write_text(INSIDE)
        numbers = map(str, (ROUNDS, WARM_UP, RANGE_FRAMES, BATCH_FRAMES, READ_FRAMES, READ_BONES))
        command = [sys.executable, str(script), str(extension), *numbers]
        done = subprocess.run(
            command, env=environment, stdout=subprocess.PIPE, text=True, timeout=BLENDER_SECONDS, check=True
        )
    measured = json.loads(done.stdout.splitlines()[-1])
    times = sorted(measured["times"])
    p50, p95 = (round(times[round(share * (len(times) - 1))], 1) for share in (0.50, 0.95))
    figures = [
        {"name": "edit_round_trip_ms", "value": p50, "unit": "ms", "p50": p50, "p95": p95, "rounds": ROUNDS},
        *(
            {
                "name": name,
                "value": round(max(measured[kind]), 2),
                "unit": "ms",
                "frames": RANGE_FRAMES,
                "steps": len(measured[kind]),
            }
            for name, kind in (("addon_block_ms", "plain"), ("addon_block_view_ms", "with_view"))
        ),
        {
            "name": "read_1000_s",
            "value": round(measured["reading"], 2),
            "unit": "s",
            "frames": READ_FRAMES,
            "bones": READ_BONES,
            "steps": measured["ticks"],
        },
        {
            "name": "batch_250_keys_s",
            "value": round(statistics.median(measured["batches"]), 2),
            "unit": "s",
            "frames": BATCH_FRAMES,
            "rounds": len(measured["batches"]),
        },
    ]
    for figure in figures:
        print(json.dumps(figure), flush=True)


if __name__ == "__main__":
    main()
