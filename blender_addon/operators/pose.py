# SPDX-License-Identifier: GPL-3.0-or-later
"""Edit Pose, Generate Pose, Estimate Pose, and Cancel.

Every operator has the options as properties of its own, for scripts; those that are not given are taken from the
panel's settings. Called by a button (invoke) it runs on window timer events and adds one undo step when the keys are
there. Called by a script, or in background (execute), it returns when the keys are there and raises RuntimeError with
the sentence for the user when they are not.
"""

from collections.abc import Callable
from typing import Any, Final

import bpy
from bpy.props import BoolProperty, EnumProperty, FloatProperty, StringProperty

from ..contract.messages import ProtocolError
from ..rig.armature import Rig, find_armature
from ..rig.bone_map import RigError
from ..rig.frames import list_frames
from ..session import Connection, State
from ..settings import ALL_PARTS, FRAME_ITEMS, PART_ITEMS, PICTURE_ITEMS, settings
from . import backend, picture
from .activity import Outcome, activity
from .work import Course, Order, Wait, course

TICK_SECONDS: Final = 0.02
LAST_FRAME: Final = 1048574
"""Blender's own limit of a scene's frames."""

Failure: Final = (ProtocolError, RigError, backend.BackendError, picture.PictureError)
"""What a user can mend; the text of each is one sentence that says how. Anything else is a defect and shows itself."""


class FrameListError(RigError):
    """A list of frames that cannot be read."""


def parse_frames(text: str) -> tuple[float, ...]:
    """Frames from ``12``, ``1,5,9`` or ``1:48`` (both ends included), or a mixture.

    Raises:
        FrameListError: it is none of these.
    """
    frames: set[float] = set()
    for item in text.split(","):
        first, colon, last = item.partition(":")
        try:
            start = int(first)
            end = int(last) if colon else start
        except ValueError:
            raise FrameListError(
                f"{text!r} is no list of frames; write one such as 12, 1:48 or 1,5,9."
            ) from None
        if end < start:
            raise FrameListError(f"The range {item.strip()} ends before it starts; swap its ends.")
        if max(-start, end) > LAST_FRAME:
            raise FrameListError(
                f"{item.strip()} goes beyond frame {LAST_FRAME}, Blender's last; write less."
            )
        frames.update(range(start, end + 1))
    return tuple(sorted(frames))


