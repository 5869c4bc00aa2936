# SPDX-License-Identifier: GPL-3.0-or-later
"""Paint Pose and Repaint Picture, where the backend has a pipeline for pictures: the figure as the scene's camera sees
it, or a picture whose person is posed anew as the instruction says.

How a request runs is in ``ask``. Nothing is keyed: what comes back is an image of the file, which is saved where
renders go, too.
"""

import functools
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import bpy

from ..contract.control_maps import png_of
from ..contract.messages import MAP_KINDS, Painting, Request, not_painted
from ..rig.armature import Rig
from ..rig.blender_types import current_scene
from ..rig.control import control_maps, sight
from ..session import Connection, State, new_request_id
from ..settings import PoseLlavaSettings, option, settings
from . import backend, local_backend
from .activity import Outcome, PaintedPicture
from .ask import Ask
from .picture import FromFile, PictureError, Taking, Wait, of_file, of_image, of_render
from .target import find_rig, find_target
from .work import Course, answered, give_way, taken

GREETING_SECONDS: Final = 5.0
"""How long a connection that has just been begun is waited for."""


@dataclass(frozen=True)
class Wish:
    """What is to be painted.

    Attributes:
        task: one of the protocol's PAINTED_TASKS.
        instruction: how the person in the picture is to be posed.
        prompt, strength, seed: as in Painting.
        armature: the figure to paint, by its session_uid; None for a picture that is painted anew.
        size: pixels of the figure's picture along its longer side.
        take_picture: makes the picture to start from; None where it starts from nothing.
    """

    task: str
    instruction: str
    prompt: str
    strength: float
    seed: int
    armature: int | None = None
    size: int = 512
    take_picture: Taking | None = None


def course(wish: Wish, connection: Connection) -> Course:
    """Have it painted.

    Raises:
        ProtocolError: the backend failed, or the user cancelled.
        RigError: the figure is gone, or the camera cannot see it.
        PictureError: the picture cannot be made, or the painted one not be saved.
    """
    picture = yield from taken(wish.take_picture)
    yield _is_greeted(connection)
    maps = {} if wish.armature is None else (yield from _maps(wish.armature, wish.size, connection))
    began = time.perf_counter()
    request = Request(
        new_request_id(),
        wish.task,
        wish.instruction,
        image_png=None if picture is None else picture.png,
        painting=Painting(wish.prompt, maps, wish.strength, wish.seed),
    )
    result = yield from answered(connection, request)
    words = " ".join(text.strip() for text in result.texts if text.strip())
    painted = None if result.image_png is None else _keep(result.image_png)
    milliseconds = 1000 * (time.perf_counter() - began)
    return Outcome(wish.task, wish.instruction, words, None, milliseconds, picture=painted)


def _is_greeted(connection: Connection) -> Wait:
    """Whether a connection that has just been begun is there, or has had the time: what the backend follows it says
    when it greets."""
    deadline = time.monotonic() + GREETING_SECONDS

    def is_known(seconds: float | None) -> bool:
        if connection.status.state is not State.CONNECTING or time.monotonic() > deadline:
            return True
        time.sleep(0.02 if seconds is None else min(seconds, 0.02))
        return False

    return is_known


def _maps(armature: int, size: int, connection: Connection) -> Generator[None, None, dict[str, bytes]]:
    """The control maps that the backend follows: the skeleton in one step, what the mesh shows in another."""
    welcome = connection.status.welcome
    wanted = frozenset(MAP_KINDS if welcome is None else welcome.maps)
    maps: dict[str, bytes] = {}
    for kinds in (wanted & {"openpose"}, wanted - {"openpose"}):
        drawn = control_maps(find_rig(armature), kinds, size) if kinds else {}
        maps |= {kind: png_of(pixels) for kind, pixels in drawn.items()}
        yield from give_way()
    return maps


def _keep(png: bytes) -> PaintedPicture:
    """The picture as an image of this file, packed into it, and as a file beside the renders; shown in an Image Editor
    where one is open."""
    path = _saved(png)
    image = bpy.data.images.load(str(path))
    image.pack()
    image.use_fake_user = True
    image.preview_ensure()
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            space = area.spaces.active
            if isinstance(space, bpy.types.SpaceImageEditor):
                space.image = image
                area.tag_redraw()
    return PaintedPicture(image.name, str(path))


