# SPDX-License-Identifier: Apache-2.0
"""``posellava eval --suite pictures``: what is said of pictures that no pose can be read off, and of whole figures.

Pictures of nobody (plain, noise, gradients, backdrops, empty viewports, things), of two people side by side and of half
a body are drawn as training draws whole figures; photographs without a whole person that installed packages bring stand
beside them. A pose for one of them without a word is a fault; so are words for a whole figure. Two people are asked for
once more by "the person on the left", and the right one's pose has to come.

Legend: J = 24 joints; poses (J, 3) axis-angle, radians; pictures (H, W, 3) uint8.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw

from backend.body.draw import Look, Renderer
from backend.body.neutral import load_neutral_body
from backend.engines.people import DOUBTFUL
from backend.query import Answerer, Query
from blender_addon.contract.kinematics import forward_kinematics
from blender_addon.contract.rotations import axis_angle_to_matrix
from blender_addon.contract.skeleton import JOINT_INDEX
from training.data.images import SIZES, VIEWPORT_SHARE, draw_heading, draw_picture, turn_to
from training.data.looks import draw_backdrop, draw_camera, photograph_look, viewport_look

Pose = npt.NDArray[np.float32]
DrawPose = Callable[[np.random.Generator], Pose]

PHOTOGRAPHS: Final = (
    ("sklearn", "datasets/images/china.jpg"),
    ("sklearn", "datasets/images/flower.jpg"),
    ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
    ("matplotlib", "mpl-data/sample_data/logo2.png"),
    ("skimage", "data/astronaut.png"),
    ("skimage", "data/chelsea.png"),
    ("skimage", "data/coffee.png"),
    ("skimage", "data/rocket.jpg"),
)
"""Nobody, or half of a person, in packages that may be installed."""
WHOLE: Final = "whole"
LEFT: Final = "the pose of the person on the left"
ZOOM: Final = 0.55
"""The camera's distance to half a body, beside that to a whole one."""
CUT_OFF: Final = 4
"""Of six joints at one end of the body, how many lie outside the picture at least."""
_ENDS: Final = {
    "upper": ("left_knee", "right_knee", "left_ankle", "right_ankle", "left_foot", "right_foot"),
    "lower": ("neck", "head", "left_shoulder", "right_shoulder", "left_elbow", "right_elbow"),
}


@dataclass(frozen=True)
class Case:
    """A picture, what it shows, and the poses of the whole figures in it, from left to right."""

    kind: str
    picture: Image.Image
    poses: tuple[Pose, ...] = ()


@dataclass(frozen=True)
class Told:
    """Of pictures of a kind: how many there are, and to how many a pose came without a word of its being none."""

    pictures: int
    keyed: int


@dataclass(frozen=True)
class HonestyReport:
    """``told`` of each kind; of the two, how often the one on the left was given when asked for, of how many."""

    told: Mapping[str, Told]
    named: Told


def draw_cases(rng: np.random.Generator, draw_pose: DrawPose, count: int) -> list[Case]:
    """``count`` pictures of each kind: whole, nobody, two, half; and the photographs that are installed.

    Raises:
        DrawingUnavailableError: the machine has no OpenGL.
    """
    cases = []
    for number in range(count):
        pose = turn_to(draw_pose(rng), draw_heading(rng))
        whole = draw_picture(rng, pose, viewport=rng.random() < VIEWPORT_SHARE)[0]
        cases += [
            Case(WHOLE, Image.fromarray(whole), (pose,)),
            Case("nobody", _nobody(rng)),
            _two(rng, draw_pose),
            Case("half", _half(rng, draw_pose, ("upper", "lower")[number % 2])),
        ]
    return cases + [Case("photographs", picture) for picture in _photographs()]


def measure_honesty(engine: Answerer, cases: Sequence[Case]) -> HonestyReport:
    """Asks for the pose in each picture."""
    told: dict[str, Told] = {}
    named = Told(0, 0)
    for case in cases:
        [answer] = engine.answer([Query("estimate", "", image=case.picture)])
        before = told.get(case.kind, Told(0, 0))
        is_silent = case.kind == WHOLE or DOUBTFUL not in answer.text
        is_keyed = answer.pose_aa is not None and is_silent
        told[case.kind] = Told(before.pictures + 1, before.keyed + is_keyed)
        if len(case.poses) > 1:
            [answer] = engine.answer([Query("estimate", LEFT, image=case.picture)])
            right_one = answer.pose_aa is not None and _nearest(answer.pose_aa, case.poses) == 0
            named = Told(named.pictures + 1, named.keyed + right_one)
    return HonestyReport(told, named)


def honesty_table(report: HonestyReport) -> str:
    """The report as lines of text."""
    lines = [f"{'shown':14s}{'pictures':>9s}{'a pose':>8s}{'words':>8s}"]
    for kind, told in report.told.items():
        lines.append(f"{kind:14s}{told.pictures:9d}{told.keyed:8d}{told.pictures - told.keyed:8d}")
    others = [told for kind, told in report.told.items() if kind != WHOLE]
    share = sum(told.keyed for told in others) / max(1, sum(told.pictures for told in others))
    lines.append(f"without one whole person: {share:.1%} answered with a pose and not a word")
    if report.named.pictures:
        lines.append(
            f"the person on the left of two, asked for: {report.named.keyed} of {report.named.pictures}"
        )
    return "\n".join(lines)


