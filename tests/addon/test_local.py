# SPDX-License-Identifier: GPL-3.0-or-later
"""The process beside Blender, with a script in the place of the backend."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from blender_addon.local import LocalBackend, LocalState
from tests.waiting import wait_for

SCRIPT = """#!/bin/sh
sleep 2 > /dev/null &
echo "listening ws://127.0.0.1:1"
exec cat > /dev/null
"""
"""It says that it listens and ends when its input does. What it started keeps its messages open beyond its end."""


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[LocalBackend]:
    script = tmp_path / "python"
    script.write_text(SCRIPT)
    script.chmod(0o755)
    backend = LocalBackend(str(script), (), None, lambda: None)
    yield backend
    backend.stop()


@pytest.mark.skipif(sys.platform == "win32", reason="runs a shell script")
def test_one_that_was_killed_is_started_anew_before_its_end_is_told(backend: LocalBackend) -> None:
    backend.start()
    assert backend.wait(60)
    first = backend._process
    assert first is not None
    assert not backend.has_ended(0.0)
    first.kill()
    wait_for(lambda: backend.has_ended(0.1))
    backend.start()
    assert backend.wait(60)
    assert backend.status.state is LocalState.READY
    assert backend._process is not first
