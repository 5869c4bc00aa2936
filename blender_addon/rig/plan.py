# SPDX-License-Identifier: GPL-3.0-or-later
"""The second step of writing a pose: what changes, on which channels, at which frames. Runs inside Blender, and changes
nothing.

Legend: N frames, K channels of one property of a bone, J = 24 joints.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import bpy
import numpy as np
from mathutils import Matrix

from ..contract.limits import hold_to_limits
from ..contract.rotations import Array, axis_angle_to_matrix, geodesic_degrees, matrix_to_quaternion
from ..contract.skeleton import PARENTS
from .anchors import AnchorKind, anchor_frames
from .blender_types import Posable, current_scene, owner_of
from .body import Body
from .channels import hold_locked, rotation_locks, rotation_matrices, rotation_property, values_near
from .convert import basis_from_local, local_from_turns, nearest_rotation, turns_after
from .curves import Curves, channel_values, curves_of, is_locked, is_muted, key_times, repeats_at
from .ground import CARRYING_JOINTS, pelvis_steps
from .ik import Move, moves_of_targets
from .nla import has_nla, in_tweak_mode, paths_in_strips, to_scene
from .sample import Sample, current_frame, evaluated_channels

HAIR_DEGREES = 0.02
"""A joint that turns by less at every frame counts as unchanged and gets no key; reading is a hundred times finer."""

STILL_PART = 1e-5
"""A part of the body that would move by less than this part of its size stays."""


@dataclass(frozen=True)
class WriteOptions:
    """How poses are written; as they come, nothing but the poses themselves is written.

    Attributes:
        anchors: where keys keep other frames as they are (see ``anchors``).
        as_range: the frames stand for all from the first to the last of them.
        keyed: set keys; otherwise the bones are only posed, at the current frame.
        limits: hold joints to the table of ``contract.limits``.
        ik_targets: where inverse kinematics drives a limb, move what it follows (see ``ik``).
        planted: feet that carry the body stay where they stand; otherwise the pelvis does, along the floor. For a whole
            new pose that has nothing to do with the one before: of a row of them a body would wander off.
    """

    anchors: AnchorKind = "NONE"
    as_range: bool = False
    keyed: bool = True
    limits: bool = False
    ik_targets: bool = False
    planted: bool = True


@dataclass(frozen=True)
class Channels:
    """New values of one property of a bone, or of an object that IK follows.

    Attributes:
        owner: the object that is keyed.
        bone: the pose bone's name, empty for the object itself.
        name: of the property, ``location`` or one of the rotations.
        values: (N, K) at the plan's frames.
        locked: (K,) the channels to leave alone.
        in_layer: the keys go into a strip of their own above the NLA strips, as the active action does not hold them.
        anchors: channel -> frame -> side, as from ``anchor_frames``.
        resting: frame -> (K,) the values that the property has there, for anchors on channels without a curve.
    """

    owner: bpy.types.Object
    bone: str
    name: str
    values: Array
    locked: tuple[bool, ...]
    in_layer: bool = False
    anchors: dict[int, dict[float, int]] = field(default_factory=dict)
    resting: dict[float, Array] = field(default_factory=dict)

    @property
    def thing(self) -> Posable:
        """The bone, or the object itself."""
        if not self.bone:
            return self.owner
        assert self.owner.pose is not None
        return self.owner.pose.bones[self.bone]

    @property
    def free(self) -> tuple[int, ...]:
        """The channels that are written."""
        return tuple(index for index, lock in enumerate(self.locked) if not lock)


@dataclass(frozen=True)
class Plan:
    """Everything that writing a pose will change.

    Attributes:
        before: how the armature stands at the frames.
        target: (N, J, 3, 3) the local rotations that the joints should reach, as far as this armature's bones can
            show them.
        turning: the joints whose rotations are written.
        locked: the joints that should turn and cannot, all their channels being locked.
        channels: what is written.
        keyed: whether keys are set.
        shift: (N, 3) metres in the world by which the pelvis follows the legs.
        adrift: (N, 3) metres by which it should have followed besides, had it not been locked or left out.
        stopped: joint -> degrees, for those held at their limits.
        followed: names of what IK follows and what was moved for it.
    """

    before: Sample
    target: Array
    turning: tuple[int, ...]
    locked: tuple[int, ...]
    channels: tuple[Channels, ...]
    keyed: bool
    shift: Array
    adrift: Array
    stopped: dict[int, float]
    followed: tuple[str, ...] = ()


def make_plan(
    body: Body,
    before: Sample,
    poses_aa: Array,
    *,
    turning: frozenset[int],
    may_follow: bool,
    options: WriteOptions,
) -> Plan:
    """Work out how the armature takes on the poses.

    Args:
        before: how it stands.
        poses_aa: (N, 24, 3) the poses wanted at the sample's frames.
        turning: joints that may turn.
        may_follow: whether the pelvis's location may follow the legs.
        options: how poses are written.
    """
    target = axis_angle_to_matrix(poses_aa)
    turning -= body.missing
    stopped: dict[int, float] = {}
    moving = turning & _changed(before.local, target)
    if options.limits:
        target, stopped = hold_to_limits(before.local, target, moving)
        moving &= _changed(before.local, target) if stopped else moving
    basis = basis_from_local(target, moving, before.turns, before.stage, body.tree)
    after = turns_after(basis, before.turns, body.tree)
    reached = aim = local_from_turns(after, before.stage, body.tree)
    curves = curves_of(body.armature)
    rotations, held_back = _plan_rotations(body, before.frames, basis, curves)
    if held_back:
        after = turns_after(basis | held_back, before.turns, body.tree)
        reached = local_from_turns(after, before.stage, body.tree)
    written = frozenset(
        joint for link in body.tree.links if rotations.keys() & set(link.bones) for joint in link.joints
    )
    wished = np.zeros((len(poses_aa), 3))
    if written & CARRYING_JOINTS:
        wished = pelvis_steps(
            before.local, reached, before.frames, body.positions, body.tree.frame, before.stage, before.world
        )
        if not options.planted:
            wished[:, :2] = 0.0
    steps = _carrier_steps(body, before, after, wished if may_follow else np.zeros_like(wished))
    locations, taken = _plan_locations(body, before, steps, curves)
    channels = [*rotations.values(), *locations]
    shift = (before.world @ taken[:, 0, :, None])[..., 0]
    followed: list[Channels] = []
    if options.ik_targets and channels:
        followed = _plan_moves(moves_of_targets(body, before, after, taken), before.frames)
        channels += followed
    if options.keyed:
        channels = _anchored(body, before.frames, channels, options)
    return Plan(
        before=before,
        target=aim,
        turning=tuple(sorted(moving & written)),
        locked=tuple(sorted(moving - written)),
        channels=tuple(channels),
        keyed=options.keyed,
        shift=shift,
        adrift=wished - shift,
        stopped=stopped,
        followed=tuple(dict.fromkeys(one.bone or one.owner.name for one in followed)),
    )


def _changed(before: Array, target: Array) -> frozenset[int]:
    """The joints that turn by more than a hair at any frame."""
    changes = geodesic_degrees(before, target).max(axis=0, initial=0.0)
    return frozenset(np.flatnonzero(changes > HAIR_DEGREES).tolist())


def _plan_moves(moves: Sequence[Move], frames: Sequence[float]) -> list[Channels]:
    """The channels of what IK follows."""
    planned: list[Channels] = []
    for move in moves:
        place = Channels(move.owner, move.bone, "location", move.basis[:, :3, 3], (False,) * 3)
        curves = curves_of(move.owner)
        if move.places:
            locks = tuple(place.thing.lock_location)
            locked = _locked_channels(place.thing, "location", locks, curves, frames)
            planned += [replace(place, locked=locked)] if not all(locked) else []
        if move.turns:
            quats = matrix_to_quaternion(nearest_rotation(move.basis[:, :3, :3]))
            values, locked = _plan_rotation(place.thing, frames, quats, curves)
            name = rotation_property(place.thing.rotation_mode)
            planned += [replace(place, name=name, values=values, locked=locked)] if not all(locked) else []
    return planned


def _anchored(
    body: Body, frames: Sequence[float], channels: Sequence[Channels], options: WriteOptions
) -> list[Channels]:
    """The channels with the anchors that they need, in the active action or in a layer over the NLA strips."""
    posed = _posed_times(body.armature)
    planned: list[Channels] = []
    for owner in dict.fromkeys(one.owner for one in channels):
        curves = curves_of(owner)
        layered = has_nla(owner) and not in_tweak_mode(owner)
        own = {channel: _scene_times(owner, curve) for channel, curve in curves.items()}
        in_strips = paths_in_strips(owner) if layered else frozenset()
        keyed = posed if owner == body.armature else sorted({*posed, *_posed_times(owner)})
        # Where strips animate the character, every frame of the scene counts as keyed.
        around = [-math.inf, *keyed, math.inf] if layered else keyed
        kind: AnchorKind = "FRAMES" if layered and options.anchors == "KEYS" else options.anchors
        anchored = []
        for one in (one for one in channels if one.owner == owner):
            path = one.thing.path_from_id(one.name)
            in_layer = (
                layered and path in in_strips and not any((path, index) in curves for index in one.free)
            )
            anchors: dict[int, dict[float, int]] = {}
            for index in one.free:
                if in_layer:
                    # Beside every run of frames; all that is posed counts as keyed there.
                    anchors[index] = anchor_frames(frames, (), [-math.inf, math.inf], "FRAMES")
                else:
                    anchors[index] = anchor_frames(
                        frames, own.get((path, index), ()), around, kind, as_range=options.as_range
                    )
            anchored.append(replace(one, in_layer=in_layer, anchors=anchors))
        planned += _with_resting_values(owner, anchored, curves)
    return planned


def _posed_times(owner: bpy.types.Object) -> list[float]:
    """The scene's frames at which an object has keys of any kind, ascending."""
    return sorted({time for curve in curves_of(owner).values() for time in _scene_times(owner, curve)})


