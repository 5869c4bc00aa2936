# SPDX-License-Identifier: GPL-3.0-or-later
"""Talks to the backend: one connection, the requests in flight, the history of edits.

May import the contract, websockets and the standard library; never bpy. One background thread does all the
work (imports of asyncio and websockets, encoding, network, decoding), so every call below returns at once
unless its name says that it waits.

In a window::

    connection = Connection(Address.parse("ws://127.0.0.1:8765", token="…"))
    connection.connect()                       # retries by itself, with growing pauses, until disconnect()
    handle = connection.submit(Request(new_request_id(), "adjust", "raise the left arm", poses))
    if connection.poll():                      # in a timer, on the main thread: something is new
        connection.status                      # its state, sentence and welcome
        handle.progress                        # its done, total and ahead
        handle.done                            # then handle.result, or handle.error.sentence for the user
    connection.cancel(handle)                  # handle.error.code becomes "cancelled" at once
    connection.close()                         # in unregister()

A handle finishes exactly once, with a result or with a ProtocolError, whatever happens to the backend;
requests submitted while the connection is still opening wait for it, and fail with one sentence when it does
not open.

In background mode, blocking::

    with Connection(address) as connection:    # connects; leaving the block closes
        result = connection.ask(request)       # raises ProtocolError(code, sentence)
"""

from ..contract.address import Address
from ..contract.messages import new_request_id
from .connection import Connection
from .events import Handle, State, Status
from .history import Edit, History

__all__ = [
    "Address",
    "Connection",
    "Edit",
    "Handle",
    "History",
    "State",
    "Status",
    "new_request_id",
]
