# SPDX-License-Identifier: Apache-2.0
"""Offers an engine over websockets, on the subprotocols of blender_addon.contract.wire.

A request's way: access.py decides who may connect, door.py how much they may take, client_session.py converses with one
client, sandbox.py reads what is large in a process of its own, scheduler.py runs the engine for all of them, in the
shares that shares.py deals out; painter.py has pictures painted beside it. metrics.py and logs.py watch, pages.py shows
it; server.py puts them together and stops gracefully.

May import backend.query, backend.images, backend.pipes, backend.memory, websockets and blender_addon.contract; the
engine is handed in, so that nothing here needs torch.
"""

from .access import AccessError, check_options, new_token, tls_context
from .painter import PaintOptions
from .server import PoseServer, ServerOptions, listen, run_until_signal

__all__ = [
    "AccessError",
    "PaintOptions",
    "PoseServer",
    "ServerOptions",
    "check_options",
    "listen",
    "new_token",
    "run_until_signal",
    "tls_context",
]
