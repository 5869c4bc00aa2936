# SPDX-License-Identifier: GPL-3.0-or-later
"""The sidebar tab PoseLLaVA: common controls first, the rest in subpanels."""

from typing import Any, Final

import bpy
from bpy.props import FloatProperty

from ..contract.messages import PAINTED_TASKS
from ..operators import backend, local_backend
from ..operators.activity import activity
from ..operators.ask import PANEL_POINTER
from ..operators.situation import standing_notice
from ..operators.target import find_target, others_in_pose_mode
from ..rig.bone_map import RigError
from ..rig.editable import RestPositionError
from ..session import State
from ..settings import LOCAL_BACKEND_ROWS, PoseLlavaSettings, preferences, settings
from . import local_backend as local_row
from .bone_map import POSELLAVA_PT_bone_map
from .chat import POSELLAVA_PT_chat
from .image import POSELLAVA_PT_image
from .light import icon_of
from .tab import Subpanel, Tab, property_column
from .text import characters, wrapped

LONGEST_RECALL: Final = 12
"""Instructions in the recall menu."""
PROMINENT: Final = 1.4
"""Height of the main button."""
PREVIEW: Final = 7.0
"""Height of a painted picture, in buttons."""
PROGRESS: Final = "posellava_progress"
"""The window manager's property that shows how far a request is."""
FIELD_BUTTONS: Final = 4
"""Characters that the buttons at the end of the instruction field take the place of."""


class POSELLAVA_PT_main(Tab, bpy.types.Panel):
    """Connection, instruction, the three buttons, and what came of them."""

    bl_label = "PoseLLaVA"

    def draw(self, context: bpy.types.Context) -> None:
        """Called by Blender to draw the panel."""
        layout = self.layout
        layout.context_pointer_set(PANEL_POINTER, settings(context))
        _draw_connection(context, layout)
        layout.separator()
        _draw_target(context, layout)
        _draw_instruction(context, layout)
        if activity.running:
            _draw_progress(context, layout)
        else:
            _draw_buttons(layout)
        _draw_long_instruction(context, layout)
        if not activity.running:
            _draw_first_steps(context, layout)
            _draw_outcome(context, layout)


class POSELLAVA_PT_options(Tab, bpy.types.Panel):
    """What an edit changes and what is sent with it."""

    bl_label = "Edit Options"
    bl_parent_id = "POSELLAVA_PT_main"

    def draw(self, context: bpy.types.Context) -> None:
        """Called by Blender to draw the panel."""
        chosen, column = settings(context), property_column(self.layout)
        column.prop(chosen, "frames")
        if chosen.frames == "RANGE":
            _draw_range(chosen, column)
        column.prop(chosen, "strength", slider=True)
        column.prop(chosen, "variants")
        column.prop(chosen, "send_view")


class POSELLAVA_PT_keys(Subpanel, bpy.types.Panel):
    """How what the model answers comes into the animation."""

    bl_label = "Keys and Limits"

    def draw(self, context: bpy.types.Context) -> None:
        """Called by Blender to draw the panel."""
        chosen, column = settings(context), property_column(self.layout)
        column.prop(preferences(context), "keying")
        column.prop(chosen, "anchors")
        column.prop(chosen, "limits")
        column.prop(chosen, "ik_targets")


class POSELLAVA_PT_parts(Subpanel, bpy.types.Panel):
    """Which body parts may move, laid out as on a body that faces the user."""

    bl_label = "Body Parts That May Move"

    def draw(self, context: bpy.types.Context) -> None:
        """Called by Blender to draw the panel."""
        chosen = settings(context)
        column = self.layout.column(align=True)
        for row_parts in (("head",), ("right_arm", "trunk", "left_arm"), ("right_leg", "root", "left_leg")):
            row = column.row(align=True)
            for part in row_parts:
                row.prop_enum(chosen, "parts", part)


class POSELLAVA_PT_estimate(Subpanel, bpy.types.Panel):
    """Where Estimate Pose takes the pose from."""

    bl_label = "Estimate From"

    def draw(self, context: bpy.types.Context) -> None:
        """Called by Blender to draw the panel."""
        chosen = settings(context)
        column = self.layout.column()
        column.row().prop(chosen, "picture", expand=True)
        if chosen.picture == "IMAGE":
            column.template_ID(chosen, "image", open="image.open")
        column.prop(chosen, "changed")


