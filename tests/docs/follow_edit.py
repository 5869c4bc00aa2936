# SPDX-License-Identifier: Apache-2.0
"""Makes one edit with the add-on, the server and the shipped model in this process, and prints every function of the
project that was called, a ``file:function`` a line, in the order of the first calls."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import bpy

from backend.engines import load_engine
from backend.server import ServerOptions
from tests.conftest import Backend

ROOT = Path(__file__).parents[2]
PARTS = (str(ROOT / "blender_addon"), str(ROOT / "backend"))
called: dict[str, None] = {}
following = threading.Event()


def note(frame: FrameType, event: str, _: Any) -> None:
    """A profile function: remembers the calls of the project's own functions."""
    if event == "call" and following.is_set() and frame.f_code.co_filename.startswith(PARTS):
        file = Path(frame.f_code.co_filename).relative_to(ROOT)
        called.setdefault(f"{file}:{frame.f_code.co_qualname}")


def main() -> None:
    """Edit, then print."""
    threading.setprofile(note)
    backend = Backend(load_engine(engine="onnx"), ServerOptions(port=0))
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.preferences.addon_enable(module="blender_addon")
    bpy.context.preferences.addons["blender_addon"].preferences.url = backend.url
    bpy.ops.posellava.add_figure()
    sys.setprofile(note)
    following.set()
    bpy.ops.posellava.edit_pose(instruction="raise your left arm")
    following.clear()
    backend.stop()
    print(*called, sep="\n")


if __name__ == "__main__":
    main()
