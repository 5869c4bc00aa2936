# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from backend.body.rotations import axis_angle_to_matrix, geodesic_angle
from blender_addon.contract.kinematics import yaw_matrix
from blender_addon.contract.rotations import axis_angle_to_matrix as to_matrix
from blender_addon.contract.rotations import matrix_to_axis_angle
from training.data.build import write_index
from training.data.records import from_record, to_record
from training.data.samples import VERBAL_ANSWERS, Sample, Turn
from training.data.shards import SampleSource, Shard, shard_name, write_shard
from training.stages.batches import Collator
from training.stages.initialise import FreshModel, fresh_model

from .conftest import TINY_MODEL, eight_edits, eight_pictures

RNG = np.random.default_rng(5)
POSE = RNG.normal(0, 0.4, (24, 3)).astype(np.float32)
TARGET = RNG.normal(0, 0.4, (24, 3)).astype(np.float32)
CHAT = Sample("c", "chat", "chat", "what is this ?", reply="a person .")


@pytest.fixture(scope="module")
def collator() -> Collator:
    return Collator(fresh_model(FreshModel(**TINY_MODEL))[1])


def turned(pose_aa: np.ndarray, yaw: float) -> np.ndarray:
    result = pose_aa.copy()
    result[0] = matrix_to_axis_angle(yaw_matrix(yaw) @ to_matrix(pose_aa[0]))
    return result


def same(one: Sample, other: Sample) -> bool:
    arrays = all(
        (a is None) == (b is None) and (a is None or np.array_equal(a, b))
        for a, b in ((one.pose_aa, other.pose_aa), (one.target_aa, other.target_aa))
    )
    texts = all(
        getattr(one, key) == getattr(other, key) for key in ("id", "task", "kind", "instruction", "reply")
    )
    return arrays and texts


@pytest.mark.parametrize(
    "sample",
    [
        Sample("a", "adjust", "elbow", "Bend it.", POSE, TARGET),
        Sample("g", "generate", "caption", "A person sits.", None, TARGET),
        Sample("e", "estimate", "photo", "", None, TARGET, Path("a.png")),
        Sample("r", "adjust", "elbow", "Bend it.", POSE, TARGET, reply="Here: <POSE>!"),
        CHAT,
    ],
)
def test_the_papers_json_form_holds_all_of_a_sample(sample: Sample) -> None:
    assert same(from_record(to_record(sample)), sample)


def test_a_record_of_the_released_data_is_reduced_to_its_instruction() -> None:
    question = "There is a person doing this: They kneel. Can you use SMPL pose to describe the pose?"
    answer = {"from": "gpt", "value": "Sure, the SMPL pose is <POSE>."}
    record = {
        "id": 7,
        "target_pose": [0.0] * 72,
        "conversations": [{"from": "human", "value": question}, answer],
    }
    sample = from_record(record)
    assert (sample.task, sample.instruction, sample.reply) == ("generate", "They kneel.", None)


@pytest.mark.parametrize("pose", [[0.0] * 71, [float("nan")] * 72])
def test_a_record_with_a_broken_pose_is_named(pose: list[float]) -> None:
    record = to_record(Sample("broken-9", "adjust", "k", "x", POSE, TARGET)) | {"target_pose": pose}
    with pytest.raises(ValueError, match="broken-9: target_pose"):
        from_record(record)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"conversations": [{"from": "human"}, {"from": "gpt", "value": "<POSE>"}]}, "no text under value"),
        ({"conversations": ["raise it", "<POSE>"]}, "no text under value"),
        (
            {"conversations": [{"value": "raise it"}, {"value": "I cannot."}]},
            "hold <POSE> 0 times, where 1 poses are",
        ),
        ({"input_pose": ["left"] * 72}, "input_pose must be 72 finite numbers"),
    ],
)
def test_a_record_that_cannot_be_learnt_is_named(change: dict[str, Any], words: str) -> None:
    record = to_record(Sample("broken-9", "adjust", "k", "x", POSE, TARGET)) | change
    with pytest.raises(ValueError, match=f"broken-9: .*{words}"):
        from_record(record)


@pytest.mark.parametrize("text", ['{"id": 1}', "[1]", "[{"])
def test_a_file_that_is_no_list_of_records_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "edits.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"edits\.json"):
        SampleSource(path)


def test_shards_hold_all_of_their_samples(tmp_path: Path) -> None:
    samples = [*eight_edits(), CHAT, *eight_pictures()]
    write_shard(tmp_path / shard_name(0), samples)
    write_index(tmp_path, {}, [len(samples)])
    source = SampleSource(tmp_path)
    assert len(source) == len(samples)
    for row, sample in enumerate(samples):
        read = source.read(0, row)
        assert same(read, sample)
        if sample.image is not None:
            assert isinstance(read.image, Image.Image)
            assert read.image.size == (32, 32)
        if sample.image_joints is None:
            assert read.image_joints is None
        else:
            assert np.array_equal(read.image_joints, sample.image_joints, equal_nan=True)


