# SPDX-License-Identifier: Apache-2.0
"""What would ruin a run silently is left out, counted and named, or refused in one sentence."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from training.data.cli import data
from training.data.shards import SampleSource
from training.data.sources.amass_frames import AmassFrames
from training.data.sources.clip import PoseFileError
from training.data.sources.project_npz import MissingSplitError
from training.data.sources.reading import read_clips, read_poses

from .test_bvh import mixamo, record
from .test_smpl_files import amass_smplh, everything, same_pose, save_npz, save_pickle, seen_in, standing_body


def quaternions(pose: np.ndarray) -> np.ndarray:
    quat = Rotation.from_rotvec(pose.reshape(-1, 3)).as_quat()[:, [3, 0, 1, 2]]
    return quat.reshape(len(pose), 24, 4).astype(np.float32)


def test_broken_quaternions_are_left_out_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pose = standing_body(6)
    quat = quaternions(pose)
    quat[1, 5] = np.nan
    quat[2, 7] = 0.0
    quat[4, 0] *= 3.0
    path = save_npz(tmp_path / "poses.npz", quat_wxyz=quat)
    with caplog.at_level(logging.WARNING):
        read = read_poses(path, "train")
    assert same_pose(read.pose_aa, pose[[0, 3, 5]])
    assert "poses.npz: 3 of 6 poses are left out" in caplog.text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"quat_wxyz": np.zeros((6, 21, 4), np.float32)}, r"the shape \(6, 21, 4\), not \(poses, 24, 4\)"),
        ({"split": np.array(["train"] * 5)}, r"split has the shape \(5,\)"),
        ({"clip": np.array([0, 1])}, r"clip has the shape \(2,\)"),
        ({"clip": np.array([0, 0, 0, 0, 0, 2])}, "numbers from 0 to 1"),
        ({"clip": np.array([0, 0, 0, 0, 0, -1])}, "numbers from 0 to 1"),
        ({"quat_wxyz": np.full((6, 24, 4), np.nan, np.float32)}, "none of its poses"),
    ],
)
def test_a_file_of_the_projects_own_with_other_lengths_is_refused_and_the_rest_of_its_folder_read(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    arrays = {
        "quat_wxyz": quaternions(standing_body(6)), "split": np.array(["train"] * 6), "clip": np.zeros(6, np.int64),
        "clip_label": np.array(["walk", "run"]),
    }  # fmt: skip
    path = save_npz(tmp_path / "bad.npz", **(arrays | change))
    with pytest.raises(PoseFileError, match=words):
        read_poses(path, "train")
    save_npz(tmp_path / "good.npz", **arrays)
    assert len(read_poses(tmp_path, "train")) == 6


def test_a_missing_split_is_told_with_those_that_are_there(tmp_path: Path) -> None:
    path = save_npz(
        tmp_path / "poses.npz", quat_wxyz=quaternions(standing_body(2)), split=np.array(["test", "test"])
    )
    with pytest.raises(MissingSplitError, match="split 'train', only of 'test'"):
        read_poses(path, "train")
    assert len(read_poses(path, "test")) == 2


def test_degrees_are_refused_and_a_broken_frame_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pose = seen_in("z_up", standing_body(8))
    path = save_npz(tmp_path / "degrees.npz", **amass_smplh(np.degrees(pose), mocap_framerate=8))
    with pytest.raises(
        PoseFileError, match=r"degrees\.npz cannot be read: its joints turn by up to .* degrees"
    ):
        read_clips(path)
    pose[3, 4] = 400.0
    pose[5, 2] = np.nan
    path = save_npz(tmp_path / "two.npz", **amass_smplh(pose, mocap_framerate=8))
    with caplog.at_level(logging.WARNING):
        assert len(read_clips(path)[0].pose_aa) == 6
    assert "two.npz: 1 of 8 poses are left out, with numbers that are not finite" in caplog.text
    assert "two.npz: 1 of 8 poses are left out, with joints that turn" in caplog.text


def test_a_frame_of_a_bvh_without_numbers_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines = record(mixamo(), 4).text.splitlines()
    lines[-3] = " ".join(["nan", *lines[-3].split()[1:]])
    path = tmp_path / "walk.bvh"
    path.write_text("\n".join(lines))
    with caplog.at_level(logging.WARNING):
        (clip,) = read_clips(path)
    assert len(clip.pose_aa) == 3
    assert np.isfinite(clip.pose_aa).all()
    assert "walk.bvh: 1 of 4 poses are left out" in caplog.text


def test_smplx_with_y_up_is_not_laid_on_its_back(tmp_path: Path) -> None:
    """BEDLAM's and EMAGE's files look like AMASS's."""
    pose = standing_body()
    for frame in ("y_up", "z_up"):
        turned = seen_in(frame, pose)
        path = save_npz(
            tmp_path / f"{frame}.npz", poses=np.pad(turned[:, :22].reshape(-1, 66), ((0, 0), (0, 99))),
            trans=np.zeros((len(pose), 3)), betas=np.zeros(16), gender="neutral", mocap_frame_rate=8,
        )  # fmt: skip
        assert same_pose(everything(path), pose)


