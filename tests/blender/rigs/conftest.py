# SPDX-License-Identifier: Apache-2.0
"""An empty scene for every test. Preferences, which no test touches, are not read anew each time: that takes five times
as long."""

from __future__ import annotations

import bpy
import pytest


@pytest.fixture(autouse=True)
def empty_scene() -> None:
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
