# SPDX-License-Identifier: GPL-3.0-or-later
"""The bone map that the user corrects: it is kept with the armature object. Runs inside Blender."""

from __future__ import annotations

from dataclasses import replace

from .blender_types import ArmatureObject
from .body import KEPT_IN, skeleton_of
from .bone_map import BoneMap, RigError, check_map, map_from_text, map_to_text
from .recognise import recognise


def map_so_far(armature: ArmatureObject) -> BoneMap:
    """What is known of an armature's bones: the kept map even where it lacks bones, else what is recognised, else
    nothing."""
    kept = str(armature.get(KEPT_IN, ""))
    if kept:
        return map_from_text(kept)
    try:
        return recognise(skeleton_of(armature))
    except RigError:
        return BoneMap("My Rig", {}, known_by="user")


def set_bone(armature: ArmatureObject, joint: int, bone: str) -> None:
    """Have a bone play a joint, or none where its name is empty; a bone that played another joint leaves that one."""
    known = map_so_far(armature)
    bones = {one: name for one, name in known.bones.items() if one != joint and name != bone}
    if bone:
        bones[joint] = bone
    shown = {one: name for one, name in known.shown.items() if one != joint}
    _keep(armature, replace(known, bones=dict(sorted(bones.items())), shown=shown, known_by="user"))


def forget_map(armature: ArmatureObject) -> None:
    """Forget the corrections."""
    if KEPT_IN in armature.keys():  # noqa: SIM118 (its custom properties)
        del armature[KEPT_IN]


def export_map(armature: ArmatureObject) -> str:
    """The map as the text of a file.

    Raises:
        RigError: nothing is known of the armature.
    """
    known = map_so_far(armature)
    if not known.bones:
        raise RigError("No bone of this armature plays a joint yet; choose some under Bone Map first.")
    return map_to_text(known)


def import_map(armature: ArmatureObject, text: str) -> None:
    """Keep the map of a file with the armature.

    Raises:
        RigError: it is no bone map, or does not fit the armature.
    """
    known = map_from_text(text)
    check_map(known, skeleton_of(armature))
    _keep(armature, known)


def _keep(armature: ArmatureObject, bone_map: BoneMap) -> None:
    if not armature.is_editable:
        raise RigError(f"{armature.name} is linked from another file; make a library override of it first.")
    armature[KEPT_IN] = map_to_text(bone_map)
