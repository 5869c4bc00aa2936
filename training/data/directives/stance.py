# SPDX-License-Identifier: Apache-2.0
"""Geometry that the kinds of legs and postures share: legs set by angles, feet brought to places.

Angles of a leg are degrees in the frame of ``reach.body_frame``; ``outward`` is to the leg's own side.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from blender_addon.contract.limits import HIP_EASE, KNEE_EASE
from blender_addon.contract.rotations import Array, shortest_turn
from blender_addon.contract.skeleton import BODY_PARTS

from .posed_body import FRONT, LEFT, SHANK, THIGH, UP, PosedBody, Side, turn, unit
from .reach import body_frame, sided, sided_turn

LEG_LENGTH = THIGH + SHANK
HIP_LIMIT = HIP_EASE
"""Degrees; the most a thigh is flexed at the hip."""
KNEE_LIMIT = KNEE_EASE
STANDING_OUT = 2.0
"""Degrees that a standing leg leans outwards."""


def thigh_in_frame(start: PosedBody, side: Side) -> Array:
    """Direction of the thigh (3,) in the body's frame, with x outward."""
    return sided(side, body_frame(start).T @ unit(start.segment(f"{side}_hip", f"{side}_knee")))


def ankle_in_frame(start: PosedBody, side: Side) -> Array:
    """The ankle (3,) seen from its hip in the body's frame, x outward, metres."""
    return sided(side, body_frame(start).T @ start.segment(f"{side}_hip", f"{side}_ankle"))


def hip_flexion(start: PosedBody, side: Side) -> float:
    """Angle of the thigh in front of the vertical; negative behind it."""
    _, y, z = thigh_in_frame(start, side)
    return float(np.degrees(np.arctan2(z, -y)))


def hip_abduction(start: PosedBody, side: Side) -> float:
    """Angle of the thigh outward from the vertical; negative inward."""
    x, y, _ = thigh_in_frame(start, side)
    return float(np.degrees(np.arctan2(x, -y)))


def leg_set(
    start: PosedBody,
    side: Side,
    *,
    flexion: float = 0.0,
    out: float = STANDING_OUT,
    horizontal_abduction: float = 0.0,
    twist: float = 0.0,
    knee: float = 0.0,
    ankle: float | None = None,
    level: bool = False,
    frame: Array | None = None,
) -> PosedBody:
    """One leg set to angles in degrees, from the hip down.

    Args:
        flexion: of the thigh, forward and up.
        out: of the whole leg, sideways.
        horizontal_abduction: turn of the flexed leg outward about the vertical.
        twist: turn of the thigh outward about itself.
        knee: its bend.
        ankle: the toes' angle down from a right angle with the shank; as it was where not given.
        level: the sole level instead.
        frame: axes (3, 3) that the angles are measured in; ``reach.body_frame`` where not given.
    """
    frame = body_frame(start) if frame is None else frame
    thigh = (
        sided_turn(side, FRONT, out)
        @ sided_turn(side, UP, horizontal_abduction)
        @ turn(LEFT, -flexion)
        @ sided_turn(side, UP, twist)
    )
    body = start.with_global(f"{side}_hip", frame @ thigh).with_local({f"{side}_knee": turn(LEFT, knee)})
    if ankle is not None:
        body = body.with_local({f"{side}_ankle": turn(LEFT, ankle), f"{side}_foot": np.eye(3)})
    return foot_level(body, side, frame) if level else body


def foot_level(start: PosedBody, side: Side, frame: Array | None = None) -> PosedBody:
    """The sole level in the body's frame, the toes pointing as the knee does, or as the leg's side does where the
    knee points up."""
    frame = body_frame(start) if frame is None else frame
    ahead = frame.T @ start.rot_of(f"{side}_knee") @ FRONT
    knee = frame.T @ start.rot_of(f"{side}_hip") @ FRONT
    if np.hypot(ahead[0], ahead[2]) < 0.3 or ahead @ knee < -0.2:
        ahead = frame.T @ start.rot_of("pelvis") @ FRONT
    ez = unit([ahead[0], 0.0, ahead[2]])
    rotation = np.stack([np.cross(UP, ez), UP, ez], axis=-1)
    return start.with_global(f"{side}_ankle", frame @ rotation).with_local({f"{side}_foot": np.eye(3)})


