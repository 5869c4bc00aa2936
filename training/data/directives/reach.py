# SPDX-License-Identifier: Apache-2.0
"""Geometry that the kinds of arms, elbows and hands share: lifting, turning towards, reaching.

Vectors are written for the left side; ``sided`` mirrors them for the right one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from blender_addon.contract.limits import ELBOW_EASE
from blender_addon.contract.rotations import Array, shortest_turn
from blender_addon.contract.skeleton import BODY_PARTS, JOINT_INDEX

from .kinds import Edit
from .posed_body import FOREARM, PALM, UP, UPPER_ARM, PosedBody, Side, angle_degrees, turn, unit

SIDES: Final[tuple[Side, Side]] = ("left", "right")
ELBOW_LIMIT: Final = ELBOW_EASE
"""Degrees; the closed end of the elbow's range (the open one is 0)."""
HIGHEST: Final = 86.0
"""Elevation in degrees at which a raised arm stops."""
HANGING: Final = np.array([0.1, -1.0, 0.02])
"""Direction of an arm that hangs at the left side."""
_LIFT_DIAGONAL: Final = np.array([0.7, 0.0, 0.7])
"""Where a hanging arm goes when it is raised and the words leave the plane open: forward and out."""
_NOTICEABLE: Final = 4.0
_SATISFIED_SHARE: Final = 0.03
_ARMS: Final = {side: list(BODY_PARTS[f"{side}_arm"]) for side in SIDES}


def sided(side: Side, vector: npt.ArrayLike) -> Array:
    """A vector (3,) that is written for the left side, for ``side``."""
    vector = np.asarray(vector, dtype=np.float64)
    return vector if side == "left" else vector * np.array([-1.0, 1.0, 1.0])


def sided_axis(side: Side, axis: npt.ArrayLike) -> Array:
    """An axis of rotation (3,) that is written for the left side, for ``side``; the angle keeps its sign."""
    axis = np.asarray(axis, dtype=np.float64)
    return axis if side == "left" else axis * np.array([1.0, -1.0, -1.0])


def sided_turn(side: Side, axis: npt.ArrayLike, degrees: float) -> Array:
    """A rotation (3, 3) that is written for the left side, for ``side``."""
    return turn(sided_axis(side, axis), degrees)


def finish(
    rng: np.random.Generator,
    start: PosedBody,
    target: PosedBody | None,
    slots: Mapping[str, str] | None = None,
    variant: str = "",
    *,
    absolute: bool = False,
) -> Edit | None:
    """The edit, or None where nothing changes noticeably.

    An absolute request that is satisfied already is kept now and then, with the start as its target.
    """
    if target is None:
        return None
    relative = np.einsum("jab,jab->j", start.local, target.local)
    total = float(np.degrees(np.arccos(np.clip((relative - 1) / 2, -1, 1))).sum())
    if total < _NOTICEABLE:
        if not absolute or rng.random() > _SATISFIED_SHARE:
            return None
        target = start
    return Edit(target, slots or {}, variant)


def both_arms(start: PosedBody, move: Callable[[Side], PosedBody | None]) -> PosedBody | None:
    """Both arms moved from the same start; None where one of them cannot be."""
    left, right = move("left"), move("right")
    if left is None or right is None:
        return None
    local = left.local.copy()
    local[_ARMS["right"]] = right.local[_ARMS["right"]]
    return PosedBody(local, start.yaw)


def body_frame(start: PosedBody) -> Array:
    """Axes (3, 3) that "up", "forward" and "sideways" mean: upright ones, or the pelvis's own for a lying body."""
    pelvis = start.rot_of("pelvis")
    return np.eye(3) if pelvis[1, 1] > 0.5 else pelvis


def arm_line(start: PosedBody, side: Side) -> Array:
    """Where the arm as a whole points (3,): midway between its elbow and its wrist, seen from the shoulder."""
    shoulder = start.at(f"{side}_shoulder")
    return unit(start.at(f"{side}_elbow") + start.at(f"{side}_wrist") - 2 * shoulder)


def elevation(direction: npt.ArrayLike) -> float:
    """Angle of a direction above the horizontal, degrees."""
    return float(np.degrees(np.arcsin(np.clip(unit(direction)[1], -1.0, 1.0))))


