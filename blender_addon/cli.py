# SPDX-License-Identifier: GPL-3.0-or-later
"""The add-on without a window: ``blender -b FILE --command posellava …`` and the same as functions for scripts.

    blender -b scene.blend --command posellava edit --instruction "raise the left arm" --frames 1:48 --save out.blend

In a script inside Blender, or with the bpy module::

    from bl_ext.user_default.posellava import cli
    outcome = cli.edit("raise the left arm", frames="1:48")

May import the operators, which do the work, the rig and the settings.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import bpy

from .contract.messages import SPOKEN_TASKS
from .contract.skeleton import BODY_PARTS
from .operators.activity import Outcome, activity
from .rig.armature import find_armature
from .rig.bone_map import RigError
from .settings import ANCHOR_ITEMS, preferences

URL_VARIABLE: Final = "POSELLAVA_URL"
TOKEN_VARIABLE: Final = "POSELLAVA_TOKEN"

INTERRUPTED: Final = 130
"""Exit status after Ctrl-C, as shells have it."""

_ANCHORS: Final = tuple(item[0] for item in ANCHOR_ITEMS)

_command: Any = None


class CommandError(RuntimeError):
    """A command could not be carried out; the text is one sentence for the user."""


def edit(
    instruction: str,
    *,
    frames: str | None = None,
    armature: str | None = None,
    parts: Sequence[str] = tuple(BODY_PARTS),
    strength: float = 1.0,
    send_view: bool = False,
    offset: str | None = None,
    every_frame: bool = False,
    blend_in: int = 0,
    blend_out: int = 0,
    anchors: str = "frames",
    limits: bool = True,
    ik_targets: bool = False,
    url: str | None = None,
    token: str | None = None,
) -> Outcome:
    """Change the armature's poses as the instruction says, and key them.

    Args:
        instruction: what should change.
        frames: ``12``, ``1,5,9`` or ``1:48`` with both ends; None for the current frame.
        armature: name of the armature object; None for the active one, or the only one in the scene.
        parts: names of the body parts that may move.
        strength: 0 keeps the pose, 1 is the model's answer.
        send_view: send a render of the scene's camera along.
        offset: one or more frames, as in ``frames``: the model is asked about these, and their change is carried over
            to all of ``frames``. None to ask it about each.
        every_frame: with ``offset``, key all of ``frames``, and not only those at which the character has keys.
        blend_in: frames over which the change comes at the beginning, where there is animation before them.
        blend_out: frames over which it goes at the end, where there is animation after them.
        anchors: what keeps other frames as they are: keys on the ``frames`` beside the edit, on the character's
            nearest ``keys``, or ``none``.
        limits: stop joints where a body's would.
        ik_targets: where inverse kinematics drives a limb, move and key what it follows.
        url: address of the backend; None for $POSELLAVA_URL, or the add-on's preferences.
        token: the backend's token; None for $POSELLAVA_TOKEN, or the add-on's preferences.

    Raises:
        CommandError: nothing was changed; the sentence says why and what to do.
    """
    if not 0.0 <= strength <= 1.0:
        raise CommandError(f"A strength of {strength:g} is none; give one from 0 to 1.")
    if min(blend_in, blend_out) < 0:
        raise CommandError("A change cannot come or go over less than 0 frames.")
    options: dict[str, Any] = {
        "strength": strength,
        "send_view": send_view,
        "variants": 1,
        "blend_in": blend_in,
        "blend_out": blend_out,
        **_writing(anchors, limits, ik_targets),
    }
    if offset is not None:
        options |= {"range_mode": "OFFSET", "reference_list": offset, "every_frame": every_frame}
    if frames is None:
        options["frames"] = "CURRENT"
    elif frames.strip():
        options["frame_list"] = frames
    else:
        raise CommandError("The list of frames is empty; write one such as 12, 1:48 or 1,5,9.")
    return _ask("edit_pose", armature, parts, url, token, instruction=instruction, **options)


def generate(
    instruction: str,
    *,
    armature: str | None = None,
    parts: Sequence[str] = tuple(BODY_PARTS),
    anchors: str = "frames",
    limits: bool = True,
    ik_targets: bool = False,
    url: str | None = None,
    token: str | None = None,
) -> Outcome:
    """Make the pose that the instruction describes, and key it at the current frame. Arguments as for edit()."""
    options = _writing(anchors, limits, ik_targets)
    return _ask("generate_pose", armature, parts, url, token, instruction=instruction, variants=1, **options)


def estimate(
    image: str,
    *,
    instruction: str = "",
    armature: str | None = None,
    parts: Sequence[str] = tuple(BODY_PARTS),
    anchors: str = "frames",
    limits: bool = True,
    ik_targets: bool = False,
    url: str | None = None,
    token: str | None = None,
) -> Outcome:
    """Take on the pose of the person in an image file, and key it at the current frame. Arguments as for edit()."""
    options: dict[str, Any] = {"filepath": image, "changed": False, **_writing(anchors, limits, ik_targets)}
    return _ask("estimate_pose", armature, parts, url, token, instruction=instruction, **options)


def describe(
    *,
    since: int | None = None,
    armature: str | None = None,
    url: str | None = None,
    token: str | None = None,
) -> Outcome:
    """Have the model say what the pose at the current frame is like, or what changed since another frame; nothing is
    changed. ``since`` is that frame; the other arguments are as for edit(). The words are the outcome's ``words``.

    Raises:
        CommandError: the model does not speak, or has nothing to say.
    """
    if since is None:
        return _ask("describe_pose", armature, tuple(BODY_PARTS), url, token)
    return _ask("what_changed", armature, tuple(BODY_PARTS), url, token, since="FRAME", since_frame=since)


def chat(
    instruction: str,
    *,
    shows_pose: bool = True,
    armature: str | None = None,
    url: str | None = None,
    token: str | None = None,
) -> Outcome:
    """Ask the model something, with the pose at the current frame where ``shows_pose``; what was said before in this
    Blender goes along. A pose in the answer is keyed. Arguments as for edit(); raises as describe()."""
    return _ask(
        "chat", armature, tuple(BODY_PARTS), url, token, instruction=instruction, shows_pose=shows_pose
    )


def _writing(anchors: str, limits: bool, ik_targets: bool) -> dict[str, Any]:
    """The operators' options of how poses are written. Raises CommandError where there are no such anchors."""
    if anchors.upper() not in _ANCHORS:
        raise CommandError(f"There are no anchors {anchors!r}; write frames, keys or none.")
    return {"anchors": anchors.upper(), "limits": limits, "ik_targets": ik_targets}


