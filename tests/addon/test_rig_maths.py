# SPDX-License-Identifier: Apache-2.0
"""Bone rotations and SMPL poses are the same thing seen in other axes; scipy is the reference."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.spatial.transform import Rotation

from backend.body.neutral import load_neutral_body
from blender_addon.contract.kinematics import forward_kinematics
from blender_addon.contract.rotations import axis_angle_to_matrix, geodesic_degrees
from blender_addon.contract.skeleton import JOINT_INDEX, PARENTS, REST_OFFSETS
from blender_addon.rig.bone_map import RigError
from blender_addon.rig.convert import (
    BLENDER_FROM_SMPL,
    BoneTree,
    basis_from_local,
    local_from_turns,
    stage_of,
    turns_from_basis,
)
from blender_addon.rig.ground import pelvis_steps
from blender_addon.rig.links import Link
from blender_addon.rig.rest import BodyFrame, body_frame

ALL = frozenset(range(24))
STANDING = np.eye(3)[None]


def rest_positions() -> np.ndarray:
    return forward_kinematics(np.tile(np.eye(3), (24, 1, 1)))[1]


def a_pose(degrees: float) -> np.ndarray:
    """Local rotations (24, 3, 3) with both arms lowered."""
    pose = np.zeros((24, 3))
    pose[JOINT_INDEX["left_shoulder"], 2] = -np.radians(degrees)
    pose[JOINT_INDEX["right_shoulder"], 2] = np.radians(degrees)
    return axis_angle_to_matrix(pose)


def random_local(rng: np.random.Generator, count: int) -> np.ndarray:
    return (
        Rotation.random(count * 24, random_state=rng.integers(1 << 30)).as_matrix().reshape(count, 24, 3, 3)
    )


def plain_links(joint_bone: Sequence[int]) -> tuple[Link, ...]:
    """One bone for every joint."""
    return tuple(Link((joint,), (bone,), (1.0,), None, bone) for joint, bone in enumerate(joint_bone))


def joint_bones(tree: BoneTree) -> list[int]:
    return [link.bones[0] for link in tree.links]


def tree_with_extra_bones(
    rng: np.random.Generator, axes: np.ndarray, hinge: tuple[int, ...] = ()
) -> BoneTree:
    """A root above the pelvis and a twist bone between every joint and its parent, all with random rest axes."""
    parents, joint_bone = [-1], []
    for joint in range(24):
        parents.append(0 if joint == 0 else joint_bone[PARENTS[joint]])
        joint_bone.append(len(parents))
        parents.append(len(parents) - 1)
    rest = Rotation.random(len(parents), random_state=7).as_matrix()
    inherits = tuple(bone not in [joint_bone[joint] for joint in hinge] for bone in range(len(parents)))
    frame = BodyFrame(axes, np.tile(np.eye(3), (24, 1, 1)))
    return BoneTree(rest, tuple(parents), inherits, plain_links(joint_bone), frame)


@pytest.mark.parametrize("hinge", [(), (15, 18)], ids=["inheriting", "some bones without inherited rotation"])
def test_a_pose_goes_onto_bones_and_back(hinge: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    tree = tree_with_extra_bones(rng, Rotation.random(random_state=3).as_matrix(), hinge)
    basis = Rotation.random(5 * len(tree.rest), random_state=4).as_matrix().reshape(5, -1, 3, 3)
    stage = Rotation.random(5, random_state=5).as_matrix()
    local = random_local(rng, 5)
    for bone, rotations in basis_from_local(local, ALL, turns_from_basis(basis, tree), stage, tree).items():
        basis[:, bone] = rotations
    back = local_from_turns(turns_from_basis(basis, tree), stage, tree)
    assert geodesic_degrees(local, back).max() < 1e-5


def test_joints_that_may_not_move_keep_their_local_rotation() -> None:
    rng = np.random.default_rng(2)
    tree = tree_with_extra_bones(rng, np.eye(3))
    basis = Rotation.random(len(tree.rest), random_state=4).as_matrix()[None]
    before = local_from_turns(turns_from_basis(basis, tree), STANDING, tree)
    moved = basis_from_local(
        random_local(rng, 1), frozenset({3, 16}), turns_from_basis(basis, tree), STANDING, tree
    )
    assert moved.keys() == {joint_bones(tree)[joint] for joint in (3, 16)}
    for bone, rotations in moved.items():
        basis[:, bone] = rotations
    after = local_from_turns(turns_from_basis(basis, tree), STANDING, tree)
    others = [joint for joint in range(24) if joint not in (3, 16)]
    assert geodesic_degrees(before, after)[0, others].max() < 1e-5
    assert geodesic_degrees(before, after)[0, [3, 16]].min() > 1


def test_bones_turn_in_the_armatures_space_as_forward_kinematics_says() -> None:
    """A Blender-like armature (Z up, facing -Y): every bone's turn is SMPL's global rotation in Blender's axes."""
    rng = np.random.default_rng(3)
    tree = tree_with_extra_bones(rng, BLENDER_FROM_SMPL)
    basis = np.tile(np.eye(3), (2, len(tree.rest), 1, 1))
    local = random_local(rng, 2)
    for bone, rotations in basis_from_local(
        local, ALL, turns_from_basis(basis, tree), STANDING, tree
    ).items():
        basis[:, bone] = rotations
    turns = turns_from_basis(basis, tree)[:, joint_bones(tree)]
    x_90 = Rotation.from_euler("x", 90, degrees=True).as_matrix()
    expected = x_90 @ forward_kinematics(local)[0] @ x_90.T
    assert geodesic_degrees(turns, expected).max() < 1e-5


