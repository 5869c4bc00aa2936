# SPDX-License-Identifier: GPL-3.0-or-later
"""The pictures that are sent: the figure as the 3D viewport shows it, or in background the scene's camera; an image; a
file. All as small PNGs.

``of_...`` look first whether there is anything to make a picture of and return a Taking, which makes it later.
"""

from __future__ import annotations

import contextlib
import functools
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import bpy
from bpy.props import StringProperty

from ..contract.messages import View
from ..rig.armature import Rig
from ..rig.blender_types import ArmatureObject, current_scene
from . import photo
from .target import find_rig
from .view import ViewError, render_view, snapshot_view

LARGE_FILE: Final = 300_000
"""Bytes of an image file from which on another process makes it small: the window would stand still for too long."""


class PictureError(Exception):
    """A picture cannot be made; the text is one sentence for the user."""


@dataclass(frozen=True)
class Picture:
    """A PNG file, and where the camera is as the body sees it, where that is known."""

    png: bytes
    view: View | None = None


class FromFile:
    """An operator that takes an image file, too."""

    filepath: StringProperty(
        name="File", description="An image file; overrides From", subtype="FILE_PATH", options={"SKIP_SAVE"}
    )


Wait = Callable[[float | None], bool]
"""Waits for at most so many seconds, None for as long as it takes; whether what it waits for has come."""

Taking = Callable[[], Generator[Wait | None, None, Picture]]
"""Makes a picture, in steps as those of a course (see ``work``)."""


def of_view(context: bpy.types.Context, armature: ArmatureObject) -> Taking:
    """The armature's figure as seen from where the viewport, or in background the scene's camera, sees it.

    Raises:
        PictureError: there is no 3D viewport, or in background no camera.
    """
    scene, area = context.scene, context.area
    assert scene is not None
    if bpy.app.background:
        if scene.camera is None:
            raise PictureError(
                "The scene has no camera to render a picture from; add one or send no picture."
            )
        return functools.partial(_take, armature.session_uid, functools.partial(render_view, scene))
    if area is None or not has_viewport(context):
        raise PictureError("There is no 3D viewport to take a picture of; press the button in one.")
    shoot = functools.partial(snapshot_view, area, _quarter(context))
    return functools.partial(_take, armature.session_uid, shoot)


def has_viewport(context: bpy.types.Context) -> bool:
    """Whether there is a window, and what runs was called in a 3D viewport of it."""
    space = context.space_data
    return not bpy.app.background and space is not None and space.type == "VIEW_3D"


def of_image(image: bpy.types.Image) -> Taking:
    """An image of the file. Raises PictureError when None."""
    if image is None:
        raise PictureError("No image is chosen; open one.")
    return functools.partial(_shrink_named, image.name)


def of_file(path: str) -> Taking:
    """An image file of any format that Blender reads, its path Blender's. Raises PictureError when there is no such
    file."""
    path = bpy.path.abspath(path)
    if not Path(path).is_file():
        raise PictureError(f"There is no file {path}; check the path.")
    return functools.partial(_load, path)


def of_render() -> Taking:
    """What was rendered last. Raises PictureError when nothing was."""
    if _render_result() is None:
        raise PictureError("Nothing was rendered yet; press F12 first, or choose an image.")
    return _save_render


def _render_result() -> bpy.types.Image | None:
    return next((image for image in bpy.data.images if image.type == "RENDER_RESULT"), None)


def _save_render() -> Generator[Wait | None, None, Picture]:
    yield None
    image, scene = _render_result(), current_scene()
    with tempfile.TemporaryDirectory(prefix="posellava-") as folder:
        path = Path(folder) / f"render{scene.render.file_extension}"
        try:
            if image is not None:
                image.save_render(str(path), scene=scene)
        except RuntimeError:  # there is the image, but nothing in it
            path.unlink(missing_ok=True)
        if not path.is_file():
            raise PictureError("Nothing was rendered yet; press F12 first, or choose an image.")
        return (yield from _load(str(path)))


def _quarter(context: bpy.types.Context) -> int:
    """Which part of a viewport in quad view the button was pressed in; 0 where it is not divided."""
    regions = [region for region in context.area.regions if region.type == "WINDOW"]
    return regions.index(context.region) if context.region in regions else 0


def _take(
    armature: int, shoot: Callable[[Rig], tuple[bytes, View | None]]
) -> Generator[Wait | None, None, Picture]:
    yield None
    try:
        return Picture(*shoot(find_rig(armature)))
    except ViewError as error:
        raise PictureError(str(error)) from None


def _shrink_named(name: str) -> Generator[Wait | None, None, Picture]:
    yield None
    image = bpy.data.images.get(name)
    if image is None:
        raise PictureError(f"The image {name} was removed; choose another.")
    path = bpy.path.abspath(image.filepath, library=image.library) if image.filepath else ""
    if image.packed_file is None and not image.is_dirty and image.source == "FILE" and _is_large(path):
        png = yield from _shrink_elsewhere(path)
        if png:
            return Picture(png)
    return Picture(_shrink(image))


def _load(path: str) -> Generator[Wait | None, None, Picture]:
    yield None
    if _is_large(path):
        png = yield from _shrink_elsewhere(path)
        if png:
            return Picture(png)
    try:
        image = bpy.data.images.load(path)
    except RuntimeError:
        raise PictureError(f"Blender cannot read {path}; choose a PNG or JPEG image.") from None
    try:
        return Picture(_shrink(image))
    finally:
        bpy.data.images.remove(image)


def _shrink(image: bpy.types.Image) -> bytes:
    try:
        return photo.shrink(image)
    except photo.PhotoError as error:
        raise PictureError(str(error)) from None


def _is_large(path: str) -> bool:
    """Whether a window would stand still while this file is read. In background nothing waits but the caller."""
    return not bpy.app.background and Path(path).is_file() and Path(path).stat().st_size > LARGE_FILE


def _shrink_elsewhere(path: str) -> Generator[Wait | None, None, bytes]:
    """The PNG of an image file, made by another Blender; empty where that does not succeed."""
    with tempfile.TemporaryDirectory(prefix="posellava-") as folder:
        target = Path(folder) / "picture.png"
        command = [*blender_command(Path(photo.__file__)), "--", path, str(target)]
        try:
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        except OSError:  # not allowed in this installation
            return b""
        try:
            yield from _wait_for(process)
        finally:
            process.kill()  # does nothing to one that has ended
            process.wait()
        return target.read_bytes() if process.returncode == 0 and target.is_file() else b""


def _wait_for(process: subprocess.Popen[bytes]) -> Generator[Wait, None, None]:
    """Wait, in short steps between which Cancel is heard."""

    def step(seconds: float | None) -> bool:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        return True

    while process.poll() is None:
        yield step


def blender_command(script: Path) -> list[str]:
    """Runs a script in another Blender like this one, without a window."""
    if bpy.app.binary_path:
        return [bpy.app.binary_path, "--background", "--factory-startup", "--python", str(script)]
    return [sys.executable, str(script)]
