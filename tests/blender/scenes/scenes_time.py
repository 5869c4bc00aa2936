# SPDX-License-Identifier: Apache-2.0
"""Ranges, offsets, Time Stretching, and what the user does while the model works."""

import tempfile
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from stage import (
    apart,
    ask,
    bent,
    curves,
    figure,
    go,
    key,
    keyed_frames,
    near,
    part,
    refused,
    same,
    scene,
    turns,
    walk,
)

BONES = ("L_Hip", "R_Hip")
EVERY = range(1, 41)


def spread(anna: Any) -> float:
    """Degrees over which the left hip moves in the walk."""
    hips = turns(anna, ("L_Hip",), EVERY)[:, 0]
    return float(apart(hips[:, None], hips[None]).max())


def offset(hip: int, *references: int, **more: Any) -> None:
    """Ask for the left hip at so many degrees, all frames to follow by what changes at those."""
    chosen = ",".join(map(str, references))
    ask(f"left_hip x {hip}", frame_list="1:40", range_mode="OFFSET", reference_list=chosen, **more)


@scene
def each_frame_is_asked_for_itself() -> None:
    anna = figure()
    walk(anna)
    ask("left_hip x -50", frame_list="1:40")
    near(spread(anna), 0, 0.1)


@scene
def an_offset_keeps_the_motion() -> None:
    anna = figure()
    walk(anna)
    before = spread(anna)
    go(20)
    was = bent(anna, "L_Hip", 20)
    ask("left_hip x -50", frame_list="1:40", range_mode="OFFSET")
    near(bent(anna, "L_Hip", 20), 50)
    near(spread(anna), before, 1.0)
    assert abs(was - 50) > 10


@scene
def an_offset_of_one_chosen_frame() -> None:
    anna = figure()
    walk(anna)
    offset(-50, 30)
    near(bent(anna, "L_Hip", 30), 50)


@scene
def an_offset_of_two_chosen_frames_goes_over_between_them() -> None:
    anna = figure()
    walk(anna)
    offset(-50, 10, 30)
    near(bent(anna, "L_Hip", 10), 50)
    near(bent(anna, "L_Hip", 30), 50)


@scene
def an_offset_over_a_list_of_frames_keeps_sparse_keys_sparse() -> None:
    anna = figure()
    walk(anna)
    offset(-50, 20)
    assert keyed_frames(anna, "L_Hip") == [1, 10, 20, 30, 40]
    offset(-40, 20, every_frame=True)
    assert keyed_frames(anna, "L_Hip") == list(EVERY)


@scene
def an_offset_keeps_sparse_keys_sparse() -> None:
    anna = figure()
    walk(anna)
    stage = bpy.context.scene
    stage.frame_start, stage.frame_end = 1, 40
    go(20)
    ask("left_hip x -50", frames="RANGE", range_mode="OFFSET")
    assert keyed_frames(anna, "L_Hip") == [1, 10, 20, 30, 40]
    near(bent(anna, "L_Hip", 20), 50)


def steps(anna: Any) -> float:
    """Degrees that the left hip moves from one frame to the next, at most."""
    hips = turns(anna, ("L_Hip",), EVERY)[:, 0]
    return float(apart(hips[1:], hips[:-1]).max())


@scene
def part_of_a_range_comes_and_goes_without_a_jump() -> None:
    anna = figure()
    walk(anna)
    usual = steps(anna)
    outside = [*range(1, 12), *range(31, 41)]
    before = turns(anna, BONES, outside)
    go(20)
    ask("left_hip x -50", frame_list="12:30", range_mode="OFFSET", blend_in=6, blend_out=6)
    near(bent(anna, "L_Hip", 20), 50)
    same(turns(anna, BONES, outside), before)
    assert steps(anna) < usual + 20, steps(anna)


@scene
def each_frame_can_come_and_go_too() -> None:
    anna = figure()
    walk(anna)
    usual = steps(anna)
    ask("left_hip x -60", frame_list="12:30", blend_in=6, blend_out=6)
    near(bent(anna, "L_Hip", 20), 60)
    assert steps(anna) < usual + 20, steps(anna)


@scene
def a_whole_motion_has_no_edges_to_blend() -> None:
    anna = figure()
    walk(anna)
    ask("left_hip x -50", frame_list="1:40", blend_in=6, blend_out=6)
    near(bent(anna, "L_Hip", 1), 50)
    near(bent(anna, "L_Hip", 40), 50)


@scene
def the_panels_range_options_go_with_the_panels_range() -> None:
    anna = figure()
    walk(anna)
    stage, chosen = bpy.context.scene, bpy.context.scene.posellava
    stage.frame_start, stage.frame_end = 12, 30
    chosen.range_mode, chosen.blend_in, chosen.blend_out, chosen.every_frame = "OFFSET", 6, 6, True
    usual = steps(anna)
    go(20)
    ask("left_hip x -50", frames="RANGE")
    near(bent(anna, "L_Hip", 20), 50)
    assert steps(anna) < usual + 20, steps(anna)
    ask("right_hip x -50", frame_list="12:30")
    near(bent(anna, "R_Hip", 12), 50)
    near(bent(anna, "R_Hip", 30), 50)


@scene
def a_range_asks_once_how_it_is_edited() -> None:
    chosen = bpy.context.scene.posellava
    assert chosen.range_mode == "ASK"
    assert set(chosen.bl_rna.properties["range_mode"].enum_items.keys()) == {"ASK", "EACH", "OFFSET"}


