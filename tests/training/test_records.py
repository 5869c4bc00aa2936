# SPDX-License-Identifier: Apache-2.0
"""The paper's JSON form as its authors publish it: +y down, whole sentences, several poses and turns."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial.transform import Rotation

from backend.prompt import PAPER_TEMPLATES
from blender_addon.contract.kinematics import forward_kinematics
from blender_addon.contract.rotations import axis_angle_to_matrix
from blender_addon.contract.skeleton import JOINT_INDEX
from training.data.build import write_index
from training.data.records import from_record, instruction_of, read_records, to_record
from training.data.samples import Sample
from training.data.shards import SampleSource, Shard, shard_name, write_shard
from training.stages.batches import Collator
from training.stages.initialise import FreshModel, fresh_model

from .conftest import TINY_MODEL

HEAD, PELVIS = JOINT_INDEX["head"], 0
TRUNK = [JOINT_INDEX[name] for name in ("spine1", "spine2", "spine3", "neck", "head")]


def body(seen: str = "y_up", seed: int = 11) -> np.ndarray:
    """(24, 3) somebody upright, as files of another world have him."""
    rng = np.random.default_rng(seed)
    pose = rng.normal(0, 0.2, (24, 3)).astype(np.float32)
    pose[TRUNK] *= 0.2
    turn = {"y_up": 0.0, "z_up": 90.0, "camera": 180.0}[seen]
    lean = Rotation.from_euler("yxz", [rng.uniform(-40, 40), rng.uniform(-10, 10), 0], degrees=True)
    pose[0] = (Rotation.from_euler("x", turn, degrees=True) * lean).as_rotvec()
    return pose


def published(number: int, question: str, answer: str, seen: str = "camera", **more: Any) -> dict[str, Any]:
    """A record as the authors write it."""
    conversation = [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
    return {
        "id": number,
        "target_pose": body(seen, number).reshape(-1).tolist(),
        "conversations": conversation,
    } | more


def saved(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text(json.dumps(records), encoding="utf-8")
    return path


def head_above_pelvis(pose: np.ndarray) -> float:
    positions = forward_kinematics(axis_angle_to_matrix(pose))[1]
    return float(positions[HEAD, 1] - positions[PELVIS, 1])


@pytest.mark.parametrize("seen", ["y_up", "z_up", "camera"])
def test_people_of_a_file_stand_upright_whatever_its_world(tmp_path: Path, seen: str) -> None:
    question = "There is a person: they stand. Please output this person's SMPL pose."
    records = [published(number, question, "Sure, <POSE>.", seen) for number in range(8)]
    for record in records:
        record["input_pose"] = body(seen, 100 + record["id"]).reshape(-1).tolist()
    for sample in read_records(saved(tmp_path / "test.json", records)):
        assert head_above_pelvis(sample.target_aa) > 0.4
        assert head_above_pelvis(sample.pose_aa) > 0.4


def test_a_pose_seen_from_the_front_with_y_down_faces_ahead(tmp_path: Path) -> None:
    """The camera looks along +z there: whoever looks into it has heading 0."""
    flat = np.zeros(72)
    flat[0] = np.pi
    records = [published(1, "Give the SMPL pose.", "It is <POSE>.") | {"target_pose": flat.tolist()}] * 2
    for sample in read_records(saved(tmp_path / "a.json", records)):
        assert np.allclose(axis_angle_to_matrix(sample.target_aa[0]), np.eye(3), atol=1e-6)


def test_a_world_that_is_not_plain_must_be_named(tmp_path: Path) -> None:
    lying = body()
    lying[0] = [0, 0, np.pi / 2]  # on the side: up in no world
    record = published(1, "x Give the SMPL pose.", "It is <POSE>.") | {
        "target_pose": lying.reshape(-1).tolist()
    }
    path = saved(tmp_path / "lying.json", [record])
    with pytest.raises(ValueError, match=r"lying\.json: it is not plain which way is up.*y_up, z_up, camera"):
        SampleSource(path)
    (named,) = read_records(path, "camera")
    (own,) = read_records(saved(tmp_path / "own.json", [record | {"frame": "y_up"}]))
    assert np.allclose(own.target_aa, lying)
    turn = axis_angle_to_matrix(named.target_aa[0]) @ axis_angle_to_matrix(lying[0]).T
    assert np.allclose(turn, np.diag([1, -1, -1]), atol=1e-6)


INSTRUCTION = "Bend the left knee, and lower both arms."


@pytest.mark.parametrize("task", list(PAPER_TEMPLATES))
def test_every_published_wording_is_reduced_to_its_instruction(task: str) -> None:
    for template in PAPER_TEMPLATES[task]:
        question = template["question"].replace("{instruction}", INSTRUCTION)
        assert instruction_of(task, question) == INSTRUCTION


def test_a_closing_sentence_that_is_not_known_is_left_out_after_a_known_opening() -> None:
    question = (
        f"<pose> Please read the following description. {INSTRUCTION} Now show me the new SMPL pose of it."
    )
    assert instruction_of("adjust", question) == INSTRUCTION


@pytest.mark.parametrize(
    ("question", "image", "pose", "task", "instruction"),
    [
        ("<image> Can you predict the SMPL pose of the person in this image?", True, False, "estimate", ""),
        ("<image> What is the person doing in this image? Please output SMPL pose.", True, False, "estimate", ""),
        (
            f"<image> Take a look at the following description. {INSTRUCTION} Utilize the pose depicted in the image as"
            " a baseline, then apply adjustments to the SMPL pose based on the accompanying textual description.",
            True, False, "adjust", INSTRUCTION,
        ),
        (
            f"<pose> Kindly review the following passage for context. {INSTRUCTION} Your goal is to synthesize a SMPL "
            "pose based on the human pose , refining it based on the details provided in the text.",
            False, True, "adjust", INSTRUCTION,
        ),
        (f"What's the SMPL pose of this person? {INSTRUCTION}", False, False, "generate", INSTRUCTION),
    ],
)  # fmt: skip
def test_the_task_is_told_by_what_is_given_and_asked(
    question: str, image: bool, pose: bool, task: str, instruction: str
) -> None:
    record = published(1, question, "The SMPL pose is <POSE>.")
    if image:
        record["image"] = "1.png"
    if pose:
        record["input_pose"] = body("camera").reshape(-1).tolist()
    sample = from_record(record, frame="camera")
    assert (sample.task, sample.instruction, sample.reply) == (task, instruction, None)


def test_what_cannot_be_learnt_is_counted_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    good = published(0, "x Give the SMPL pose.", "It is <POSE>.")
    without = published(4, "x", "<POSE>")
    del without["target_pose"]
    bad = {
        "an answer is empty": published(1, "x", "") | {"target_pose": []},
        "<image> stands without": published(2, "<image> who?", "It is <POSE>."),
        "<pose> stands without": published(3, "<pose> who?", "It is <POSE>."),
        "hold <POSE> 1 times, where 0 poses": without,
        "hold <POSE> 1 times, where 2 poses": published(5, "x", "<POSE>") | {"target_pose": good["target_pose"] * 2},
        "72 finite numbers": published(6, "x", "<POSE>") | {"target_pose": [0.0] * 71},
        "degrees": published(7, "x", "<POSE>") | {"target_pose": [90.0] * 72},
        "it has 2 pictures": published(8, "x", "<POSE>", image=["a.png", "b.png"]),
        "by turns": published(9, "x", "<POSE>") | {"conversations": [{"from": "human", "value": "x"}]},
    }  # fmt: skip
    del bad["an answer is empty"]["target_pose"]
    path = saved(tmp_path / "mixed.json", [good, *bad.values()])
    with caplog.at_level(logging.WARNING):
        samples = list(read_records(path, "camera"))
    assert [sample.id for sample in samples] == ["0"]
    assert f"mixed.json: {len(bad)} of {len(bad) + 1} samples are left out" in caplog.text
    for words, record in bad.items():
        with pytest.raises(ValueError, match=f"sample {record['id']}: .*{words}"):
            from_record(record)
    with pytest.raises(
        ValueError, match=r"mixed\.json holds no sample that can be used: sample 1: an answer is empty"
    ):
        list(read_records(saved(path, list(bad.values())), "camera"))


@pytest.fixture(scope="module")
def collator() -> Collator:
    return Collator(fresh_model(FreshModel(**TINY_MODEL))[1])


def test_several_poses_of_an_answer_are_all_learnt(tmp_path: Path, collator: Collator) -> None:
    poses = [body(seed=seed) for seed in range(3)]
    record = published(1, "x Give the SMPL pose.", "First <POSE>, then <POSE>, then <POSE>.", "y_up")
    record["target_pose"] = np.concatenate(poses).reshape(-1).tolist()
    sample = from_record(record)
    assert np.array_equal(sample.targets_aa, poses)
    write_shard(tmp_path / shard_name(0), [sample, Sample("o", "generate", "k", "x", None, poses[0]), sample])
    write_index(tmp_path, {}, [3])
    for row in (0, 2):
        assert np.array_equal(Shard(tmp_path / shard_name(0))[row].targets_aa, poses)
    assert len(from_record(to_record(sample)).targets_aa) == 3
    batch = collator.instructions([sample, Sample("o", "generate", "k", "x", None, poses[0])])
    assert len(batch.targets) == 4
    places = batch.inputs["input_ids"] == collator.processor.tokenizer.convert_tokens_to_ids("<POSE>")
    assert places.sum(1).tolist() == [3, 1]


def test_all_turns_are_learnt_and_a_pose_may_come_in_a_later_one(tmp_path: Path, collator: Collator) -> None:
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    record = published(1, "<image>\nWho is it?", "A man.", "y_up", image="a.png", input_pose=[0.0] * 72)
    record["conversations"] += [
        {"from": "human", "value": "What is the pose?"}, {"from": "gpt", "value": "It is <POSE>."},
        {"from": "human", "value": "Thank you."}, {"from": "gpt", "value": "You are welcome."},
    ]  # fmt: skip
    sample = from_record(record, folder=tmp_path)
    assert sample.task == "chat"
    assert sample.further == (("What is the pose?", "It is <POSE>."), ("Thank you.", "You are welcome."))
    write_shard(tmp_path / shard_name(0), [sample])
    assert Shard(tmp_path / shard_name(0))[0].further == sample.further
    batch = collator.instructions([sample])
    labels = batch.inputs["labels"][0]
    said = collator.processor.tokenizer.decode(labels[labels != -100])
    for words in ("a man .", "it is <POSE>", "you are"):
        assert words in said
    assert "thank you" not in said
    assert (labels == collator.processor.tokenizer.eos_token_id).sum() == 3
    assert len(batch.targets) == len(batch.inputs["poses"]) == 1
    assert "pixel_values" in batch.inputs


def test_a_pose_given_in_a_conversation_of_words_alone_is_read(collator: Collator) -> None:
    record = {
        "id": 1, "input_pose": body().reshape(-1).tolist(),
        "conversations": [{"from": "human", "value": "<pose> What does he do?"}, {"from": "gpt", "value": "He waves."}],
    }  # fmt: skip
    batch = collator.instructions([from_record(record)])
    assert len(batch.inputs["poses"]) == 1
    assert not len(batch.targets)


def test_a_paper_model_is_trained_in_all_wordings_and_asked_in_one() -> None:
    _, processor = fresh_model(FreshModel(**TINY_MODEL))
    processor.prompter.templates = processor.templates = PAPER_TEMPLATES
    collator = Collator(processor)
    samples = [Sample(f"s{n}", "adjust", "k", "lean back", body(), body(seed=1)) for n in range(40)]
    rows = {tuple(row) for row in collator.instructions(samples).inputs["input_ids"].tolist()}
    assert len(rows) >= 8
    assert len({processor.prompter.prompt(sample) for sample in samples}) == 1


@pytest.mark.parametrize("given", ["pose", "image", "both"])
def test_adjustment_reads_the_pose_the_picture_or_both(given: str) -> None:
    _, processor = fresh_model(FreshModel(**TINY_MODEL))
    processor.prompter.templates = processor.templates = PAPER_TEMPLATES
    image = None if given == "pose" else Image.new("RGB", (40, 30))
    sample = Sample(
        "s", "adjust", "k", "lean back", None if given == "image" else body(), body(seed=1), image
    )
    inputs = Collator(processor).instructions([sample]).inputs
    assert ("poses" in inputs) == (given != "image")
    assert ("pixel_values" in inputs) == (given != "pose")


def test_a_small_model_adjusts_what_it_sees(collator: Collator) -> None:
    sample = Sample("s", "adjust", "k", "lean back", None, body(), Image.new("RGB", (40, 30)))
    batch = collator.instructions([sample])
    assert batch.inputs["pose_images"].tolist() == [0]
    # The answer faces where the picture shows it, as in estimation.
    assert torch.allclose(
        batch.targets[0], torch.from_numpy(axis_angle_to_matrix(sample.target_aa)).float(), atol=1e-5
    )


def test_to_adjust_takes_a_pose_or_a_picture(collator: Collator) -> None:
    with pytest.raises(ValueError, match="'adjust' needs a pose; use 'generate'"):
        collator.instructions([Sample("s", "adjust", "k", "lean back", None, body())])