def hip_swung(start: PosedBody, side: Side, axis: npt.ArrayLike, degrees: float) -> PosedBody:
    """The leg turned at the hip about an axis (3,) of the body's frame, written for the left leg."""
    frame = body_frame(start)
    return start.turned(f"{side}_hip", frame @ sided_turn(side, axis, degrees) @ frame.T)


def foot_placed(start: PosedBody, side: Side, ankle: npt.ArrayLike, *, keep_sole: bool = True) -> PosedBody:
    """The ankle brought to a place (3,) seen from its hip in the body's frame with x outward, metres.

    The knee goes on facing where it faces; with ``keep_sole`` the foot keeps its direction in space. A place
    that the leg cannot reach along the floor is reached above it.
    """
    frame = body_frame(start)
    x, y, z = np.asarray(ankle, dtype=np.float64)
    reach = LEG_LENGTH - 2e-3
    level = float(np.hypot(x, z))
    if level > 0.95 * reach:
        x, z, level = x * 0.95 * reach / level, z * 0.95 * reach / level, 0.95 * reach
    if np.hypot(level, y) > reach:
        y = -np.sqrt(reach**2 - level**2)
    target = start.at(f"{side}_hip") + frame @ sided(side, [x, y, z])
    facing = start.rot_of(f"{side}_hip") @ FRONT
    body = start.foot_at(side, target, facing)
    return body.with_global(f"{side}_ankle", start.rot_of(f"{side}_ankle")) if keep_sole else body


def foot_moved(start: PosedBody, side: Side, step: npt.ArrayLike) -> PosedBody:
    """The ankle moved by ``step`` (3,) in the body's frame with x outward, metres."""
    return foot_placed(start, side, ankle_in_frame(start, side) + np.asarray(step))


def leg_folded(start: PosedBody, side: Side, knee: float) -> PosedBody:
    """The knee bent to ``knee`` degrees with the foot kept on the line from the hip and turned as it is.

    Bending the knees of a standing body this way lets it sink straight down.
    """
    frame = body_frame(start)
    line = unit(ankle_in_frame(start, side))
    length = np.sqrt(THIGH**2 + SHANK**2 + 2 * THIGH * SHANK * np.cos(np.radians(knee)))
    target = start.at(f"{side}_hip") + frame @ sided(side, line * length)
    body = start.foot_at(side, target, start.rot_of(f"{side}_hip") @ FRONT)
    return body.with_global(f"{side}_ankle", start.rot_of(f"{side}_ankle"))


def thigh_lowered(start: PosedBody, side: Side, degrees: float) -> PosedBody:
    """The leg turned at the hip by ``degrees`` towards hanging down."""
    frame = body_frame(start)
    thigh = unit(start.segment(f"{side}_hip", f"{side}_knee"))
    down = frame @ sided(side, [np.sin(np.radians(STANDING_OUT)), -np.cos(np.radians(STANDING_OUT)), 0.0])
    whole = shortest_turn(thigh, down, across=frame @ LEFT)
    axis = np.array([whole[2, 1] - whole[1, 2], whole[0, 2] - whole[2, 0], whole[1, 0] - whole[0, 1]])
    return start if np.linalg.norm(axis) < 1e-6 else start.turned(f"{side}_hip", turn(axis, degrees))


def both_legs(start: PosedBody, move: Callable[[PosedBody, Side], PosedBody | None]) -> PosedBody | None:
    """Both legs moved from the same start; None where one of them cannot be."""
    left, right = move(start, "left"), move(start, "right")
    if left is None or right is None:
        return None
    local = left.local.copy()
    joints = list(BODY_PARTS["right_leg"])
    local[joints] = right.local[joints]
    return PosedBody(local, start.yaw)


def standing_leg(start: PosedBody, side: Side) -> PosedBody:
    """The leg straight under the body, the sole level."""
    return leg_set(start, side, level=True)
