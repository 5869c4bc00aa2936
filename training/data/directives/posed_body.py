# SPDX-License-Identifier: Apache-2.0
"""A pose that directives turn: rotation operators, aiming of limbs and two-bone inverse kinematics.

Everything happens in the body's own upright frame: the heading has been taken out, so +x is the body's left,
+y up and +z the way it faces. Positions are metres relative to the pelvis. A body is never changed in
place: every operator returns a new one.

Legend: J = 24 joints; ``local`` (J, 3, 3) local rotations; ``rot`` (J, 3, 3) global rotations; ``pos`` (J, 3).
"""

from __future__ import annotations

from functools import cached_property
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from blender_addon.contract.kinematics import forward_kinematics, heading, yaw_matrix
from blender_addon.contract.rotations import Array, axis_angle_to_matrix, matrix_to_axis_angle, shortest_turn
from blender_addon.contract.skeleton import JOINT_INDEX, MIRROR, PARENTS, REST_OFFSETS

Side = Literal["left", "right"]

LEFT: Final = np.array([1.0, 0.0, 0.0])
UP: Final = np.array([0.0, 1.0, 0.0])
FRONT: Final = np.array([0.0, 0.0, 1.0])
_REFLECTION: Final = np.outer([-1.0, 1.0, 1.0], [-1.0, 1.0, 1.0])
"""A rotation matrix times this, entry by entry, is the rotation seen in the mirror x = 0."""

UPPER_ARM: Final = float(np.linalg.norm(REST_OFFSETS[JOINT_INDEX["left_elbow"]]))
FOREARM: Final = float(np.linalg.norm(REST_OFFSETS[JOINT_INDEX["left_wrist"]]))
PALM: Final = float(np.linalg.norm(REST_OFFSETS[JOINT_INDEX["left_hand"]]))
THIGH: Final = float(np.linalg.norm(REST_OFFSETS[JOINT_INDEX["left_knee"]]))
SHANK: Final = float(np.linalg.norm(REST_OFFSETS[JOINT_INDEX["left_ankle"]]))


_ORIGIN: Final = np.zeros(3)


def _carried() -> tuple[int, ...]:
    """For each joint the bit set of the joints that turn with it, itself included."""
    carried = [0] * len(PARENTS)
    for joint in range(len(PARENTS)):
        above = joint
        while above >= 0:
            carried[above] |= 1 << joint
            above = PARENTS[above]
    return tuple(carried)


_CARRIED: Final = _carried()


def unit(vector: npt.ArrayLike) -> Array:
    """The vector (3,) scaled to length one."""
    scaled: Array = np.asarray(vector, dtype=np.float64) / np.linalg.norm(vector)
    return scaled


def turn(axis: npt.ArrayLike, degrees: float) -> Array:
    """Rotation matrix (3, 3) about ``axis`` (3,) by ``degrees``, right-handed."""
    return axis_angle_to_matrix(unit(axis) * np.radians(degrees))


def angle_degrees(u: npt.ArrayLike, v: npt.ArrayLike) -> float:
    """Angle between two directions, degrees."""
    return float(np.degrees(np.arccos(np.clip(unit(u) @ unit(v), -1.0, 1.0))))


def two_bones(
    reach: Array, first: float, second: float, towards: npt.ArrayLike, *, least: float
) -> tuple[Array, Array, Array]:
    """Where two bones in line point so that the end of the second comes as near to ``reach`` as it can.

    Args:
        reach: (3,) metres, from the first bone's head.
        first: metres of the first bone.
        second: metres of the second.
        towards: (3,) where the joint between them is pushed.
        least: metres by which the bones stay from lying on each other.

    Returns:
        (3,) directions of the first bone, of the second, and of what is across ``reach`` towards the joint.
    """
    distance = float(np.clip(np.linalg.norm(reach), abs(first - second) + least, first + second - 1e-4))
    forward = unit(reach)
    out = np.asarray(towards, dtype=np.float64)
    out = unit(out - (out @ forward) * forward)
    cosine = (first**2 + distance**2 - second**2) / (2 * first * distance)
    upper = cosine * forward + np.sqrt(max(0.0, 1 - cosine**2)) * out
    return upper, unit(forward * distance - upper * first), out


