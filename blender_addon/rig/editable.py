# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether keys can be set on an armature as the file stands. Runs inside Blender."""

from __future__ import annotations

from .blender_types import ArmatureObject
from .bone_map import RigError


class RestPositionError(RigError):
    """The armature shows its rest pose whatever is keyed."""


def check_editable(armature: ArmatureObject) -> None:
    """Raise RigError where no pose would show: the armature is in Rest Position, it or its action belongs to another
    file, or its action is assigned without a slot, so that keys would go to a second slot and take the place of the
    animation that is there."""
    if not armature.is_editable:
        raise RigError(
            f"{armature.name} is linked from another file; make a library override of it to pose it here "
            "(Object > Library Override > Make)."
        )
    if armature.data.pose_position == "REST":
        raise RestPositionError(
            f"{armature.name} is in Rest Position, in which no pose shows; put it in Pose Position first "
            "(Object Data Properties > Pose)."
        )
    data = armature.animation_data
    if data is None or data.action is None:
        return
    if not data.action.is_editable:
        raise RigError(
            f"The action {data.action.name} is linked from another file; make a local copy of it first."
        )
    # Actions have had slots since 4.4.
    if hasattr(data, "action_slot") and data.action_slot is None and len(data.action_suitable_slots):
        raise RigError(
            f"The action {data.action.name} is assigned without a slot, so that its animation does not show; "
            "choose a slot beside its name in the Action Editor, or unlink the action."
        )