def test_the_object_turned_about_the_vertical_is_its_own_front() -> None:
    turned = Rotation.from_euler("z", 130, degrees=True).as_matrix()[None]
    assert geodesic_degrees(stage_of(turned, BLENDER_FROM_SMPL), np.eye(3)).max() < 1e-5


@pytest.mark.parametrize("scale", [(1, 1, 1), (0.01, 0.01, 0.01), (2, 1, 0.5), (-1, 1, 1)])
def test_an_object_on_its_back_is_read_as_lying(scale: tuple[float, float, float]) -> None:
    tipped = Rotation.from_euler("x", -90, degrees=True).as_matrix() @ np.diag(scale)
    stage = stage_of(tipped[None], BLENDER_FROM_SMPL)[0]
    np.testing.assert_allclose(stage @ [0, 0, 1], [0, 1, 0], atol=1e-6)  # the chest points up
    np.testing.assert_allclose(stage @ [0, 1, 0], [0, 0, -1], atol=1e-6)  # the head away from the feet


@pytest.mark.parametrize("seed", range(5))
def test_smpls_axes_are_found_however_the_armature_was_modelled(seed: int) -> None:
    turned = Rotation.random(random_state=seed).as_matrix()
    frame = body_frame(100 * rest_positions() @ turned.T + [1, 2, 3])
    assert geodesic_degrees(frame.axes, turned) < 1e-5
    assert geodesic_degrees(frame.rest_global, np.eye(3)).max() < 1e-4


def test_a_slight_stoop_does_not_tilt_the_axes() -> None:
    pose = np.zeros((24, 3))
    pose[3, 0] = np.radians(8)
    stooping = forward_kinematics(axis_angle_to_matrix(pose))[1]
    np.testing.assert_array_equal(body_frame(stooping @ BLENDER_FROM_SMPL.T).axes, BLENDER_FROM_SMPL)


def test_an_a_pose_at_rest_reads_as_an_a_pose() -> None:
    local = a_pose(45)
    oriented, positions = forward_kinematics(local)
    frame = body_frame(positions @ BLENDER_FROM_SMPL.T)
    assert geodesic_degrees(frame.rest_global, oriented).max() < 1e-5
    tree = BoneTree(np.tile(np.eye(3), (24, 1, 1)), PARENTS, (True,) * 24, plain_links(range(24)), frame)
    at_rest = local_from_turns(np.tile(np.eye(3), (1, 24, 1, 1)), STANDING, tree)
    assert geodesic_degrees(at_rest[0], local).max() < 1e-5


def test_bones_all_in_one_spot_are_refused() -> None:
    with pytest.raises(RigError, match="one spot or line"):
        body_frame(np.zeros((24, 3)))


