# SPDX-License-Identifier: GPL-3.0-or-later
"""The versions of the protocol that are spoken, and which of them a connection has agreed on.

Each is a websocket subprotocol. A client offers all of SUBPROTOCOLS, best first; the backend takes the first that it
knows. ``Wire`` then writes and reads the messages of that connection.
"""

from __future__ import annotations

from typing import Final

from . import codec, frames
from .messages import Limits, Message, ProtocolError

SUBPROTOCOLS: Final = (frames.SUBPROTOCOL, codec.SUBPROTOCOL)
FRAGMENT_BYTES: Final = 64 * 1024


class Wire:
    """What passes over one connection.

    Attributes:
        subprotocol: one of SUBPROTOCOLS.
        version: what Hello and Welcome say on it.
        limits: what a message that is read may hold; to be set once the backend's are known.
    """

    def __init__(self, subprotocol: str, limits: Limits | None = None) -> None:
        """Raises ProtocolError for a subprotocol that is not known here."""
        if subprotocol not in SUBPROTOCOLS:
            raise ProtocolError("wrong_version", f"Only {' and '.join(SUBPROTOCOLS)} are spoken here.")
        self.subprotocol = subprotocol
        self._reader = frames.FrameReader(limits or Limits()) if subprotocol == frames.SUBPROTOCOL else None
        self._limits = limits or Limits()
        self.version = codec.VERSION if self._reader is None else frames.VERSION

    @property
    def limits(self) -> Limits:
        """See the class."""
        return self._limits

    @limits.setter
    def limits(self, limits: Limits) -> None:
        self._limits = limits
        if self._reader is not None:
            self._reader.limits = limits

    def write(self, message: Message) -> list[str | bytes]:
        """The websocket messages that a message travels as, to be sent without others between them.

        Raises:
            ProtocolError: ``too_large`` for what does not fit.
        """
        return [codec.encode(message)] if self._reader is None else frames.encode(message)

    def read(self, data: str | bytes) -> Message | None:
        """The message that a websocket message completes; None while more of it is due.

        Raises:
            ProtocolError: it is no message, or not one within the limits.
        """
        return codec.decode(data, self._limits) if self._reader is None else self._reader.read(data)

    @property
    def max_bytes(self) -> int:
        """The longest websocket message that a request within the limits needs."""
        if self._reader is None:
            return self._limits.max_message_bytes
        poses = frames.POSE_BYTES * frames.most_poses(self._limits)
        return max(frames.MAX_HEAD_BYTES, self._limits.max_image_bytes, poses)


def fragments(data: str | bytes) -> list[str] | list[bytes]:
    """A long websocket message in pieces, so that none of them holds its thread, or a buffer, for long."""
    starts = range(0, max(1, len(data)), FRAGMENT_BYTES)
    if isinstance(data, str):
        return [data[start : start + FRAGMENT_BYTES] for start in starts]
    return [data[start : start + FRAGMENT_BYTES] for start in starts]
