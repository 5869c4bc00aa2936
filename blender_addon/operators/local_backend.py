# SPDX-License-Identifier: GPL-3.0-or-later
"""The extension's own backend in Blender: where its files are, and the one process of it that each Blender has.

It is used where the preferences name no address.
"""

import importlib.util
import platform
import sys
from functools import cache
from pathlib import Path
from typing import Final

import bpy

from ..contract.address import Address
from ..local import LocalBackend, LocalState, LocalStatus
from ..settings import ADDON, preferences

EXTENSION: Final = Path(__file__).parents[1]
SERVER: Final = EXTENSION / "server"
WHEELS: Final = ("onnxruntime", "tokenizers", "PIL", "websockets")
"""Modules that the backend needs and Blender does not bring."""

_backend: LocalBackend | None = None
_changed = False


class LocalBackendError(Exception):
    """The local backend cannot be used; the text is one sentence for the user."""


def is_chosen(context: bpy.types.Context) -> bool:
    """Whether the preferences name no other backend."""
    return not preferences(context).url.strip()


def status() -> LocalStatus:
    """How it is, or why there is none."""
    if _backend is not None:
        return _backend.status
    lacking = obstacle()
    return LocalStatus(LocalState.FAILED if lacking else LocalState.STOPPED, lacking or "Not started.")


@cache
def obstacle() -> str:
    """Why this extension cannot have a backend of its own, a sentence, or an empty text. Looked up once: panels ask at
    every redraw."""
    if not (SERVER / "backend" / "cli.py").is_file():
        return (
            "This is the slim extension, without a backend of its own: install the zip for your platform, or set the "
            "address of a backend in the add-on's preferences."
        )
    missing = [name for name in WHEELS if importlib.util.find_spec(name) is None]
    if missing:
        return (
            f"The extension has no {missing[0]} for Python {platform.python_version()} on {sys.platform}: install the "
            "zip for this platform anew, or set the address of a backend in the add-on's preferences."
        )
    return ""


def start() -> None:
    """Start it without waiting. Raises LocalBackendError where there is none to start."""
    global _backend
    lacking = obstacle()
    if lacking:
        raise LocalBackendError(lacking)
    if _backend is None:
        _backend = LocalBackend(sys.executable, _arguments(), _log_file(), _note)
    _backend.start()


def stop() -> None:
    """End it."""
    if _backend is not None:
        _backend.stop()


def address() -> Address:
    """Where it listens. Raises LocalBackendError while it does not."""
    found = None if _backend is None else _backend.address
    if found is None:
        raise LocalBackendError(status().sentence)
    return found


def has_started(seconds: float | None = None) -> bool:
    """Wait until it is no longer starting; whether that is so."""
    return _backend is None or _backend.wait(seconds)


def has_ended(seconds: float) -> bool:
    """Wait until no process of it runs; whether that is so."""
    return _backend is None or _backend.has_ended(seconds)


def _arguments() -> list[str]:
    """Of launch.py: the extension, the backend's folder, and the folders of Blender's numpy and of the wheels."""
    folders = []
    for name in ("numpy", *WHEELS):
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        folders.append(str(Path(spec.origin).parents[1]))
    return [str(EXTENSION), str(SERVER), *dict.fromkeys(folders)]


def _log_file() -> Path | None:
    """In the folder that Blender gives each extension; None where that cannot be written."""
    try:
        return Path(bpy.utils.extension_path_user(ADDON, create=True)) / "backend.log"
    except (OSError, ValueError):  # no permission; run from a checkout, as no extension
        return None


def _note() -> None:
    global _changed
    _changed = True


def poll() -> bool:
    """Whether its state changed since the last call."""
    global _changed
    changed, _changed = _changed, False
    return changed


def unregister() -> None:
    """End the process."""
    global _backend
    stop()
    _backend = None
    obstacle.cache_clear()
