# SPDX-License-Identifier: Apache-2.0
"""What scripts that run inside Blender begin with, and what runs them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

InBlender = Callable[..., dict[str, Any]]
"""in_blender(script, **environment) -> the script's ``result``; see inside.py."""
OnFigure = Callable[..., dict[str, Any]]
"""on_figure(*scripts, backend=arguments, **environment) -> their ``result``: after FIGURE, with a scripted backend."""

PREPARE = """
import os
bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.ops.preferences.addon_enable(module=addon.__name__)
preferences = bpy.context.preferences.addons[addon.__name__].preferences
preferences.url = os.environ.get("URL", "ws://127.0.0.1:9")
preferences.token = os.environ.get("TOKEN", "")
from bl_ext.user_default.posellava.operators.activity import activity
def keys():
    return sorted(
        [curve.data_path, curve.array_index, [point.co.x for point in curve.keyframe_points]]
        for curve in all_curves()
    )
"""
PREPARE += """
def finish(taking):
    steps = taking()
    while True:
        try:
            wait = next(steps)
        except StopIteration as end:
            return end.value
        wait and wait(None)
"""
FIGURE = PREPARE + "bpy.ops.posellava.add_figure()\n"
