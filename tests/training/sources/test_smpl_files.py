# SPDX-License-Identifier: Apache-2.0
"""Files with SMPL rotations, each written here as its format has it, and read back."""

from __future__ import annotations

import json
import logging
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from blender_addon.contract.skeleton import JOINT_INDEX
from training.data.sources.clip import PoseFileError, label_of
from training.data.sources.reading import read_clips, read_poses

FRAMES = 40


def standing_body(frames: int = FRAMES, seed: int = 3) -> np.ndarray:
    """(frames, 24, 3) of people who stand upright, y up, and face anywhere; their hands are at rest."""
    rng = np.random.default_rng(seed)
    body = rng.normal(0, 0.4, (frames, 24, 3))
    body[:, 22:] = 0
    facing = Rotation.from_euler("y", rng.uniform(-180, 180, (frames, 1)), degrees=True)
    lean = Rotation.from_euler("xz", rng.uniform(-15, 15, (frames, 2)), degrees=True)
    body[:, 0] = (facing * lean).as_rotvec()
    return body


def seen_in(frame: str, pose: np.ndarray) -> np.ndarray:
    """The poses as a file in another frame of the world has them: the opposite of what a reader does."""
    turn = {"y_up": 0.0, "z_up": 90.0, "camera": 180.0}[frame]
    result = pose.copy()
    result[:, 0] = (
        Rotation.from_euler("x", turn, degrees=True) * Rotation.from_rotvec(pose[:, 0])
    ).as_rotvec()
    return result


def same_pose(one: np.ndarray, other: np.ndarray) -> bool:
    first, second = (
        Rotation.from_rotvec(np.asarray(pose, np.float64).reshape(-1, 3)) for pose in (one, other)
    )
    return one.shape == other.shape and bool(np.degrees((first.inv() * second).magnitude()).max() < 0.01)


def save_npz(path: Path, **arrays: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)
    return path


def save_pickle(path: Path, value: Any, protocol: int = 2) -> Path:
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    return path


def everything(path: Path) -> np.ndarray:
    """All poses of a file, of both splits."""
    return np.concatenate([read_poses(path, split).pose_aa for split in ("train", "val")])


def fingers(frames: int) -> np.ndarray:
    """(frames, 90) what none of the 24 joints has."""
    return np.random.default_rng(4).normal(0, 1, (frames, 90))


def amass_smplh(pose: np.ndarray, **more: Any) -> dict[str, Any]:
    poses = np.concatenate([pose[:, :22].reshape(-1, 66), fingers(len(pose))], axis=1)
    return {
        "poses": poses,
        "trans": np.zeros((len(pose), 3)),
        "betas": np.zeros(16),
        "gender": "female",
        **more,
    }


@pytest.mark.parametrize(
    ("key", "rate", "step"),
    [("mocap_framerate", 120.0, 15), ("mocap_frame_rate", 100, 12), ("fps", 30.0, 4), ("framerate", 8, 1)],
)
def test_amass_of_smplh_is_turned_upright_and_thinned(
    tmp_path: Path, key: str, rate: float, step: int
) -> None:
    pose = standing_body()
    arrays = amass_smplh(seen_in("z_up", pose), dmpls=np.zeros((FRAMES, 8)), **{key: np.array(rate)})
    path = save_npz(tmp_path / "0005_treadmill_jog_poses.npz", **arrays)
    read = everything(path)
    # Each split is thinned from its own beginning.
    end = FRAMES - 2
    assert same_pose(read, np.concatenate([pose[:end:step], pose[end::step]]))
    assert set(read_poses(path, "train").labels) == {"treadmill jog"}


def test_fingers_of_smplh_do_not_become_hands(tmp_path: Path) -> None:
    path = save_npz(tmp_path / "a.npz", **amass_smplh(standing_body(), mocap_framerate=8))
    assert not everything(path)[:, 22:].any()


