# SPDX-License-Identifier: GPL-3.0-or-later
"""The fourth step of writing a pose: reading back what came of it. Runs inside Blender, and changes nothing."""

from __future__ import annotations

from dataclasses import dataclass

from ..contract.rotations import geodesic_degrees
from ..contract.skeleton import JOINT_NAMES
from .body import Body
from .plan import Plan
from .sample import take_sample


@dataclass(frozen=True)
class WriteReport:
    """What one ``Rig.write`` did, as read back from the armature.

    Attributes:
        frames: the frames that were keyed.
        degrees: SMPL joint name -> the largest angle over the frames by which the joint's local rotation changed,
            for every joint that was keyed, largest first.
        held: names of the joints that should have moved but could not, all their channels being locked.
        pelvis_shift: (N,) metres in the world by which the pelvis was raised so that the body's lowest point kept
            its height; all zero where it was left alone.
        keys: number of key values written.
    """

    frames: tuple[float, ...]
    degrees: dict[str, float]
    held: tuple[str, ...]
    pelvis_shift: tuple[float, ...]
    keys: int


def verify(body: Body, plan: Plan, keys: int) -> WriteReport:
    """Read the armature at the plan's frames and say what became of it."""
    after = take_sample(body, plan.before.frames)
    turned = geodesic_degrees(plan.before.local, after.local).max(axis=0, initial=0.0)
    return WriteReport(
        frames=plan.before.frames,
        degrees={
            JOINT_NAMES[joint]: float(turned[joint])
            for joint in sorted(plan.turning, key=lambda j: -turned[j])
        },
        held=tuple(JOINT_NAMES[joint] for joint in plan.locked),
        pelvis_shift=tuple(plan.lift.tolist()),
        keys=keys,
    )
