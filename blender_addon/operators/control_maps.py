# SPDX-License-Identifier: GPL-3.0-or-later
"""Write Control Maps: pictures of the figure's skeleton, depth and normals, for ControlNet and its like."""

from contextlib import closing
from pathlib import Path

import bpy
from bpy.props import EnumProperty, IntProperty, StringProperty

from ..contract.control_maps import png_of
from ..rig.armature import Rig
from ..rig.blender_types import OperatorResult, current_scene
from ..rig.bone_map import RigError
from ..rig.control import control_maps
from ..rig.frames import list_frames
from ..rig.sample import visit
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
        """Write ``KIND_FRAME.png`` for each map and frame; afterwards the scene shows what it showed."""
        folder = Path(bpy.path.abspath(self.directory))
        if not self.directory or not folder.is_dir():
            self.report({"ERROR"}, f"There is no folder {self.directory!r}; choose one that exists.")
            return {"CANCELLED"}
        try:
            written = self._write(Rig.of(find_target(context)), folder)
        except RigError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        except OSError as error:
            self.report(
                {"ERROR"}, f"Nothing can be written to {folder} ({error.strerror}); choose another folder."
            )
            return {"CANCELLED"}
        self.report({"INFO"}, f"{written} control maps in {folder}.")
        return {"FINISHED"}

    def _write(self, rig: Rig, folder: Path) -> int:
        scene, written = current_scene(), 0
        with closing(visit(rig.armature, list_frames(rig, self.frames), True)) as visits:
            for _ in visits:
                maps = control_maps(rig, frozenset(self.kinds), self.size)
                for kind, pixels in maps.items():
                    (folder / f"{kind}_{round(scene.frame_float):04d}.png").write_bytes(png_of(pixels))
                written += len(maps)
        return written
