# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the targets of inverse kinematics have to be for limbs to stand as they were asked to. Runs inside Blender, and
changes nothing.

A limb that an IK constraint drives goes where the constraint's target is, whatever is keyed on its bones. So the target
is moved to where the limb's end should be, turned as the hand or foot is, and the pole to the side that the limb should
bend to; ``plan`` keys them as it keys bones. Blender's solver starts from the keyed rotations of the bones, which stand
as asked for already, and stays there.

Legend: N frames, B bones of the body's tree; ``head`` (N, B, 3) where bones begin, in the armature's space; ``turn`` as
in ``convert``; matrices (N, 4, 4) are of the world.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import bpy
import numpy as np
from mathutils import Matrix

from ..contract.rotations import Array, axis_angle_to_matrix
from .blender_types import is_armature
from .body import Body
from .bone_map import Switch
from .convert import transpose
from .holders import chain_of, ik_constraints, switches_off
from .sample import Sample, visit

NEAR: Final = 0.02
"""A target that is farther than this part of its limb's length from the limb's end is out of its reach."""

STAYS: Final = 3e-4
"""A limb that moves by less than this part of its length, and turns by less than so many radians, stays: a hair."""

STRAIGHT: Final = 0.01
"""A limb whose middle joint is nearer to its line than this part of its length bends to no side yet."""


@dataclass(frozen=True)
class Move:
    """How something that IK follows has to move.

    Attributes:
        owner: the object; an armature where a bone of it is meant.
        bone: the bone's name, empty for the object itself.
        basis: (N, 4, 4) its own channels as one matrix.
        turns: whether its rotation counts, and not only its place.
        places: whether its place counts.
    """

    owner: bpy.types.Object
    bone: str
    basis: Array
    turns: bool
    places: bool = True


@dataclass(frozen=True)
class _Limb:
    """A limb that IK drives.

    Attributes:
        root: index of the bone that the limb begins with.
        last: index of the bone whose end reaches for the target.
        end: index of the bone there, hand or foot; the same as ``last`` where there is none.
        turned: indices of the bones that IK turns.
        constraint: what drives it; None where a control rig does.
        switch: the control rig's property.
    """

    root: int
    last: int
    end: int
    turned: frozenset[int]
    constraint: bpy.types.KinematicConstraint | None = None
    switch: Switch | None = None


def driven_joints(body: Body) -> frozenset[int]:
    """The joints that IK drives and whose targets can be moved."""
    turned = {bone for limb in _limbs(body) for bone in limb.turned}
    return frozenset(
        joint for link in body.tree.links if turned & {*link.bones, link.shown} for joint in link.joints
    )


def moves_of_targets(body: Body, before: Sample, turns: Array, steps: Array) -> list[Move]:
    """What has to move for the limbs that IK drives to stand as they should. Limbs that stay where they are keep their
    targets.

    Args:
        before: how the armature stands.
        turns: (N, B, 3, 3) how its bones should be turned.
        steps: (N, R, 3) how far the body's carriers go, in the armature's space.
    """
    limbs = list(_limbs(body))
    if not limbs:
        return []
    things = {thing for limb in limbs for thing in _things_of(body, limb)}
    seen = _look(body, before.frames, things)
    after = _heads_after(body, before, turns, steps, seen)
    change = turns @ transpose(before.turns)
    moves: list[Move] = []
    for limb in limbs:
        far = np.abs(after - seen.head)[:, [limb.root, limb.last, limb.end]].max(initial=0.0)
        turned = np.abs(change[:, [limb.root, limb.last, limb.end]] - np.eye(3)).max(initial=0.0)
        length = np.linalg.norm(seen.head[:, limb.end] - seen.head[:, limb.root], axis=-1).max(initial=0.0)
        if max(far / max(length, 1e-9), turned) < STAYS:
            continue
        if limb.switch is not None:
            moves += _moves_of_controls(body, limb, limb.switch, seen, after, turns, change)
        elif limb.constraint is not None:
            moves += _moves_of_constraint(body, limb, limb.constraint, seen, after, turns, change)
    return moves


Thing = tuple[bpy.types.Object, str]
"""An object and the name of its bone, or an empty text."""


@dataclass(frozen=True)
class _Seen:
    """What the scene shows at the frames.

    Attributes:
        head, tail: (N, B, 3) where the tree's bones begin and end, in the armature's space.
        world: (N, 4, 4) the armature's world matrix.
        matrix: thing -> (N, 4, 4) in the world.
        carrier: thing -> (N, 4, 4) in the world, of a bone its armature's, of an object what its own channels are
            applied to.
        above: thing -> (N, 4, 4) how a bone's parent is posed, in its armature's space.
    """

    head: Array
    tail: Array
    world: Array
    matrix: dict[Thing, Array]
    carrier: dict[Thing, Array]
    above: dict[Thing, Array]


