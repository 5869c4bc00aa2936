# SPDX-License-Identifier: GPL-3.0-or-later
"""What the user sets: the backend in the add-on's preferences, the instruction and options in the scene.

May import bpy and the contract.
"""

from collections.abc import Callable
from typing import Any, Final

import bpy
from bpy.app.handlers import persistent
from bpy.props import (
    BoolProperty,
    EnumProperty,
    FloatProperty,
    IntProperty,
    PointerProperty,
    StringProperty,
)

from .contract.messages import MAX_SEED, MAX_VARIANTS
from .contract.skeleton import BODY_PARTS

ADDON: Final = __package__

_PROPERTY: Final = "posellava"
"""The scene's property that holds the settings."""

_PART_LABELS: Final = {
    "root": ("Hips", "The pelvis, which turns and carries the whole body"),
    "trunk": ("Trunk", "The spine"),
    "head": ("Head", "Neck and head"),
    "left_arm": ("Left Arm", "From the collar bone to the hand"),
    "right_arm": ("Right Arm", "From the collar bone to the hand"),
    "left_leg": ("Left Leg", "From the hip to the toes"),
    "right_leg": ("Right Leg", "From the hip to the toes"),
}

PART_ITEMS: Final = [
    (part, *_PART_LABELS[part], "NONE", 1 << number) for number, part in enumerate(BODY_PARTS)
]
ALL_PARTS: Final = frozenset(BODY_PARTS)

FRAME_ITEMS: Final = [
    ("CURRENT", "Current", "Edit the pose at the current frame"),
    ("SELECTED", "Selected Keys", "Edit the poses at the frames of the selected keyframes"),
    ("RANGE", "Range", "Edit the preview range, or the scene's range where none is set"),
]

RANGE_ITEMS: Final = [
    (
        "EACH",
        "Each Frame",
        "Ask for every frame by itself: right for what holds at all of them, but an instruction such as 'crouch' "
        "makes all of them alike",
    ),
    (
        "OFFSET",
        "Offset",
        "Ask once, and carry the change over to every frame: the motion goes on beneath it",
    ),
]
ASKED_RANGE_ITEMS: Final = [
    ("ASK", "Ask", "Ask at the next edit of a range, and remember the answer"),
    *RANGE_ITEMS,
]

REFERENCE_ITEMS: Final = [
    ("CURRENT", "Current Frame", "Carry over the change of the pose at the current frame"),
    (
        "SELECTED",
        "Selected Keys",
        "Carry over the changes of the poses at the selected keyframes, going from one to the next",
    ),
]

EASE_ITEMS: Final = [
    ("SMOOTH", "Smooth", "The change comes and goes with an ease"),
    ("LINEAR", "Linear", "The change comes and goes in even steps"),
]

ANCHOR_ITEMS: Final = [
    (
        "FRAMES",
        "Hold Other Frames",
        "Where a bone has no key of its own before or after the edit, a key on the frame beside it holds the rest of "
        "the animation as it was",
    ),
    (
        "KEYS",
        "Blend Between Keys",
        "Where a bone has no key of its own before or after the edit, it gets one where the character has its nearest, "
        "so that the pose comes and goes between them",
    ),
    ("NONE", "Key Only", "Key the edited frames alone; what lies beyond them may change with them"),
]

KEYING_ITEMS: Final = [
    ("ALWAYS", "Always", "Every edit sets keys"),
    (
        "AUTO",
        "With Auto Keying",
        "An edit sets keys while Blender's Auto Keying is on; otherwise it only poses",
    ),
    ("NEVER", "Never", "An edit only poses the bones at the current frame; set keys yourself"),
]

SINCE_ITEMS: Final = [
    ("EDIT", "Last Edit", "The pose before the last edit of this figure"),
    ("KEY", "Previous Key", "The pose at the last frame before this one at which the character has keys"),
]

PICTURE_ITEMS: Final = [
    ("IMAGE", "Image", "Estimate the pose of the person in an image"),
    ("VIEWPORT", "Viewport", "Estimate the pose of what the 3D viewport shows"),
]
REPAINT_ITEMS: Final = [
    ("IMAGE", "Image", "Paint an image anew"),
    ("RENDER", "Render", "Paint anew what was rendered last"),
]
MAX_SIDE: Final = 1024
"""Pixels of a painted picture's longer side; a backend looks at no more."""


LOCAL_BACKEND_ROWS: Final[list[Callable[[bpy.types.Context, bpy.types.UILayout], None]]] = []
"""What draws the state of the extension's own backend in the preferences; ui/ adds it, which knows that state."""

