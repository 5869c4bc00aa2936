# SPDX-License-Identifier: GPL-3.0-or-later
"""What the caller's threads and the background thread of one connection share: outbox, requests in flight,
status.

A Link lives from connect until stop or failure; connecting again takes a new one. What its thread does is handed in
(reconnect.py, which only that thread imports).
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable

from ..contract.address import Address
from ..contract.messages import Cancel, ProtocolError, Result
from .events import Handle, State, Status

log = logging.getLogger(__name__)


class Link:
    """See the module. Every method may be called from any thread; only join() waits.

    Attributes:
        address: where the backend is.
        status: the latest status.
        stopping: True after stop().
    """

    def __init__(self, address: Address, report: Callable[[], None]) -> None:
        self.address = address
        self.status = Status(State.CONNECTING, f"Connecting to {address.url} …")
        self.stopping = False
        self._report = report
        self._lock = threading.Lock()
        self._outbox: deque[Handle | Cancel] = deque()  # guarded by _lock, as the next two
        self._in_flight: dict[str, Handle] = {}
        self._over = False
        self._wake: Callable[[], object] | None = None
        self._abort: Callable[[], object] | None = None
        self._thread: threading.Thread | None = None

    # For Connection.

    def start(self, converse: Callable[[Link], None]) -> None:
        """Begin connecting, with ``converse`` on a thread of its own."""
        self._report()
        # A daemon, so that a Blender which quits without unregistering the add-on is not held back.
        self._thread = threading.Thread(
            target=self._work, args=(converse,), name="posellava-link", daemon=True
        )
        self._thread.start()

    def submit(self, handle: Handle) -> None:
        """Send the handle's request when the connection is open; try at once to open it when it is not."""
        with self._lock:
            over = self._over
            if not over:
                self._outbox.append(handle)
        if over:
            handle.finish(error=ProtocolError("not_connected", self.status.sentence, handle.request.id))
        self.hurry()

    def cancel(self, handle: Handle) -> None:
        """Tell the backend that nobody waits for the handle any more."""
        with self._lock:
            if handle.request.id not in self._in_flight:
                return
            self._outbox.append(Cancel(handle.request.id))
        self.hurry()

    def hurry(self) -> None:
        """Look into the outbox now, and do not wait any longer for the next attempt to connect."""
        _call(self._wake)

    def stop(self) -> None:
        """End the connection; whatever is unfinished fails."""
        self.stopping = True
        self.end(
            Status(State.DISCONNECTED, "Not connected."), "The connection was closed before the answer came."
        )
        _call(self._abort)

    def join(self, timeout: float) -> None:
        """Wait for the background thread to end."""
        if self._thread is not None:
            self._thread.join(timeout)

    # For reconnect.py.

    def attach(self, wake: Callable[[], object], abort: Callable[[], object]) -> None:
        """Set what hurry() and stop() call; both may be called from any thread."""
        self._wake, self._abort = wake, abort

    @property
    def has_work(self) -> bool:
        """Whether something waits to be sent."""
        return bool(self._outbox)

    def take(self) -> Handle | Cancel | None:
        """The next thing to send; a handle counts as in flight from here on."""
        with self._lock:
            while self._outbox:
                item = self._outbox.popleft()
                if isinstance(item, Cancel):
                    return item
                if not item.done:
                    self._in_flight[item.request.id] = item
                    return item
            return None

    def finish(
        self, request_id: str, result: Result | None = None, error: ProtocolError | None = None
    ) -> None:
        """Finish the request with its answer or its error, if it still waits."""
        with self._lock:
            handle = self._in_flight.pop(request_id, None)
        if handle is not None:
            handle.finish(result, error)

    def set_status(self, status: Status) -> None:
        """Change the status, unless the link is over."""
        with self._lock:
            if self._over:
                return
            self.status = status
        self._report()

    def fail_all(self, code: str, sentence: str) -> None:
        """Finish every request, sent or not, with this error."""
        with self._lock:
            unsent = [item for item in self._outbox if isinstance(item, Handle)]
            self._outbox.clear()
            sent, self._in_flight = list(self._in_flight.values()), {}
        for handle in (*sent, *unsent):
            handle.finish(error=ProtocolError(code, sentence, handle.request.id))

    def end(self, status: Status, sentence: str) -> None:
        """Take no more requests, fail those there are with ``sentence``; ``status`` stays for good."""
        with self._lock:
            if self._over:
                return
            self._over = True
            self.status = status
        self._report()
        self.fail_all("not_connected", sentence)

    def _work(self, converse: Callable[[Link], None]) -> None:
        try:
            converse(self)
        except Exception as error:
            log.exception("the connection thread failed")
            sentence = f"The connection failed unexpectedly ({error!r}); press Connect to try again."
            self.end(Status(State.FAILED, sentence), sentence)


def _call(wake: Callable[[], object] | None) -> None:
    if wake is not None:
        with contextlib.suppress(RuntimeError):  # the loop closed a moment ago: there is nothing left to wake
            wake()
