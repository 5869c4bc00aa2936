# SPDX-License-Identifier: Apache-2.0
"""Geometric scoring of edited poses: did the edit do what the words say, and leave the rest alone?

A case carries ``checks`` (lists such as ``["dflex", "L_elbow", 20, null]``) and ``keep`` (body parts that must
not turn). It succeeds when every check holds and every kept part stayed within KEEP_DEGREES. Checks are measured
on the neutral skeleton in the body's own upright frame: heading taken out, +x its left, +y up, +z where it faces.

    python -m training.evaluate.instructions CASES.jsonl RESULTS.jsonl [--json REPORT.json] [--failures]

The forms of a check, J, A, B being joints and null an open end of a range:

    flex J lo hi            bend of an elbow or knee, degrees; 0 is straight
    dir A B axis tol        A->B points left, right, up, down, front or back, within tol degrees
    rel A B comp lo hi      component x, y or z of A - B, metres
    dist A B lo hi          distance of two joints, metres
    angle NAME lo hi        head_yaw, head_pitch, head_roll, twist, bend or lean, degrees
    dflex, ddist, dangle    the change of flex, dist or angle
    move J comp lo hi       change of J's component relative to the pelvis, metres
    turned lo hi            change of the heading, degrees, positive to the left
    pelvis lo hi            change of the pelvis's height above the lowest joint, metres
    any CHECK CHECK ...     at least one of them
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from blender_addon.contract.kinematics import forward_kinematics, heading, yaw_matrix
from blender_addon.contract.limits import keeps_limits
from blender_addon.contract.rotations import Array, axis_angle_to_matrix, geodesic_degrees
from blender_addon.contract.skeleton import JOINT_INDEX, NUM_JOINTS

Case = Mapping[str, Any]
Check = Sequence[Any]

KEEP_DEGREES: Final = 8.0
"""How far a joint of a kept part may turn."""

_ARM, _LEG = ("collar", "shoulder", "elbow", "wrist"), ("hip", "knee", "ankle")
KEPT_JOINTS: Final[dict[str, tuple[int, ...]]] = {
    **{f"{side}_arm": tuple(JOINT_INDEX[f"{side}_{name}"] for name in _ARM) for side in ("left", "right")},
    **{f"{side}_leg": tuple(JOINT_INDEX[f"{side}_{name}"] for name in _LEG) for side in ("left", "right")},
    "trunk": tuple(JOINT_INDEX[name] for name in ("spine1", "spine2", "spine3")),
    "head": tuple(JOINT_INDEX[name] for name in ("neck", "head")),
}
"""The joints that ``keep`` watches. Hands and toes are left out: nobody minds when they follow."""

_AXES: Final = {
    "left": (1.0, 0.0, 0.0),
    "right": (-1.0, 0.0, 0.0),
    "up": (0.0, 1.0, 0.0),
    "down": (0.0, -1.0, 0.0),
    "front": (0.0, 0.0, 1.0),
    "back": (0.0, 0.0, -1.0),
}
_COMPONENTS: Final = {"x": 0, "y": 1, "z": 2}
_BENDS: Final = {"elbow": ("shoulder", "wrist"), "knee": ("hip", "ankle")}


def _joint(short: str) -> int:
    """Index of a joint written as in the case files: L_elbow for left_elbow."""
    return JOINT_INDEX[short.replace("L_", "left_").replace("R_", "right_")]


def _degrees_between(u: Array, v: Array) -> float:
    return float(np.degrees(np.arctan2(np.linalg.norm(np.cross(u, v)), u @ v)))


def _wrap(degrees: float) -> float:
    return (degrees + 180.0) % 360.0 - 180.0


class PosedBody:
    """The neutral body in one pose, in its own upright frame.

    Attributes:
        local: (J, 3, 3) local rotations.
        facing: degrees of the heading about +y.
    """

    def __init__(self, pose_aa: npt.ArrayLike) -> None:
        """``pose_aa``: (24, 3) axis-angle, radians."""
        self.local = axis_angle_to_matrix(np.asarray(pose_aa, dtype=np.float64).reshape(NUM_JOINTS, 3))
        rotations, positions = forward_kinematics(self.local)
        self.facing = float(np.degrees(np.arctan2(rotations[0, 0, 2], rotations[0, 2, 2])))
        upright = yaw_matrix(-heading(rotations[0]))
        self._rotations = upright @ rotations
        self._positions = positions @ upright.T

    def at(self, joint: str) -> Array:
        """(3,) position relative to the pelvis; ``mid_hands`` and ``ground`` are points too."""
        if joint == "mid_hands":
            return (self.at("L_hand") + self.at("R_hand")) / 2
        if joint == "ground":
            return np.array([0.0, self._positions[:, 1].min(), 0.0])
        position: Array = self._positions[_joint(joint)]
        return position

    def pelvis_height(self) -> float:
        """Metres from the lowest joint up to the pelvis."""
        return -float(self._positions[:, 1].min())

    def flex(self, joint: str) -> float:
        """Bend of an elbow or knee in degrees; 0 is straight."""
        side, hinge = joint.split("_")
        above, below = _BENDS[hinge]
        middle = self.at(joint)
        return _degrees_between(middle - self.at(f"{side}_{above}"), self.at(f"{side}_{below}") - middle)

    def angle(self, name: str) -> float:
        """Degrees of the head relative to the chest, or of the chest relative to the pelvis.

        head_yaw and twist are positive to the left, head_pitch and bend forward, head_roll and lean to the left.
        """
        parent, child = ("spine3", "head") if name.startswith("head_") else ("pelvis", "spine3")
        relative = self._rotations[_joint(parent)].T @ self._rotations[_joint(child)]
        up, front = relative[:, 1], relative[:, 2]
        match name:
            case "head_yaw" | "twist":
                radians = np.arctan2(front[0], front[2])
            case "head_pitch":
                radians = np.arctan2(-front[1], np.hypot(front[0], front[2]))
            case "bend":
                radians = np.arctan2(up[2], up[1])
            case "head_roll" | "lean":
                radians = np.arctan2(up[0], up[1])
            case _:
                raise ValueError(f"unknown angle {name!r} in a check")
        return float(np.degrees(radians))

    def distance(self, a: str, b: str) -> float:
        """Metres between two joints."""
        return float(np.linalg.norm(self.at(a) - self.at(b)))


def _measure(check: Check, before: PosedBody | None, after: PosedBody) -> float:
    """The number that a check bounds; ``before`` is needed by the forms that speak of a change."""
    form, *names = check
    match form:
        case "flex":
            return after.flex(names[0])
        case "dist":
            return after.distance(names[0], names[1])
        case "angle":
            return after.angle(names[0])
        case "dir":
            return _degrees_between(after.at(names[1]) - after.at(names[0]), np.array(_AXES[names[2]]))
        case "rel":
            return float((after.at(names[0]) - after.at(names[1]))[_COMPONENTS[names[2]]])
    if before is None:
        raise ValueError(f"the check {list(check)} speaks of a change, so its case needs a start pose")
    match form:
        case "dflex":
            return after.flex(names[0]) - before.flex(names[0])
        case "ddist":
            return after.distance(names[0], names[1]) - before.distance(names[0], names[1])
        case "dangle":
            return _wrap(after.angle(names[0]) - before.angle(names[0]))
        case "move":
            return float((after.at(names[0]) - before.at(names[0]))[_COMPONENTS[names[1]]])
        case "turned":
            return _wrap(after.facing - before.facing)
        case "pelvis":
            return after.pelvis_height() - before.pelvis_height()
    raise ValueError(f"unknown check {list(check)}")


def excess(check: Check, before: PosedBody | None, after: PosedBody) -> float:
    """How far a check is from holding, in its own unit (degrees or metres); 0 when it holds."""
    if check[0] == "any":
        return min(excess(one, before, after) for one in check[1:])
    value = _measure(check, before, after)
    low, high = (None, check[-1]) if check[0] == "dir" else check[-2:]
    return max(0.0, 0.0 if low is None else low - value, 0.0 if high is None else value - high)


def holds(check: Check, before: PosedBody | None, after: PosedBody) -> bool:
    """Whether one check holds. Raises ValueError for an unknown form."""
    return excess(check, before, after) == 0.0


def stayed(keep: Iterable[str], before: PosedBody, after: PosedBody) -> bool:
    """Whether no joint of the kept parts turned by more than KEEP_DEGREES."""
    joints = [joint for part in keep for joint in KEPT_JOINTS[part]]
    return bool((geodesic_degrees(before.local[joints], after.local[joints]) <= KEEP_DEGREES).all())


@dataclass(frozen=True)
class Outcome:
    """What became of one case: ``done`` (all checks hold), ``kept`` (the rest stayed), ``possible`` (no joint goes
    beyond its limit, or further beyond it than at the start)."""

    id: str
    task: str
    kind: str
    instruction: str
    done: bool
    kept: bool
    possible: bool

    @property
    def success(self) -> bool:
        return self.done and self.kept


def judge(case: Case, pose_aa: npt.ArrayLike | None) -> Outcome:
    """Score one case; ``pose_aa`` (24, 3) is the editor's answer, None when there was none."""
    done = kept = possible = False
    answer = None if pose_aa is None else np.asarray(pose_aa, dtype=np.float64)
    if answer is not None and answer.size == NUM_JOINTS * 3 and np.isfinite(answer).all():
        before, after = PosedBody(case["pose"]) if "pose" in case else None, PosedBody(answer)
        done = all(holds(check, before, after) for check in case["checks"])
        kept = before is None or stayed(case.get("keep", ()), before, after)
        start = np.tile(np.eye(3), (NUM_JOINTS, 1, 1)) if before is None else before.local
        possible = keeps_limits(start[None], after.local[None])
    return Outcome(case["id"], case["task"], case["kind"], case["instruction"], done, kept, possible)