_before_undo: dict[str, dict[str, Any]] = {}
"""Scene name -> its options, while Blender undoes or redoes a step."""


def _take_in_line(chosen: "PoseLlavaPreferences", context: bpy.types.Context) -> None:
    """Where the whole line of ``posellava serve`` was pasted, move its token to the field that does not show it, where
    it replaces the one of an earlier start."""
    words = [word for word in chosen.url.split() if word != "listening"]
    if len(words) == 2 and words[1].startswith("token="):
        chosen.url, chosen.token = words[0], words[1].removeprefix("token=")


class PoseLlavaPreferences(bpy.types.AddonPreferences):
    """Where the backend is."""

    bl_idname = ADDON

    url: StringProperty(
        name="Backend",
        description="Address of another backend than the extension's own, or the whole line that 'posellava serve' "
        "prints; leave it empty to use the one that comes with the extension",
        update=_take_in_line,
    )
    token: StringProperty(
        name="Token",
        description="The token that 'posellava serve' prints; it is stored with Blender's preferences",
        subtype="PASSWORD",
    )

    keying: EnumProperty(
        name="Set Keys",
        description="When a button of the panel sets keys; scripts and background Blender always do",
        items=KEYING_ITEMS,
    )

    def draw(self, context: bpy.types.Context) -> None:
        """Called by Blender to draw the add-on's preferences."""
        layout = self.layout
        layout.use_property_split = True
        layout.prop(self, "url")
        layout.prop(self, "token")
        layout.label(
            text="Without an address the backend that comes with the extension answers:", icon="INFO"
        )
        for draw_rows in LOCAL_BACKEND_ROWS:
            draw_rows(context, layout)
        layout.prop(self, "keying")


class PoseLlavaSettings(bpy.types.PropertyGroup):
    """The instruction and the options of a scene."""

    instruction: StringProperty(
        name="Instruction",
        description="What should change, or the pose to make, in your own words",
        options={"TEXTEDIT_UPDATE"},
    )
    frames: EnumProperty(name="Frames", description="The frames that an edit changes", items=FRAME_ITEMS)
    parts: EnumProperty(
        name="Body Parts",
        description="Body parts that may move; the others are neither moved nor keyed. "
        "Click one to take it out or put it back",
        items=PART_ITEMS,
        options={"ENUM_FLAG"},
        default=set(ALL_PARTS),
    )
    strength: FloatProperty(
        name="Strength",
        description="How far an edit goes: 0 keeps the pose, 1 is the model's answer",
        default=1.0,
        min=0.0,
        max=1.0,
        subtype="FACTOR",
    )
    variants: IntProperty(
        name="Variants",
        description="How many different answers to look at, where the model has several. They are asked for "
        "when one frame is edited",
        default=4,
        min=1,
        max=MAX_VARIANTS,
    )
    send_view: BoolProperty(
        name="Send Viewport",
        description="Send a small picture of the figure and where it is seen from along with the pose, so that "
        '"turn to the camera" and "the hand on the left of the picture" mean something',
        default=True,
    )
    range_mode: EnumProperty(
        name="Over a Range", description="How a range of frames is edited", items=ASKED_RANGE_ITEMS
    )
    reference: EnumProperty(
        name="Change Of", description="Whose change Offset carries over", items=REFERENCE_ITEMS
    )
    blend_in: IntProperty(
        name="Blend In",
        description="Frames at the beginning of a range over which the change comes, where the character is animated "
        "before it",
        default=8,
        min=0,
        soft_max=50,
    )
    blend_out: IntProperty(
        name="Blend Out",
        description="Frames at the end of a range over which the change goes, where the character is animated after it",
        default=8,
        min=0,
        soft_max=50,
    )
    ease: EnumProperty(name="Ease", description="How the change comes and goes", items=EASE_ITEMS)
    every_frame: BoolProperty(
        name="Every Frame",
        description="Key every frame of a range; otherwise only those at which the character has keys, where it has "
        "any",
    )
    anchors: EnumProperty(
        name="Other Frames",
        description="What becomes of the frames that are not edited",
        items=ANCHOR_ITEMS,
    )
    limits: BoolProperty(
        name="Joint Limits",
        description="Stop joints where a body's would: elbows and knees at 160°",
        default=True,
    )
    ik_targets: BoolProperty(
        name="Key IK Targets",
        description="Where inverse kinematics (IK) drives a limb, move and key what it follows",
    )
    question: StringProperty(
        name="Question", description="What to ask the model", options={"TEXTEDIT_UPDATE"}
    )
    shows_pose: BoolProperty(
        name="Show the Pose",
        description="Show the model the pose at the current frame along with the question",
        default=True,
    )
    since: EnumProperty(name="Since", description="What the pose is compared with", items=SINCE_ITEMS)
    picture: EnumProperty(name="From", description="What a pose is estimated from", items=PICTURE_ITEMS)
    changed: BoolProperty(
        name="Change It as the Instruction Says",
        description="Start at the pose in the picture and change it: as in the photo, but with the left arm down",
    )
    image: PointerProperty(
        name="Image", description="The image to estimate a pose from", type=bpy.types.Image
    )
    prompt: StringProperty(
        name="Prompt",
        description="What a painted picture shows, in words",
        options={"TEXTEDIT_UPDATE"},
    )
    seed: IntProperty(
        name="Seed", description="Another one makes another picture", default=0, min=0, max=MAX_SEED
    )
    size: IntProperty(
        name="Size",
        description="Pixels of the longer side of a painted pose",
        default=512,
        min=64,
        max=MAX_SIDE,
        subtype="PIXEL",
    )
    repaint_from: EnumProperty(name="From", description="What is painted anew", items=REPAINT_ITEMS)
    repaint_image: PointerProperty(name="Image", description="The image to paint anew", type=bpy.types.Image)
    paint_strength: FloatProperty(
        name="Painted Anew",
        description="How much of the picture is painted anew: 1 keeps nothing of it",
        default=0.75,
        min=0.05,
        max=1.0,
        subtype="FACTOR",
    )


