# SPDX-License-Identifier: Apache-2.0
"""Who may connect.

Three gates. Browsers are kept out by the Origin header, which they always send and other clients do not: no web page
may use the backend of the person who visits it. A page that renames itself to a loopback address (DNS rebinding)
still sends its own name in the Host header, so a backend on loopback answers to loopback names only, and to those that
a proxy in front of it is known by. And every client needs the token, in its first message rather than in the URL,
because URLs end up in logs.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request

from blender_addon.contract.loopback import is_loopback

MIN_TOKEN_CHARS: Final = 16


class AccessError(ValueError):
    """The options would leave the backend open to strangers, or to nobody; the sentence says what to change."""


def new_token() -> str:
    """A random token of 128 bits."""
    return secrets.token_urlsafe(16)


def check_options(host: str, token: str | None) -> None:
    """Raise AccessError for a backend that other machines can reach without a token, or with a short one, and for a
    token that no client could present."""
    if token is None:
        if not is_loopback(host):
            raise AccessError(
                f"Without a token the backend may listen on 127.0.0.1 only, not on {host}; leave --no-token out."
            )
        return
    if token == "":
        raise AccessError("The token is empty; set POSELLAVA_TOKEN to a long random text or unset it.")
    try:
        token.encode()
    except UnicodeEncodeError:
        raise AccessError("The token in POSELLAVA_TOKEN is no UTF-8; set it to letters and digits.") from None
    if not token.isprintable() or any(letter.isspace() for letter in token):
        raise AccessError("The token has blanks or unprintable characters; set POSELLAVA_TOKEN to others.")
    if len(token) < MIN_TOKEN_CHARS and not is_loopback(host):
        raise AccessError(
            f"For other machines to reach, the token needs {MIN_TOKEN_CHARS} characters and has {len(token)}; "
            "unset POSELLAVA_TOKEN for a random one."
        )


def tls_context(certificate: Path, key: Path | None) -> ssl.SSLContext:
    """TLS with a certificate, its chain after it, and its key (in the same file when None).

    Raises:
        AccessError: the files cannot be read or do not belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key, password=lambda: "")  # never ask on the terminal
    except (OSError, ssl.SSLError, ValueError) as error:
        files = f"{certificate} and {key}" if key else f"{certificate}"
        raise AccessError(
            f"No TLS with {files}: give a certificate and its key, both in PEM and without a password "
            f"({error.strerror or error if isinstance(error, OSError) else error})."
        ) from None
    return context


def token_matches(offered: str, token: str | None) -> bool:
    """Whether a client that offers this token may stay; compared in constant time."""
    return token is None or hmac.compare_digest(offered.encode(), token.encode())


def bears_token(request: Request, token: str | None) -> bool:
    """Whether an HTTP request has the token in its Authorization header."""
    given = request.headers.get_all("Authorization")
    return token is None or (
        len(given) == 1
        and given[0].startswith("Bearer ")
        and token_matches(given[0].removeprefix("Bearer ").strip(), token)
    )


def foreign_host(request: Request, host: str, outer_hosts: Sequence[str]) -> bool:
    """Whether a request is addressed to a name that a backend listening on ``host`` does not go by."""
    if not is_loopback(host):
        return False
    for header in request.headers.get_all("Host"):
        try:
            name = urlsplit(f"//{header}").hostname or ""
        except ValueError:
            name = ""
        if not is_loopback(name) and name not in {outer.lower() for outer in outer_hosts}:
            return True
    return False


def address_of(connection: ServerConnection, request: Request, outer_hosts: Sequence[str]) -> str:
    """Whose connection it is: its address or, where proxies are expected, what the proxy on this machine says."""
    address = str((connection.remote_address or ("unknown",))[0])
    if not outer_hosts or not is_loopback(address):
        return address
    forwarded = ",".join(request.headers.get_all("X-Forwarded-For")).rpartition(",")[2].strip()
    try:
        return str(ipaddress.ip_address(forwarded))
    except ValueError:
        return address
