# SPDX-License-Identifier: GPL-3.0-or-later
"""Which armature a request is about, and whether it can be posed: known before anything is asked."""

from collections.abc import Hashable
from typing import Final

import bpy
import numpy as np

from ..rig.armature import Rig, find_armature
from ..rig.blender_types import ArmatureObject, is_armature
from ..rig.body import KEPT_IN
from ..rig.bone_map import RigError
from ..rig.editable import check_editable

MOST_VERDICTS: Final = 64
_verdicts: dict[Hashable, str] = {}
"""Why an armature, as it was when it was looked at, cannot be used; empty where it can."""


def find_target(context: bpy.types.Context) -> ArmatureObject:
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
    _check_recognised(armature)
    return armature


def _check_recognised(armature: ArmatureObject) -> None:
    """Raise RigError as Rig.of does. What came of it is remembered: the panel asks at every redraw, and an armature of
    hundreds of bones would make it stutter."""
    key = armature.session_uid, armature.mode == "EDIT", armature.get(KEPT_IN), hash(_bones_of(armature))
    if key not in _verdicts:
        if len(_verdicts) >= MOST_VERDICTS:
            _verdicts.clear()
        try:
            Rig.of(armature)
            _verdicts[key] = ""
        except RigError as error:
            _verdicts[key] = str(error)
    if _verdicts[key]:
        raise RigError(_verdicts[key])


def _bones_of(armature: ArmatureObject) -> bytes:
    """What the recognition of an armature depends on: how its bones are named and how they rest."""
    bones = armature.data.bones
    rest = np.empty(16 * len(bones), dtype=np.float32)
    bones.foreach_get("matrix_local", rest)
    return rest.tobytes() + "\0".join(bones.keys()).encode()


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
        found = next(
            (one for one in bpy.data.objects if one.session_uid == self._uid and is_armature(one)), None
        )
        if found is None:
            raise RigError("The armature was removed while the model worked; nothing was changed.")
        now = _bones_of(found)
        if self._rig is None or now != self._bones or found.mode == "EDIT":
            self._rig, self._bones = Rig.of(found), now
        self._rig.armature = found
        return self._rig


def others_in_pose_mode(context: bpy.types.Context, armature: ArmatureObject) -> str:
    """How many further armatures are in Pose Mode together with this one, as the end of a sentence, or an empty text; a
    request poses the active one alone."""
    if armature.mode != "POSE":
        return ""
    armatures = [one for one in context.view_layer.objects if one.type == "ARMATURE"]
    others = len([one for one in armatures if one.mode == "POSE" and one != armature])
    return f"{others} other armature{'s are' if others > 1 else ' is'} in Pose Mode too." if others else ""


def _explain_instance(active: bpy.types.Object | None) -> None:
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