@scene
def time_stretching_with_a_constraint() -> None:
    anna = figure()
    key(anna, "R_Knee", "x", (1, 0), (21, 80), kind="LINEAR")
    anna.pose.bones["Head"].constraints.new("LIMIT_LOCATION")
    render = bpy.context.scene.render
    render.frame_map_old, render.frame_map_new = 100, 200  # frame 20 of the scene shows the time 10
    read = part("rig.armature").Rig.of(anna).read([1.0, 11.0, 21.0])
    for pose, wanted in zip(read, (0, 40, 80), strict=True):
        near(np.degrees(np.linalg.norm(pose[5])), wanted, 0.1)
    go(22)
    near(bent(anna, "R_Knee", 22), 40, 0.1)
    ask("left_knee x 90")
    near(bent(anna, "L_Knee", 22), 90)
    near(bent(anna, "L_Knee", 2), 0, 0.01)
    render.frame_map_old = render.frame_map_new = 100


@scene
def a_list_of_frames_is_the_scenes_under_time_stretching() -> None:
    anna = figure()
    render = bpy.context.scene.render
    render.frame_map_old, render.frame_map_new = 100, 50
    ask("left_knee x 90", frame_list="10")
    near(bent(anna, "L_Knee", 10), 90)
    assert keyed_frames(anna, "L_Knee") == [20]
    render.frame_map_new = 100


def begin(name: str) -> Any:
    """An order under way: what finishes it."""
    work, backend = part("operators.work"), part("operators.backend")
    activity = part("operators.activity").activity
    activity.begin()
    backend.connect(bpy.context)
    parts = frozenset(part("contract.skeleton").BODY_PARTS)
    anna = bpy.data.objects[name].session_uid
    order = work.Order("adjust", "left_knee x 90", anna, (1.0,), parts, 1.0)
    course = work.course(order, backend.connection(bpy.context))
    wait = next(course)

    def finish() -> str:
        assert wait(20.0)
        try:
            while True:
                next(course)
        except StopIteration as end:
            activity.succeed(end.value)
            return ""
        except Exception as error:
            activity.end()
            return str(error)

    return finish


@scene
def an_armature_renamed_meanwhile_gets_its_answer() -> None:
    anna = figure()
    finish = begin("Anna")
    anna.name = "Berta"
    assert finish() == ""
    near(bent(anna, "L_Knee", 1), 90)


@scene
def another_with_the_old_name_gets_nothing() -> None:
    anna = figure()
    finish = begin("Anna")
    anna.name = "Berta"
    other = figure()
    assert other.name == "Anna"
    assert finish() == ""
    near(bent(anna, "L_Knee", 1), 90)
    near(bent(other, "L_Knee", 1), 0)


@scene
def an_armature_removed_meanwhile_is_told() -> None:
    anna = figure()
    finish = begin("Anna")
    bpy.data.objects.remove(anna)
    other = figure()
    assert "removed" in finish()
    near(bent(other, "L_Knee", 1), 0)


@scene
def a_mode_switched_meanwhile_changes_nothing() -> None:
    anna = figure()
    finish = begin("Anna")
    bpy.ops.object.mode_set(mode="POSE")
    assert finish() == ""
    near(bent(anna, "L_Knee", 1), 90)
    assert anna.mode == "POSE"


@scene
def an_armature_in_edit_mode_when_the_answer_comes_is_told() -> None:
    anna = figure()
    finish = begin("Anna")
    bpy.ops.object.mode_set(mode="EDIT")
    assert "Edit Mode" in finish()
    bpy.ops.object.mode_set(mode="OBJECT")
    assert curves(anna) == []


@scene
def playback_meanwhile_changes_nothing() -> None:
    anna = figure()
    walk(anna)
    hips = turns(anna, ("L_Hip",), range(1, 41))
    go(1)
    finish = begin("Anna")
    for frame in range(2, 30):
        go(frame)
    assert finish() == ""
    assert bpy.context.scene.frame_current == 29
    near(bent(anna, "L_Knee", 1), 90)
    same(turns(anna, ("L_Hip",), range(1, 41)), hips)


@scene
def a_file_opened_meanwhile_gets_nothing() -> None:
    figure()
    finish = begin("Anna")
    bpy.ops.wm.read_homefile(use_empty=True)
    assert "removed" in finish()
    assert not part("operators.activity").activity.running
    other = figure()
    assert curves(other) == []


@scene
def a_file_reverted_meanwhile_gets_nothing() -> None:
    anna = figure()
    with tempfile.TemporaryDirectory() as folder:
        bpy.ops.wm.save_as_mainfile(filepath=str(Path(folder) / "scene.blend"))
        finish = begin("Anna")
        key(anna, "Head", "x", (1, 0), (40, 20))
        bpy.ops.wm.revert_mainfile()
        assert "removed" in finish()
        assert not part("operators.activity").activity.running
        anna = bpy.data.objects["Anna"]
        assert curves(anna) == []
        bpy.context.view_layer.objects.active = anna
        ask("left_knee x 90")  # and the next edit goes to the figure that is there now
        near(bent(anna, "L_Knee", 1), 90)


@scene
def keys_of_bones_that_are_gone_are_no_frames() -> None:
    anna = figure()
    key(anna, "L_Hip", "x", (1, 0), (20, 30))
    key(anna, "R_Knee", "x", (5, 0), (15, 30))
    for curve in curves(anna):
        if "R_Knee" in curve.data_path:
            curve.data_path = curve.data_path.replace("R_Knee", "Gone")
        for point in curve.keyframe_points:
            point.select_control_point = True
    anna.pose.bones["L_Elbow"].rotation_euler.x = 1
    anna.pose.bones["L_Elbow"].keyframe_insert("rotation_euler", frame=33)
    frames = part("rig.frames").list_frames(part("rig.armature").Rig.of(anna), "SELECTED")
    assert frames == [1, 20], frames


@scene
def no_selected_key_is_told() -> None:
    figure()
    assert "No keyframe" in refused("left_knee x 90", frames="SELECTED")