def _ask(
    operator: str,
    armature: str | None,
    parts: Sequence[str],
    url: str | None,
    token: str | None,
    **options: Any,
) -> Outcome:
    """Call the panel's operator and return what came of it. The preferences name this backend for as long as it
    takes only, so that Blender does not store them with it.

    Raises:
        CommandError: it failed, or the model answered in words alone.
        KeyboardInterrupt: Ctrl-C was pressed; the request was cancelled.
    """
    unknown = sorted(set(parts) - BODY_PARTS.keys())
    if unknown:
        raise CommandError(f"There is no body part {unknown[0]!r}; there are {', '.join(BODY_PARTS)}.")
    _make_active(armature)
    chosen = preferences(bpy.context)
    before = chosen.url, chosen.token
    chosen.url = url or os.environ.get(URL_VARIABLE) or chosen.url
    chosen.token = token or os.environ.get(TOKEN_VARIABLE) or chosen.token
    activity.forget()
    try:
        with _hearing_ctrl_c():
            getattr(bpy.ops.posellava, operator)(parts=set(parts), **options)  # type: ignore[attr-defined]
    except RuntimeError:
        if not activity.error:  # nothing that the user can mend
            raise
        raise CommandError(activity.error) from None
    finally:
        chosen.url, chosen.token = before
    outcome = activity.outcome
    if outcome is None:  # no error either: the operator heard Ctrl-C
        raise KeyboardInterrupt
    if outcome.report is None and not (outcome.task in SPOKEN_TASKS and outcome.words):
        raise CommandError(f"{outcome.words} {outcome.summary()}".strip())
    return outcome


@contextlib.contextmanager
def _hearing_ctrl_c() -> Iterator[None]:
    """Let Ctrl-C reach Python in background: Blender itself takes note of it and goes on."""
    if not bpy.app.background or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        # None: set by C, as Blender's own is, and beyond Python's reach.
        signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)


def _make_active(name: str | None) -> None:
    """Make the armature active that is named, or the only one there is when nothing active or selected means one.

    Raises:
        CommandError: there is none of that name, or no way to tell which of several is meant.
    """
    layer = bpy.context.view_layer
    layer.update()  # an object that a script has just removed leaves a hole until then
    armatures = {one.name: one for one in layer.objects if one.type == "ARMATURE"}
    there = ", ".join(armatures) or "no armature at all"
    if name is not None:
        if name not in armatures:
            raise CommandError(f"There is no armature {name!r} in the scene; it has {there}.")
        layer.objects.active = armatures[name]
        return
    try:
        find_armature(bpy.context)
    except RigError:
        if len(armatures) > 1:
            raise CommandError(
                f"The scene has several armatures and none is active; name one with --armature: {there}."
            ) from None
        if armatures:
            layer.objects.active = next(iter(armatures.values()))


