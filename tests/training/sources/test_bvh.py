# SPDX-License-Identifier: Apache-2.0
"""BVH files of the usual skeletons, written here, against kinematics of the file's own joints computed with scipy."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from blender_addon.contract.kinematics import forward_kinematics
from blender_addon.contract.rotations import axis_angle_to_matrix
from blender_addon.contract.skeleton import JOINT_INDEX
from training.data.sources.clip import PoseFileError
from training.data.sources.reading import read_clips

# Where a bone happens to be at gimbal lock, scipy says so; its angles are right all the same.
pytestmark = pytest.mark.filterwarnings("ignore:Gimbal lock")


@dataclass
class Bone:
    """A bone of a hand-made skeleton: where its head is in the resting person, and its frame there.

    Attributes:
        name: in the file.
        parent: the name of the parent; "" for the root.
        at: position in the resting person, who faces +z with +y up, in any unit.
        joint: the SMPL joint that it is; "" for none.
        frame: of the bone at rest. With the identity the file's zero pose is the resting person.
    """

    name: str
    parent: str
    at: tuple[float, float, float]
    joint: str = ""
    frame: Rotation = field(default_factory=Rotation.identity)


def sided(rows: list[tuple[str, str, tuple[float, float, float], str]], left: str, right: str) -> list[Bone]:
    """The left limb's bones, "@" standing for the side and "%" for its initial, and their mirror images."""
    return [
        Bone(
            name.replace("@", word).replace("%", word[0]),
            parent.replace("@", word).replace("%", word[0]),
            (sign * x, y, z),
            joint and f"{side}_{joint}",
        )
        for side, word, sign in (("left", left, 1), ("right", right, -1))
        for name, parent, (x, y, z), joint in rows
    ]


def mixamo() -> list[Bone]:
    """T-pose, three spine bones, a prefix, centimetres."""
    p = "mixamorig:"
    trunk = [
        Bone(p + "Hips", "", (0, 100, 0), "pelvis"), Bone(p + "Spine", p + "Hips", (0, 110, 0), "spine1"),
        Bone(p + "Spine1", p + "Spine", (0, 122, 0), "spine2"), Bone(p + "Spine2", p + "Spine1", (0, 134, 0), "spine3"),
        Bone(p + "Neck", p + "Spine2", (0, 150, 0), "neck"), Bone(p + "Head", p + "Neck", (0, 158, 2), "head"),
    ]  # fmt: skip
    limbs = [
        (p + "@Shoulder", p + "Spine2", (6, 145, 0), "collar"), (p + "@Arm", p + "@Shoulder", (18, 145, 0), "shoulder"),
        (p + "@ForeArm", p + "@Arm", (46, 145, 0), "elbow"), (p + "@Hand", p + "@ForeArm", (72, 145, 0), "wrist"),
        (p + "@HandThumb1", p + "@Hand", (74, 144, 3), ""), (p + "@UpLeg", p + "Hips", (9, 95, 0), "hip"),
        (p + "@Leg", p + "@UpLeg", (9, 52, 0), "knee"), (p + "@Foot", p + "@Leg", (9, 9, -1), "ankle"),
        (p + "@ToeBase", p + "@Foot", (9, 2, 11), "foot"),
    ]  # fmt: skip
    return trunk + sided(limbs, "Left", "Right")


