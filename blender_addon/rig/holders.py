# SPDX-License-Identifier: GPL-3.0-or-later
"""What keeps a joint from taking on the rotation that was keyed. Runs inside Blender.

Blender evaluates keys first, then what else has a say: modifiers on the curves, NLA strips, drivers, constraints. The
last of these that could turn the joint is the one that the user should look at.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import bpy

from .blender_types import ArmatureObject
from .body import Body
from .bone_map import Switch
from .channels import rotation_locks, rotation_property
from .curves import curves_of, is_locked, is_muted
from .nla import has_nla

_TURNS_NOTHING: Final = {
    "COPY_LOCATION", "COPY_SCALE", "LIMIT_LOCATION", "LIMIT_SCALE", "LIMIT_DISTANCE", "MAINTAIN_VOLUME", "FLOOR",
    "TRANSFORM_CACHE",
}  # fmt: skip
_CHAINS: Final = ("IK", "SPLINE_IK")


def who_holds(body: Body, joint: int) -> str:
    """What holds a joint, as the end of a sentence: "held by the IK constraint on L_Knee"."""
    armature = body.armature
    for switch in switches_off(body):
        if joint in switch.joints:
            return f"{switch.name} of {switch.bone} has inverse kinematics drive it; press Switch to FK under Bone Map"
    segment = list(_segment(body, joint))
    own = segment[0]
    for pbone in segment:
        for constraint in reversed(pbone.constraints):
            if _works(constraint) and constraint.type not in (*_CHAINS, *_TURNS_NOTHING):
                return f"held by the {_name(constraint)} constraint on {pbone.name}"
    for pbone, constraint in _chains(armature):
        if any(link in segment for link in chain_of(pbone, constraint)):
            return f"held by the {_name(constraint)} constraint on {pbone.name}"
    for pbone in segment:
        if _is_driven(armature, pbone):
            return f"held by the driver on {pbone.name}"
    path = own.path_from_id(rotation_property(own.rotation_mode))
    curves = [curve for (of, _), curve in curves_of(armature).items() if of == path]
    if any(is_muted(curve) for curve in curves):
        return f"the curves of {own.name} are muted"
    if any(
        modifier.type == "CYCLES" and not modifier.mute for curve in curves for modifier in curve.modifiers
    ):
        return f"the curves of {own.name} only repeat there what their keys do elsewhere (Cycles modifier)"
    if any(rotation_locks(own)):
        return f"rotation channels of {own.name} are locked"
    if any(is_locked(curve) for curve in curves):
        return f"the curves of {own.name} are locked"
    for curve in curves:
        for modifier in curve.modifiers:
            if not modifier.mute:
                return f"held by the {_name(modifier)} modifier on the curves of {own.name}"
    if has_nla(armature):
        return f"held by the NLA strips that animate {own.name}"
    return f"held by something else that turns {own.name}"


def switches_off(body: Body) -> list[Switch]:
    """The limbs of a control rig that inverse kinematics drive now, by the properties that hand them over."""
    bones = body.armature.pose.bones
    return [
        switch
        for switch in body.bone_map.switches
        if switch.bone in bones
        and switch.name in bones[switch.bone].keys()  # noqa: SIM118 (its custom properties)
        and abs(bones[switch.bone][switch.name] - switch.fk) > 0.5
    ]


def _segment(body: Body, joint: int) -> Iterator[bpy.types.PoseBone]:
    """The bones that play the joint and those between them and the bones of the joint above, outermost first."""
    link = next(one for one in body.tree.links if joint in one.joints)
    others = {body.names[bone] for one in body.tree.links if one is not link for bone in one.bones}
    pbone: bpy.types.PoseBone | None = body.armature.pose.bones[body.names[link.bones[-1]]]
    while pbone is not None and pbone.name not in others:
        yield pbone
        pbone = pbone.parent


def _works(constraint: bpy.types.Constraint) -> bool:
    return not constraint.mute and constraint.influence > 0 and constraint.is_valid


def ik_constraints(
    armature: ArmatureObject,
) -> Iterator[tuple[bpy.types.PoseBone, bpy.types.KinematicConstraint]]:
    """The IK constraints that have effect, and their bones."""
    for pbone, constraint in _chains(armature):
        if isinstance(constraint, bpy.types.KinematicConstraint):
            yield pbone, constraint


def _chains(armature: ArmatureObject) -> Iterator[tuple[bpy.types.PoseBone, bpy.types.Constraint]]:
    for pbone in armature.pose.bones:
        for constraint in pbone.constraints:
            if constraint.type in _CHAINS and _works(constraint):
                yield pbone, constraint


def chain_of(pbone: bpy.types.PoseBone, constraint: Any) -> list[bpy.types.PoseBone]:
    """The bones that an IK constraint turns."""
    links = [pbone, *pbone.parent_recursive]
    if not getattr(constraint, "use_tail", True):
        links = links[1:]
    return links[: constraint.chain_count or None]


def _is_driven(armature: ArmatureObject, pbone: bpy.types.PoseBone) -> bool:
    data = armature.animation_data
    path = pbone.path_from_id(rotation_property(pbone.rotation_mode))
    return data is not None and any(driver.data_path == path and not driver.mute for driver in data.drivers)


def _name(thing: bpy.types.Constraint | bpy.types.FModifier) -> str:
    """What Blender's interface calls a constraint or modifier of this type."""
    if thing.type == "IK":
        return "IK"
    kinds = thing.bl_rna.properties["type"]
    assert isinstance(kinds, bpy.types.EnumProperty)
    return str(kinds.enum_items[thing.type].name)
