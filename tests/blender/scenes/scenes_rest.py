# SPDX-License-Identifier: Apache-2.0
"""What animators' files hold besides: names, places, scales, rotation modes."""

import math
import tempfile
from pathlib import Path

import bpy
from stage import ask, bent, curves, figure, go, key, keyed_frames, near, says, scene, shown, start, walk

KNEE = "left_knee x 90"


@scene
def mixed_rotation_modes() -> None:
    anna = figure()
    modes = ("QUATERNION", "XYZ", "ZYX", "AXIS_ANGLE")
    for number, pbone in enumerate(anna.pose.bones):
        pbone.rotation_mode = modes[number % 4]
    assert ask("left_knee x 90; left_shoulder z -40; right_hip x -30; head y 20").arrived
    near(bent(anna, "L_Knee", 1), 90)
    near(bent(anna, "R_Hip", 1), 30)


@scene
def names_in_other_letters() -> None:
    anna = figure("Άννα 安娜")
    anna.data.name = "骨"
    ask(KNEE)
    near(bent(anna, "L_Knee", 1), 90)


@scene
def ten_kilometres_from_the_origin() -> None:
    anna = figure()
    anna.location = (1e4, -1e4, 1e4)
    ask("left_hip x -60; left_knee x 90")
    near(bent(anna, "L_Knee", 1), 90)


@scene
def small_under_turned_parents() -> None:
    anna = figure()
    above = bpy.data.objects.new("Above", None)
    bpy.context.collection.objects.link(above)
    above.rotation_euler, above.scale = (0.4, 1.1, -2.0), (0.01,) * 3
    anna.parent = above
    bpy.context.view_layer.update()
    assert ask(KNEE).arrived
    near(bent(anna, "L_Knee", 1), 90)


@scene
def frames_at_the_ends_of_blenders_time() -> None:
    anna = figure()
    for frame in (-1048570, 1048570):
        go(frame)
        ask(KNEE)
        near(bent(anna, "L_Knee", frame), 90)


@scene
def a_frame_between_frames() -> None:
    anna = figure()
    bpy.context.scene.frame_set(7, subframe=0.25)
    ask(KNEE)
    assert keyed_frames(anna, "L_Knee") == [7.25]


@scene
def twenty_thousand_keys() -> None:
    anna = figure()
    walk(anna)
    stage = bpy.context.scene
    stage.frame_end = 250
    ask("; ".join(f"+{joint} x 5" for joint in ("left_hip", "right_hip", "left_knee", "right_knee", "spine1", "spine2",
        "spine3", "neck", "head", "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist",
        "right_wrist", "left_ankle", "right_ankle", "left_collar", "right_collar", "pelvis")),
        frame_list="1:250")  # fmt: skip
    assert sum(len(curve.keyframe_points) for curve in curves(anna)) >= 20000
    near(bent(anna, "Head", 125), 5)


@scene
def what_is_posed_and_not_keyed_stays() -> None:
    anna = figure()
    key(anna, "Head", "x", (1, 0), (40, 20))
    go(20)
    anna.pose.bones["L_Elbow"].rotation_quaternion = (0.8, 0.6, 0, 0)
    ask(KNEE)
    near(math.degrees(anna.pose.bones["L_Elbow"].rotation_quaternion.angle), 73.74, 0.1)


@scene
def one_undo_takes_it_back() -> None:
    figure()
    bpy.ops.ed.undo_push(message="before")
    ask(KNEE)
    bpy.ops.ed.undo_push(message="edit")
    bpy.ops.ed.undo()
    anna = bpy.data.objects["Anna"]
    assert not curves(anna)
    near(bent(anna, "L_Knee", 1), 0)


@scene
def a_turned_object_that_moves() -> None:
    anna = figure()
    for frame, tip in ((1, 0.0), (40, 1.5)):
        anna.rotation_euler.z = tip
        anna.keyframe_insert("rotation_euler", frame=frame)
    go(20)
    ask("left_hip x -60; left_knee x 90; right_hip x -60; right_knee x 90")
    near(bent(anna, "L_Knee", 20), 90)
    floor = min(shown(anna, 20).pose.bones[name].head.z for name in ("L_Foot", "R_Foot"))
    near(floor, min(anna.data.bones[name].head_local.z for name in ("L_Foot", "R_Foot")), 0.1)


@scene
def a_library_override_is_posed() -> None:
    anna = figure()
    character = bpy.data.collections.new("Character")
    bpy.context.scene.collection.children.link(character)
    for one in (anna, *anna.children):
        character.objects.link(one)
        bpy.context.scene.collection.objects.unlink(one)
    with tempfile.TemporaryDirectory() as folder:
        library = str(Path(folder) / "library.blend")
        bpy.ops.wm.save_as_mainfile(filepath=library)
        start()
        with bpy.data.libraries.load(library, link=True) as (_, here):
            here.collections = ["Character"]
        instance = bpy.data.objects.new("Character", None)
        instance.instance_type, instance.instance_collection = "COLLECTION", here.collections[0]
        bpy.context.scene.collection.objects.link(instance)
        bpy.context.view_layer.objects.active = instance
        instance.select_set(True)
        bpy.ops.object.make_override_library()
        anna = next(one for one in bpy.context.view_layer.objects if one.type == "ARMATURE")
        assert anna.override_library is not None
        bpy.context.view_layer.objects.active = anna
        outcome = ask("left_knee x 90", frame_list="1,5")
        says(outcome, "Moved left knee 90")
        near(bent(anna, "L_Knee", 5), 90)
        shot = str(Path(folder) / "shot.blend")
        bpy.ops.wm.save_as_mainfile(filepath=shot)
        bpy.ops.wm.open_mainfile(filepath=shot)
        anna = next(one for one in bpy.context.view_layer.objects if one.type == "ARMATURE")
        near(bent(anna, "L_Knee", 1), 90)
        start()
