# SPDX-License-Identifier: Apache-2.0
"""Training pictures show the pose that goes with them, as their camera sees it, and differ from one another."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from backend.body.camera import Camera
from backend.body.draw import Renderer
from backend.body.neutral import load_neutral_body
from backend.body.smplx_adapter import BodyFileError
from blender_addon.contract.kinematics import forward_kinematics, heading
from blender_addon.contract.rotations import axis_angle_to_matrix, geodesic_degrees
from blender_addon.contract.skeleton import JOINT_INDEX, NUM_JOINTS, PARENTS
from training.data import cli, crowd, images, looks
from training.data.build import run
from training.data.registry import Build
from training.data.samples import open_image
from training.data.shards import SampleSource


def arm_out() -> np.ndarray:
    """Facing the body's left, the left arm held out, the right one hanging."""
    pose_aa = np.zeros((24, 3), dtype=np.float32)
    pose_aa[0] = (0, np.pi / 2, 0)
    pose_aa[JOINT_INDEX["right_shoulder"]] = (0, 0, 1.4)
    return pose_aa


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_turning_changes_the_heading_alone() -> None:
    turned = axis_angle_to_matrix(images.turn_to(arm_out(), -0.7))
    assert heading(turned[0]) == pytest.approx(-0.7, abs=1e-6)
    before = axis_angle_to_matrix(arm_out())
    assert geodesic_degrees(turned[1:], before[1:]).max() < 1e-3


@pytest.mark.parametrize("viewport", [True, False])
def test_the_body_is_where_the_pose_says(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, viewport: bool
) -> None:
    """Pixels around the held-out wrist differ from a picture with that arm down; elsewhere they do not."""
    monkeypatch.setattr(images, "SIZES", ((128, 128),))
    monkeypatch.setattr(images, "draw_camera", lambda *_, **__: Camera(distance=5))
    out = images.turn_to(arm_out(), 0.0)
    down = out.copy()
    down[JOINT_INDEX["left_shoulder"]] = (0, 0, -1.4)
    seed = rng.integers(1 << 30)
    first, second = (
        images.draw_picture(np.random.default_rng(seed), pose, viewport=viewport)[0].astype(int)
        for pose in (out, down)
    )
    joints = forward_kinematics(axis_angle_to_matrix(out))[1] + [0, 0.962, 0]
    x, y = Camera(distance=5).project(joints, (128, 128))[JOINT_INDEX["left_wrist"]].astype(int)
    changed = np.abs(first - second).max(-1)
    assert x > 64 + 15
    assert changed[y - 1 : y + 2, x - 1 : x + 2].mean() > 15
    assert np.median(changed[:30]) < 12


@pytest.mark.slow
def test_a_picture_says_where_it_shows_the_joints(rng: np.random.Generator) -> None:
    """Around the wrist of an arm held out to the side there is the body's colour; beyond the hand there is not."""
    shown = []
    for _ in range(40):
        picture, joints = images.draw_picture(rng, images.turn_to(arm_out(), 0.0), viewport=True)
        assert joints.shape == (24, 2)
        height, width = picture.shape[:2]
        wrist, elbow = (joints[JOINT_INDEX[f"left_{part}"]] * [width, height] for part in ("wrist", "elbow"))
        places = np.array([elbow, wrist, wrist + 1.5 * (wrist - elbow)]).astype(int)
        if (places < 0).any() or (places >= [width, height]).any():
            continue
        at_elbow, at_wrist, beyond = (picture[y, x].astype(int) for x, y in places)
        shown.append(np.abs(at_wrist - at_elbow).max() < np.abs(at_wrist - beyond).max())
    assert len(shown) > 10
    assert np.mean(shown) > 0.85


@pytest.mark.slow
def test_samples_ask_for_the_pose_that_faces_as_drawn(rng: np.random.Generator) -> None:
    sampler = images.PictureSampler(lambda _: arm_out())
    samples = [sampler.draw(rng) for _ in range(30)]
    assert {sample.task for sample in samples} == {"estimate"}
    assert {sample.kind for sample in samples} == {"viewport", "photograph"}
    headings = [heading(axis_angle_to_matrix(sample.target_aa[0])) for sample in samples]  # type: ignore[index]
    assert np.std(headings) > 0.5
    pictures = [np.asarray(open_image(sample.image)) for sample in samples]  # type: ignore[arg-type]
    assert {picture.shape for picture in pictures} == {(h, w, 3) for w, h in images.SIZES}
    levels = [picture.mean() for picture in pictures]
    assert np.std(levels) > 15


