# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection as the add-on sees it: connect, submit, cancel, poll, ask."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final

from ..contract.address import Address
from ..contract.messages import Limits, Progress, ProtocolError, Request, Result
from .events import Handle, State, Status
from .link import Link

_DISCONNECTED: Final = Status(State.DISCONNECTED, "Not connected.")


def _converse(link: Link) -> None:
    """On the link's thread, which alone imports asyncio and websockets: that takes longer than a frame of Blender's
    window may."""
    from .reconnect import keep_connected

    keep_connected(link)


class Connection:
    """A connection to one backend, which survives the backend's absence and restarts.

    Every method may be called from any thread; only ask() and close() wait.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self._changed = threading.Event()
        self._link: Link | None = None
        self._stopped: Link | None = None

    @property
    def status(self) -> Status:
        """The state now, with a sentence for the user."""
        return self._link.status if self._link else _DISCONNECTED

    @property
    def limits(self) -> Limits:
        """What the backend takes in one request; before it has said so, what backends do by default."""
        welcome = self.status.welcome
        return Limits() if welcome is None else welcome.limits

    def connect(self) -> None:
        """Start connecting and keep trying until disconnect(); while it waits to try again, try at once."""
        if self._link is None or self.status.state is State.FAILED:
            self._link = Link(self.address, self._changed.set)
            self._link.start(_converse)
        else:
            self._link.hurry()

    def disconnect(self) -> None:
        """Give the connection up; unfinished requests fail with the code ``not_connected``."""
        if self._link is not None:
            self._link.stop()
            self._stopped, self._link = self._link, None

    def close(self, timeout: float = 2.0) -> None:
        """disconnect(), and wait up to ``timeout`` seconds for the background thread to end, which it may have been
        told to by an earlier disconnect()."""
        self.disconnect()
        if self._stopped is not None:
            self._stopped.join(timeout)

    def submit(self, request: Request) -> Handle:
        """Send a request as soon as the connection is open. Do not change its arrays afterwards."""
        handle = Handle(request, self._changed.set)
        if self._link is None:
            handle.finish(error=ProtocolError("not_connected", "Not connected to a backend; press Connect."))
        else:
            self._link.submit(handle)
        return handle

    def cancel(self, handle: Handle) -> None:
        """Finish the handle with the code ``cancelled`` and tell the backend to stop working on it."""
        handle.finish(error=ProtocolError("cancelled", "Cancelled; nothing was changed."))
        if self._link is not None:
            self._link.cancel(handle)

    def poll(self) -> bool:
        """Whether the status changed, or a request went on or ended, since the last poll. Never waits."""
        changed = self._changed.is_set()
        if changed:
            self._changed.clear()
        return changed

    def ask(
        self,
        request: Request,
        *,
        timeout: float | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Result:
        """Submit and wait for the answer. Connects first when that has not been done; for background mode.

        Args:
            request: what to ask.
            timeout: seconds to wait at most, None for as long as it takes.
            on_progress: called on this thread with every new Progress.

        Raises:
            ProtocolError: with the code of what went wrong and a sentence for the user.
        """
        if self.status.state in (State.DISCONNECTED, State.FAILED):
            self.connect()
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        handle = self.submit(request)
        seen: Progress | None = None
        # Short waits, so that progress is passed on and Ctrl-C is heard on Windows.
        while not handle.wait(min(0.05, max(0.0, deadline - time.monotonic()))):
            if time.monotonic() >= deadline:
                self.cancel(handle)
                raise ProtocolError("timeout", f"The backend gave no answer within {timeout:g} seconds.")
            if on_progress and handle.progress is not None and handle.progress is not seen:
                seen = handle.progress
                on_progress(seen)
        if handle.result is None:
            assert handle.error is not None
            raise handle.error
        return handle.result

    def __enter__(self) -> Connection:
        self.connect()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
