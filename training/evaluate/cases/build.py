# SPDX-License-Identifier: Apache-2.0
"""Expands the handwritten cases into lines with concrete poses.

    python -m training.evaluate.cases.build OUT.jsonl [--poses poses.npz]

Cases that start from a recorded pose name it by its index into the ``val`` split; the poses themselves are not
part of the project, so without ``--poses`` those cases are left out.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from blender_addon.contract.rotations import Array, matrix_to_axis_angle, quaternion_to_matrix

from .starts import start_pose

HANDWRITTEN = Path(__file__).with_name("handwritten.jsonl")


def read_val_poses(path: Path) -> Array:
    """(N, 24, 3) axis-angle, radians: the ``val`` split of a pose file with ``quat_wxyz`` and ``split``."""
    with np.load(path) as arrays:
        if not {"quat_wxyz", "split"} <= set(arrays.files):
            raise ValueError(f"{path} is not the project's pose file, which the cases' numbers speak of")
        return matrix_to_axis_angle(quaternion_to_matrix(arrays["quat_wxyz"][arrays["split"] == "val"]))


def expand(case: dict[str, Any], val_poses: Array | None) -> dict[str, Any] | None:
    """One case with its start pose in place; None when the pose is a recorded one and there are no recordings.

    A case names its pose by ``start`` (with ``heading`` and ``seed``) or by ``val``; one with neither is a
    description to generate from.
    """
    line = {key: case[key] for key in ("id", "task", "kind", "instruction")}
    if "val" in case:
        if val_poses is None:
            return None
        line["pose"] = val_poses[case["val"]].round(5).tolist()
    elif "start" in case:
        pose = start_pose(case["start"], case.get("heading", 0.0), case.get("seed"))
        line["pose"] = pose.round(5).tolist()
    return {**line, "checks": case["checks"], "keep": case.get("keep", [])}


def build(poses: Path | None = None) -> list[dict[str, Any]]:
    """All handwritten cases that have a pose."""
    val_poses = None if poses is None else read_val_poses(poses)
    written = [json.loads(line) for line in HANDWRITTEN.read_text(encoding="utf-8").splitlines()]
    return [line for case in written if (line := expand(case, val_poses)) is not None]


def main() -> None:
    parser = argparse.ArgumentParser(description="Expand the handwritten cases into poses and checks.")
    parser.add_argument("out", type=Path, help="JSONL to write")
    parser.add_argument(
        "--poses", type=Path, help="poses.npz; without it, cases on recorded poses are left out"
    )
    args = parser.parse_args()
    cases = build(args.poses)
    args.out.write_text(
        "".join(json.dumps(case, ensure_ascii=False) + "\n" for case in cases), encoding="utf-8"
    )
    print(f"{len(cases)} cases in {args.out}")


if __name__ == "__main__":
    main()
