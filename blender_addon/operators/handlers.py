# SPDX-License-Identifier: GPL-3.0-or-later
"""What the panel tells is forgotten when it is no longer so: after undo and redo, and in another file."""

from typing import Any, Final

import bpy
from bpy.app.handlers import persistent

from . import backend
from .activity import activity


@persistent  # type: ignore[untyped-decorator]
def _forget(*_: Any) -> None:
    if not activity.running:
        activity.forget()
        backend.redraw()


@persistent  # type: ignore[untyped-decorator]
def _forget_all(*_: Any) -> None:
    """Another file: whatever request ran for the old one was cancelled by Blender before."""
    activity.end()
    activity.forget()
    activity.edit_turns.clear()
    activity.chat.clear()


_HANDLERS: Final = (
    (bpy.app.handlers.undo_post, _forget),
    (bpy.app.handlers.redo_post, _forget),
    (bpy.app.handlers.load_post, _forget_all),
)


def register() -> None:
    """Called when the add-on is enabled."""
    for handlers, function in _HANDLERS:
        handlers.append(function)


def unregister() -> None:
    """Called when the add-on is disabled."""
    for handlers, function in _HANDLERS:
        handlers.remove(function)