def steps(
    before: np.ndarray,
    after: np.ndarray,
    scale: float = 1.0,
    missing: Sequence[str] = (),
    turned: npt.ArrayLike = ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    apart: float = 100.0,
) -> np.ndarray:
    """(..., 3) metres by which the pelvis follows from poses (..., 24, 3) to others, on an object that is turned; so
    many frames apart."""
    positions = rest_positions() @ BLENDER_FROM_SMPL.T / scale
    frame = body_frame(positions)
    positions[[JOINT_INDEX[name] for name in missing]] = np.nan
    pair = [axis_angle_to_matrix(pose.reshape(-1, 24, 3)) for pose in (before, after)]
    world = np.tile(scale * np.asarray(turned), (len(pair[0]), 1, 1))
    frames = [apart * row for row in range(len(pair[0]))]
    found = pelvis_steps(*pair, frames, positions, frame, stage_of(world, frame.axes), world)
    return found.reshape(*before.shape[:-2], 3)


def lift(before: np.ndarray, after: np.ndarray, scale: float = 1.0, missing: Sequence[str] = ()) -> float:
    return float(steps(before, after, scale, missing)[2])


@pytest.mark.parametrize("scale", [1.0, 0.01])
def test_a_squat_lowers_the_pelvis_by_what_the_legs_are_shorter(scale: float) -> None:
    """Thighs 60 degrees forward, shanks 60 degrees back: each segment loses half its length."""
    squat = np.zeros((24, 3))
    for side in ("left", "right"):
        squat[JOINT_INDEX[f"{side}_hip"], 0] = -np.radians(60)
        squat[JOINT_INDEX[f"{side}_knee"], 0] = np.radians(120)
        squat[JOINT_INDEX[f"{side}_ankle"], 0] = -np.radians(60)
    thigh, shank = (abs(REST_OFFSETS[JOINT_INDEX[name]][1]) for name in ("left_knee", "left_ankle"))
    assert lift(np.zeros((24, 3)), squat, scale) == pytest.approx(-(thigh + shank) / 2, abs=1e-6)


def test_lifting_one_leg_moves_nothing() -> None:
    kick = np.zeros((24, 3))
    kick[JOINT_INDEX["left_hip"], 0] = -np.radians(80)
    assert lift(np.zeros((24, 3)), kick) == 0.0


@pytest.mark.parametrize(
    "turns",
    [
        {"pelvis": (-90, 0, 0)},
        {"pelvis": (90, 0, 0)},
        {"pelvis": (0, 0, 90)},
        {"pelvis": (-10, 0, 0), "left_hip": (-85, 0, 0), "right_hip": (-85, 0, 0)},
        {"pelvis": (-35, 0, 0), "left_hip": (-90, 0, 0), "right_hip": (-90, 0, 0), "left_knee": (100, 0, 0),
         "right_knee": (100, 0, 0)},
        {"left_knee": (90, 0, 0), "right_knee": (90, 0, 0), "left_ankle": (60, 0, 0), "right_ankle": (60, 0, 0)},
        {"pelvis": (85, 0, 0), "left_hip": (-85, 0, 0), "right_hip": (-85, 0, 0), "left_knee": (90, 0, 0),
         "right_knee": (90, 0, 0), "left_shoulder": (0, -90, 0), "right_shoulder": (0, 90, 0)},
        {"pelvis": (0, 0, 180)},
    ],
    ids=["on_the_back", "on_the_belly", "on_a_side", "sitting", "knees_up", "kneeling", "all_fours", "upside_down"],
)  # fmt: skip
def test_a_body_comes_to_rest_on_its_skin(turns: dict[str, tuple[float, float, float]]) -> None:
    pose = np.zeros((24, 3))
    for name, degrees in turns.items():
        pose[JOINT_INDEX[name]] = np.radians(degrees)
    body = load_neutral_body()
    standing, posed = (
        float(body.pose(torch.tensor(one[None], dtype=torch.float32))[0][0, :, 1].min())
        for one in (np.zeros((24, 3)), pose)
    )
    assert lift(np.zeros((24, 3)), pose) == pytest.approx(standing - posed, abs=0.005)