def _look(body: Body, frames: Sequence[float], things: set[Thing]) -> _Seen:
    shape = (len(frames), len(body.names), 3)
    head, tail, world = np.empty(shape), np.empty(shape), np.empty((len(frames), 4, 4))
    matrix, carrier, above = (
        {thing: np.tile(np.eye(4), (len(frames), 1, 1)) for thing in things} for _ in range(3)
    )
    for row, armature in visit(body.armature, frames, True):
        world[row] = armature.matrix_world
        for bone, name in enumerate(body.names):
            head[row, bone], tail[row, bone] = armature.pose.bones[name].head, armature.pose.bones[name].tail
        graph = bpy.context.evaluated_depsgraph_get()
        for owner, name in things:
            shown = owner.evaluated_get(graph)
            thing = owner, name
            if not name:
                matrix[thing][row] = shown.matrix_world
                carrier[thing][row] = shown.matrix_world @ shown.matrix_basis.inverted_safe()
                continue
            assert shown.pose is not None
            pbone = shown.pose.bones[name]
            matrix[thing][row] = shown.matrix_world @ pbone.matrix
            carrier[thing][row] = shown.matrix_world
            if pbone.parent is not None:
                above[thing][row] = pbone.parent.matrix
    return _Seen(head, tail, world, matrix, carrier, above)


def _heads_after(body: Body, before: Sample, turns: Array, steps: Array, seen: _Seen) -> Array:
    """(N, B, 3) where bones begin once they are turned and what carries the body has gone ``steps`` (N, R, 3)."""
    after = seen.head.copy()
    step_of = {body.names.index(name): steps[:, place] for place, name in enumerate(body.carriers)}
    step_of[body.tree.link_of[0].shown] = steps[:, 0]  # of a control rig it follows the pelvis
    carried: set[int] = set()
    for bone, parent in enumerate(body.tree.parents):
        if parent >= 0:
            change = turns[:, parent] @ transpose(before.turns[:, parent])
            offset = seen.head[:, bone] - seen.head[:, parent]
            after[:, bone] = after[:, parent] + (change @ offset[..., None])[..., 0]
        if bone in step_of and parent not in carried:
            after[:, bone] += step_of[bone]
        if bone in step_of or parent in carried:
            carried.add(bone)
    return after


def _moves_of_constraint(
    body: Body,
    limb: _Limb,
    constraint: bpy.types.KinematicConstraint,
    seen: _Seen,
    after: Array,
    turns: Array,
    change: Array,
) -> Iterator[Move]:
    last, root = limb.last, limb.root
    along = (
        seen.tail[:, last] - seen.head[:, last] if constraint.use_tail else np.zeros_like(seen.head[:, last])
    )
    end_before = seen.head[:, last] + along
    end_after = after[:, last] + (change[:, last] @ along[..., None])[..., 0]
    thing = _target(constraint.target, constraint.subtarget)
    assert thing is not None
    place = _into(seen.world, seen.matrix[thing])
    off = place[:, :3, 3] - end_before
    length = np.linalg.norm(end_before - seen.head[:, root], axis=-1)
    reached = np.linalg.norm(off, axis=-1) < NEAR * length
    kept = (change[:, limb.end] @ off[..., None])[..., 0]
    place[:, :3, 3] = end_after + np.where(reached[:, None], kept, 0.0)
    follows = _is_followed(body, thing) or constraint.use_rotation
    if follows:
        place[:, :3, :3] = change[:, limb.end] @ place[:, :3, :3]
    yield _move(thing, seen, seen.world @ place, turns=follows)
    pole = _target(constraint.pole_target, constraint.pole_subtarget)
    if pole is not None:
        place = _into(seen.world, seen.matrix[pole])
        place[:, :3, 3] = _pole_after(
            constraint, root, seen, end_before, after, end_after, turns, body, place
        )
        yield _move(pole, seen, seen.world @ place, turns=False)


