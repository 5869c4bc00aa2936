# SPDX-License-Identifier: Apache-2.0
"""A backend whose answers the instruction spells out: the real server and protocol, with an engine that does as it is
told.

An instruction is clauses between semicolons, each ``JOINT AXIS DEGREES``: that joint is given the rotation by so many
degrees about x, y or z. With ``+`` before it the turn is added to the rotation that the joint has, seen from its
parent. Prints ``listening URL`` as ``posellava serve`` does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
from scipy.spatial.transform import Rotation

from backend.query import Answer, OnWords, Query
from backend.server import ServerOptions, run_until_signal
from blender_addon.contract.skeleton import JOINT_INDEX, NUM_JOINTS


class ObedientEngine:
    """Answers as the module says."""

    name = "obedient"
    tasks: tuple[str, ...] = ("adjust", "generate", "estimate")

    def answer(self, queries: Sequence[Query], on_words: OnWords | None = None) -> list[Answer]:
        """One answer per query."""
        return [Answer(obeyed(query.pose_aa, query.instruction), "Done.") for query in queries]


def obeyed(pose_aa: np.ndarray | None, instruction: str) -> np.ndarray:
    """(24, 3) with the joints turned that the instruction names; from the zero pose when there is none."""
    pose = np.zeros((NUM_JOINTS, 3), dtype=np.float32) if pose_aa is None else pose_aa.copy()
    for clause in instruction.split(";"):
        name, axis, degrees = clause.split()
        joint = JOINT_INDEX[name.removeprefix("+")]
        turn = Rotation.from_euler(axis, float(degrees), degrees=True)
        if name.startswith("+"):
            turn = turn * Rotation.from_rotvec(pose[joint])
        pose[joint] = turn.as_rotvec()
    return pose


def main() -> None:
    """Serve until SIGTERM."""
    options = ServerOptions(port=0, token=None)
    asyncio.run(
        run_until_signal(ObedientEngine(), options, lambda url: print(f"listening {url}", flush=True))
    )


if __name__ == "__main__":
    main()
