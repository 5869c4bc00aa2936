# SPDX-License-Identifier: Apache-2.0
"""``posellava eval --suite view``: sentences about the camera, judged as the camera sees what came of them.

Handwritten cases (``cases/view.jsonl``) are asked three times: with the render and the exact view that Blender sends
beside it, with the render alone, and with neither; without either nobody can know, and words are right but no success.
What is not about the camera is asked with and without one too, and must come out the same.

A case's ``heading`` is the body's as the camera sees it, ``pitch`` the camera's, both in degrees. Its checks are those
of ``instructions``, measured as the camera sees the body (x to the right of the picture, y up, z towards the camera),
with these besides, angles in degrees from the camera towards the right of the picture:

    facing MIDDLE OFF       where the pelvis faces, within OFF degrees; chest and gaze likewise
    gaze_off lo hi          by how much the head looks away from the camera
    gaze_up lo hi           by how much it looks up
    dir A B axis tol        also towards screen_left, screen_right, nearer, farther

Legend: J = 24 joints; poses (J, 3) axis-angle, radians.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from backend.body.camera import Camera
from backend.body.draw import Renderer
from backend.body.neutral import load_neutral_body
from backend.query import Answerer, Query
from blender_addon.contract.kinematics import forward_kinematics, yaw_matrix
from blender_addon.contract.limits import keeps_limits
from blender_addon.contract.messages import View
from blender_addon.contract.rotations import Array, axis_angle_to_matrix, matrix_to_axis_angle
from blender_addon.contract.skeleton import JOINT_INDEX, NUM_JOINTS
from training.data.looks import viewport_look

from .cases.starts import start_pose
from .instructions import Case, Check, Outcome, PosedBody, Rates, excess, stayed, summarise
from .metrics import joint_degrees

Pose = npt.NDArray[np.float32]

CASES: Final = Path(__file__).parent / "cases" / "view.jsonl"
KNOWN: Final = ("render and view", "render alone", "neither")
PICTURE_SIDE: Final = 256
SAME_DEGREES: Final = 1.0
"""What is not about the camera may change by no more."""
_DIRECTED: Final = {"facing": "pelvis", "chest": "spine3", "gaze": "head"}
_SCREEN: Final = {"screen_left": "right", "screen_right": "left", "nearer": "front", "farther": "back"}
"""Directions of the picture as those of a body that faces the camera."""


class SeenBody(PosedBody):
    """The neutral body as the camera sees it: in the frame in which it lies along +z."""

    def __init__(self, pose_aa: npt.ArrayLike) -> None:
        """``pose_aa``: (J, 3), its heading relative to the camera."""
        super().__init__(pose_aa)
        self._rotations, self._positions = forward_kinematics(self.local)

    def azimuth(self, joint: str) -> float:
        """Degrees from the camera towards the right of the picture of where a joint's +z points."""
        x, _, z = self._rotations[JOINT_INDEX[joint], :, 2]
        return float(np.degrees(np.arctan2(x, z)))

    def rise(self, joint: str) -> float:
        """Degrees by which a joint's +z points up."""
        return float(np.degrees(np.arcsin(np.clip(self._rotations[JOINT_INDEX[joint], 1, 2], -1, 1))))


def seen_excess(check: Check, before: SeenBody, after: SeenBody) -> float:
    """How far a check is from holding, as ``instructions.excess``.

    Raises:
        ValueError: an unknown form.
    """
    form = check[0]
    if form == "any":
        return min(seen_excess(one, before, after) for one in check[1:])
    if form in _DIRECTED:
        off = (after.azimuth(_DIRECTED[form]) - float(check[1]) + 180) % 360 - 180
        return max(0.0, abs(off) - float(check[2]))
    if form in ("gaze_off", "gaze_up"):
        value = abs(after.azimuth("head")) if form == "gaze_off" else after.rise("head")
        low, high = check[1:]
        return max(0.0, 0.0 if low is None else low - value, 0.0 if high is None else value - high)
    if form == "dir":
        check = [*check[:3], _SCREEN.get(check[3], check[3]), check[4]]
    return excess(check, before, after)


@dataclass(frozen=True)
class ViewCase:
    """A case: ``pose_aa`` (J, 3) in the world, in which the camera stands at ``azimuth`` radians."""

    case: Case
    pose_aa: Pose
    azimuth: float

    @property
    def seen_aa(self) -> Pose:
        """The pose as the camera sees it."""
        return _turned(self.pose_aa, -self.azimuth)

    @property
    def view(self) -> View:
        """Where the camera is, as the body sees it."""
        return View(-float(np.radians(self.case["heading"])), float(np.radians(self.case["pitch"])))

    def judge(self, pose_aa: Pose | None) -> Outcome:
        """What became of it; None where there were only words."""
        case, done, kept, possible = self.case, False, False, False
        if pose_aa is not None:
            before, after = SeenBody(self.seen_aa), SeenBody(_turned(pose_aa, -self.azimuth))
            done = all(seen_excess(check, before, after) == 0.0 for check in case["checks"])
            kept = stayed(case["keep"], before, after)
            possible = keeps_limits(before.local[None], after.local[None])
        return Outcome(case["id"], "adjust", case["kind"], case["instruction"], done, kept, possible)


