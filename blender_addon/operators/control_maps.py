# SPDX-License-Identifier: GPL-3.0-or-later
"""Write Control Maps: pictures of the figure's skeleton, depth and normals, for ControlNet and its like."""

from pathlib import Path
from typing import Any

import bpy
from bpy.props import EnumProperty, IntProperty, StringProperty

from ..contract.control_maps import png_of
from ..rig.armature import Rig
from ..rig.blender_types import OperatorResult, current_scene
from ..rig.bone_map import RigError
from ..rig.control import control_maps
from .target import find_target


class POSELLAVA_OT_control_maps(bpy.types.Operator):
    """Write control maps of the figure, as the scene's camera sees it, into a folder"""

    bl_idname = "posellava.control_maps"
    bl_label = "Write Control Maps"
    bl_options = {"REGISTER"}

    directory: StringProperty(name="Folder", subtype="DIR_PATH", options={"SKIP_SAVE"})
    kinds: EnumProperty(
        name="Maps",
        items=[
            ("openpose", "OpenPose", "The skeleton in OpenPose's colours", "NONE", 1),
            ("depth", "Depth", "Bright where near", "NONE", 2),
            ("normal", "Normals", "Which way the surface faces", "NONE", 4),
        ],
        options={"ENUM_FLAG"},
        default={"openpose", "depth", "normal"},
    )
    frames: EnumProperty(
        name="Frames",
        items=[
            ("CURRENT", "Current", "The current frame"),
            ("RANGE", "Range", "The preview range, or the scene's range where none is set"),
        ],
    )
    size: IntProperty(
        name="Size", description="Pixels of the longer side", default=512, min=64, max=4096, subtype="PIXEL"
    )

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> OperatorResult:
        """Ask for the folder."""
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> OperatorResult:
        """Write ``KIND_FRAME.png`` for each map and frame; the scene's frame is put back."""
        folder = Path(bpy.path.abspath(self.directory))
        if not self.directory or not folder.is_dir():
            self.report({"ERROR"}, f"There is no folder {self.directory!r}; choose one that exists.")
            return {"CANCELLED"}
        scene = current_scene()
        before = scene.frame_current
        try:
            rig = Rig.of(find_target(context))
            written = self._write(rig, scene, folder)
        except (RigError, OSError) as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        finally:
            if scene.frame_current != before:
                scene.frame_set(before)
        self.report({"INFO"}, f"{written} control maps in {folder}.")
        return {"FINISHED"}

    def _write(self, rig: Rig, scene: bpy.types.Scene, folder: Path) -> int:
        written = 0
        for frame in self._frames(scene):
            if self.frames == "RANGE":  # the current frame may be posed and not keyed
                scene.frame_set(frame)
            for kind, pixels in control_maps(rig, frozenset(self.kinds), self.size).items():
                (folder / f"{kind}_{frame:04d}.png").write_bytes(png_of(pixels))
                written += 1
        return written

    def _frames(self, scene: bpy.types.Scene) -> Any:
        if self.frames == "CURRENT":
            return [scene.frame_current]
        if scene.use_preview_range:
            return range(scene.frame_preview_start, scene.frame_preview_end + 1)
        return range(scene.frame_start, scene.frame_end + 1)
