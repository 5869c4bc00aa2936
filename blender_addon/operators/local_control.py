# SPDX-License-Identifier: GPL-3.0-or-later
"""Start and end the extension's own backend."""

import bpy

from ..local import LocalState
from ..rig.blender_types import OperatorResult
from . import backend, local_backend


class POSELLAVA_OT_start_local_backend(bpy.types.Operator):
    """Start the backend that comes with this extension, on this machine and for this Blender alone"""

    bl_idname = "posellava.start_local_backend"
    bl_label = "Start Local Backend"
    bl_options = {"INTERNAL"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Whether there is one, and it does not run."""
        lacking = local_backend.obstacle()
        if lacking:
            cls.poll_message_set(lacking)
        return not lacking and local_backend.status().state not in (LocalState.STARTING, LocalState.READY)

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
        return local_backend.status().state in (LocalState.STARTING, LocalState.READY)

    def execute(self, context: bpy.types.Context) -> OperatorResult:
        """Stop; it is gone afterwards."""
        if local_backend.is_chosen(context):
            backend.disconnect()
        local_backend.stop()
        return {"FINISHED"}
