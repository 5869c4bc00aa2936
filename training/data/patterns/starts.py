# SPDX-License-Identifier: Apache-2.0
"""Poses that patterns are asked of, and which of them meet the conditions of a pattern.

Rare conditions ("the raised foot", "while kneeling") are met by few poses, so a pattern is drawn first and a pose that
meets its conditions after; each condition is worked out once for the whole pool. Legend: N poses, J = 24 joints.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from blender_addon.contract.kinematics import heading, mirror_pose, yaw_matrix
from blender_addon.contract.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from blender_addon.contract.skeleton import NUM_JOINTS
from training.data.constraints.body import Bodies, bodies
from training.data.constraints.measures import value_of_each, wrapped
from training.data.sources.constructed import constructed_poses
from training.data.starts import StartPoses, recombine

from .language import Constraint, PatternError, Side, constraints
from .postures import posture, posture_names

Pose = npt.NDArray[np.float32]

SHARES: Final = {"recorded": 0.3, "recombined": 0.15, "constructed": 0.15, "edited": 0.22, "postures": 0.18}
"""What a pool holds where there are recorded poses; else theirs are constructed."""
_LOOSE: Final = 0.04
"""Radians; deviation of the joints of half of the postures, so that they are not always the very same."""


class StartPool:
    """Start poses.

    Args:
        poses: (N, J, 3) axis-angle, radians.
        in_view: conditions are on the poses as a camera sees them, at the heading that they have.
    """

    def __init__(self, poses: Pose, *, in_view: bool = False) -> None:
        local = axis_angle_to_matrix(poses.astype(np.float64))
        self.poses = poses
        self.yaw: npt.NDArray[np.float64] = np.asarray(heading(local[:, 0]))
        seen = torch.tensor(local, dtype=torch.float32)
        local[:, 0] = yaw_matrix(-self.yaw) @ local[:, 0]
        self.local = torch.tensor(local, dtype=torch.float32)
        self._bodies: Bodies = bodies(seen if in_view else self.local)
        self._held: dict[tuple[str, Side], Tensor] = {}

    def __len__(self) -> int:
        return len(self.poses)

    def meeting(self, conditions: Sequence[str], side: Side) -> npt.NDArray[np.int64]:
        """Which poses meet all conditions.

        Raises:
            PatternError: a condition that no single pose can be asked for.
        """
        met = torch.ones(len(self), dtype=torch.bool)
        for line in conditions:
            if (line, side) not in self._held:
                self._held[line, side] = self._holds(constraints(line, side, {}))
            met &= self._held[line, side]
        rows: npt.NDArray[np.int64] = torch.nonzero(met)[:, 0].numpy()
        return rows

    def _holds(self, all_of: Sequence[Constraint]) -> Tensor:
        met = torch.ones(len(self), dtype=torch.bool)
        for one in all_of:
            if one.relation != "is":
                raise PatternError("a condition is on one pose: use =, in, <= or >=")
            values = value_of_each(one.measure, self._bodies.places, self._bodies.lowest)
            met &= inside(values, one.low, one.high)
        return met


def inside(values: Tensor, low: float, high: float) -> Tensor:
    """Whether values lie in a range; a range of one number is met within 5 degrees or centimetres either way."""
    if low == high:
        return wrapped(values - low).abs() <= (5.0 if abs(low) > 1 else 0.05)
    return (values >= low) & (values <= high)


def draw_poses(rng: np.random.Generator, count: int, starts: StartPoses) -> Pose:
    """(count, J, 3) poses for a pool: recorded, put together of recorded parts, constructed, edited, and postures."""
    recorded = starts.recorded
    form = rng.choice(list(SHARES), count, p=list(SHARES.values()))
    if recorded is None:
        form[np.isin(form, ("recorded", "recombined"))] = "constructed"
    poses = np.zeros((count, NUM_JOINTS, 3), dtype=np.float32)
    constructed = np.flatnonzero(form == "constructed")
    poses[constructed] = constructed_poses(rng, len(constructed))
    others = StartPoses(None)
    names = posture_names()
    for row in np.flatnonzero(form != "constructed"):
        if form[row] == "recorded":
            poses[row] = starts.recorded_one(rng)
        elif form[row] == "recombined":
            assert recorded is not None
            poses[row] = recombine(rng, recorded)
        elif form[row] == "edited":
            poses[row] = others(rng)
        else:
            local = posture(names[rng.integers(len(names))])
            poses[row] = matrix_to_axis_angle(local.double().numpy())
            if rng.random() < 0.5:
                poses[row, 1:22] += rng.normal(0, _LOOSE, (21, 3))
    flip = rng.random(count) < 0.5
    poses[flip] = mirror_pose(poses[flip])
    root = axis_angle_to_matrix(poses[:, 0].astype(np.float64))
    poses[:, 0] = matrix_to_axis_angle(yaw_matrix(rng.uniform(-np.pi, np.pi, count)) @ root)
    return poses