@pytest.mark.parametrize("rate", [0.0, float("nan"), 1 / 30, 1e6])
def test_a_rate_that_cannot_be_is_refused(tmp_path: Path, rate: float) -> None:
    path = save_npz(tmp_path / "a.npz", **amass_smplh(standing_body(4), fps=rate))
    with pytest.raises(PoseFileError, match="1 to 1000 frames a second"):
        read_clips(path)


@pytest.mark.parametrize("width", [66, 72, 156])
def test_a_plain_array_of_poses_is_read(tmp_path: Path, width: int) -> None:
    pose = standing_body(5)
    np.save(tmp_path / "poses.npy", np.pad(pose[:, :22].reshape(5, 66), ((0, 0), (0, width - 66))))
    assert same_pose(read_clips(tmp_path / "poses.npy")[0].pose_aa, pose.astype(np.float32))


def test_romp_and_glamr_are_told_what_to_do(tmp_path: Path) -> None:
    results = np.array({"smpl_thetas": np.zeros((1, 72))}, dtype=object)
    np.savez(tmp_path / "romp.npz", results=results)
    with pytest.raises(PoseFileError, match=r"romp\.npz was not opened: it is ROMP's output.*savez"):
        read_clips(tmp_path / "romp.npz")
    people = {"person_data": {0: {"smpl_pose": np.zeros((2, 69)), "smpl_orient_world": np.zeros((2, 3))}}}
    path = save_pickle(tmp_path / "glamr.pkl", people)
    with pytest.raises(PoseFileError, match=r"it is GLAMR's output.*savez"):
        read_clips(path)


def test_frames_of_smplx_are_not_taken_for_those_of_smplh(tmp_path: Path) -> None:
    pose = seen_in("z_up", standing_body(4))
    save_npz(
        tmp_path / "CMU" / "01" / "01_01_poses.npz", root_orient=pose[:, 0], pose_body=pose[:, 1:22].reshape(4, 63),
        trans=np.zeros((4, 3)), mocap_frame_rate=30.0,
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"01_01_poses\.npz cannot be read: it is in SMPL-X's form"):
        AmassFrames(tmp_path, {"7": ["AMASS", "CMU/CMU/01/01_01_poses.npz", 2]}).pose("7")


@pytest.mark.parametrize(
    ("stored", "named"),
    [
        ("BMLrub/rub001/0000_treadmill_poses.npz", "BioMotionLab_NTroje/rub001/0000_treadmill_poses.npz"),
        ("HDM05/bd/HDM_bd_01_poses.npz", "MPI_HDM05/bd/HDM_bd_01_poses.npz"),
        ("Eyes_Japan/hamada/walk_1_poses.npz", "Eyes_Japan_Dataset/hamada/walk 1_poses.npz"),
        ("CMU/CMU/01/01_01_poses.npz", "CMU/01/01_01_poses.npz"),
        ("SSM/20161014/jump_poses.npz", "SSM_synced/20161014/jump_poses.npz"),
    ],
)
def test_amass_folders_are_found_in_other_spellings(tmp_path: Path, stored: str, named: str) -> None:
    pose = standing_body(4)
    save_npz(tmp_path / stored, **amass_smplh(seen_in("z_up", pose), mocap_framerate=120))
    read = AmassFrames(tmp_path, {"7": ["AMASS", named, 2]}).pose("7")
    assert same_pose(read[None], pose[2:3])


READ_AND_MEASURE = """
import resource, sys, time
from pathlib import Path
from training.data.sources.reading import read_poses
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
poses = read_poses(Path(sys.argv[1]), "train")
print(len(poses), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
def test_a_large_file_is_read_in_slices(tmp_path: Path) -> None:
    """200,000 poses, 77 MB of quaternions: what is asked for takes 58 MB, and little beside it."""
    count = 200_000
    quat = np.zeros((count, 24, 4), np.float32)
    quat[..., 0] = 1.0
    path = save_npz(tmp_path / "poses.npz", quat_wxyz=quat, split=np.full(count, "train"))
    result = subprocess.run(
        [sys.executable, "-c", READ_AND_MEASURE, str(path)], capture_output=True, text=True, check=True
    )
    read, kilobytes = map(int, result.stdout.split())
    assert read == count
    assert kilobytes < 180_000


@pytest.mark.slow
def test_processes_of_a_build_share_their_poses(tmp_path: Path) -> None:
    path = save_npz(tmp_path / "poses.npz", quat_wxyz=quaternions(standing_body(40)))
    arguments = ["--poses", str(path), "--output", str(tmp_path / "out"), "--count", "8", "--shard-size", "4"]
    assert data(["build", "captions", *arguments, "--workers", "2"]) == 0
    assert len(SampleSource(tmp_path / "out")) == 8
    assert (tmp_path / "out" / "poses.npy").stat().st_size < 40 * 24 * 3 * 4 + 200
    index = json.loads((tmp_path / "out" / "index.json").read_text())
    assert "gathered" not in index["build"]
