# SPDX-License-Identifier: Apache-2.0
"""A chat model as a contestant: it is shown the joints' rotations and writes those that change.

Any model behind an OpenAI-compatible address. It is asked in degrees, in the words of the skeleton, for JSON; what it
writes around the JSON is ignored. An answer without a readable pose is none.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np

from blender_addon.contract.skeleton import JOINT_NAMES, NUM_JOINTS
from training.data.rewriting.chat import ChatModel

from .cases import Case

SYSTEM: Final = (
    "You edit the pose of a human body by an instruction. The pose is a rotation for each of SMPL's 24 joints, as "
    "axis-angle [x, y, z] in degrees, relative to the joint's parent. All zero is a T-pose: standing, arms straight "
    "out to the sides, palms down. Every joint's axes are the body's at rest: +x is the body's left, +y up, +z the way "
    "it faces; rotations are right-handed. So left_shoulder [0, 0, 90] raises the left arm straight up and [0, 0, -90] "
    "lowers it to the side, right_shoulder the other way round; left_elbow [0, -90, 0] and right_elbow [0, 90, 0] bend "
    "the forearms forward; a hip at [-90, 0, 0] lifts the thigh forward, a knee at [90, 0, 0] bends it. The joint "
    "pelvis turns the whole body. Answer with one JSON object and nothing else: the joints that change, each with its "
    'new [x, y, z], such as {"left_elbow": [0, -90, 0]}. Leave out what stays.'
)


def question(case: Case) -> str:
    """What the model is asked about a case."""
    degrees = np.degrees(np.array(case["pose"], dtype=np.float64)).round(1).reshape(NUM_JOINTS, 3).tolist()
    pose = json.dumps(dict(zip(JOINT_NAMES, degrees, strict=True)))
    return f"The pose now: {pose}\nThe instruction: {case['instruction']}"


def pose_of(case: Case, said: str) -> list[list[float]] | None:
    """The start pose with the joints that were written, 24 x 3 in radians; None where nothing can be read."""
    changes = _object_in(said)
    if changes is None:
        return None
    pose = np.array(case["pose"], dtype=np.float64).reshape(NUM_JOINTS, 3)
    for name, value in changes.items():
        if name not in JOINT_NAMES or not _is_rotation(value):
            return None
        pose[JOINT_NAMES.index(name)] = np.radians(value)
    found: list[list[float]] = pose.tolist()
    return found


def answers(
    cases: Sequence[Case],
    model: ChatModel,
    *,
    parallel: int = 4,
    report: Callable[[int], None] = lambda done: None,
) -> dict[str, Any]:
    """The model's answer to every case; None where it wrote no pose.

    Raises:
        ChatError: the model cannot be asked.
    """
    found: dict[str, Any] = {}
    with ThreadPoolExecutor(parallel) as pool:
        asked = [pool.submit(model.ask, SYSTEM, question(case)) for case in cases]
        try:
            for case, future in zip(cases, asked, strict=True):
                found[case["id"]] = pose_of(case, future.result())
                report(len(found))
        except BaseException:
            for future in asked:
                future.cancel()
            raise
    return found


def _object_in(said: str) -> Mapping[str, Any] | None:
    """The first JSON object in a text."""
    decoder = json.JSONDecoder()
    start = said.find("{")
    while start >= 0:
        try:
            found, _ = decoder.raw_decode(said, start)
        except (ValueError, RecursionError):
            start = said.find("{", start + 1)
            continue
        return found if isinstance(found, dict) else None
    return None


def _is_rotation(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 3
        and all(
            isinstance(number, (int, float)) and not isinstance(number, bool) and math.isfinite(number)
            for number in value
        )
    )