def outcome_of(case: Case, line: Mapping[str, Any] | None) -> Outcome:
    """Score one case by the line that ``posellava batch`` wrote of it. An answer in words alone moves nothing, so the
    pose is the start; a missing line, and one with an error, fail."""
    if line is None or "error" in line:
        return judge(case, None)
    return judge(case, line.get("pose") or (case.get("pose") if line.get("text") else None))


@dataclass(frozen=True)
class Rates:
    """Shares of a group of cases, 0 to 1."""

    cases: int
    success: float
    done: float
    kept: float
    possible: float


def summarise(outcomes: Sequence[Outcome]) -> dict[str, Rates]:
    """Rates over all cases ("all"), per task and per kind, in the order of first appearance."""
    groups: dict[str, list[Outcome]] = {"all": list(outcomes)}
    for outcome in outcomes:
        for name in dict.fromkeys((outcome.task, outcome.kind)):
            groups.setdefault(name, []).append(outcome)
    return {
        name: Rates(
            len(group),
            *(
                sum(getattr(o, rate) for o in group) / len(group)
                for rate in ("success", "done", "kept", "possible")
            ),
        )
        for name, group in groups.items()
        if group
    }


def table(rates: Mapping[str, Rates]) -> str:
    """The rates as lines of text, in per cent."""
    lines = [f"{'':16s}{'cases':>6s}{'success':>9s}{'done':>8s}{'kept':>8s}{'possible':>10s}"]
    lines += [
        f"{n:16s}{r.cases:6d}{r.success:9.1%}{r.done:8.1%}{r.kept:8.1%}{r.possible:10.1%}"
        for n, r in rates.items()
    ]
    return "\n".join(lines)


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSONL file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def main() -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Score edited poses by what the instructions say.")
    parser.add_argument("cases", type=Path, help="JSONL: id, task, kind, instruction, pose, checks, keep")
    parser.add_argument(
        "results", type=Path, help="JSONL: id, pose or text; a missing id counts as a failure"
    )
    parser.add_argument("--json", type=Path, help="write rates and outcomes here")
    parser.add_argument("--failures", action="store_true", help="print each failed case")
    args = parser.parse_args()
    try:
        lines = {line["id"]: line for line in read_jsonl(args.results)}
        outcomes = [outcome_of(case, lines.get(case["id"])) for case in read_jsonl(args.cases)]
    except (KeyError, ValueError, OSError) as error:
        print(f"training.evaluate.instructions: no cases and results ({error!r})", file=sys.stderr)
        return 1
    if args.failures:
        for o in outcomes:
            if not o.success:
                print(f"{o.id:18s}{'moved too much' if o.done else 'not done':16s}{o.instruction}")
    rates = summarise(outcomes)
    print(table(rates))
    if args.json:
        report = {
            "rates": {name: asdict(r) for name, r in rates.items()},
            "outcomes": [{**asdict(o), "success": o.success} for o in outcomes],
        }
        args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