@pytest.mark.parametrize(
    ("missing", "turns", "within"),
    [
        (("left_foot", "right_foot"), {"left_ankle": (50, 0, 0), "right_ankle": (50, 0, 0)}, 1e-3),
        (("left_collar", "right_collar", "left_hand", "right_hand"),
         {"pelvis": (0, 0, 180), "left_shoulder": (0, 0, 90), "right_shoulder": (0, 0, -90)}, 0.02),
    ],
    ids=["toes", "collars_and_hands"],
)  # fmt: skip
def test_joints_without_a_bone_are_where_a_body_has_them(
    missing: tuple[str, ...], turns: dict[str, tuple[float, float, float]], within: float
) -> None:
    pose = np.zeros((24, 3))
    for name, degrees in turns.items():
        pose[JOINT_INDEX[name]] = np.radians(degrees)
    assert lift(np.zeros((24, 3)), pose, missing=missing) == pytest.approx(
        lift(np.zeros((24, 3)), pose), abs=within
    )


def posed(**degrees: float | tuple[float, float, float]) -> np.ndarray:
    """A pose (24, 3) of joints turned by degrees, one number about the body's left; ``hip``, ``knee`` and ``ankle`` of
    both legs."""
    pose = np.zeros((24, 3))
    for name, turn in degrees.items():
        sides = [name] if name in JOINT_INDEX else [f"left_{name}", f"right_{name}"]
        pose[[JOINT_INDEX[one] for one in sides]] = np.radians(
            turn if isinstance(turn, tuple) else (turn, 0, 0)
        )
    return pose


def soles(before: np.ndarray, after: np.ndarray) -> list[np.ndarray]:
    """For the left and the right foot, (V, 2, 3) places before and after of the skin that is within a centimetre of the
    floor both times, by the backend's body; the pelvis stays in its place."""
    body = load_neutral_body()
    skins = [body.pose(torch.tensor(one[None], dtype=torch.float32))[0][0].numpy() for one in (before, after)]
    low = np.all([skin[:, 1] < skin[:, 1].min() + 0.01 for skin in skins], axis=0)
    part = body.weights.numpy().argmax(axis=1)
    feet = ([JOINT_INDEX[f"{side}_{name}"] for name in ("ankle", "foot")] for side in ("left", "right"))
    return [np.stack(skins, axis=1)[low & np.isin(part, foot)] for foot in feet]


SITTING = posed(hip=-90, knee=90)


@pytest.mark.parametrize(
    "pose",
    [
        SITTING,
        posed(hip=-80, knee=110, ankle=-30),
        posed(pelvis=20, hip=-110, knee=120, ankle=-30, spine1=20),
        posed(ankle=40),
        posed(pelvis=15),
        posed(pelvis=(0, 60, 0)) + posed(hip=-60, knee=70, ankle=-10),
    ],
    ids=["sitting", "squatting", "crouching", "tiptoe", "leaning", "turned"],
)
def test_planted_feet_stay_where_they_stand(pose: np.ndarray) -> None:
    start = np.zeros((24, 3))
    if pose[0, 1]:  # who turns round does so about the pelvis
        start[0] = pose[0]
    step = steps(start, pose) @ BLENDER_FROM_SMPL
    for foot in soles(start, pose):
        assert len(foot)
        slid = (foot[:, 1] + step - foot[:, 0]).mean(axis=0)
        assert np.linalg.norm((foot[:, 1] - foot[:, 0]).mean(axis=0)[[0, 2]]) > 0.02, "or nothing is tried"
        assert np.abs(slid).max() < 0.006


@pytest.mark.parametrize(
    "pose",
    [
        posed(left_hip=-30, right_hip=30),
        posed(left_hip=-30),
        posed(left_hip=-80, left_knee=80),
        posed(left_hip=(0, 0, 20), right_hip=(0, 0, -20)),
        posed(pelvis=(0, 90, 0)),
        posed(pelvis=(0, -170, 0)),
        posed(pelvis=-90),
        posed(pelvis=(0, 0, 90)),
        posed(pelvis=-10, hip=-85),
        posed(knee=90, ankle=60),
        posed(left_hip=-40, left_knee=40, right_hip=40, right_knee=20),
    ],
    ids=["stride", "leg_in_front", "knee_up", "legs_apart", "to_the_left", "about", "on_the_back", "on_a_side",
         "on_the_seat", "on_the_knees", "lunge"],
)  # fmt: skip
def test_steps_and_what_no_feet_carry_moves_nothing_along_the_floor(pose: np.ndarray) -> None:
    assert np.abs(steps(np.zeros((24, 3)), pose)[:2]).max() < 0.002


