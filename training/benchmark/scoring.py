# SPDX-License-Identifier: Apache-2.0
"""Judges answers: was it done, did the rest stay, by how much did it drift, does the body cut through itself.

An answer that is missing, or is no pose, leaves everything undone; it drifts by nothing and cuts through nothing, so
that ``answered`` has to be read with the other figures. ``copy``, which returns every pose unchanged, is the row to
beat: it keeps everything and does nothing.

Legend: N cases; J = 24 joints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from blender_addon.contract.rotations import axis_angle_to_matrix, geodesic_degrees
from blender_addon.contract.skeleton import NUM_JOINTS
from training.evaluate.bootstrap import Bootstrap, Estimate
from training.evaluate.instructions import KEPT_JOINTS, Outcome, judge

from .cases import Case
from .collision import collides

VERSION: Final = 1
"""Of the judging; entries judged by another are not comparable."""
FIGURES: Final = ("success", "done", "kept", "drift_degrees", "collisions", "answered")
"""Shares of the cases, but for ``drift_degrees``: the mean over the cases of the largest turn of a joint that was to
stay.
``collisions`` counts bodies that cut through themselves and did not before."""


@dataclass(frozen=True)
class Judged(Outcome):
    """What became of one case, with degrees of drift, and whether the answer collides as its start did not."""

    drift_degrees: float
    collides: bool
    answered: bool

    def value(self, figure: str) -> float:
        """What the case adds to a figure."""
        return float(self.collides if figure == "collisions" else getattr(self, figure))


def pose_in(answer: Any) -> npt.NDArray[np.float64] | None:
    """(J, 3) the pose of an answer, or None where it is none."""
    try:
        pose = np.asarray(answer, dtype=np.float64)
    except (TypeError, ValueError):
        return None
    if pose.size != NUM_JOINTS * 3 or not np.isfinite(pose).all():
        return None
    return pose.reshape(NUM_JOINTS, 3)


def judge_all(cases: Sequence[Case], answers: Mapping[str, Any]) -> list[Judged]:
    """Every case with the answer of its id (24 x 3, radians)."""
    poses = [pose_in(answers.get(case["id"])) for case in cases]
    starts = np.array([case["pose"] for case in cases], dtype=np.float64).reshape(len(cases), NUM_JOINTS, 3)
    ends = np.stack([start if pose is None else pose for start, pose in zip(starts, poses, strict=True)])
    fresh = collides(ends) & ~collides(starts)
    turned = geodesic_degrees(axis_angle_to_matrix(starts), axis_angle_to_matrix(ends))
    judged = []
    for row, (case, pose) in enumerate(zip(cases, poses, strict=True)):
        outcome = judge({"task": "adjust", "kind": "edit", **case}, pose)
        still = [joint for part in case.get("keep", ()) for joint in KEPT_JOINTS[part]]
        drift = float(turned[row, still].max()) if still and pose is not None else 0.0
        judged.append(
            Judged(**vars(outcome), drift_degrees=drift, collides=bool(fresh[row]), answered=pose is not None)
        )
    return judged


def copy_answers(cases: Sequence[Case]) -> dict[str, Any]:
    """The answers of who leaves every pose as it is."""
    return {case["id"]: case["pose"] for case in cases}


def figures(judged: Sequence[Judged]) -> dict[str, Estimate]:
    """FIGURES with intervals of 95 %."""
    bootstrap = Bootstrap(len(judged))
    return {name: bootstrap.mean([one.value(name) for one in judged]) for name in FIGURES}