def cmu() -> list[Bone]:
    """Splayed legs, dummy hip joints, a neck of two bones, inches."""
    trunk = [
        Bone("Hips", "", (0, 17, 0), "pelvis"), Bone("LowerBack", "Hips", (0, 17, 0), "spine1"),
        Bone("Spine", "LowerBack", (0, 19, -0.2), "spine2"), Bone("Spine1", "Spine", (0, 21, -0.2), "spine3"),
        Bone("Neck", "Spine1", (0, 23, -0.2)), Bone("Neck1", "Neck", (0, 24.5, 0)),
        Bone("Head", "Neck1", (0, 26, 0.2), "head"),
    ]  # fmt: skip
    limbs = [
        ("%HipJoint", "Hips", (0.1, 17, 0), ""), ("@UpLeg", "%HipJoint", (1.4, 15.3, 0.8), "hip"),
        ("@Leg", "@UpLeg", (3.9, 8.4, 0.8), "knee"), ("@Foot", "@Leg", (6.4, 1.2, 0.8), "ankle"),
        ("@ToeBase", "@Foot", (6.5, 0.6, 2.8), "foot"), ("@Shoulder", "Spine1", (0, 23, -0.2), "collar"),
        ("@Arm", "@Shoulder", (3.4, 23.5, -0.2), "shoulder"), ("@ForeArm", "@Arm", (8.4, 23.5, -0.2), "elbow"),
        ("@Hand", "@ForeArm", (11.8, 23.5, -0.2), "wrist"), ("%Thumb", "@Hand", (12, 23.5, 0.3), ""),
    ]  # fmt: skip
    return trunk + sided(limbs, "Left", "Right")


def style100() -> list[Bone]:
    """Four spine bones, limbs named after joints, and the arms hanging at rest."""
    trunk = [
        Bone("Hips", "", (0, 0.95, 0), "pelvis"), Bone("Chest", "Hips", (0, 1.0, 0)),
        Bone("Chest2", "Chest", (0, 1.1, 0)), Bone("Chest3", "Chest2", (0, 1.2, 0)),
        Bone("Chest4", "Chest3", (0, 1.3, 0), "spine3"), Bone("Neck", "Chest4", (0, 1.5, 0), "neck"),
        Bone("Head", "Neck", (0, 1.6, 0), "head"),
    ]  # fmt: skip
    limbs = [
        ("@Collar", "Chest4", (0.03, 1.45, 0), "collar"), ("@Shoulder", "@Collar", (0.18, 1.45, 0), "shoulder"),
        ("@Elbow", "@Shoulder", (0.2, 1.15, 0), "elbow"), ("@Wrist", "@Elbow", (0.22, 0.9, 0.02), "wrist"),
        ("@Hip", "Hips", (0.1, 0.9, 0), "hip"), ("@Knee", "@Hip", (0.1, 0.5, 0.02), "knee"),
        ("@Ankle", "@Knee", (0.1, 0.1, 0), "ankle"), ("@Toe", "@Ankle", (0.1, 0.02, 0.15), "foot"),
    ]  # fmt: skip
    return trunk + sided(limbs, "Left", "Right")


def lafan() -> list[Bone]:
    """Each bone along its own +x, so that in the zero pose they all point the same way."""
    bones = mixamo()
    for bone in bones:
        bone.name, bone.parent = bone.name.rpartition(":")[2], bone.parent.rpartition(":")[2]
    below = {bone.parent: bone for bone in bones}
    for bone in bones:
        child = below.get(bone.name)
        along = np.array([1.0, 0, 0]) if child is None else np.subtract(child.at, bone.at).astype(float)
        side = np.cross(along, [0.3, 0.1, 1.0])
        axes = np.stack([along, side, np.cross(along, side)], axis=1)
        bone.frame = Rotation.from_matrix(axes / np.linalg.norm(axes, axis=0))
    bones[0].frame = Rotation.identity()
    return bones


def unreal() -> list[Bone]:
    """Sides at the end, a root above the pelvis, two spine bones, no toes and no collars."""
    trunk = [
        Bone("root", "", (0, 0, 0)), Bone("pelvis", "root", (0, 95, 0), "pelvis"),
        Bone("spine_01", "pelvis", (0, 105, 0)), Bone("spine_02", "spine_01", (0, 125, 0), "spine3"),
        Bone("head", "spine_02", (0, 155, 0), "head"),
    ]  # fmt: skip
    limbs = [
        ("upperarm_@", "spine_02", (16, 145, 0), "shoulder"), ("lowerarm_@", "upperarm_@", (40, 130, 0), "elbow"),
        ("hand_@", "lowerarm_@", (60, 115, 2), "wrist"), ("thigh_@", "pelvis", (9, 93, 0), "hip"),
        ("calf_@", "thigh_@", (10, 50, 0), "knee"), ("foot_@", "calf_@", (11, 8, 0), "ankle"),
    ]  # fmt: skip
    return trunk + sided(limbs, "l", "r")


