# SPDX-License-Identifier: GPL-3.0-or-later
"""PoseLLaVA for Blender: type an instruction, get keyframes.

Parts, each a folder with one job; an arrow means "may import":

    ui, cli → operators → rig, session, local → contract        settings: what the user sets; used by all but contract

Blender calls register() and unregister(). bpy is imported only from there on, so that the contract can be used
by the backend, which has no Blender.
"""

from __future__ import annotations

import importlib.util
from typing import Any


def _parts() -> list[Any]:
    """The modules to register, in order."""
    if importlib.util.find_spec("numpy") is None:
        from .ui import missing_numpy

        return [missing_numpy]
    from . import cli, operators, settings, ui

    return [settings, operators, ui, cli]


def register() -> None:
    """Called by Blender when the add-on is enabled."""
    for part in _parts():
        part.register()


def unregister() -> None:
    """Called by Blender when the add-on is disabled, and when Blender quits."""
    for part in reversed(_parts()):
        part.unregister()