def _with_resting_values(
    owner: bpy.types.Object, channels: Sequence[Channels], curves: Curves
) -> list[Channels]:
    """The channels with the values at anchors for which there is no curve to ask."""
    needed: dict[tuple[str, str], set[float]] = {}
    things: dict[str, Posable] = {}
    for one in channels:
        path = one.thing.path_from_id(one.name)
        times = {
            time for index, those in one.anchors.items() if (path, index) not in curves for time in those
        }
        needed[one.bone, one.name] = times
        things[one.bone] = one.thing
    frames = sorted(set().union(*needed.values()))
    if frames and has_nla(owner):
        values = evaluated_channels(owner, list(needed), frames)
    else:
        values = {(bone, name): channel_values(things[bone], name, frames, {}, None) for bone, name in needed}
    return [
        replace(one, resting=dict(zip(frames, values[one.bone, one.name], strict=True))) for one in channels
    ]


def _scene_times(owner: bpy.types.Object, curve: bpy.types.FCurve) -> list[float]:
    """The scene's frames at which a curve's keys show."""
    return sorted(to_scene(owner, key_times(curve).tolist()))


def _locked_channels(
    pbone: Posable, name: str, locks: Sequence[bool], curves: Curves, frames: Sequence[float]
) -> tuple[bool, ...]:
    """The channels (K,) of a bone's property that may not change at these frames: by its locks, or because the curve is
    locked, muted, or only repeats there what it does elsewhere."""
    path = pbone.path_from_id(name)
    held = []
    for index, lock in enumerate(locks):
        curve = curves.get((path, index))
        held.append(bool(lock or (curve is not None and _is_held(curve, frames))))
    return tuple(held)


