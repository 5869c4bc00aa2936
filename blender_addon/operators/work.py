# SPDX-License-Identifier: GPL-3.0-or-later
"""The course of a request: read the poses, send, wait, write the keys.

``course`` is a generator. In a window the operator advances it on timer events, so that it holds the main thread
for no longer than a step takes; in background the operator runs it to its end. Every step between two yields stays
within BUDGET_SECONDS where Blender allows it; only writing the keys is one step, because it is one undo step.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from typing import Final

import bpy
import numpy as np

from ..contract.kinematics import heading, yaw_matrix
from ..contract.messages import (
    SPOKEN_TASKS,
    PoseArray,
    ProtocolError,
    Request,
    Result,
    Turn,
    View,
    no_poses,
)
from ..contract.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from ..contract.skeleton import BODY_PARTS
from ..rig.armature import Rig, WriteOptions, WriteReport
from ..rig.blender_types import current_scene
from ..rig.offset import Blend, blend_weights, carry, towards
from ..rig.sample import current_frame, is_plain
from ..session import Connection, new_request_id
from .activity import Outcome, Variants, activity
from .certainty import unsure_limbs
from .picture import Picture, Taking, Wait
from .target import Follower, find_rig, others_in_pose_mode

BUDGET_SECONDS: Final = 0.004
"""Time for reading poses in one step; a frame of the window at 60 Hz has 16 ms."""

EVALUATION_SECONDS: Final = 0.04
"""The same where Blender has to evaluate the scene for every pose."""

LEAST_EVALUATED: Final = 4
"""Poses that are then read in one step however long they take. Showing the scene's own frame again after each step
takes as long as two of them; one at a time, as where the machine is busy, would be three times the work."""

Course = Generator[Wait | None, None, Outcome]
"""Yields what it waits for, or None when it merely gives the window time to redraw."""


@dataclass(frozen=True)
class Order:
    """Everything about a request that is known before it starts.

    Attributes:
        task: one of the protocol's TASKS.
        at_picture: whether the pose to adjust is the one that the picture shows.
        instruction: what the user asked for.
        armature: the armature object's session_uid, which renaming and undo leave as it is.
        frames: the frames to key.
        parts: names of the body parts that may move.
        strength: 0 keeps the pose, 1 is the model's answer.
        variants: how many different answers are wished for.
        take_picture: makes the picture to send; None when none is sent.
        references: the frames that the model is asked about, ascending, and whose change is carried over to ``frames``;
            empty where it is asked about each of these.
        blend: how the change comes and goes over the frames.
        shows_pose: whether a question that is answered in words shows the pose at ``frames``.
        said: the turns before such a question.
        options: how the poses are written.
    """

    task: str
    instruction: str
    armature: int
    frames: tuple[float, ...]
    parts: frozenset[str]
    strength: float
    variants: int = 1
    at_picture: bool = False
    take_picture: Taking | None = None
    references: tuple[float, ...] = ()
    blend: Blend = field(default_factory=Blend)
    shows_pose: bool = True
    said: tuple[Turn, ...] = ()
    options: WriteOptions = field(default_factory=WriteOptions)

    @property
    def starts_in_scene(self) -> bool:
        """Whether poses of the scene are changed."""
        return self.task == "adjust" and not self.at_picture

    @property
    def shows_poses(self) -> bool:
        """Whether the poses at the frames are sent."""
        return self.starts_in_scene or (self.task in SPOKEN_TASKS and self.shows_pose)

    @property
    def asked(self) -> tuple[float, ...]:
        """The frames that the model is asked about."""
        return self.references or self.frames


def course(order: Order, connection: Connection) -> Course:
    """Carry the order out.

    Raises:
        ProtocolError: there are more frames than the backend takes, it failed, or the user cancelled.
        RigError: the armature cannot be used, or is gone.
        PictureError: the picture cannot be made.
    """
    if order.starts_in_scene:
        _check_number(order, connection.limits.max_poses)
    picture = yield from taken(order.take_picture)
    poses = (yield from _read(order)) if order.shows_poses else no_poses()
    sent_at = time.perf_counter()
    result = yield from answered(connection, _request(order, picture, poses))
    texts = [text.strip() for text in (*result.texts, unsure_limbs(result))]
    words = " ".join(dict.fromkeys(text for text in texts if text))
    variants = report = None
    if any(pose is not None for pose in result.poses):
        variants = _variants_of(order, poses, result)
        report = show(variants)
        _remember(order, poses, words, report)
    if order.task == "chat":
        _remember_chat(order, poses, words, result)
    elapsed = 1000 * (time.perf_counter() - sent_at)
    return Outcome(order.task, order.instruction, words, report, elapsed, variants, _alone(order, report))


def _request(order: Order, picture: Picture | None, poses: PoseArray) -> Request:
    """The order as it is sent."""
    return Request(
        id=new_request_id(),
        task=order.task,
        instruction=order.instruction,
        poses=poses,
        image_png=None if picture is None else picture.png,
        view=None if picture is None else _view_of_first(order, picture.view, poses),
        history=_history(order, poses),
        parts=None if order.parts == BODY_PARTS.keys() else order.parts,
        strength=order.strength,
        variants=order.variants,
    )


def answered(connection: Connection, request: Request) -> Generator[Wait | None, None, Result]:
    """Send the request and wait for its result; raises ProtocolError where it failed."""
    handle = connection.submit(request)
    activity.sent(handle)
    yield handle.wait
    if handle.result is None:
        assert handle.error is not None
        raise handle.error
    return handle.result


def _remember(order: Order, poses: PoseArray, words: str, report: WriteReport) -> None:
    """Remember an edit of one pose, to send along with the next."""
    if order.task == "adjust" and report.changed and len(order.frames) == 1 and len(poses) == 1:
        after = find_rig(order.armature).read(order.frames)[0].astype(np.float32)
        activity.edit_turns.add(order.armature, order.instruction, words, poses[0], after)


def _remember_chat(order: Order, poses: PoseArray, words: str, result: Result) -> None:
    """Remember a question and its answer, to send along with the next."""
    answered = [variant[0] for variant in result.variants if variant[0] is not None]
    shown = poses[0] if len(poses) else None
    said = Turn(order.instruction, shown, words, np.stack(answered) if answered else no_poses())
    activity.chat.add(said)


def _alone(order: Order, report: WriteReport | None) -> str:
    """A sentence where further armatures are in Pose Mode, who could be meant too."""
    if report is None:
        return ""
    armature = find_rig(order.armature).armature
    others = others_in_pose_mode(bpy.context, armature)
    return f"Only {armature.name} was posed; {others}" if others else ""


def _view_of_first(order: Order, view: View | None, poses: PoseArray) -> View | None:
    """Where the camera is as the body sees it that is asked first; ``view`` is of the frame that the scene shows."""
    shown = current_frame(current_scene())
    if view is None or not len(poses) or order.asked[0] == shown:
        return view
    now, first = find_rig(order.armature).read((shown,))[0, 0], poses[0, 0]
    turned = heading(axis_angle_to_matrix(first)) - heading(axis_angle_to_matrix(now))
    return replace(view, yaw=view.yaw - float(turned))


def _check_number(order: Order, most: int) -> None:
    """Raise ProtocolError where the poses are too many: reading them first could take minutes."""
    if len(order.asked) > most:
        raise ProtocolError(
            "too_large",
            f"An edit of {len(order.asked):,} frames is too long; choose at most {most:,} at a time.",
        )


def _read(order: Order) -> Generator[None, None, PoseArray]:
    """The poses (N, 24, 3) at the frames that the model is asked about, in slices that fit the budget."""
    figure = Follower(order.armature)
    slices: list[PoseArray] = []
    start, count = 0, 1
    while start < len(order.asked):
        if start:
            yield from give_way()
        rig = figure.rig()
        least, budget = (
            (1, BUDGET_SECONDS) if is_plain(rig.armature) else (LEAST_EVALUATED, EVALUATION_SECONDS)
        )
        began = time.perf_counter()
        slices.append(rig.read(order.asked[start : start + count]).astype(np.float32))
        start += count
        spent = time.perf_counter() - began
        count = max(least, min(4 * count, int(count * budget / spent)))
    return np.concatenate(slices)


def _history(order: Order, poses: PoseArray) -> tuple[Turn, ...]:
    """What was said before; of an edit what was asked of this figure, where one pose is edited: a turn has one pose."""
    if order.task in SPOKEN_TASKS:
        return order.said
    return activity.edit_turns.leading_to(order.armature, poses[0]) if len(poses) == 1 else ()


def taken(take_picture: Taking | None) -> Generator[Wait | None, None, Picture | None]:
    """The picture that is to be sent, in steps; raises ProtocolError where Cancel was pressed between two of them."""
    if take_picture is None:
        return None
    taking = take_picture()
    try:
        while True:
            yield next(taking)
            _check_abandoned()
    except StopIteration as end:
        picture: Picture = end.value
    finally:
        taking.close()
    yield from give_way()
    return picture


def give_way() -> Generator[None, None, None]:
    """Give the window time to redraw and to hear Cancel; raises ProtocolError where it was pressed."""
    yield None
    _check_abandoned()


def _check_abandoned() -> None:
    if activity.abandoned:
        raise ProtocolError("cancelled", "Cancelled; nothing was changed.")


def _variants_of(order: Order, sent: PoseArray, result: Result) -> Variants:
    """The answers as they are to be keyed. A pose that was answered in words alone stays as it was sent."""
    joints = frozenset(joint for part in order.parts for joint in BODY_PARTS[part])
    kept: frozenset[int] = frozenset()
    answers = [
        np.stack([sent[row] if pose is None else pose for row, pose in enumerate(poses)])
        for poses in result.variants
    ]
    if len(sent):
        # What the model left as it was sent may have been posed anew by the user while it worked.
        turned = np.any([(poses != sent).any(axis=(0, 2)) for poses in answers], axis=0)
        kept = frozenset(np.flatnonzero(~turned).tolist())
        answers = [_over_range(order, sent, poses) for poses in answers]
    else:
        rig, keep_turn = find_rig(order.armature), order.task in ("generate", "chat")
        answers = [_face_as_before(rig, order.frames, poses, keep_turn=keep_turn) for poses in answers]
    return Variants(order.armature, order.frames, tuple(answers), joints, kept, order.options)


def show(variants: Variants) -> WriteReport:
    """Key the variant that is chosen. Raises RigError as Rig.write does."""
    return find_rig(variants.armature).write(
        variants.frames,
        variants.poses[variants.chosen],
        joints=variants.joints,
        kept=variants.kept,
        options=variants.options,
    )


def _over_range(order: Order, sent: PoseArray, answers: PoseArray) -> PoseArray:
    """The poses (N, 24, 3) for the order's frames: what was answered about each, or carried over from the references,
    with the order's blend."""
    if not (order.references or order.blend.into or order.blend.out):
        return answers
    before = axis_angle_to_matrix(find_rig(order.armature).read(order.frames))
    after = axis_angle_to_matrix(answers)
    if order.references:
        after = carry(before, order.frames, axis_angle_to_matrix(sent), after, order.references)
    blended = towards(before, after, blend_weights(order.frames, order.blend))
    return np.asarray(matrix_to_axis_angle(blended), dtype=np.float32)


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
