# SPDX-License-Identifier: GPL-3.0-or-later
"""The figure drawn from where the user sees it: filling the picture, in even light, without what stands before it.

A model that reads pictures cannot do much with a figure that is small or dark. Where the view shows reference images,
they are what is meant, and it is drawn as it is.
"""

from __future__ import annotations

import contextlib
import functools
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import bpy
import numpy as np
import numpy.typing as npt
from mathutils import Matrix

from ..contract.messages import View
from ..contract.rotations import Array
from ..rig.armature import Rig
from ..rig.view import joint_places, view_from
from .framing import FIELD_OF_VIEW, frame
from .photo import encode_png

VIEW_SIDE: Final = 336
"""Pixels of a side of the view: what the model's image encoder takes in at once."""
PROBE_SECONDS: Final = 240.0
"""Longer than another Blender takes to start and render, on a machine that has other work too."""


class ViewError(Exception):
    """The view cannot be drawn; the text is one sentence for the user."""


def snapshot_view(area: bpy.types.Area, quarter: int, rig: Rig) -> tuple[bytes, View | None]:
    """The PNG of the viewport in ``area``, and where it is seen from. The user may have closed the area since, and
    Blender's own references would lead nowhere.

    Raises:
        ViewError: it is closed.
    """
    for window in bpy.context.window_manager.windows:
        if area in window.screen.areas[:] and area.type == "VIEW_3D":
            space = area.spaces.active
            assert isinstance(space, bpy.types.SpaceView3D)
            regions = [region for region in area.regions if region.type == "WINDOW"]
            region = regions[quarter] if quarter < len(regions) else regions[0]
            view = _view_of(space, quarter)
            places = joint_places(rig)
            towards, up = _direction(view, places)
            if _shows_references(space, window.view_layer):
                matrices = view.view_matrix.copy(), _square(view.window_matrix, region)
            else:
                camera = frame(places, towards, up)
                matrices = Matrix(camera.to_camera.tolist()), Matrix(camera.projection.tolist())
            pixels = _draw(window.scene, window.view_layer, space, region, *matrices)
            return encode_png(pixels), view_from(rig, towards)
    raise ViewError("The 3D viewport was closed before its picture was taken; press the button again.")


def _view_of(space: bpy.types.SpaceView3D, quarter: int) -> bpy.types.RegionView3D:
    """The view of a part of a viewport in quad view."""
    quarters = space.region_quadviews
    view = quarters[quarter] if quarter < len(quarters) else space.region_3d
    assert view is not None
    return view


def _direction(view: bpy.types.RegionView3D, places: Array) -> tuple[Array, Array]:
    """From where the user looks at the figure (3,), relative to the middle of its ``places`` (N, 3) in the world, and
    what is up in the view (3,)."""
    to_world = np.array(view.view_matrix.inverted(), dtype=np.float64)
    towards = to_world[:3, 2]
    if view.is_perspective:
        from_figure = to_world[:3, 3] - (places.max(axis=0) + places.min(axis=0)) / 2
        if from_figure @ towards > 0:  # before the eye, be it at the edge of the view or beyond
            towards = from_figure
    return towards, to_world[:3, 1]


def _shows_references(space: bpy.types.SpaceView3D, view_layer: bpy.types.ViewLayer) -> bool:
    """Whether images lie in the viewport to be looked at."""
    camera = space.camera if space.region_3d.view_perspective == "CAMERA" else None
    behind = camera.data if camera is not None and camera.type == "CAMERA" else None
    if (
        behind is not None
        and behind.show_background_images
        and any(image.show_background_image for image in behind.background_images)
    ):
        return True
    return any(
        one.type == "EMPTY" and one.empty_display_type == "IMAGE" and one.data is not None
        for one in view_layer.objects
        if one.visible_get(view_layer=view_layer, viewport=space)
    )


def _square(window_matrix: Matrix, region: bpy.types.Region) -> Matrix:
    """The middle square of what a region shows: its longer side is cut off around the centre."""
    matrix = window_matrix.copy()
    aspect = region.width / region.height
    for column in range(4):
        if aspect > 1:
            matrix[0][column] *= aspect
        else:
            matrix[1][column] /= aspect
    return matrix


