# SPDX-License-Identifier: Apache-2.0
"""The cases: edits written by hand, each with a start pose, what must hold afterwards and what must not turn.

A contestant sees ``id``, ``instruction`` and ``pose`` (24 x 3 axis-angle, radians, SMPL's joint order). The checks and
the parts to keep, see ``training.evaluate.instructions``, are in the open too, for whoever wants to look; to train on
them is not to enter.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from training.evaluate.cases.build import build
from training.evaluate.instructions import read_jsonl

Case = Mapping[str, Any]
SHOWN: Final = ("id", "task", "instruction", "pose")
"""What a contestant sees of a case."""


def edits(poses: Path | None = None, file: Path | None = None) -> list[Case]:
    """The edits among the handwritten cases, or among those of a file in the same form.

    Args:
        poses: the pose file that some handwritten cases start from; without it these are left out.
        file: other cases.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it holds no cases, or the pose file is another.
    """
    if file is None:
        found: Sequence[Case] = build(poses)
    else:
        found = read_jsonl(file)
    needed = {"id", "instruction", "checks"}
    cases = [case for case in found if needed <= case.keys() and "pose" in case]
    if not cases:
        raise ValueError(f"{file} has no edits: lines with id, instruction, pose and checks")
    if len({case["id"] for case in cases}) < len(cases):
        raise ValueError(f"{file} has two cases of one id")
    return cases


def shown(case: Case) -> dict[str, Any]:
    """What a contestant sees of a case, in the form that ``posellava batch`` reads."""
    return {"task": "adjust"} | {name: case[name] for name in SHOWN if name in case}


def fingerprint(cases: Sequence[Case]) -> str:
    """SHA-256 of the cases with their checks, whatever their order: entries of the same one were judged alike."""
    lines = sorted(json.dumps(case, sort_keys=True, ensure_ascii=False) for case in cases)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
