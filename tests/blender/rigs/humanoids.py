# SPDX-License-Identifier: Apache-2.0
"""The armatures that the add-on has to know: the one list for the tests, ``make bench`` and the table in the docs.

Where a real file of a family is at hand it is used; the others are built with the names that the family publishes, its
bones' axes and its rest pose, on the proportions of SMPL's neutral skeleton.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import bpy
import numpy as np
from mathutils import Matrix, Vector
from scipy.spatial.transform import Rotation

from blender_addon.contract.kinematics import forward_kinematics
from blender_addon.contract.skeleton import JOINT_INDEX
from blender_addon.rig.figure import add_figure

FILES: Final = Path(os.environ.get("POSELLAVA_RIGS", Path(__file__).resolve().parents[4] / "shared" / "rigs"))
"""Armatures that cannot be part of the project; tests that need one are skipped where it is absent."""

Z_UP: Final = Rotation.from_euler("x", 90, degrees=True)  # SMPL's axes to Blender's

RESTS: Final[dict[str, dict[str, tuple[float, float, float]]]] = {
    "T": {},
    "A": {"shoulder": (0, 0, -45), "elbow": (0, -12, 0), "hip": (0, 0, 4)},
    "ready": {"shoulder": (0, 0, -45), "elbow": (0, -15, 0), "hip": (-4, 0, 4), "knee": (8, 0, 0)},
    "hanging": {"shoulder": (0, 0, -85)},
    "bent": {"shoulder": (0, 0, -50), "elbow": (0, -60, 0), "hip": (-30, 0, 0), "knee": (50, 0, 0),
             "ankle": (-20, 0, 0)},
    "rolled": {"shoulder": (-70, 0, 0), "elbow": (0, -40, 0), "wrist": (-40, 0, 0)},
}  # fmt: skip
"""Rest poses: SMPL's local rotations of the left side, degrees about x, y and z."""


@dataclass(frozen=True)
class Names:
    """The bones of a family as it publishes them; ``{s}`` stands for the side.

    ``between`` are bones in line with the limb that starts at a joint, ``beside`` bones that hang on its bone.
    """

    pelvis: str
    spine: Sequence[str]
    neck: Sequence[str]
    head: str
    arm: Sequence[str]
    leg: Sequence[str]
    sides: tuple[str, str]
    above: Sequence[str] = ()
    fingers: Sequence[str] = ()
    between: dict[str, Sequence[str]] = field(default_factory=dict)
    beside: dict[str, Sequence[str]] = field(default_factory=dict)
    prefix: str = ""


@dataclass(frozen=True)
class Humanoid:
    """One armature of the list.

    Attributes:
        name: names it in the tests.
        family: as what the add-on should know it.
        source: where it comes from, for the table.
        make: adds it to an empty scene and returns the armature object; FileNotFoundError where there is no file.
        known_by: by its names or its structure.
    """

    name: str
    family: str
    source: str
    make: Callable[[], Any]
    known_by: str = "names"


def _from_file(file: str) -> Callable[[], Any]:
    def make() -> Any:
        path = FILES / file
        if not path.exists():
            raise FileNotFoundError(path)
        if path.suffix == ".blend":
            bpy.ops.wm.open_mainfile(filepath=str(path))
        elif path.suffix == ".fbx":
            bpy.ops.import_scene.fbx(filepath=str(path))
        elif path.suffix == ".bvh":
            bpy.ops.import_anim.bvh(filepath=str(path))
        else:
            with tempfile.TemporaryDirectory() as folder:
                as_glb = shutil.copy(path, Path(folder) / "rig.glb")
                bpy.ops.import_scene.gltf(filepath=str(as_glb))
        return next(one for one in bpy.data.objects if one.type == "ARMATURE")

    return make


def _rest_pose(rest: str) -> np.ndarray:
    """(24, 3) axis-angle of a rest pose, the right side the mirror image of the left."""
    pose = np.zeros((24, 3))
    for name, degrees in RESTS[rest].items():
        pose[JOINT_INDEX[f"left_{name}"]] = np.radians(degrees)
        pose[JOINT_INDEX[f"right_{name}"]] = np.radians(degrees) * [1, -1, -1]
    return pose


def build(
    names: Names,
    rest: str = "T",
    axes: str = "along",
    up: Rotation = Z_UP,
    height: float = 1.0,
    plain: bool = False,
) -> Any:
    """Add an armature with these names.

    Args:
        rest: one of ``RESTS``.
        axes: ``along`` where bones' Y axes lie along them, ``across`` where X does as in Unreal, ``world`` where all
            bones have the armature's axes as in many files.
        up: SMPL's axes in the armature's space.
        height: of the figure, as a multiple of SMPL's.
        plain: leave out the bones that play no joint.
    """
    turned, places = forward_kinematics(Rotation.from_rotvec(_rest_pose(rest)).as_matrix())
    places = up.apply(height * (places + np.array([0, 0.96, 0])))
    armature = _in_edit_mode()
    body = _Body(armature.data.edit_bones, names, axes, up, height, plain, places, turned)
    pelvis, chest = body.add_trunk()
    for side, word in zip(("left", "right"), names.sides, strict=True):
        hand = body.add_limb(names.arm, chest, [f"{side}_{one}" for one in _ARM[-1 - len(names.arm) :]], word)
        if not plain:
            body.add_fingers(hand, side, word)
        body.add_limb(names.leg, pelvis, [f"{side}_{one}" for one in _LEG], word)
    bpy.ops.object.mode_set(mode="OBJECT")
    return armature


