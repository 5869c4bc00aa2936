# SPDX-License-Identifier: GPL-3.0-or-later
"""How the extension's own backend is, in one row, with the button that starts or ends it."""

from typing import Final

import bpy

from ..local import LocalState
from ..operators import local_backend
from ..rig.blender_types import Icon
from .text import wrapped

_NAMES: Final[dict[LocalState, tuple[str, Icon]]] = {
    LocalState.STOPPED: ("Local backend: stopped", "PAUSE"),
    LocalState.STARTING: ("Local backend: starting …", "SORTTIME"),
    LocalState.READY: ("Local backend: ready", "CHECKMARK"),
    LocalState.FAILED: ("Local backend: failed", "ERROR"),
}


def draw(context: bpy.types.Context, layout: bpy.types.UILayout) -> None:
    """Draw the row, and below it why it failed."""
    status = local_backend.status()
    name, icon = _NAMES[status.state]
    row = layout.row()
    row.label(text=name, icon=icon)
    if status.state in (LocalState.STARTING, LocalState.READY):
        row.operator("posellava.stop_local_backend", text="Stop")
    if status.state is LocalState.FAILED:
        box = layout.box()
        box.alert = True
        wrapped(context, box, status.sentence, "ERROR")
        for line in status.lines:
            wrapped(context, box, line, "BLANK1")
    if status.state in (LocalState.STOPPED, LocalState.FAILED):
        layout.operator("posellava.start_local_backend", icon="PLAY")
