# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a backend listens, read from what a user types or pastes."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from .loopback import is_loopback
from .messages import DEFAULT_PORT


@dataclass(frozen=True)
class Address:
    """A backend's URL (ws or wss, host, port) and its token, which stays out of repr and logs."""

    url: str
    token: str = field(default="", repr=False)

    @classmethod
    def parse(cls, text: str, token: str = "") -> Address:
        """Read ``host``, ``host:port``, a ws:// or wss:// URL, or the line that ``posellava serve`` prints.

        A token inside that line counts when ``token`` is empty.

        Raises:
            ValueError: the text is no address; the sentence says what one looks like.
        """
        words = text.split()
        if words and words[0] == "listening":
            words = words[1:]
        if not words:
            raise ValueError(f"The address is empty; type one such as ws://127.0.0.1:{DEFAULT_PORT}.")
        for word in words[1:]:
            if word.startswith("token="):
                token = token or word.removeprefix("token=")
        typed = words[0]
        example = f"{typed!r} is no address; type one such as ws://127.0.0.1:{DEFAULT_PORT}."
        try:
            parts = urlsplit(typed if "://" in typed else f"ws://{typed}")
            host, port = parts.hostname, parts.port
        except ValueError:
            raise ValueError(example) from None
        if parts.scheme not in ("ws", "wss") or not host or port == 0 or parts.username is not None:
            raise ValueError(example)
        if port is None:
            port = 443 if parts.scheme == "wss" else DEFAULT_PORT
        if ":" in host:
            host = f"[{host}]"
        path = parts.path.rstrip("/")
        return cls(f"{parts.scheme}://{host}:{port}{path}", token)

    @property
    def is_loopback(self) -> bool:
        """Whether the backend is on this machine, so that Blender's online-access setting does not matter."""
        return is_loopback(urlsplit(self.url).hostname or "")
