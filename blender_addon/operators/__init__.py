# SPDX-License-Identifier: GPL-3.0-or-later
"""What the user can do: connect, edit, generate and estimate poses, cancel, look at variants, add the figure, recall an
instruction.

``target`` finds the armature that is meant, ``ask`` is how a request of an operator runs, ``ask_pose`` what those that
ask about poses share besides, ``work`` the course of a request from reading poses to writing keys. ``picture`` makes
what is sent along: ``photo`` of an image, ``view`` with ``framing`` of the figure. ``backend`` keeps the one
connection, ``local_backend`` the extension's own backend, which ``local_control`` starts and ends; ``activity`` the
request that runs and what came of the last one, ``edit_turns`` the edits before, ``variant`` keys the last answer in
another way; ``handlers`` and ``situation`` say when they are no longer true. ``grey`` says why a button is grey.
``certainty`` names what a picture does not show well. ``bone_map`` corrects which bone plays which joint. ``speak`` has
what is answered in words, ``chat`` what was said. ``paint`` has pictures painted, ``control_maps`` writes what they
follow.

May import bpy, the rig, the session, the contract and the settings. In a window nothing here waits for the network:
work is done in short steps on window timer events. In background the same operators run the same steps to their end.
"""

import bpy

from . import backend, bone_map, handlers, paint, speak
from .connection import POSELLAVA_OT_connect, POSELLAVA_OT_disconnect
from .control_maps import POSELLAVA_OT_control_maps
from .figure import POSELLAVA_OT_add_figure
from .local_control import POSELLAVA_OT_start_local_backend, POSELLAVA_OT_stop_local_backend
from .pose import (
    POSELLAVA_OT_cancel,
    POSELLAVA_OT_edit_pose,
    POSELLAVA_OT_estimate_pose,
    POSELLAVA_OT_generate_pose,
)
from .recall import POSELLAVA_OT_recall
from .variant import POSELLAVA_OT_key_ik_targets, POSELLAVA_OT_show_variant

CLASSES = (
    POSELLAVA_OT_connect,
    POSELLAVA_OT_disconnect,
    POSELLAVA_OT_start_local_backend,
    POSELLAVA_OT_stop_local_backend,
    POSELLAVA_OT_add_figure,
    POSELLAVA_OT_control_maps,
    POSELLAVA_OT_edit_pose,
    POSELLAVA_OT_generate_pose,
    POSELLAVA_OT_estimate_pose,
    POSELLAVA_OT_cancel,
    POSELLAVA_OT_show_variant,
    POSELLAVA_OT_key_ik_targets,
    POSELLAVA_OT_recall,
    *bone_map.CLASSES,
    *speak.CLASSES,
    *paint.CLASSES,
)


def register() -> None:
    """Called when the add-on is enabled."""
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    backend.register()
    handlers.register()


def unregister() -> None:
    """Called when the add-on is disabled, and when Blender quits."""
    handlers.unregister()
    backend.unregister()
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