def option(name: str, **otherwise: Any) -> Any:
    """The panel's setting ``name`` as a property of an operator, for the values that scripts give it; ``otherwise``:
    what is declared in another way there."""
    declared = PoseLlavaSettings.__annotations__[name]
    said: dict[str, Any] = declared.keywords | otherwise
    return declared.function(**said | {"options": said.get("options", set()) | {"SKIP_SAVE"}})


def preferences(context: bpy.types.Context) -> PoseLlavaPreferences:
    """The add-on's PoseLlavaPreferences."""
    chosen = context.preferences.addons[ADDON].preferences
    assert isinstance(chosen, PoseLlavaPreferences)
    return chosen


def settings(context: bpy.types.Context) -> PoseLlavaSettings:
    """The PoseLlavaSettings of the scene."""
    return _of(context.scene)


def _of(scene: bpy.types.Scene | None) -> PoseLlavaSettings:
    chosen: PoseLlavaSettings = getattr(scene, _PROPERTY)
    return chosen


def options(chosen: PoseLlavaSettings) -> dict[str, Any]:
    """The values of the PoseLlavaSettings ``chosen`` by name, but for the image, which belongs to the file."""
    values = {name: getattr(chosen, name) for name in PoseLlavaSettings.__annotations__}
    return {name: value for name, value in values.items() if isinstance(value, (bool, int, float, str, set))}


@persistent  # type: ignore[untyped-decorator]
def _remember_options(*_: Any) -> None:
    _before_undo.update((scene.name, options(_of(scene))) for scene in bpy.data.scenes)


@persistent  # type: ignore[untyped-decorator]
def _keep_options(*_: Any) -> None:
    """Undo takes back poses, not what the next request is to be: as with Blender's own tool settings."""
    for scene in bpy.data.scenes:
        for name, value in _before_undo.get(scene.name, {}).items():
            if getattr(_of(scene), name) != value:
                setattr(_of(scene), name, value)
    _before_undo.clear()


_HANDLERS: Final = (
    (bpy.app.handlers.undo_pre, _remember_options),
    (bpy.app.handlers.redo_pre, _remember_options),
    (bpy.app.handlers.undo_post, _keep_options),
    (bpy.app.handlers.redo_post, _keep_options),
)


def register() -> None:
    """Called when the add-on is enabled."""
    bpy.utils.register_class(PoseLlavaPreferences)
    bpy.utils.register_class(PoseLlavaSettings)
    setattr(bpy.types.Scene, _PROPERTY, PointerProperty(type=PoseLlavaSettings))  # type: ignore[func-returns-value]
    for handlers, function in _HANDLERS:
        handlers.append(function)


def unregister() -> None:
    """Called when the add-on is disabled."""
    for handlers, function in _HANDLERS:
        handlers.remove(function)
    delattr(bpy.types.Scene, _PROPERTY)
    bpy.utils.unregister_class(PoseLlavaSettings)
    bpy.utils.unregister_class(PoseLlavaPreferences)