def honesty_json(report: HonestyReport, about: Mapping[str, Any]) -> dict[str, Any]:
    """The report as JSON."""
    told = {kind: {"pictures": one.pictures, "poses": one.keyed} for kind, one in report.told.items()}
    named = {"pictures": report.named.pictures, "right": report.named.keyed}
    return {**about, "told": told, "named": named}


def _nearest(pose_aa: Pose, poses: Sequence[Pose]) -> int:
    """Which of poses a pose is nearest to, by the places of its joints."""
    places = [
        forward_kinematics(axis_angle_to_matrix(one.astype(np.float64)))[1] for one in (pose_aa, *poses)
    ]
    return int(np.argmin([np.linalg.norm(places[0] - one, axis=-1).mean() for one in places[1:]]))


def _nobody(rng: np.random.Generator) -> Image.Image:
    width, height = SIZES[rng.integers(len(SIZES))]
    kind = rng.integers(6)
    if kind == 0:
        return Image.new("RGB", (width, height), _colour(rng))
    if kind == 1:
        return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
    if kind == 2:  # an empty viewport or room: the body stands far outside
        look = viewport_look(rng) if rng.random() < 0.5 else photograph_look(rng)
        renderer = Renderer((width, height), load_neutral_body("coarse"))
        vertices = renderer.body.pose(torch.zeros(1, 24, 3))[0][0].numpy()
        camera = draw_camera(rng, vertices, viewport=True)
        far: npt.NDArray[np.float32] = np.array(vertices, dtype=np.float32)
        far[:, 0] += 200.0
        return Image.fromarray(renderer.draw(far, camera, look))
    blotches = (255 * draw_backdrop(rng)).astype(np.uint8)
    picture = Image.fromarray(blotches).resize((width, height), Image.Resampling.BICUBIC)
    if kind > 3:
        _put_things(rng, picture)
    return picture


def _put_things(rng: np.random.Generator, picture: Image.Image) -> None:
    draw, (width, height) = ImageDraw.Draw(picture), picture.size
    for _ in range(int(rng.integers(1, 9))):
        x, y = float(rng.uniform(0, width)), float(rng.uniform(0, height))
        across, down = map(float, rng.uniform(5, width / 2, 2))
        shape = rng.integers(3)
        if shape == 0:
            draw.rectangle([x, y, x + across, y + down], fill=_colour(rng))
        elif shape == 1:
            draw.ellipse([x, y, x + across, y + down], fill=_colour(rng))
        else:
            end = (x + 2 * across - width / 2, y + 2 * down - height / 2)
            draw.line([(x, y), end], fill=_colour(rng), width=int(rng.integers(1, 20)))


def _colour(rng: np.random.Generator) -> tuple[int, int, int]:
    red, green, blue = map(int, rng.integers(0, 256, 3))
    return red, green, blue


def _two(rng: np.random.Generator, draw_pose: DrawPose) -> Case:
    look = replace(viewport_look(rng), grid=0.0)
    poses = tuple(turn_to(draw_pose(rng), draw_heading(rng)) for _ in range(2))
    halves = [_drawn(rng, pose, (160, 240), look, nearer=1.1)[0] for pose in poses]
    return Case("two", Image.fromarray(np.concatenate(halves, axis=1)), poses)


def _half(rng: np.random.Generator, draw_pose: DrawPose, part: str) -> Image.Image:
    ends = [JOINT_INDEX[name] for name in _ENDS[part]]
    while True:
        pose = turn_to(draw_pose(rng), draw_heading(rng))
        look = viewport_look(rng) if rng.random() < VIEWPORT_SHARE else photograph_look(rng)
        picture, places = _drawn(rng, pose, (256, 256), look, nearer=ZOOM, part=part)
        outside = ((places < 0) | (places > 1)).any(axis=1)
        if outside[ends].sum() >= CUT_OFF:
            return Image.fromarray(picture)


def _drawn(
    rng: np.random.Generator,
    pose: Pose,
    size: tuple[int, int],
    look: Look,
    *,
    nearer: float,
    part: str | None = None,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """A picture of a pose, or of its upper or lower part, and where its joints are, as shares of the picture."""
    renderer = Renderer(size, load_neutral_body("coarse"))
    vertices, joints = (places[0].numpy() for places in renderer.body.pose(torch.from_numpy(pose)[None]))
    camera = draw_camera(rng, vertices, viewport=True)
    camera = replace(camera, distance=nearer * camera.distance)
    if part is not None:
        least, most = float(vertices[:, 1].min()), float(vertices[:, 1].max())
        height = (3 * most + least) / 4 if part == "upper" else (most + 3 * least) / 4
        camera = replace(
            camera, target=(camera.target[0], height, camera.target[2]), elevation=min(camera.elevation, 15.0)
        )
    return renderer.draw(vertices, camera, look), camera.project(joints, size) / np.array(
        size, dtype=np.float32
    )


def _photographs() -> list[Image.Image]:
    found = []
    for package, name in PHOTOGRAPHS:
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
            if (Path(folder) / name).is_file():
                found.append(Image.open(Path(folder) / name).convert("RGB"))
    return found
