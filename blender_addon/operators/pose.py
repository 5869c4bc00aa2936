# SPDX-License-Identifier: GPL-3.0-or-later
"""Edit Pose, Generate Pose, Estimate Pose, and Cancel.

Every operator has the options as properties of its own, for scripts; those that are not given are taken from the
panel's settings. What they share is in ``ask_pose``, how a request runs in ``ask``.
"""

from typing import Any

import bpy
from bpy.props import StringProperty

from ..rig.armature import Rig
from ..rig.blender_types import ArmatureObject, OperatorResult, current_scene
from ..rig.frames import is_animated_beyond, keyed_among, list_frames
from ..rig.offset import Blend
from ..rig.sample import time_of
from ..settings import RANGE_ITEMS, PoseLlavaSettings, option, settings
from . import picture
from .activity import activity
from .ask import cancel_running
from .ask_pose import AskPose
from .frames import parse_frames
from .grey import is_ready
from .picture import FromFile


class POSELLAVA_OT_edit_pose(AskPose, bpy.types.Operator):
    """Change the pose as the instruction says, and key it"""

    bl_idname = "posellava.edit_pose"
    bl_label = "Edit Pose"
    bl_options = {"REGISTER", "UNDO"}

    task = "adjust"
    _from_panel = (
        "instruction",
        "frames",
        "parts",
        "strength",
        "anchors",
        "limits",
        "ik_targets",
        "variants",
    )
    _of_a_range = ("range_mode", "reference", "blend_in", "blend_out", "ease", "every_frame")

    frames: option("frames")
    frame_list: StringProperty(
        name="Frame List",
        description="Frames such as 12, 1:48 or 1,5,9; overrides Frames",
        options={"SKIP_SAVE", "HIDDEN"},
    )
    strength: option("strength")
    send_view: option(
        "send_view",
        description="Send a small picture along with the pose; in background Blender renders the scene's camera",
        default=False,
    )

    range_mode: option("range_mode", items=RANGE_ITEMS)
    reference: option("reference")
    reference_list: StringProperty(
        name="Change Of Frames",
        description="Frames such as 12 or 1,40 whose change Offset carries over; overrides Change Of",
        options={"SKIP_SAVE", "HIDDEN"},
    )
    blend_in: option("blend_in", default=0)
    blend_out: option("blend_out", default=0)
    ease: option("ease")
    every_frame: option("every_frame")

    @classmethod
    def lacks(cls, chosen: PoseLlavaSettings) -> str:
        """An instruction."""
        return "" if chosen.instruction.strip() else "The instruction is empty; type what should happen."

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> OperatorResult:
        """As the base; before the first edit of a range it asks how ranges are edited."""
        chosen = settings(context)
        given = self.properties.is_property_set
        if given("range_mode"):
            chosen.range_mode = self.range_mode
        elif chosen.range_mode == "ASK" and self._is_range(self.frames if given("frames") else chosen.frames):
            context.window_manager.popup_menu(_draw_range_question, title="Edit a Range")
            return {"CANCELLED"}
        return super().invoke(context, event)

    def _take_settings(self, context: bpy.types.Context) -> None:
        """As the base; the options of a range go with the panel's range, and not with a script's list of frames, and a
        picture of the viewport with a window."""
        super()._take_settings(context)
        if picture.has_viewport(context) and not self.properties.is_property_set("send_view"):
            self.send_view = settings(context).send_view
        if self.frame_list:
            return
        for name in self._of_a_range:
            value = getattr(settings(context), name)
            if not self.properties.is_property_set(name) and value != "ASK":
                setattr(self, name, value)

    def frames_to_key(self, rig: Rig) -> tuple[float, ...]:
        """The frames the user chose."""
        if self.frame_list:
            frames = [time_of(current_scene(), frame) for frame in parse_frames(self.frame_list)]
            return tuple(keyed_among(rig, frames) if self._is_sparse_list() else frames)
        return tuple(list_frames(rig, self.frames, every_frame=self.every_frame))

    def is_range(self) -> bool:
        """Whether a range was chosen."""
        return self._is_sparse_list() if self.frame_list else self.frames == "RANGE"

    def _is_sparse_list(self) -> bool:
        """Whether a change is carried over a list of frames, which needs no keys but those that are there."""
        return bool(self.frame_list) and self.range_mode == "OFFSET" and not self.every_frame

    def own_fields(self, rig: Rig, frames: tuple[float, ...]) -> dict[str, Any]:
        """The frames of reference, and how the change comes and goes."""
        if len(frames) < 2 or not self._is_range(self.frames):
            return {}
        before, after = is_animated_beyond(rig, frames)
        blend = Blend(
            into=self.blend_in if before else 0,
            out=self.blend_out if after else 0,
            smooth=self.ease == "SMOOTH",
        )
        return {"blend": blend, "references": self._references(rig)}

    def _references(self, rig: Rig) -> tuple[float, ...]:
        """The frames whose change is carried over; none where each frame is asked about."""
        if self.range_mode != "OFFSET":
            return ()
        if self.reference_list:
            return tuple(time_of(current_scene(), frame) for frame in parse_frames(self.reference_list))
        return tuple(list_frames(rig, self.reference))

    def _is_range(self, frames: str) -> bool:
        return bool(self.frame_list) or frames == "RANGE"

    def share_of_answer(self) -> float:
        """The strength the user chose."""
        return float(self.strength)

    def picture_taking(self, context: bpy.types.Context, armature: ArmatureObject) -> picture.Taking | None:
        """The view, when asked for."""
        return picture.of_view(context, armature) if self.send_view else None