def test_who_stands_on_one_leg_keeps_its_foot_in_place_whatever_the_other_does() -> None:
    start = posed(left_hip=-60, left_knee=80)
    pose = posed(left_hip=20, left_knee=60, right_hip=-50, right_knee=60, right_ankle=-10)
    step = steps(start, pose) @ BLENDER_FROM_SMPL
    (_, foot) = soles(start, pose)
    assert np.abs((foot[:, 1] + step - foot[:, 0]).mean(axis=0)).max() < 0.006


@pytest.mark.parametrize(
    "pose",
    [
        SITTING,
        posed(left_hip=-60, left_knee=60, right_hip=50, right_ankle=-20),
        posed(left_hip=-70, left_knee=90, right_hip=-20, right_knee=30, right_ankle=-10),
        posed(left_hip=-20, left_knee=90, right_hip=-10, right_knee=20, right_ankle=-10),
        posed(knee=90, ankle=60),
    ],
    ids=["sitting", "lunging", "knee_up", "heel_up", "kneeling"],
)
def test_the_way_back_ends_where_the_way_there_began(pose: np.ndarray) -> None:
    there, back = steps(np.stack([np.zeros((24, 3)), pose]), np.stack([pose, np.zeros((24, 3))]))
    np.testing.assert_allclose(there + back, 0, atol=1e-6)


def test_a_turned_scaled_object_has_the_same_steps_turned_and_scaled() -> None:
    turned = Rotation.from_euler("z", 70, degrees=True).as_matrix()
    upright = steps(np.zeros((24, 3)), SITTING)
    np.testing.assert_allclose(steps(np.zeros((24, 3)), SITTING, turned=turned), turned @ upright, atol=1e-6)
    np.testing.assert_allclose(steps(np.zeros((24, 3)), SITTING, scale=0.01), upright, atol=1e-6)
    np.testing.assert_allclose(
        steps(np.zeros((24, 3)), SITTING, turned=0.5 * np.eye(3)), 0.5 * upright, atol=1e-6
    )


def test_the_pelvis_follows_a_walk_without_a_jump() -> None:
    """A stride of a second, in which each foot leaves the floor and comes back, crouched."""
    phase = np.linspace(0, 2 * np.pi, 25)
    walk = np.zeros((len(phase), 24, 3))
    for side, sign in (("left", 1), ("right", -1)):
        swing, lift = sign * np.sin(phase), np.maximum(sign * np.cos(phase), 0)
        walk[:, JOINT_INDEX[f"{side}_hip"], 0] = -0.4 * swing - 0.3 * lift
        walk[:, JOINT_INDEX[f"{side}_knee"], 0] = 0.1 + 0.8 * lift
    found = steps(walk, walk + posed(hip=-50, knee=70, ankle=-20), apart=1.0)
    assert found[:, 1].min() > 0.1
    assert np.abs(np.diff(found[:, :2], axis=0)).max() < 0.03


def test_a_foot_that_is_put_down_takes_the_pelvis_over_in_some_frames() -> None:
    """On the right foot for ten frames, on the left for the next ten; the edit takes the two opposite ways."""
    on_right, on_left = posed(left_hip=-60, left_knee=80), posed(right_hip=-60, right_knee=80)
    edit = posed(left_hip=20, right_hip=-20)
    walk = np.stack([on_right] * 10 + [on_left] * 10)
    found = steps(walk, walk + edit, apart=1.0)[:, 1]
    assert found[0] * found[-1] < 0
    assert np.ptp(found) > 0.3
    assert np.abs(np.diff(found)).max() < 0.3 * np.ptp(found)
    far = steps(walk[[0, -1]], (walk + edit)[[0, -1]])[:, 1]
    np.testing.assert_allclose(found[[0, -1]], far, atol=0.01)
