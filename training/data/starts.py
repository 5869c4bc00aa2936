# SPDX-License-Identifier: Apache-2.0
"""Start poses to edit: recorded ones, recorded parts put together, and constructed ones.

Recorded poses alone are narrow (upright, arms half up, in motion). Animators start from T-poses, standing figures and
the result of the last edit, so those are drawn as often.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from blender_addon.contract.kinematics import mirror_pose, yaw_matrix
from blender_addon.contract.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from blender_addon.contract.skeleton import BODY_PARTS, JOINT_INDEX, NUM_JOINTS
from training.data.directives import sampler  # noqa: F401  registers the kinds
from training.data.directives.kinds import KINDS, kinds_by_name
from training.data.directives.posed_body import FRONT, LEFT, UP, PosedBody, turn

Pose = npt.NDArray[np.float32]

RECORDED_SHARE: Final = 0.42
RECOMBINED_SHARE: Final = 0.14
EDITS_BEFORE: Final = (0.4, 0.3, 0.2, 0.1)
"""How often a constructed start is none, one, two or three edits away from standing or a T-pose."""

ONE_LIMB_SHARE: Final = 0.25
"""How often a constructed start has exactly one arm or leg posed."""


def recombine(rng: np.random.Generator, poses: npt.NDArray[np.float32]) -> Pose:
    """The root and legs of one recorded pose with the trunk and head, and the arms, of two others."""
    legs, trunk, arms = poses[rng.integers(len(poses), size=3)]
    pose: Pose = legs.copy()
    for part, source in (("trunk", trunk), ("head", trunk), ("left_arm", arms), ("right_arm", arms)):
        pose[list(BODY_PARTS[part])] = source[list(BODY_PARTS[part])]
    return pose


def standing(rng: np.random.Generator) -> Pose:
    """Upright with hanging arms, a T-pose or an A-pose, exact or slightly relaxed."""
    body = PosedBody.from_pose(np.zeros((NUM_JOINTS, 3)))
    form = rng.random()
    if form < 0.2:
        return body.to_pose()
    drop = 45.0 + rng.normal(0, 5) if form < 0.3 else rng.uniform(60, 88)
    bend = max(0.0, rng.normal(12, 8)) * (rng.random() < 0.8)
    for side, sign in (("left", 1.0), ("right", -1.0)):
        swing = turn(FRONT, -sign * (drop + rng.normal(0, 2))) @ turn(UP, -sign * abs(rng.normal(0, 6)))
        body = body.with_local({f"{side}_shoulder": swing, f"{side}_elbow": turn(UP, -sign * bend)})
    if rng.random() < 0.3:
        stance = abs(rng.normal(0, 7))
        for side, sign in (("left", 1.0), ("right", -1.0)):
            body = body.with_local({f"{side}_hip": turn(FRONT, sign * stance)})
    if rng.random() < 0.25:
        for side in ("left", "right"):
            bend_knee = abs(rng.normal(0, 15))
            body = body.with_local(
                {f"{side}_hip": turn(LEFT, -bend_knee / 2), f"{side}_knee": turn(LEFT, bend_knee)}
            )
    pose = body.to_pose()
    if rng.random() < 0.4:
        jitter = rng.normal(0, 0.05, pose.shape).astype(np.float32)
        jitter[[0, JOINT_INDEX["left_hand"], JOINT_INDEX["right_hand"]]] = 0
        pose += jitter
    return pose


_ARM_POSES: Final = ("arm_direct", "arm_direct", "hand_place", "hand_place", "arm_raise", "arm_angle", "elbow_to",
                     "forearm_direct", "elbow_bend")  # fmt: skip
_LEG_POSES: Final = ("leg.forward", "leg.side", "leg.back", "leg.raise", "knee.raise", "knee.bend", "knee.bend_to",
                     "leg.to_angle", "foot.forward", "foot.out")  # fmt: skip


def one_limb_posed(rng: np.random.Generator, pose: Pose) -> Pose:
    """The pose with its left arm or left leg posed: what "the other arm" or leg can be said of."""
    body = PosedBody.from_pose(pose)
    names = _ARM_POSES if rng.random() < 0.62 else _LEG_POSES
    for _ in range(6):
        edit = KINDS[names[rng.integers(len(names))]].apply(rng, body)
        if edit is not None:
            return edit.target.to_pose()
    return pose


def edited(rng: np.random.Generator, pose: Pose) -> Pose:
    """The pose after none to three random directives, as an animator leaves it."""
    kinds = [kind for kind in kinds_by_name() if kind.family not in ("nothing", "other")]
    body = PosedBody.from_pose(pose)
    for _ in range(int(np.searchsorted(np.cumsum(EDITS_BEFORE), rng.random()))):
        edit = kinds[rng.integers(len(kinds))].apply(rng, body)
        if edit is not None:
            body = edit.target
    return body.to_pose()


class StartPoses:
    """Draws start poses.

    Args:
        recorded: (N, 24, 3) axis-angle, radians, or None: then every start is constructed.
        weights: (N,) how often each recorded pose is drawn, in any scale.
    """

    def __init__(
        self, recorded: npt.NDArray[np.float32] | None, weights: npt.ArrayLike | None = None
    ) -> None:
        self.recorded = recorded
        if recorded is not None:
            mass = np.ones(len(recorded)) if weights is None else np.asarray(weights, dtype=np.float64)
            self._cumulative = np.cumsum(mass / mass.sum())

    def recorded_one(self, rng: np.random.Generator) -> Pose:
        """One of the recorded poses (24, 3), as it is. Raises ValueError where there are none."""
        if self.recorded is None:
            raise ValueError("there are no recorded poses")
        pose: Pose = self.recorded[int(np.searchsorted(self._cumulative, rng.random()))].copy()
        return pose

    def __call__(self, rng: np.random.Generator) -> Pose:
        """One start pose (24, 3) with any heading."""
        form = rng.random()
        if self.recorded is not None and form < RECORDED_SHARE:
            pose = self.recorded_one(rng)
        elif self.recorded is not None and form < RECORDED_SHARE + RECOMBINED_SHARE:
            pose = recombine(rng, self.recorded)
        elif rng.random() < ONE_LIMB_SHARE:
            pose = one_limb_posed(rng, standing(rng))
        else:
            pose = edited(rng, standing(rng))
        if rng.random() < 0.5:
            pose = mirror_pose(pose).astype(np.float32)
        root = yaw_matrix(rng.uniform(-np.pi, np.pi)) @ axis_angle_to_matrix(pose[0])
        pose[0] = matrix_to_axis_angle(root)
        return pose
