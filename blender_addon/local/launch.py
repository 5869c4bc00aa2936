# SPDX-License-Identifier: GPL-3.0-or-later
"""What the local backend's process runs: ``python -I -S launch.py EXTENSION SERVER PATH…``, by Blender's own Python.

The secret comes as the first line of standard input, where no other program sees it, and the process ends when standard
input does: when Blender closes it, and when Blender is gone, however that came about. Its search path holds the backend
first, then the standard library, then the folders named (Blender's numpy and the extension's wheels), and nothing of
the user's environment. The backend knows the add-on's contract as ``blender_addon.contract``: here that name leads into
EXTENSION.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import types

STANDARD_INPUT = 0
GRACE_SECONDS = 5.0
"""For a request that runs when Blender quits."""


def _read_secret() -> str:
    """The first line of standard input, unbuffered: a lock on a buffer that is read would hold up the end."""
    line = b""
    while not line.endswith(b"\n") and (byte := os.read(STANDARD_INPUT, 1)):
        line += byte
    return line.decode().strip()


def _end_with_blender() -> None:
    while os.read(STANDARD_INPUT, 1024):
        pass
    last = threading.Timer(GRACE_SECONDS, os._exit, (0,))
    last.daemon = True
    last.start()
    os.kill(os.getpid(), signal.SIGTERM)


def main(extension: str, server: str, *paths: str) -> int:
    """Serve until Blender ends; returns the exit status."""
    sys.path.insert(0, server)
    sys.path.extend(paths)
    package = types.ModuleType("blender_addon")
    package.__path__ = [extension]
    sys.modules["blender_addon"] = package
    os.environ["POSELLAVA_TOKEN"] = _read_secret()
    threading.Thread(target=_end_with_blender, daemon=True).start()

    from backend import cli  # from SERVER; the add-on itself never imports it

    status: int = cli.main(["serve", "--port", "0", "--engine", "onnx"])
    return status


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
