# SPDX-License-Identifier: Apache-2.0
"""A backend for tests: the real server and protocol, with an engine whose answers a test can foresee.

It turns the left shoulder of every pose by TURN_DEGREES about the body's forward axis, after ``--delay`` seconds; each
further variant turns it by as much again. An instruction that ends in a question mark is answered in words alone. With
``--describes`` it describes poses, with ``--speaks`` it converses, too: its words say how many poses it was shown and
what came before, and a question that ends in an exclamation mark is answered with two poses. It says a word at a time,
all of them within ``--delay``. With ``--picture FILE`` it saves the picture that came with the last request, with
``--asked FILE`` what else came, as JSON. With ``--paints KIND…`` it paints along these maps, as
tests/backend/scripted_painter.py says. Prints ``listening URL`` as ``posellava serve`` does.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from scipy.spatial.transform import Rotation

from backend.query import Answer, OnWords, Query
from backend.server import PaintOptions, ServerOptions, painter, run_until_signal
from blender_addon.contract.messages import SPOKEN_TASKS
from blender_addon.contract.skeleton import JOINT_INDEX, NUM_JOINTS
from tests.backend.scripted_painter import SCRIPTED

TURN_DEGREES: Final = 40.0
WORDS: Final = "I turned the left shoulder."
NO_POSE_WORDS: Final = "I do not know how to pose that."


class ScriptedEngine:
    """Answers as the module says."""

    name = "scripted"
    tasks: tuple[str, ...] = ("adjust", "generate", "estimate")

    def __init__(
        self, delay: float, picture: Path | None, asked: Path | None, *, spoken: Sequence[str] = ()
    ) -> None:
        self.tasks = (*self.tasks, *spoken)
        self.delay = delay
        self.picture = picture
        self.asked = asked

    def answer(self, queries: Sequence[Query], on_words: OnWords | None = None) -> list[Answer]:
        """One answer per query."""
        if self.picture is not None and queries[0].image is not None:
            queries[0].image.save(self.picture)
        if self.asked is not None:
            self.asked.write_text(json.dumps(record(queries[0])))
        spoken = [query.task in SPOKEN_TASKS for query in queries]
        if not all(spoken):
            time.sleep(self.delay)
        answers = [
            self._speak(query) if speaks else self._answer(query)
            for query, speaks in zip(queries, spoken, strict=True)
        ]
        for place, speaks in enumerate(spoken):
            if speaks and on_words is not None:
                self._say(answers[place].text, lambda words, place=place: on_words(place, words))
        return answers

    def _say(self, words: str, on_words: Callable[[str], bool]) -> None:
        """A word after the other, as long as somebody listens."""
        said = words.split()
        for count in range(1, len(said) + 1):
            time.sleep(self.delay / len(said))
            if not on_words(" ".join(said[:count])):
                return

    def _speak(self, query: Query) -> Answer:
        before = [turn.instruction[:30] for turn in query.history]
        shown = sum(pose is not None for pose in (query.pose_aa, *(turn.pose for turn in query.history)))
        words = f"I see {shown}, after {before}."
        if not query.instruction.endswith("!"):
            return Answer(None, words)
        poses = np.stack([turned(query.pose_aa), turned(query.pose_aa, 2)])
        return Answer(poses[0], f"{words} <POSE> or <POSE>", poses)

    def _answer(self, query: Query) -> Answer:
        if query.instruction.endswith("?"):
            return Answer(None, NO_POSE_WORDS)
        variants = np.stack([turned(query.pose_aa, times) for times in range(1, query.variants + 1)])
        return Answer(variants[0], WORDS, variants)


def record(query: Query) -> dict[str, Any]:
    """What a test wants to know of a query."""
    return {
        "task": query.task,
        "instruction": query.instruction,
        "variants": query.variants,
        "view": None if query.view is None else [query.view.yaw, query.view.pitch],
        "history": [
            [turn.instruction, None if turn.pose is None else turn.pose.tolist()] for turn in query.history
        ],
        "pose": None if query.pose_aa is None else query.pose_aa.tolist(),
    }


def turned(pose_aa: np.ndarray | None, times: int = 1) -> np.ndarray:
    """(24, 3) with the left shoulder turned; from the zero pose when there is none."""
    pose = np.zeros((NUM_JOINTS, 3), dtype=np.float32) if pose_aa is None else pose_aa.copy()
    shoulder = JOINT_INDEX["left_shoulder"]
    turn = Rotation.from_euler("z", times * TURN_DEGREES, degrees=True)
    pose[shoulder] = (turn * Rotation.from_rotvec(pose[shoulder])).as_rotvec()
    return pose


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--token")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--asked", type=Path)
    parser.add_argument("--speaks", dest="spoken", action="store_const", const=SPOKEN_TASKS, default=())
    parser.add_argument("--describes", dest="spoken", action="store_const", const=("describe",))
    parser.add_argument("--paints", nargs="+", default=[])
    options = parser.parse_args()
    painter.PROGRAM = SCRIPTED
    images = PaintOptions(Path("sd"), {kind: Path("net") for kind in options.paints})
    asyncio.run(
        run_until_signal(
            ScriptedEngine(options.delay, options.picture, options.asked, spoken=options.spoken),
            ServerOptions(
                port=options.port,
                token=options.token,
                batch_size=4,
                images=images if options.paints else None,
            ),
            lambda url: print(f"listening {url}", flush=True),
        )
    )


if __name__ == "__main__":
    main()