def test_cameras_keep_nearly_all_of_the_body_in_the_picture(rng: np.random.Generator) -> None:
    joints = forward_kinematics(axis_angle_to_matrix(arm_out()))[1].astype(np.float32)
    inside = []
    for _ in range(200):
        camera = looks.draw_camera(rng, joints, viewport=bool(rng.integers(2)))
        assert camera.azimuth == 0
        pixels = camera.project(joints, (100, 100))
        inside.append(((pixels > 0) & (pixels < 100)).all(1).mean())
    assert np.mean(inside) > 0.93


def test_pictures_build_into_shards_and_come_back(tmp_path: Path) -> None:
    build = Build("pictures", tmp_path, count=6, shard_size=3)
    assert list(run(build))[-1] == 6
    source = SampleSource(tmp_path)
    samples = [source.read(shard, row) for shard in range(2) for row in range(3)]
    assert len({sample.id for sample in samples}) == 6
    for sample in samples:
        assert sample.target_aa is not None
        assert sample.image is not None
        assert np.asarray(open_image(sample.image)).std() > 3
        assert sample.image_joints is not None
        assert sample.image_joints.shape == (24, 2)


def body_file(path: Path, *, width: float = 1.0) -> Path:
    """The neutral body in SMPL's format, as many times as wide and as deep as it is."""
    body = load_neutral_body("coarse")
    stretched = body.vertices.numpy().astype(np.float64) * [width, 1, width]
    np.savez(
        path,
        v_template=stretched,
        shapedirs=np.zeros((*stretched.shape, 10)),
        posedirs=np.zeros((*stretched.shape, 9 * (NUM_JOINTS - 1))),
        J_regressor=body.joints.numpy()
        @ np.linalg.pinv(stretched),  # times the vertices, it gives the joints
        weights=body.weights.numpy(),
        kintree_table=np.array([PARENTS, range(NUM_JOINTS)]),
        f=body.faces.numpy(),
    )
    return path


def test_a_licensed_body_is_drawn_in_the_place_of_the_neutral_one(tmp_path: Path) -> None:
    same, wide = body_file(tmp_path / "same.npz"), body_file(tmp_path / "wide.npz", width=1.4)
    ours, theirs, wider = (
        images.PictureSampler(lambda _: arm_out(), file).draw(np.random.default_rng(0))
        for file in (None, same, wide)
    )
    pictures = [np.asarray(open_image(sample.image), dtype=int) for sample in (ours, theirs, wider)]  # type: ignore[arg-type]
    np.testing.assert_allclose(theirs.image_joints, ours.image_joints, atol=1e-4)  # type: ignore[arg-type]
    assert np.abs(pictures[1] - pictures[0]).mean() < 0.5
    assert np.abs(pictures[2] - pictures[0]).mean() > 2


@pytest.mark.slow
def test_every_worker_draws_the_licensed_body_and_the_index_names_it(tmp_path: Path) -> None:
    file = body_file(tmp_path / "SMPL_NEUTRAL.npz", width=1.4)

    def build(folder: str, *more: str) -> list[np.ndarray]:
        arguments = ["pictures", "--count", "2", "--shard-size", "1", "--output", str(tmp_path / folder)]
        assert cli.data(["build", *arguments, *more]) == 0
        source = SampleSource(tmp_path / folder)
        return [np.asarray(open_image(source.read(shard, 0).image)) for shard in range(2)]  # type: ignore[arg-type]

    one = build("one", "--body", str(file))
    two = build("two", "--body", str(file), "--workers", "2")
    neutral = build("neutral")
    for drawn, again, ours in zip(one, two, neutral, strict=True):
        np.testing.assert_array_equal(drawn, again)
        assert (drawn != ours).any()
    index = json.loads((tmp_path / "two" / "index.json").read_text())
    assert index["build"]["body"] == str(file)
    assert "body" not in json.loads((tmp_path / "neutral" / "index.json").read_text())["build"]
    with pytest.raises(ValueError, match="holds another build"):
        list(run(Build("pictures", tmp_path / "two", count=4, shard_size=1)))


