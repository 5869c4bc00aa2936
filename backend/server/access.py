# SPDX-License-Identifier: Apache-2.0
"""Who may connect.

Three gates. Browsers are kept out by the Origin header, which they always send and other clients do not: no web page
may use the backend of the person who visits it. A page that renames itself to a loopback address (DNS rebinding)
still sends its own name in the Host header, so a backend on loopback answers to loopback names only. And every client
needs the token, in its first message rather than in the URL, because URLs end up in logs.
"""

from __future__ import annotations

import hmac
import secrets
from http import HTTPStatus
from urllib.parse import urlsplit

from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

from blender_addon.contract.loopback import is_loopback


class AccessError(ValueError):
    """The options would leave the backend open to strangers; the sentence says what to change."""


def new_token() -> str:
    """A random token of 128 bits."""
    return secrets.token_urlsafe(16)


def check_options(host: str, token: str | None) -> None:
    """Raise AccessError for a backend without token that other machines can reach."""
    if token is None and not is_loopback(host):
        raise AccessError(
            f"Without a token the backend may listen on 127.0.0.1 only, not on {host}; leave --no-token out."
        )
    if token == "":
        raise AccessError("The token is empty; set POSELLAVA_TOKEN to a long random text or unset it.")


def token_matches(offered: str, token: str | None) -> bool:
    """Whether a client that offers this token may stay; compared in constant time."""
    return token is None or hmac.compare_digest(offered.encode(), token.encode())


def refuse_foreign_host(connection: ServerConnection, request: Request) -> Response | None:
    """For a backend on loopback: refuse an opening handshake that was addressed to any other name."""
    for host in request.headers.get_all("Host"):
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            name = ""
        if not is_loopback(name):
            return connection.respond(
                HTTPStatus.FORBIDDEN, "This backend answers on loopback only; address it as 127.0.0.1.\n"
            )
    return None
