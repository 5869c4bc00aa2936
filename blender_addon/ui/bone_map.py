# SPDX-License-Identifier: GPL-3.0-or-later
"""The subpanel that shows which bone plays which joint and lets the user correct it."""

import bpy

from ..contract.skeleton import JOINT_NAMES
from ..operators.bone_map import armature_or_none
from ..rig.armature import Rig
from ..rig.blender_types import ArmatureObject
from ..rig.bone_map import RigError
from ..rig.correct import map_so_far
from ..rig.holders import switches_off
from ..settings import settings
from .tab import Subpanel

_KNOWN_BY = {"names": "by its names", "structure": "by its structure", "user": "as you said"}


class POSELLAVA_PT_bone_map(Subpanel, bpy.types.Panel):
    """Which bone plays which joint."""

    bl_label = "Bone Map"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Called by Blender: only where there is an armature."""
        return armature_or_none(context) is not None

    def draw(self, context: bpy.types.Context) -> None:
        """Called by Blender to draw the panel."""
        layout = self.layout
        armature = armature_or_none(context)
        if armature is None:
            return
        try:
            known = map_so_far(armature)
        except RigError:
            layout.label(text="The kept map cannot be read", icon="ERROR")
            layout.operator("posellava.recognise")
            return
        layout.label(text=f"{known.family}, {_KNOWN_BY[known.known_by]}", icon="OUTLINER_OB_ARMATURE")
        _draw_limbs(layout, armature, follows=settings(context).ik_targets)
        column = layout.column(align=True)
        for joint, name in enumerate(JOINT_NAMES):
            row = column.row(align=True)
            split = row.split(factor=0.4, align=True)
            split.label(text=name.replace("_", " ").title())
            choose = split.operator(
                "posellava.set_bone", text=known.bones.get(joint, "(none)"), icon="BONE_DATA", translate=False
            )
            choose.joint = name
            row.operator("posellava.pick_bone", text="", icon="EYEDROPPER").joint = name
        row = layout.row(align=True)
        row.operator("posellava.import_bone_map", text="Import", icon="IMPORT")
        row.operator("posellava.export_bone_map", text="Export", icon="EXPORT")
        layout.operator("posellava.recognise", icon="FILE_REFRESH")


def _draw_limbs(layout: bpy.types.UILayout, armature: ArmatureObject, *, follows: bool) -> None:
    """Where inverse kinematics drives limbs: say so, and offer to switch. ``follows``: its targets are keyed."""
    try:
        held = switches_off(Rig.of(armature))
    except RigError:
        return
    if held:
        box = layout.box()
        number = f"{len(held)} limbs are" if len(held) > 1 else "1 limb is"
        what = "whose targets are keyed" if follows else "and will not move"
        box.label(text=f"{number} driven by IK {what}", icon="CON_KINEMATIC")
        box.operator("posellava.switch_to_fk")