def at_elevation(azimuth: Array, degrees: float) -> Array:
    """The direction (3,) over the horizontal unit vector ``azimuth`` at an elevation."""
    angle = np.radians(degrees)
    direction: Array = azimuth * np.cos(angle) + UP * np.sin(angle)
    return direction


def lift_azimuth(side: Side, line: Array) -> Array:
    """Horizontal direction in whose plane an arm is lifted: where it points, or the diagonal for a vertical one.

    An arm that points behind the body is brought to its side, where a shoulder can lift it.
    """
    horizontal = line * [1.0, 0.0, 1.0]
    weight = max(0.0, 0.5 - float(np.linalg.norm(horizontal)))
    azimuth = sided(side, horizontal + weight * sided(side, _LIFT_DIAGONAL))
    angle = np.degrees(np.arctan2(azimuth[2], azimuth[0]))
    if angle < -115.0:
        angle += 360.0
    angle = np.radians(np.clip(angle, -15.0, 125.0))
    return sided(side, [np.cos(angle), 0.0, np.sin(angle)])


def lifted_to(start: PosedBody, side: Side, degrees: float, towards: Array | None = None) -> PosedBody:
    """The whole arm turned at the shoulder to an elevation, in its own vertical plane or in that of ``towards``."""
    line = arm_line(start, side)
    azimuth = lift_azimuth(side, line) if towards is None else towards
    if degrees <= 0.0 or line[1] >= 0.0:
        rotation = shortest_turn(line, at_elevation(azimuth, degrees), np.cross(azimuth, UP))
    else:
        # Through the horizontal: the way up is then the same however little a hanging arm leans.
        rotation = turn(np.cross(azimuth, UP), degrees) @ shortest_turn(line, azimuth)
    return start.turned(f"{side}_shoulder", rotation)


def lowered_to(start: PosedBody, side: Side, degrees: float) -> PosedBody:
    """The whole arm turned at the shoulder down to an elevation, in its own vertical plane."""
    line = arm_line(start, side)
    horizontal = line * [1.0, 0.0, 1.0]
    weight = max(0.0, 0.3 - float(np.linalg.norm(horizontal)))
    azimuth = unit(horizontal + weight * sided(side, [1.0, 0.0, 0.3]))
    return start.turned(
        f"{side}_shoulder", shortest_turn(line, at_elevation(azimuth, degrees), np.cross(azimuth, UP))
    )


def turned_towards(
    start: PosedBody, side: Side, direction: Array, degrees: float, via: npt.ArrayLike
) -> PosedBody:
    """The whole arm turned at the shoulder towards ``direction`` (3,) by at most ``degrees``.

    ``via`` (3,) is the way round for an arm that points the opposite way.
    """
    line = arm_line(start, side)
    away = angle_degrees(line, direction)
    axis_from = line if away < 150.0 else unit(line + (away - 150.0) / 60.0 * np.asarray(via))
    axis = np.cross(axis_from, direction)
    return start.turned(f"{side}_shoulder", turn(axis, min(degrees, away)))


def joint_at(start: PosedBody, side: Side, joint: str, target: Array) -> PosedBody:
    """The wrist or the hand brought to ``target`` (3,) by the smallest move: elbow in its plane, then shoulder.

    A target out of reach is approached as far as the arm goes. The wrist keeps its bend.
    """
    shoulder, elbow = start.at(f"{side}_shoulder"), start.at(f"{side}_elbow")
    upper, fore = elbow - shoulder, start.at(f"{side}_{joint}") - elbow
    length = float(np.linalg.norm(fore))
    bend = angle_degrees(upper, fore)
    reach = target - shoulder
    shortest = np.sqrt(UPPER_ARM**2 + length**2 + 2 * UPPER_ARM * length * np.cos(np.radians(ELBOW_LIMIT)))
    distance = float(np.clip(np.linalg.norm(reach), shortest, UPPER_ARM + length - 1e-4))
    cosine = (distance**2 - UPPER_ARM**2 - length**2) / (2 * UPPER_ARM * length)
    needed = float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
    if start.elbow_flexion(side) < 15.0:
        hinge = start.rot_of(f"{side}_shoulder") @ sided_axis(side, -UP)
        bent = start.turned(f"{side}_elbow", turn(hinge, needed) @ shortest_turn(fore, upper))
    else:
        bent = start.turned(f"{side}_elbow", turn(np.cross(upper, fore), needed - bend))
    return bent.turned(f"{side}_shoulder", shortest_turn(bent.at(f"{side}_{joint}") - shoulder, reach))


