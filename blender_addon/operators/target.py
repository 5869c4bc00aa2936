# SPDX-License-Identifier: GPL-3.0-or-later
"""Which armature a request is about, and whether it can be posed: known before anything is asked."""

from typing import Any

import bpy
import numpy as np

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
    """The armature with this session_uid. Raises RigError where it is gone, or cannot be used."""
    return Follower(armature).rig()


class Follower:
    """Follows an armature by what it is and not by its name: while the model works the user may rename it, undo may
    replace it, another may take its name."""

    def __init__(self, armature: int) -> None:
        self._uid = armature
        self._rig: Rig | None = None
        self._bones = b""

    def rig(self) -> Rig:
        """The armature as it is now; recognised anew only where its bones have changed.

        Raises:
            RigError: it is gone, or cannot be used.
        """
        found = next((one for one in bpy.data.objects if one.session_uid == self._uid), None)
        if found is None:
            raise RigError("The armature was removed while the model worked; nothing was changed.")
        bones = found.data.bones
        rest = np.empty(16 * len(bones), dtype=np.float32)
        bones.foreach_get("matrix_local", rest)
        now = rest.tobytes() + "\0".join(bones.keys()).encode()
        if self._rig is None or now != self._bones or found.mode == "EDIT":
            self._rig, self._bones = Rig.of(found), now
        self._rig.armature = found
        return self._rig


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
