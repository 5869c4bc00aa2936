# SPDX-License-Identifier: GPL-3.0-or-later
"""The add-on's one connection to a backend, and the timer that shows its state in the window."""

import atexit
import contextlib
import time
from collections.abc import Generator
from typing import Final

import bpy

from ..local import LocalState
from ..session import Address, Connection, Handle, State, Status
from ..settings import preferences
from . import local_backend
from .activity import activity
from .picture import Wait

SHOW_SECONDS: Final = 0.1
"""Pause between two looks at the connection's state; short enough that the status light seems immediate."""

ENDING_SECONDS: Final = 1.0
"""A process that is killed breaks its connections some time before it is seen to have ended."""

_connection: Connection | None = None


class BackendError(Exception):
    """The backend may not or cannot be used; the text is one sentence for the user."""


def status() -> Status:
    """The connection's state with a sentence for the user."""
    return _connection.status if _connection else Status(State.DISCONNECTED, "Not connected.")


def connection(context: bpy.types.Context) -> Connection:
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


def connect(context: bpy.types.Context) -> None:
    """Open the connection without waiting for it, or begin to start the extension's own backend, which is connected to
    when it is there. Raises BackendError as connection() does."""
    if local_backend.is_chosen(context) and local_backend.status().state is not LocalState.READY:
        start_local()
        return
    connection(context).connect()
    if not bpy.app.background and not bpy.app.timers.is_registered(_show):
        bpy.app.timers.register(_show, persistent=True)


def start_local() -> None:
    """Start the extension's own backend without waiting; it is connected to when it is there. Raises BackendError."""
    try:
        local_backend.start()
    except local_backend.LocalBackendError as error:
        raise BackendError(str(error)) from None
    if not bpy.app.background and not bpy.app.timers.is_registered(_show_local):
        bpy.app.timers.register(_show_local, persistent=True)


def reached(context: bpy.types.Context) -> Generator[Wait | None, None, None]:
    """Steps until there is a backend to connect to: where no other is named, the extension's own is started. Raises
    BackendError where it fails."""
    if local_backend.is_chosen(context):
        if status().state is State.CONNECTING:
            yield _back_or_ended()
        start_local()
        yield local_backend.has_started


def _back_or_ended() -> Wait:
    """Whether the extension's own backend, of which the connection broke, is connected to again, has ended, or had the
    time for either."""
    deadline = time.monotonic() + ENDING_SECONDS

    def is_known(seconds: float | None) -> bool:
        left = max(0.0, deadline - time.monotonic())
        ended = local_backend.has_ended(left if seconds is None else min(seconds, left))
        return ended or left == 0.0 or status().state is not State.CONNECTING

    return is_known


def cancel(handle: Handle) -> None:
    """Stop a request that was sent."""
    if _connection is not None:
        _connection.cancel(handle)


def disconnect() -> None:
    """Give the connection up without waiting for its thread to end; a request that runs fails."""
    if _connection is not None:
        _connection.disconnect()


def _address(context: bpy.types.Context) -> Address:
    chosen = preferences(context)
    if local_backend.is_chosen(context):
        try:
            return local_backend.address()
        except local_backend.LocalBackendError as error:
            raise BackendError(str(error)) from None
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
    if _connection is None:
        return None
    if not activity.running and status().state is not State.DISCONNECTED:
        _follow_preferences()
    ended = status().state is State.DISCONNECTED
    if _connection.poll():
        redraw()
    return None if ended else SHOW_SECONDS


def _show_local() -> float | None:
    """Timer: connect to the extension's own backend when it listens, redraw when its state changed; ends with it."""
    running = local_backend.status().state in (LocalState.STARTING, LocalState.READY)
    if local_backend.poll():
        if local_backend.is_chosen(bpy.context):
            if local_backend.status().state is LocalState.READY:
                connect(bpy.context)
            elif not running:
                disconnect()
        redraw()
    return SHOW_SECONDS if running else None


def register() -> None:
    """Called when the add-on is enabled."""
    atexit.register(unregister)


def unregister() -> None:
    """Leave no timer and no thread behind: Blender hangs or crashes at exit when one is left."""
    global _connection
    atexit.unregister(unregister)
    for timer in (_show, _show_local):
        if bpy.app.timers.is_registered(timer):
            bpy.app.timers.unregister(timer)
    if _connection is not None:
        _connection.close()
        _connection = None
    local_backend.unregister()
