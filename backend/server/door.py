# SPDX-License-Identifier: Apache-2.0
"""What a connection may take before and after it is let in: bytes, memory, time, places.

websockets bounds one message; what it leaves open is bounded here. Before a client has greeted it may send
GREETING_BYTES and no more. Who sends without reading the answers, pings above all, is cut off. Messages of more than
LARGE_BYTES are taken in LARGE_AT_A_TIME at a time, and in LARGE_SECONDS; the others wait in their sender. And there are
only so many connections, in all, from one address, and of clients that have not greeted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections import Counter, deque
from typing import Any, Final

from websockets.asyncio.server import ServerConnection
from websockets.frames import Frame, Opcode

log = logging.getLogger(__name__)

GREETING_BYTES: Final = 16 * 1024
"""Before the welcome, opening handshake included."""
UNREAD_BYTES: Final = 256 * 1024
"""Of what is sent, beyond the system's own buffers. Answers go out in smaller pieces, each when the last is gone."""
LARGE_BYTES: Final = 2**20
LARGE_AT_A_TIME: Final = 4
LARGE_SECONDS: Final = 60.0
LOG_SECONDS: Final = 60.0
MAX_STRANGERS: Final = 64
"""Connections that have not greeted."""
STRANGERS_PER_ADDRESS: Final = 16
GUESS_SECONDS: Final = 1.0
"""How long a client with a wrong token waits for the refusal, and who leaves without a greeting keeps its place."""


class Door:
    """Counts connections, and hands out the places for large messages."""

    def __init__(self, most: int, most_per_address: int) -> None:
        self._most = most
        self._most_per_address = most_per_address
        self._connections: set[GuardedConnection] = set()
        self._by_address: Counter[str] = Counter()
        self._strangers: Counter[str] = Counter()
        self._guesses: dict[str, float] = {}
        self._large: set[GuardedConnection] = set()
        self._queue: deque[GuardedConnection] = deque()

    @property
    def connections(self) -> frozenset[GuardedConnection]:
        """All there are, greeted or not."""
        return frozenset(self._connections)

    def enter(self, connection: GuardedConnection) -> bool:
        """Count a new connection; False when there are far too many, and nothing is to be said to it."""
        self._connections.add(connection)
        return len(self._connections) <= self._most + MAX_STRANGERS

    def refusal(self, connection: GuardedConnection, address: str) -> str | None:
        """Give an address to a connection; the sentence that refuses it when there are too many."""
        if len(self._connections) > self._most:
            return f"This backend has {self._most} connections, which is all it takes; try again later."
        if self._by_address[address] >= self._most_per_address:
            return f"There are {self._most_per_address} connections from {address} already; close one."
        if self._strangers.total() >= MAX_STRANGERS or self._strangers[address] >= STRANGERS_PER_ADDRESS:
            return "Too many clients have connected without a token; try again in a moment."
        connection.address = address
        self._by_address[address] += 1
        self._strangers[address] += 1
        connection.is_stranger = True
        return None

    def log_guess(self, connection: GuardedConnection) -> None:
        """A client presented a wrong token: one line in the log, for each address at most one a minute."""
        now = time.monotonic()
        self._guesses = {who: when for who, when in self._guesses.items() if now - when < LOG_SECONDS}
        if connection.address is not None and connection.address not in self._guesses:
            self._guesses[connection.address] = now
            log.warning("%s presented a wrong token", connection.address)

    def welcome(self, connection: GuardedConnection) -> None:
        """A client has greeted: it may send."""
        self._no_stranger(connection)
        connection.let_in()

    def leave(self, connection: GuardedConnection) -> None:
        """A connection is gone."""
        self._connections.discard(connection)
        if connection in self._queue:
            self._queue.remove(connection)
        self.small(connection)
        if connection.address is not None:
            self._by_address[connection.address] -= 1
            self._by_address += Counter()  # those at zero go
        if connection.is_stranger:
            asyncio.get_running_loop().call_later(GUESS_SECONDS, self._no_stranger, connection)

    def _no_stranger(self, connection: GuardedConnection) -> None:
        if connection.is_stranger and connection.address is not None:
            connection.is_stranger = False
            self._strangers[connection.address] -= 1
            self._strangers += Counter()

    def large(self, connection: GuardedConnection) -> None:
        """A connection is about to send something large: it goes on when there is a place."""
        if connection in self._queue:
            return
        if connection in self._large or len(self._large) < LARGE_AT_A_TIME:
            self._large.add(connection)
            connection.begin_large()
        else:
            connection.pause("large")
            self._queue.append(connection)

    def small(self, connection: GuardedConnection) -> None:
        """What was large has been dealt with: the place is free."""
        if connection not in self._large:
            return
        self._large.discard(connection)
        connection.end_large()
        if self._queue:
            after = self._queue.popleft()
            self._large.add(after)
            after.begin_large()
            after.resume("large")


