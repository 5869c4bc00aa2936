# SPDX-License-Identifier: Apache-2.0
"""Runs inside the Blender window: installs the extension, adds the figure, and then writes what Blender's state is.

Everything else is done from outside: by mouse and keyboard, or by scripts that are run here in the viewport's context.
``state.json`` is written several times a second.
"""

import importlib
import json
import os
import time
import traceback
from pathlib import Path

import bpy

EXTENSION = "bl_ext.user_default.posellava"
FOLDER = Path(os.environ["FOLDER"])
longest_ms = {}
apart_ms = {}
shown = {}  # what the panel showed when it was last drawn
polled = {}  # why each of the panel's buttons was grey when it was last drawn; empty where it was not
presses = 0  # of the mouse's left button that reached Blender
mouse = [0, 0]  # where Blender believes it to be, from the upper left


def set_up():
    """Install, show the figure in a tidy viewport, open the sidebar."""
    bpy.context.preferences.view.show_splash = False
    bpy.ops.extensions.package_install_files(
        filepath=str(FOLDER / "extension.zip"), repo="user_default", enable_on_install=True
    )
    preferences = bpy.context.preferences.addons[EXTENSION].preferences
    preferences.url, preferences.token = os.environ["POSELLAVA_URL"], os.environ["POSELLAVA_TOKEN"]
    for thing in list(bpy.data.objects):
        bpy.data.objects.remove(thing)
    time_calls()


class GUI_OT_count_presses(bpy.types.Operator):
    """Sees every event before anything else does, and counts those that a test has to be sure of."""

    bl_idname = "gui.count_presses"
    bl_label = "Count Presses"

    def invoke(self, context, event):
        """Begin."""
        context.window_manager.modal_handler_add(self)
        return {"RUNNING_MODAL"}

    def modal(self, context, event):
        """Count, and leave the event to everybody else."""
        global presses
        mouse[:] = event.mouse_x, context.window.height - 1 - event.mouse_y
        presses += event.type == "LEFTMOUSE" and event.value in {"PRESS", "DOUBLE_CLICK"}
        return {"PASS_THROUGH"}


def in_viewport():
    """The context of the first window's viewport."""
    window = bpy.context.window_manager.windows[0]
    area = next(area for area in window.screen.areas if area.type == "VIEW_3D")
    region = next(region for region in area.regions if region.type == "WINDOW")
    return bpy.context.temp_override(window=window, area=area, region=region)


def arrange():
    """What needs a window: a timer calls it once."""
    window = bpy.context.window_manager.windows[0]
    area = next(area for area in window.screen.areas if area.type == "VIEW_3D")
    bpy.utils.register_class(GUI_OT_count_presses)
    with in_viewport():
        bpy.ops.gui.count_presses("INVOKE_DEFAULT")
        bpy.ops.posellava.add_figure()
        space = area.spaces.active
        space.show_region_ui = True
        space.overlay.show_bones = False
        space.region_3d.view_perspective = "PERSP"
        space.region_3d.view_location = (0.25, 0.0, 0.85)
        space.region_3d.view_distance = 3.9
        space.region_3d.view_rotation = (0.76, 0.62, 0.12, 0.14)
        stand(bpy.context.object)
        bpy.ops.ed.undo_push(message="Set-up")
    bpy.app.timers.register(write_state, first_interval=1.0, persistent=True)
    bpy.app.timers.register(run_script, first_interval=1.0, persistent=True)


def stand(figure):
    """Key the standing pose on frame 1."""
    skeleton = importlib.import_module(f"{EXTENSION}.contract.skeleton")
    armature = importlib.import_module(f"{EXTENSION}.rig.armature")
    armature.Rig.of(figure).write(
        [1], skeleton.STANDING_POSE[None], joints=frozenset(range(skeleton.NUM_JOINTS))
    )
    bpy.context.scene.frame_set(10)