def read_cases(path: Path = CASES, seed: int = 0) -> list[ViewCase]:
    """The handwritten cases, each somewhere in a world of its own."""
    rng = np.random.default_rng(seed)
    cases = []
    for line in path.read_text(encoding="utf-8").splitlines():
        case: dict[str, Any] = json.loads(line)
        seen = start_pose(case["start"], case["heading"], case["seed"]).astype(np.float32)
        azimuth = float(rng.uniform(-np.pi, np.pi))
        cases.append(ViewCase(case, _turned(seen, azimuth), azimuth))
    return cases


def _turned(pose_aa: Pose, yaw: float) -> Pose:
    turned = np.array(pose_aa, dtype=np.float64).reshape(NUM_JOINTS, 3)
    turned[0] = matrix_to_axis_angle(yaw_matrix(yaw) @ axis_angle_to_matrix(turned[0]))
    return turned.astype(np.float32)


@cache
def _renderer() -> Renderer:
    return Renderer((PICTURE_SIDE, PICTURE_SIDE), load_neutral_body("coarse"))


def render(rng: np.random.Generator, seen_aa: Pose, pitch: float) -> Image.Image:
    """The body as a viewport shows it, from ``pitch`` degrees above.

    Raises:
        DrawingUnavailableError: the machine has no OpenGL.
    """
    renderer = _renderer()
    vertices = renderer.body.pose(torch.from_numpy(seen_aa)[None])[0][0].numpy()
    camera = Camera(elevation=pitch, fov=35.0).framing(vertices, margin=1.15)
    return Image.fromarray(renderer.draw(vertices, camera, viewport_look(rng)))


@dataclass(frozen=True)
class ViewReport:
    """``outcomes`` for each of KNOWN, and of what is not about the camera ``degrees`` (N,), by how much the joint that
    differs most changed where the camera was known."""

    outcomes: Mapping[str, Sequence[Outcome]]
    degrees: Array

    def rates(self) -> dict[str, dict[str, Rates]]:
        """Shares of each kind, for each of KNOWN."""
        return {known: summarise(outcomes) for known, outcomes in self.outcomes.items()}


def measure_view(
    engine: Answerer,
    others: Sequence[Case],
    *,
    batch_size: int = 64,
    seed: int = 0,
    on_progress: Callable[[int, int], None] = lambda done, of: None,
) -> ViewReport:
    """Asks the cases in the three ways, and what is not about the camera (``others``, edits) with and without it.

    Raises:
        DrawingUnavailableError: the machine has no OpenGL.
    """
    rng = np.random.default_rng(seed)
    cases = read_cases(seed=seed)
    bare = [Query("adjust", one.case["instruction"], one.pose_aa) for one in cases]
    pictures = [render(rng, one.seen_aa, one.case["pitch"]) for one in cases]
    shown = [replace(query, image=picture) for query, picture in zip(bare, pictures, strict=True)]
    told = [replace(query, view=one.view) for query, one in zip(shown, cases, strict=True)]
    plain = [
        Query("adjust", one["instruction"], np.asarray(one["pose"], dtype=np.float32).reshape(-1, 3))
        for one in others
    ]
    seen = [
        replace(query, view=View(float(rng.uniform(-np.pi, np.pi)), 0.2), image=pictures[row % len(pictures)])
        for row, query in enumerate(plain)
    ]
    total = 3 * len(cases) + 2 * len(plain)
    answers: list[Pose | None] = []
    for queries in (told, shown, bare, seen, plain):
        for start in range(0, len(queries), batch_size):
            answers += [answer.pose_aa for answer in engine.answer(queries[start : start + batch_size])]
            on_progress(len(answers), total)
    outcomes = {
        known: [one.judge(answers[number * len(cases) + row]) for row, one in enumerate(cases)]
        for number, known in enumerate(KNOWN)
    }
    first = len(KNOWN) * len(cases)
    pairs = zip(answers[first : first + len(plain)], answers[first + len(plain) :], strict=True)
    return ViewReport(outcomes, np.array([_change(one, other) for one, other in pairs]))


def _change(first: Pose | None, second: Pose | None) -> float:
    if first is None or second is None:
        return 0.0 if first is second else 180.0
    return float(joint_degrees(first[None], second[None]).max())


def view_table(report: ViewReport) -> str:
    """The report as lines of text, in per cent."""
    rates = report.rates()
    kinds = list(rates[KNOWN[0]])
    lines = [f"{'':12s}{'cases':>6s}" + "".join(f"{known:>18s}" for known in KNOWN)]
    lines += [
        f"{kind:12s}{rates[KNOWN[0]][kind].cases:6d}"
        + "".join(f"{rates[k][kind].success:18.1%}" for k in KNOWN)
        for kind in kinds
        if kind != "adjust"
    ]
    changed = int((report.degrees > SAME_DEGREES).sum())
    worst = float(report.degrees.max(initial=0.0))
    lines.append(
        f"not about the camera: {changed} of {len(report.degrees)} answers change with it by more than "
        f"{SAME_DEGREES:.0f} degree, the most by {worst:.2f}"
    )
    return "\n".join(lines)


def view_json(report: ViewReport, about: Mapping[str, Any]) -> dict[str, Any]:
    """The report as JSON."""
    return {
        **about,
        "rates": {
            known: {kind: {"cases": one.cases, "success": one.success, "done": one.done, "kept": one.kept}
                    for kind, one in rates.items()}
            for known, rates in report.rates().items()
        },
        "outcomes": {
            known: {one.id: {"done": one.done, "kept": one.kept} for one in outcomes}
            for known, outcomes in report.outcomes.items()
        },
        "others": {"cases": len(report.degrees), "most_degrees": float(report.degrees.max(initial=0.0))},
    }  # fmt: skip
