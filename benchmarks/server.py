# SPDX-License-Identifier: Apache-2.0
"""What the server makes of the engine: ``posellava serve`` with the model that ships, and clients on this machine.

- ``edits_per_s``: edits of one pose, each client asking again when it is answered; at 1, 8 and 32 clients, with the
  time to an answer.
- ``fairness_edit``: the p95 of one person's edits beside somebody's requests of a thousand poses, over the p95 alone.
- ``fairness_picture``: the same beside 31 pictures of 4,096 x 4,096 pixels at a time.
- ``rss_growth_mb``: how much memory the server's process has gained after 10,000 edits, at rest before and after; and
  ``busy_mb``, how much beyond that it held at their end, free but kept for the next batch.
- ``rss_peak_mb``: the most that it and the process that decodes pictures had under the largest requests that are taken:
  the most poses in eight variants each, and the largest pictures, from four clients.

The clients take processor time of the same machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import statistics
import time
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from blender_addon.contract.address import Address
from blender_addon.contract.client import Client
from blender_addon.contract.messages import MAX_VARIANTS, Limits, Request, new_request_id
from blender_addon.contract.skeleton import STANDING_POSE
from demo.run import backend

SECONDS: Final = 6
WARM_UP: Final = 200
GROWTH_EDITS: Final = 10_000
PICTURES: Final = 31
PICTURE_SIDE: Final = 4096
REST_SECONDS: Final = 5
"""After which an idle server has given back what it does not need."""
PEAK_POSES: Final = 4096
MANY_POSES: Final = 1000
INSTRUCTIONS: Final = (
    "raise the left arm",
    "bend the right elbow by 60 degrees",
    "turn your head to the left",
)


def edit(number: int, poses: int = 1, variants: int = 1) -> Request:
    """An edit of the standing pose."""
    start = np.repeat(STANDING_POSE[None], poses, axis=0)
    return Request(
        new_request_id(), "adjust", INSTRUCTIONS[number % len(INSTRUCTIONS)], start, variants=variants
    )


async def edits(client: Client, *, seconds: float = 0.0, count: int = 0) -> list[float]:
    """Edits one after the other, for so long or so many; the seconds that each took."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < count or time.perf_counter() < end:
        began = time.perf_counter()
        await client.ask(edit(len(times)))
        times.append(time.perf_counter() - began)
    return times


async def beside(work: Awaitable[Any], client: Client) -> list[float]:
    """Edits while somebody else's work goes on."""
    task = asyncio.ensure_future(work)
    await asyncio.sleep(0.5)
    times = await edits(client, seconds=SECONDS)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return times


async def thousands(client: Client) -> None:
    """A thousand poses, again and again."""
    while True:
        await client.ask(edit(0, MANY_POSES))


async def pictures(client: Client, picture: bytes) -> None:
    """So many pictures at a time, again and again."""

    async def one() -> None:
        while True:
            await client.ask(Request(new_request_id(), "estimate", image_png=picture))

    await asyncio.gather(*(one() for _ in range(PICTURES)))


def png(pixels: np.ndarray) -> bytes:
    """A picture as a request has it."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def resident_mb(pid: int) -> float:
    """Memory of a process and of those that it started."""
    kilobytes = 0
    for status in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):
            lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
            if pid in (int(lines["Pid"]), int(lines["PPid"])):
                kilobytes += int(lines.get("VmRSS", "0").split()[0])
    return kilobytes / 1024


def p95(times: list[float]) -> float:
    """The 95th percentile, in milliseconds."""
    return 1000 * statistics.quantiles(times, n=20)[-1]


async def peak(address: Address, pid: int) -> float:
    """The most memory under the largest requests; see the module."""
    clients = [await Client.open(address) for _ in range(4)]
    noise = np.random.default_rng(0).integers(0, 256, (2048, 2048, 3), dtype=np.uint8)
    black = np.zeros((PICTURE_SIDE, PICTURE_SIDE, 3), np.uint8)
    pictures_there = [
        picture for picture in map(png, (noise, black)) if len(picture) <= Limits().max_image_bytes
    ]
    requests = [edit(0, PEAK_POSES, MAX_VARIANTS) for _ in range(2)]
    requests += [
        Request(new_request_id(), "estimate", image_png=picture)
        for picture in pictures_there
        for _ in range(8)
    ]
    work = asyncio.gather(
        *(clients[place % len(clients)].ask(request) for place, request in enumerate(requests))
    )
    most = 0.0
    while not work.done():
        most = max(most, resident_mb(pid))
        await asyncio.sleep(0.05)
    await work
    for client in clients:
        await client.close()
    return most


def show(name: str, value: float, unit: str, **more: Any) -> None:
    """One figure."""
    print(json.dumps({"name": name, "value": round(value, 2), "unit": unit, **more}), flush=True)


async def measure(url: str, token: str, pid: int) -> None:
    """Measure everything."""
    address = Address(url, token)
    async with await Client.open(address) as client, await Client.open(address) as other:
        await edits(client, count=WARM_UP)
        idle = await edits(client, seconds=SECONDS)
        for count in (1, 8, 32):
            clients = [await Client.open(address) for _ in range(count)]
            began = time.perf_counter()
            times = [
                t
                for each in await asyncio.gather(*(edits(c, seconds=SECONDS) for c in clients))
                for t in each
            ]
            rate = len(times) / (time.perf_counter() - began)
            for each in clients:
                await each.close()
            show(
                "edits_per_s", rate, "1/s", clients=count, p50_ms=round(1000 * statistics.median(times), 1),
                p95_ms=round(p95(times), 1), p95_over_idle=round(p95(times) / p95(idle), 1),
            )  # fmt: skip
        black = png(np.zeros((PICTURE_SIDE, PICTURE_SIDE, 3), np.uint8))
        for name, work in (("fairness_edit", thousands(other)), ("fairness_picture", pictures(other, black))):
            times = await beside(work, client)
            idle = await edits(client, seconds=SECONDS)
            show(
                name, p95(times) / p95(idle), "1", p95_ms=round(p95(times), 1), idle_p95_ms=round(p95(idle), 1),
                edits=len(times),
            )  # fmt: skip
    clients = [await Client.open(address) for _ in range(32)]
    await asyncio.gather(*(edits(c, count=WARM_UP // 8) for c in clients))
    await asyncio.sleep(REST_SECONDS)
    before = resident_mb(pid)
    await asyncio.gather(*(edits(c, count=GROWTH_EDITS // len(clients)) for c in clients))
    busy = resident_mb(pid)
    await asyncio.sleep(REST_SECONDS)
    after = resident_mb(pid)
    show(
        "rss_growth_mb", after - before, "MB", before=round(before, 1), busy_mb=round(busy - after, 1),
        edits=GROWTH_EDITS,
    )  # fmt: skip
    for each in clients:
        await each.close()
    show("rss_peak_mb", await peak(address, pid), "MB")


@contextlib.contextmanager
def served() -> Iterator[tuple[str, str, int]]:
    """The backend's URL, token and process."""
    with backend(None) as (url, token):
        port = url.rsplit(":", 1)[1]
        yield url, token, _listener(int(port))


def _listener(port: int) -> int:
    """The child process that listens on a port, by its command line."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (
                f"\nPPid:\t{os.getpid()}\n" in (folder / "status").read_text()
                and b"serve" in (folder / "cmdline").read_bytes()
            ):
                return int(folder.name)
    raise RuntimeError(f"nobody serves on port {port}")


def main() -> None:
    """Measure and print."""
    with served() as (url, token, pid):
        asyncio.run(measure(url, token, pid))


if __name__ == "__main__":
    main()
