# SPDX-License-Identifier: Apache-2.0
"""A backend in a process of its own, whose engine takes its time; for tests that kill or stop it.

usage: slow_backend.py PORT SECONDS
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence

import numpy as np

from backend.query import Answer, OnWords, Query
from backend.server import ServerOptions, run_until_signal

PORT, SECONDS = int(sys.argv[1]), float(sys.argv[2])


class SlowEngine:
    name = "slow"
    tasks: tuple[str, ...] = ("adjust",)

    def answer(self, queries: Sequence[Query], on_words: OnWords | None = None) -> list[Answer]:
        print("working", flush=True)
        time.sleep(SECONDS)
        return [Answer(np.zeros((24, 3), np.float32), "done") for _ in queries]


def announce(url: str) -> None:
    print(f"listening {url}", flush=True)


asyncio.run(run_until_signal(SlowEngine(), ServerOptions(port=PORT), announce))
