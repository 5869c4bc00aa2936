# SPDX-License-Identifier: Apache-2.0
"""Offers an engine over websockets on subprotocol ``posellava.v1``.

access.py decides who may connect, talk.py holds the conversation with one client, scheduler.py shares the engine
among the requests, server.py puts them together and stops gracefully. May import backend.query, backend.images,
websockets and blender_addon.contract; the engine is handed in.
"""

from .access import AccessError, check_options, new_token
from .server import PoseServer, ServerOptions, run_until_signal

__all__ = ["AccessError", "PoseServer", "ServerOptions", "check_options", "new_token", "run_until_signal"]
