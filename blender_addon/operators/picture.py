# SPDX-License-Identifier: GPL-3.0-or-later
"""The pictures that are sent: the 3D viewport, the scene's camera in background, an image, a file. All as small PNGs.

``of_...`` return a function that makes the PNG bytes later, so that an operator can look first whether there is
anything to make a picture of.
"""

import contextlib
import functools
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import bpy
import numpy as np
import numpy.typing as npt

VIEW_SIDE: Final = 336
"""Pixels of a side of the view: what the model's image encoder takes in at once."""
LONGEST_SIDE: Final = 1024
"""Larger images are made smaller before they are sent; a person's pose does not show in more."""
PROBE_SECONDS: Final = 60.0


class PictureError(Exception):
    """A picture cannot be made; the text is one sentence for the user."""


def of_view(context: Any) -> Callable[[], bytes]:
    """The 3D viewport as the user sees it, or, in background, a render of the scene's camera.

    Raises:
        PictureError: there is no 3D viewport, or in background no camera.
    """
    if bpy.app.background:
        if context.scene.camera is None:
            raise PictureError(
                "The scene has no camera to render a picture from; add one or send no picture."
            )
        return functools.partial(_render, context.scene)
    space = context.space_data
    if space is None or space.type != "VIEW_3D":
        raise PictureError("There is no 3D viewport to take a picture of; press the button in one.")
    return functools.partial(_snapshot, context.area)


def of_image(image: Any) -> Callable[[], bytes]:
    """An image of the file. Raises PictureError when None, or when it has no pixels."""
    if image is None:
        raise PictureError("No image is chosen; open one under Estimate From.")
    return functools.partial(_shrink_named, image.name)


def of_file(path: str) -> Callable[[], bytes]:
    """An image file of any format that Blender reads. Raises PictureError when there is no such file."""
    if not Path(path).is_file():
        raise PictureError(f"There is no file {path}; check the path.")
    return functools.partial(_load, path)


def encode_png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """The PNG file of an image (height, width, 3), top row first, as the PNG specification's sections 5 and 11 say."""
    height, width, _ = pixels.shape
    rows = np.zeros(
        (height, 1 + 3 * width), dtype=np.uint8
    )  # every row begins with its filter type, 0 for none
    rows[:, 1:] = pixels.reshape(height, 3 * width)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits, RGB
    body = zlib.compress(rows.tobytes(), 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def _window_region(area: Any) -> Any:
    return next(region for region in area.regions if region.type == "WINDOW")


def _snapshot(area: Any) -> bytes:
    """The viewport in ``area``, which the user may have closed since: Blender's own references would lead nowhere."""
    for window in bpy.context.window_manager.windows:
        if area in window.screen.areas[:] and area.type == "VIEW_3D":
            space = area.spaces.active
            return encode_png(_draw(window.scene, window.view_layer, space, _window_region(area)))
    raise PictureError("The 3D viewport was closed before its picture was taken; press the button again.")


def _draw(scene: Any, view_layer: Any, space: Any, region: Any) -> npt.NDArray[np.uint8]:
    """Draw the viewport once more, square and without overlays: (VIEW_SIDE, VIEW_SIDE, 3), top row first.

    It holds the main thread, the only one that may draw, for as long as a redraw of the window.
    """
    import gpu  # only Blender with a window can draw

    view = space.region_3d
    window = view.window_matrix.copy()
    # The region is rarely square; cut its longer side off around the centre.
    aspect = region.width / region.height
    for column in range(4):
        if aspect > 1:
            window[0][column] *= aspect
        else:
            window[1][column] /= aspect
    shown, space.overlay.show_overlays = space.overlay.show_overlays, False
    offscreen = gpu.types.GPUOffScreen(VIEW_SIDE, VIEW_SIDE)
    try:
        offscreen.draw_view3d(
            scene, view_layer, space, region, view.view_matrix, window, do_color_management=True
        )
        buffer = offscreen.texture_color.read()
    finally:
        offscreen.free()
        space.overlay.show_overlays = shown
    buffer.dimensions = VIEW_SIDE * VIEW_SIDE * 4
    pixels = np.array(buffer, dtype=np.uint8)
    return pixels.reshape(VIEW_SIDE, VIEW_SIDE, 4)[::-1, :, :3]


def _render(scene: Any) -> bytes:
    """Render a copy of the scene, whose settings are free to change, from its camera."""
    copy = scene.copy()
    try:
        with _temporary_png() as path:
            copy.render.engine = "BLENDER_WORKBENCH" if workbench_works() else "CYCLES"
            if copy.render.engine == "CYCLES":
                copy.cycles.samples = 8
            copy.render.resolution_x = copy.render.resolution_y = VIEW_SIDE
            copy.render.resolution_percentage = 100
            copy.render.image_settings.file_format = "PNG"
            copy.render.image_settings.color_mode = "RGB"
            copy.render.use_file_extension = True
            copy.render.filepath = str(path)
            bpy.ops.render.render(write_still=True, scene=copy.name)
            return path.read_bytes()
    finally:
        bpy.data.scenes.remove(copy)


def _shrink_named(name: str) -> bytes:
    image = bpy.data.images.get(name)
    if image is None:
        raise PictureError(f"The image {name} was removed; choose another under Estimate From.")
    return _shrink(image)


def _load(path: str) -> bytes:
    try:
        image = bpy.data.images.load(path)
    except RuntimeError:
        raise PictureError(f"Blender cannot read {path}; choose a PNG or JPEG image.") from None
    try:
        return _shrink(image)
    finally:
        bpy.data.images.remove(image)


def _shrink(image: Any) -> bytes:
    """The image as a PNG whose longer side is at most LONGEST_SIDE."""
    width, height = image.size
    if not width or not height:
        raise PictureError(f"The image {image.name} has no pixels; choose a PNG or JPEG image.")
    copy = image.copy()
    try:
        with _temporary_png() as path:
            factor = LONGEST_SIDE / max(copy.size)  # this loads the copy; a format set before would be lost
            if factor < 1:
                copy.scale(max(1, round(width * factor)), max(1, round(height * factor)))
            copy.file_format = "PNG"
            copy.save(filepath=str(path))
            return path.read_bytes()
    finally:
        bpy.data.images.remove(copy)


@contextlib.contextmanager
def _temporary_png() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="posellava-") as folder:
        yield Path(folder) / "picture.png"


@functools.cache
def workbench_works() -> bool:
    """Whether Workbench can render in background here. Without EGL it ends the whole process, so a process of its own
    tries it."""
    script = (
        "import bpy; r = bpy.context.scene.render; r.engine = 'BLENDER_WORKBENCH'; "
        "r.resolution_x = r.resolution_y = 8; bpy.ops.render.render()"
    )
    if bpy.app.binary_path:
        command = [bpy.app.binary_path, "--background", "--factory-startup", "--python-expr", script]
    else:
        command = [sys.executable, "-c", script]
    try:
        done = subprocess.run(command, capture_output=True, timeout=PROBE_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0
