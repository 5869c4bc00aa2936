# SPDX-License-Identifier: Apache-2.0
"""Body files in the SMPL formats, made by hand around the project's own skeleton: two vertices a joint."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.sparse import csc_matrix

from backend.body.camera import Camera
from backend.body.draw import Look, Renderer
from backend.body.smplx_adapter import BodyFileError, load_licensed_body
from blender_addon.contract import kinematics
from blender_addon.contract.rotations import axis_angle_to_matrix
from blender_addon.contract.skeleton import PARENTS, REST_OFFSETS

# Joints after the 22 of the body: for each model, the parents of the rest. Wrists are 20 and 21, the head 15.
FINGERS = [
    parent
    for wrist, first in ((20, 22), (21, 37))
    for f in range(5)
    for parent in (wrist, first + 3 * f, first + 3 * f + 1)
]
EXTRA = {
    24: [20, 21],
    52: FINGERS,
    55: [15, 15, 15, *[parent if parent in (20, 21) else parent + 3 for parent in FINGERS]],
}  # fmt: skip


def body_data(count: int = 24) -> dict[str, Any]:
    """A model whose joint k lies between vertices 2k and 2k + 1, which it alone moves."""
    rng = np.random.default_rng(0)
    parents = [*PARENTS[:22], *EXTRA[count]]
    joints = np.zeros((count, 3))
    for joint in range(1, count):
        offset = REST_OFFSETS[joint] if joint < 22 else np.array([0.08, 0.0, 0.0])
        joints[joint] = joints[parents[joint]] + offset
    spread = rng.normal(size=(count, 3)) * 0.03
    vertices = np.stack([joints - spread, joints + spread], axis=1).reshape(-1, 3)
    owner = np.repeat(np.eye(count), 2, axis=0)
    return {
        "v_template": vertices,
        "shapedirs": np.ones((2 * count, 3, 10)) * 0.01,
        "posedirs": np.zeros((2 * count, 3, 9 * (count - 1))),
        "J_regressor": csc_matrix(owner.T / 2),
        "weights": owner,
        "kintree_table": np.array([[2**32 - 1, *parents[1:]], range(count)], dtype=np.uint32),
        "f": np.array([[0, 1, 2], [2, 3, 4]], dtype=np.uint32),
        "bs_type": "lrotmin",
    }


def save(path: Path, data: dict[str, Any], protocol: int = 2) -> Path:
    path.write_bytes(pickle.dumps(data, protocol=protocol))
    return path


def expected_joints(pose_aa: np.ndarray) -> np.ndarray:
    return kinematics.forward_kinematics(axis_angle_to_matrix(pose_aa))[1]


@pytest.fixture
def pose_aa() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(3, 24, 3)) * 0.5


@pytest.mark.parametrize("count", [24, 52, 55])
@pytest.mark.parametrize("kind", ["pkl", "npz"])
def test_joints_follow_forward_kinematics(tmp_path: Path, pose_aa: np.ndarray, count: int, kind: str) -> None:
    data = body_data(count)
    if kind == "pkl":
        path = save(tmp_path / "body.pkl", data)
    else:
        path = tmp_path / "body.npz"
        data["J_regressor"] = data["J_regressor"].toarray()
        np.savez(path, **data, part2num=np.array({"arm": 1}, dtype=object))
    body = load_licensed_body(path)
    vertices, joints = body.pose(torch.from_numpy(pose_aa).float())
    assert body.name == {24: "SMPL", 52: "SMPL-H", 55: "SMPL-X"}[count]
    np.testing.assert_allclose(joints[:, :22].numpy(), expected_joints(pose_aa)[:, :22], atol=1e-5)
    middle = (vertices[:, 0::2] + vertices[:, 1::2]) / 2
    np.testing.assert_allclose(middle[:, :22].numpy(), joints[:, :22].numpy(), atol=1e-5)
    assert joints.shape == (3, 24, 3)


def test_hands_of_finger_models_hang_on_their_wrists(tmp_path: Path, pose_aa: np.ndarray) -> None:
    for count in (52, 55):
        body = load_licensed_body(save(tmp_path / "body.pkl", body_data(count)))
        _, joints = body.pose(torch.from_numpy(pose_aa).float())
        length = (joints[:, 22:] - joints[:, 20:22]).norm(dim=-1)
        np.testing.assert_allclose(length.numpy(), 0.08, atol=1e-5)


def test_weights_are_folded_into_24_joints(tmp_path: Path) -> None:
    for count in (24, 52, 55):
        body = load_licensed_body(save(tmp_path / "body.pkl", body_data(count)))
        assert body.weights.shape == (2 * count, 24)
        np.testing.assert_allclose(body.weights.sum(1).numpy(), 1)
    assert body.weights[:, 15].sum() == 2 * 4  # head, jaw and both eyes of SMPL-X, two vertices each


def test_shape_moves_the_body_and_too_many_numbers_are_refused(tmp_path: Path) -> None:
    body = load_licensed_body(save(tmp_path / "body.pkl", body_data()))
    rest = torch.zeros(1, 24, 3)
    moved, _ = body.pose(rest, torch.tensor([[1.0, 2.0]]))
    np.testing.assert_allclose((moved - body.pose(rest)[0]).numpy(), 0.03, atol=1e-6)
    with pytest.raises(ValueError, match="11 shape numbers were given; this SMPL file has 10"):
        body.pose(rest, torch.zeros(1, 11))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_pickle_protocol_of_arrays_opens(tmp_path: Path, protocol: int) -> None:
    data = {**body_data(), "J_regressor": body_data()["J_regressor"].toarray()}
    assert load_licensed_body(save(tmp_path / "body.pkl", data, protocol)).name == "SMPL"


class Runs:
    """Runs a command when unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


