# SPDX-License-Identifier: GPL-3.0-or-later
"""The backend that the extension carries, as a process of its own beside Blender.

``process`` starts, watches and ends it; ``launch`` is the script that the process runs. The add-on imports nothing of
the backend: the two speak over a websocket on loopback, as with any other backend. Knows no bpy; may import the
contract.
"""

from .process import LocalBackend, LocalState, LocalStatus

__all__ = ["LocalBackend", "LocalState", "LocalStatus"]