SKELETONS = {"mixamo": mixamo, "cmu": cmu, "100style": style100, "lafan": lafan, "unreal": unreal}


@dataclass
class Recording:
    """A BVH's text and the truth about it.

    Attributes:
        text: of the file.
        positions: of each bone by name, (N, 3), in the world.
        turned: what each bone turned by since the person rested, by name.
    """

    text: str
    positions: dict[str, np.ndarray]
    turned: dict[str, Rotation]


def record(
    bones: list[Bone], frames: int, order: str = "ZXY", *, z_up: bool = False, stands_first: bool = False
) -> Recording:
    """A dance of the skeleton, at 8 frames a second; the same for the same bones and frames."""
    rng = np.random.default_rng(7)
    by_name = {bone.name: bone for bone in bones}
    world: dict[str, Rotation] = {}
    turned: dict[str, Rotation] = {}
    positions: dict[str, np.ndarray] = {}
    columns: dict[str, np.ndarray] = {}
    offsets: dict[str, np.ndarray] = {}
    for bone in bones:
        turns = rng.normal(0, 25, (frames, 3)) * (0.6 if not bone.joint else 1.0)
        if not bone.parent:
            turns = np.stack(
                [rng.normal(0, 8, frames), rng.uniform(-180, 180, frames), rng.normal(0, 8, frames)], axis=1
            )
        if stands_first:
            turns[0] = 0
        bend = Rotation.from_euler("YXZ", turns[:, [1, 0, 2]], degrees=True)
        if not bone.parent:
            turned[bone.name] = bend
            offsets[bone.name] = np.array(bone.at)
            positions[bone.name] = np.tile(bone.at, (frames, 1)).astype(float)
            local = bend * bone.frame
            if z_up:
                local = Rotation.from_euler("x", 90, degrees=True) * local
        else:
            parent = by_name[bone.parent]
            turned[bone.name] = turned[bone.parent] * bend
            step = np.subtract(bone.at, parent.at).astype(float)
            offsets[bone.name] = parent.frame.inv().apply(step)
            positions[bone.name] = positions[bone.parent] + turned[bone.parent].apply(step)
            local = world[bone.parent].inv() * turned[bone.name] * bone.frame
        world[bone.name] = turned[bone.name] * bone.frame
        columns[bone.name] = local.as_euler(order, degrees=True)
    lines = ["HIERARCHY"]

    def write(bone: Bone, depth: int) -> None:
        indent = "\t" * depth
        lines.append(f"{indent}{'JOINT' if bone.parent else 'ROOT'} {bone.name}")
        lines.append(indent + "{")
        lines.append(f"{indent}\tOFFSET " + " ".join(f"{number:.6f}" for number in offsets[bone.name]))
        moves = "" if bone.parent else "Xposition Yposition Zposition "
        turning = " ".join(f"{axis}rotation" for axis in order)
        lines.append(f"{indent}\tCHANNELS {3 if bone.parent else 6} {moves}{turning}")
        written.append(bone)
        children = [child for child in bones if child.parent == bone.name]
        for child in children:
            write(child, depth + 1)
        if not children:
            lines.append(f"{indent}\tEnd Site\n{indent}\t{{\n{indent}\t\tOFFSET 0 0 1\n{indent}\t}}")
        lines.append(indent + "}")

    written: list[Bone] = []
    write(bones[0], 0)
    values = np.concatenate(
        [
            np.concatenate([np.zeros((frames, 0 if bone.parent else 3)), columns[bone.name]], axis=1)
            for bone in written
        ],
        axis=1,
    )
    lines += ["MOTION", f"Frames: {frames}", "Frame Time: 0.125"]
    lines += [" ".join(f"{number:.6f}" for number in row) for row in values]
    return Recording("\n".join(lines) + "\n", positions, turned)