def _is_held(curve: bpy.types.FCurve, frames: Sequence[float]) -> bool:
    return is_locked(curve) or is_muted(curve) or repeats_at(curve, frames)


def _plan_rotations(
    body: Body, frames: Sequence[float], basis: dict[int, Array], curves: Curves
) -> tuple[dict[int, Channels], dict[int, Array]]:
    """The channels of bones that get basis rotations (N, 3, 3), and the rotations instead of those whose bones have
    locked channels; all by the bones' indices."""
    rotations: dict[int, Channels] = {}
    held_back: dict[int, Array] = {}
    for bone, wanted in basis.items():
        pbone = body.armature.pose.bones[body.names[bone]]
        values, locked = _plan_rotation(pbone, frames, matrix_to_quaternion(wanted), curves)
        if any(locked):
            held_back[bone] = rotation_matrices(pbone.rotation_mode, values)
        if not all(locked):
            name = rotation_property(pbone.rotation_mode)
            rotations[bone] = Channels(body.armature, pbone.name, name, values, locked)
    return rotations, held_back


def _plan_rotation(
    pbone: Posable, frames: Sequence[float], quats: Array, curves: Curves
) -> tuple[Array, tuple[bool, ...]]:
    """Channel values (N, K) for basis rotations ``quats`` (N, 4) at ascending frames, and the locked channels (K,).

    Each value is the one, of those that mean the same rotation, that leaves the curves shortest between the key before
    and the key after; so Euler angles do not flip, whole turns are kept, and quaternions keep their sign.
    """
    mode = pbone.rotation_mode
    name = rotation_property(mode)
    path = pbone.path_from_id(name)
    locked = _locked_channels(pbone, name, rotation_locks(pbone), curves, frames)
    current = current_frame(current_scene())
    times = [_scene_times(owner_of(pbone), curve) for (of, _), curve in curves.items() if of == path]
    keyed = np.unique(np.concatenate([*times, np.empty(0)]))
    kept = keyed[~np.isin(keyed, np.asarray(frames, dtype=np.float64))].tolist()
    around = sorted({kept[at] for frame in frames for at in _beside(kept, frame)}) if kept else []
    at_kept = dict(zip(around, channel_values(pbone, name, around, curves, None).tolist(), strict=True))
    values: list[list[float]] = []
    for row, (frame, quat) in enumerate(zip(frames, quats.tolist(), strict=True)):
        before = bisect_left(kept, frame) - 1
        neighbours = []
        if values and (before < 0 or frames[row - 1] > kept[before]):
            neighbours.append(values[-1])
        elif before >= 0:
            neighbours.append(at_kept[kept[before]])
        if before + 1 < len(kept) and (row + 1 == len(frames) or kept[before + 1] < frames[row + 1]):
            neighbours.append(at_kept[kept[before + 1]])
        if len(neighbours) == 1 and not any(locked):
            values.append(values_near(mode, quat, neighbours[0]))
            continue
        was = channel_values(pbone, name, [frame], curves, current)[0]
        candidates = [values_near(mode, quat, near) for near in (was.tolist(), *neighbours)]
        # The first of equals is the one nearest to what was there.
        best = min(candidates, key=lambda one: round(sum(math.dist(one, other) for other in neighbours), 3))
        if any(locked):
            best = hold_locked(mode, quats[row], best, was, locked).tolist()
        values.append(best)
    return np.array(values), locked


