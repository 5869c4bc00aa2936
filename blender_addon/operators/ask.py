# SPDX-License-Identifier: GPL-3.0-or-later
"""What every operator that asks a backend shares: when it may run, and how its request runs to the end.

Called by a button (invoke) it runs on window timer events and adds one undo step when the keys are there. Called by a
script, or in background (execute), it returns when the keys are there and raises RuntimeError with the sentence for the
user when they are not.
"""

from collections.abc import Callable
from typing import Final

import bpy
from bpy.props import StringProperty

from ..contract.messages import ProtocolError
from ..rig.blender_types import OperatorMixIn, OperatorResult
from ..rig.bone_map import RigError
from ..session import Connection, State
from ..settings import PoseLlavaSettings, preferences, settings
from . import backend, local_backend
from .activity import Outcome, activity
from .grey import is_ready
from .picture import PictureError, Wait
from .situation import situation
from .target import find_target
from .work import Course

TICK_SECONDS: Final = 0.02
HEARING_SECONDS: Final = 0.1
"""Longest wait without a look at signals: Windows interrupts no wait."""

PANEL_POINTER: Final = "posellava_panel"
"""Blender polls a panel's button in the context of the viewport beside it; this pointer, which the panel and the menu
set in their layouts, tells it from a script."""

Failure: Final = (ProtocolError, RigError, backend.BackendError, PictureError)
"""What a user can mend; the text of each is one sentence that says how. Anything else is a defect and shows itself."""


