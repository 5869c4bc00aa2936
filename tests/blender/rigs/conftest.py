# SPDX-License-Identifier: Apache-2.0
"""An empty scene for every test, and no add-on of Blender's left enabled: Rigify can keep the process from ending.

Preferences, which no test touches but through Rigify, are not read anew each time: that takes five times as long.
"""

from __future__ import annotations

from collections.abc import Iterator

import bpy
import pytest


@pytest.fixture(autouse=True)
def empty_scene() -> Iterator[None]:
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    yield
    import addon_utils  # it is there once bpy is

    if "rigify" in bpy.context.preferences.addons:
        addon_utils.disable("rigify", default_set=True)
        bpy.ops.wm.read_factory_settings(use_empty=True)
