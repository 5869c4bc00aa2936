# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps a link connected: opens a conversation, asks what the link has to ask, and tries again when it breaks."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import Final

from ..contract.client import Client, OpeningError
from ..contract.messages import Cancel, ProtocolError
from .events import Handle, State, Status
from .link import Link

RETRY_SECONDS: Final = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Pauses between attempts; the last one repeats."""


def keep_connected(link: Link) -> None:
    """Keep ``link`` connected until it is stopped or the backend refuses it."""
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(_keep_connected(link))


async def _keep_connected(link: Link) -> None:
    loop, task, wake = asyncio.get_running_loop(), asyncio.current_task(), asyncio.Event()
    assert task is not None
    link.attach(partial(loop.call_soon_threadsafe, wake.set), partial(loop.call_soon_threadsafe, task.cancel))
    failures = 0
    while not link.stopping:
        try:
            client = await Client.open(link.address)
        except OpeningError as error:
            sentence = error.sentence
            if error.final:
                link.end(Status(State.FAILED, sentence), sentence)
                return
            code, told = "no_backend", sentence
        else:
            failures = 0
            async with client:
                link.set_status(
                    Status(State.CONNECTED, f"Connected to {client.welcome.model}.", client.welcome)
                )
                sentence = await _exchange(client, link, wake)
            code, told = "connection_lost", f"{sentence} Nothing was changed; try again when it is back."
        pause = RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)]
        failures += 1
        # In this order: who asks anew as soon as a request failed has to find that there is no connection.
        link.set_status(Status(State.CONNECTING, f"{sentence} Trying again in {pause:g} s."))
        link.fail_all(code, told)
        wake.clear()
        if not link.has_work:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(wake.wait(), pause)


async def _exchange(client: Client, link: Link, wake: asyncio.Event) -> str:
    """Ask until the conversation ends; returns the sentence that says why it did."""
    asked: dict[str, asyncio.Task[None]] = {}
    over = asyncio.create_task(client.wait_closed())
    woken: asyncio.Task[object] = asyncio.create_task(wake.wait())
    try:
        while not over.done():
            wake.clear()
            while (item := link.take()) is not None:
                if isinstance(item, Cancel):
                    if item.id in asked:
                        asked[item.id].cancel()
                    continue
                asked = {key: task for key, task in asked.items() if not task.done()}
                asked[item.request.id] = asyncio.create_task(_ask(client, link, item))
            if woken.done():
                woken = asyncio.create_task(wake.wait())
            await asyncio.wait({over, woken}, return_when=asyncio.FIRST_COMPLETED)
        return over.result()
    finally:
        for task in (over, woken, *asked.values()):
            task.cancel()
        await asyncio.gather(over, woken, *asked.values(), return_exceptions=True)


async def _ask(client: Client, link: Link, handle: Handle) -> None:
    try:
        result = await client.ask(handle.request, on_progress=handle.advance)
    except ProtocolError as error:
        if error.code != "connection_lost":  # of that one _keep_connected tells all that were asked
            link.finish(handle.request.id, error=error)
    else:
        link.finish(handle.request.id, result=result)