class POSELLAVA_MT_recall(bpy.types.Menu):
    """The last instructions, newest first."""

    bl_label = "Recall an Instruction"

    def draw(self, context: bpy.types.Context) -> None:
        """Called by Blender to draw the menu."""
        asked = dict.fromkeys(edit.instruction for edit in activity.history.edits if edit.instruction)
        for instruction in list(asked)[:LONGEST_RECALL]:
            entry = self.layout.operator("posellava.recall", text=instruction)
            entry.instruction = instruction
        if not asked:
            self.layout.label(text="No instructions yet")


def _draw_range(chosen: PoseLlavaSettings, column: bpy.types.UILayout) -> None:
    column.prop(chosen, "range_mode")
    if chosen.range_mode == "OFFSET":
        column.prop(chosen, "reference")
    blend = column.column(align=True)
    blend.prop(chosen, "blend_in")
    blend.prop(chosen, "blend_out")
    if chosen.blend_in or chosen.blend_out:
        blend.prop(chosen, "ease", text="Ease")
    column.prop(chosen, "every_frame")


def _draw_connection(context: bpy.types.Context, layout: bpy.types.UILayout) -> None:
    status = backend.status()
    if local_backend.is_chosen(context) and status.state is not State.CONNECTED:
        local_row.draw(context, layout)
        return
    row = layout.row()
    label = row.row()
    name = {
        State.DISCONNECTED: "Not connected",
        State.CONNECTING: "Connecting …",
        State.CONNECTED: "Connected" if status.welcome is None else status.welcome.model,
        State.FAILED: "No connection",
    }[status.state]
    label.label(text=name, icon_value=icon_of(status.state))
    button = row.row()
    button.alignment = "RIGHT"
    if status.state in (State.CONNECTED, State.CONNECTING):
        button.operator("posellava.disconnect")
    else:
        button.operator("posellava.connect", icon="LINKED")
    if status.state in (State.CONNECTING, State.FAILED):
        box = layout.box()
        box.alert = status.state is State.FAILED
        wrapped(context, box, status.sentence, "INFO" if status.state is State.CONNECTING else "ERROR")
        if status.state is State.CONNECTING:
            box.operator("posellava.connect", text="Try Now", icon="FILE_REFRESH")


def _draw_target(context: bpy.types.Context, layout: bpy.types.UILayout) -> None:
    """Which armature is meant; where there is none that can be posed, why, and the way to one."""
    try:
        armature = find_target(context)
    except RigError as error:
        if not activity.running:
            wrapped(context, layout, str(error), "INFO")
        if isinstance(error, RestPositionError):
            layout.operator("posellava.leave_rest_position", icon="POSE_HLT")
        else:
            layout.operator("posellava.add_figure", icon="OUTLINER_OB_ARMATURE")
        return
    layout.label(text=armature.name, icon="OUTLINER_OB_ARMATURE")
    others = others_in_pose_mode(context, armature)
    if others:
        wrapped(context, layout, f"Only this one is posed; {others}", "INFO")


def _draw_instruction(context: bpy.types.Context, layout: bpy.types.UILayout) -> None:
    chosen = settings(context)
    row = layout.row(align=True)
    row.prop(chosen, "instruction", text="", placeholder="Raise the left arm …")
    row.menu("POSELLAVA_MT_recall", text="", icon="RECOVER_LAST")


def _draw_long_instruction(context: bpy.types.Context, layout: bpy.types.UILayout) -> None:
    """All of an instruction of which the field shows a part. Below the buttons, so that they stay under the mouse."""
    instruction = settings(context).instruction
    if len(instruction) > characters(context) - FIELD_BUTTONS:
        wrapped(context, layout, f"“{instruction}”", "BLANK1")


def _draw_buttons(layout: bpy.types.UILayout) -> None:
    column = layout.column()
    edit = column.column()
    edit.scale_y = PROMINENT
    edit.operator("posellava.edit_pose", icon="POSE_HLT")
    row = column.row(align=True)
    row.operator("posellava.generate_pose", icon="ARMATURE_DATA")
    row.operator("posellava.estimate_pose", icon="IMAGE_DATA")