def _pole_after(
    constraint: bpy.types.KinematicConstraint,
    root: int,
    seen: _Seen,
    end_before: Array,
    after: Array,
    end_after: Array,
    turns: Array,
    body: Body,
    place: Array,
) -> Array:
    """(N, 3) where the pole has to be, in the armature's space.

    Blender turns the limb about the line from its root to its end until an axis of the root bone, x turned about y by
    the pole angle, points at the pole. The pole keeps its distance from that line, and its height along it.
    """
    ahead_before = _unit(end_before - seen.head[:, root])
    line = end_after - after[:, root]
    ahead = _unit(line)
    height, aside = _split(place[:, :3, 3] - seen.head[:, root], ahead_before)
    distance = np.linalg.norm(aside, axis=-1, keepdims=True)
    distance = np.where(distance > 1e-4, distance, np.linalg.norm(line, axis=-1, keepdims=True))
    axes = turns[:, root] @ body.tree.rest[root]
    side = np.cos(constraint.pole_angle) * axes[..., 0] + np.sin(constraint.pole_angle) * axes[..., 2]
    _, aside = _split(side, ahead)
    return np.asarray(after[:, root] + height * ahead + distance * _unit(aside))


def _moves_of_controls(
    body: Body, limb: _Limb, switch: Switch, seen: _Seen, after: Array, turns: Array, change: Array
) -> Iterator[Move]:
    """The control that the limb's end follows goes along with hand or foot. The limb bends to the right side by the one
    that it bends towards, or by the one that it hangs on, which is twisted about the line from the limb's root to its
    end."""
    armature = body.armature
    if switch.target in armature.pose.bones:
        thing = (armature, switch.target)
        place = _into(seen.world, seen.matrix[thing])
        off = place[:, :3, 3] - seen.head[:, limb.end]
        place[:, :3, 3] = after[:, limb.end] + (change[:, limb.end] @ off[..., None])[..., 0]
        place[:, :3, :3] = change[:, limb.end] @ place[:, :3, :3]
        yield _move(thing, seen, seen.world @ place, turns=True)
    if switch.pole in armature.pose.bones:
        thing = (armature, switch.pole)
        place = _into(seen.world, seen.matrix[thing])
        place[:, :3, 3] = _bent_towards(limb, seen, after, change, place[:, :3, 3])
        yield _move(thing, seen, seen.world @ place, turns=False)
    if switch.base in armature.pose.bones:
        swing = armature.data.bones[switch.base].parent
        carrier = body.tree.parents[limb.root]
        if swing is None or carrier < 0:
            return
        rest = np.array(swing.matrix_local, dtype=np.float64)[:3, :3]
        resting = np.array([[armature.data.bones[name].head_local for name in body.names]], dtype=np.float64)
        twist = _bend_angle(limb, after, turns[:, carrier] @ rest) - _bend_angle(limb, resting, rest[None])
        basis = np.tile(np.eye(4), (len(twist), 1, 1))
        basis[:, 0, 0] = basis[:, 2, 2] = np.cos(twist)
        basis[:, 0, 2], basis[:, 2, 0] = np.sin(twist), -np.sin(twist)
        yield Move(armature, switch.base, basis, turns=True, places=False)


def _bent_towards(limb: _Limb, seen: _Seen, after: Array, change: Array, pole: Array) -> Array:
    """(N, 3) where a pole (N, 3) has to be that a limb bends towards: as far along the line from the limb's root to its
    end and as far from it as now, on the side of the middle joint; of a straight limb on the side to which its root
    turns it."""
    line = seen.head[:, limb.end] - seen.head[:, limb.root]
    along, aside = _split(pole - seen.head[:, limb.root], _unit(line))
    line = after[:, limb.end] - after[:, limb.root]
    _, bent = _split(after[:, limb.last] - after[:, limb.root], _unit(line))
    _, turned = _split((change[:, limb.root] @ aside[..., None])[..., 0], _unit(line))
    size = np.linalg.norm(line, axis=-1, keepdims=True)
    side = np.where(np.linalg.norm(bent, axis=-1, keepdims=True) > STRAIGHT * size, bent, turned)
    height = np.linalg.norm(aside, axis=-1, keepdims=True)
    return np.asarray(after[:, limb.root] + along * _unit(line) + height * _unit(side))


def _split(vector: Array, direction: Array) -> tuple[Array, Array]:
    """How far vectors (N, 3) go along unit directions (N, 1), and what is left of them (N, 3)."""
    along = np.sum(vector * direction, axis=-1, keepdims=True)
    return along, vector - along * direction