def test_a_body_that_cannot_be_drawn_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "none.npz").write_bytes(b"nothing")
    with pytest.raises(BodyFileError, match="download it again"):
        list(run(Build("pictures", tmp_path / "out", count=1, body=tmp_path / "none.npz"), workers=2))
    with pytest.raises(ValueError, match="directives uses no --body"):
        list(run(Build("directives", tmp_path / "out", count=1, body=body_file(tmp_path / "body.npz"))))


@pytest.fixture
def crowd_alone(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Only one of the three things that a crowded photograph can have, in every picture."""

    def only(**shares: float) -> None:
        for name in ("BEHIND_SHARE", "BEFORE_SHARE", "CUT_SHARE"):
            monkeypatch.setattr(crowd, name, shares.get(name, 0.0))
        monkeypatch.setattr(crowd, "as_photograph", lambda _, picture: picture)

    return only


def crowded(seed: int) -> tuple[np.ndarray, np.ndarray]:
    return crowd.draw_in_a_crowd(
        np.random.default_rng(seed), images.turn_to(arm_out(), 0.0), lambda _: arm_out(),
        Renderer((128, 128), load_neutral_body("coarse")),
    )  # fmt: skip


def without_and_with(crowd_alone: Callable[..., None], seed: int, **shares: float) -> tuple[np.ndarray, ...]:
    """The picture and its places with nothing but the person, and the same with what the shares name."""
    crowd_alone()
    alone = crowded(seed)
    crowd_alone(**shares)
    return *alone, *crowded(seed)


def test_people_behind_are_seen_and_the_person_stays_where_it_is(crowd_alone: Callable[..., None]) -> None:
    for seed in range(6):
        alone, places, among, same_places = without_and_with(crowd_alone, seed, BEHIND_SHARE=1.0)
        np.testing.assert_array_equal(places, same_places)
        assert (np.abs(alone.astype(int) - among).max(-1) > 30).mean() > 0.005
        x, y = (places[JOINT_INDEX["spine2"]] * 128).astype(int)
        assert np.abs(alone[y, x].astype(int) - among[y, x]).max() < 12  # by light alone


def test_a_thing_before_the_person_hides_some_of_it_and_not_the_trunk(
    crowd_alone: Callable[..., None],
) -> None:
    for seed in range(8):
        alone, places, behind, same_places = without_and_with(crowd_alone, seed, BEFORE_SHARE=1.0)
        np.testing.assert_array_equal(places, same_places)
        changed = np.abs(alone.astype(int) - behind).max(-1) > 0
        assert changed.any()
        hidden = changed[tuple((places * 127.99).astype(int).clip(0, 127)[:, ::-1].T)]
        assert hidden.sum() <= crowd.MOST_HIDDEN
        assert not hidden[JOINT_INDEX["pelvis"]]


def test_an_edge_that_cuts_the_person_off_takes_the_places_along(crowd_alone: Callable[..., None]) -> None:
    for seed in range(8):
        whole, places, part, moved = without_and_with(crowd_alone, seed, CUT_SHARE=1.0)
        assert part.shape == whole.shape
        assert ((moved < 0) | (moved > 1)).any(axis=1).sum() <= crowd.MOST_HIDDEN
        assert ((moved[JOINT_INDEX["pelvis"]] >= 0) & (moved[JOINT_INDEX["pelvis"]] <= 1)).all()
        # Nearer by one factor, and what stood at a joint stands there still.
        spread = np.ptp(moved, axis=0) / np.ptp(places, axis=0)
        assert spread[0] == pytest.approx(spread[1], rel=1e-4)
        assert spread[0] > 1
        x, y = (places[JOINT_INDEX["spine2"]] * 128).astype(int)
        u, v = (moved[JOINT_INDEX["spine2"]] * 128).astype(int)
        assert np.abs(whole[y, x].astype(int) - part[v, u]).max() < 40


@pytest.mark.slow
def test_a_share_of_the_photographs_that_are_built_is_crowded(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    monkeypatch.setattr(images, "SIZES", ((64, 64),))
    monkeypatch.setattr(images, "VIEWPORT_SHARE", 0.0)
    monkeypatch.setattr(
        images, "draw_in_a_crowd", lambda *given: drawn.append(given) or crowd.draw_in_a_crowd(*given)
    )
    sampler = images.PictureSampler(lambda _: arm_out(), crowded=0.4)
    rng = np.random.default_rng(0)
    for _ in range(60):
        assert sampler.draw(rng).image_joints.shape == (24, 2)
    assert 12 <= len(drawn) <= 36