class Ask(OperatorMixIn):
    """An operator that asks a backend. The options that a caller does not give are taken from the panel's settings.

    Attributes:
        task: one of the protocol's.
        needs_character: whether there has to be an armature for it.
    """

    task: str
    needs_character = True
    _from_panel: tuple[str, ...]

    instruction: StringProperty(name="Instruction", options={"SKIP_SAVE"})

    _course: Course
    _waits_for: Wait | None = None
    _timer: bpy.types.Timer | None = None

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Whether the button can be pressed; the reason why not is shown as its tooltip."""
        reason = cls.obstacle(context)
        return is_ready(cls, not reason, reason)

    @classmethod
    def obstacle(cls, context: bpy.types.Context) -> str:
        """Why the operator cannot run now, or an empty text.

        A script has options of its own, which no poll sees, and need not connect first: it gets its sentence from
        execute.
        """
        if activity.running:
            return "A request is running; wait for it or press Cancel."
        if getattr(context, PANEL_POINTER, None) is None:
            return ""
        lacking = _lacking_backend(context) or cls.untaught(context)
        if lacking:
            return lacking
        try:
            if cls.needs_character:
                find_target(context)
        except RigError as error:
            return str(error)
        return cls.lacks(settings(context))

    @classmethod
    def untaught(cls, context: bpy.types.Context) -> str:
        """Why the backend cannot do this, a sentence, or an empty text. What is not known before it has greeted is no
        reason."""
        return ""

    @classmethod
    def lacks(cls, chosen: PoseLlavaSettings) -> str:
        """What the panel's settings lack for this operator, a sentence, or an empty text."""
        return ""

    def execute(self, context: bpy.types.Context) -> OperatorResult:
        """Run to the end."""
        try:
            self._begin(context, keyed=True)
            while True:
                wait = next(self._course)
                while wait is not None and not wait(HEARING_SECONDS):
                    pass
        except StopIteration as end:
            return self._succeed(end.value)
        except KeyboardInterrupt:
            cancel_running()
            return self._fail(context, ProtocolError("cancelled", "Interrupted."))
        except Failure as error:
            return self._fail(context, error)
        except BaseException:
            activity.end()
            raise

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> OperatorResult:
        """Start, and go on in modal()."""
        try:
            self._begin(context, keyed=sets_keys(context))
        except Failure as error:
            return self._fail(context, error)
        except BaseException:
            activity.end()
            raise
        manager = context.window_manager
        self._timer = manager.event_timer_add(TICK_SECONDS, window=context.window)
        manager.modal_handler_add(self)
        backend.redraw()
        return {"RUNNING_MODAL"}

    def modal(self, context: bpy.types.Context, event: bpy.types.Event) -> OperatorResult:
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
            return self._fail(context, error)
        except BaseException:
            self._stop(context)
            activity.end()
            raise
        if self._waits_for is not None:
            backend.redraw()  # it is sent now
        return {"PASS_THROUGH"}

    def cancel(self, context: bpy.types.Context) -> None:
        """Called by Blender when the window goes away or another file is opened."""
        cancel_running()
        self._stop(context)
        activity.fail(
            ProtocolError(
                "connection_lost",
                "The window in which the button was pressed was closed before the answer came. "
                "Nothing was changed; press the button again.",
            )
        )
        backend.redraw()

    def draw(self, context: bpy.types.Context) -> None:
        """Called by Blender for its Adjust Last Operation panel: changing an option there would ask again, waiting."""
        self.layout.label(text=self.instruction or self.bl_label)

    def _begin(self, context: bpy.types.Context, *, keyed: bool) -> None:
        """Collect everything the request needs and put its course together; raises what Failure names."""
        self._take_settings(context)
        activity.begin()
        self._course = self._reach_and(self._prepare(context, keyed=keyed))

    def _prepare(self, context: bpy.types.Context, *, keyed: bool) -> Callable[[Connection], Course]:
        """What makes the request's course once there is a connection; raises what Failure names. ``keyed``: whether
        poses are keyed."""
        raise NotImplementedError

    def _take_settings(self, context: bpy.types.Context) -> None:
        """Fill in from the panel what the caller did not give."""
        chosen = settings(context)
        for name in self._from_panel:
            if not self.properties.is_property_set(name):
                setattr(self, name, getattr(chosen, name))

    def _reach_and(self, begin: Callable[[Connection], Course]) -> Course:
        """The course that ``begin`` makes, once there is a backend."""
        yield from backend.reached(bpy.context)
        connection = backend.connection(bpy.context)
        if connection.status.state in (State.DISCONNECTED, State.FAILED):
            backend.connect(bpy.context)
        return (yield from begin(connection))

    def _stop(self, context: bpy.types.Context) -> None:
        self._course.close()
        if self._timer is not None:
            context.window_manager.event_timer_remove(self._timer)
            self._timer = None

    def _succeed(self, outcome: Outcome) -> OperatorResult:
        activity.succeed(outcome)
        backend.redraw()
        said = outcome.words if outcome.report is None and outcome.picture is None else ""
        self.report({"INFO"}, said or outcome.summary())
        changed = outcome.picture is not None or (outcome.report is not None and outcome.report.changed)
        return {"FINISHED"} if changed else {"CANCELLED"}  # no undo step that undoes nothing

    def _fail(self, context: bpy.types.Context, error: Exception) -> OperatorResult:
        activity.fail(error, situation(context))
        backend.redraw()
        self.report({"ERROR" if activity.error else "INFO"}, str(error))
        return {"CANCELLED"}


def _lacking_backend(context: bpy.types.Context) -> str:
    """Why no backend can answer, or an empty text: the extension's own starts by itself when it is asked."""
    if backend.status().state is State.CONNECTED:
        return ""
    if local_backend.is_chosen(context):
        return local_backend.obstacle()
    return "Not connected to a backend; press Connect first."


def cancel_running() -> None:
    """Cancel the request that was sent, or have the one that is being put together given up."""
    if activity.handle is not None:
        backend.cancel(activity.handle)
    else:
        activity.abandoned = activity.preparing


def sets_keys(context: bpy.types.Context) -> bool:
    """Whether a button sets keys now, by the user's preference."""
    when = preferences(context).keying
    if when == "AUTO":
        return bool(context.scene.tool_settings.use_keyframe_insert_auto)
    return bool(when == "ALWAYS")