def test_amass_of_smplx(tmp_path: Path) -> None:
    pose = standing_body()
    turned = seen_in("z_up", pose)
    path = save_npz(
        tmp_path / "jump_stageii.npz", root_orient=turned[:, 0], pose_body=turned[:, 1:22].reshape(-1, 63),
        pose_hand=fingers(FRAMES), pose_jaw=np.zeros((FRAMES, 3)), pose_eye=np.zeros((FRAMES, 6)),
        trans=np.zeros((FRAMES, 3)), mocap_frame_rate=np.array(8.0), betas=np.zeros(16),
        surface_model_type="smplx", poses=np.zeros((FRAMES, 165)),
    )  # fmt: skip
    assert same_pose(everything(path), pose)


@pytest.mark.parametrize("frame", ["y_up", "z_up", "camera"])
@pytest.mark.parametrize("form", ["parts63", "parts69", "matrices", "whole72", "whole156", "whole165"])
def test_smpl_parameters_of_any_writer(tmp_path: Path, frame: str, form: str) -> None:
    pose = standing_body()
    given = seen_in(frame, pose)
    body = given[:, 1:].reshape(FRAMES, -1)
    content: dict[str, dict[str, Any]] = {
        "parts63": {"global_orient": given[:, 0], "body_pose": body[:, :63], "transl": np.zeros((FRAMES, 3))},
        "parts69": {"global_orient": given[:, :1], "body_pose": body},
        "matrices": {
            "global_orient": Rotation.from_rotvec(given[:, 0]).as_matrix()[:, None],
            "body_pose": Rotation.from_rotvec(given[:, 1:].reshape(-1, 3))
            .as_matrix()
            .reshape(FRAMES, 23, 3, 3),
        },
        "whole72": {"poses": given.reshape(FRAMES, 72)},
        "whole156": {
            "poses": np.pad(given[:, :22].reshape(FRAMES, 66), ((0, 0), (0, 90)), constant_values=1.0)
        },
        "whole165": {"fullpose": np.pad(given[:, :22], ((0, 0), (0, 33), (0, 0)), constant_values=1.0)},
    }
    for path in (
        save_npz(tmp_path / "a.npz", **content[form]),
        save_pickle(tmp_path / "a.pkl", content[form]),
    ):
        assert same_pose(everything(path), pose)


def test_one_smplx_pose_as_blenders_add_on_and_smplify_write_it(tmp_path: Path) -> None:
    pose = standing_body(1)
    content = {
        "transl": np.zeros((1, 3)),
        "global_orient": pose[:, 0],
        "body_pose": pose[:, 1:22].reshape(1, 63),
    }
    for values in (content, {key: value[0] for key, value in content.items()}):
        path = save_pickle(tmp_path / "pose.pkl", values, protocol=4)
        for split in ("train", "val"):
            assert same_pose(read_poses(path, split).pose_aa, pose)


def test_aist_names_the_dance(tmp_path: Path) -> None:
    pose = standing_body()
    pose[:, 22:] = np.random.default_rng(5).normal(0, 0.2, (FRAMES, 2, 3))
    content = {
        "smpl_poses": pose.reshape(-1, 72),
        "smpl_trans": np.zeros((FRAMES, 3)),
        "smpl_scaling": np.ones(1),
    }
    path = save_pickle(tmp_path / "gKR_sBM_cAll_d28_mKR0_ch01.pkl", content)
    train = read_poses(path, "train")
    assert same_pose(train.pose_aa, pose[:38:8])
    assert set(train.labels) == {"krump dance"}


@pytest.mark.parametrize("frame", ["y_up", "z_up"])
def test_3dpw_holds_several_people(tmp_path: Path, frame: str) -> None:
    people = [standing_body(), standing_body(seed=4)]
    content = {
        "sequence": "downtown_walking_00",
        "poses": [seen_in(frame, pose).reshape(-1, 72) for pose in people],
        "poses_60Hz": [],
        "cam_poses": np.tile(np.eye(4), (FRAMES, 1, 1)),
        "genders": ["m", "f"],
    }
    read = read_poses(save_pickle(tmp_path / "downtown_walking_00.pkl", content), "train")
    assert same_pose(read.pose_aa, np.concatenate([pose[:38:4] for pose in people]))
    assert set(read.labels) == {"downtown walking"}


