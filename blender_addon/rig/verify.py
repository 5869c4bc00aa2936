# SPDX-License-Identifier: GPL-3.0-or-later
"""The fourth step of writing a pose: reading back what came of it. Runs inside Blender, and changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..contract.rotations import geodesic_degrees
from ..contract.skeleton import JOINT_NAMES
from .body import Body
from .holders import who_holds
from .ik import driven_joints
from .plan import HAIR_DEGREES, Plan
from .sample import is_plain, take_sample

ARRIVED_DEGREES = 1.0
"""A joint that is nearer than this to the rotation it was given has arrived."""

MOST_EVALUATED = 25
"""Frames, spread over all, that are read back where Blender has to evaluate the scene for each."""

ADRIFT_METRES = 0.01
"""A body that hangs or sinks by less stands on its floor, and feet that slide by less stand where they stood."""


@dataclass(frozen=True)
class Short:
    """A joint that did not arrive.

    Attributes:
        degrees: how far it is from where it should be, at most.
        holder: what holds it, as the end of a sentence.
    """

    degrees: float
    holder: str


@dataclass(frozen=True)
class WriteReport:
    """What one ``Rig.write`` did, as read back from the armature.

    Attributes:
        frames: the frames that were posed.
        degrees: SMPL joint name -> the largest angle over the frames by which the joint's local rotation changed,
            for every joint that was written and did turn, largest first.
        held: names of the joints that should have moved but could not, all their channels being locked or muted.
        pelvis_shift: N times x, y and z, metres in the world by which the pelvis followed the legs so that the body's
            lowest point kept its height and planted feet their place; all zero where it was left alone.
        keys: number of key values written at these frames.
        keyed: whether keys were to be set; otherwise the bones were only posed.
        short: joint name -> why and by how much it did not arrive, for every joint that did not.
        stopped: joint name -> degrees of the limit at which it was held.
        adrift: metres, with its sign, by which the body hangs above the height it had, or sinks below it, at the
            worst frame, because the pelvis could not follow.
        slid: metres by which planted feet slide along the floor at the worst frame, for the same reason.
        in_layer: whether keys went into a strip above the NLA strips.
        followed: names of the IK targets and poles that were moved so that limbs arrive.
        held_by_ik: whether joints did not arrive because of IK whose targets could be moved.
    """

    frames: tuple[float, ...]
    degrees: dict[str, float]
    held: tuple[str, ...]
    pelvis_shift: tuple[tuple[float, float, float], ...]
    keys: int
    keyed: bool = True
    short: dict[str, Short] = field(default_factory=dict)
    stopped: dict[str, float] = field(default_factory=dict)
    adrift: float = 0.0
    slid: float = 0.0
    in_layer: bool = False
    followed: tuple[str, ...] = ()
    held_by_ik: bool = False

    @property
    def changed(self) -> bool:
        """Whether anything was written, so that there is something to undo."""
        return bool(self.keys or (self.degrees and not self.keyed))


def verify(body: Body, plan: Plan, keys: int) -> WriteReport:
    """Read the armature at the plan's frames and say what became of it."""
    rows = _rows(body, len(plan.before.frames))
    frames = [plan.before.frames[row] for row in rows]
    after = take_sample(body, frames, as_posed=not plan.keyed)
    turned = geodesic_degrees(plan.before.local[rows], after.local).max(axis=0, initial=0.0)
    missed = geodesic_degrees(plan.target[rows], after.local).max(axis=0, initial=0.0)
    short = {
        JOINT_NAMES[joint]: Short(float(missed[joint]), who_holds(body, joint))
        for joint in sorted({*plan.turning, *plan.locked})
        if missed[joint] > ARRIVED_DEGREES
    }
    came = [joint for joint in plan.turning if turned[joint] > HAIR_DEGREES]
    heights = plan.adrift[:, 2]
    worst = float(heights[np.argmax(np.abs(heights))]) if len(heights) else 0.0
    slid = float(np.linalg.norm(plan.adrift[:, :2], axis=1).max(initial=0.0))
    return WriteReport(
        frames=plan.before.frames,
        degrees={
            JOINT_NAMES[joint]: float(turned[joint]) for joint in sorted(came, key=lambda j: -turned[j])
        },
        held=tuple(JOINT_NAMES[joint] for joint in plan.locked),
        pelvis_shift=tuple((x, y, z) for x, y, z in plan.shift.tolist()),
        keys=keys,
        keyed=plan.keyed,
        short=short,
        stopped={JOINT_NAMES[joint]: degrees for joint, degrees in plan.stopped.items()},
        # The pelvis should have risen by what it is too low.
        adrift=-worst if abs(worst) > ADRIFT_METRES else 0.0,
        slid=slid if slid > ADRIFT_METRES else 0.0,
        in_layer=any(one.in_layer for one in plan.channels),
        followed=plan.followed,
        held_by_ik=bool(short)
        and not plan.followed
        and any(JOINT_NAMES[joint] in short for joint in driven_joints(body)),
    )


def _rows(body: Body, count: int) -> Sequence[int]:
    """Which of the frames are read back."""
    if is_plain(body.armature) or count <= MOST_EVALUATED:
        return range(count)
    spread = np.unique(np.linspace(0, count - 1, MOST_EVALUATED).round().astype(int))
    return [int(row) for row in spread]