_ARM: Final = ("collar", "shoulder", "elbow", "wrist", "hand")
_LEG: Final = ("hip", "knee", "ankle", "foot", "toes")


def _in_edit_mode() -> Any:
    """A new armature, active and ready for bones."""
    armature = bpy.data.objects.new("Rig", bpy.data.armatures.new("Rig"))
    bpy.context.collection.objects.link(armature)
    bpy.context.view_layer.objects.active = armature
    armature.select_set(True)
    bpy.ops.object.mode_set(mode="EDIT")
    return armature


@dataclass
class _Body:
    """An armature in the making; see ``build``. ``bones`` are Blender's edit bones, ``places`` (24, 3) the joints,
    ``turned`` (24, 3, 3) their rotations."""

    bones: Any
    names: Names
    axes: str
    up: Rotation
    height: float
    plain: bool
    places: np.ndarray
    turned: np.ndarray

    def at(self, joint: str) -> np.ndarray:
        return self.places[JOINT_INDEX[joint]]

    def away(self, x: float, y: float, z: float) -> np.ndarray:
        """So far in SMPL's axes, in the armature's space."""
        return self.up.apply(self.height * np.array([x, y, z]))

    def add(self, name: str, head: np.ndarray, towards: np.ndarray, parent: Any) -> Any:
        """One bone."""
        bone = self.bones.new(self.names.prefix + name)
        along = np.asarray(towards) - head
        length = max(float(np.linalg.norm(along)), 0.02 * self.height)
        bone.head, bone.tail = Vector(head), Vector(head) + Vector((0, length, 0))
        if self.axes == "world":
            bone.matrix = Matrix.Translation(head.tolist()) @ Matrix(self.up.as_matrix().tolist()).to_4x4()
        elif np.linalg.norm(along) > 1e-6:
            turn = Vector((0, 1, 0) if self.axes == "along" else (1, 0, 0)).rotation_difference(Vector(along))
            bone.matrix = Matrix.Translation(head.tolist()) @ turn.to_matrix().to_4x4()
        bone.length = length
        bone.parent = parent
        return bone

    def others(self, kind: dict[str, Sequence[str]], joint: str) -> Sequence[str]:
        """Bones of that kind that play no joint, where they are wanted."""
        return () if self.plain else kind.get(joint.removeprefix("left_").removeprefix("right_"), ())

    def add_trunk(self) -> tuple[Any, Any]:
        """From what is above the pelvis to the head; returns the pelvis and the chest."""
        names, upward, ahead = self.names, self.away(0, 0.1, 0), self.away(0, 0, 0.1)
        parent = None
        for name in names.above:
            parent = self.add(name, np.zeros(3), upward, parent)
        parent = pelvis = self.add(names.pelvis, self.at("pelvis"), self.at("spine1"), parent)
        corners = [self.at(joint) for joint in ("pelvis", "spine1", "spine2", "spine3", "neck")]
        for name, (start, end) in zip(names.spine, pairwise(_along(corners, len(names.spine))), strict=True):
            parent = self.add(name, start, end, parent)
        chest, top = parent, self.at("head")
        spots = np.linspace(self.at("neck"), top, len(names.neck) + 1)
        for name, (start, end) in zip(names.neck, pairwise(spots), strict=True):
            parent = self.add(name, start, end, parent)
        head = self.add(names.head, top, top + upward, parent)
        for name in self.others(names.beside, "head"):
            self.add(name, top + ahead, top + 2 * ahead, head)
        return pelvis, chest

    def add_limb(self, limb: Sequence[str], parent: Any, joints: Sequence[str], word: str) -> Any:
        """The bones that begin at the joints, each with what lies along it and hangs on it; returns the last."""
        for joint, name, following in zip(joints, limb, joints[1:], strict=False):
            start = self.at(joint)
            end = self.at(following) if following in JOINT_INDEX else start + self.away(0, 0, 0.1)
            bone = self.add(name.format(s=word), start, end, parent)
            parts = self.others(self.names.between, joint)
            for number, part in enumerate(parts, 1):
                spot = start + (end - start) * number / (len(parts) + 1)
                bone = self.add(part.format(s=word), spot, end, bone)
            for other in self.others(self.names.beside, joint):
                self.add(other.format(s=word), start, end, bone)
            parent = bone
        return parent

    def add_fingers(self, hand: Any, side: str, word: str) -> None:
        """Side by side on the hand."""
        wrist, turn = self.at(f"{side}_wrist"), self.turned[JOINT_INDEX[f"{side}_wrist"]]
        out = 1 if side == "left" else -1
        for number, name in enumerate(self.names.fingers):
            spread = 0.03 - 0.06 * number / max(len(self.names.fingers) - 1, 1)
            knuckle = wrist + self.away(*(turn @ [out * 0.09, 0, spread]))
            tip = wrist + self.away(*(turn @ [out * 0.13, 0, spread]))
            self.add(name.format(s=word), knuckle, tip, hand)