def read(path: Path, text: str) -> np.ndarray:
    path.write_text(text)
    (clip,) = read_clips(path)
    assert clip.frame == "y_up"
    return clip.pose_aa


def directions(positions: np.ndarray) -> np.ndarray:
    return positions / np.linalg.norm(positions, axis=-1, keepdims=True)


@pytest.mark.parametrize("z_up", [False, True])
@pytest.mark.parametrize("name", list(SKELETONS))
def test_limbs_point_where_the_recorded_ones_do(tmp_path: Path, name: str, z_up: bool) -> None:
    bones = SKELETONS[name]()
    recording = record(bones, 20, z_up=z_up, stands_first=name == "lafan")
    pose = read(tmp_path / "dance.bvh", recording.text)
    _, positions = forward_kinematics(axis_angle_to_matrix(pose))
    at = {bone.joint: recording.positions[bone.name] for bone in bones if bone.joint}
    for side in ("left", "right"):
        for upper, lower in (("hip", "knee"), ("knee", "ankle"), ("shoulder", "elbow"), ("elbow", "wrist")):
            one, other = f"{side}_{upper}", f"{side}_{lower}"
            recorded = directions(at[other] - at[one])
            ours = directions(positions[:, JOINT_INDEX[other]] - positions[:, JOINT_INDEX[one]])
            angle = np.degrees(np.arccos(np.clip((recorded * ours).sum(axis=1), -1, 1)))
            assert angle.max() < 0.1, (one, angle.max())


@pytest.mark.parametrize("name", list(SKELETONS))
def test_trunk_head_hands_and_feet_turn_as_the_recorded_ones_do(tmp_path: Path, name: str) -> None:
    bones = SKELETONS[name]()
    recording = record(bones, 20, stands_first=name == "lafan")
    pose = read(tmp_path / "dance.bvh", recording.text)
    rotations, _ = forward_kinematics(axis_angle_to_matrix(pose))
    for bone in bones:
        if bone.joint in ("pelvis", "spine3", "neck", "head", "left_ankle", "right_foot"):
            ours = Rotation.from_matrix(rotations[:, JOINT_INDEX[bone.joint]])
            gap = np.degrees((recording.turned[bone.name].inv() * ours).magnitude())
            assert gap.max() < 0.1, (bone.joint, gap.max())


@pytest.mark.parametrize("order", ["ZYX", "XYZ", "YXZ"])
def test_any_order_of_channels_gives_the_same_pose(tmp_path: Path, order: str) -> None:
    first = read(tmp_path / "a.bvh", record(mixamo(), 6, "ZXY").text)
    other = read(tmp_path / "b.bvh", record(mixamo(), 6, order).text)
    gap = Rotation.from_rotvec(first.reshape(-1, 3)).inv() * Rotation.from_rotvec(other.reshape(-1, 3))
    assert np.degrees(gap.magnitude()).max() < 0.01


def test_a_t_pose_at_rest_is_smpls_zero_pose_and_an_a_pose_is_not(tmp_path: Path) -> None:
    text = record(mixamo(), 1, stands_first=True).text
    assert np.abs(read(tmp_path / "t.bvh", text)).max() < 0.03  # the ankles are a little behind the knees
    lowered = np.degrees(read(tmp_path / "a.bvh", record(unreal(), 1, stands_first=True).text))
    down = np.degrees(np.arctan2(15, 24))
    assert lowered[0, JOINT_INDEX["left_shoulder"]] == pytest.approx([0, 0, -down], abs=0.1)
    assert lowered[0, JOINT_INDEX["right_shoulder"]] == pytest.approx([0, 0, down], abs=0.1)


