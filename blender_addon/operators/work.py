# SPDX-License-Identifier: GPL-3.0-or-later
"""The course of a request: read the poses, send, wait, write the keys.

``course`` is a generator. In a window the operator advances it on timer events, so that it holds the main thread
for no longer than a step takes; in background the operator runs it to its end. Every step between two yields stays
within BUDGET_SECONDS where Blender allows it; only writing the keys is one step, because it is one undo step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Final

import bpy
import numpy as np

from ..contract.kinematics import heading, yaw_matrix
from ..contract.messages import PoseArray, ProtocolError, Request, Result, no_poses
from ..contract.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from ..contract.skeleton import BODY_PARTS
from ..rig.armature import Rig, WriteReport
from ..session import Connection, new_request_id
from .activity import Outcome, activity

BUDGET_SECONDS: Final = 0.004
"""Time for reading poses in one step; a frame of the window at 60 Hz has 16 ms."""

Wait = Callable[[float | None], bool]
"""Waits for at most so many seconds, None for as long as it takes; whether what it waits for has come."""

Course = Generator[Wait | None, None, Outcome]
"""Yields what it waits for, or None when it merely gives the window time to redraw."""


@dataclass(frozen=True)
class Order:
    """Everything about a request that is known before it starts.

    Attributes:
        task: ``adjust``, ``generate`` or ``estimate``.
        instruction: what the user asked for.
        armature: name of the armature object.
        frames: the frames to key.
        parts: names of the body parts that may move.
        strength: 0 keeps the pose, 1 is the model's answer.
        take_picture: makes the PNG bytes of the picture to send; None when none is sent.
    """

    task: str
    instruction: str
    armature: str
    frames: tuple[float, ...]
    parts: frozenset[str]
    strength: float
    take_picture: Callable[[], bytes] | None = None


def course(order: Order, connection: Connection) -> Course:
    """Carry the order out.

    Raises:
        ProtocolError: there are more frames than the backend takes, it failed, or the user cancelled.
        RigError: the armature cannot be used, or is gone.
        PictureError: the picture cannot be made.
    """
    if order.task == "adjust":
        _check_number(order, connection.limits.max_poses)
    picture = None
    if order.take_picture is not None:
        picture = order.take_picture()
        yield from _give_way()
    poses = no_poses()
    if order.task == "adjust":
        poses = yield from _read(order)
    request = Request(
        id=new_request_id(),
        task=order.task,
        instruction=order.instruction,
        poses=poses,
        image_png=picture,
        parts=None if order.parts == BODY_PARTS.keys() else order.parts,
        strength=order.strength,
    )
    sent_at = time.perf_counter()
    handle = connection.submit(request)
    activity.sent(handle)
    yield handle.wait
    if handle.result is None:
        assert handle.error is not None
        raise handle.error
    answers = _poses_of(handle.result, poses)
    report = None if answers is None else _write(order, poses, answers)
    elapsed = 1000 * (time.perf_counter() - sent_at)
    words = " ".join(dict.fromkeys(text.strip() for text in handle.result.texts if text.strip()))
    return Outcome(order.task, order.instruction, words, report, elapsed)


def _check_number(order: Order, most: int) -> None:
    """Raise ProtocolError where the poses are too many: reading them first could take minutes."""
    if len(order.frames) > most:
        raise ProtocolError(
            "too_large",
            f"An edit of {len(order.frames):,} frames is too long; choose at most {most:,} at a time.",
        )


def _read(order: Order) -> Generator[None, None, PoseArray]:
    """The poses (N, 24, 3) at the order's frames, in slices that fit the budget."""
    slices: list[PoseArray] = []
    start, count = 0, 1
    while start < len(order.frames):
        if start:
            yield from _give_way()
        began = time.perf_counter()
        slices.append(_rig(order).read(order.frames[start : start + count]).astype(np.float32))
        start += count
        spent = time.perf_counter() - began
        count = max(1, min(4 * count, int(count * BUDGET_SECONDS / spent)))
    return np.concatenate(slices)


def _give_way() -> Generator[None, None, None]:
    """Give the window time to redraw and to hear Cancel; raises ProtocolError where it was pressed."""
    yield None
    if activity.abandoned:
        raise ProtocolError("cancelled", "Cancelled; nothing was changed.")


def _poses_of(result: Result, sent: PoseArray) -> PoseArray | None:
    """(N, 24, 3), a pose that was answered in words alone as it was sent; None where all were."""
    if all(pose is None for pose in result.poses):
        return None
    poses: PoseArray = np.stack([sent[n] if pose is None else pose for n, pose in enumerate(result.poses)])
    return poses


def _write(order: Order, sent: PoseArray, answers: PoseArray) -> WriteReport:
    rig = _rig(order)
    joints = frozenset(joint for part in order.parts for joint in BODY_PARTS[part])
    kept: frozenset[int] = frozenset()
    if order.task == "adjust":
        # What the model left as it was sent may have been posed anew by the user while it worked.
        kept = frozenset(np.flatnonzero((answers == sent).all(axis=(0, 2))).tolist())
    else:
        answers = _face_as_before(rig, order.frames, answers, keep_turn=order.task == "generate")
    return rig.write(order.frames, answers, joints=joints, kept=kept)


def _face_as_before(rig: Rig, frames: tuple[float, ...], poses: PoseArray, *, keep_turn: bool) -> PoseArray:
    """Poses made from nothing, turned to the headings that the body has at these frames: the model does not know the
    scene.

    ``keep_turn``: a heading in the poses is one that was asked for, relative to the body's; otherwise it is the
    heading relative to some camera, and is dropped.
    """
    root = axis_angle_to_matrix(poses[:, 0])
    turn = heading(axis_angle_to_matrix(rig.read(frames)[:, 0])) - (0.0 if keep_turn else heading(root))
    turned = poses.copy()
    turned[:, 0] = matrix_to_axis_angle(yaw_matrix(turn) @ root)
    return turned


def _rig(order: Order) -> Rig:
    """The armature, looked up anew: between two steps undo may have replaced it, or the user removed it."""
    return Rig.of(bpy.data.objects.get(order.armature))