class _Ask:
    """What the three operators share."""

    task: str
    _from_panel: tuple[str, ...]

    instruction: StringProperty(name="Instruction", options={"SKIP_SAVE"})
    parts: EnumProperty(
        name="Body Parts",
        items=PART_ITEMS,
        options={"ENUM_FLAG", "SKIP_SAVE"},
        default=set(ALL_PARTS),
    )

    _course: Course
    _waits_for: Wait | None = None
    _timer: Any = None

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Whether the button can be pressed; the reason why not is shown as its tooltip."""
        reason = cls.obstacle(context)
        if reason:
            cls.poll_message_set(reason)  # type: ignore[attr-defined]
        return not reason

    @classmethod
    def obstacle(cls, context: Any) -> str:
        """Why the operator cannot run now, or an empty text."""
        if activity.running:
            return "A request is running; wait for it or press Cancel."
        if not _is_sidebar(context):
            return ""
        if backend.status().state is not State.CONNECTED:
            return "Not connected to a backend; press Connect first."
        try:
            Rig.of(find_armature(context))
        except RigError as error:
            return str(error)
        return ""

    def execute(self, context: Any) -> set[str]:
        """Run to the end."""
        try:
            self._begin(context)
            while True:
                wait = next(self._course)
                if wait is not None:
                    wait(None)
        except StopIteration as end:
            return self._succeed(end.value)
        except Failure as error:
            return self._fail(error)
        except BaseException:
            activity.fail("")
            raise

    def invoke(self, context: Any, event: Any) -> set[str]:
        """Start, and go on in modal()."""
        try:
            self._begin(context)
        except Failure as error:
            return self._fail(error)
        except BaseException:
            activity.fail("")
            raise
        manager = context.window_manager
        self._timer = manager.event_timer_add(TICK_SECONDS, window=context.window)
        manager.modal_handler_add(self)
        backend.redraw()
        return {"RUNNING_MODAL"}

    def modal(self, context: Any, event: Any) -> set[str]:
        """Advance on timer events; everything else is the user's."""
        if event.type != "TIMER" or (self._waits_for is not None and not self._waits_for(0.0)):
            return {"PASS_THROUGH"}
        try:
            self._waits_for = next(self._course)
        except StopIteration as end:
            self._stop(context)
            return self._succeed(end.value)
        except Failure as error:
            self._stop(context)
            return self._fail(error)
        except BaseException:
            self._stop(context)
            activity.fail("")
            raise
        if self._waits_for is not None:
            backend.redraw()  # it is sent now
        return {"PASS_THROUGH"}

    def cancel(self, context: Any) -> None:
        """Called by Blender when the window goes away or another file is opened."""
        cancel_running()
        self._stop(context)
        activity.fail("")

    def draw(self, context: Any) -> None:
        """Called by Blender for its Adjust Last Operation panel: changing an option there would ask again, waiting."""
        self.layout.label(text=self.instruction or self.bl_label)  # type: ignore[attr-defined]

    def frames_to_key(self, context: Any, rig: Rig) -> tuple[float, ...]:
        """The frames that this operator keys."""
        return tuple(list_frames(context, rig, "CURRENT"))

    def share_of_answer(self) -> float:
        """How far the poses go towards the model's answer, 0 to 1."""
        return 1.0

    def picture_maker(self, context: Any) -> Callable[[], bytes] | None:
        """What makes the picture to send, or None."""
        return None

    def _begin(self, context: Any) -> None:
        """Collect everything the request needs and put its course together; raises what Failure names."""
        self._take_settings(context)
        activity.begin()
        armature = find_armature(context)
        order = Order(
            task=self.task,
            instruction=self.instruction.strip(),
            armature=armature.name,
            frames=self.frames_to_key(context, Rig.of(armature)),
            parts=frozenset(self.parts),
            strength=self.share_of_answer(),
            take_picture=self.picture_maker(context),
        )
        self._course = course(order, self._open_connection(context))

    def _take_settings(self, context: Any) -> None:
        """Fill in from the panel what the caller did not give."""
        chosen = settings(context)
        for name in self._from_panel:
            if not self.properties.is_property_set(name):  # type: ignore[attr-defined]
                setattr(self, name, getattr(chosen, name))

    def _open_connection(self, context: Any) -> Connection:
        connection = backend.connection(context)
        if connection.status.state in (State.DISCONNECTED, State.FAILED):
            backend.connect(context)
        return connection

    def _stop(self, context: Any) -> None:
        self._course.close()
        context.window_manager.event_timer_remove(self._timer)

    def _succeed(self, outcome: Outcome) -> set[str]:
        activity.succeed(outcome)
        backend.redraw()
        self.report({"INFO"}, outcome.summary())  # type: ignore[attr-defined]
        return {"FINISHED"} if outcome.report.keys else {"CANCELLED"}  # no undo step that undoes nothing

    def _fail(self, error: Exception) -> set[str]:
        sentence = str(error)
        activity.fail(sentence)
        backend.redraw()
        cancelled = isinstance(error, ProtocolError) and error.code == "cancelled"
        self.report({"INFO" if cancelled else "ERROR"}, sentence)  # type: ignore[attr-defined]
        return {"CANCELLED"}


