# SPDX-License-Identifier: Apache-2.0
"""Expands the handwritten cases into lines with concrete poses.

    python -m training.evaluate.cases.build OUT.jsonl [--poses poses.npz]

Cases that start from a recorded pose name it by its index into the ``val`` split; the poses themselves are not
part of the project, so without ``--poses`` those cases are left out.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any, Final

import numpy as np

from backend.exits import exit_status
from blender_addon.contract.rotations import Array, matrix_to_axis_angle, quaternion_to_matrix

from .starts import start_pose

VAL_SHA256: Final = "f800a118a41b2e3b2927cf8c64815d3e0699703e515cb65c75d4589392ec8fc4"
"""Of the bytes of ``quat_wxyz``'s ``val`` rows: the cases' checks are right for these poses alone."""
HANDWRITTEN = Path(__file__).with_name("handwritten.jsonl")


def read_val_poses(path: Path) -> Array:
    """(N, 24, 3) axis-angle, radians: the ``val`` split of the pose file that the cases were written on.

    Raises:
        ValueError: it is another file.
    """
    other = ValueError(
        f"{path} is not the pose file that the handwritten cases were written on: leave --poses out to take those "
        "that start from constructed poses"
    )
    try:
        with np.load(path) as arrays:
            quaternions = np.ascontiguousarray(arrays["quat_wxyz"][arrays["split"] == "val"])
    except (KeyError, ValueError, zipfile.BadZipFile):
        raise other from None
    if hashlib.sha256(quaternions.tobytes()).hexdigest() != VAL_SHA256:
        raise other
    return matrix_to_axis_angle(quaternion_to_matrix(quaternions))


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


def main() -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Expand the handwritten cases into poses and checks.")
    parser.add_argument("out", type=Path, help="JSONL to write")
    parser.add_argument(
        "--poses", type=Path, help="poses.npz; without it, cases on recorded poses are left out"
    )
    args = parser.parse_args()
    return exit_status("training.evaluate.cases.build", lambda: _write(args.out, args.poses))


def _write(out: Path, poses: Path | None) -> None:
    cases = build(poses)
    out.write_text("".join(json.dumps(case, ensure_ascii=False) + "\n" for case in cases), encoding="utf-8")
    print(f"{len(cases)} cases in {out}")


if __name__ == "__main__":
    raise SystemExit(main())