def test_a_pickle_that_would_run_a_command_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    path = save(tmp_path / "body.pkl", {**body_data(), "f": Runs(f"touch {mark}")})
    with pytest.raises(BodyFileError, match=r"was not opened: it asks for posix.system"):
        load_licensed_body(path)
    assert not mark.exists()


def test_an_npz_with_a_pickle_inside_is_refused(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    data = {**body_data(), "J_regressor": np.array(Runs(f"touch {mark}"), dtype=object)}
    np.savez(tmp_path / "body.npz", **data)
    with pytest.raises(BodyFileError, match="no readable npz of arrays"):
        load_licensed_body(tmp_path / "body.npz")
    assert not mark.exists()


def test_chumpy_objects_are_named_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "body.pkl"
    path.write_bytes(b"cchumpy.ch\nCh\n)\x81.")
    with pytest.raises(BodyFileError, match=r"version 1\.1\.0"):
        load_licensed_body(path)


def test_a_body_is_drawn_though_its_last_vertices_are_in_no_triangle(tmp_path: Path) -> None:
    body = load_licensed_body(save(tmp_path / "body.pkl", body_data()))
    vertices = body.pose(torch.zeros(1, 24, 3))[0][0].numpy()
    bare = Look(background=np.zeros((1, 1, 3), dtype=np.float32), grid=0.0, shadow=0.0)
    camera = Camera().framing(vertices[:5])
    assert Renderer((64, 64), body).draw(vertices, camera, bare).max() > 50


def test_other_files_get_one_clear_sentence(tmp_path: Path) -> None:
    broken = tmp_path / "broken.pkl"
    broken.write_bytes(b"no pickle at all")
    with pytest.raises(BodyFileError, match="no readable pickle"):
        load_licensed_body(broken)
    with pytest.raises(BodyFileError, match="holds a list"):
        load_licensed_body(save(tmp_path / "list.pkl", [1, 2]))  # type: ignore[arg-type]
    data = body_data()
    del data["weights"]
    with pytest.raises(BodyFileError, match="it lacks weights"):
        load_licensed_body(save(tmp_path / "part.pkl", data))
    with pytest.raises(BodyFileError, match="it has 20 joints"):
        load_licensed_body(save(tmp_path / "twenty.pkl", {**body_data(), "weights": np.ones((40, 20))}))
    with pytest.raises(BodyFileError, match="numbers were expected"):
        load_licensed_body(save(tmp_path / "text.pkl", {**body_data(), "f": np.array(["a"])}))
    circle = body_data()["kintree_table"].copy()
    circle[0, 4], circle[0, 7] = 7, 4  # was looked through for ever
    with pytest.raises(BodyFileError, match="does not come after its parent"):
        load_licensed_body(save(tmp_path / "circle.pkl", {**body_data(), "kintree_table": circle}))
    with pytest.raises(BodyFileError, match=r"its tree has the shape \(1, 24\)"):
        load_licensed_body(save(tmp_path / "tree.pkl", {**body_data(), "kintree_table": circle[:1]}))
    with pytest.raises(BodyFileError, match="not finite"):
        load_licensed_body(save(tmp_path / "nan.pkl", {**body_data(), "weights": np.full((48, 24), np.nan)}))
    for faces in (np.array([[0, 1, 48]]), np.array([[0, 1, -1]]), np.array([[0, 1]])):
        with pytest.raises(BodyFileError, match="its triangles are not those of 48 vertices"):
            load_licensed_body(save(tmp_path / "faces.pkl", {**body_data(), "f": faces}))
    with pytest.raises(FileNotFoundError):
        load_licensed_body(tmp_path / "none.pkl")
