# SPDX-License-Identifier: Apache-2.0
"""A backend for tests: the real server and protocol, with an engine whose answers a test can foresee.

It turns the left shoulder of every pose by TURN_DEGREES about the body's forward axis, after ``--delay`` seconds.
With ``--picture FILE`` it saves the picture that came with the last request. Prints ``listening URL`` as
``posellava serve`` does.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from scipy.spatial.transform import Rotation

from backend.query import Answer, Query
from backend.server import ServerOptions, run_until_signal
from blender_addon.contract.skeleton import JOINT_INDEX, NUM_JOINTS

TURN_DEGREES: Final = 40.0
WORDS: Final = "I turned the left shoulder."


class ScriptedEngine:
    """Answers as the module says."""

    name = "scripted"
    tasks: tuple[str, ...] = ("adjust", "generate", "estimate")

    def __init__(self, delay: float, picture: Path | None) -> None:
        self.delay = delay
        self.picture = picture

    def answer(self, queries: Sequence[Query]) -> list[Answer]:
        """One answer per query."""
        time.sleep(self.delay)
        if self.picture is not None and queries[0].image is not None:
            queries[0].image.save(self.picture)
        return [Answer(turned(query.pose_aa), WORDS) for query in queries]


def turned(pose_aa: np.ndarray | None) -> np.ndarray:
    """(24, 3) with the left shoulder turned; from the zero pose when there is none."""
    pose = np.zeros((NUM_JOINTS, 3), dtype=np.float32) if pose_aa is None else pose_aa.copy()
    shoulder = JOINT_INDEX["left_shoulder"]
    turn = Rotation.from_euler("z", TURN_DEGREES, degrees=True)
    pose[shoulder] = (turn * Rotation.from_rotvec(pose[shoulder])).as_rotvec()
    return pose


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--token")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    asyncio.run(
        run_until_signal(
            ScriptedEngine(options.delay, options.picture),
            ServerOptions(port=options.port, token=options.token, batch_size=4),
            lambda url: print(f"listening {url}", flush=True),
        )
    )


if __name__ == "__main__":
    main()
