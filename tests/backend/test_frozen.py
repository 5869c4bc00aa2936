# SPDX-License-Identifier: Apache-2.0
"""A client whose process is stopped (a suspended Blender, a closed lid) and goes on later, with intervals of a second
in place of minutes: it loses nothing, or is told that it was given up; the others do not notice."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import wait_for

from .talking import Start, assert_still_answers, client, receive

REPOSITORY = Path(__file__).parents[2]
REQUESTS = 4
PROGRAM = f"""
import asyncio, sys
import numpy as np
from blender_addon.contract.address import Address
from blender_addon.contract.client import Client
from blender_addon.contract.messages import ProtocolError, Request

async def main():
    async with await Client.open(Address.parse(sys.argv[1])) as client:
        async def ask(number):
            poses = np.full((4096, 24, 3), number, np.float32)  # an answer is more than sockets hold
            try:
                result = await client.ask(Request(f"r{{number}}", "adjust", "raise it", poses))
            except ProtocolError as error:
                return error.code
            return bool(np.allclose(np.stack(result.poses), poses + np.float32(0.1)))
        print(*await asyncio.gather(*map(ask, range({REQUESTS}))), flush=True)

asyncio.run(main())
"""
pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGSTOP")]


@contextmanager
def frozen_client(backend: Any, engine: Any) -> Iterator[subprocess.Popen[str]]:
    """A client that has asked, and was stopped before the first answer."""
    engine.gate.clear()
    command = [sys.executable, "-c", PROGRAM, backend.url]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        try:
            wait_for(lambda: any(len(session._jobs) == REQUESTS for session in backend.server._sessions))
            process.send_signal(signal.SIGSTOP)
            engine.gate.set()
            yield process
        finally:
            process.kill()


def said(process: subprocess.Popen[str]) -> list[str]:
    """What it prints once it goes on."""
    process.send_signal(signal.SIGCONT)
    output, _ = process.communicate(timeout=60)
    return output.split()


def others_are_answered(backend: Any, seconds: float) -> None:
    """Nobody else notices anything meanwhile."""
    end = time.monotonic() + seconds
    with client(backend.url) as other:
        receive(other)
        while time.monotonic() < end:
            assert_still_answers(other)
            time.sleep(0.02)


def test_who_is_frozen_for_several_pings_loses_nothing(
    start_backend: Start, engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.server.server.PING_INTERVAL", 0.1)
    backend = start_backend()
    with frozen_client(backend, engine) as frozen:
        others_are_answered(backend, 1.5)
        assert said(frozen) == ["True"] * REQUESTS


def test_who_does_not_come_back_is_given_up_and_told_so(
    start_backend: Start, engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.server.server.PING_INTERVAL", 0.1)
    monkeypatch.setattr("backend.server.server.PING_TIMEOUT", 0.5)
    monkeypatch.setattr("backend.server.client_session.SEND_SECONDS", 0.5)
    backend = start_backend()
    with frozen_client(backend, engine) as frozen:
        wait_for(lambda: not backend.server._door.connections)
        wait_for(lambda: backend.server._scheduler._cost == 0)  # nothing is kept for it
        others_are_answered(backend, 0.1)
        assert set(said(frozen)) <= {"True", "connection_lost"}


def test_who_is_frozen_does_not_hold_up_the_stop(start_backend: Start, engine: Any) -> None:
    backend = start_backend()
    with frozen_client(backend, engine) as frozen:
        others_are_answered(backend, 0.1)
        began = time.monotonic()
        backend.stop()
        assert time.monotonic() - began < 5
        assert not backend.is_alive
        assert set(said(frozen)) <= {"True", "shutting_down", "connection_lost"}