def _draw_progress(context: bpy.types.Context, layout: bpy.types.UILayout) -> None:
    """In the place of the buttons and of their height, so that nothing below jumps."""
    progress = activity.handle.progress if activity.handle else None
    column = layout.column()
    bar = column.column()
    bar.scale_y = PROMINENT
    if progress is not None and progress.total > 1 and not progress.ahead:
        # A property, because what UILayout.progress leaves behind is drawn, in blue, over later boxes and labels.
        painted = activity.handle is not None and activity.handle.request.task in PAINTED_TASKS
        text = f"{progress.done} of {progress.total} {'steps' if painted else 'poses'}"
        bar.prop(context.window_manager, PROGRESS, text=text, slider=True)
    elif progress is not None and progress.ahead:
        bar.label(
            text=f"Waiting behind {progress.ahead} other{'s' if progress.ahead != 1 else ''} …", icon="TIME"
        )
    else:
        bar.label(text="Waiting for the model …" if activity.handle else "Preparing …", icon="TIME")
    column.operator("posellava.cancel", icon="CANCEL")


def _percent_done(_: Any) -> float:
    progress = activity.handle.progress if activity.handle else None
    return 100.0 * progress.done / progress.total if progress is not None and progress.total else 0.0


def _draw_first_steps(context: bpy.types.Context, layout: bpy.types.UILayout) -> None:
    """For who has set nothing up and not asked anything yet."""
    if local_backend.is_chosen(context) and not activity.history.edits:
        wrapped(
            context,
            layout,
            'Type what should change, such as "raise your left arm", and press Edit Pose.',
            "INFO",
        )


def _draw_outcome(context: bpy.types.Context, layout: bpy.types.UILayout) -> None:
    """What came of the last request: words and a tick, words and a hint where no pose came, or why there is neither."""
    notice, outcome = standing_notice(context), activity.outcome
    if notice is not None:
        box = layout.box()
        box.alert = notice.failed
        wrapped(context, box, notice.sentence, "ERROR" if notice.failed else "INFO")
    elif outcome is not None and (outcome.task != "chat" or outcome.report is not None):
        box = layout.box()
        if outcome.words and outcome.task != "chat":  # what was said stands in the conversation
            wrapped(context, box, outcome.words, "SPEAKER")
        if outcome.summary():  # a description has none
            wrapped(context, box, outcome.summary(), "CHECKMARK" if outcome.arrived else "INFO")
        if outcome.picture is not None:
            _draw_preview(box, outcome.picture.image)
        if outcome.held_by_ik:
            box.operator("posellava.key_ik_targets", icon="CON_KINEMATIC")
        if outcome.variants is not None and outcome.number_of_variants > 1:
            row = box.row(align=True)
            row.operator("posellava.show_variant", text="", icon="TRIA_LEFT").step = -1
            row.label(text=f"Variant {outcome.variants.chosen + 1} of {outcome.number_of_variants}")
            row.operator("posellava.show_variant", text="", icon="TRIA_RIGHT").step = 1


def _draw_preview(layout: bpy.types.UILayout, name: str) -> None:
    """A painted picture, small; the user may have removed or renamed it since."""
    image = bpy.data.images.get(name)
    if image is not None and image.preview is not None:
        layout.template_icon(image.preview.icon_id, scale=PREVIEW)


CLASSES = (
    POSELLAVA_PT_main,
    POSELLAVA_PT_options,
    POSELLAVA_PT_parts,
    POSELLAVA_PT_keys,
    POSELLAVA_PT_estimate,
    POSELLAVA_PT_bone_map,
    POSELLAVA_PT_chat,
    POSELLAVA_PT_image,
    POSELLAVA_MT_recall,
)


def register() -> None:
    """Called when the add-on is enabled."""
    done = FloatProperty(  # type: ignore[func-returns-value]
        name="Done", subtype="PERCENTAGE", min=0.0, max=100.0, precision=0, get=_percent_done
    )
    setattr(bpy.types.WindowManager, PROGRESS, done)
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    LOCAL_BACKEND_ROWS.append(local_row.draw)


def unregister() -> None:
    """Called when the add-on is disabled."""
    LOCAL_BACKEND_ROWS.remove(local_row.draw)
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
    delattr(bpy.types.WindowManager, PROGRESS)
