# SPDX-License-Identifier: Apache-2.0
"""What the backend says to plain HTTP on its port: ``/healthz`` and ``/metrics``."""

from __future__ import annotations

from http import HTTPStatus

from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from .access import bears_token
from .metrics import Metrics


def page(request: Request, readiness: str | None, metrics: Metrics, token: str | None) -> Response | None:
    """The answer to a request for one of the pages; None for any other path, which may be a websocket's.

    ``/healthz`` is for everyone: 200 once an answer has been computed, 503 and the reason before and when the engine
    is not well. ``/metrics`` needs the token, as ``Authorization: Bearer``.
    """
    path = request.path.partition("?")[0]
    if path == "/healthz":
        if readiness is None:
            return _text(HTTPStatus.OK, "ready")
        return _text(HTTPStatus.SERVICE_UNAVAILABLE, readiness)
    if path != "/metrics":
        return None
    if not bears_token(request, token):
        return _text(HTTPStatus.UNAUTHORIZED, "Send the token as Authorization: Bearer.")
    body = metrics.page()
    if body is None:
        return _text(HTTPStatus.NOT_IMPLEMENTED, "Nothing is counted here: pip install 'posellava[metrics]'.")
    return _response(HTTPStatus.OK, "text/plain; version=0.0.4; charset=utf-8", body)


def refusal(status: HTTPStatus, sentence: str) -> Response:
    """A request that is not let in."""
    return _text(status, sentence)


def _text(status: HTTPStatus, sentence: str) -> Response:
    return _response(status, "text/plain; charset=utf-8", sentence.encode() + b"\n")


def _response(status: HTTPStatus, kind: str, body: bytes) -> Response:
    headers = Headers(
        [
            ("Content-Type", kind),
            ("Content-Length", str(len(body))),
            ("Connection", "close"),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
        ]
    )
    return Response(status.value, status.phrase, headers, body)