def _along(corners: Sequence[np.ndarray], count: int) -> np.ndarray:
    """(count + 1, 3) where ``count`` bones of a spine begin and where the last ends: SMPL's own places for three."""
    if count == 3:
        return np.array(corners[1:])
    parts = np.linspace(0.15 if count > 1 else 0.4, 1.0, count + 1)
    lengths = np.cumsum([0.0, *(np.linalg.norm(b - a) for a, b in pairwise(corners))])
    return np.array(
        [
            [
                np.interp(part * lengths[-1], lengths, [corner[axis] for corner in corners])
                for axis in range(3)
            ]
            for part in parts
        ]
    )


_MIXAMO = Names(
    pelvis="Hips", spine=("Spine", "Spine1", "Spine2"), neck=("Neck",), head="Head",
    arm=("{s}Shoulder", "{s}Arm", "{s}ForeArm", "{s}Hand"),
    leg=("{s}UpLeg", "{s}Leg", "{s}Foot", "{s}ToeBase"), sides=("Left", "Right"),
    fingers=("{s}HandIndex1", "{s}HandMiddle1", "{s}HandRing1", "{s}HandPinky1"), beside={"head": ("HeadTop_End",)},
)  # fmt: skip
_SMPL = Names(
    pelvis="Pelvis", spine=("Spine1", "Spine2", "Spine3"), neck=("Neck",), head="Head",
    arm=("{s}_Collar", "{s}_Shoulder", "{s}_Elbow", "{s}_Wrist"),
    leg=("{s}_Hip", "{s}_Knee", "{s}_Ankle", "{s}_Foot"), sides=("L", "R"),
)  # fmt: skip
_SMPLX = Names(
    pelvis="pelvis", spine=("spine1", "spine2", "spine3"), neck=("neck",), head="head",
    arm=("{s}_collar", "{s}_shoulder", "{s}_elbow", "{s}_wrist"),
    leg=("{s}_hip", "{s}_knee", "{s}_ankle", "{s}_foot"), sides=("left", "right"), above=("root",),
    fingers=("{s}_index1", "{s}_middle1", "{s}_ring1", "{s}_pinky1"), beside={"head": ("jaw", "left_eye_smplhf")},
)  # fmt: skip
_UNREAL = Names(
    pelvis="pelvis", spine=("spine_01", "spine_02", "spine_03"), neck=("neck_01",), head="head",
    arm=("clavicle_{s}", "upperarm_{s}", "lowerarm_{s}", "hand_{s}"),
    leg=("thigh_{s}", "calf_{s}", "foot_{s}", "ball_{s}"), sides=("l", "r"), above=("root",),
    fingers=("index_01_{s}", "middle_01_{s}", "ring_01_{s}", "pinky_01_{s}"),
    beside={"shoulder": ("upperarm_twist_01_{s}",), "elbow": ("lowerarm_twist_01_{s}",),
            "hip": ("thigh_twist_01_{s}",)},
)  # fmt: skip
_UNREAL_5 = Names(
    pelvis="pelvis", spine=("spine_01", "spine_02", "spine_03", "spine_04", "spine_05"),
    neck=("neck_01", "neck_02"), head="head", arm=_UNREAL.arm, leg=_UNREAL.leg, sides=("l", "r"), above=("root",),
    fingers=_UNREAL.fingers,
    beside={**_UNREAL.beside, "elbow": ("lowerarm_twist_01_{s}", "lowerarm_twist_02_{s}")},
)  # fmt: skip
_VRM = Names(
    pelvis="hips", spine=("spine", "chest", "upperChest"), neck=("neck",), head="head",
    arm=("{s}Shoulder", "{s}UpperArm", "{s}LowerArm", "{s}Hand"),
    leg=("{s}UpperLeg", "{s}LowerLeg", "{s}Foot", "{s}Toes"), sides=("left", "right"),
    fingers=("{s}IndexProximal", "{s}MiddleProximal", "{s}RingProximal", "{s}LittleProximal"),
    beside={"head": ("leftEye", "rightEye", "jaw")},
)  # fmt: skip
_VRM_0 = Names(
    pelvis="Hips", spine=("Spine", "Chest"), neck=("Neck",), head="Head",
    arm=("Shoulder_{s}", "UpperArm_{s}", "LowerArm_{s}", "Hand_{s}"),
    leg=("UpperLeg_{s}", "LowerLeg_{s}", "Foot_{s}", "Toe_{s}"), sides=("L", "R"), above=("Root",),
)  # fmt: skip
_VROID = Names(
    pelvis="J_Bip_C_Hips", spine=("J_Bip_C_Spine", "J_Bip_C_Chest", "J_Bip_C_UpperChest"), neck=("J_Bip_C_Neck",),
    head="J_Bip_C_Head", arm=tuple(f"J_Bip_{{s}}_{one}" for one in ("Shoulder", "UpperArm", "LowerArm", "Hand")),
    leg=tuple(f"J_Bip_{{s}}_{one}" for one in ("UpperLeg", "LowerLeg", "Foot", "ToeBase")), sides=("L", "R"),
    above=("Root",), fingers=tuple(f"J_Bip_{{s}}_{one}1" for one in ("Index", "Middle", "Ring", "Little")),
    beside={"head": ("J_Adj_L_FaceEye", "J_Adj_R_FaceEye", "J_Sec_Hair1_01")},
)  # fmt: skip
_MAKEHUMAN = Names(
    pelvis="root", spine=("spine05", "spine04", "spine03", "spine02", "spine01"),
    neck=("neck01", "neck02", "neck03"), head="head",
    arm=("clavicle.{s}", "upperarm01.{s}", "lowerarm01.{s}", "wrist.{s}"),
    leg=("upperleg01.{s}", "lowerleg01.{s}", "foot.{s}", "toe2-1.{s}"), sides=("L", "R"),
    fingers=("finger2-1.{s}", "finger3-1.{s}", "finger4-1.{s}", "finger5-1.{s}"),
    between={"collar": ("shoulder01.{s}",), "shoulder": ("upperarm02.{s}",), "elbow": ("lowerarm02.{s}",),
             "hip": ("upperleg02.{s}",), "knee": ("lowerleg02.{s}",)},
)  # fmt: skip
_REALLUSION = Names(
    prefix="CC_Base_", pelvis="Hip", spine=("Waist", "Spine01", "Spine02"), neck=("NeckTwist01", "NeckTwist02"),
    head="Head", arm=("{s}_Clavicle", "{s}_Upperarm", "{s}_Forearm", "{s}_Hand"),
    leg=("{s}_Thigh", "{s}_Calf", "{s}_Foot", "{s}_ToeBase"), sides=("L", "R"), above=("BoneRoot",),
    fingers=("{s}_Index1", "{s}_Mid1", "{s}_Ring1", "{s}_Pinky1"),
    beside={"hip": ("{s}_ThighTwist01",), "shoulder": ("{s}_UpperarmTwist01",), "head": ("FacialBone",)},
)  # fmt: skip
_DAZ_8 = Names(
    pelvis="hip", spine=("abdomenLower", "abdomenUpper", "chestLower", "chestUpper"), neck=("neckLower", "neckUpper"),
    head="head", arm=("{s}Collar", "{s}ShldrBend", "{s}ForearmBend", "{s}Hand"),
    leg=("{s}ThighBend", "{s}Shin", "{s}Foot", "{s}Toe"), sides=("l", "r"),
    fingers=("{s}Index1", "{s}Mid1", "{s}Ring1", "{s}Pinky1"),
    between={"shoulder": ("{s}ShldrTwist",), "elbow": ("{s}ForearmTwist",), "hip": ("{s}ThighTwist",),
             "ankle": ("{s}Metatarsals",)},
)  # fmt: skip
_DAZ_9 = Names(
    pelvis="hip", spine=("spine1", "spine2", "spine3", "spine4"), neck=("neck1", "neck2"), head="head",
    arm=("{s}_shoulder", "{s}_upperarm", "{s}_forearm", "{s}_hand"),
    leg=("{s}_thigh", "{s}_shin", "{s}_foot", "{s}_toes"), sides=("l", "r"),
    fingers=("{s}_index1", "{s}_mid1", "{s}_ring1", "{s}_pinky1"),
    beside={"shoulder": ("{s}_upperarmtwist1",), "elbow": ("{s}_forearmtwist1",)},
    between={"ankle": ("{s}_metatarsals",)},
)  # fmt: skip
_AUTO_RIG_PRO = Names(
    pelvis="root.x", spine=("spine_01.x", "spine_02.x"), neck=("neck.x",), head="head.x",
    arm=("shoulder.{s}", "arm_stretch.{s}", "forearm_stretch.{s}", "hand.{s}"),
    leg=("thigh_stretch.{s}", "leg_stretch.{s}", "foot.{s}", "toes_01.{s}"), sides=("l", "r"),
    fingers=("index1.{s}", "middle1.{s}", "ring1.{s}", "pinky1.{s}"),
)  # fmt: skip
_AUTO_RIG_PRO_FK = Names(
    pelvis="c_root_master.x", spine=("c_spine_01.x", "c_spine_02.x"), neck=("c_neck.x",), head="c_head.x",
    arm=("c_shoulder.{s}", "c_arm_fk.{s}", "c_forearm_fk.{s}", "c_hand_fk.{s}"),
    leg=("c_thigh_fk.{s}", "c_leg_fk.{s}", "c_foot_fk.{s}", "c_toes_fk.{s}"), sides=("l", "r"),
    above=("c_pos", "c_traj"), fingers=("c_index1.{s}", "c_middle1.{s}", "c_ring1.{s}", "c_pinky1.{s}"),
)  # fmt: skip
_ROKOKO = Names(
    pelvis="Hips", spine=("Spine1", "Spine2", "Spine3", "Spine4"), neck=("Neck",), head="Head",
    arm=("{s}Shoulder", "{s}Arm", "{s}ForeArm", "{s}Hand"), leg=("{s}Thigh", "{s}Shin", "{s}Foot", "{s}Toe"),
    sides=("Left", "Right"), above=("Root",),
    fingers=tuple(f"{{s}}Finger{number}Proximal" for number in (2, 3, 4, 5)),
)  # fmt: skip
_CMU_ASF = Names(
    pelvis="root", spine=("lowerback", "upperback", "thorax"), neck=("lowerneck", "upperneck"), head="head",
    arm=("{s}clavicle", "{s}humerus", "{s}radius", "{s}hand"), leg=("{s}femur", "{s}tibia", "{s}foot", "{s}toes"),
    sides=("l", "r"), between={"elbow": ("{s}wrist",)},
)  # fmt: skip
_CMU_MB = Names(
    pelvis="Hips", spine=("LowerBack", "Spine", "Spine1"), neck=("Neck", "Neck1"), head="Head",
    arm=_MIXAMO.arm, leg=_MIXAMO.leg, sides=("Left", "Right"), fingers=("{s}HandIndex1", "{s}HandPinky1"),
    above=("LHipJoint", "RHipJoint"),
)  # fmt: skip
_BVH = Names(
    pelvis="Hips", spine=("Chest", "Chest2", "Chest3", "Chest4"), neck=("Neck",), head="Head",
    arm=("{s}Collar", "{s}Shoulder", "{s}Elbow", "{s}Wrist"), leg=("{s}Hip", "{s}Knee", "{s}Ankle", "{s}Toe"),
    sides=("Left", "Right"),
)  # fmt: skip
_BIPED = Names(
    prefix="Bip001 ", pelvis="Pelvis", spine=("Spine", "Spine1", "Spine2"), neck=("Neck",), head="Head",
    arm=("{s} Clavicle", "{s} UpperArm", "{s} Forearm", "{s} Hand"),
    leg=("{s} Thigh", "{s} Calf", "{s} Foot", "{s} Toe0"), sides=("L", "R"),
    fingers=tuple(f"{{s}} Finger{number}" for number in (1, 2, 3, 4)),
)  # fmt: skip
_VALVE = Names(
    prefix="ValveBiped.Bip01_", pelvis="Pelvis", spine=("Spine", "Spine1", "Spine2", "Spine4"), neck=("Neck1",),
    head="Head1", arm=("{s}_Clavicle", "{s}_UpperArm", "{s}_Forearm", "{s}_Hand"),
    leg=("{s}_Thigh", "{s}_Calf", "{s}_Foot", "{s}_Toe0"), sides=("L", "R"),
)  # fmt: skip
_ADVANCED_SKELETON = Names(
    pelvis="Root_M", spine=("Spine1_M", "Spine2_M", "Chest_M"), neck=("Neck_M",), head="Head_M",
    arm=("Scapula_{s}", "Shoulder_{s}", "Elbow_{s}", "Wrist_{s}"), leg=("Hip_{s}", "Knee_{s}", "Ankle_{s}", "Toes_{s}"),
    sides=("L", "R"),
)  # fmt: skip
_MMD = Names(
    pelvis="センター", spine=("上半身", "上半身2"), neck=("首",), head="頭",
    arm=("{s}肩", "{s}腕", "{s}ひじ", "{s}手首"), leg=("{s}足", "{s}ひざ", "{s}足首", "{s}つま先"), sides=("左", "右"),
    fingers=("{s}人指１", "{s}中指１", "{s}薬指１", "{s}小指１"),
)  # fmt: skip