class POSELLAVA_OT_edit_pose(_Ask, bpy.types.Operator):
    """Change the pose as the instruction says, and key it"""

    bl_idname = "posellava.edit_pose"
    bl_label = "Edit Pose"
    bl_options = {"REGISTER", "UNDO"}

    task = "adjust"
    _from_panel = ("instruction", "frames", "parts", "strength", "send_view")

    frames: EnumProperty(name="Frames", items=FRAME_ITEMS, options={"SKIP_SAVE"})
    frame_list: StringProperty(
        name="Frame List",
        description="Frames such as 12, 1:48 or 1,5,9; overrides Frames",
        options={"SKIP_SAVE", "HIDDEN"},
    )
    strength: FloatProperty(
        name="Strength", default=1.0, min=0.0, max=1.0, subtype="FACTOR", options={"SKIP_SAVE"}
    )
    send_view: BoolProperty(
        name="Send Viewport",
        description="Send a small picture along with the pose; in background Blender renders the scene's camera",
        options={"SKIP_SAVE"},
    )

    @classmethod
    def obstacle(cls, context: Any) -> str:
        """As the base; besides, it needs an instruction."""
        return super().obstacle(context) or _no_instruction(context)

    def frames_to_key(self, context: Any, rig: Rig) -> tuple[float, ...]:
        """The frames the user chose."""
        if self.frame_list:
            return parse_frames(self.frame_list)
        return tuple(list_frames(context, rig, self.frames))

    def share_of_answer(self) -> float:
        """The strength the user chose."""
        return float(self.strength)

    def picture_maker(self, context: Any) -> Callable[[], bytes] | None:
        """The view, when asked for."""
        return picture.of_view(context) if self.send_view else None


class POSELLAVA_OT_generate_pose(_Ask, bpy.types.Operator):
    """Make the pose that the instruction describes, and key it at the current frame"""

    bl_idname = "posellava.generate_pose"
    bl_label = "Generate Pose"
    bl_options = {"REGISTER", "UNDO"}

    task = "generate"
    _from_panel = ("instruction", "parts")

    @classmethod
    def obstacle(cls, context: Any) -> str:
        """As the base; besides, it needs a description."""
        return super().obstacle(context) or _no_instruction(context)


class POSELLAVA_OT_estimate_pose(_Ask, bpy.types.Operator):
    """Take on the pose of the person in an image or in the viewport, and key it at the current frame"""

    bl_idname = "posellava.estimate_pose"
    bl_label = "Estimate Pose"
    bl_options = {"REGISTER", "UNDO"}

    task = "estimate"
    _from_panel = ("instruction", "parts", "picture")

    picture: EnumProperty(name="From", items=PICTURE_ITEMS, options={"SKIP_SAVE"})
    filepath: StringProperty(
        name="File", description="An image file; overrides From", subtype="FILE_PATH", options={"SKIP_SAVE"}
    )

    @classmethod
    def obstacle(cls, context: Any) -> str:
        """As the base; besides, it needs an image."""
        chosen = settings(context)
        lacks_image = _is_sidebar(context) and chosen.picture == "IMAGE" and chosen.image is None
        return super().obstacle(context) or (
            "No image is chosen; open one under Estimate From." if lacks_image else ""
        )

    def picture_maker(self, context: Any) -> Callable[[], bytes] | None:
        """The file, the image or the view."""
        if self.filepath:
            return picture.of_file(bpy.path.abspath(self.filepath))
        if self.picture == "VIEWPORT":
            return picture.of_view(context)
        return picture.of_image(settings(context).image)


class POSELLAVA_OT_cancel(bpy.types.Operator):
    """Stop the request that runs; nothing is changed"""

    bl_idname = "posellava.cancel"
    bl_label = "Cancel"
    bl_options = {"INTERNAL"}

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Whether a request is under way."""
        return activity.running

    def execute(self, context: Any) -> set[str]:
        """The operator that waits for the answer then ends by itself."""
        cancel_running()
        return {"FINISHED"}


def cancel_running() -> None:
    """Cancel the request that was sent, or have the one that is being put together given up."""
    if activity.handle is not None:
        backend.cancel(activity.handle)
    else:
        activity.abandoned = activity.preparing


def _is_sidebar(context: Any) -> bool:
    """Whether the panel's button asks. A script has options of its own, which no poll sees, and need not connect
    first: it gets its sentence from execute."""
    return context.region is not None and context.region.type == "UI"


def _no_instruction(context: Any) -> str:
    if not _is_sidebar(context) or settings(context).instruction.strip():
        return ""
    return "The instruction is empty; type what should happen."
