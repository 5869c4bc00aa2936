# SPDX-License-Identifier: GPL-3.0-or-later
"""Every message that passes between the add-on and the backend, and what makes a request valid.

The conversation: the client says Hello, the backend Welcome; then any number of Requests, each answered by
Progress messages and finally one Result or one ErrorMessage. Cancel ends a request early; its answer is then an
ErrorMessage with the code ``cancelled``. How messages look on the wire is the business of each version of the
protocol, see wire.py.

Legend: poses are (N, 24, 3) float32 axis-angle, radians, SMPL joint order, joint 0 the global orientation.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from .skeleton import BODY_PARTS, NUM_JOINTS

PoseArray = npt.NDArray[np.float32]

PROTOCOL_VERSION: Final = 2
"""The version of the protocol that is spoken where both sides can; see wire.py for the others."""
DEFAULT_PORT: Final = 8765

TASKS: Final = ("adjust", "generate", "estimate", "describe", "chat")
"""Every task the protocol knows; a model says in its Welcome which of them it answers."""
SPOKEN_TASKS: Final = ("describe", "chat")
"""Those whose answer is said word by word; Progress tells how far it is."""
PAINTED_TASKS: Final = ("paint", "repaint")
"""Those whose answer is a picture: a diffusion pipeline beside the model does them, where a backend has one, and its
Welcome names them too; Progress counts its steps. ``paint`` follows the control maps that the request brings;
``repaint`` reads the pose that the request's picture shows, changes it as the instruction says, and paints the picture
anew with it."""
MAP_KINDS: Final = ("openpose", "depth", "normal")
"""The control maps that there are; see control_maps.py."""
MAX_SEED: Final = 2**31 - 1

MAX_VARIANTS: Final = 8
"""The most poses that one start pose can be answered with; also the most that a turn of the history may hold."""


NO_PICTURES: Final = (
    "This backend paints no pictures; start one that does, with your own diffusion weights: "
    "posellava serve --images FOLDER --control openpose=FOLDER."
)
NO_REPAINTING: Final = (
    "This backend paints, but its model reads no pictures, so none can be repainted; "
    "start it with a model that does."
)


class ProtocolError(ValueError):
    """A message or request that cannot be accepted.

    ``code`` is for programs (see CODES), ``sentence`` is for people and says what to do, ``request_id`` names
    the request at fault when that much could be read.
    """

    def __init__(self, code: str, sentence: str, request_id: str | None = None) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence
        self.request_id = request_id


CODES: Final = {
    "bad_message": "not a message of this protocol",
    "unknown_type": "a message type this side does not know",
    "wrong_version": "client and backend speak different versions",
    "unauthorized": "the token is missing or wrong",
    "unknown_task": "the model does not do this task",
    "bad_pose": "poses missing, not finite, or of the wrong shape; those of the history too",
    "bad_image": "the image is missing, no PNG, or too large",
    "bad_text": "the instruction or history is missing or too long",
    "bad_option": "an option is out of its range",
    "too_large": "the message or batch exceeds a limit",
    "busy": "the backend's queue is full",
    "cancelled": "the request was cancelled",
    "engine_failed": "the model failed on this request",
    "shutting_down": "the backend is stopping",
    "not_connected": "no connection has been opened",
    "no_backend": "nothing answers at the address",
    "connection_lost": "the connection broke while the request ran",
    "timeout": "no answer came in time",
}
"""Every error code with its meaning. The last four arise in the client; of them only ``timeout`` also travels."""


@dataclass(frozen=True)
class Limits:
    """What a backend accepts; told to the client in Welcome so that it can refuse before sending.

    ``max_message_bytes`` counts in v1 only, where a message is one text: the largest picture and the most poses there
    may be, as base64, fit into the default.
    """

    max_message_bytes: int = 24 * 1024 * 1024
    max_poses: int = 4096
    max_text_chars: int = 2000
    max_history_turns: int = 32
    max_image_bytes: int = 16 * 1024 * 1024
    max_image_side: int = 4096


@dataclass(frozen=True)
class Hello:
    """First message of a client."""

    token: str = ""
    version: int = PROTOCOL_VERSION


@dataclass(frozen=True)
class Welcome:
    """The backend's answer to a Hello it accepts; ``maps``: the control maps that its pipeline for pictures follows."""

    model: str
    tasks: tuple[str, ...]
    limits: Limits = field(default_factory=Limits)
    version: int = PROTOCOL_VERSION
    maps: tuple[str, ...] = ()