def _saved(png: bytes) -> Path:
    """The new file, in the folder that renders go to, or else among Blender's temporary ones."""
    renders = Path(bpy.path.abspath(current_scene().render.filepath) + "_").parent
    for folder in (renders, Path(bpy.app.tempdir)):
        if not folder.is_absolute() or not folder.is_dir():
            continue
        numbers = (folder / f"posellava_{number:04d}.png" for number in range(1, 100_000))
        path = next(path for path in numbers if not path.exists())
        try:
            with path.open("xb") as file:
                file.write(png)
        except OSError:  # nothing may be written here
            continue
        return path
    raise PictureError(
        "The picture was painted, but can be saved nowhere; choose another Output folder in Output Properties."
    )


def lack(context: bpy.types.Context, task: str) -> str:
    """Why one of PAINTED_TASKS cannot be done, a sentence, or an empty text. The extension's own backend, which has no
    torch, does none of them, so it need not be started to say so."""
    welcome = backend.status().welcome
    if welcome is None:
        return not_painted(()) if local_backend.is_chosen(context) else ""
    return "" if task in welcome.tasks else not_painted(welcome.tasks)


class Paint(Ask):
    """An operator whose answer is a picture."""

    prompt: option("prompt")
    seed: option("seed")

    @classmethod
    def untaught(cls, context: bpy.types.Context) -> str:
        """A backend that paints nothing is asked nothing."""
        return lack(context, cls.task)

    @classmethod
    def lacks(cls, chosen: PoseLlavaSettings) -> str:
        """A prompt."""
        return "" if chosen.prompt.strip() else "The prompt is empty; say what the picture is to show."

    def _prepare(self, context: bpy.types.Context, *, keyed: bool) -> Callable[[Connection], Course]:
        return functools.partial(course, self._wish(context))

    def _wish(self, context: bpy.types.Context) -> Wish:
        """What is to be painted; raises what Failure names."""
        raise NotImplementedError


class POSELLAVA_OT_paint_pose(Paint, bpy.types.Operator):
    """Paint a picture of the figure as the scene's camera sees it at the current frame; no pose is changed"""

    bl_idname = "posellava.paint_pose"
    bl_label = "Paint Pose"
    bl_options = {"REGISTER", "UNDO"}

    task = "paint"
    _from_panel = ("prompt", "seed", "size")

    size: option("size")

    def _wish(self, context: bpy.types.Context) -> Wish:
        armature = find_target(context)
        Rig.of(armature)
        sight(self.size)  # there is a camera
        return Wish(self.task, "", self.prompt.strip(), 1.0, self.seed, armature.session_uid, self.size)


class POSELLAVA_OT_repaint_picture(FromFile, Paint, bpy.types.Operator):
    """Paint a picture anew with its person posed as the instruction says; no pose in the scene is changed"""

    bl_idname = "posellava.repaint_picture"
    bl_label = "Repaint Picture"
    bl_options = {"REGISTER", "UNDO"}

    task = "repaint"
    needs_character = False
    _from_panel = ("instruction", "prompt", "paint_strength", "seed", "repaint_from")

    repaint_from: option("repaint_from")
    paint_strength: option("paint_strength")

    @classmethod
    def lacks(cls, chosen: PoseLlavaSettings) -> str:
        """A picture and a prompt."""
        if chosen.repaint_from == "IMAGE" and chosen.repaint_image is None:
            return "No image is chosen; open one above the button."
        return super().lacks(chosen)

    def _wish(self, context: bpy.types.Context) -> Wish:
        if self.filepath:
            take = of_file(self.filepath)
        elif self.repaint_from == "RENDER":
            take = of_render()
        else:
            take = of_image(settings(context).repaint_image)
        return Wish(
            self.task,
            self.instruction.strip(),
            self.prompt.strip(),
            self.paint_strength,
            self.seed,
            take_picture=take,
        )


CLASSES = (POSELLAVA_OT_paint_pose, POSELLAVA_OT_repaint_picture)
