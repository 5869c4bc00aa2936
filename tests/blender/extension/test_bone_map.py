# SPDX-License-Identifier: Apache-2.0
"""The operators under Bone Map, as the installed extension has them."""

from __future__ import annotations

from pathlib import Path

from .scripts import InBlender

FIGURE = """
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.preferences.addon_enable(module=addon.__name__)
    bpy.ops.posellava.add_figure()
    anna = bpy.context.object
    from importlib import import_module
    joints = import_module(addon.__name__ + ".contract.skeleton").JOINT_INDEX
    known = lambda: import_module(addon.__name__ + ".rig.correct").map_so_far(anna)
    bone = lambda joint: known().bones.get(joints[joint], "")
"""


def test_a_bone_is_chosen_by_name_or_taken_where_it_is_active_and_all_is_recognised_anew(
    in_blender: InBlender,
) -> None:
    result = in_blender(
        FIGURE
        + """
    result["at first"] = [bone("left_knee"), known().known_by]
    bpy.ops.posellava.set_bone(joint="left_knee", bone="L_Hip")
    result["by name"] = [bone("left_knee"), bone("left_hip"), known().known_by]
    result["lacking"] = call(bpy.ops.posellava.edit_pose, instruction="sit down")
    bpy.ops.object.mode_set(mode="POSE")
    anna.data.bones.active = anna.data.bones["L_Ankle"]
    bpy.ops.posellava.pick_bone(joint="left_hip")
    result["active"] = bone("left_hip")
    result["wrong"] = call(bpy.ops.posellava.set_bone, joint="left_hip", bone="Tail")
    bpy.ops.posellava.set_bone(joint="head", bone="")
    result["none"] = bone("head")
    bpy.ops.posellava.recognise()
    result["anew"] = [bone("left_knee"), bone("left_hip"), bone("head"), known().known_by]
    """
    )
    assert result["at first"] == ["L_Knee", "names"]
    assert result["by name"] == ["L_Hip", "", "user"]
    assert "no bone for left hip; choose one under Bone Map" in result["lacking"]
    assert result["active"] == "L_Ankle"
    assert "has no bone Tail; choose one of the list" in result["wrong"]
    assert result["none"] == ""
    assert result["anew"] == ["L_Knee", "L_Hip", "Head", "names"]


def test_a_map_is_exported_and_imported_and_what_is_no_map_is_told(
    in_blender: InBlender, tmp_path: Path
) -> None:
    (tmp_path / "letter.json").write_text("Dear Anna", "utf-8")
    (tmp_path / "picture.json").write_bytes(b"\x89PNG\r\n\xff\xfe")
    result = in_blender(
        FIGURE
        + f"""
    folder = {str(tmp_path)!r}
    bpy.ops.posellava.set_bone(joint="neck", bone="")
    bpy.ops.posellava.export_bone_map(filepath=folder + "/map.json")
    bpy.ops.posellava.recognise()
    result["before"] = bone("neck")
    bpy.ops.posellava.import_bone_map(filepath=folder + "/map.json")
    result["after"] = [bone("neck"), known().known_by]
    for name in ("letter", "picture", "absent"):
        result[name] = call(bpy.ops.posellava.import_bone_map, filepath=folder + "/" + name + ".json")
    result["kept"] = bone("neck")
    bpy.ops.object.select_all(action="DESELECT")
    bpy.context.view_layer.objects.active = None
    result["poll"] = bpy.ops.posellava.recognise.poll()
    """
    )
    assert result["before"] == "Neck"
    assert result["after"] == ["", "user"]
    assert "This is no bone map" in result["letter"]
    assert "no text" in result["picture"]
    assert "absent.json" in result["absent"]
    assert result["kept"] == ""
    assert result["poll"] is False