def new_request_id() -> str:
    """A fresh id for a Request."""
    return uuid.uuid4().hex


def no_poses() -> PoseArray:
    """(0, 24, 3), the poses of a request that has none."""
    return np.zeros((0, NUM_JOINTS, 3), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Turn:
    """Something that was asked earlier, and its answer; edits and conversation use the same.

    Attributes:
        instruction: what was asked.
        pose: (24, 3), the pose that it was asked of; None when there was none or it is not known.
        words: what the model said; empty when that is not known.
        poses: (M, 24, 3), the poses of the answer, M at most MAX_VARIANTS. M = 0 where they are not known: the pose
            after a turn is then the next turn's ``pose``, and after the last turn the request's own.
    """

    instruction: str
    pose: PoseArray | None = None
    words: str = ""
    poses: PoseArray = field(default_factory=no_poses)


@dataclass(frozen=True)
class View:
    """Where the camera is, as the body sees it; radians.

    In the frame of the body's heading (+x its left, +y up, +z the way it faces) the camera lies in the direction
    (sin yaw cos pitch, sin pitch, cos yaw cos pitch): both are 0 in front of the body, ``yaw`` grows towards its left
    and ``pitch`` upwards. With several start poses it is the first one's.
    """

    yaw: float
    pitch: float


@dataclass(frozen=True)
class Painting:
    """What a picture is to be like.

    Attributes:
        prompt: what it shows, in words.
        maps: control maps that it follows, each kind a PNG; all of one size, which is then the picture's.
        strength: how much of the request's picture is painted anew, above 0; 1 keeps nothing of it.
        seed: another one makes another picture.
    """

    prompt: str
    maps: Mapping[str, bytes] = field(default_factory=dict)
    strength: float = 0.75
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Request:
    """One task for the model, for one pose or many.

    ``poses`` (N, 24, 3): the start poses, each answered with the same instruction; N = 0 asks for one answer
    without a start pose. ``parts``: names of BODY_PARTS that may move, None for all. ``strength`` 0 keeps the
    start pose, 1 takes the model's answer, between them the rotation is interpolated. ``history``: earlier
    turns, oldest first; with the task ``describe`` a last turn that shows a pose asks what changed from it to the start
    pose. ``view``: where the camera is, None when that is not known. ``variants``: how many
    different answers are wished for, 1 to MAX_VARIANTS; a model may have fewer. The model is deterministic, so
    there is no seed. ``painting``: what the picture is to be like, of PAINTED_TASKS.
    """

    id: str
    task: str
    instruction: str = ""
    poses: PoseArray = field(default_factory=no_poses)
    image_png: bytes | None = None
    history: tuple[Turn, ...] = ()
    parts: frozenset[str] | None = None
    strength: float = 1.0
    view: View | None = None
    variants: int = 1
    painting: Painting | None = None


@dataclass(frozen=True)
class Progress:
    """How far request ``id`` is: ``done`` of ``total`` poses, of PAINTED_TASKS steps; ``ahead`` requests wait in front.

    ``words``: what the model has said so far, all of it, where the request has a single answer and is of SPOKEN_TASKS;
    what it says in the end may differ from it.
    """

    id: str
    done: int
    total: int
    ahead: int = 0
    words: str = ""


@dataclass(frozen=True, eq=False)
class Result:
    """The answer to request ``id``: one pose and one text per start pose, in the order of the request.

    A pose is (24, 3), or None where the model answered in words only, to an edit as well: it did not understand, or
    nothing was to be moved, and nothing moves. ``variants``: all the answers there are, best first, each with a pose
    per start pose; the first one is ``poses``, and every one has None where ``poses`` has it. Of the task ``chat`` they
    are the poses of the answer, in the order of the ``<POSE>`` in its text. ``confidence``: for each answer about the
    chance of each of its 24 joints, 0 to 1, of lying within 10 cm of where a picture shows it, None where the pose is
    of no picture; empty where none is. ``image_png``: the picture, of PAINTED_TASKS; None where there are words alone.
    Milliseconds: ``queued_ms`` from arrival until the model began, ``engine_ms`` from then until the last pose was
    there.
    """

    id: str
    poses: tuple[PoseArray | None, ...]
    texts: tuple[str, ...]
    queued_ms: float = 0.0
    engine_ms: float = 0.0
    variants: tuple[tuple[PoseArray | None, ...], ...] = ()
    confidence: tuple[tuple[float, ...] | None, ...] = ()
    image_png: bytes | None = None

    def __post_init__(self) -> None:
        if not self.variants:
            object.__setattr__(self, "variants", (self.poses,))


@dataclass(frozen=True)
class ErrorMessage:
    """Why request ``id`` has no result, or, with ``id`` None, why a message or the connection was refused."""

    code: str
    message: str
    id: str | None = None


@dataclass(frozen=True)
class Cancel:
    """Stop request ``id``. An id that is not running any more is ignored."""

    id: str


Message = Hello | Welcome | Request | Progress | Result | ErrorMessage | Cancel


def not_painted(tasks: tuple[str, ...]) -> str:
    """Why a backend of ``tasks`` does not do one of PAINTED_TASKS that is not among them, a sentence."""
    return NO_REPAINTING if set(PAINTED_TASKS) & set(tasks) else NO_PICTURES


def check_request(
    request: Request, limits: Limits, tasks: tuple[str, ...] = (*TASKS, *PAINTED_TASKS)
) -> None:
    """Raise ProtocolError unless ``request`` can be answered by a model of ``tasks`` within ``limits``.

    Both sides call it: the client before it sends, the backend before anything reaches the model. Pixels are
    not looked at here, only the number of image bytes.
    """

    def refuse(code: str, sentence: str) -> ProtocolError:
        return ProtocolError(code, sentence, request.id)

    if request.task not in tasks:
        known = f"this model does {', '.join(tasks)}"
        if request.task in SPOKEN_TASKS:
            lack = "speak, so it cannot " if not set(SPOKEN_TASKS) & set(tasks) else ""
            raise refuse(
                "unknown_task",
                f"The model was not taught to {lack}{request.task}; {known}. Load one that was.",
            )
        if request.task in PAINTED_TASKS:
            raise refuse("unknown_task", not_painted(tasks))
        raise refuse("unknown_task", f"Unknown task {quote(request.task)}; {known}.")
    if len(request.instruction) > limits.max_text_chars:
        raise refuse(
            "bad_text",
            f"The instruction has {len(request.instruction)} characters; "
            f"shorten it to {limits.max_text_chars}.",
        )
    if request.task in ("adjust", "generate", "chat") and not request.instruction.strip():
        raise refuse("bad_text", "The instruction is empty; type what should happen.")
    _check_history(request, limits)
    check_poses(request.poses, limits, request.id)
    if request.task == "adjust" and len(request.poses) == 0 and request.image_png is None:
        raise refuse(
            "bad_pose", "An edit needs a start pose, or an image that shows it; the request has neither."
        )
    if request.image_png is not None and len(request.image_png) > limits.max_image_bytes:
        raise refuse(
            "bad_image",
            f"The image has {len(request.image_png)} bytes, "
            f"{limits.max_image_bytes} are taken; make it smaller.",
        )
    if request.task == "estimate" and request.image_png is None:
        raise refuse("bad_image", "Estimating a pose needs an image; the request has none.")
    if request.task == "describe" and request.image_png is None and len(request.poses) == 0:
        raise refuse("bad_pose", "A description needs a pose or an image; the request has neither.")
    _check_options(request)
    if request.task in PAINTED_TASKS:
        _check_painting(request, limits)


def check_poses(poses: PoseArray, limits: Limits, request_id: str | None = None) -> None:
    """Raise ProtocolError unless ``poses`` is (N, 24, 3) and finite, with N within the limits."""
    if poses.ndim != 3 or poses.shape[1:] != (NUM_JOINTS, 3):
        raise ProtocolError(
            "bad_pose",
            f"Poses must have the shape (poses, {NUM_JOINTS} joints, 3); these have {tuple(poses.shape)}.",
            request_id,
        )
    if len(poses) > limits.max_poses:
        raise ProtocolError(
            "too_large",
            f"{len(poses)} poses in one request; split it, at most {limits.max_poses} fit.",
            request_id,
        )
    if not np.isfinite(poses).all():
        raise ProtocolError(
            "bad_pose", "A pose contains NaN or infinity; every rotation must be finite.", request_id
        )


def _check_history(request: Request, limits: Limits) -> None:
    if len(request.history) > limits.max_history_turns:
        raise ProtocolError(
            "bad_text",
            f"The history has {len(request.history)} turns; send the last {limits.max_history_turns}.",
            request.id,
        )
    for turn in request.history:
        longest = max(len(turn.instruction), len(turn.words))
        if longest > limits.max_text_chars:
            raise ProtocolError(
                "bad_text",
                f"A turn of the history has {longest} characters; shorten it to {limits.max_text_chars}.",
                request.id,
            )
        if len(turn.poses) > MAX_VARIANTS:
            raise ProtocolError(
                "too_large",
                f"A turn of the history has {len(turn.poses)} poses; send at most {MAX_VARIANTS}.",
                request.id,
            )
        check_poses(turn.poses, limits, request.id)
        if turn.pose is not None:
            check_poses(turn.pose[None], limits, request.id)


def _check_options(request: Request) -> None:
    if not (math.isfinite(request.strength) and 0.0 <= request.strength <= 1.0):
        raise ProtocolError(
            "bad_option", f"strength is {request.strength}; it must lie between 0 and 1.", request.id
        )
    if not 1 <= request.variants <= MAX_VARIANTS:
        raise ProtocolError(
            "bad_option",
            f"variants is {quote(str(request.variants))}; it must lie between 1 and {MAX_VARIANTS}.",
            request.id,
        )
    if request.view is not None and not (
        math.isfinite(request.view.yaw) and math.isfinite(request.view.pitch)
    ):
        raise ProtocolError("bad_option", "The view's yaw and pitch must be finite angles.", request.id)
    if request.parts is None:
        return
    unknown = sorted(request.parts - BODY_PARTS.keys())
    if unknown:
        raise ProtocolError(
            "bad_option",
            f"Unknown body part {quote(unknown[0])}; known are {', '.join(BODY_PARTS)}.",
            request.id,
        )
    if not request.parts:
        raise ProtocolError("bad_option", "No body part may move; choose at least one.", request.id)


def _check_painting(request: Request, limits: Limits) -> None:
    def refuse(code: str, sentence: str) -> ProtocolError:
        return ProtocolError(code, sentence, request.id)

    painting = request.painting
    if painting is None or not painting.prompt.strip():
        raise refuse("bad_text", "The prompt is empty; say what the picture is to show.")
    if len(painting.prompt) > limits.max_text_chars:
        raise refuse(
            "bad_text",
            f"The prompt has {len(painting.prompt)} characters; shorten it to {limits.max_text_chars}.",
        )
    unknown = sorted(painting.maps.keys() - set(MAP_KINDS))
    if unknown:
        raise refuse(
            "bad_option", f"There are no control maps {quote(unknown[0])}; known are {', '.join(MAP_KINDS)}."
        )
    if not (math.isfinite(painting.strength) and 0.0 < painting.strength <= 1.0):
        raise refuse(
            "bad_option", f"A painting's strength is {painting.strength}; give one above 0, up to 1."
        )
    if not 0 <= painting.seed <= MAX_SEED:
        raise refuse("bad_option", f"The seed is {quote(str(painting.seed))}; give one from 0 to {MAX_SEED}.")
    if request.task == "paint" and not painting.maps:
        raise refuse("bad_image", "Painting needs a control map to follow; the request has none.")
    if request.task == "repaint" and request.image_png is None:
        raise refuse("bad_image", "Repainting needs a picture to start from; the request has none.")
    size = len(request.image_png or b"") + sum(map(len, painting.maps.values()))
    if size > limits.max_image_bytes:
        raise refuse(
            "bad_image",
            f"Picture and control maps have {size} bytes together, {limits.max_image_bytes} are taken; "
            "make them smaller.",
        )


def quote(text: str, longest: int = 40) -> str:
    """``text`` in quotes for an error sentence, cut short so that a hostile value cannot fill the screen."""
    return ascii(text if len(text) <= longest else text[:longest] + "…")