@pytest.mark.parametrize("parts", [False, True])
def test_fits_to_pictures_of_human36m(tmp_path: Path, parts: bool) -> None:
    pose = standing_body()
    given = seen_in("camera", pose).reshape(FRAMES, 72)
    named = {"global_orient": given[:, :3], "body_pose": given[:, 3:]} if parts else {"pose": given}
    has_pose = np.arange(FRAMES) % 2 == 0
    path = save_npz(
        tmp_path / "h36m_train.npz", imgname=np.array(["S1/a.jpg"] * FRAMES), center=np.zeros((FRAMES, 2)),
        scale=np.ones(FRAMES), has_smpl=has_pose.astype(np.float32), **named,
    )  # fmt: skip
    assert same_pose(everything(path), pose[has_pose])


def test_human36m_of_neuralannot(tmp_path: Path) -> None:
    pose = standing_body()
    given = seen_in("z_up", pose).reshape(FRAMES, 72)
    # As text, frame 10 comes before frame 2.
    order = sorted(range(FRAMES), key=str)
    frames = {
        str(number): {"pose": list(given[number]), "shape": [0.0] * 10, "trans": [0.0] * 3}
        for number in order
    }
    path = tmp_path / "Human36M_subject1_SMPL_NeuralAnnot.json"
    path.write_text(json.dumps({"4": {"1": frames}}))
    train = read_poses(path, "train")
    assert same_pose(train.pose_aa, pose[:38:6])
    assert set(train.labels) == {"eating"}


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("kick_high_left02_poses.npz", "kick high"), ("01_01_poses.npz", ""), ("A3- Swing t2_poses.npz", "swing"),
        ("walkingRun_stageii.npz", "walkingrun"),
    ],
)  # fmt: skip
def test_labels_are_the_words_of_a_files_name(name: str, label: str) -> None:
    assert label_of(Path(name)) == label


class Attack:
    def __reduce__(self) -> Any:
        return (print, ("this must never run",))


