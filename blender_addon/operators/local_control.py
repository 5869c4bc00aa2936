# SPDX-License-Identifier: GPL-3.0-or-later
"""Start and end the extension's own backend."""

import bpy

from ..local import LocalState
from ..rig.blender_types import OperatorResult
from . import backend, local_backend
from .grey import is_ready


class POSELLAVA_OT_start_local_backend(bpy.types.Operator):
    """Start the backend that comes with this extension, on this machine and for this Blender alone"""

    bl_idname = "posellava.start_local_backend"
    bl_label = "Start Local Backend"
    bl_options = {"INTERNAL"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Whether there is one, and it does not run."""
        lacking = local_backend.obstacle()
        return is_ready(cls, not lacking, lacking) and is_ready(cls, not _runs(), "It runs already.")

    def execute(self, context: bpy.types.Context) -> OperatorResult:
        """Start; returns at once."""
        try:
            backend.start_local()
        except backend.BackendError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        return {"FINISHED"}


class POSELLAVA_OT_stop_local_backend(bpy.types.Operator):
    """End the backend that comes with this extension; a request that runs fails"""

    bl_idname = "posellava.stop_local_backend"
    bl_label = "Stop Local Backend"
    bl_options = {"INTERNAL"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Whether it runs."""
        return is_ready(cls, _runs(), "The extension's own backend does not run.")

    def execute(self, context: bpy.types.Context) -> OperatorResult:
        """Stop; it is gone afterwards."""
        if local_backend.is_chosen(context):
            backend.disconnect()
        local_backend.stop()
        return {"FINISHED"}


def _runs() -> bool:
    return local_backend.status().state in (LocalState.STARTING, LocalState.READY)
