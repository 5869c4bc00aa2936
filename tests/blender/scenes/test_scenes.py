# SPDX-License-Identifier: Apache-2.0
"""Every scene of the table holds what it must."""

from __future__ import annotations

from pathlib import Path

from .play import play

LEAST = 40


def test_every_scene_holds(extension_zip: Path) -> None:
    faults = play(extension_zip)
    assert {name: fault for name, fault in faults.items() if fault} == {}
    assert len(faults) >= LEAST