def _draw(
    scene: bpy.types.Scene,
    view_layer: bpy.types.ViewLayer,
    space: bpy.types.SpaceView3D,
    region: bpy.types.Region,
    to_camera: Matrix,
    projection: Matrix,
) -> npt.NDArray[np.uint8]:
    """Draw the viewport once more, square and without overlays: (VIEW_SIDE, VIEW_SIDE, 3), top row first.

    It holds the main thread, the only one that may draw, for as long as a redraw of the window.
    """
    import gpu  # only Blender with a window can draw

    offscreen = gpu.types.GPUOffScreen(VIEW_SIDE, VIEW_SIDE)  # type: ignore[call-arg]  # the stubs lack its arguments
    try:
        with _evenly_lit(space):
            offscreen.draw_view3d(
                scene, view_layer, space, region, to_camera, projection, do_color_management=True
            )
        buffer: Any = offscreen.texture_color.read()  # type: ignore[func-returns-value]  # and what this returns
    finally:
        offscreen.free()
    buffer.dimensions = VIEW_SIDE * VIEW_SIDE * 4
    pixels = np.array(buffer, dtype=np.uint8)
    return pixels.reshape(VIEW_SIDE, VIEW_SIDE, 4)[::-1, :, :3]


@contextlib.contextmanager
def _evenly_lit(space: bpy.types.SpaceView3D) -> Iterator[None]:
    """Show solid surfaces in the studio's light, and no overlays, for a moment."""
    wanted: list[tuple[Any, str, Any]] = [(space.overlay, "show_overlays", False)]
    if space.shading.type != "SOLID":
        wanted.append((space.shading, "type", "SOLID"))
    wanted += [(space.shading, "light", "STUDIO"), (space.shading, "show_xray", False)]
    before = []
    try:
        for owner, name, value in wanted:
            before.append((owner, name, getattr(owner, name)))
            setattr(owner, name, value)
        yield
    finally:
        for owner, name, value in reversed(before):
            setattr(owner, name, value)


def render_view(scene: bpy.types.Scene, rig: Rig) -> tuple[bytes, View | None]:
    """The PNG of a render from where the scene's camera sees the figure, and where that is.

    A copy of the scene is rendered, whose settings are free to change.

    Raises:
        ViewError: Blender cannot render here.
    """
    to_world = np.array(scene.camera.matrix_world, dtype=np.float64)
    places = joint_places(rig)
    towards = to_world[:3, 3] - (places.max(axis=0) + places.min(axis=0)) / 2
    if scene.camera.data.type == "ORTHO":
        towards = to_world[:3, 2]
    framing = frame(places, towards, to_world[:3, 1])
    copy, lens = scene.copy(), bpy.data.cameras.new("PoseLLaVA")
    camera = bpy.data.objects.new("PoseLLaVA", lens)
    try:
        copy.collection.objects.link(camera)
        camera.matrix_world = Matrix(framing.to_world.tolist())
        lens.angle, lens.clip_start, lens.clip_end = np.radians(FIELD_OF_VIEW), framing.near, framing.far
        copy.camera = camera
        return _render(copy), view_from(rig, towards)
    finally:
        # Removed together: removing a scene alone needs a window, which there is none of in background.
        bpy.data.batch_remove((copy, camera, lens))


def _render(scene: bpy.types.Scene) -> bytes:
    """Raises ViewError where Blender cannot."""
    render: Any = scene.render  # the stubs know one engine only
    render.engine = "BLENDER_WORKBENCH" if workbench_works() else "CYCLES"
    if render.engine == "CYCLES":
        scene.cycles.samples = 8
        scene.cycles.use_denoising = False  # not every Blender has the denoiser, and then nothing is rendered
    render.resolution_x = render.resolution_y = VIEW_SIDE
    render.resolution_percentage = 100
    render.pixel_aspect_x = render.pixel_aspect_y = 1
    render.use_border = False
    render.use_compositing = render.use_sequencer = False
    render.image_settings.file_format = "PNG"
    render.image_settings.color_mode = "RGB"
    render.use_file_extension = True
    with tempfile.TemporaryDirectory(prefix="posellava-") as folder:
        path = Path(folder) / "picture.png"
        render.filepath = str(path)
        try:
            bpy.ops.render.render(write_still=True, scene=scene.name)
        except RuntimeError as error:
            reason = str(error).removeprefix("Error: ").splitlines()[0].rstrip(".")
            raise ViewError(f"Blender cannot render the view here ({reason}); send no picture.") from None
        return path.read_bytes()


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
