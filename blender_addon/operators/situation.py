# SPDX-License-Identifier: GPL-3.0-or-later
"""What the user has chosen: as long as it stays the same, so does the reason why a request failed."""

from collections.abc import Hashable

import bpy

from ..session import State
from ..settings import options, preferences, settings
from . import backend
from .activity import Notice, activity


def situation(context: bpy.types.Context) -> Hashable:
    """All that can be the cause of an error and that the user can change."""
    chosen, backend_of = settings(context), preferences(context)
    values = options(chosen).values()
    asked = tuple(frozenset(value) if isinstance(value, set) else value for value in values)
    active = context.view_layer.objects.active
    images = tuple(None if one is None else one.name for one in (chosen.image, chosen.repaint_image))
    figure = None if active is None else (active.name, active.mode, _action_of(active))
    selected = tuple(one.name for one in context.view_layer.objects if one.select_get())
    return asked, images, figure, selected, context.scene.frame_current, backend_of.url, backend_of.token


def standing_notice(context: bpy.types.Context) -> Notice | None:
    """Why the last request came to nothing, as long as that can still be so."""
    notice = activity.notice
    if notice is None or (notice.until_connected and backend.status().state is State.CONNECTED):
        return None
    return notice if notice.situation in (None, situation(context)) else None


def _action_of(thing: bpy.types.Object) -> Hashable:
    data = thing.animation_data
    if data is None or data.action is None:
        return None
    return data.action.name, getattr(data, "action_slot_handle", 0)
