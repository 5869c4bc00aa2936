# SPDX-License-Identifier: Apache-2.0
"""A backend in a process of its own for chaos.py: its answers can be foreseen, and it can be asked to break down."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

import numpy as np

from backend.query import Answer, OnWords, Query
from backend.server import ServerOptions, run_until_signal

TOKEN = "a-token-for-chaos-only"
BATCH_SECONDS, QUERY_SECONDS = 0.002, 0.0002


class TroubledEngine:
    """Adds 1 to every number, and says what it was asked; ends its thread, hangs or fails when told to."""

    name = "troubled"
    tasks: tuple[str, ...] = ("adjust", "generate", "estimate")

    def answer(self, queries: Sequence[Query], on_words: OnWords | None = None) -> list[Answer]:
        time.sleep(BATCH_SECONDS + QUERY_SECONDS * len(queries))
        for query in queries:
            if query.instruction == "exit":
                raise SystemExit
            if query.instruction == "hang":
                time.sleep(5)
            if query.instruction == "fail":
                raise RuntimeError("as asked")
        return [
            Answer(
                (np.zeros((24, 3)) if q.pose_aa is None else q.pose_aa).astype(np.float32) + 1, q.instruction
            )
            for q in queries
        ]


if __name__ == "__main__":
    logging.basicConfig(level=logging.CRITICAL)
    options = ServerOptions(port=0, token=TOKEN, engine_seconds=1.5, warm_up=True)
    asyncio.run(
        run_until_signal(TroubledEngine(), options, lambda url: print(url, flush=True), reload=TroubledEngine)
    )
