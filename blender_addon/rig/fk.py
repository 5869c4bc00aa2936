# SPDX-License-Identifier: GPL-3.0-or-later
"""Handing limbs of a control rig over from inverse kinematics to the bones that are posed. Runs inside Blender."""

from __future__ import annotations

import bpy
from mathutils import Matrix

from .armature import Rig
from .blender_types import current_layer
from .bone_map import RigError
from .channels import rotation_property
from .editable import check_editable
from .holders import switches_off


def switch_to_fk(rig: Rig) -> int:
    """Switch every limb that inverse kinematics drives; the posed bones take on the pose that shows now.

    Where the rig has an action, property and pose are keyed at the current frame. Returns the number of limbs.

    Raises:
        RigError: none is driven so, or the armature cannot be edited.
    """
    check_editable(rig.armature)
    switches = switches_off(rig)
    if not switches:
        raise RigError("Inverse kinematics drives no limb of this rig that could be switched.")
    bones = rig.armature.pose.bones
    layer = current_layer()
    layer.update()
    evaluated = rig.armature.evaluated_get(bpy.context.evaluated_depsgraph_get())
    seen: dict[str, Matrix] = {}
    for switch in switches:
        for joint in switch.joints:
            if joint in rig.bones:
                shown = rig.bone_map.shown.get(joint, rig.bones[joint])
                # Both rest alike but for what the rig's maker turned them by.
                rest = evaluated.pose.bones[shown].bone.matrix_local
                offset = rest.inverted() @ bones[rig.bones[joint]].bone.matrix_local
                seen[rig.bones[joint]] = evaluated.pose.bones[shown].matrix @ offset
    for switch in switches:
        bones[switch.bone][switch.name] = type(bones[switch.bone][switch.name])(switch.fk)
        path = f'["{bpy.utils.escape_identifier(switch.name)}"]'
        data = rig.armature.animation_data
        if data is not None and data.action is not None:
            bones[switch.bone].keyframe_insert(path)
        # From the body outwards, each bone after the one that carries it.
        for joint in sorted(switch.joints):
            if joint in rig.bones:
                rig.armature.update_tag()
                layer.update()
                pbone = bones[rig.bones[joint]]
                pbone.matrix = seen[pbone.name]
                if data is not None and data.action is not None:
                    pbone.keyframe_insert(rotation_property(pbone.rotation_mode), group=pbone.name)
    rig.armature.update_tag()
    layer.update()
    return len(switches)