def _bend_angle(limb: _Limb, head: Array, swing: Array) -> Array:
    """(N,) radians about the line from a limb's root to its end at which its middle joint lies, against a bone that
    stands as ``swing`` (N, 3, 3) and turns its y towards the end by the shortest way (Damped Track, as in Rigify)."""
    line = _unit(head[:, limb.end] - head[:, limb.root])
    bent = head[:, limb.last] - head[:, limb.root]
    axes = _shortest(swing[..., 1], line) @ swing
    x, z = np.sum(axes[..., 0] * bent, axis=-1), np.sum(axes[..., 2] * bent, axis=-1)
    return np.asarray(np.arctan2(x, z))


def _shortest(start: Array, end: Array) -> Array:
    """(N, 3, 3) the least rotations that take unit vectors (N, 3) to others (N, 3)."""
    axis = np.cross(start, end)
    sine = np.linalg.norm(axis, axis=-1, keepdims=True)
    angle = np.arctan2(sine, np.sum(start * end, axis=-1, keepdims=True))
    return axis_angle_to_matrix(angle * axis / np.maximum(sine, 1e-9))


def _move(thing: Thing, seen: _Seen, matrix: Array, *, turns: bool) -> Move:
    """The move of a thing to new world matrices (N, 4, 4); what carries it stays where it is."""
    owner, name = thing
    if not name:
        return Move(owner, name, np.linalg.inv(seen.carrier[thing]) @ matrix, turns)
    assert is_armature(owner)
    bone = owner.data.bones[name]
    rest = Matrix() if bone.parent is None else bone.parent.matrix_local
    posed = np.linalg.inv(seen.carrier[thing]) @ matrix
    basis = [
        bone.convert_local_to_pose(
            Matrix(one.tolist()),
            bone.matrix_local,
            parent_matrix=Matrix(parent.tolist()),
            parent_matrix_local=rest,
            invert=True,
        )
        for one, parent in zip(posed, seen.above[thing], strict=True)
    ]
    return Move(owner, name, np.array(basis, dtype=np.float64), turns)


def _into(world: Array, matrix: Array) -> Array:
    """World matrices (N, 4, 4) in the armature's space."""
    return np.asarray(np.linalg.inv(world) @ matrix)


def _unit(vectors: Array) -> Array:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-9))


def _limbs(body: Body) -> Iterator[_Limb]:
    index = {name: bone for bone, name in enumerate(body.names)}
    for switch in switches_off(body):
        links = [body.tree.link_of.get(joint) for joint in switch.joints[:3]]
        if switch.target and None not in links:
            root, last, end = (link.shown for link in links if link is not None)
            yield _Limb(root, last, end, frozenset({root, last, end}), switch=switch)
    played = {bone for link in body.tree.links for bone in link.bones}
    for pbone, constraint in ik_constraints(body.armature):
        chain = chain_of(pbone, constraint)
        if not chain or any(one.name not in index for one in (pbone, *chain)):
            continue
        last, turned = index[pbone.name], frozenset(index[one.name] for one in chain)
        if not played & turned or _target(constraint.target, constraint.subtarget) is None:
            continue
        ends = [bone for bone in played if body.tree.parents[bone] == last]
        yield _Limb(index[chain[-1].name], last, ends[0] if ends else last, turned, constraint)


def _things_of(body: Body, limb: _Limb) -> Iterator[Thing]:
    if limb.switch is not None:
        names = (limb.switch.target, limb.switch.base, limb.switch.pole)
        yield from ((body.armature, name) for name in names if name in body.armature.pose.bones)
    elif limb.constraint is not None:
        constraint = limb.constraint
        for target, subtarget in (
            (constraint.target, constraint.subtarget),
            (constraint.pole_target, constraint.pole_subtarget),
        ):
            thing = _target(target, subtarget)
            if thing is not None:
                yield thing


def _target(target: bpy.types.Object | None, subtarget: str) -> Thing | None:
    """What a constraint follows, where that can be moved: an editable object, or a bone of one, that nothing holds."""
    if target is None or not target.is_editable:
        return None
    if not subtarget:
        return None if any(not one.mute for one in target.constraints) else (target, "")
    if target.pose is None or subtarget not in target.pose.bones:
        return None
    pbone = target.pose.bones[subtarget]
    return None if any(not one.mute for one in pbone.constraints) else (target, subtarget)


def _is_followed(body: Body, thing: Thing) -> bool:
    """Whether a bone of the body takes its rotation from what the IK follows, as a foot does from its control."""
    owner, bone = thing
    return any(
        constraint.target == owner and constraint.subtarget == bone and not constraint.mute
        for pbone in body.armature.pose.bones
        for constraint in pbone.constraints
        if isinstance(constraint, (bpy.types.CopyRotationConstraint, bpy.types.CopyTransformsConstraint))
    )