def test_a_pickle_that_wants_to_run_code_is_not_opened(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = save_pickle(tmp_path / "evil.pkl", {"global_orient": Attack(), "body_pose": Attack()})
    with pytest.raises(PoseFileError, match=r"evil\.pkl was not opened: it asks for .*print"):
        read_clips(path)
    assert "never" not in capsys.readouterr().out


def broken_files(folder: Path) -> dict[str, str]:
    """Writes files that cannot be used; name to a part of what is said of each."""
    whole = save_npz(folder / "whole.npz", **amass_smplh(standing_body(), mocap_framerate=8)).read_bytes()
    (folder / "whole.npz").unlink()
    (folder / "cut.npz").write_bytes(whole[: len(whole) // 2])
    (folder / "damaged.npz").write_bytes(whole[:3000] + b"\0" * 400 + whole[3400:])
    (folder / "noise.pkl").write_bytes(b"\x80\x04 no pickle")
    (folder / "cut.json").write_text('{"4": {"1": ')
    save_npz(folder / "few.npz", trans=np.zeros((2, 3)), fps=30, poses=np.zeros((2, 60)))
    save_npz(folder / "still.npz", trans=np.zeros((2, 3)), fps=0, poses=np.zeros((2, 156)))
    save_npz(folder / "nan.npz", global_orient=np.zeros((2, 3)), body_pose=np.full((2, 69), np.nan))
    save_npz(folder / "parts.npz", global_orient=np.zeros((2, 3)), body_pose=np.zeros((3, 69)))
    save_npz(folder / "roots.npz", pose=np.zeros((30, 3)))
    save_pickle(folder / "words.pkl", {"poses": "none"})
    save_pickle(folder / "empty.pkl", {"poses": np.zeros((0, 72))})
    return {
        "cut.npz": "cannot be read", "damaged.npz": "cannot be read", "noise.pkl": "no readable pickle",
        "cut.json": "cannot be read", "few.npz": "(2, 60)", "still.npz": "fps is 0", "nan.npz": "no finite numbers",
        "parts.npz": "2 and 3 poses", "roots.npz": "(30, 3)", "words.pkl": "72 numbers", "empty.pkl": "holds no poses",
    }  # fmt: skip


def test_every_broken_file_gets_one_sentence_that_names_it(tmp_path: Path) -> None:
    for name, reason in broken_files(tmp_path).items():
        with pytest.raises(PoseFileError) as raised:
            read_clips(tmp_path / name)
        assert str(tmp_path / name) in str(raised.value)
        assert reason in str(raised.value)
        assert "\n" not in str(raised.value)


def test_broken_files_in_a_folder_leave_the_rest(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    broken = broken_files(tmp_path)
    poses = [standing_body(8) for _ in range(6)]
    for number, pose in enumerate(poses):
        save_npz(
            tmp_path / "CMU" / f"{number:02}" / "walk_poses.npz",
            **amass_smplh(seen_in("z_up", pose), mocap_framerate=8),
        )
        save_npz(tmp_path / "CMU" / f"{number:02}" / "shape.npz", betas=np.zeros(16), gender="male")
    (tmp_path / "LICENSE.txt").write_text("no poses")
    with caplog.at_level(logging.WARNING):
        train, val = (read_poses(tmp_path, split) for split in ("train", "val"))
    assert len(train) + len(val) == 48
    assert len(val) >= 8
    assert all(
        any(
            same_pose(pose, one.pose_aa[start : start + 8])
            for one in (train, val)
            for start in range(0, len(one), 8)
        )
        for pose in poses
    )
    said = [record.getMessage() for record in caplog.records]
    for name in broken:
        assert sum(str(tmp_path / name) in sentence for sentence in said) == 2  # once for each split
    assert sum("6 files" in sentence and "shape.npz" in sentence for sentence in said) == 2
    assert set(train.labels) == {"walk"}


def test_a_folder_without_poses_and_a_missing_path_are_told(tmp_path: Path) -> None:
    (tmp_path / "notes.json").write_text("[1, 2]")
    with pytest.raises(PoseFileError, match=r"no file in .* holds poses in a format known here"):
        read_poses(tmp_path, "train")
    with pytest.raises(FileNotFoundError, match="give a file or a folder"):
        read_poses(tmp_path / "nowhere", "train")


def test_the_projects_own_file_keeps_its_split_and_labels(tmp_path: Path) -> None:
    pose = standing_body(6)
    quat = Rotation.from_rotvec(pose.reshape(-1, 3)).as_quat()[:, [3, 0, 1, 2]].reshape(6, 24, 4)
    path = save_npz(
        tmp_path / "poses.npz", quat_wxyz=quat, split=np.array(["train"] * 4 + ["val"] * 2),
        clip=np.array([0, 0, 0, 0, 1, 1]), clip_label=np.array(["salsa dance", "climbing"]),
    )  # fmt: skip
    for given in (path, tmp_path):
        assert same_pose(read_poses(given, "train").pose_aa, pose[:4])
        assert set(read_poses(given, "val").labels) == {"climbing"}


def test_the_arms_of_a_z_up_file_hang_down_after_reading(tmp_path: Path) -> None:
    """Not only does it turn back what the tests turned: gravity is where it should be."""
    pose = np.zeros((8, 52, 3))
    pose[:, 0] = Rotation.from_euler("x", 90, degrees=True).as_rotvec()  # standing in a z-up world
    pose[:, JOINT_INDEX["left_shoulder"], 2] = -np.pi / 2
    path = save_npz(tmp_path / "a.npz", poses=pose.reshape(8, 156), trans=np.zeros((8, 3)), mocap_framerate=8)
    read = everything(path)[0]
    world = Rotation.from_rotvec(read[0]) * Rotation.from_rotvec(read[JOINT_INDEX["left_shoulder"]])
    assert np.allclose(world.apply([1, 0, 0]), [0, -1, 0], atol=1e-5)
    assert np.allclose(Rotation.from_rotvec(read[0]).apply([0, 0, 1]), [0, 0, 1], atol=1e-5)