def _renamed(names: Names, **changes: Any) -> Names:
    return Names(**{**{key: getattr(names, key) for key in names.__dataclass_fields__}, **changes})


def _built(names: Names, *arguments: Any, **more: Any) -> Callable[[], Any]:
    return lambda: build(names, *arguments, **more)


def _numbered(names: Names) -> Callable[[], Any]:
    """Every name with Blender's .001, as after a second import."""

    def make() -> Any:
        armature = build(names)
        for bone in armature.data.bones:
            bone.name += ".001"
        return armature

    return make


def _auto_rig_pro() -> Any:
    """Auto-Rig Pro's controls as its rigs have them: limbs that follow FK controls or an IK chain by a switch, hands
    and feet that follow their IK controls, and poles that elbows and knees point to."""
    armature = build(_AUTO_RIG_PRO_FK, "ready")
    limbs = (
        (("arm", "forearm", "hand"), "c_hand_ik", "c_arms_pole"),
        (("thigh", "leg", "foot"), "c_foot_ik", "c_leg_pole"),
    )
    bpy.ops.object.mode_set(mode="EDIT")
    edit = armature.data.edit_bones

    def copied(name: str, of: Any, parent: Any) -> Any:
        bone = edit.new(name)
        bone.head, bone.tail, bone.parent = of.head, of.tail, parent
        bone.matrix = of.matrix
        return bone

    for side in ("l", "r"):
        for parts, target, pole in limbs:
            fk = [edit[f"c_{part}_fk.{side}"] for part in parts]
            above = fk[0].parent
            for kind in ("ik", "stretch"):
                parent = above
                for part, bone in zip(parts[:2], fk, strict=False):
                    parent = copied(f"{part}_{kind}.{side}", bone, parent)
            end = copied(f"{parts[2]}.{side}", fk[2], edit[f"{parts[1]}_stretch.{side}"])
            if parts[2] == "foot":
                copied(f"toes_01.{side}", edit[f"c_toes_fk.{side}"], end)
            copied(f"{target}.{side}", fk[2], edit["c_traj"])
            middle = (fk[0].head + fk[2].head) / 2
            out = (fk[1].head - middle).normalized()
            bone = edit.new(f"{pole}.{side}")
            bone.head, bone.tail = fk[1].head + 0.5 * out, fk[1].head + 0.6 * out
            bone.parent = edit["c_traj"]
    bpy.ops.object.mode_set(mode="OBJECT")
    for side in ("l", "r"):
        for parts, target, pole in limbs:
            _follow_by_switch(armature, parts, target, pole, side)
    bpy.context.view_layer.update()
    return armature


