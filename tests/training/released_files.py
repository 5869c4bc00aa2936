# SPDX-License-Identifier: Apache-2.0
"""Small stand-ins for the data sets that docs/training.md names, in their released forms, under the names used there.

What they hold is noise. None of it comes from the data sets.
"""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

RATE = 60.0
FRAMES = 240
"""Of an AMASS sequence: more than the half second that is left out around a held-out pose."""
SEQUENCES = [f"CMU/CMU/{number:02}/{number:02}_01_poses.npz" for number in range(8)]
SPLITS = {"train": [0, 1, 2], "val": [3, 4], "test": [5, 6]}
"""Poses of the releases, of as many sequences, and pairs of them."""


def write_json(path: Path, value: Any) -> None:
    """Makes the folder where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def upright_poses(rng: np.random.Generator, count: int) -> np.ndarray:
    """(count, 24, 3) that move slowly from frame to frame, in a world with +y up."""
    poses = rng.normal(0, 0.25, (24, 3)) + np.cumsum(rng.normal(0, 0.02, (count, 24, 3)), axis=0)
    poses[:, 22:] = 0
    poses[:, 0] *= 0.1
    return poses


def amass(folder: Path) -> None:
    """SMPL-H sequences, with +z up."""
    for number, name in enumerate(SEQUENCES):
        poses = upright_poses(np.random.default_rng(number), FRAMES)
        poses[:, 0] = (np.pi / 2, 0.0, 0.0)
        path = folder / name
        path.parent.mkdir(parents=True)
        whole = np.pad(poses[:, :22].reshape(FRAMES, 66), ((0, 0), (0, 90)))
        np.savez(path, poses=whole, trans=np.zeros((FRAMES, 3)), betas=np.zeros(16), gender="neutral",
                 dmpls=np.zeros((FRAMES, 8)), mocap_framerate=RATE)  # fmt: skip


def one_recording(path: Path) -> None:
    """A file of poses such as `make train-mini` takes."""
    poses = upright_poses(np.random.default_rng(99), FRAMES)
    poses[:, 0] = (np.pi / 2, 0.0, 0.0)
    whole = np.pad(poses[:, :22].reshape(FRAMES, 66), ((0, 0), (0, 90)))
    np.savez(path, poses=whole, trans=np.zeros((FRAMES, 3)), betas=np.zeros(16), gender="neutral",
             mocap_framerate=RATE)  # fmt: skip


def labelled_recordings(path: Path) -> None:
    """A file in the project's own form, of clips whose labels say what somebody does."""
    labels = ["salsa dance", "crawl_through_03_poses"]
    poses = [upright_poses(np.random.default_rng(number), FRAMES) for number in range(len(labels))]
    quats = Rotation.from_rotvec(np.concatenate(poses).reshape(-1, 3)).as_quat()[:, [3, 0, 1, 2]]
    np.savez(path, quat_wxyz=quats.reshape(-1, 24, 4).astype(np.float32),
             split=np.full(len(labels) * FRAMES, "train"), clip=np.repeat(np.arange(len(labels)), FRAMES),
             clip_label=np.array(labels))  # fmt: skip


def _places() -> dict[str, list[Any]]:
    return {str(number): ["AMASS", name, 20 + number] for number, name in enumerate(SEQUENCES)}


def posescript(folder: Path) -> None:
    """Places of poses in AMASS, texts of people and of a machine, and the splits."""
    write_json(folder / "ids_2_dataset_sequence_and_frame_index_100k.json", _places())
    ids = [number for split in SPLITS.values() for number in split]
    write_json(
        folder / "posescript_human_6293.json", {str(number): f"someone sits {number}" for number in ids}
    )
    write_json(folder / "posescript_auto_100k.json", {str(number): ["bent", "a kick"] for number in ids})
    for split, numbers in SPLITS.items():
        write_json(folder / f"{split}_ids_100k.json", numbers)


def posefix(folder: Path) -> None:
    """Pairs of poses of the same split, with texts."""
    write_json(folder / "ids_2_dataset_sequence_and_frame_index_100k.json", _places())
    pairs = [[0, 1], [1, 2], [3, 4], [5, 6], [6, 5]]
    write_json(folder / "pair_id_2_pose_ids.json", pairs)
    write_json(folder / "posefix_human_6157.json", {str(pair): f"turn around {pair}" for pair in range(5)})
    write_json(folder / "posefix_paraphrases_4284.json", {"0": "turn your back on me"})
    for split, inside, outside in (("train", [0], [1]), ("val", [], [2]), ("test", [], [3, 4])):
        write_json(folder / f"{split}_in_sequence_pair_ids.json", inside)
        write_json(folder / f"{split}_out_sequence_pair_ids.json", outside)


def _photograph(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(number).integers(0, 255, (200, 300, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)


def human36m(annotations: Path, images: Path) -> None:
    """An npz of SMPL fits to pictures, in OpenCV's camera."""
    poses = upright_poses(np.random.default_rng(7), 6)
    poses[:, 0] = (np.pi, 0.0, 0.0)
    names = [f"S1/{number}.jpg" for number in range(6)]
    for number, name in enumerate(names):
        _photograph(images / name, number)
    np.savez(annotations, imgname=np.array(names), center=np.full((6, 2), 100.0), scale=np.full(6, 0.8),
             pose=poses.reshape(6, 72))  # fmt: skip


def threedpw(folder: Path) -> None:
    """One sequence of the test split, with its frames."""
    frames = 4
    poses = upright_poses(np.random.default_rng(8), frames)
    poses[:, 0] = (np.pi, 0.0, 0.0)
    joints = np.random.default_rng(9).uniform(40, 160, (frames, 3, 18))
    joints[:, 2] = 0.9
    content = {
        "sequence": "park_00", "poses": [poses.reshape(frames, 72)], "poses2d": [joints], "genders": ["f"],
        "cam_poses": np.tile(np.eye(4), (frames, 1, 1)), "campose_valid": [np.ones(frames, dtype=int)],
    }  # fmt: skip
    file = folder / "sequenceFiles" / "test" / "park_00.pkl"
    file.parent.mkdir(parents=True)
    file.write_bytes(pickle.dumps(content, protocol=2))
    for frame in range(frames):
        _photograph(folder / "imageFiles" / "park_00" / f"image_{frame:05d}.jpg", frame)


def llava_instructions(file: Path, images: Path) -> None:
    """Conversations with and without pictures; two of them are of the split val."""
    told = [{"from": "human", "value": "<image>\nWho is it?"}, {"from": "gpt", "value": "A person."}]
    plain = [{"from": "human", "value": "Name a colour."}, {"from": "gpt", "value": "Blue."}]
    records: list[dict[str, Any]] = [{"id": name, "conversations": plain} for name in ("b", "29", "37")]
    write_json(file, [{"id": "a", "image": "a.jpg", "conversations": told}, *records])
    _photograph(images / "a.jpg", 1)
