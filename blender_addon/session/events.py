# SPDX-License-Identifier: GPL-3.0-or-later
"""What a connection tells its user: its status, and handles of the requests in flight."""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable
from dataclasses import dataclass

from ..contract.messages import Progress, ProtocolError, Request, Result, Welcome


class State(enum.Enum):
    """DISCONNECTED: not asked to connect. CONNECTING: trying, or waiting to try again. FAILED: gave up."""

    DISCONNECTED = "disconnected"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    FAILED = "failed"


@dataclass(frozen=True)
class Status:
    """The connection's state, a sentence about it for the user, and the backend's Welcome while CONNECTED."""

    state: State
    sentence: str
    welcome: Welcome | None = None


class Handle:
    """A submitted request: its progress, and in the end its result or its error.

    Attributes:
        request: what was submitted.
        progress: the latest Progress, None before the first.
        result: the Result, once there is one.
        error: why there is no result; ``error.sentence`` is for the user.
    """

    def __init__(self, request: Request, report: Callable[[], None]) -> None:
        self.request = request
        self.progress: Progress | None = None
        self.result: Result | None = None
        self.error: ProtocolError | None = None
        self._report = report
        self._lock = threading.Lock()
        self._finished = threading.Event()

    @property
    def done(self) -> bool:
        """Whether ``result`` or ``error`` is set; neither changes afterwards."""
        return self._finished.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Block until done, at most ``timeout`` seconds; whether it is done."""
        return self._finished.wait(timeout)

    def advance(self, progress: Progress) -> None:
        """Called by the connection when the backend reports progress."""
        if not self.done:
            self.progress = progress
            self._report()

    def finish(self, result: Result | None = None, error: ProtocolError | None = None) -> None:
        """Called by the connection with exactly one of the two; only the first call counts."""
        with self._lock:
            if self.done:
                return
            self.result, self.error = result, error
            self._finished.set()
        self._report()
