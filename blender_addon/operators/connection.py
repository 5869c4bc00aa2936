# SPDX-License-Identifier: GPL-3.0-or-later
"""Connect and disconnect."""

import bpy

from ..rig.blender_types import OperatorResult
from ..session import State
from . import backend
from .activity import activity
from .grey import is_ready
from .situation import situation


class POSELLAVA_OT_connect(bpy.types.Operator):
    """Connect to the backend named in the add-on's preferences, and keep trying until it answers"""

    bl_idname = "posellava.connect"
    bl_label = "Connect"
    bl_options = {"INTERNAL"}

    def execute(self, context: bpy.types.Context) -> OperatorResult:
        """Start connecting; returns at once."""
        activity.forget()
        try:
            backend.connect(context)
        except backend.BackendError as error:
            activity.fail(error, situation(context))
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        backend.redraw()
        return {"FINISHED"}


class POSELLAVA_OT_disconnect(bpy.types.Operator):
    """Close the connection to the backend"""

    bl_idname = "posellava.disconnect"
    bl_label = "Disconnect"
    bl_options = {"INTERNAL"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Whether there is anything to close."""
        connected = backend.status().state is not State.DISCONNECTED
        return is_ready(cls, connected, "There is no connection to close.")

    def execute(self, context: bpy.types.Context) -> OperatorResult:
        """Give the connection up; a request that runs fails with a sentence that says so."""
        backend.disconnect()
        backend.redraw()
        return {"FINISHED"}
