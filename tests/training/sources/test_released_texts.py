# SPDX-License-Identifier: Apache-2.0
"""PoseScript, PoseFix and LLaVA's conversations, written here in their released forms, built into shards and read."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from training.data.build import run
from training.data.cli import data
from training.data.registry import Build
from training.data.samples import Sample
from training.data.shards import SampleSource
from training.data.sources.conversations import conversations
from training.data.sources.held_out import HeldOut
from training.data.sources.reading import read_poses

FRAMES = 30
PLACES = {
    "0": ["AMASS", "CMU/CMU/01/01_01_poses.npz", 3],
    "1": ["AMASS", "CMU/CMU/01/01_01_poses.npz", 29],
    "2": ["AMASS", "KIT/KIT/3/kick_poses.npz", 7],
    "3": ["AMASS", "SFU/SFU/9/gone_poses.npz", 0],
    "4": ["AMASS", "KIT/KIT/3/kick_poses.npz", 30],
}


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


@pytest.fixture
def amass(tmp_path: Path) -> dict[str, np.ndarray]:
    """Two sequences in the folder "amass", one of them without the doubled folder; returned upright, by file."""
    sequences, rng = {}, np.random.default_rng(5)
    for name, path in (
        ("CMU/CMU/01/01_01_poses.npz", "CMU/01/01_01_poses.npz"),
        ("KIT/KIT/3/kick_poses.npz",) * 2,
    ):
        pose = rng.normal(0, 0.3, (FRAMES, 24, 3))
        pose[:, 22:] = 0
        upright = Rotation.from_rotvec(pose[:, 0]) * Rotation.from_euler(
            "y", rng.uniform(-180, 180, (FRAMES, 1)), degrees=True
        )
        pose[:, 0] = upright.as_rotvec()
        z_up = pose.copy()
        z_up[:, 0] = (Rotation.from_euler("x", 90, degrees=True) * upright).as_rotvec()
        file = tmp_path / "amass" / path
        file.parent.mkdir(parents=True)
        poses = np.pad(z_up[:, :22].reshape(FRAMES, 66), ((0, 0), (0, 90)))
        np.savez(file, poses=poses, trans=np.zeros((FRAMES, 3)), mocap_framerate=120.0)
        sequences[name] = pose
    return sequences


def posescript(folder: Path) -> Path:
    write_json(folder / "ids_2_dataset_sequence_and_frame_index_100k.json", PLACES)
    write_json(
        folder / "posescript_human_6293.json", {"0": "someone sits", "2": "a kick", "1": "not of this split"}
    )
    write_json(
        folder / "posescript_auto_100k.json",
        {"0": ["legs bent", "knees bent", "sits"], "3": ["gone", "x", "y"]},
    )
    for split, ids in (("train", [0, 2, 3, 4]), ("val", [1]), ("test", [])):
        write_json(folder / f"{split}_ids_100k.json", ids)
    return folder


def posefix(folder: Path) -> Path:
    write_json(folder / "ids_2_dataset_sequence_and_frame_index_100k.json", PLACES)
    write_json(folder / "pair_id_2_pose_ids.json", [[0, 1], [2, 0], [0, 3]])
    write_json(folder / "posefix_human_6157.json", {"0": "turn around", "1": ["sit down", "now sit"]})
    write_json(folder / "posefix_paraphrases_4284.json", {"0": "turn your back on me", "2": "x"})
    for split, inside, outside in (("train", [0], [1, 2]), ("val", [], []), ("test", [], [])):
        write_json(folder / f"{split}_in_sequence_pair_ids.json", inside)
        write_json(folder / f"{split}_out_sequence_pair_ids.json", outside)
    return folder


def build(folder: Path, source: str, **more: Any) -> dict[str, Sample]:
    """Builds all of a source into shards of three samples; what they hold, by id."""
    list(run(Build(source, folder, more.pop("count", None), shard_size=3, **more)))
    shards = SampleSource(folder)
    samples = [shards.read(shard, row) for shard, size in enumerate(shards.sizes) for row in range(size)]
    assert len({sample.id for sample in samples}) == len(samples)
    return {sample.id: sample for sample in samples}


def gap(one: np.ndarray, other: np.ndarray) -> float:
    first, second = (Rotation.from_rotvec(np.asarray(pose, np.float64)) for pose in (one, other))
    return float(np.degrees((first.inv() * second).magnitude()).max())


def test_posescript_texts_are_samples_of_generation(tmp_path: Path, amass: dict[str, np.ndarray]) -> None:
    release = posescript(tmp_path / "release")
    samples = build(tmp_path / "out", "posescript_release", annotations=release, poses=tmp_path / "amass")
    texts = {name: (sample.task, sample.kind, sample.instruction) for name, sample in samples.items()}
    assert texts == {
        "posescript_human-0-0": ("generate", "posescript_human", "someone sits"),
        "posescript_human-2-0": ("generate", "posescript_human", "a kick"),
        "posescript_auto-0-0": ("generate", "posescript_auto", "legs bent"),
        "posescript_auto-0-1": ("generate", "posescript_auto", "knees bent"),
        "posescript_auto-0-2": ("generate", "posescript_auto", "sits"),
    }
    assert gap(samples["posescript_auto-0-1"].target_aa, amass["CMU/CMU/01/01_01_poses.npz"][3]) < 0.01
    assert gap(samples["posescript_human-2-0"].target_aa, amass["KIT/KIT/3/kick_poses.npz"][7]) < 0.01
    assert all(sample.pose_aa is None for sample in samples.values())


def test_one_file_of_texts_can_be_chosen(tmp_path: Path, amass: dict[str, np.ndarray]) -> None:
    release = posescript(tmp_path / "release") / "posescript_human_6293.json"
    samples = build(
        tmp_path / "out", "posescript_release", annotations=release, poses=tmp_path / "amass", split="val"
    )
    assert [sample.instruction for sample in samples.values()] == ["not of this split"]


def test_poses_that_are_missing_are_told_and_the_rest_is_built(
    tmp_path: Path, amass: dict[str, np.ndarray], caplog: pytest.LogCaptureFixture
) -> None:
    release = posescript(tmp_path / "release")
    write_json(release / "posescript_human_6293.json", {"0": "someone sits", "4": "beyond the end"})
    with caplog.at_level(logging.WARNING):
        build(tmp_path / "out", "posescript_release", annotations=release, poses=tmp_path / "amass")
    said = [record.getMessage() for record in caplog.records]
    assert any(
        "SFU/SFU/9/gone_poses.npz is not in" in sentence and "amass.is.tue.mpg.de" in sentence
        for sentence in said
    )
    assert any("kick_poses.npz has 30 frames, and pose 4 is its frame 30" in sentence for sentence in said)


def test_posefix_texts_are_samples_of_edits(tmp_path: Path, amass: dict[str, np.ndarray]) -> None:
    release = posefix(tmp_path / "release")
    samples = build(tmp_path / "out", "posefix_release", annotations=release, poses=tmp_path / "amass")
    assert {name: sample.instruction for name, sample in samples.items()} == {
        "posefix_human-0-0": "turn around",
        "posefix_human-1-0": "sit down",
        "posefix_human-1-1": "now sit",
        "posefix_paraphrases-0-0": "turn your back on me",
    }
    assert {sample.task for sample in samples.values()} == {"adjust"}
    walk, kick = amass["CMU/CMU/01/01_01_poses.npz"], amass["KIT/KIT/3/kick_poses.npz"]
    turned = samples["posefix_human-0-0"]
    assert gap(turned.pose_aa, walk[3]) < 0.01
    assert gap(turned.target_aa, walk[29]) < 0.01
    # Of two recordings, both face the same way, and nothing else is changed.
    other = samples["posefix_human-1-1"]
    for ours, theirs in ((other.pose_aa, kick[7]), (other.target_aa, walk[3])):
        assert gap(ours[1:], theirs[1:]) < 0.01
        root, recorded = (Rotation.from_rotvec(np.float64(pose[0])) for pose in (ours, theirs))
        left = root.apply([1, 0, 0])
        assert left[0] > 0
        assert left[2] == pytest.approx(0, abs=1e-5)
        turn = (root * recorded.inv()).as_rotvec()
        assert np.abs(turn[[0, 2]]).max() < 1e-4


def test_posefix_texts_without_their_start_poses_are_descriptions_of_the_same_targets(
    tmp_path: Path, amass: dict[str, np.ndarray]
) -> None:
    given = {"annotations": posefix(tmp_path / "release"), "poses": tmp_path / "amass"}
    edits = build(tmp_path / "edits", "posefix_release", **given)
    alone = build(tmp_path / "alone", "posefix_texts", **given)
    assert alone.keys() == edits.keys()
    for name, sample in alone.items():
        assert (sample.task, sample.pose_aa) == ("generate", None)
        assert sample.instruction == edits[name].instruction
        assert np.array_equal(sample.target_aa, edits[name].target_aa)


def test_damaged_releases_are_told_by_file(
    tmp_path: Path, amass: dict[str, np.ndarray], caplog: pytest.LogCaptureFixture
) -> None:
    given = {"poses": tmp_path / "amass", "annotations": posescript(tmp_path / "release")}
    (given["annotations"] / "posescript_auto_100k.json").write_text("[[")
    with caplog.at_level(logging.WARNING):
        assert len(build(tmp_path / "a", "posescript_release", **given)) == 2
    assert (
        sum(
            "posescript_auto_100k.json is no readable JSON" in record.getMessage()
            for record in caplog.records
        )
        > 0
    )
    with pytest.raises(ValueError, match="holds no texts of this split"):
        build(tmp_path / "b", "posescript_release", split="test", **given)
    (given["annotations"] / "train_ids_100k.json").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"lacks train_ids\*\.json: give the folder of the whole release"
    ):
        build(tmp_path / "c", "posescript_release", **given)
    with pytest.raises(ValueError, match="say where the folder of AMASS is with --poses"):
        build(tmp_path / "d", "posescript_release", annotations=given["annotations"])


def test_a_part_is_the_same_whatever_was_built_before(tmp_path: Path, amass: dict[str, np.ndarray]) -> None:
    given = {"poses": tmp_path / "amass", "annotations": posefix(tmp_path / "release"), "count": 4, "seed": 3}
    first = build(tmp_path / "a", "posefix_release", **given)
    (tmp_path / "a" / "shard-00000.npz").unlink()
    again = build(tmp_path / "a", "posefix_release", **given)
    assert list(first) == list(again)
    assert len(first) in (3, 4)  # one of the five has no pose


def test_a_shard_that_the_index_of_a_killed_build_does_not_know_counts_with_what_it_holds(
    tmp_path: Path, amass: dict[str, np.ndarray]
) -> None:
    given = {"poses": tmp_path / "amass", "annotations": posefix(tmp_path / "release"), "count": 4, "seed": 3}
    first = build(tmp_path / "a", "posefix_release", **given)
    index = tmp_path / "a" / "index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "shards": []}))
    assert list(build(tmp_path / "a", "posefix_release", **given)) == list(first)


def conversation(name: str, *turns: str, **more: Any) -> dict[str, Any]:
    said = [{"from": ("human", "gpt")[number % 2], "value": text} for number, text in enumerate(turns)]
    return {"id": name, "conversations": said, **more}


CONVERSATIONS = [
    conversation(
        "a", "<image>\nWhat is the dog doing?", "It runs.", "Where?", "On a beach.", image="coco/a.jpg"
    ),
    conversation("b", "Name a colour.", "Blue."),
    conversation("c", "Half a conversation"),
    conversation("d", "Look\n<image>", "At what?", image="coco/gone.jpg"),
]


def test_conversations_without_pictures(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "llava.json"
    write_json(path, CONVERSATIONS)
    samples = build(tmp_path / "out", "conversations", annotations=path)
    assert list(samples) == ["b"]
    one = samples["b"]
    assert (one.task, one.kind, one.instruction, one.reply) == (
        "chat",
        "conversation",
        "Name a colour.",
        "Blue.",
    )
    assert one.target_aa is None
    assert one.pose_aa is None
    assert any("sample c" in record.getMessage() for record in caplog.records)


def test_conversations_with_pictures(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "llava.jsonl"
    path.write_text("\n".join(map(json.dumps, CONVERSATIONS)))
    (tmp_path / "images" / "coco").mkdir(parents=True)
    Image.new("RGB", (40, 30), "red").save(tmp_path / "images" / "coco" / "a.jpg")
    samples = build(tmp_path / "out", "conversations", annotations=path, images=tmp_path / "images")
    assert set(samples) == {"a", "b"}
    assert (samples["a"].instruction, samples["a"].reply) == ("What is the dog doing?", "It runs.")
    assert samples["a"].image.size == (40, 30)
    assert any("gone.jpg of sample d is missing" in record.getMessage() for record in caplog.records)


def test_one_conversation_in_fifty_is_kept_apart_with_all_about_its_picture(tmp_path: Path) -> None:
    path = tmp_path / "llava.json"
    (tmp_path / "coco").mkdir()
    for number in range(200):
        Image.new("RGB", (4, 4)).save(tmp_path / "coco" / f"{number}.jpg")
    write_json(
        path,
        [
            conversation(str(number), "Look\n<image>", "At what?", image=f"coco/{number // 2}.jpg")
            for number in range(400)
        ],
    )
    of_train = build(tmp_path / "train", "conversations", annotations=path, images=tmp_path)
    of_val = build(tmp_path / "val", "conversations", annotations=path, images=tmp_path, split="val")
    assert len(of_train) + len(of_val) == 400
    assert 2 <= len(of_val) <= 24
    pictures = [{int(name) // 2 for name in part} for part in (of_train, of_val)]
    assert not pictures[0] & pictures[1]


def test_conversations_without_an_id_are_kept_apart_one_by_one(tmp_path: Path) -> None:
    records = [conversation("", f"What is {number} and one?", f"{number + 1}.") for number in range(400)]
    for record in records:
        del record["id"]
    write_json(tmp_path / "llava.json", records)
    train, val = (len(conversations(tmp_path / "llava.json", None, split)) for split in ("train", "val"))
    assert train + val == 400
    assert 2 <= val <= 24


def test_conversations_are_shown_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_json(tmp_path / "llava.json", CONVERSATIONS)
    given = ["conversations", "--annotations", str(tmp_path / "llava.json"), "--count", "5"]
    assert data(["show", *given, "--output", str(tmp_path / "sheet.png"), "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["instruction"] == "Name a colour."
    assert Image.open(tmp_path / "sheet.png").size[1] > 30
    assert data(["stats", *given, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["conversations"]["sentences"] == 1


def test_a_file_of_pictures_alone_asks_for_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_json(tmp_path / "llava.json", CONVERSATIONS[:1])
    arguments = ["--output", str(tmp_path / "out"), "--annotations", str(tmp_path / "llava.json")]
    assert data(["build", "conversations", *arguments]) == 1
    assert "say where they are with --images" in capsys.readouterr().err


def test_poses_that_a_release_keeps_for_tests_are_not_drawn(
    tmp_path: Path, amass: dict[str, np.ndarray]
) -> None:
    """Here frame 29 of a sequence of 30, at 8 frames a second: with half a second before it, frames 25 to 29."""
    for file in (tmp_path / "amass").rglob("*.npz"):
        with np.load(file) as arrays:
            np.savez(file, **{**arrays, "mocap_framerate": 8.0})
    script, fix = posescript(tmp_path / "posescript"), posefix(tmp_path / "posefix")
    write_json(script / "test_ids_100k.json", [1])
    everyone = [read_poses(tmp_path / "amass", split) for split in ("train", "val")]
    assert sum(map(len, everyone)) == 60
    for releases in ((script,), (script, fix)):
        left = [read_poses(tmp_path / "amass", split, HeldOut(releases)) for split in ("train", "val")]
        assert sum(map(len, left)) == 55
        kept = amass["CMU/CMU/01/01_01_poses.npz"][25:]
        for poses in left:
            gap = np.abs(poses.pose_aa[:, None, 1:22] - kept[None, :, 1:22]).max(axis=(2, 3))
            assert gap.min() > 0.01


def test_pairs_kept_for_tests_take_both_their_poses_along(
    tmp_path: Path, amass: dict[str, np.ndarray]
) -> None:
    fix = posefix(tmp_path / "posefix")
    write_json(fix / "test_out_sequence_pair_ids.json", [1])  # poses 2 and 0, of either sequence
    for file in (tmp_path / "amass").rglob("*.npz"):
        with np.load(file) as arrays:
            np.savez(file, **{**arrays, "mocap_framerate": 8.0})
    left = [read_poses(tmp_path / "amass", split, HeldOut((fix,))) for split in ("train", "val")]
    assert sum(map(len, left)) == 60 - 8 - 9  # frames 0 to 7 about 3, and 3 to 11 about 7


def test_held_out_poses_are_named_for_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "build",
        "posepart",
        "--count",
        "4",
        "--output",
        str(tmp_path / "out"),
        "--held-out",
        str(tmp_path),
    ]
    assert data(arguments) == 1
    assert "give its folder with --poses" in capsys.readouterr().err
    (tmp_path / "amass").mkdir()
    assert data([*arguments, "--poses", str(tmp_path / "amass")]) == 1
    assert "ids_2_dataset" in capsys.readouterr().err