class PosedBody:
    """One pose in its own upright frame.

    Args:
        local: (J, 3, 3) local rotations whose root has no heading (see ``from_pose``).
        yaw: heading that was taken out, radians.
    """

    def __init__(self, local: Array, yaw: float = 0.0) -> None:
        self.local = local
        self.yaw = yaw
        # Global rotations and positions of the joints asked for so far: an operator needs one limb, not the body.
        self._rot: dict[int, Array] = {}
        self._pos: dict[int, Array] = {}

    @classmethod
    def from_pose(cls, pose_aa: npt.ArrayLike) -> PosedBody:
        """From a pose (J, 3) axis-angle, radians."""
        local = axis_angle_to_matrix(np.asarray(pose_aa, dtype=np.float64))
        yaw = float(heading(local[0]))
        local[0] = yaw_matrix(-yaw) @ local[0]
        return cls(local, yaw)

    def to_pose(self) -> npt.NDArray[np.float32]:
        """The pose (J, 3) axis-angle, radians, with the heading put back."""
        local = self.local.copy()
        local[0] = yaw_matrix(self.yaw) @ local[0]
        return matrix_to_axis_angle(local).astype(np.float32)

    def mirrored(self) -> PosedBody:
        """The body seen in a mirror."""
        return PosedBody(self.local[list(MIRROR)] * _REFLECTION, -self.yaw)

    @cached_property
    def _kinematics(self) -> tuple[Array, Array]:
        return forward_kinematics(self.local)

    @property
    def rot(self) -> Array:
        """(J, 3, 3) global rotations."""
        return self._kinematics[0]

    @property
    def pos(self) -> Array:
        """(J, 3) joint positions relative to the pelvis, metres."""
        return self._kinematics[1]

    def at(self, joint: str) -> Array:
        """Position (3,) of a joint."""
        return self._position(JOINT_INDEX[joint])

    def rot_of(self, joint: str) -> Array:
        """Global rotation (3, 3) of a joint."""
        return self._rotation(JOINT_INDEX[joint])

    def _rotation(self, joint: int) -> Array:
        rotation = self._rot.get(joint)
        if rotation is None:
            parent = PARENTS[joint]
            rotation = self.local[joint] if parent < 0 else self._rotation(parent) @ self.local[joint]
            self._rot[joint] = rotation
        return rotation

    def _position(self, joint: int) -> Array:
        position = self._pos.get(joint)
        if position is None:
            parent = PARENTS[joint]
            position = (
                _ORIGIN
                if parent < 0
                else self._position(parent) + self._rotation(parent) @ REST_OFFSETS[joint]
            )
            self._pos[joint] = position
        return position

    def segment(self, start: str, end: str) -> Array:
        """Vector (3,) from one joint to another."""
        return self.at(end) - self.at(start)

    def floor(self) -> float:
        """Height of the lowest joint relative to the pelvis."""
        return float(self.pos[:, 1].min())

    # -- measures ----------------------------------------------------------------------------------------

    def elbow_flexion(self, side: Side) -> float:
        """Bend of the elbow in degrees; 0 is straight."""
        return angle_degrees(
            self.segment(f"{side}_shoulder", f"{side}_elbow"), self.segment(f"{side}_elbow", f"{side}_wrist")
        )

    def knee_flexion(self, side: Side) -> float:
        """Bend of the knee in degrees; 0 is straight."""
        return angle_degrees(
            self.segment(f"{side}_hip", f"{side}_knee"), self.segment(f"{side}_knee", f"{side}_ankle")
        )

    # -- operators ---------------------------------------------------------------------------------------

    def with_local(self, changes: dict[str, Array]) -> PosedBody:
        """A body with some joints' local rotations (3, 3) replaced."""
        local = self.local.copy()
        moved = 0
        for joint, rotation in changes.items():
            local[JOINT_INDEX[joint]] = rotation
            moved |= _CARRIED[JOINT_INDEX[joint]]
        body = PosedBody(local, self.yaw)
        body._rot = {joint: known for joint, known in self._rot.items() if not moved >> joint & 1}
        # A joint's own position does not depend on its own rotation, but on those of the joints above it.
        body._pos = {
            joint: known
            for joint, known in self._pos.items()
            if joint == 0 or not moved >> PARENTS[joint] & 1
        }
        return body

    def with_global(self, joint: str, rotation: Array) -> PosedBody:
        """A body whose joint has this global rotation (3, 3); joints below it keep their local rotations."""
        parent = PARENTS[JOINT_INDEX[joint]]
        return self.with_local({joint: rotation if parent < 0 else self._rotation(parent).T @ rotation})

    def turned(self, joint: str, rotation: Array) -> PosedBody:
        """A body whose joint, with all below it, is turned by ``rotation`` (3, 3) in the upright frame."""
        return self.with_global(joint, rotation @ self.rot_of(joint))

    def turned_locally(self, joint: str, rotation: Array) -> PosedBody:
        """A body whose joint is turned by ``rotation`` (3, 3) about its own axes (after its local rotation)."""
        return self.with_local({joint: self.local[JOINT_INDEX[joint]] @ rotation})

    def with_heading_turned(self, degrees: float) -> PosedBody:
        """The whole body turned on the spot; positive to its left."""
        return PosedBody(self.local, self.yaw + np.radians(degrees))

    # -- arms --------------------------------------------------------------------------------------------

    def arm_aimed(self, side: Side, direction: npt.ArrayLike) -> PosedBody:
        """The upper arm pointed along ``direction`` (3,) in the upright frame, without any twist of its own.

        The twist is the one of the shortest turn from the T-pose relative to the chest: with it the elbow bends
        forward for a hanging or raised arm and inward for an arm held forward, as people's do.
        """
        chest = self.rot_of("spine3")
        rest = LEFT if side == "left" else -LEFT
        swing = shortest_turn(rest, chest.T @ np.asarray(direction), across=UP)
        return self.with_global(f"{side}_shoulder", chest @ swing)

    def arm_turned_towards(self, side: Side, direction: npt.ArrayLike) -> PosedBody:
        """The upper arm turned the shortest way to ``direction`` (3,), the forearm carried along unchanged."""
        current = self.segment(f"{side}_shoulder", f"{side}_elbow")
        return self.turned(f"{side}_shoulder", shortest_turn(current, direction))

    def elbow_bent_to(self, side: Side, degrees: float) -> PosedBody:
        """The elbow bent to ``degrees`` in the plane that it is bent in, or as its own hinge if it is straight.

        The forearm keeps its twist; only the elbow turns.
        """
        upper = self.segment(f"{side}_shoulder", f"{side}_elbow")
        fore = self.segment(f"{side}_elbow", f"{side}_wrist")
        if self.elbow_flexion(side) < 15.0:
            axis = self.rot_of(f"{side}_shoulder") @ (-UP if side == "left" else UP)
            return self.turned(f"{side}_elbow", turn(axis, degrees) @ shortest_turn(fore, upper))
        return self.turned(f"{side}_elbow", turn(np.cross(upper, fore), degrees - self.elbow_flexion(side)))

    def hand_at(self, side: Side, target: npt.ArrayLike, elbow_towards: npt.ArrayLike) -> PosedBody:
        """The hand joint brought to ``target`` (3,) with a straight wrist by two-bone inverse kinematics.

        ``elbow_towards`` (3,) is the direction in which the elbow is pushed out. A target out of reach is
        approached as far as the arm goes. The collar and the trunk stay.
        """
        shoulder = self.at(f"{side}_shoulder")
        reach = np.asarray(target, dtype=np.float64) - shoulder
        upper, lower, out = two_bones(reach, UPPER_ARM, FOREARM + PALM, elbow_towards, least=0.02)
        flexion = angle_degrees(upper, lower)
        # The forearm of a bent arm lies in the plane of the upper arm's x and z axes: R ez is its part across.
        ez = (
            unit(lower - np.cos(np.radians(flexion)) * upper) if flexion > 1.0 else unit(np.cross(upper, out))
        )
        ex = upper if side == "left" else -upper
        rotation = np.stack([ex, np.cross(ez, ex), ez], axis=-1)
        body = self.with_global(f"{side}_shoulder", rotation)
        hinge = turn(UP, -flexion if side == "left" else flexion)
        return body.with_local({f"{side}_elbow": hinge, f"{side}_wrist": np.eye(3)})

    # -- legs --------------------------------------------------------------------------------------------

    def knee_bent_to(self, side: Side, degrees: float) -> PosedBody:
        """The knee bent to ``degrees`` as a hinge about the shank's own left-right axis."""
        return self.with_local({f"{side}_knee": turn(LEFT, degrees)})

    def foot_at(self, side: Side, target: npt.ArrayLike, knee_towards: npt.ArrayLike = FRONT) -> PosedBody:
        """The ankle brought to ``target`` (3,) by two-bone inverse kinematics, the knee pushed ``knee_towards``."""
        hip = self.at(f"{side}_hip")
        reach = np.asarray(target, dtype=np.float64) - hip
        upper, lower, out = two_bones(reach, THIGH, SHANK, knee_towards, least=0.05)
        flexion = angle_degrees(upper, lower)
        # A bent knee carries the shank backwards: R (-ez) is the shank's part across the thigh.
        ez = unit(np.cos(np.radians(flexion)) * upper - lower) if flexion > 1.0 else out
        ey = -upper
        rotation = np.stack([np.cross(ey, ez), ey, ez], axis=-1)
        return self.with_global(f"{side}_hip", rotation).with_local({f"{side}_knee": turn(LEFT, flexion)})
