# SPDX-License-Identifier: GPL-3.0-or-later
"""The add-on's one connection to a backend, and the timer that shows its state in the window."""

import atexit
import contextlib
from typing import Any, Final

import bpy

from ..session import Address, Connection, Handle, State, Status
from ..settings import preferences
from .activity import activity

SHOW_SECONDS: Final = 0.1
"""Pause between two looks at the connection's state; short enough that the status light seems immediate."""

_connection: Connection | None = None


class BackendError(Exception):
    """The backend may not or cannot be used; the text is one sentence for the user."""


def status() -> Status:
    """The connection's state with a sentence for the user."""
    return _connection.status if _connection else Status(State.DISCONNECTED, "Not connected.")


def connection(context: Any) -> Connection:
    """The connection to the backend that the preferences name, made but not opened when there is none yet.

    Raises:
        BackendError: the address is wrong, or Blender's settings forbid to reach it.
    """
    global _connection
    address = _address(context)
    if _connection is None or _connection.address != address:
        disconnect()
        _connection = Connection(address)
    return _connection


def connect(context: Any) -> None:
    """Open the connection without waiting for it. Raises BackendError as connection() does."""
    connection(context).connect()
    if not bpy.app.background and not bpy.app.timers.is_registered(_show):
        bpy.app.timers.register(_show, persistent=True)


def cancel(handle: Handle) -> None:
    """Stop a request that was sent."""
    if _connection is not None:
        _connection.cancel(handle)


def disconnect() -> None:
    """Give the connection up without waiting for its thread to end; a request that runs fails."""
    if _connection is not None:
        _connection.disconnect()


def _address(context: Any) -> Address:
    chosen = preferences(context)
    try:
        address = Address.parse(chosen.url, chosen.token.strip())
    except ValueError as error:
        raise BackendError(str(error)) from None
    if not address.is_loopback and not bpy.app.online_access:
        raise BackendError(
            "Blender may not go online: allow Online Access in Preferences > System, "
            "or use a backend on this machine."
        )
    return address


def _follow_preferences() -> None:
    assert _connection is not None
    with contextlib.suppress(BackendError):  # shown when Connect is pressed; until then the connection stays
        if _address(bpy.context) != _connection.address:
            connect(bpy.context)


def redraw() -> None:
    """Have the sidebars drawn anew."""
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "VIEW_3D":
                for region in area.regions:
                    if region.type == "UI":
                        region.tag_redraw()


def _show() -> float | None:
    """Timer: redraw when the connection's state or a request's progress changed, and go to another backend when the
    preferences name one; ends with the connection."""
    assert _connection is not None
    if not activity.running and status().state is not State.DISCONNECTED:
        _follow_preferences()
    ended = status().state is State.DISCONNECTED
    if _connection.poll():
        redraw()
    return None if ended else SHOW_SECONDS


def register() -> None:
    """Called when the add-on is enabled."""
    atexit.register(unregister)


def unregister() -> None:
    """Leave no timer and no thread behind: Blender hangs or crashes at exit when one is left."""
    global _connection
    atexit.unregister(unregister)
    if bpy.app.timers.is_registered(_show):
        bpy.app.timers.unregister(_show)
    if _connection is not None:
        _connection.close()
        _connection = None
