# SPDX-License-Identifier: GPL-3.0-or-later
"""Which armature a request is about, and whether it can be posed: known before anything is asked."""

from typing import Any

import bpy

from ..rig.armature import Rig, find_armature
from ..rig.bone_map import RigError
from ..rig.editable import check_editable


def find_target(context: Any) -> Any:
    """The armature object that the user means; it is recognised and can be keyed.

    Raises:
        RigError: there is none, or it cannot be posed; the sentence says what to do.
    """
    try:
        armature = find_armature(context)
    except RigError:
        _explain_instance(context.view_layer.objects.active)
        raise
    check_editable(armature)
    Rig.of(armature)
    return armature


def find_rig(armature: int) -> Rig:
    """The armature with this session_uid, looked up anew: between two steps undo may have replaced it.

    Raises:
        RigError: it is gone, or cannot be used.
    """
    found = next((one for one in bpy.data.objects if one.session_uid == armature), None)
    if found is None:
        raise RigError("The armature was removed while the model worked; nothing was changed.")
    return Rig.of(found)


def others_in_pose_mode(context: Any, armature: Any) -> int:
    """How many further armatures are in Pose Mode together with this one; a request poses the active one alone."""
    if armature.mode != "POSE":
        return 0
    armatures = [one for one in context.view_layer.objects if one.type == "ARMATURE"]
    return len([one for one in armatures if one.mode == "POSE" and one != armature])


def _explain_instance(active: Any) -> None:
    """Raise RigError where an instance of a collection with an armature is active: it has no bones of its own."""
    instance = active is not None and active.instance_type == "COLLECTION" and active.instance_collection
    if not instance or all(one.type != "ARMATURE" for one in instance.all_objects):
        return
    if instance.library is not None:
        advice = "make a library override of it (Object > Library Override > Make)"
    else:
        advice = (
            "make it real (Object > Apply > Make Instances Real), or pose the armature in that collection"
        )
    raise RigError(f"{active.name} is an instance of the collection {instance.name}; {advice}.")