def test_a_bent_knee_and_elbow_bend_at_smpls_hinges(tmp_path: Path) -> None:
    """By hand: shins go back by turning about the body's left; left hands come forward by turning about down."""
    recording = record(mixamo(), 1, "XYZ", stands_first=True).text.splitlines()
    bones = [line.split(":")[1] for line in recording if "JOINT" in line or "ROOT" in line]
    row = np.zeros(3 + 3 * len(bones))
    row[3 + 3 * bones.index("LeftLeg")] = 70
    row[3 + 3 * bones.index("LeftForeArm") + 1] = -50
    recording[-1] = " ".join(map(str, row))
    pose = np.degrees(read(tmp_path / "bent.bvh", "\n".join(recording))[0])
    assert pose[JOINT_INDEX["left_knee"]] == pytest.approx([70, 0, 0], abs=2)
    assert pose[JOINT_INDEX["left_elbow"]] == pytest.approx([0, -50, 0], abs=0.1)
    assert np.abs(np.delete(pose, [JOINT_INDEX["left_knee"], JOINT_INDEX["left_elbow"]], axis=0)).max() < 2


def test_an_elbow_bent_at_rest_is_a_bent_elbow(tmp_path: Path) -> None:
    """With hanging arms and forearms half forward, the elbows do all of it at their hinge and nothing twists."""
    bones = style100()
    at = {"Shoulder": (0.2, 1.45, 0), "Elbow": (0.2, 1.15, 0), "Wrist": (0.2, 0.95, 0.2)}
    for bone in bones:
        for part, (x, y, z) in at.items():
            if bone.name.endswith(part):
                bone.at = (x if bone.name.startswith("Left") else -x, y, z)
    pose = np.degrees(read(tmp_path / "bent.bvh", record(bones, 1, stands_first=True).text)[0])
    assert pose[JOINT_INDEX["left_shoulder"]] == pytest.approx([0, 0, -90], abs=0.1)
    assert pose[JOINT_INDEX["left_elbow"]] == pytest.approx([0, -45, 0], abs=0.1)
    assert pose[JOINT_INDEX["right_elbow"]] == pytest.approx([0, 45, 0], abs=0.1)
    assert np.abs(pose[[JOINT_INDEX["left_wrist"], JOINT_INDEX["right_wrist"]]]).max() < 0.1


def test_frames_are_thinned_to_about_eight_a_second(tmp_path: Path) -> None:
    text = record(mixamo(), 120).text.replace("Frame Time: 0.125", "Frame Time: 0.00833333")
    every = read(tmp_path / "slow.bvh", text.replace("0.00833333", "0.125"))
    assert np.allclose(read(tmp_path / "fast.bvh", text), every[::15], atol=1e-5)


def broken(text: str) -> dict[str, str]:
    """What is said, by broken text."""
    return {
        "ends after 4 of its 5 frames": text.rsplit("\n", 2)[0],
        "its hierarchy is damaged": text[: len(text) // 8],
        "is no part of a BVH's hierarchy": text.replace("OFFSET", "OFFSETS", 1),
        "no bone is named as the left elbow, right elbow": text.replace("ForeArm", "Thing"),
        "begins with the word HIERARCHY": text.replace("HIERARCHY", "garbage"),
        "is no channel": text.replace("Zrotation", "Wrotation", 1),
        "could not convert": text.replace("Frame Time: 0.125\n", "Frame Time: 0.125\nx"),
    }


def test_each_broken_file_is_named_with_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "broken.bvh"
    for reason, text in broken(record(mixamo(), 5).text).items():
        path.write_text(text)
        with pytest.raises(PoseFileError) as raised:
            read_clips(path)
        assert str(path) in str(raised.value)
        assert reason in str(raised.value)
