# SPDX-License-Identifier: GPL-3.0-or-later
"""The status light: a round icon in the colour of the connection's state, the same in every theme and version."""

from typing import Any, Final

import bpy
import bpy.utils.previews
import numpy as np

from ..session import State

SIDE: Final = 32
RADIUS: Final = 0.33
"""Of the light, as a part of the icon's side."""

COLOURS: Final = {
    State.DISCONNECTED: (0.45, 0.45, 0.45),
    State.CONNECTING: (0.95, 0.70, 0.15),
    State.CONNECTED: (0.25, 0.80, 0.35),
    State.FAILED: (0.90, 0.25, 0.20),
}

_icons: Any = None


def icon_of(state: State) -> int:
    """The icon value for a layout; 0, no icon, in background."""
    return _icons[state.value].icon_id if _icons else 0


def _disc(colour: tuple[float, float, float]) -> list[float]:
    """RGBA of a smooth disc, row by row."""
    axis = (np.arange(SIDE) + 0.5) / SIDE - 0.5
    distance = np.hypot(axis[:, None], axis[None, :])
    cover = np.clip((RADIUS - distance) * SIDE + 0.5, 0.0, 1.0)[..., None]
    pixels = cover * np.array([*colour, 1.0])  # premultiplied, as Blender blends icons
    return pixels.ravel().tolist()  # type: ignore[no-any-return]


def register() -> None:
    """Make the icons."""
    global _icons
    if bpy.app.background:
        return
    _icons = bpy.utils.previews.new()
    for state, colour in COLOURS.items():
        icon = _icons.new(state.value)
        icon.icon_size = (SIDE, SIDE)
        icon.icon_pixels_float = _disc(colour)


def unregister() -> None:
    """Free the icons."""
    global _icons
    if _icons:
        bpy.utils.previews.remove(_icons)
        _icons = None
