# SPDX-License-Identifier: GPL-3.0-or-later
"""Describe Pose, What Changed?, and a conversation: what the model answers in words, as far as it was taught to speak.

What they share with others is in ``ask_pose``, how a request runs in ``ask``. A description changes nothing. An answer
of a conversation may hold poses: the first one is keyed as a generated pose is, the others are its variants.
"""

from typing import Any

import bpy
import numpy as np
from bpy.props import IntProperty

from ..contract.messages import SPOKEN_TASKS, PoseArray, Turn
from ..rig.armature import Rig
from ..rig.blender_types import OperatorResult, current_scene
from ..rig.bone_map import RigError
from ..rig.frames import posed_frames
from ..rig.sample import time_of
from ..settings import SINCE_ITEMS, PoseLlavaSettings, option, settings
from . import backend
from .activity import Outcome, activity
from .ask_pose import AskPose


def lack(task: str) -> str:
    """Why the model that is connected to answers nothing to one of SPOKEN_TASKS, a sentence, or an empty text."""
    welcome = backend.status().welcome
    if welcome is None or task in welcome.tasks:
        return ""
    if set(SPOKEN_TASKS) & set(welcome.tasks):
        taught = {"describe": "describe poses", "chat": "converse"}[task]
        return f"{welcome.model} was not taught to {taught}; connect to a model that was."
    return f"{welcome.model} was not taught to speak; connect to a model that was."


class Speak(AskPose):
    """An operator whose answer is words."""

    @classmethod
    def untaught(cls, context: bpy.types.Context) -> str:
        """A model that was not taught to speak is asked nothing."""
        return lack(cls.task)


class POSELLAVA_OT_describe_pose(Speak, bpy.types.Operator):
    """Have the model say what the pose at the current frame is like; nothing is changed"""

    bl_idname = "posellava.describe_pose"
    bl_label = "Describe Pose"
    bl_options = {"REGISTER"}

    task = "describe"
    _from_panel = ()


class POSELLAVA_OT_what_changed(Speak, bpy.types.Operator):
    """Have the model say what changed from an earlier pose to the one at the current frame; nothing is changed"""

    bl_idname = "posellava.what_changed"
    bl_label = "What Changed?"
    bl_options = {"REGISTER"}

    task = "describe"
    _from_panel = ("since",)

    since: option(
        "since", items=[*SINCE_ITEMS, ("FRAME", "Frame", "The pose at a frame that a script names")]
    )
    since_frame: IntProperty(
        name="Since Frame", description="The earlier frame, with Since set to Frame", options={"SKIP_SAVE"}
    )

    def own_fields(self, rig: Rig, frames: tuple[float, ...]) -> dict[str, Any]:
        """The earlier pose, as the turn before the question."""
        return {"said": (Turn("", self._earlier(rig, frames)),)}

    def _earlier(self, rig: Rig, frames: tuple[float, ...]) -> PoseArray:
        """(24, 3) the pose to compare with. Raises RigError where there is none."""
        if self.since == "FRAME":
            return _pose_at(rig, time_of(current_scene(), self.since_frame))
        if self.since == "EDIT":
            now = _pose_at(rig, frames[0])
            turns = activity.edit_turns.leading_to(rig.armature.session_uid, now)
            if not turns or turns[-1].pose is None:
                raise RigError(
                    "No edit led to this pose since the file was opened; choose Previous Key under Since, or edit it."
                )
            return turns[-1].pose
        keyed = [frame for frame in posed_frames(rig) if frame < frames[0]]
        if not keyed:
            raise RigError("The character has no keys before this frame; choose another under Since.")
        return _pose_at(rig, keyed[-1])


class POSELLAVA_OT_chat(Speak, bpy.types.Operator):
    """Ask the model something about the figure or its pose, or anything else; it may answer with poses"""

    bl_idname = "posellava.chat"
    bl_label = "Ask"
    bl_options = {"REGISTER", "UNDO"}

    task = "chat"
    _from_panel = ("parts", "anchors", "limits", "ik_targets", "shows_pose")

    shows_pose: option("shows_pose")

    @classmethod
    def lacks(cls, chosen: PoseLlavaSettings) -> str:
        """A question."""
        return "" if chosen.question.strip() else "The question is empty; type one."

    def _take_settings(self, context: bpy.types.Context) -> None:
        """As the base, with the panel's question."""
        super()._take_settings(context)
        if not self.properties.is_property_set("instruction"):
            self.instruction = settings(context).question

    def _succeed(self, outcome: Outcome) -> OperatorResult:
        """The field is free for the next question."""
        chosen = settings(bpy.context)
        if chosen.question.strip() == outcome.instruction:
            chosen.question = ""
        return super()._succeed(outcome)

    def own_fields(self, rig: Rig, frames: tuple[float, ...]) -> dict[str, Any]:
        """What was said before."""
        return {"shows_pose": self.shows_pose, "said": activity.chat.turns}


class POSELLAVA_OT_clear_chat(bpy.types.Operator):
    """Begin the conversation anew"""

    bl_idname = "posellava.clear_chat"
    bl_label = "Begin Anew"
    bl_options = {"INTERNAL"}

    def execute(self, context: bpy.types.Context) -> OperatorResult:
        """Forget what was said."""
        activity.chat.clear()
        backend.redraw()
        return {"FINISHED"}


def _pose_at(rig: Rig, frame: float) -> PoseArray:
    pose: PoseArray = rig.read((frame,))[0].astype(np.float32)
    return pose


CLASSES = (
    POSELLAVA_OT_describe_pose,
    POSELLAVA_OT_what_changed,
    POSELLAVA_OT_chat,
    POSELLAVA_OT_clear_chat,
)
