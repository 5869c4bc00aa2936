# SPDX-License-Identifier: Apache-2.0
"""Poses made up within joint limits: no file is needed, and there is what recordings lack (floors, sitting, arms up).

Limits after the normal ranges of motion in Kapandji, "The Physiology of the Joints" (shoulder 180 up, 50 back; elbow
145; hip 120 forward, 20 back, 45 out; knee 140), drawn towards what people do. Legend: N poses; S = 2 sides.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from blender_addon.contract.kinematics import yaw_matrix
from blender_addon.contract.rotations import Array, axis_angle_to_matrix, matrix_to_axis_angle
from blender_addon.contract.skeleton import BODY_PARTS, JOINT_INDEX, NUM_JOINTS

HIPS, KNEES, ANKLES, SHOULDERS, ELBOWS, WRISTS = (
    [JOINT_INDEX[f"left_{joint}"], JOINT_INDEX[f"right_{joint}"]]
    for joint in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")
)
SPINE, NECK = list(BODY_PARTS["trunk"]), list(BODY_PARTS["head"])

STANCES: Final = ("stand", "any", "squat", "sit", "kneel", "one_knee", "lunge", "lie", "bow")
STANCE_SHARES: Final = (0.44, 0.14, 0.08, 0.1, 0.06, 0.05, 0.05, 0.05, 0.03)


def constructed_poses(rng: np.random.Generator, count: int) -> npt.NDArray[np.float32]:
    """(count, 24, 3) axis-angle, radians, with any heading."""
    stance = np.searchsorted(np.cumsum(STANCE_SHARES), rng.random(count), side="right").clip(
        0, len(STANCES) - 1
    )
    local = np.broadcast_to(np.eye(3), (count, NUM_JOINTS, 3, 3)).copy()
    _legs(rng, stance, local)
    _trunk(rng, stance, local)
    _arms(rng, local)
    local[:, 0] = yaw_matrix(rng.uniform(-np.pi, np.pi, count)) @ local[:, 0]
    return matrix_to_axis_angle(local).astype(np.float32)


def _axis_turn(axis: int, degrees: Array) -> Array:
    aa = np.zeros((*degrees.shape, 3))
    aa[..., axis] = np.radians(degrees)
    return axis_angle_to_matrix(aa)


def _euler(pitch: Array, yaw: Array, roll: Array) -> Array:
    """Turn (yaw), then bend (pitch about x), then tilt (roll about z): degrees (...) to (..., 3, 3)."""
    return _axis_turn(1, yaw) @ _axis_turn(0, pitch) @ _axis_turn(2, roll)


def _legs(rng: np.random.Generator, stance: npt.NDArray[np.intp], local: Array) -> None:
    shape = (len(stance), 2)
    is_ = {name: stance == index for index, name in enumerate(STANCES)}
    flex = np.abs(rng.normal(0, 9, shape))  # standing
    knee = flex + np.abs(rng.normal(0, 9, shape))
    step = (rng.random(len(stance)) < 0.3)[:, None]
    flex = np.where(step, flex + rng.normal(0, 18, shape), flex)
    out = np.abs(rng.normal(0, 8, shape)) + (rng.random((len(stance), 1)) < 0.25) * rng.uniform(
        0, 25, (len(stance), 1)
    )
    raised = rng.random(shape) < 0.07  # one foot off the floor
    raised[:, 1] &= ~raised[:, 0]
    flex = np.where(raised, rng.uniform(20, 110, shape), flex)
    knee = np.where(raised, rng.uniform(0, 120, shape), knee)
    twist = rng.normal(6, 10, shape)
    first = rng.integers(2, size=len(stance))[:, None] == np.arange(2)  # the leg in front
    lean = np.zeros(len(stance))

    def put(name: str, flexion: Array, bend: Array, tilt: npt.ArrayLike = 0.0) -> None:
        chosen = is_[name]
        flex[chosen], knee[chosen] = flexion[chosen], bend[chosen]
        lean[chosen] = np.broadcast_to(tilt, chosen.shape)[chosen]

    put("any", rng.uniform(-20, 115, shape), rng.uniform(0, 135, shape))
    depth = rng.uniform(0.3, 1, (len(stance), 1))
    put(
        "squat",
        depth * 110 + rng.normal(0, 5, shape),
        depth * 130 + rng.normal(0, 5, shape),
        20 * depth[:, 0],
    )
    bend = np.where(rng.random((len(stance), 1)) < 0.7, rng.normal(88, 12, shape), rng.uniform(0, 130, shape))
    put("sit", rng.normal(86, 7, shape), bend)
    heels = np.where(rng.random((len(stance), 1)) < 0.4, 1.0, 0.0)
    put(
        "kneel",
        heels * 65 + rng.normal(0, 5, shape),
        90 + heels * 45 + rng.normal(0, 5, shape),
        5 * heels[:, 0],
    )
    put(
        "one_knee",
        np.where(first, rng.normal(88, 6, shape), rng.normal(0, 8, shape)),
        rng.normal(90, 7, shape),
    )
    deep = rng.uniform(0.5, 1, (len(stance), 1))
    put(
        "lunge",
        np.where(first, 85 * deep, -22 * deep) + rng.normal(0, 4, shape),
        np.where(first, 85 * deep, 15.0) + rng.normal(0, 5, shape),
    )
    put(
        "lie",
        rng.choice([0.0, 0.0, 60.0], size=shape) + np.abs(rng.normal(0, 8, shape)),
        np.where(rng.random(shape) < 0.5, rng.uniform(0, 100, shape), rng.uniform(0, 15, shape)),
    )
    put("bow", rng.normal(4, 4, shape), np.abs(rng.normal(5, 5, shape)))
    flex, knee = np.clip(flex, -25, 120), np.clip(knee, 0, 140)
    out = np.clip(out, -8, 45)
    sign = np.array([1.0, -1.0])
    local[:, HIPS] = _euler(-flex, twist * sign, out * sign)
    local[:, KNEES] = _axis_turn(0, knee)
    # A foot behind a knee on the floor lies on its instep, or is set on its toes.
    instep = is_["kneel"][:, None] | (is_["one_knee"][:, None] & ~first)
    local[:, ANKLES] = _axis_turn(0, _ankles(rng, flex - knee - lean[:, None], raised, instep))
    local[:, 0] = _roots(rng, lean, is_["lie"])


def _ankles(
    rng: np.random.Generator, bent: Array, raised: npt.NDArray[np.bool_], instep: npt.NDArray[np.bool_]
) -> Array:
    """(N, S) degrees. A foot that stands is level: the ankle undoes what hip and knee have bent."""
    level = np.clip(bent, -35, 40)
    level = np.where(raised, rng.uniform(-10, 40, bent.shape), level)
    on_toes = -25.0
    lying = np.where(rng.random((len(bent), 1)) < 0.7, rng.uniform(35, 60, bent.shape), on_toes)
    return np.where(instep, lying, level)


def _roots(rng: np.random.Generator, lean: Array, lying: npt.NDArray[np.bool_]) -> Array:
    """(N, 3, 3) the pelvis as it leans, or on its back, its front or a side."""
    count = len(lean)
    roots = _euler(lean + rng.normal(0, 2, count), np.zeros(count), rng.normal(0, 2, count))
    form = rng.integers(4, size=count)
    tilt = np.array([-90.0, 90.0, 0.0, 0.0])[form]
    roll = np.array([0.0, 0.0, 90.0, -90.0])[form]
    roots[lying] = _euler(tilt, np.zeros(count), roll)[lying]
    return roots


def _trunk(rng: np.random.Generator, stance: npt.NDArray[np.intp], local: Array) -> None:
    count = len(stance)
    still = rng.random((3, count)) < 0.55
    spread = np.where(still, 0.2, 1.0)
    pitch = np.clip(rng.normal(3, 20, count) * spread[0], -30, 65)
    bow = stance == STANCES.index("bow")
    pitch[bow] = rng.uniform(40, 85, count)[bow]
    roll = np.clip(rng.normal(0, 15, count) * spread[1], -35, 35)
    yaw = np.clip(rng.normal(0, 18, count) * spread[2], -45, 45)
    local[:, SPINE] = _euler(pitch / 3, yaw / 3, roll / 3)[:, None]
    still = rng.random((3, count)) < 0.4
    spread = np.where(still, 0.2, 1.0)
    pitch = np.clip(rng.normal(0, 22, count) * spread[0], -45, 45)
    yaw = np.clip(rng.normal(0, 32, count) * spread[1], -75, 75)
    roll = np.clip(rng.normal(0, 12, count) * spread[2], -30, 30)
    local[:, NECK] = _euler(pitch / 2, yaw / 2, roll / 2)[:, None]


def _arms(rng: np.random.Generator, local: Array) -> None:
    shape = (len(local), 2)
    hanging = rng.random(shape) < 0.3
    alike = rng.random(len(local)) < 0.35
    # Azimuth 0 is outward, 90 forward; elevation from hanging to overhead.
    azimuth = np.where(hanging, rng.uniform(-60, 120, shape), rng.triangular(-50, 60, 125, shape))
    elevation = np.where(hanging, rng.uniform(-88, -65, shape), rng.triangular(-85, -10, 88, shape))
    bent = rng.random(shape) < np.where(hanging, 0.4, 0.65)
    elbow = np.where(bent, rng.uniform(15, 145, shape), np.abs(rng.normal(0, 10, shape)))
    twist = rng.normal(0, 28, shape) * bent
    for values in (azimuth, elevation, elbow, twist):
        values[alike, 1] = values[alike, 0]
    azimuth, elevation = np.radians(azimuth), np.radians(elevation)
    sign = np.array([1.0, -1.0])
    aim = np.stack(
        [sign * np.cos(elevation) * np.cos(azimuth), np.sin(elevation), np.cos(elevation) * np.sin(azimuth)],
        axis=-1,
    )
    rest = np.zeros((*shape, 3))
    rest[..., 0] = sign
    axis = np.cross(rest, aim)
    sine = np.linalg.norm(axis, axis=-1, keepdims=True)
    angle = np.arctan2(sine[..., 0], np.einsum("nsi,nsi->ns", rest, aim))
    swing = axis_angle_to_matrix(axis / np.maximum(sine, 1e-9) * angle[..., None])
    local[:, SHOULDERS] = swing @ _axis_turn(0, twist)
    local[:, ELBOWS] = _axis_turn(1, -sign * np.clip(elbow, 0, 145))
    wrist = rng.normal(0, 8, (*shape, 3))
    local[:, WRISTS] = axis_angle_to_matrix(np.radians(wrist))