def _draw_range_question(menu: bpy.types.Menu, context: bpy.types.Context) -> None:
    menu.layout.operator_context = "INVOKE_DEFAULT"  # as a button, not as a script
    for mode, name, description in RANGE_ITEMS:
        entry = menu.layout.operator("posellava.edit_pose", text=f"{name}: {description.partition(':')[0]}")
        entry.range_mode = mode


class POSELLAVA_OT_generate_pose(AskPose, bpy.types.Operator):
    """Make the pose that the instruction describes, and key it at the current frame"""

    bl_idname = "posellava.generate_pose"
    bl_label = "Generate Pose"
    bl_options = {"REGISTER", "UNDO"}

    task = "generate"
    _from_panel = ("instruction", "parts", "anchors", "limits", "ik_targets", "variants")

    @classmethod
    def lacks(cls, chosen: PoseLlavaSettings) -> str:
        """A description."""
        return "" if chosen.instruction.strip() else "The instruction is empty; type what the pose should be."


class POSELLAVA_OT_estimate_pose(FromFile, AskPose, bpy.types.Operator):
    """Take on the pose of the person in an image or in the viewport, and key it at the current frame"""

    bl_idname = "posellava.estimate_pose"
    bl_label = "Estimate Pose"
    bl_options = {"REGISTER", "UNDO"}

    task = "estimate"
    _from_panel = ("parts", "picture", "changed", "anchors", "limits", "ik_targets")

    picture: option("picture")
    changed: option("changed")

    @classmethod
    def lacks(cls, chosen: PoseLlavaSettings) -> str:
        """An image."""
        if chosen.picture == "IMAGE" and chosen.image is None:
            return "No image is chosen; open one under Estimate From."
        if chosen.changed and not chosen.instruction.strip():
            return "The instruction is empty; type how the pose in the picture is to be changed."
        return ""

    def _take_settings(self, context: bpy.types.Context) -> None:
        """As the base; the panel's instruction goes along where it says how to change the pose that is seen."""
        super()._take_settings(context)
        if self.changed and not self.properties.is_property_set("instruction"):
            self.instruction = settings(context).instruction

    def starts_at_picture(self) -> bool:
        """Whether the pose that is seen is to be changed."""
        return bool(self.changed)

    def picture_taking(self, context: bpy.types.Context, armature: ArmatureObject) -> picture.Taking | None:
        """The file, the view or the image."""
        if self.filepath:
            return picture.of_file(self.filepath)
        if self.picture == "VIEWPORT":
            return picture.of_view(context, armature)
        return picture.of_image(settings(context).image)


class POSELLAVA_OT_cancel(bpy.types.Operator):
    """Stop the request that runs; nothing is changed"""

    bl_idname = "posellava.cancel"
    bl_label = "Cancel"
    bl_options = {"INTERNAL"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Whether a request is under way."""
        return is_ready(cls, activity.running, "No request is running.")

    def execute(self, context: bpy.types.Context) -> OperatorResult:
        """The operator that waits for the answer then ends by itself."""
        cancel_running()
        return {"FINISHED"}
