# SPDX-License-Identifier: GPL-3.0-or-later
"""Correcting which bone plays which joint: take the selected bone, search, recognise anew, export, import; and handing
limbs of a control rig over from inverse kinematics, and an armature from Rest Position."""

from pathlib import Path
from typing import Any

import bpy
from bpy.props import EnumProperty, StringProperty

from ..contract.skeleton import JOINT_INDEX, JOINT_NAMES
from ..rig.armature import Rig, find_armature
from ..rig.blender_types import ArmatureObject, OperatorMixIn, OperatorResult
from ..rig.bone_map import RigError
from ..rig.correct import export_map, forget_map, import_map, map_so_far, set_bone
from ..rig.fk import switch_to_fk
from .grey import is_ready

JOINT_ITEMS = [(name, name.replace("_", " ").title(), "") for name in JOINT_NAMES]


def armature_or_none(context: bpy.types.Context) -> ArmatureObject | None:
    """The armature that is meant, if there is one."""
    try:
        return find_armature(context)
    except RigError:
        return None


class _Correct(OperatorMixIn):
    """What the operators share: they need an armature, and say what is wrong in a sentence."""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Whether there is an armature."""
        return is_ready(cls, armature_or_none(context) is not None, "Select a character first.")

    def execute(self, context: bpy.types.Context) -> OperatorResult:
        """Do it, or report why not."""
        try:
            self.correct(find_armature(context))
        except RigError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        return {"FINISHED"}

    def correct(self, armature: ArmatureObject) -> None:
        """What the operator does."""
        raise NotImplementedError


class POSELLAVA_OT_pick_bone(_Correct, bpy.types.Operator):
    """Click the bone that plays this joint in the viewport; a script takes the active bone"""

    bl_idname = "posellava.pick_bone"
    bl_label = "Pick a Bone"
    bl_options = {"REGISTER", "UNDO", "INTERNAL"}

    joint: EnumProperty(name="Joint", items=JOINT_ITEMS, options={"SKIP_SAVE"})

    _active: bpy.types.Object | None
    _was_posed: bool

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> OperatorResult:
        """Wait for the click, in Pose Mode, the only one in which bones can be clicked."""
        try:
            armature = find_armature(context)
        except RigError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        self._active, self._was_posed = context.view_layer.objects.active, armature.mode == "POSE"
        context.view_layer.objects.active = armature
        if not self._was_posed:
            bpy.ops.object.mode_set(mode="POSE")
        joint = self.joint.replace("_", " ")
        context.workspace.status_text_set(
            f"Click the bone that plays the {joint}; Esc or right click to leave it"
        )
        context.window.cursor_modal_set("EYEDROPPER")
        context.window_manager.modal_handler_add(self)
        return {"RUNNING_MODAL"}

    def modal(self, context: bpy.types.Context, event: bpy.types.Event) -> OperatorResult:
        """Take the bone that is clicked; what turns the view is passed on."""
        if event.type in {"ESC", "RIGHTMOUSE"}:
            self._leave(context)
            return {"CANCELLED"}
        if event.type != "LEFTMOUSE" or event.value != "PRESS":
            return {"PASS_THROUGH"}
        if not _click_bone(context, event):
            self.report({"INFO"}, "There is no bone there; click one, or press Esc.")
            return {"RUNNING_MODAL"}
        result = self.execute(context)
        self._leave(context)
        return result

    def cancel(self, context: bpy.types.Context) -> None:
        """Called by Blender when the window goes away or another file is opened."""
        context.workspace.status_text_set(None)

    def correct(self, armature: ArmatureObject) -> None:
        """Take the active bone."""
        active = armature.data.bones.active
        if active is None:
            raise RigError("No bone is active; click one in Pose Mode first.")
        set_bone(armature, JOINT_INDEX[self.joint], active.name)
        # What was said of a click beside every bone must not stay in the status bar.
        self.report({"INFO"}, f"{active.name} plays the {self.joint.replace('_', ' ')}.")

    def _leave(self, context: bpy.types.Context) -> None:
        """Back to the object that was active, in Object Mode unless bones were being posed."""
        context.workspace.status_text_set(None)
        context.window.cursor_modal_restore()
        if not self._was_posed:
            bpy.ops.object.mode_set(mode="OBJECT")
        context.view_layer.objects.active = self._active


def _click_bone(context: bpy.types.Context, event: bpy.types.Event) -> bool:
    """Select the bone under the mouse, in whichever viewport of the window that is; whether there is one."""
    for area in context.window.screen.areas:
        for region in area.regions if area.type == "VIEW_3D" else ():
            x, y = event.mouse_x - region.x, event.mouse_y - region.y
            if region.type == "WINDOW" and 0 <= x < region.width and 0 <= y < region.height:
                with context.temp_override(area=area, region=region):
                    bpy.ops.view3d.select(deselect_all=True, location=(x, y))
                    return bool(bpy.context.selected_pose_bones)
    return False


def _bones(self: Any, context: bpy.types.Context, typed: str) -> list[str]:
    armature = armature_or_none(context)
    return [] if armature is None else [bone.name for bone in armature.data.bones]


class POSELLAVA_OT_set_bone(_Correct, bpy.types.Operator):
    """Choose the bone that plays this joint, by its name; an empty name for none"""

    bl_idname = "posellava.set_bone"
    bl_label = "Choose a Bone"
    bl_options = {"REGISTER", "UNDO", "INTERNAL"}

    joint: EnumProperty(name="Joint", items=JOINT_ITEMS, options={"SKIP_SAVE"})
    bone: StringProperty(name="Bone", search=_bones, options={"SKIP_SAVE"})

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> OperatorResult:
        """Ask for the bone."""
        armature = armature_or_none(context)
        if armature is not None:
            self.bone = map_so_far(armature).bones.get(JOINT_INDEX[self.joint], "")
        result: OperatorResult = context.window_manager.invoke_props_dialog(self)
        return result

    def draw(self, context: bpy.types.Context) -> None:
        """Called by Blender to draw the dialog."""
        self.layout.prop(self, "bone", icon="BONE_DATA", text=self.joint.replace("_", " ").title())

    def correct(self, armature: ArmatureObject) -> None:
        """Take the bone of this name."""
        if self.bone and self.bone not in armature.data.bones:
            raise RigError(f"This armature has no bone {self.bone}; choose one of the list.")
        set_bone(armature, JOINT_INDEX[self.joint], self.bone)


class POSELLAVA_OT_recognise(_Correct, bpy.types.Operator):
    """Forget the corrections and recognise the bones by their names and structure"""

    bl_idname = "posellava.recognise"
    bl_label = "Recognise Anew"
    bl_options = {"REGISTER", "UNDO"}

    def correct(self, armature: ArmatureObject) -> None:
        """Forget."""
        forget_map(armature)


class POSELLAVA_OT_export_bone_map(_Correct, bpy.types.Operator):
    """Save which bone plays which joint to a file"""

    bl_idname = "posellava.export_bone_map"
    bl_label = "Export Bone Map"

    filepath: StringProperty(subtype="FILE_PATH", options={"SKIP_SAVE"})
    filter_glob: StringProperty(default="*.json", options={"HIDDEN"})

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> OperatorResult:
        """Ask for the file."""
        self.filepath = "bone_map.json"
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def correct(self, armature: ArmatureObject) -> None:
        """Write the file."""
        text = export_map(armature)
        try:
            Path(bpy.path.abspath(self.filepath)).write_text(text, "utf-8")
        except OSError as error:
            raise RigError(_no_file(self.filepath, "written", error)) from error


class POSELLAVA_OT_import_bone_map(_Correct, bpy.types.Operator):
    """Take which bone plays which joint from a file, and keep it with the armature"""

    bl_idname = "posellava.import_bone_map"
    bl_label = "Import Bone Map"
    bl_options = {"REGISTER", "UNDO"}

    filepath: StringProperty(subtype="FILE_PATH", options={"SKIP_SAVE"})
    filter_glob: StringProperty(default="*.json", options={"HIDDEN"})

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> OperatorResult:
        """Ask for the file."""
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def correct(self, armature: ArmatureObject) -> None:
        """Read the file."""
        try:
            text = Path(bpy.path.abspath(self.filepath)).read_text("utf-8")
        except UnicodeDecodeError as error:
            raise RigError("This file is no text; choose one that Export Bone Map wrote.") from error
        except OSError as error:
            raise RigError(_no_file(self.filepath, "read", error)) from error
        import_map(armature, text)


def _no_file(filepath: str, done: str, error: OSError) -> str:
    """Why a file cannot be read or written, and what to do."""
    if not filepath:
        return "No file is given; choose one."
    return f"{filepath} cannot be {done} ({error.strerror}); choose another file."


class POSELLAVA_OT_switch_to_fk(_Correct, bpy.types.Operator):
    """Hand limbs that inverse kinematics drives over to the bones that are posed, which take on the pose that shows"""

    bl_idname = "posellava.switch_to_fk"
    bl_label = "Switch to FK"
    bl_options = {"REGISTER", "UNDO"}

    def correct(self, armature: ArmatureObject) -> None:
        """Switch."""
        switch_to_fk(Rig.of(armature))


class POSELLAVA_OT_leave_rest_position(_Correct, bpy.types.Operator):
    """Put the armature into Pose Position, in which its poses show"""

    bl_idname = "posellava.leave_rest_position"
    bl_label = "Pose Position"
    bl_options = {"REGISTER", "UNDO", "INTERNAL"}

    def correct(self, armature: ArmatureObject) -> None:
        """Leave Rest Position."""
        armature.data.pose_position = "POSE"


CLASSES = (
    POSELLAVA_OT_leave_rest_position,
    POSELLAVA_OT_pick_bone,
    POSELLAVA_OT_set_bone,
    POSELLAVA_OT_recognise,
    POSELLAVA_OT_export_bone_map,
    POSELLAVA_OT_import_bone_map,
    POSELLAVA_OT_switch_to_fk,
)
