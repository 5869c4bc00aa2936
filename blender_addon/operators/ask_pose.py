# SPDX-License-Identifier: GPL-3.0-or-later
"""What every operator that asks the model about poses of a character shares: its options, and the order made of them.

How the request then runs is in ``ask``.
"""

import functools
from collections.abc import Callable
from typing import Any

import bpy

from ..rig.armature import Rig, WriteOptions
from ..rig.blender_types import ArmatureObject
from ..rig.bone_map import RigError
from ..rig.frames import list_frames
from ..session import Connection
from ..settings import option
from .ask import Ask
from .picture import Taking
from .target import find_target
from .work import Course, Order, course


class AskPose(Ask):
    """An operator that asks about poses, and keys those that are answered."""

    parts: option("parts")
    anchors: option("anchors")
    limits: option("limits")
    ik_targets: option("ik_targets")
    variants: option("variants", default=1)

    def frames_to_key(self, rig: Rig) -> tuple[float, ...]:
        """The frames that this operator keys."""
        return tuple(list_frames(rig, "CURRENT"))

    def share_of_answer(self) -> float:
        """How far the poses go towards the model's answer, 0 to 1."""
        return 1.0

    def is_range(self) -> bool:
        """Whether the frames stand for all from the first to the last of them."""
        return False

    def own_fields(self, rig: Rig, frames: tuple[float, ...]) -> dict[str, Any]:
        """The fields of the order that only this operator has a say in."""
        return {}

    def starts_at_picture(self) -> bool:
        """Whether the pose in the picture is changed instead of one in the scene."""
        return False

    def picture_taking(self, context: bpy.types.Context, armature: ArmatureObject) -> Taking | None:
        """What makes the picture to send, or None."""
        return None

    def _prepare(self, context: bpy.types.Context, *, keyed: bool) -> Callable[[Connection], Course]:
        return functools.partial(course, self._order(context, keyed))

    def _order(self, context: bpy.types.Context, keyed: bool) -> Order:
        """What is asked of whom, and how the answer is written."""
        armature = find_target(context)
        rig = Rig.of(armature)
        frames = self.frames_to_key(rig)
        if not keyed and frames != tuple(list_frames(rig, "CURRENT")):
            raise RigError(
                "No keys are set now (see Set Keys in the add-on's preferences), so only the current frame can be "
                "posed; choose Current under Frames, or have keys set."
            )
        at_picture = self.starts_at_picture()
        return Order(
            task="adjust" if at_picture else self.task,
            at_picture=at_picture,
            instruction=self.instruction.strip(),
            armature=armature.session_uid,
            frames=frames,
            parts=frozenset(self.parts),
            strength=self.share_of_answer(),
            variants=self.variants if len(frames) == 1 else 1,
            take_picture=self.picture_taking(context, armature),
            options=WriteOptions(
                self.anchors,
                self.is_range(),
                keyed,
                self.limits,
                self.ik_targets,
                planted=self.task == "adjust" and not at_picture,
            ),
            **self.own_fields(rig, frames),
        )