def time_calls():
    """Measure how long the add-on holds the window's thread; Blender's drawing and the writing of keys count apart."""
    ask, view, work, backend, panel = (
        importlib.import_module(f"{EXTENSION}.{name}")
        for name in ("operators.ask", "operators.view", "operators.work", "operators.backend", "ui.panel")
    )
    activity = importlib.import_module(f"{EXTENSION}.operators.activity").activity
    apart = [0.0]

    def timed(function, name, *arguments):
        apart[0] = 0.0
        began = time.perf_counter()
        try:
            return function(*arguments)
        finally:
            spent = time.perf_counter() - began - apart[0]
            longest_ms[name] = max(longest_ms.get(name, 0.0), 1000 * spent)

    def timed_apart(function, name):
        def call(*arguments):
            began = time.perf_counter()
            try:
                return function(*arguments)
            finally:
                spent = time.perf_counter() - began
                apart[0] += spent
                apart_ms[name] = max(apart_ms.get(name, 0.0), 1000 * spent)

        return call

    work.show = timed_apart(work.show, "write")
    view._draw = timed_apart(view._draw, "draw")

    # Blender looks at a method's number of parameters, so that every wrapper has to have exactly the right ones.
    def timed_handler(function, name):
        return lambda self, context, event: timed(function, name, self, context, event)

    def timed_draw(function, name):
        def draw(self, context):
            timed(function, name, self, context)
            if name == "POSELLAVA_PT_main":
                shown.update(
                    sent=activity.handle is not None,
                    notice=activity.notice.sentence if activity.notice else "",
                    done=activity.outcome is not None,
                )

        return draw

    obstacle = ask.Ask.obstacle.__func__

    def noted_obstacle(cls, context):
        reason = obstacle(cls, context)
        if getattr(context, ask.PANEL_POINTER, None) is not None:
            polled[cls.bl_label] = reason
        return reason

    ask.Ask.obstacle = classmethod(noted_obstacle)
    for name in ("invoke", "modal"):
        setattr(ask.Ask, name, timed_handler(getattr(ask.Ask, name), name))
    for cls in panel.CLASSES:
        cls.draw = timed_draw(cls.draw, cls.__name__)
    connect = backend.connect
    backend.connect = lambda context: timed(connect, "connect", context)


def keys():
    """{data path: {frame: ...}} of every curve."""
    return {
        f"{curve.data_path}[{curve.array_index}]": [point.co.x for point in curve.keyframe_points]
        for action in bpy.data.actions
        for curve in action.fcurves
    }


def run_script():
    """Timer: run the script that a test has put into the folder, and leave its ``result``."""
    script = FOLDER / "script.py"
    if script.exists():
        text, result = script.read_text(), {}
        script.unlink()
        try:
            with in_viewport():
                exec(
                    compile(text, "script", "exec"),
                    {"bpy": bpy, "result": result, "in_viewport": in_viewport},
                )
        except Exception:
            result["error"] = traceback.format_exc()
        partial = FOLDER / "result.part"
        partial.write_text(json.dumps(result))
        partial.replace(FOLDER / "result.json")
    return 0.1


def write_state():
    """Timer: write the state for the test."""
    activity = importlib.import_module(f"{EXTENSION}.operators.activity").activity
    backend = importlib.import_module(f"{EXTENSION}.operators.backend")
    figure = bpy.data.objects.get("SMPL Figure")
    state = {
        "ready": True,
        "connection": backend.status().state.value,
        "instruction": bpy.context.scene.posellava.instruction,
        "question": bpy.context.scene.posellava.question,
        "running": activity.running,
        "sent": activity.handle is not None,
        "error": activity.error,
        "notice": activity.notice.sentence if activity.notice else "",
        "said": activity.handle.progress.words if activity.handle and activity.handle.progress else "",
        "steps": activity.handle.progress.done if activity.handle and activity.handle.progress else 0,
        "painted": activity.outcome.picture.image if activity.outcome and activity.outcome.picture else "",
        "turns": [[turn.instruction, turn.words] for turn in activity.chat.turns],
        "words": activity.outcome.words if activity.outcome else "",
        "degrees": activity.outcome.report.degrees if activity.outcome and activity.outcome.report else {},
        "keys": keys(),
        "pose": {bone.name: list(bone.matrix_basis.to_quaternion()) for bone in figure.pose.bones}
        if figure
        else {},
        "longest_ms": longest_ms,
        "apart_ms": apart_ms,
        "shown": shown,
        "polled": polled,
        "presses": presses,
        "mouse": mouse,
    }
    partial = FOLDER / "state.part"
    partial.write_text(json.dumps(state))
    partial.replace(FOLDER / "state.json")
    return 0.2


set_up()
bpy.app.timers.register(arrange, first_interval=2.0)