def hand_reaches(start: PosedBody, side: Side, target: Array, slack: float = 0.0) -> bool:
    """Whether the hand joint gets to ``target`` (3,) with a straight wrist, ``slack`` metres short at most."""
    return float(np.linalg.norm(target - start.at(f"{side}_shoulder"))) < UPPER_ARM + FOREARM + PALM + slack


def hand_to(start: PosedBody, side: Side, target: Array, elbow_towards: Array) -> PosedBody:
    """The hand brought to ``target`` (3,) with a straight wrist, the elbow bent no further than it goes."""
    shoulder = start.at(f"{side}_shoulder")
    fore = FOREARM + PALM
    nearest = np.sqrt(UPPER_ARM**2 + fore**2 + 2 * UPPER_ARM * fore * np.cos(np.radians(ELBOW_LIMIT)))
    reach = target - shoulder
    distance = float(np.linalg.norm(reach))
    if distance < nearest:
        reach = unit(reach) * nearest
    return start.hand_at(side, shoulder + reach, elbow_towards)


def arm_set(start: PosedBody, side: Side, direction: npt.ArrayLike, flexion: float = 0.0) -> PosedBody:
    """The whole arm pointed along ``direction`` (3,) with the elbow bent by ``flexion`` degrees, the wrist straight."""
    aimed = start.arm_aimed(side, direction)
    hinge = sided_turn(side, UP, -flexion) if flexion else np.eye(3)
    return aimed.with_local({f"{side}_elbow": hinge, f"{side}_wrist": np.eye(3)})


def forearm_set(start: PosedBody, side: Side, direction: npt.ArrayLike) -> PosedBody | None:
    """The forearm pointed along ``direction`` (3,) while the upper arm stays where it points, its twist following.

    None where the elbow would have to close further than it goes.
    """
    upper = unit(start.segment(f"{side}_shoulder", f"{side}_elbow"))
    direction = unit(direction)
    flexion = angle_degrees(upper, direction)
    if flexion > ELBOW_LIMIT:
        return None
    if flexion < 8.0:
        return start.with_local({f"{side}_elbow": np.eye(3)})
    ex = sided(side, [1.0, 0.0, 0.0])[0] * upper
    ez = unit(direction - np.cos(np.radians(flexion)) * upper)
    rotation = np.stack([ex, np.cross(ez, ex), ez], axis=-1)
    return start.with_global(f"{side}_shoulder", rotation).with_local(
        {f"{side}_elbow": sided_turn(side, UP, -flexion)}
    )


def inside_body(start: PosedBody, point: Array) -> bool:
    """Whether a point (3,) lies in the trunk or the head."""
    for low, high, radius in (("pelvis", "spine3", 0.12), ("spine3", "neck", 0.11)):
        a, b = start.at(low), start.at(high)
        along = np.clip((point - a) @ (b - a) / ((b - a) @ (b - a)), 0.0, 1.0)
        if np.linalg.norm(point - a - along * (b - a)) < radius:
            return True
    skull = start.at("head") + start.rot_of("head") @ [0.0, 0.08, 0.02]
    return bool(np.linalg.norm(point - skull) < 0.1)


def joint_names(side: Side) -> tuple[str, ...]:
    """The arm's joints: collar, shoulder, elbow, wrist and hand."""
    return tuple(f"{side}_{part}" for part in ("collar", "shoulder", "elbow", "wrist", "hand"))


def mirrored_arm(start: PosedBody, side: Side, source: PosedBody) -> PosedBody:
    """The arm of ``side`` made the mirror image of the other arm of ``source``."""
    other: Side = "right" if side == "left" else "left"
    flip = np.diag([-1.0, 1.0, 1.0])
    changes = {
        mine: flip @ source.local[JOINT_INDEX[theirs]] @ flip
        for mine, theirs in zip(joint_names(side), joint_names(other), strict=True)
    }
    return start.with_local(changes)