COMMANDS: Final[dict[str, Callable[..., Any]]] = {
    "edit": edit,
    "generate": generate,
    "estimate": estimate,
    "describe": describe,
    "chat": chat,
}


def main(arguments: Sequence[str]) -> int:
    """The command line; returns the exit status: 0, 1 with a sentence on standard error, or 130 after Ctrl-C."""
    options = vars(_parser().parse_args(_join_frames(arguments)))
    task, frame, save = options.pop("task"), options.pop("frame"), options.pop("save")
    if frame is not None:
        bpy.context.scene.frame_set(frame)
    try:
        outcome = COMMANDS[task](**options)
    except CommandError as error:
        print(f"posellava: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("posellava: Interrupted; nothing was saved.", file=sys.stderr)
        return INTERRUPTED
    if outcome.words:
        print(outcome.words)
    if outcome.report is not None:
        print(outcome.summary(most=24))
    if outcome.held_by_ik:
        print("To move and key what inverse kinematics follows, so that the limbs arrive, give --ik-targets.")
    if save:
        try:
            bpy.ops.wm.save_as_mainfile(filepath=str(Path(save).resolve()), copy=True)
        except RuntimeError:
            print(
                f"posellava: {save} cannot be written; give --save a file in a folder there is.",
                file=sys.stderr,
            )
            return 1
    return 0


def _join_frames(arguments: Sequence[str]) -> list[str]:
    """``--frames -10:-1`` as ``--frames=-10:-1``: argparse takes a word that begins with a dash for an option."""
    joined: list[str] = []
    for word in arguments:
        if (
            joined
            and joined[-1] in ("--frames", "--frame", "--offset")
            and word[:1] == "-"
            and word[1:2].isdigit()
        ):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def _parser() -> argparse.ArgumentParser:
    asking = argparse.ArgumentParser(add_help=False)
    asking.add_argument("--armature", help="name of the armature object, when there are several")
    asking.add_argument("--url", help=f"address of the backend (or ${URL_VARIABLE})")
    asking.add_argument("--token", help=f"token of the backend (or better ${TOKEN_VARIABLE})")
    asking.add_argument("--frame", type=int, help="make this the current frame first")
    asking.add_argument("--save", metavar="FILE.blend", help="save the result there")
    common = argparse.ArgumentParser(add_help=False, parents=[asking])
    common.add_argument(
        "--parts", nargs="+", choices=tuple(BODY_PARTS), default=tuple(BODY_PARTS), help="parts that may move"
    )
    common.add_argument(
        "--anchors", choices=("frames", "keys", "none"), default="frames", help="what holds other frames"
    )
    common.add_argument(
        "--no-limits", dest="limits", action="store_false", help="let joints go past a body's limits"
    )
    common.add_argument(
        "--ik-targets", action="store_true", help="move and key what inverse kinematics follows"
    )
    parser = argparse.ArgumentParser(
        prog="posellava", description="Edit, generate and estimate poses by language."
    )
    tasks = parser.add_subparsers(dest="task", required=True)
    one = tasks.add_parser("edit", parents=[common], help="change poses as an instruction says")
    one.add_argument("--instruction", required=True)
    one.add_argument("--frames", help="12, 1,5,9 or 1:48; without it the current frame")
    one.add_argument("--strength", type=float, default=1.0, help="0 keeps the pose, 1 is the model's answer")
    one.add_argument("--send-view", action="store_true", help="send a render of the scene's camera along")
    one.add_argument(
        "--offset", metavar="FRAMES", help="ask about these, and carry their change over to --frames"
    )
    one.add_argument("--every-frame", action="store_true", help="with --offset, key frames without keys too")
    one.add_argument("--blend-in", type=int, default=0, help="frames over which the change comes")
    one.add_argument("--blend-out", type=int, default=0, help="frames over which it goes")
    one = tasks.add_parser("generate", parents=[common], help="make the pose that an instruction describes")
    one.add_argument("--instruction", required=True)
    one = tasks.add_parser("estimate", parents=[common], help="take on the pose of the person in an image")
    one.add_argument("--image", required=True)
    one.add_argument("--instruction", default="")
    one = tasks.add_parser("describe", parents=[asking], help="say what the pose is like, or what changed")
    one.add_argument("--since", type=int, metavar="FRAME", help="say what changed since this frame")
    one = tasks.add_parser("chat", parents=[asking], help="ask the model something")
    one.add_argument("--instruction", required=True)
    one.add_argument("--no-pose", dest="shows_pose", action="store_false", help="without showing it the pose")
    return parser


def register() -> None:
    """Called when the add-on is enabled."""
    global _command
    _command = bpy.utils.register_cli_command(  # type: ignore[func-returns-value]  # a handle
        "posellava", main
    )


def unregister() -> None:
    """Called when the add-on is disabled."""
    bpy.utils.unregister_cli_command(_command)