def _beside(kept: list[float], frame: float) -> range:
    """Indices of the last of the ascending frames ``kept`` before ``frame`` and of the first after it."""
    after = bisect_left(kept, frame)
    return range(max(after - 1, 0), min(after + 1, len(kept)))


def _carrier_steps(body: Body, before: Sample, after: Array, shift: Array) -> Array:
    """(N, R, 3) the steps of the body's carriers, in the armature's space: by ``shift`` (N, 3) metres in the world, and
    what hangs on a root of its own goes where the joint that it belongs to takes it.

    ``after`` (N, B, 3, 3): how the bones will be turned.
    """
    shared = np.linalg.solve(before.world, shift[..., None])[..., 0]
    steps = np.tile(shared[:, None], (1, len(body.carriers), 1))
    first = {body.names[link.bones[0]]: link.joints[0] for link in body.tree.links}
    for place, name in enumerate(body.carriers):
        joint = first[name]
        while joint > 0:
            upper = PARENTS[joint]
            if upper in body.tree.link_of:
                bone = body.tree.link_of[upper].shown
                offset = body.positions[joint] - body.positions[upper]
                steps[:, place] += (after[:, bone] - before.turns[:, bone]) @ offset
            joint = upper
    return steps


def _plan_locations(body: Body, before: Sample, steps: Array, curves: Curves) -> tuple[list[Channels], Array]:
    """The locations of what carries the body for steps (N, R, 3) in the armature's space, and the steps that come of
    it; none where a part of several cannot follow, as the body must not come apart."""
    size = np.nanmax(body.positions) - np.nanmin(body.positions)
    far = np.abs(steps).max(axis=(0, 2), initial=0.0) > STILL_PART * size
    taken = np.zeros_like(steps)
    found = []
    for place in map(int, np.flatnonzero(far)):
        location, taken[:, place] = _plan_location(body, place, before, steps[:, place], curves)
        if location is not None:
            found.append(location)
    short = np.abs(taken - steps)[:, far].max(initial=0.0) > STILL_PART * size
    if len(body.carriers) > 1 and short:
        return [], np.zeros_like(steps)
    return found, taken