def test_a_shard_of_an_earlier_version_is_read_without_what_it_lacks(tmp_path: Path) -> None:
    path = tmp_path / shard_name(0)
    write_shard(path, eight_pictures())
    with np.load(path) as arrays:
        before = {name: arrays[name] for name in arrays.files if name != "image_joints"}
    np.savez_compressed(path, **before)
    write_index(tmp_path, {}, [8])
    read = SampleSource(tmp_path).read(0, 3)
    assert read.image_joints is None
    assert np.array_equal(read.target_aa, eight_pictures()[3].target_aa)


def test_a_damaged_shard_is_told(tmp_path: Path) -> None:
    write_shard(tmp_path / shard_name(0), eight_edits())
    write_index(tmp_path, {}, [8])
    path = tmp_path / shard_name(0)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match="damaged"):
        SampleSource(tmp_path).read(0, 0)


def test_targets_of_edits_do_not_depend_on_the_start_poses_heading(collator: Collator) -> None:
    plain = Sample("a", "adjust", "k", "x", POSE, TARGET)
    other = Sample("b", "adjust", "k", "x", turned(POSE, 2.1), turned(TARGET, 2.1))
    batch = collator.instructions([plain, other])
    assert geodesic_angle(batch.targets[0], batch.targets[1]).max() < 1e-4
    assert torch.allclose(batch.inputs["poses"][0], batch.inputs["poses"][1], atol=1e-5)


def test_generated_targets_face_forward_and_estimated_ones_keep_their_heading(collator: Collator) -> None:
    target = turned(TARGET, 1.2)
    image = eight_pictures()[0].image
    batch = collator.instructions(
        [
            Sample("g", "generate", "k", "x", None, target),
            Sample("e", "estimate", "k", "", None, target, image),
        ]
    )
    facing = batch.targets[0, 0, :, 2]
    assert facing[0].abs() < 1e-5
    assert facing[2] > 0
    assert torch.allclose(batch.targets[1], axis_angle_to_matrix(torch.from_numpy(target)), atol=1e-5)


def test_a_conversation_is_learned_as_words_without_a_pose(collator: Collator) -> None:
    batch = collator.instructions([CHAT, eight_edits()[0]])
    labels = batch.inputs["labels"][0]
    words = collator.processor.tokenizer.decode(labels[labels != -100])
    assert "a person ." in words
    assert len(batch.targets) == 1


def test_the_length_to_sort_by_is_the_length_of_the_row(collator: Collator) -> None:
    """Whatever a sample holds: a pose that is given or stands in, turns before, words instead of a pose, more turns."""
    edit = eight_edits()[0]
    turns = (Turn("raise the left arm a little more", POSE), Turn("less", TARGET))
    samples = [
        *eight_edits(), eight_pictures()[0], CHAT, replace(CHAT, further=(("and who else", "nobody is there"),)),
        Sample("g", "generate", "k", "somebody sits on a chair", None, TARGET),
        replace(edit, history=turns), replace(edit, reply=VERBAL_ANSWERS["unclear"], target_aa=None),
    ]  # fmt: skip
    for sample in samples:
        rows = collator.instructions([sample]).inputs["input_ids"]
        assert abs(rows.shape[1] - collator.length(sample)) <= 4, sample


def test_turns_and_answers_in_words_survive_shards_and_records(tmp_path: Path) -> None:
    poses = np.random.default_rng(0).normal(0, 0.3, (4, 24, 3)).astype(np.float32)
    samples = [
        Sample("a", "adjust", "k", "more", poses[0], poses[1], history=(Turn("one", poses[2]), Turn("two", poses[3]))),
        Sample("b", "adjust", "k", "hm", poses[0], reply=VERBAL_ANSWERS["unclear"]),
        Sample("c", "adjust", "k", "up", poses[1], poses[0], history=(Turn("three", poses[0]),)),
    ]  # fmt: skip
    write_shard(tmp_path / "shard.npz", samples)
    shard = Shard(tmp_path / "shard.npz")
    read = [*(shard[row] for row in range(3)), *(from_record(to_record(sample)) for sample in samples)]
    for sample, again in zip(samples * 2, read, strict=True):
        assert (again.task, again.instruction, again.reply) == (sample.task, sample.instruction, sample.reply)
        assert (again.target_aa is None) == (sample.target_aa is None)
        assert [turn.instruction for turn in again.history] == [turn.instruction for turn in sample.history]
        for turn, other in zip(sample.history, again.history, strict=True):
            np.testing.assert_array_equal(turn.pose, other.pose)