class GuardedConnection(ServerConnection):
    """A connection that holds itself to the module's limits.

    Attributes:
        address: whose it is; None until its opening handshake has been read.
        is_stranger: whether it has an address and has not greeted.
        overfull: done when it sent more than a greeting before it was let in.
        received: bytes so far.
    """

    def __init__(self, *arguments: Any, door: Door, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._door = door
        self.address: str | None = None
        self.is_stranger = False
        self.received = 0
        self.overfull: asyncio.Future[None] = self.loop.create_future()
        self._let_in = False
        self._pieces_bytes = 0  # of the message that is not whole yet
        self._reasons: set[str] = set()
        self._hurry: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Counts the connection, and ends it at once where there are far too many."""
        super().connection_made(transport)
        # An answer is a head and its poses, two writes: the second must not wait for the client's delayed
        # acknowledgement of the first, 40 ms. asyncio sees to that for its own listening sockets only.
        with contextlib.suppress(OSError):  # the client is gone already
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.recv_messages.pause = lambda: self.pause("queue")
        self.recv_messages.resume = lambda: self.resume("queue")
        if not self._door.enter(self):
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Gives its places back."""
        super().connection_lost(exc)
        self._door.leave(self)
        if not self.overfull.done():
            self.overfull.cancel()

    def data_received(self, data: bytes) -> None:
        """Counts what comes before it is looked at."""
        self.received += len(data)
        if not self._let_in and self.received > GREETING_BYTES:
            self.pause("greeting")
            if not self.overfull.done():
                self.overfull.set_result(None)
        super().data_received(data)
        if self.transport.get_write_buffer_size() > UNREAD_BYTES:
            log.warning("%s sends without reading the answers; cut off", self.address)
            self.transport.abort()
        elif self._let_in and self._pending_bytes() > LARGE_BYTES:
            self._door.large(self)

    def process_event(self, event: Any) -> None:
        """Counts the pieces of a message, and notices its end."""
        super().process_event(event)
        if isinstance(event, Frame) and event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            if event.fin:
                self._pieces_bytes = 0
                self.end_large()
            else:
                self._pieces_bytes += len(event.data)

    def _pending_bytes(self) -> int:
        """Of messages that are not whole yet: the pieces of one, and what makes no piece so far."""
        return self._pieces_bytes + len(self.protocol.reader.buffer)

    def let_in(self) -> None:
        """From here on it may send more than a greeting."""
        self._let_in = True
        self.resume("greeting")

    def settled(self) -> None:
        """To be called when a message has been dealt with: nothing large is held any more."""
        if self._pending_bytes() <= LARGE_BYTES and not len(self.recv_messages.frames):
            self._door.small(self)

    def begin_large(self) -> None:
        """For the door: it may send something large, within LARGE_SECONDS of when it was first told so."""
        if self._hurry is None:
            self._hurry = self.loop.call_later(LARGE_SECONDS, self._too_slow)

    def end_large(self) -> None:
        """For the door: what it sent is here."""
        if self._hurry is not None:
            self._hurry.cancel()
            self._hurry = None

    def _too_slow(self) -> None:
        log.warning("%s took longer than %g s to send one message; cut off", self.address, LARGE_SECONDS)
        self.transport.abort()

    def pause(self, reason: str) -> None:
        """Read nothing until every reason is gone."""
        if not self._reasons:
            self.transport.pause_reading()
        self._reasons.add(reason)

    def resume(self, reason: str) -> None:
        """One reason less not to read."""
        if reason in self._reasons:
            self._reasons.discard(reason)
            if not self._reasons and not self.transport.is_closing():
                self.transport.resume_reading()