def _plan_location(
    body: Body, place: int, before: Sample, wished: Array, curves: Curves
) -> tuple[Channels | None, Array]:
    """The location of one of the carriers for steps (N, 3) in the armature's space, None where it cannot follow; and
    the steps that come of it."""
    pbone = body.armature.pose.bones[body.carriers[place]]
    if pbone.bone.use_connect and pbone.parent is not None:
        return None, np.zeros_like(wished)
    axes = _location_axes(body, pbone, before.turns)
    steps = np.linalg.solve(axes, wished[..., None])[..., 0]
    locked = _locked_channels(pbone, "location", tuple(pbone.lock_location), curves, before.frames)
    left = tuple(
        lock or bool(still)
        for lock, still in zip(locked, np.abs(steps).max(0) < 1e-3 * np.abs(steps).max(), strict=True)
    )
    steps = np.where(left, 0.0, steps)
    taken = (axes @ steps[..., None])[..., 0]
    if all(left):
        return None, taken
    return Channels(body.armature, pbone.name, "location", before.location[:, place] + steps, left), taken


def _location_axes(body: Body, pbone: bpy.types.PoseBone, turns: Array) -> Array:
    """(N, 3, 3) whose columns are the steps in the armature's space for one unit of each location channel."""
    bone, parent = pbone.bone, pbone.parent
    axes = np.empty((len(turns), 3, 3))
    for row, turn in enumerate(turns):
        # Without a parent, as Blender's own defaults have it.
        posed, rested = Matrix(), Matrix()
        if parent is not None:
            index = body.names.index(parent.name)
            posed = Matrix((turn[index] @ body.tree.rest[index]).tolist()).to_4x4()
            rested = parent.bone.matrix_local
        origin, *ends = (
            bone.convert_local_to_pose(
                Matrix.Translation(step), bone.matrix_local, parent_matrix=posed, parent_matrix_local=rested
            ).translation
            for step in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))
        )
        axes[row] = np.array([end - origin for end in ends]).T
    return axes