def _follow_by_switch(armature: Any, parts: Sequence[str], target: str, pole: str, side: str) -> None:
    bones = armature.pose.bones
    control = bones[f"{target}.{side}"]
    control["ik_fk_switch"] = 0.0
    lower = bones[f"{parts[1]}_ik.{side}"]
    ik = lower.constraints.new("IK")
    ik.target, ik.subtarget, ik.chain_count = armature, control.name, 2
    ik.pole_target, ik.pole_subtarget = armature, f"{pole}.{side}"
    ik.pole_angle = _pole_angle(armature, f"{parts[0]}_ik.{side}", lower.name, f"{pole}.{side}")
    for part in parts[:2]:
        _copy(armature, f"{part}_stretch.{side}", f"c_{part}_fk.{side}", "COPY_TRANSFORMS", "")
        _copy(armature, f"{part}_stretch.{side}", f"{part}_ik.{side}", "COPY_TRANSFORMS", control.name)
    _copy(armature, f"{parts[2]}.{side}", f"c_{parts[2]}_fk.{side}", "COPY_ROTATION", "")
    _copy(armature, f"{parts[2]}.{side}", control.name, "COPY_ROTATION", control.name)
    if parts[2] == "foot":
        _copy(armature, f"toes_01.{side}", f"c_toes_fk.{side}", "COPY_ROTATION", control.name, "{}")


