# SPDX-License-Identifier: Apache-2.0
"""Thousands of requests from clients that behave badly, to a backend whose engine breaks down now and then.

    python -m tests.robustness.chaos --requests 10000

Three in ten requests are bad; clients leave after at most 0.33 s, read slowly, ping, cancel, cut the connection in the
middle of a message; the engine ends its thread, hangs and fails; in the end the backend gets SIGTERM while clients are
still at it. Every request gets one answer or its connection ends; no answer is another client's; the backend is healthy
before the signal, and gone five seconds after it. What is not so is printed, and the status is 1.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

from blender_addon.contract import messages
from blender_addon.contract.wire import SUBPROTOCOLS, Wire, fragments
from tests.robustness.fuzz import spoilt_message
from tests.robustness.troubled_backend import TOKEN

CLIENTS: Final = 32
LEAVE_SECONDS: Final = 0.33
ANSWER_SECONDS: Final = 30.0
END_SECONDS: Final = 5.0
BAD_SHARE: Final = 0.3


def _png(side: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (side, side)).save(buffer, "PNG")
    return buffer.getvalue()


PICTURES: Final = tuple(map(_png, (8, 300, 2000)))


class Report:
    """What happened, and what should not have."""

    def __init__(self, requests: int) -> None:
        self.left = requests
        self.counts: Counter[str] = Counter()
        self.asked: set[str] = set()
        self.wrong: list[str] = []


class Guest:
    """One connection, and what it has asked and been answered."""

    def __init__(self, websocket: ClientConnection, wire: Wire, report: Report, dice: random.Random) -> None:
        self.websocket, self.wire, self.report, self.dice = websocket, wire, report, dice
        self.asked: dict[str, messages.Request] = {}
        self.answered: set[str] = set()

    async def send(self, message: messages.Message) -> None:
        for frame in self.wire.write(message):
            pieces = fragments(frame)
            await self.websocket.send(pieces[0] if len(pieces) == 1 else pieces)

    async def ask(self, instruction: str | None = None) -> messages.Request:
        """A request that no other client has; its poses tell whose answer it is."""
        dice, self.report.left = self.dice, self.report.left - 1
        identity = f"{dice.getrandbits(64):x}"
        count = dice.choice((1, 1, 1, 3, 40, 400 if dice.random() < 0.1 else 2))
        poses = np.full((count, 24, 3), dice.random(), np.float32)
        image = dice.choice(PICTURES) if dice.random() < 0.1 else None
        request = messages.Request(identity, "adjust", instruction or f"did {identity}", poses, image)
        self.asked[identity] = request
        self.report.asked.add(identity)
        await self.send(request)
        return request

    async def ask_badly(self) -> None:
        """Something that is no request, or a bad one."""
        self.report.left -= 1
        self.report.counts["bad"] += 1
        subprotocol = ""
        while subprotocol != self.wire.subprotocol:
            subprotocol, pieces = spoilt_message(self.dice)
        for piece in pieces:
            await self.websocket.send(piece)

    async def hear(self) -> None:
        """Take messages until everything asked has been answered."""
        async with asyncio.timeout(ANSWER_SECONDS):
            while self.answered != set(self.asked):
                message = self.wire.read(await self.websocket.recv())
                if isinstance(message, messages.Result) or (
                    isinstance(message, messages.ErrorMessage) and message.id
                ):
                    self._judge(message)

    def _judge(self, message: messages.Result | messages.ErrorMessage) -> None:
        identity = message.id or ""
        request, wrong = self.asked.get(identity), self.report.wrong
        if request is None:
            if identity in self.report.asked:  # spoilt messages have ids of their own, which may be anything
                wrong.append(f"the answer to {identity}, which this client never asked")
            return
        if identity in self.answered:
            wrong.append(f"a second answer to {identity}")
        self.answered.add(identity)
        if isinstance(message, messages.ErrorMessage):
            self.report.counts[message.code] += 1
            return
        self.report.counts["answered"] += 1
        poses = np.stack([pose for pose in message.poses if pose is not None])
        if set(message.texts) != {request.instruction} or not np.array_equal(poses, request.poses + 1):
            wrong.append(f"to {identity} the answer of another request")


async def _polite(guest: Guest) -> None:
    for _ in range(guest.dice.randint(1, 6)):
        await guest.ask()
    await guest.hear()


async def _bad(guest: Guest) -> None:
    for _ in range(guest.dice.randint(1, 8)):
        await guest.ask_badly()
    await guest.ask()
    await guest.hear()


async def _leaves(guest: Guest) -> None:
    for _ in range(guest.dice.randint(1, 4)):
        await guest.ask()
    await asyncio.sleep(guest.dice.uniform(0, LEAVE_SECONDS))
    if guest.dice.random() < 0.5:
        guest.websocket.transport.abort()


async def _cuts(guest: Guest) -> None:
    guest.report.left -= 1
    frame = guest.wire.write(messages.Request("cut", "adjust", "cut", np.zeros((400, 24, 3), np.float32)))[-1]
    pieces = fragments(frame)

    async def half() -> Any:
        for piece in pieces[:1]:
            yield piece
        guest.websocket.transport.abort()

    with contextlib.suppress(ConnectionClosed):
        await guest.websocket.send(half())


async def _slow(guest: Guest) -> None:
    for _ in range(3):
        await guest.ask()
    await asyncio.sleep(guest.dice.uniform(0.2, 1.0))
    await guest.hear()


async def _pings(guest: Guest) -> None:
    await guest.ask()
    for _ in range(50):
        await guest.websocket.ping()
    await guest.hear()


async def _cancels(guest: Guest) -> None:
    requests = [await guest.ask() for _ in range(4)]
    for request in requests[::2]:
        await guest.send(messages.Cancel(request.id))
    await guest.send(messages.Cancel("never asked"))
    await guest.hear()


async def _breaks(guest: Guest) -> None:
    await guest.ask(
        guest.dice.choice(("exit", "fail", "fail", "hang" if guest.dice.random() < 0.1 else "fail"))
    )
    await guest.ask()
    await guest.hear()


_ROLES: Final[tuple[tuple[Callable[[Guest], Awaitable[None]], float], ...]] = (
    (_polite, 4.0), (_bad, 4.0), (_leaves, 2.0), (_cuts, 0.5), (_slow, 0.5), (_pings, 0.5), (_cancels, 1.0),
    (_breaks, 0.4),
)  # fmt: skip


async def _visits(url: str, report: Report, dice: random.Random) -> None:
    """Clients one after the other, until there are no more requests to make or no more backend."""
    while report.left > 0:
        (role,) = dice.choices([role for role, _ in _ROLES], [weight for _, weight in _ROLES])
        report.counts["clients"] += 1
        try:
            async with connect(
                url, subprotocols=[Subprotocol(dice.choice(SUBPROTOCOLS))], proxy=None, compression=None,
                max_size=None, close_timeout=0.5,
            ) as websocket:  # fmt: skip
                guest = Guest(websocket, Wire(websocket.subprotocol or "", messages.Limits()), report, dice)
                await guest.send(messages.Hello(TOKEN, guest.wire.version))
                welcome = guest.wire.read(await websocket.recv())
                assert isinstance(welcome, messages.Welcome), welcome
                await role(guest)
        except (ConnectionClosed, InvalidHandshake, OSError):
            report.counts["connections lost"] += 1
        except TimeoutError:
            report.wrong.append(f"no answer within {ANSWER_SECONDS:g} s to a client that {role.__name__}")
        except messages.ProtocolError as error:
            report.wrong.append(f"the backend sent something unreadable: {error.sentence}")


def _page(url: str, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url.replace("ws://", "http://") + path, timeout=10) as page:
            return page.status, page.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


async def run(requests: int, seed: int = 0) -> dict[str, Any]:
    """The whole; returns the figures, with what was wrong under ``wrong``."""
    report = Report(requests)
    command = [sys.executable, "-m", "tests.robustness.troubled_backend"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        began = time.monotonic()
        await asyncio.gather(*(_visits(url, report, random.Random(f"{seed} {n}")) for n in range(CLIENTS)))
        seconds = time.monotonic() - began
        memory = _resident_mb(process.pid)
        for _ in range(100):  # an engine may just be loaded anew
            status, page = await asyncio.to_thread(_page, url, "/healthz")
            if status == 200:
                break
            await asyncio.sleep(0.1)
        else:
            report.wrong.append(f"the backend is not healthy in the end: {page}")
        report.left = 10**9
        last = [
            asyncio.create_task(_visits(url, report, random.Random(f"{seed} {n} last"))) for n in range(8)
        ]
        await asyncio.sleep(1.0)
        signalled = time.monotonic()
        process.send_signal(signal.SIGTERM)
        report.left = 0
        try:
            status = await asyncio.to_thread(process.wait, 30)
        except subprocess.TimeoutExpired:
            status = None
        ended = time.monotonic() - signalled
        if status != 0 or ended > END_SECONDS:
            report.wrong.append(f"after SIGTERM it ended with status {status}, {ended:.1f} s later")
        await asyncio.gather(*last)
    finally:
        process.kill()
        process.wait()
    return {
        "name": "chaos_faults", "value": len(report.wrong), "unit": "1", "requests": requests,
        "seconds": round(seconds, 1), "end_s": round(ended, 2), "rss_mb": memory, "counts": dict(report.counts),
        "wrong": report.wrong[:20],
    }  # fmt: skip


def _resident_mb(pid: int) -> float | None:
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return None
    kilobytes = next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmRSS"))
    return round(int(kilobytes) / 1024, 1)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    figures = asyncio.run(run(options.requests, options.seed))
    print(json.dumps(figures))
    return 1 if figures["value"] else 0


if __name__ == "__main__":
    sys.exit(main())
