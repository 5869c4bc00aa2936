# SPDX-License-Identifier: Apache-2.0
"""Every operator of the add-on, called where there is nothing for it to work on: a sentence, and nothing is changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from .scripts import PREPARE, InBlender

SCENES = {
    "an empty scene": "",
    "a mesh is active": "bpy.ops.mesh.primitive_cube_add()",
    "a camera is active": "bpy.ops.object.camera_add()",
    "an armature of one bone": "bpy.ops.object.armature_add()",
    "an armature without bones": """
bpy.context.collection.objects.link(bpy.data.objects.new("Bones", bpy.data.armatures.new("Bones")))
bpy.context.view_layer.objects.active = bpy.data.objects["Bones"]
""",
    "the figure was removed": """
bpy.ops.posellava.add_figure()
bpy.data.objects.remove(bpy.context.object)
""",
    "the figure's layer is excluded": """
bpy.ops.posellava.add_figure()
collection = bpy.data.collections.new("Away")
for one in list(bpy.context.scene.objects):
    collection.objects.link(one)
    bpy.context.scene.collection.objects.unlink(one)
bpy.context.scene.collection.children.link(collection)
bpy.context.view_layer.layer_collection.children["Away"].exclude = True
""",
}
"""What there is instead of a character."""

CALL_ALL = """
from bl_ext.user_default.posellava import operators
result["said"] = {}
for cls in operators.CLASSES:
    group, name = cls.bl_idname.split(".")
    if name == "add_figure":
        continue
    before = [len(bpy.data.actions), len(bpy.data.objects), bpy.context.mode]
    options = {} if name != "control_maps" else {"directory": os.environ["FOLDER"]}
    result["said"][name] = call(getattr(bpy.ops.posellava, name), **options)
    assert before == [len(bpy.data.actions), len(bpy.data.objects), bpy.context.mode], name
result["running"] = activity.running
"""

NEED_A_CHARACTER = {
    "edit_pose", "generate_pose", "estimate_pose", "describe_pose", "what_changed", "chat", "set_bone",
    "export_bone_map", "recognise", "import_bone_map", "switch_to_fk", "leave_rest_position", "control_maps",
    "paint_pose", "repaint_picture",
}  # fmt: skip


@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)
def test_without_a_character_every_operator_says_what_to_do(
    in_blender: InBlender, start_backend: Callable[..., Any], tmp_path: Any, scene: str
) -> None:
    result = in_blender(PREPARE + scene + CALL_ALL, URL=start_backend().url, FOLDER=str(tmp_path))
    said = result["said"]
    for name, sentence in said.items():
        assert "Traceback" not in sentence, f"{name}: {sentence}"
        assert "\n" not in sentence, f"{name}: {sentence}"
        assert "Errno" not in sentence, f"{name}: {sentence}"
        assert "context is incorrect" not in sentence, f"{name} does not say why it cannot be called"
    # Whatever an armature is, its Rest Position can be left and its bones can be named.
    allowed = {"set_bone", "leave_rest_position", "recognise"} if "armature" in scene else set()
    assert {name for name in NEED_A_CHARACTER if not said[name]} <= allowed
    assert not result["running"]
    assert list(tmp_path.glob("*.png")) == []