def _copy(armature: Any, bone: str, of: str, kind: str, switch: str, expression: str = "1 - {}") -> None:
    """Have a bone copy another, as far as the switch of a control says, if one is given."""
    copy = armature.pose.bones[bone].constraints.new(kind)
    copy.target, copy.subtarget = armature, of
    if switch:
        driver = copy.driver_add("influence").driver
        variable = driver.variables.new()
        variable.targets[0].id = armature
        variable.targets[0].data_path = f'pose.bones["{switch}"]["ik_fk_switch"]'
        driver.expression = expression.format(variable.name)


def _pole_angle(armature: Any, upper: str, lower: str, pole: str) -> float:
    """The angle from the upper bone's x to the pole, the way round that takes x to z, at rest."""
    bones = armature.data.bones
    start = bones[upper]
    along = (bones[lower].tail_local - start.head_local).normalized()
    to_pole = bones[pole].head_local - start.head_local
    towards = along.cross(to_pole).cross(along)
    x = start.matrix_local.to_3x3().col[0]
    x = (x - x.dot(along) * along).normalized()
    angle = x.angle(towards)
    return -angle if x.cross(towards).dot(along) > 0 else angle


def _apart(bones: Sequence[str], root: str | None = "Root") -> Callable[[], Any]:
    """Bones that hang on a root of their own beside the one that the hips hang on, or on nothing."""

    def make() -> Any:
        armature = build(_MIXAMO)
        bpy.ops.object.mode_set(mode="EDIT")
        edit = armature.data.edit_bones
        other = None
        if root is not None:
            other = edit.new(root)
            other.head, other.tail = (0, 0, 0), (0, 0.1, 0)
        for name in bones:
            edit[name].parent = other
        bpy.ops.object.mode_set(mode="OBJECT")
        return armature

    return make


def _with_loose_bones() -> Any:
    """Bones that hang on nothing before and after the body's: props, a camera, targets of IK."""
    armature = build(_MIXAMO)
    bpy.ops.object.mode_set(mode="EDIT")
    for number, name in enumerate(("a prop", "camera", "foot target.L", "foot target.R", "zz")):
        bone = armature.data.edit_bones.new(name)
        bone.head, bone.tail = (number, 1, 0.1), (number, 1, 2)
    bpy.ops.object.mode_set(mode="OBJECT")
    return armature


_RIGIFY: Final = """
import os, sys
import bpy
import addon_utils
file, operator, *generate = sys.argv[1:]
bpy.ops.wm.read_factory_settings(use_empty=True)
addon_utils.enable("rigify", default_set=True)
getattr(bpy.ops.object, operator)()
if generate:
    bpy.ops.pose.rigify_generate()
    bpy.data.objects.remove(bpy.data.objects["metarig"])
bpy.ops.wm.save_as_mainfile(filepath=file)
os._exit(0)
"""
"""Makes a metarig, or a rig of it, in a process of its own: one in which Rigify was ever enabled may hang when it ends,
and with Blender 4.2's module it crashes then."""


@cache
def _rigify_file(*arguments: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rig.blend"
        command = [sys.executable, "-c", _RIGIFY, str(file), *arguments]
        subprocess.run(command, check=True, timeout=120, capture_output=True)
        return file.read_bytes()


def _by_rigify(*arguments: str) -> Callable[[], Any]:
    def make() -> Any:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "rig.blend"
            file.write_bytes(_rigify_file(*arguments))
            bpy.ops.wm.open_mainfile(filepath=str(file), use_scripts=False)
        return next(one for one in bpy.data.objects if one.type == "ARMATURE")

    return make


def _smpl_figure() -> Any:
    return add_figure(bpy.context)


def _nameless(make: Callable[[], Any]) -> Callable[[], Any]:
    """The same armature with names that say nothing."""

    def renamed() -> Any:
        armature = make()
        for number, bone in enumerate(armature.data.bones):
            bone.name = f"x{number}"
        return armature

    return renamed


_Y_UP = Rotation.identity()
BY_STRUCTURE: Final = "Humanoid (by its structure)"
_BUILT = "built with its published names"

HUMANOIDS: Final = (
    Humanoid("smpl_figure", "SMPL", "the add-on's own", _smpl_figure),
    Humanoid("smpl", "SMPL", _BUILT, _built(_renamed(_SMPL, prefix="m_avg_"), axes="world", up=_Y_UP)),
    Humanoid("smpl_h", "SMPL-H", _BUILT, _built(_renamed(_SMPLX, beside={}), axes="world")),
    Humanoid("smpl_x", "SMPL-X", _BUILT, _built(_SMPLX, axes="world", up=_Y_UP)),
    Humanoid("mixamo_fbx", "Mixamo", "a file", _from_file("mixamo.fbx")),
    Humanoid("mixamo_glb", "Mixamo", "a file", _from_file("mixamo.glb")),
    Humanoid("mixamo_bvh", "Mixamo", "a file", _from_file("mixamo_names.bvh")),
    Humanoid("mixamo_1", "Mixamo", _BUILT, _built(_renamed(_MIXAMO, prefix="mixamorig1:"), height=100.0)),
    Humanoid("mixamo_underscore", "Mixamo", _BUILT, _built(_renamed(_MIXAMO, prefix="mixamorig_"))),
    Humanoid("mixamo_bare", "Mixamo", _BUILT, _built(_MIXAMO, axes="world", up=_Y_UP)),
    Humanoid("mixamo_namespace", "Mixamo", _BUILT, _built(_renamed(_MIXAMO, prefix="Hero:rig:"))),
    Humanoid("mixamo_001", "Mixamo", _BUILT, _numbered(_renamed(_MIXAMO, prefix="mixamorig:"))),
    Humanoid("metarig", "Rigify metarig", "Blender's", _by_rigify("armature_human_metarig_add")),
    Humanoid("metarig_basic", "Rigify metarig", "Blender's", _by_rigify("armature_basic_human_metarig_add")),
    Humanoid(
        "rigify_rig",
        "Rigify generated rig",
        "Blender's",
        _by_rigify("armature_basic_human_metarig_add", "generate"),
    ),
    Humanoid("unreal_bare", "Unreal 4", "a file", _from_file("unreal_like_bare.glb")),
    Humanoid("unreal_4", "Unreal 4", _BUILT, _built(_UNREAL, "A", "across", height=100.0)),
    Humanoid("unreal_5", "Unreal 5", _BUILT, _built(_UNREAL_5, "A", "across", height=100.0)),
    Humanoid("vrm_1_file", "VRM", "a file", _from_file("vrm1_example.vrm")),
    Humanoid("vrm_turned", "VRM", "a file", _from_file("scaled_turned_object.blend")),
    Humanoid("vrm_1", "VRM", _BUILT, _built(_VRM)),
    Humanoid("vrm_0", "VRM", _BUILT, _built(_VRM_0)),
    Humanoid("vroid", "VRoid", _BUILT, _built(_VROID)),
    Humanoid(
        "ready_player_me",
        "Ready Player Me",
        _BUILT,
        _built(_renamed(_MIXAMO, beside={"head": ("HeadTop_End", "LeftEye", "RightEye")})),
    ),
    Humanoid("makehuman", "MakeHuman (default)", _BUILT, _built(_MAKEHUMAN, "A")),
    Humanoid("makehuman_game", "Unreal 4", _BUILT, _built(_renamed(_UNREAL, above=("Root",)), "A")),
    Humanoid("reallusion", "Reallusion CC", _BUILT, _built(_REALLUSION, "A", up=_Y_UP, height=100.0)),
    Humanoid("daz_cmu", "Daz and Poser", "a file", _from_file("daz_names_cmu.fbx")),
    Humanoid("daz_8", "Daz Genesis 3 and 8", _BUILT, _built(_DAZ_8, "A", height=100.0)),
    Humanoid("daz_9", "Daz Genesis 9", _BUILT, _built(_DAZ_9, "A")),
    Humanoid("auto_rig_pro", "Auto-Rig Pro", _BUILT, _built(_AUTO_RIG_PRO_FK, "A")),
    Humanoid("auto_rig_pro_ik", "Auto-Rig Pro", "built, with its IK controls and switches", _auto_rig_pro),
    Humanoid("auto_rig_pro_export", "Auto-Rig Pro (exported)", _BUILT, _built(_AUTO_RIG_PRO, "A")),
    Humanoid("rokoko", "Rokoko", _BUILT, _built(_ROKOKO, axes="world", up=_Y_UP)),
    Humanoid("cmu", "CMU (ASF/AMC)", _BUILT, _built(_CMU_ASF, "hanging")),
    Humanoid("cmu_file", "CMU (3ds Max names)", "a file", _from_file("cmu1_jumping_jacks.bvh")),
    Humanoid("cmu_motionbuilder", "CMU (MotionBuilder names)", _BUILT, _built(_CMU_MB)),
    Humanoid(
        "humanik_file",
        "HumanIK (MotionBuilder, Perception Neuron, Xsens, LaFAN1)",
        "a file",
        _from_file("fair1_dab.bvh"),
    ),
    Humanoid("bvh", "BVH (Poser, LifeForms, Xsens, 100STYLE)", _BUILT, _built(_BVH, "hanging", height=100.0)),
    Humanoid("biped", "3ds Max Biped", _BUILT, _built(_BIPED, "A", "across")),
    Humanoid("valve", "Source (ValveBiped)", _BUILT, _built(_VALVE, "A", "across")),
    Humanoid("advanced_skeleton", "AdvancedSkeleton", _BUILT, _built(_ADVANCED_SKELETON, "A", "across")),
    Humanoid("bent", "Mixamo", "built, resting with bent elbows and knees", _built(_MIXAMO, "bent")),
    Humanoid("rolled", "Mixamo", "built, resting with rolled arms", _built(_MIXAMO, "rolled")),
    Humanoid("loose_bones", "Mixamo", "built, with bones beside that hang on nothing", _with_loose_bones),
    Humanoid(
        "legs_apart", "Mixamo", "built, its legs on a root of their own", _apart(("LeftUpLeg", "RightUpLeg"))
    ),
    Humanoid("spine_apart", "Mixamo", "built, its spine on a root of its own", _apart(("Spine",))),
    Humanoid(
        "all_apart",
        "Mixamo",
        "built, hips, spine and legs on roots of their own",
        _apart(("Spine", "LeftUpLeg", "RightUpLeg"), None),
    ),
    Humanoid("mmd", "MikuMikuDance", _BUILT, _built(_MMD, "A")),
    *(
        Humanoid(f"nameless_{name}", BY_STRUCTURE, source, _nameless(make), "structure")
        for name, source, make in (
            ("mixamo", "a file, its names taken away", _from_file("mixamo.glb")),
            ("unreal", "a file, its names taken away", _from_file("unreal_like_bare.glb")),
            ("vrm", "a file, its names taken away", _from_file("vrm1_example.vrm")),
            ("metarig", "Blender's, its names taken away", _by_rigify("armature_basic_human_metarig_add")),
            ("daz_8", "built, without names", _built(_DAZ_8, "A", height=100.0)),
            ("makehuman", "built, without names", _built(_MAKEHUMAN, "A")),
            ("unreal_5", "built, without names", _built(_UNREAL_5, "A", "across")),
            ("smpl", "built, without names", _built(_SMPL, "T", "world", up=_Y_UP)),
            ("vrm_0", "built, without names", _built(_VRM_0, "hanging")),
            ("bent", "built, without names", _built(_MIXAMO, "bent")),
            ("rolled", "built, without names", _built(_MIXAMO, "rolled")),
        )
    ),
)

NO_HUMANOIDS: Final = (
    Humanoid("one_bone", "", "a file", _from_file("not_humanoid.blend")),
    *(
        Humanoid(animal, "", "Blender's", _by_rigify(f"armature_{animal}_metarig_add"))
        for animal in ("basic_quadruped", "horse", "bird", "shark", "wolf", "cat")
    ),
)
